//! The shape of the file: what YAML may stand where, and nothing about what it means.
//!
//! Every key with its default and its unit is documented here; `tidegate schema` carries the comments to editors. What
//! is more than a text, a number or a choice (durations, shares, addresses, patterns) stays as written, so that `check`
//! can tell all that is wrong at once. This module and its children are the only ones that name `serde_yaml` and
//! `schemars`.

mod guard;
mod leaf;
mod listener;
mod node;
mod plan;
mod route;
mod schema;
mod service;
mod tls;

pub(crate) use guard::{Bound, CompareOrNot, ErrorRate, Guard, Latency, Metric, Prometheus};
pub(crate) use leaf::{
    AddressText, ClockText, DurationOrNone, DurationText, MomentText, NetworkText, PathText,
    ShareText, SizeText, UrlText, WeightText, ZoneText,
};
pub(crate) use listener::{
    AddressHeader, ClientAddress, Limits, Listener, ListenerProtocol, ListenerTimeouts, Profile,
};
pub(crate) use node::Node;
pub(crate) use plan::{
    Allow, Cohort, Day, Deny, Fallback, Gate, Hold, OnRegression, Rollout, Stage, Windows,
};
pub(crate) use route::{
    CertificateMatch, CertificatePart, HeaderEdits, Match, PathMatch, Redirect, Region, Respond,
    Retry, Rewrite, Route, RouteTimeouts, Rule, Scheme, Split, TextMatch, UserMatch, ValueMatch,
    When,
};
pub(crate) use schema::schema;
pub(crate) use service::{
    ActiveHealth, Balance, Health, PassiveHealth, Pool, Protocol, Service, Version,
};
pub(crate) use tls::{
    ClientAuth, ClientAuthMode, ListenerTls, ServerCertificate, ServiceTls, TlsVersion,
};

use schemars::JsonSchema;
use serde::Deserialize;

/// Keys and values that a later release will understand, by the name of the type that would hold them. They are told
/// apart from mistakes, because whoever writes one did not mistype it.
pub(crate) const LATER: &[(&str, &[&str])] = &[
    ("Tidegate", &["tracing", "alerts"]),
    ("UserSource", &["jwt"]),
    ("Version", &["dns", "endpoints_file"]),
    ("Service", &["tls"]),
    ("Protocol", &["h2", "auto"]),
    ("Balance", &["peak_ewma", "hash"]),
    ("Route", &["mirror"]),
    ("When", &["time", "device", "tag", "cel"]),
];

/// Tidegate's configuration file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Tidegate")]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The version of this format: 1. Required, but may be left out of included files.
    pub(crate) version: Option<u64>,
    /// Threads, the end of life, further files.
    pub(crate) runtime: Option<Runtime>,
    /// The admin API. Without this section it answers on 127.0.0.1:9900, to this machine only.
    pub(crate) admin: Option<Admin>,
    /// A line of JSON for each request. Without this section: none.
    pub(crate) access_log: Option<AccessLog>,
    /// Where a client's region comes from. Without this section no `region` ever holds.
    pub(crate) geo: Option<Geo>,
    /// The addresses that accept requests; at least one in all files together.
    #[serde(default)]
    pub(crate) listeners: Vec<Listener>,
    /// Who the user is. Without this section nobody says, and splits are random unless they say `by`.
    pub(crate) identity: Option<Identity>,
    /// What requests are forwarded to.
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// Releases by stages. Which have gone how far is kept in `runtime.state_dir`, never in this file.
    #[serde(default)]
    pub(crate) rollouts: Vec<Rollout>,
    /// Which requests go where. Tried by most specific host, then path (exact, longest prefix, regex), then the order
    /// written. A request that none matches gets 404.
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
}

/// Threads, the end of life, further files.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    /// Worker threads: `auto` (default) is one for each core that the process may use, or a number from 1 to 1024. A
    /// change needs a restart.
    pub(crate) workers: Option<Workers>,
    /// How the process leaves after SIGTERM.
    pub(crate) drain: Option<Drain>,
    /// A folder where rollouts and their history are remembered, made where it is missing. Default: `state` beside this
    /// file. `--state-dir` goes first. A change needs a restart.
    pub(crate) state_dir: Option<PathText>,
    /// Further files with the same keys: paths, or patterns with `*`, `?` and `[…]` in the file name, relative to this
    /// file. A name or section given twice is an error. Only the main file includes.
    #[serde(default)]
    pub(crate) include: Vec<PathText>,
}

/// `auto`, or the number of worker threads.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "`auto` or a whole number")]
pub(crate) enum Workers {
    /// So many.
    Count(u64),
    /// One for each core.
    Word(WorkersWord),
}

/// One worker for each core that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum WorkersWord {
    Auto,
}

/// How the process leaves after SIGTERM.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    /// Keep accepting for so long while readiness already says no. A duration, default `0s`.
    pub(crate) min: Option<DurationText>,
    /// After so long, counted from the signal, what is still open is closed. A duration, default `30s`.
    pub(crate) max: Option<DurationText>,
}

/// The admin API.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Where the API answers, default `127.0.0.1:9900`. Anything but loopback needs `tokens_file`. A change needs a
    /// restart.
    pub(crate) address: Option<AddressText>,
    /// A file with a line for each token, `role:token`; the role is viewer, operator, approver or admin. Lines that
    /// begin with `#` are comments. Default: no tokens, and everybody on this machine may do everything.
    pub(crate) tokens_file: Option<PathText>,
    /// An extra address for health checks and `/metrics` alone. Default none.
    pub(crate) probes: Option<AddressText>,
}

/// A line of JSON for each request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLog {
    /// `stdout` (default), `none`, or the path of a file, which is opened again on SIGUSR1.
    pub(crate) output: Option<PathText>,
    /// The form of a line: `json`, the only one and the default.
    pub(crate) format: Option<LogFormat>,
    /// Which share of the lines is written.
    pub(crate) sample: Option<LogSample>,
    /// What is written as `***`.
    pub(crate) redact: Option<Redact>,
}

/// The form of a line in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
}

/// Which share of the lines is written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSample {
    /// Of answers below 500. A share, default `100%`.
    pub(crate) success: Option<ShareText>,
    /// Of failures: 5xx, clients that left, broken answers. A share, default `100%`.
    pub(crate) failure: Option<ShareText>,
}

/// What the access log writes as `***`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redact {
    /// Names of request headers. Default `[authorization, cookie, proxy-authorization]`.
    pub(crate) headers: Option<Vec<String>>,
    /// Names of query parameters. Default none.
    #[serde(default)]
    pub(crate) query: Vec<String>,
}

/// Where a client's region comes from: at least one of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Geo {
    /// A MaxMind database (City or Country), asked by the client's address. Read again when it changes.
    pub(crate) database: Option<PathText>,
    /// A header that holds `CC` or `CC-SUB` (`DE`, `US-CA`). Asked first, and only where the listener's
    /// `trusted_headers` list it.
    pub(crate) header: Option<String>,
}

/// Who the user is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The first source that answers counts. At least one.
    pub(crate) user: Vec<UserSource>,
}

/// One source of the user's ID: exactly one of these keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSource {
    /// A header. Counts only from a listener whose `trusted_headers` list it.
    pub(crate) header: Option<String>,
    /// A cookie, as sent: on an edge listener outsiders choose its value.
    pub(crate) cookie: Option<String>,
    /// A cookie with a random ID, given to whoever has none. At most one such source.
    pub(crate) assign_cookie: Option<String>,
    /// `true`: the client's address, IPv4 whole, IPv6 by /64.
    pub(crate) client_address: Option<bool>,
    /// A part of the certificate that the caller showed: `dns`, `uri`, `email`, `subject` or `fingerprint`. Of several
    /// names the first.
    pub(crate) client_certificate: Option<CertificatePart>,
}

/// Why the loader refused a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Line and column, from 1, where it knows them.
    pub(crate) place: Option<(usize, usize)>,
    pub(crate) what: String,
}

impl From<serde_yaml::Error> for Refusal {
    fn from(error: serde_yaml::Error) -> Self {
        let place = error.location().map(|at| (at.line(), at.column()));
        let what = error.to_string();
        // The place is told apart from the text.
        let end =
            place.and_then(|(line, column)| what.find(&format!(" at line {line} column {column}")));
        Self {
            place,
            what: what[..end.unwrap_or(what.len())].to_owned(),
        }
    }
}

/// Gives a text its typed shape. After a clean walk of the shapes this does not fail but for a fault of ours.
pub(crate) fn decode(text: &str) -> Result<File, Refusal> {
    Ok(serde_yaml::from_str(text)?)
}

/// Reads one document, whatever it holds.
pub(crate) fn node(text: &str) -> Result<Node, Refusal> {
    Ok(serde_yaml::from_str(text)?)
}
