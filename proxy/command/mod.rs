//! The commands, one file each.
//!
//! - [`run`]: the proxy
//! - [`check`]: is this file right?
//! - [`explain`]: where would this request go?
//! - [`status`]: how does a running one stand?
//! - [`history`], [`events`]: what became of its rollouts, and what happens now
//! - [`rollout`]: orders to one of them
//! - [`plan`]: how long will its stages need?
//! - [`replay`]: were recorded decisions right?
//! - [`schema`], [`completions`]: for editors and shells
//! - [`client`], [`event_stream`]: how a command talks to a running one
//! - [`rollouts`], [`words`]: what it answers, for people
//! - [`output`], [`logs`]: where words go
//! - [`table`]: rows and columns for a terminal

pub mod check;
pub mod client;
pub mod completions;
pub mod demo;
pub mod event_stream;
pub mod events;
pub mod explain;
pub mod history;
pub mod logs;
pub mod output;
pub mod plan;
pub mod replay;
pub mod rollout;
pub mod rollouts;
pub mod run;
pub mod schema;
pub mod status;
pub mod table;
pub mod words;

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Done.
    pub const FINE: Self = Self(0);
    /// The answer is no: a bad file, a refusal, a drain that had to cut.
    pub const NO: Self = Self(1);
    /// It could not even be tried: nothing to read, nowhere to bind, nobody there.
    pub const CANNOT: Self = Self(2);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
