//! What is wrong with the machine rather than with the file: an address that is taken, a log that cannot be opened, a
//! database that is none. Told as problems of the file, because that is where the operator looks and what he edits.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tidegate_config::{Config, Problem};

use crate::record::LogError;
use crate::route::Regions;

/// An address that the system does not give.
#[derive(Debug, thiserror::Error)]
#[error("listener \"{listener}\" cannot bind {address}: {source}")]
pub struct CannotBind {
    /// The listener's name.
    pub listener: String,
    /// Where it should listen.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl CannotBind {
    /// As a problem of `file`, which says `wanted`.
    pub fn problem(&self, file: &Path, wanted: &Config) -> Problem {
        let hint = match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has it (see `ss -ltnp`): stop that and reload, or choose another port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address (see `ip addr`)",
            _ => "choose another address",
        };
        let mut listeners = wanted.listeners.iter();
        let at = listeners.position(|listener| listener.name == self.listener);
        let path = at.map_or_else(String::new, |at| format!("listeners[{at}].address"));
        problem("T501", file, &path, &self.to_string(), hint)
    }
}

/// The problem of a rollout that came by an edit into a process that cannot remember it.
pub fn cannot_remember(file: &Path, rollout: &str) -> Problem {
    let message = format!(
        "rollout \"{rollout}\" has nowhere to be remembered: the state directory could not be written when tidegate started"
    );
    let hint = "make it writable, or give another one by --state-dir, and restart: what is rolled back must stay so";
    problem("T504", file, "rollouts", &message, hint)
}

/// The problem of an admin address that cannot be bound.
pub fn cannot_bind_admin(file: &Path, address: SocketAddr, error: &io::Error) -> Problem {
    let message = format!("admin.address cannot bind {address}: {error}");
    let hint =
        "another process has it, perhaps another tidegate: stop that, or choose another port";
    problem("T501", file, "admin.address", &message, hint)
}

/// The problem of an extra address for probes that cannot be bound.
pub fn cannot_bind_probes(file: &Path, address: SocketAddr, error: &io::Error) -> Problem {
    let message = format!("admin.probes cannot bind {address}: {error}");
    problem(
        "T501",
        file,
        "admin.probes",
        &message,
        "choose another address, or remove it",
    )
}

/// The problem of an access log that cannot be opened.
pub fn cannot_open_log(file: &Path, error: &LogError) -> Problem {
    let hint = "let the user that tidegate runs as write there, or name another file";
    problem("T503", file, "access_log.output", &error.to_string(), hint)
}

/// Opens the database that regions are found in.
///
/// # Errors
/// The problem where it is none.
pub fn open_regions(config: &Config, file: &Path) -> Result<Option<Regions>, Box<Problem>> {
    let Some(database) = config.geo.as_ref().and_then(|geo| geo.database.as_ref()) else {
        return Ok(None);
    };
    Regions::open(database).map(Some).map_err(|error| {
        let message = format!(
            "geo.database: {} cannot be used: {error}",
            database.path.display()
        );
        let hint = "put a MaxMind City or Country database there (.mmdb)";
        Box::new(problem("T502", file, "geo.database", &message, hint))
    })
}

fn problem(code: &'static str, file: &Path, path: &str, message: &str, hint: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        ..Problem::of_file(code, file.to_owned(), message, hint)
    }
}
