//! `listeners[]`, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AddressText, DurationText, ListenerTls, NetworkText, SizeOrNone, SizeText};

/// An address that accepts requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// A name of its own; routes and metrics use it.
    pub(crate) name: String,
    /// IP address and port; port 0 takes a free one. `0.0.0.0:8080`, `[::]:8080`.
    pub(crate) address: AddressText,
    /// How far callers are trusted: `edge` (hardened, default) or `sidecar` (transparent).
    pub(crate) profile: Option<Profile>,
    /// What is spoken. Default with `tls`: `[h2, http/1.1]`; without: `[http/1.1, h2c]`.
    pub(crate) protocols: Option<Vec<ListenerProtocol>>,
    /// Callers must speak TLS. Default: they must not.
    pub(crate) tls: Option<ListenerTls>,
    /// Where the client's address is read. Default: the peer's address.
    pub(crate) client_address: Option<ClientAddress>,
    /// Bounds on what callers may send.
    pub(crate) limits: Option<Limits>,
    /// Waits toward the caller.
    pub(crate) timeouts: Option<ListenerTimeouts>,
    /// Routing headers that callers may set: those of `identity`, `geo` and `x-tidegate-*`. Default none. An edge
    /// listener strips the others; on a sidecar they do not count.
    #[serde(default)]
    pub(crate) trusted_headers: Vec<String>,
    /// Protocols that a connection may go on with (`Upgrade`), if its version agrees; never HTTP. Default on an edge
    /// listener `[websocket]`, on a sidecar whatever both sides agree on.
    pub(crate) upgrades: Option<Vec<String>>,
}

/// How far the callers of a listener are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Hardened, for strangers.
    Edge,
    /// Transparent, for known peers.
    Sidecar,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum ListenerProtocol {
    /// HTTP/1.1 and 1.0.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 over TLS, as callers ask for it in their handshake (ALPN).
    #[serde(rename = "h2")]
    H2,
    /// HTTP/2 without TLS, by prior knowledge.
    #[serde(rename = "h2c")]
    H2c,
}

/// Where the client's address is read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAddress {
    /// The header that trusted proxies write: `x-forwarded-for` or `forwarded`. Needs `trusted_proxies`. Default: the
    /// peer's address counts.
    pub(crate) from: Option<AddressHeader>,
    /// Networks of the proxies in front whose word counts. The client is the rightmost address that is none of these.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<NetworkText>,
}

/// A header that tells the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AddressHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// Bounds on what callers may send.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Open connections in the whole process; more are refused. Default 20000.
    pub(crate) connections: Option<u64>,
    /// Open connections of one client address in the whole process, of IPv6 those of its /64. Default: no bound of its
    /// own.
    pub(crate) connections_per_client: Option<u64>,
    /// The size of a request's head, 1 KiB to 1 MiB; more is answered 431. Default `32KiB`.
    pub(crate) header_bytes: Option<SizeText>,
    /// Header lines of a request; more is answered 431. Default 100.
    pub(crate) header_count: Option<u64>,
    /// The size of a request's target, at most `header_bytes`; more is answered 414. Default `8KiB`.
    pub(crate) target_bytes: Option<SizeText>,
    /// The size of a request's body; more is answered 413. Default: no bound.
    pub(crate) body_bytes: Option<SizeText>,
    /// Concurrent streams of one HTTP/2 connection. Default 100.
    pub(crate) h2_streams: Option<u64>,
    /// How much a second a caller must send of a body that is waited for (else 408), and take of an answer that waits for
    /// it (else it is cut off), on average, after 10 s of grace. A size a second, or `none`. Default `240B` on `edge`,
    /// `none` on `sidecar`. Tunnels and gRPC toward a version that speaks HTTP/2 need not send.
    pub(crate) min_rate: Option<SizeOrNone>,
}

/// Waits toward the caller.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTimeouts {
    /// From the accept of a connection to the end of its TLS handshake; then it is closed. A duration, default `5s`.
    pub(crate) handshake: Option<DurationText>,
    /// From a request's first byte to the end of its head; then 408. A duration, default `10s`.
    pub(crate) header: Option<DurationText>,
    /// Between two pieces of a request's body; then 408. A duration, default `30s`.
    pub(crate) body_idle: Option<DurationText>,
    /// Of a connection between two requests; then it is closed. A duration, default `60s`.
    pub(crate) idle: Option<DurationText>,
}
