//! Tidegate's configuration: from the bytes of a file to checked values.
//!
//! This crate knows no socket and no request. The walk: [`load`] reads the file and what it includes, `file` gives it
//! its shape, `place` remembers where each key stands, `check` resolves names and gathers every [`Problem`], and the
//! result is a [`Config`] in which nothing is left to ask. [`watch`] does it again whenever the files change.

mod config;
mod listener;
mod problem;
mod route;
mod service;
pub mod units;

pub use config::{AccessLog, Admin, Config, Database, Drain, Geo, LogOutput, Role, Runtime, Token};
pub use listener::{AddressHeader, ClientAddress, Limits, Listener, ListenerTimeouts, Profile};
pub use problem::{Problem, Severity};
pub use route::{
    Action, Forward, HeaderEdits, HeaderTemplate, HostPattern, PathMatch, Redirect, RegionMatch,
    Respond, Retry, RetryOn, Rewrite, Route, RouteMatch, RouteTimeouts, Rule, Split, SplitBy,
    Target, TemplatePart, TextMatch, UserSource, When,
};
pub use service::{
    ActiveHealth, Balance, EndpointAddress, Health, PassiveHealth, Pool, Protocol, Service, Version,
};
pub use units::Share;

use std::path::{Path, PathBuf};

/// A file that was read: its configuration or its problems, and what to watch either way.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked value, unless a problem is an error.
    pub config: Option<Config>,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
    /// Every file that the result depends on: the file, what it includes, user lists, databases, tokens.
    pub files: Vec<PathBuf>,
    /// xxh3 of all their bytes: equal when nothing changed.
    pub fingerprint: u64,
}

/// Reads and checks a file and all that it names.
///
/// # Errors
/// Only where the file itself cannot be read; everything else is a [`Problem`].
pub fn load(path: &Path) -> std::io::Result<Loaded> {
    let _ = path;
    unimplemented!()
}
