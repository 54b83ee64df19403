//! `routes[]`, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationOrNone, Guard, NetworkText, PathText, ShareText};

/// Which requests go where: exactly one of `service`, `redirect` and `respond`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// A name of its own; metrics use it. Default: the service's name.
    pub(crate) name: Option<String>,
    /// Which requests it is for; all that is given must hold. Default: every request.
    #[serde(rename = "match")]
    pub(crate) matches: Option<Match>,
    /// The service that requests are forwarded to.
    pub(crate) service: Option<String>,
    /// Waits toward the version. Only with `service`.
    pub(crate) timeouts: Option<RouteTimeouts>,
    /// Further tries. Default: only what never left the proxy is sent again. Only with `service`.
    pub(crate) retry: Option<Retry>,
    /// Who gets which version; tried in the order written, the first that matches wins, else the service's stable
    /// version answers. Only with `service`.
    pub(crate) rules: Option<Vec<Rule>>,
    /// Answers with a redirect.
    pub(crate) redirect: Option<Redirect>,
    /// Answers by itself.
    pub(crate) respond: Option<Respond>,
    /// Edits of the request's headers before it is forwarded. Only with `service`.
    pub(crate) request_headers: Option<HeaderEdits>,
    /// Edits of the answer's headers before it is returned.
    pub(crate) response_headers: Option<HeaderEdits>,
    /// What the version sees instead. Only with `service`.
    pub(crate) rewrite: Option<Rewrite>,
}

/// Which requests a route is for; all that is given must hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// The name of the listener that they came in by. Default: any.
    pub(crate) listener: Option<String>,
    /// Host names; `*.example.com` covers any depth below it. The port does not count. Default: any.
    pub(crate) hosts: Option<Vec<String>>,
    /// What the path must be. Default: any.
    pub(crate) path: Option<PathMatch>,
}

/// What a path must be: exactly one of these keys. The path is the normalised one, without the query.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathMatch {
    /// Byte for byte.
    pub(crate) exact: Option<String>,
    /// Whole segments: `/a` covers `/a` and `/a/b`, not `/ab`.
    pub(crate) prefix: Option<String>,
    /// Anywhere in the path unless anchored by `^` and `$`.
    pub(crate) regex: Option<String>,
}

/// Waits toward the version; `none` is no bound.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteTimeouts {
    /// From the request's head to the answer's head, all tries together; then 504. A duration or `none`, default `15s`.
    pub(crate) request: Option<DurationOrNone>,
    /// Of one try, to the answer's head. A duration or `none`, default `none`.
    #[serde(rename = "try")]
    pub(crate) each_try: Option<DurationOrNone>,
    /// Between two pieces of a body, and of a tunnel. A duration or `none`, default `5m`.
    pub(crate) stream_idle: Option<DurationOrNone>,
}

/// Further tries of idempotent requests, and of anything that never left the proxy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// What is tried again: `connect`, `reset`, `timeout`, or a status in quotes, `"503"`.
    pub(crate) failures: Vec<String>,
    /// Extra tries, 1 to 10. Default 1.
    pub(crate) attempts: Option<u64>,
    /// Extra tries as a share of the route's requests. A share, default `20%`.
    pub(crate) budget: Option<ShareText>,
}

/// Who gets which version: exactly one of `to`, `split` and `rollout`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// A name of its own in the route. Default: its number, from 1.
    pub(crate) name: Option<String>,
    /// Who it is for. Default: everybody.
    pub(crate) when: Option<When>,
    /// The version that they get.
    pub(crate) to: Option<String>,
    /// They are shared out among versions.
    pub(crate) split: Option<Split>,
    /// They are shared out by the weight that this rollout has at present.
    pub(crate) rollout: Option<String>,
}

/// Shares of versions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Split {
    /// What gives a request its place: `user`, `random`, `client_address`, `header:NAME` or `cookie:NAME`. Default:
    /// `user` where an `identity` is configured, else `random`.
    pub(crate) by: Option<String>,
    /// Equal salts put the same user in the same place. Default: `<route>.<rule>`.
    pub(crate) salt: Option<String>,
    /// The share of each version; 100 % together.
    pub(crate) weights: BTreeMap<String, ShareText>,
    /// What sends its one candidate back to stable: the split is then a rollout of one weight, named `<route>.<rule>`,
    /// and the rule needs a name.
    pub(crate) guard: Option<Guard>,
}

/// A condition; every key that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct When {
    /// A request header. Of several lines one must match.
    pub(crate) header: Option<TextMatch>,
    /// A cookie.
    pub(crate) cookie: Option<TextMatch>,
    /// A query parameter, decoded.
    pub(crate) query: Option<TextMatch>,
    /// The path.
    pub(crate) path: Option<PathMatch>,
    /// One of these methods.
    pub(crate) method: Option<Vec<String>>,
    /// The client's region.
    pub(crate) region: Option<Region>,
    /// The client's address is in one of these networks.
    pub(crate) source: Option<Vec<NetworkText>>,
    /// The user is one of these.
    pub(crate) user: Option<UserMatch>,
    /// The certificate that the caller showed, where the listener's `tls.client_auth` asks for one.
    pub(crate) client_certificate: Option<CertificateMatch>,
    /// At least one of these holds.
    pub(crate) any: Option<Vec<Self>>,
    /// Every one of these holds.
    pub(crate) all: Option<Vec<Self>>,
    /// This does not hold.
    pub(crate) not: Option<Box<Self>>,
}

/// What a named text must be: `name` and exactly one of the other keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextMatch {
    /// Whose value is looked at.
    pub(crate) name: String,
    /// Byte for byte.
    pub(crate) exact: Option<String>,
    /// Begins so.
    pub(crate) prefix: Option<String>,
    /// Holds this.
    pub(crate) contains: Option<String>,
    /// Anywhere unless anchored by `^` and `$`.
    pub(crate) regex: Option<String>,
    /// Is there (`true`), or is not (`false`).
    pub(crate) present: Option<bool>,
}

/// The certificate that a caller showed and that an authority of the listener vouches for; every key that is given must
/// hold. Of several names one must match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateMatch {
    /// There is one (`true`), or there is none (`false`).
    pub(crate) present: Option<bool>,
    /// Its DNS names, lower case.
    pub(crate) dns: Option<ValueMatch>,
    /// Its URIs: `spiffe://example.com/ns/shop`.
    pub(crate) uri: Option<ValueMatch>,
    /// Its e-mail addresses.
    pub(crate) email: Option<ValueMatch>,
    /// Its IP addresses.
    pub(crate) ip: Option<ValueMatch>,
    /// Its subject: `CN=alice, O=Example`.
    pub(crate) subject: Option<ValueMatch>,
    /// The SHA-256 of its DER in hexadecimal.
    pub(crate) fingerprint: Option<ValueMatch>,
}

/// What a text must be: exactly one of these keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueMatch {
    /// Byte for byte.
    pub(crate) exact: Option<String>,
    /// Begins so.
    pub(crate) prefix: Option<String>,
    /// Holds this.
    pub(crate) contains: Option<String>,
    /// Anywhere unless anchored by `^` and `$`.
    pub(crate) regex: Option<String>,
}

/// A part of a caller's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CertificatePart {
    /// Its first DNS name.
    Dns,
    /// Its first URI.
    Uri,
    /// Its first e-mail address.
    Email,
    /// Its subject.
    Subject,
    /// The SHA-256 of its DER.
    Fingerprint,
}

/// The client's region; every list that is given must hold it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    /// ISO 3166-1 codes: `DE`, `"NO"`.
    pub(crate) country: Option<Vec<String>>,
    /// ISO 3166-2 codes with their country: `US-CA`.
    pub(crate) subdivision: Option<Vec<String>>,
    /// AF, AN, AS, EU, NA, OC or SA.
    pub(crate) continent: Option<Vec<String>>,
}

/// Users; of both keys together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserMatch {
    /// Their IDs.
    pub(crate) any_of: Option<Vec<String>>,
    /// A file with an ID a line; lines that begin with `#` are comments. Read again when it changes.
    pub(crate) file: Option<PathText>,
}

/// Answers with a redirect; what is not given stays as asked. At least one key beside `status`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    /// 301, 302 (default), 303, 307 or 308.
    pub(crate) status: Option<u64>,
    /// `http` or `https`.
    pub(crate) scheme: Option<Scheme>,
    /// Another host.
    pub(crate) host: Option<String>,
    /// Another port, 1 to 65535.
    pub(crate) port: Option<u64>,
    /// Another path.
    pub(crate) path: Option<String>,
}

/// The scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

/// Answers by itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    /// 200 to 599.
    pub(crate) status: u64,
    /// The whole body, at most 1 MiB. Default empty.
    #[serde(default)]
    pub(crate) body: String,
    /// Default `text/plain; charset=utf-8`.
    pub(crate) content_type: Option<String>,
}

/// Edits of headers: removed first, then set, then added. Values may hold `{version}`, `{service}`, `{route}`,
/// `{rule}`, `{client_address}` and `{request_id}`; `{{` and `}}` are plain braces.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Replaces what is there.
    #[serde(default)]
    pub(crate) set: BTreeMap<String, String>,
    /// One more line.
    #[serde(default)]
    pub(crate) add: BTreeMap<String, String>,
    /// Names to remove.
    #[serde(default)]
    pub(crate) remove: Vec<String>,
}

/// What the version sees instead.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// Put in the place of the matched `path.prefix`; of `/` where the route matches no path.
    pub(crate) prefix: Option<String>,
    /// Sent as Host. Default: the client's.
    pub(crate) host: Option<String>,
}
