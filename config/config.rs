//! The whole file, checked: every name is resolved, every default filled in.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::tls::KeyPair;
use crate::{Listener, Rollout, Route, Service, Share, UserSource};

/// What the operator wants, complete and consistent. Two equal files give equal values.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Worker threads and the end of life.
    pub runtime: Runtime,
    /// Where the admin API answers, and to whom.
    pub admin: Admin,
    /// Lines about requests; `None` is off.
    pub access_log: Option<AccessLog>,
    /// Where a region comes from.
    pub geo: Option<Geo>,
    /// The addresses that accept requests; at least one. Names are unique.
    pub listeners: Vec<Listener>,
    /// Who is the user? The first source that answers. Empty: nobody says.
    pub identity: Vec<UserSource>,
    /// Services, each with one or more versions. Names are unique.
    pub services: Vec<Service>,
    /// Routes in the order written. Names are unique.
    pub routes: Vec<Route>,
    /// Rollouts in the order written, guarded splits after them. Names are unique.
    pub rollouts: Vec<Rollout>,
}

impl Config {
    /// The certificates that endpoints are shown, each with the name of its service.
    pub fn client_certificates(&self) -> impl Iterator<Item = (&str, &KeyPair)> {
        self.services.iter().filter_map(|service| {
            let pair = service.tls.as_ref()?.client.as_deref()?;
            Some((service.name.as_str(), pair))
        })
    }
}

/// `runtime:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads; `None` is one for each core that the process may use. A change needs a restart.
    pub workers: Option<NonZeroUsize>,
    /// How the process leaves.
    pub drain: Drain,
    /// Where rollouts are remembered; `None` is `state` beside the file. A change needs a restart.
    pub state_dir: Option<PathBuf>,
}

/// `runtime.drain:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Keep accepting for so long while readiness already says no.
    pub min: Duration,
    /// After so long, counted from the signal, what is still open is closed.
    pub max: Duration,
}

/// `admin:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The API's address, default 127.0.0.1:9900. A change needs a restart.
    pub address: SocketAddr,
    /// An extra address for health checks and `/metrics` alone.
    pub probes: Option<SocketAddr>,
    /// Who may do what. Empty: loopback only, everybody there is `Admin`.
    pub tokens: Vec<Token>,
}

/// A line of `admin.tokens_file`: `role:token`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the holder may do.
    pub role: Role,
    /// The secret, compared in constant time.
    pub secret: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:?}, …)", self.role)
    }
}

/// What a token's holder may do; each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also pauses, resumes and rolls back.
    Operator,
    /// Also approves, promotes and retries.
    Approver,
    /// Also reloads.
    Admin,
}

/// `access_log:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub output: LogOutput,
    /// The share of answers below 500 that is written.
    pub sample_success: Share,
    /// The share of failures (5xx, 499, broken answers) that is written.
    pub sample_failure: Share,
    /// Request headers, lower case, whose values are replaced by `***`.
    pub redact_headers: Vec<String>,
    /// Query parameters whose values are replaced by `***`.
    pub redact_query: Vec<String>,
}

/// Where access-log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
}

/// `geo:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geo {
    /// A MaxMind database (City or Country), read into memory and checked to open.
    pub database: Option<Database>,
    /// A header that holds `CC` or `CC-SUB`, lower case; asked first, only where the listener trusts it.
    pub header: Option<String>,
}

/// A database file's path and bytes.
#[derive(Clone)]
pub struct Database {
    /// Where it was read.
    pub path: PathBuf,
    /// The file as it was at that moment.
    pub bytes: Arc<[u8]>,
}

impl PartialEq for Database {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.bytes == other.bytes
    }
}

impl Eq for Database {}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Database({}, {} bytes)",
            self.path.display(),
            self.bytes.len()
        )
    }
}
