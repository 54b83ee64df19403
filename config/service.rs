//! A service: its versions, and how to reach them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::Share;
use crate::tls::ServiceTls;

/// `services[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Unique; a metrics label.
    pub name: String,
    /// Index into `versions`: where traffic goes that no rule sends elsewhere.
    pub stable: usize,
    /// In the order written, which is the order that slots are handed out in.
    pub versions: Vec<Version>,
    /// What the versions speak.
    pub protocol: Protocol,
    /// How an endpoint is chosen within a version.
    pub balance: Balance,
    /// Connections to endpoints.
    pub pool: Pool,
    /// How endpoints are judged.
    pub health: Health,
    /// How they prove who they are, where they are spoken to by TLS.
    pub tls: Option<ServiceTls>,
}

/// `services[].versions[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Unique in the service; a metrics label.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<EndpointAddress>,
    /// Free words about the version, for people and headers.
    pub tags: BTreeMap<String, String>,
}

/// A machine that serves a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// `127.0.0.1:3001`, `[::1]:3001`.
    Ip(IpAddr, u16),
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip), port) => write!(f, "{ip}:{port}"),
            Self::Ip(IpAddr::V6(ip), port) => write!(f, "[{ip}]:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `services[].protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, the default.
    #[default]
    Http1,
    /// HTTP/2 over plaintext, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 or HTTP/1.1 over TLS: the endpoint chooses at each connection.
    Auto,
}

/// `services[].balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// The less busy of two drawn at random; the default.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

/// `services[].pool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Connections to one endpoint, for the whole process. Default 10 000.
    pub max_per_endpoint: NonZeroUsize,
    /// An unused connection is closed after so long. Default 4 s, under Node's 5 s.
    pub idle: Duration,
    /// The bound on establishing a connection; then 504. Default 1 s.
    pub connect: Duration,
}

/// `services[].health`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Asked on a schedule.
    pub active: Option<ActiveHealth>,
    /// Learnt from traffic.
    pub passive: Option<PassiveHealth>,
}

/// `services[].health.active`: 2xx and 3xx are healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveHealth {
    /// The path that is asked with GET.
    pub path: String,
    /// Between two probes. Default 2 s.
    pub interval: Duration,
    /// A probe that takes longer has failed. Default 1 s.
    pub timeout: Duration,
    /// So many good ones in a row make an endpoint healthy. Default 2.
    pub healthy_after: NonZeroU32,
    /// So many bad ones in a row make it unhealthy. Default 3.
    pub unhealthy_after: NonZeroU32,
}

/// `services[].health.passive`: connect failures, resets, timeouts and 5xx eject an endpoint for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassiveHealth {
    /// So many failures in a row eject. Default 5.
    pub consecutive_failures: NonZeroU32,
    /// For how long. Default 10 s.
    pub eject_for: Duration,
    /// At most this share of a version's endpoints is ejected at one time. Default 50 %.
    pub max_ejected: Share,
}
