//! An address that accepts requests, and what it lets through.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::tls::ListenerTls;

/// `listeners[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique; a metrics label.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// How far callers are trusted.
    pub profile: Profile,
    /// HTTP/1.1 is spoken.
    pub http1: bool,
    /// HTTP/2 by prior knowledge is spoken. Never with `tls`.
    pub h2c: bool,
    /// HTTP/2 is spoken where a handshake agrees on it. Only with `tls`.
    pub h2: bool,
    /// What callers are shown; `None` is no encryption.
    pub tls: Option<ListenerTls>,
    /// Whose word counts about where the client is.
    pub client_address: ClientAddress,
    /// Bounds; crossing one is answered with 4xx or refused.
    pub limits: Limits,
    /// Waits toward the caller.
    pub timeouts: ListenerTimeouts,
    /// Routing headers, lower case, that callers of this listener may set.
    pub trusted_headers: Vec<String>,
}

/// How far the callers of a listener are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Hardened, for strangers. The default.
    #[default]
    Edge,
    /// Transparent, for known peers.
    Sidecar,
}

/// Where the client's address is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientAddress {
    /// The header that trusted proxies write; `None` is the peer's address.
    pub from: Option<AddressHeader>,
    /// Peers whose word counts. The address is the rightmost that is none of these.
    pub trusted_proxies: Vec<IpNet>,
}

/// A header that tells the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// `listeners[].limits`. Connection counts are for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more are refused. Default 20 000.
    pub connections: usize,
    /// Open connections of one client address; `None` is no bound of its own.
    pub connections_per_client: Option<usize>,
    /// Bytes of a request's head; more is 431. Default 32 KiB.
    pub header_bytes: usize,
    /// Header lines of a request; more is 431. Default 100.
    pub header_count: usize,
    /// Bytes of a request's target; more is 414. Default 8 KiB.
    pub target_bytes: usize,
    /// Bytes of a request's body; more is 413. Default none on sidecar and edge.
    pub body_bytes: Option<u64>,
    /// Concurrent HTTP/2 streams of one connection. Default 100.
    pub h2_streams: u32,
}

/// `listeners[].timeouts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the accept of a connection to the end of its handshake. Default 5 s.
    pub handshake: Duration,
    /// From a request's first byte to the end of its head; then 408. Default 10 s.
    pub header: Duration,
    /// Between two pieces of a request's body; then 408. Default 30 s.
    pub body_idle: Duration,
    /// Of a connection between two requests. Default 60 s.
    pub idle: Duration,
}
