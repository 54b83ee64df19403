//! `guard`, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Hold, PathText, ShareText, UrlText};

/// What sends a candidate back. Whichever fires first does.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guard {
    /// Which ends of a request are failures of its version: `5xx`, `4xx`, a status in quotes (`"503"`), `connect`,
    /// `timeout`, `reset`, `grpc:N`. Default `[5xx, connect, timeout, reset, "grpc:2", "grpc:4", "grpc:13", "grpc:14"]`.
    pub(crate) failures: Option<Vec<String>>,
    /// The share of the candidate's requests that fail. Default: not asked.
    pub(crate) error_rate: Option<ErrorRate>,
    /// A quantile of the candidate's times. Default: not asked.
    pub(crate) latency: Option<Latency>,
    /// So many failures of the candidate one after the other, 1 to 1000000. Default: not asked.
    pub(crate) consecutive_failures: Option<u64>,
    /// Comparison with stable. `false` turns it off; the default is on.
    pub(crate) compare: Option<CompareOrNot>,
    /// What the proxy does not see by itself, at most 16. Default none.
    #[serde(default)]
    pub(crate) metrics: Vec<Metric>,
}

/// Too many of the candidate's requests fail.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorRate {
    /// More than this share fails. Above 0 %, below 100 %.
    pub(crate) above: ShareText,
    /// Of the requests that ended in so long. A duration from 1 s to 1 h, default `30s`.
    pub(crate) window: Option<DurationText>,
    /// Where there are so many, 1 to 1000000000. Default 50.
    pub(crate) min_requests: Option<u64>,
}

/// The candidate is too slow.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latency {
    /// This quantile of the times. Above 0 %, below 100 %; default `99%`.
    pub(crate) quantile: Option<ShareText>,
    /// Is above this. A duration.
    pub(crate) above: DurationText,
    /// Of the requests that ended in so long. A duration from 1 s to 1 h, default `30s`.
    pub(crate) window: Option<DurationText>,
    /// Where there are so many, 1 to 1000000000. Default 100.
    pub(crate) min_requests: Option<u64>,
}

/// Comparison with stable: on, off, or how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "`false`, or keys with values")]
pub(crate) enum CompareOrNot {
    /// On or off.
    Switch(bool),
    /// On, and how.
    Parts(Compare),
}

/// How the candidate is compared with stable.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compare {
    /// The probability that a harmless candidate is ever rolled back. A share above 0 %, at most 50 %; default `0.1%`.
    pub(crate) false_rollback: Option<ShareText>,
    /// The least difference in failing requests that is worth a rollback. A share below 100 %, default `0.1%`.
    pub(crate) min_excess: Option<ShareText>,
}

/// What the proxy does not see by itself: exactly one of `pushed` and `prometheus`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metric {
    /// A name of its own in the rollout.
    pub(crate) name: String,
    /// `true`: told by `POST /api/v1/observations`, compared as failures are.
    pub(crate) pushed: Option<bool>,
    /// Asked for.
    pub(crate) prometheus: Option<Prometheus>,
    /// Bad are values below this: a number, or a share such as `98%`, which is 0.98. Only with `prometheus`.
    pub(crate) below: Option<Bound>,
    /// Bad are values above this: a number, or a share such as `98%`, which is 0.98. Only with `prometheus`.
    pub(crate) above: Option<Bound>,
    /// The value must be bad for so long. A duration, default `0s`: the first bad value counts. Only with `prometheus`.
    #[serde(rename = "for")]
    pub(crate) lasting: Option<DurationText>,
    /// What no value means: `hold`, the only one and the default. Only with `prometheus`.
    pub(crate) on_no_data: Option<Hold>,
}

/// A question to a Prometheus server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prometheus {
    /// The server, with a path where it has one.
    pub(crate) url: UrlText,
    /// A PEM file with the authorities that vouch for it, where it is asked by https. Default: those of the machine.
    pub(crate) ca: Option<PathText>,
    /// What is asked; must give one number.
    pub(crate) query: String,
    /// How often. A duration from 1 s to 1 h, default `15s`.
    pub(crate) every: Option<DurationText>,
}

/// A number, or a share.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "a number, or a share such as `98%`")]
pub(crate) enum Bound {
    /// As it is.
    Number(f64),
    /// `98%` is 0.98.
    Share(ShareText),
}
