//! `services[]`, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, ServiceTls, ShareText};

/// What requests are forwarded to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// A name of its own; routes and metrics use it.
    pub(crate) name: String,
    /// The version that gets whatever no rule sends elsewhere.
    pub(crate) stable: String,
    /// Its versions; at least one. Their order is the order that slots are handed out in.
    pub(crate) versions: Vec<Version>,
    /// What every version speaks: `http/1.1` (default) or `h2c`; with `tls` `http/1.1` (default), `h2`, or `auto`: what each
    /// endpoint likes best of the two.
    pub(crate) protocol: Option<Protocol>,
    /// How an endpoint is chosen: `least_request` (of two drawn at random, default) or `round_robin`.
    pub(crate) balance: Option<Balance>,
    /// Connections to endpoints.
    pub(crate) pool: Option<Pool>,
    /// How endpoints are judged. Default: they are not.
    pub(crate) health: Option<Health>,
    /// Endpoints are spoken to by TLS, and must prove who they are. Default: in plain. `tls: {}` believes the machine's
    /// authorities.
    pub(crate) tls: Option<ServiceTls>,
}

/// One version of a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Version {
    /// A name of its own in the service.
    pub(crate) name: String,
    /// Where it runs: `127.0.0.1:3001`, `[::1]:3001`, `unix:/run/app.sock`. At least one.
    #[serde(default)]
    pub(crate) endpoints: Vec<String>,
    /// Free words about the version.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// What a service's versions speak.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    #[serde(rename = "h2c")]
    H2c,
    /// HTTP/2 over TLS.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/2 or HTTP/1.1 over TLS, as each endpoint chooses when it is connected to (ALPN).
    #[serde(rename = "auto")]
    Auto,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// The less busy of two drawn at random.
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pool {
    /// Connections to one endpoint, for the whole process. Default 256.
    pub(crate) max_per_endpoint: Option<u64>,
    /// An unused connection is closed after so long. A duration, default `4s`.
    pub(crate) idle: Option<DurationText>,
    /// The bound on establishing a connection; then 504. A duration, default `1s`.
    pub(crate) connect: Option<DurationText>,
}

/// How endpoints are judged.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// Asked on a schedule.
    pub(crate) active: Option<ActiveHealth>,
    /// Learnt from traffic.
    pub(crate) passive: Option<PassiveHealth>,
}

/// Endpoints are asked on a schedule; 2xx and 3xx are healthy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActiveHealth {
    /// The path that is asked with GET.
    pub(crate) path: String,
    /// Between two probes. A duration, default `2s`.
    pub(crate) interval: Option<DurationText>,
    /// A probe that takes longer has failed. A duration, default `1s`.
    pub(crate) timeout: Option<DurationText>,
    /// So many good ones in a row make an endpoint healthy. Default 2.
    pub(crate) healthy_after: Option<u64>,
    /// So many bad ones in a row make it unhealthy. Default 3.
    pub(crate) unhealthy_after: Option<u64>,
}

/// Connect failures, resets, timeouts and 5xx of real requests take an endpoint out for a while.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassiveHealth {
    /// So many failures in a row take it out. Default 5.
    pub(crate) consecutive_failures: Option<u64>,
    /// For how long. A duration, default `10s`.
    pub(crate) eject_for: Option<DurationText>,
    /// At most this share of a version's endpoints is out at one time. A share, default `50%`.
    pub(crate) max_ejected: Option<ShareText>,
}
