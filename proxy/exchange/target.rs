//! What is asked for: the host without its port, and the target as the version is to see it.

use http::Version;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use tidegate_config as config;

/// The host that was asked for, without its port.
pub fn host_of(head: &Parts) -> &str {
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("");
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// The matched prefix and the host are replaced where the route says so.
pub fn rewrite(head: &mut Parts, route: &config::Route, rules: &config::Forward) {
    if let Some(host) = rules
        .rewrite
        .host
        .as_deref()
        .and_then(|h| HeaderValue::from_str(h).ok())
    {
        head.headers.insert(header::HOST, host);
    }
    let Some(prefix) = &rules.rewrite.prefix else {
        return;
    };
    let matched = match &route.matches.path {
        Some(config::PathMatch::Prefix(matched)) => matched.as_str(),
        _ => "",
    };
    let Some(rest) = head.uri.path().strip_prefix(matched) else {
        return;
    };
    let mut path = prefix.trim_end_matches('/').to_owned();
    if !rest.starts_with('/') {
        path.push('/');
    }
    path.push_str(rest);
    if let Some(query) = head.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    if let Ok(path) = path.parse::<PathAndQuery>() {
        head.uri = Uri::from(path);
    }
}

/// What a version is told where an HTTP/1.0 caller named no host: later protocols must name one.
const NO_HOST: &str = "localhost";

/// The form in which a version is asked.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// That of HTTP/2. A connection that turns out to be of HTTP/1.1 puts it right.
    pub http2: bool,
    /// Over TLS.
    secure: bool,
}

impl Form {
    /// What this service's versions want. Who asks to go on as another protocol can do so over HTTP/1.1 alone.
    pub fn of(service: &config::Service, upgrades: bool) -> Self {
        let http2 = match service.protocol {
            config::Protocol::Http1 => false,
            config::Protocol::H2c | config::Protocol::H2 => true,
            config::Protocol::Auto => !upgrades,
        };
        Self {
            http2,
            secure: service.tls.is_some(),
        }
    }
}

/// The target in the form that the protocol wants.
pub fn for_protocol(head: &mut Parts, form: Form) {
    if form.http2 {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.scheme = Some(match form.secure {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        });
        parts.authority = head
            .headers
            .remove(header::HOST)
            .and_then(|h| h.as_bytes().try_into().ok());
        if parts.authority.is_none() {
            parts.authority = Some(Authority::from_static(NO_HOST));
        }
        head.uri = Uri::from_parts(parts).unwrap_or_default();
        head.version = Version::HTTP_2;
    } else {
        if head.uri.authority().is_some() {
            let path = head
                .uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/"));
            head.uri = Uri::from(path);
        }
        if head.version == Version::HTTP_10 {
            let none = HeaderValue::from_static(NO_HOST);
            head.headers.entry(header::HOST).or_insert(none);
        }
        head.version = Version::HTTP_11;
    }
}
