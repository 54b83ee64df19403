//! "Where would this request go, and why?": asked by the command about a file, by the API about what is in force.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;
use tidegate_config::{Config, Profile};

use crate::route::{Caller, Explanation, Regions, Table};
use crate::snapshot::{Listener, Snapshot};
use crate::transport::session::ClientCertificate;

/// A request that nobody has sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// GET where nothing is said.
    #[serde(default)]
    pub method: Option<String>,
    /// `http://shop.example.com/cart?x=1`, or a path alone.
    pub url: String,
    /// Request headers.
    #[serde(default, deserialize_with = "headers")]
    pub headers: Vec<(String, String)>,
    /// The client's address; 127.0.0.1 where nothing is said.
    #[serde(default)]
    pub client: Option<IpAddr>,
    /// The listener that it comes in by; the first where nothing is said.
    #[serde(default)]
    pub listener: Option<String>,
    /// Parts of the certificate that the caller showed: `dns=alice.example.com`. Where nothing is said it showed none.
    #[serde(default)]
    pub client_certificate: Vec<String>,
    /// Whether the headers are believed although the listener would not.
    #[serde(default)]
    pub trusted: bool,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BadQuestion {
    /// The URL is none.
    #[error("url: {url:?} cannot be used ({why}); write http://HOST/PATH or /PATH")]
    Url {
        /// As asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A listener would not let this path in.
    #[error("url: a listener with this profile refuses the path {path:?} with 400 ({why})")]
    Path {
        /// As asked.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two lines of an identity header that differ.
    #[error("headers: {0} is given twice with different values: an edge listener answers 400")]
    Conflict(HeaderName),
    /// The method is none.
    #[error("method: {0:?} is not a method of HTTP")]
    Method(String),
    /// A method that the proxy does not forward.
    #[error("method: {0} is refused with 405 before any route is asked")]
    Refused(Method),
    /// A header is none.
    #[error("headers: {0:?} is not a header; write NAME: VALUE")]
    Header(String),
    /// A part of a certificate is none.
    #[error(
        "client_certificate: {0:?} is no part of a certificate; write one of dns=, uri=, email=, ip=, subject= and fingerprint="
    )]
    Certificate(String),
    /// The listener would never see a certificate.
    #[error("client_certificate: the listener {0:?} asks its callers for none (`tls.client_auth`)")]
    NotAsked(String),
    /// No listener has this name.
    #[error("listener: there is none named {asked:?}; the file has {}", there.join(", "))]
    Listener {
        /// As asked.
        asked: String,
        /// The names that there are.
        there: Vec<String>,
    },
}

/// Answers a question by a snapshot. A trusted one compiles the routes anew: not for a thread that others wait for.
///
/// # Errors
/// Where the question itself makes no sense.
pub fn answer(snapshot: &Snapshot, question: &Question) -> Result<Explanation, BadQuestion> {
    let Snapshot {
        config,
        table,
        listeners,
        rollouts,
        ..
    } = snapshot;
    let listener = listener(config, question.listener.as_deref())?;
    let is_edge = config.listeners[listener].profile == Profile::Edge;
    let method = question.method.as_deref().unwrap_or("GET");
    let method: Method = method
        .parse()
        .map_err(|_| BadQuestion::Method(method.to_owned()))?;
    if matches!(method, Method::CONNECT | Method::TRACE) {
        return Err(BadQuestion::Refused(method));
    }
    let uri = uri(&question.url)?;
    let mut headers = header_map(&question.headers)?;
    if let (Some(authority), false) = (uri.authority(), headers.contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| bad_url(&question.url, "its host"))?;
        headers.insert(HOST, host);
    }
    let believing;
    let table = if question.trusted {
        believing = believe(config, listener, &headers);
        &believing
    } else {
        if is_edge {
            strip(&mut headers, &listeners[listener]);
        }
        table
    };
    if let Some(name) = table.conflict(listener, &headers).filter(|_| is_edge) {
        return Err(BadQuestion::Conflict(name.clone()));
    }
    let host = match uri.host() {
        Some(host) => host.to_owned(),
        None => host_of(&headers),
    };
    let path = path(uri.path(), !is_edge)?;
    let asks = listeners[listener].serving.as_ref().is_some_and(|s| s.asks);
    let certificate = certificate(&question.client_certificate)?;
    if certificate.is_some() && !asks {
        let name = config.listeners[listener].name.clone();
        return Err(BadQuestion::NotAsked(name));
    }
    let caller = Caller {
        listener,
        method: &method,
        host: &host,
        path: &path,
        query: uri.query(),
        headers: &headers,
        client: question.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        certificate: certificate.as_ref(),
    };
    Ok(table.explain(&caller, &**rollouts, &mut || fastrand::u64(..)))
}

fn listener(config: &Config, asked: Option<&str>) -> Result<usize, BadQuestion> {
    let Some(asked) = asked else { return Ok(0) };
    config
        .listeners
        .iter()
        .position(|listener| listener.name == asked)
        .ok_or_else(|| BadQuestion::Listener {
            asked: asked.to_owned(),
            there: config
                .listeners
                .iter()
                .map(|listener| listener.name.clone())
                .collect(),
        })
}

fn bad_url(url: &str, why: impl Into<String>) -> BadQuestion {
    BadQuestion::Url {
        url: url.to_owned(),
        why: why.into(),
    }
}

fn uri(url: &str) -> Result<Uri, BadQuestion> {
    // What follows `#` stays in the browser.
    let sent = url.split('#').next().unwrap_or(url);
    let uri: Uri = sent
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad_url(url, error.to_string()))?;
    if let Some(scheme) = uri.scheme_str().filter(|s| !matches!(*s, "http" | "https")) {
        return Err(bad_url(url, format!("{scheme} is not spoken here")));
    }
    let is_whole = uri.scheme().is_some() && uri.authority().is_some();
    if is_whole || (uri.scheme().is_none() && sent.starts_with('/')) {
        Ok(uri)
    } else {
        Err(bad_url(url, "neither a whole URL nor a path"))
    }
}

fn path(path: &str, encoded_slash: bool) -> Result<Cow<'_, str>, BadQuestion> {
    tidegate_config::normalise(path, encoded_slash).map_err(|bad| BadQuestion::Path {
        path: path.to_owned(),
        why: match bad {
            tidegate_config::BadPath::Malformed => "a backslash, a zero byte or a broken % escape",
            tidegate_config::BadPath::EncodedSlash => "%2F or %5C",
        },
    })
}

/// The certificate that these are parts of.
fn certificate(parts: &[String]) -> Result<Option<ClientCertificate>, BadQuestion> {
    if parts.is_empty() {
        return Ok(None);
    }
    // Every certificate has one; nobody has this.
    let mut made = ClientCertificate {
        fingerprint: "unknown".to_owned(),
        ..ClientCertificate::default()
    };
    for part in parts {
        let wrong = || BadQuestion::Certificate(part.clone());
        let (kind, value) = part.split_once('=').ok_or_else(wrong)?;
        match kind.trim() {
            "dns" => made.dns.push(value.to_ascii_lowercase()),
            "uri" => made.uri.push(value.to_owned()),
            "email" => made.email.push(value.to_owned()),
            "ip" => made.ip.push(value.to_owned()),
            "subject" => made.subject = value.to_owned(),
            "fingerprint" => made.fingerprint = value.replace(':', "").to_ascii_lowercase(),
            _ => return Err(wrong()),
        }
    }
    Ok(Some(made))
}

fn header_map(lines: &[(String, String)]) -> Result<HeaderMap, BadQuestion> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let wrong = || BadQuestion::Header(format!("{name}: {value}"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        headers.append(
            name,
            HeaderValue::from_str(value.trim()).map_err(|_| wrong())?,
        );
    }
    Ok(headers)
}

/// The same routes on a listener that trusts these headers too.
fn believe(config: &Config, listener: usize, headers: &HeaderMap) -> Table {
    let mut config = config.clone();
    let named = headers.keys().map(|name| name.as_str().to_owned());
    config.listeners[listener].trusted_headers.extend(named);
    let database = config.geo.as_ref().and_then(|geo| geo.database.as_ref());
    // It was opened when the file came into force.
    let regions = database.and_then(|database| Regions::open(database).ok());
    Table::compile(&config, regions)
}

/// Takes away what an outsider may not say on this listener.
fn strip(headers: &mut HeaderMap, listener: &Listener) {
    let doomed = |name: &&HeaderName| {
        listener.stripped.contains(name) || listener.is_reserved(name.as_str())
    };
    let doomed: Vec<HeaderName> = headers.keys().filter(doomed).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// The host without its port, as sent.
fn host_of(headers: &HeaderMap) -> String {
    let said = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    said.parse::<http::uri::Authority>()
        .map_or_else(|_| said.to_owned(), |authority| authority.host().to_owned())
}

/// `{"name": "value"}` or `{"name": ["one", "two"]}`.
fn headers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lines {
        One(String),
        More(Vec<String>),
    }
    let map = std::collections::BTreeMap::<String, Lines>::deserialize(from)?;
    let mut lines = Vec::new();
    for (name, values) in map {
        match values {
            Lines::One(value) => lines.push((name, value)),
            Lines::More(values) => {
                lines.extend(values.into_iter().map(|value| (name.clone(), value)))
            }
        }
    }
    Ok(lines)
}
