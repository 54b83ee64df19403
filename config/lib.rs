//! Tidegate's configuration: from the bytes of a file to checked values.
//!
//! This crate knows no socket and no request. The walk: [`load`] reads the file and what it includes (`reader`, `read`),
//! `place` remembers where each key stands, `shape` holds the values against the schema of `file`, `check` resolves
//! names and gathers every [`Problem`], and the result is a [`Config`] in which nothing is left to ask. [`Watch`] does
//! it again whenever the files change.

mod check;
mod config;
mod file;
mod landmarks;
mod listener;
mod names;
mod normal;
mod place;
pub mod plan;
mod problem;
mod read;
mod reader;
mod route;
mod service;
mod shape;
mod source;
mod standing;
pub mod tls;
pub mod units;
mod watch;

#[cfg(test)]
mod tests;

pub use config::{AccessLog, Admin, Config, Database, Drain, Geo, LogOutput, Role, Runtime, Token};
pub use listener::{AddressHeader, ClientAddress, Limits, Listener, ListenerTimeouts, Profile};
pub use normal::{BadPath, normalise};
pub use plan::{Plan, Rollout};
pub use problem::{MAX_PROBLEMS, Problem, Severity};
pub use route::{
    Action, CertificatePart, Forward, HeaderEdits, HeaderTemplate, HostPattern, PathMatch,
    Redirect, RegionMatch, Respond, Retry, RetryOn, Rewrite, Route, RouteMatch, RouteTimeouts,
    Rule, Split, SplitBy, Target, TemplatePart, TextMatch, UserSource, When,
};
pub use service::{
    ActiveHealth, Balance, EndpointAddress, Health, PassiveHealth, Pool, Protocol, Service, Version,
};
pub use units::Share;
pub use watch::{Pace, Watch};

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use landmarks::Landmarks;
use reader::{Dependency, MAX_FILE, Reader};
use source::Problems;
use tls::Pairs;

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
    /// The same files with what counts of them, and the folders that patterns look into.
    dependencies: Vec<Dependency>,
    landmarks: Landmarks,
    /// Nothing is known of the files: they could not be opened for want of file descriptors.
    starved: bool,
}

impl Loaded {
    /// What stands for a file that cannot be read: one problem, and no configuration.
    pub(crate) fn unreadable(path: &Path, error: &io::Error, reader: Reader) -> Self {
        let message = format!("cannot read the file: {}", read::told(error));
        let hint = if reader::no_descriptors(error) {
            "raise the limit of open files, or close some: it is read again as soon as that is possible"
        } else {
            "put it back, or let this process read it; what was loaded before stays in force"
        };
        let problem = Problem::of_file("T401", path.to_owned(), &message, hint);
        Self::refused(path, error, problem, reader)
    }

    /// What stands for a file whose reading ended in a panic.
    pub(crate) fn faulty(path: &Path, panic: &(dyn Any + Send), reader: Reader) -> Self {
        let problem = Problem::of_fault(path.to_owned(), panic);
        Self::refused(path, &io::Error::other("a fault"), problem, reader)
    }

    /// What counts is what `reader` saw when it failed, so that the file is noticed when it comes back. It is not
    /// looked at again: it may be back already, and whoever remembered that would never load it.
    fn refused(path: &Path, error: &io::Error, problem: Problem, mut reader: Reader) -> Self {
        reader.failed(path, MAX_FILE, error);
        Self::new(None, vec![problem], &reader)
    }

    fn new(config: Option<Config>, problems: Vec<Problem>, reader: &Reader) -> Self {
        let fingerprint = reader.fingerprint();
        let starved = reader.starved();
        let dependencies = reader.dependencies();
        let files = dependencies
            .iter()
            .filter_map(|dependency| match dependency {
                Dependency::File(path, _) => Some(path.clone()),
                Dependency::Listing(..) => None,
            });
        Self {
            config,
            problems,
            files: files.collect(),
            fingerprint,
            dependencies,
            landmarks: Landmarks::default(),
            starved,
        }
    }

    /// A problem that was found in use (an address is taken, a log cannot be opened), at the place that its path names.
    pub fn place(&self, problem: Problem) -> Problem {
        self.landmarks.place(problem)
    }
}

/// Reads and checks a file and all that it names. Relative paths are relative to the file.
///
/// # Errors
/// Only where the file itself cannot be read; everything else is a [`Problem`].
pub fn load(path: &Path) -> io::Result<Loaded> {
    load_by(path, &mut Reader::default(), &Pairs::default())
}

/// [`load`] by a reader that its caller keeps: after a failure it tells what was seen. `in_force` stays where the files of
/// a pair are none.
fn load_by(path: &Path, reader: &mut Reader, in_force: &Pairs) -> io::Result<Loaded> {
    let bytes = match reader.read(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let message = format!("the file is larger than {MAX_FILE} bytes");
            let hint = "split it by `runtime.include`, or name long lists in files of their own";
            let problem = Problem::of_file("T109", path.to_owned(), &message, hint);
            return Ok(Loaded::new(None, vec![problem], reader));
        }
        Err(error) => return Err(error),
    };
    Ok(assemble(
        path,
        &bytes,
        path.parent().unwrap_or(Path::new("")),
        reader,
        in_force,
    ))
}

/// Checks a text that was read elsewhere, from standard input for example. Problems call it `name`; relative paths
/// are relative to `folder`.
pub fn parse(text: &[u8], name: &str, folder: &Path) -> Loaded {
    assemble(
        Path::new(name),
        text,
        folder,
        &mut Reader::default(),
        &Pairs::default(),
    )
}

/// The file's JSON Schema, draft 2020-12, for editors.
pub fn schema() -> serde_json::Value {
    file::schema().clone()
}

fn assemble(
    name: &Path,
    bytes: &[u8],
    folder: &Path,
    reader: &mut Reader,
    in_force: &Pairs,
) -> Loaded {
    let mut problems = Problems::default();
    let (parts, names) = read::parts(name, bytes, folder, reader, &mut problems);
    let landmarks = parts.as_deref().map(Landmarks::of).unwrap_or_default();
    let config = parts.map(|parts| check::check(&parts, reader, in_force, &mut problems));
    let config = config.filter(|_| !problems.has_errors());
    Loaded {
        landmarks,
        ..Loaded::new(config, problems.into_sorted(&names), reader)
    }
}
