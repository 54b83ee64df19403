//! A route: which requests it is for, and the rules that say which version answers.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;

use crate::Share;

/// `routes[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique; a metrics label. Defaults to the service's name.
    pub name: String,
    /// Which requests it is for.
    pub matches: RouteMatch,
    /// What it does with them.
    pub action: Action,
    /// Edits of the request's headers before it is forwarded.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's headers before it is returned.
    pub response_headers: HeaderEdits,
}

/// `routes[].match`: all that is given must hold. Empty matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteMatch {
    /// Index into `Config::listeners`.
    pub listener: Option<usize>,
    /// Host patterns, lower case; empty is any host.
    pub hosts: Vec<HostPattern>,
    /// What the path must be.
    pub path: Option<PathMatch>,
}

/// A host name, or `*.` and a suffix that covers any depth below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `shop.example.com`.
    Exact(String),
    /// `*.example.com`, kept without the star: `.example.com`.
    Suffix(String),
}

impl std::fmt::Display for HostPattern {
    /// As it is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// What a path must be.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Byte for byte.
    Exact(String),
    /// Whole segments, as in the Gateway API: `/a` covers `/a` and `/a/b`, not `/ab`. Kept without a trailing slash; `/` is "".
    Prefix(String),
    /// Anywhere in the path unless anchored.
    Regex(Regex),
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// What a route does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Forwards to a version of a service.
    Forward(Forward),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers by itself.
    Respond(Respond),
}

/// A route with `service`.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Index into `Config::services`.
    pub service: usize,
    /// In the order written; the first that matches wins. None matches: the service's stable.
    pub rules: Vec<Rule>,
    /// Waits toward the version.
    pub timeouts: RouteTimeouts,
    /// Further tries. `None`: only what never left the proxy is sent again.
    pub retry: Option<Retry>,
    /// Changes of the path and host that the version sees.
    pub rewrite: Rewrite,
}

/// `routes[].rewrite`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Put in the place of the matched path prefix.
    pub prefix: Option<String>,
    /// Sent as Host.
    pub host: Option<String>,
}

/// `routes[].timeouts`; `None` where the file says `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the request's head to the answer's head, all tries together. Default 15 s.
    pub request: Option<Duration>,
    /// Of one try, to the answer's head. Default none.
    pub each_try: Option<Duration>,
    /// Between two pieces of the answer's body, and of a tunnel in both directions. Default 5 min.
    pub stream_idle: Option<Duration>,
}

/// `routes[].retry`: for idempotent methods, and for anything that never left the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// What is tried again.
    pub failures: Vec<RetryOn>,
    /// Extra tries, at least 1.
    pub attempts: NonZeroU32,
    /// Extra tries as a share of the route's requests over 10 s, with a floor of 3 a second. Default 20 %.
    pub budget: Share,
}

/// A failure that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection was made.
    Connect,
    /// The connection broke before the answer's head.
    Reset,
    /// The try took too long.
    Timeout,
    /// The version answered this status, 500 to 599.
    Status(u16),
}

/// `routes[].rules[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique in the route. Defaults to its number, from 1.
    pub name: String,
    /// Who it is for; `None` is everybody.
    pub when: Option<When>,
    /// Where they go.
    pub target: Target,
}

/// Where a rule sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this version, an index into the service's versions.
    To(usize),
    /// By share.
    Split(Split),
    /// By the weight that a rollout has at present: an index into `Config::rollouts`.
    Rollout(usize),
}

/// `rules[].split`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What gives a request its slot.
    pub by: SplitBy,
    /// Defaults to `<route>.<rule>`.
    pub salt: String,
    /// One for each version of the service, in the service's order; they add up to 100 %.
    pub weights: Vec<Share>,
}

/// What gives a request its slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SplitBy {
    /// The user, as `identity` finds them; a random slot where nobody is found.
    User,
    /// A random slot for each request.
    Random,
    /// The client's address: IPv4 whole, IPv6 by /64.
    ClientAddress,
    /// A header's value, its name in lower case; a random slot without one.
    Header(String),
    /// A cookie's value; a random slot without one.
    Cookie(String),
}

/// One source of `identity.user[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSource {
    /// A header, lower case, where the listener trusts it.
    Header(String),
    /// A cookie, as sent.
    Cookie(String),
    /// A cookie that the proxy gives to who has none.
    AssignCookie(String),
    /// The client's address.
    ClientAddress,
    /// A part of the certificate that the caller showed; of several names the first.
    ClientCertificate(CertificatePart),
}

/// A part of a caller's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// DNS names, lower case.
    Dns,
    /// URIs.
    Uri,
    /// E-mail addresses.
    Email,
    /// IP addresses.
    Ip,
    /// The subject.
    Subject,
    /// The SHA-256 of its DER in lower-case hexadecimal; every certificate has one.
    Fingerprint,
}

impl CertificatePart {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Subject => "subject",
            Self::Fingerprint => "fingerprint",
        }
    }

    /// As people are told of it.
    pub fn described(self) -> &'static str {
        match self {
            Self::Dns => "client certificate dns",
            Self::Uri => "client certificate uri",
            Self::Email => "client certificate email",
            Self::Ip => "client certificate ip",
            Self::Subject => "client certificate subject",
            Self::Fingerprint => "client certificate fingerprint",
        }
    }
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Every one holds. Several keys in one `when` are this too.
    All(Vec<Self>),
    /// At least one holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A header, its name in lower case. Of several lines one must match.
    Header(String, TextMatch),
    /// A cookie.
    Cookie(String, TextMatch),
    /// A query parameter, percent-decoded.
    Query(String, TextMatch),
    /// The normalised path.
    Path(PathMatch),
    /// One of these methods, upper case.
    Method(Vec<String>),
    /// The client's region.
    Region(RegionMatch),
    /// The client's address is in one of these networks.
    Source(Vec<IpNet>),
    /// The user is one of these.
    User(Arc<BTreeSet<String>>),
    /// The certificate that the caller showed; of several names one must match.
    ClientCertificate(CertificatePart, TextMatch),
}

/// What a text must be.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// Byte for byte.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// Holds this.
    Contains(String),
    /// Anywhere unless anchored.
    Regex(Regex),
    /// Is there (`true`), or is not.
    Present(bool),
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            _ => false,
        }
    }
}

/// `when.region`: every list that is not empty must hold the client's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegionMatch {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Vec<String>,
    /// ISO 3166-2 without the country's prefix, upper case: `CA` of `US-CA` is written `US-CA`.
    pub subdivision: Vec<String>,
    /// AF, AN, AS, EU, NA, OC, SA.
    pub continent: Vec<String>,
}

/// `request_headers`, `response_headers`: removed first, then set, then added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Lower-case names.
    pub remove: Vec<String>,
    /// Lower-case name and value; replaces what is there.
    pub set: Vec<(String, HeaderTemplate)>,
    /// Lower-case name and value; one more line.
    pub add: Vec<(String, HeaderTemplate)>,
}

/// A header's value with places to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate(pub Vec<TemplatePart>);

/// A piece of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// As written.
    Text(String),
    /// `{version}`
    Version,
    /// `{service}`
    Service,
    /// `{route}`
    Route,
    /// `{rule}`
    Rule,
    /// `{client_address}`
    ClientAddress,
    /// `{request_id}`
    RequestId,
}

/// `routes[].redirect`: what is not given stays as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Another host.
    pub host: Option<String>,
    /// Another port; the scheme's own where it is the default one.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<String>,
}

/// `routes[].respond`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The whole body. Default empty.
    pub body: String,
    /// Default `text/plain; charset=utf-8`.
    pub content_type: String,
}
