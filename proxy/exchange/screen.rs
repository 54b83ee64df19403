//! What a request must be before it is routed. hyper has framed it; what hyper leaves open is closed here (RFC 9112 §3.2,
//! §6.1; RFC 9110 §7.6, §10.1.1), and what outsiders must not decide is removed.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Version};
use tidegate_config as config;

use super::client_address::is_trusted;
use super::survey::{Seen, Survey};
use crate::record::Reason;
use crate::snapshot::Listener;
use crate::upstream::hearsay::is_hearsay;

/// A request that may be routed: its headers hold one `Host`, its target is a normal path.
#[derive(Debug)]
pub struct Admitted {
    /// What its headers hold.
    pub survey: Survey,
    /// The protocol that it asks to go on with, where it may.
    pub upgrade: Option<HeaderValue>,
}

/// Checks the head of a request of a peer at `from` and brings it into its one form. `encrypted`: its connection is.
///
/// # Errors
/// The reason to refuse it.
pub fn admit(
    head: &mut Parts,
    wanted: &config::Listener,
    listener: &Listener,
    from: IpAddr,
    encrypted: bool,
) -> Result<Admitted, Reason> {
    check_method(&head.method)?;
    check_size(head, &wanted.limits)?;
    let survey = Survey::of(&head.headers);
    let is_padded = || head.version == Version::HTTP_2 && has_padded_value(&head.headers);
    if survey.has(Seen::Quote) || is_padded() {
        return Err(Reason::Malformed);
    }
    settle_host(head, survey)?;
    check_scheme(head, encrypted)?;
    settle_target(head, wanted.profile)?;
    check_framing(head, survey)?;
    check_expectation(head, survey)?;
    let upgrade = upgrade(head, survey, wanted);
    let believed = is_trusted(from, &wanted.client_address);
    strip(
        &mut head.headers,
        survey,
        listener,
        wanted.profile,
        believed,
    );
    Ok(Admitted { survey, upgrade })
}

/// White space around a value, which HTTP/1.1 takes off and HTTP/2 does not know (RFC 9113 §8.2.1).
fn has_padded_value(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    headers
        .values()
        .map(HeaderValue::as_bytes)
        .any(|value| is_space(value.first()) || is_space(value.last()))
}

fn check_method(method: &Method) -> Result<(), Reason> {
    match *method {
        Method::CONNECT | Method::TRACE => Err(Reason::Method),
        _ => Ok(()),
    }
}

fn check_size(head: &Parts, limits: &config::Limits) -> Result<(), Reason> {
    let target = head.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if target > limits.target_bytes {
        return Err(Reason::TargetTooLong);
    }
    if head.headers.len() > limits.header_count {
        return Err(Reason::HeaderTooLarge);
    }
    Ok(())
}

/// Exactly one valid host, written into `Host`. A target with an authority counts before the header (RFC 9112 §3.2.2).
fn settle_host(head: &mut Parts, survey: Survey) -> Result<(), Reason> {
    if survey.has(Seen::SecondHost) {
        return Err(Reason::Host);
    }
    if let Some(authority) = head.uri.authority() {
        if !is_host(authority.as_str().as_bytes()) {
            return Err(Reason::Host);
        }
        let said = head.headers.get(header::HOST);
        // A target with a host does not excuse from telling it (RFC 9112 §3.2).
        if said.is_none() && head.version == Version::HTTP_11 {
            return Err(Reason::Host);
        }
        if said.is_some_and(|host| !is_host(host.as_bytes())) {
            return Err(Reason::Host);
        }
        // Over HTTP/2 both are the client's word, and two words that differ are an attack (RFC 9113 §8.3.1).
        if head.version == Version::HTTP_2
            && said.is_some_and(|host| {
                !host
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
            })
        {
            return Err(Reason::Host);
        }
        let value = HeaderValue::from_str(authority.as_str()).map_err(|_| Reason::Host)?;
        head.headers.insert(header::HOST, value);
        return Ok(());
    }
    match head.headers.get(header::HOST) {
        Some(host) if is_host(host.as_bytes()) => Ok(()),
        None if head.version < Version::HTTP_11 => Ok(()),
        _ => Err(Reason::Host),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), not empty, without user information.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match rest.iter().position(|b| *b == b']') {
            Some(end) => {
                let literal = std::str::from_utf8(&rest[..end]).unwrap_or("");
                if literal.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                (&b"v6"[..], &rest[end + 1..])
            }
            None => return false,
        },
        _ => host.split_at(host.iter().position(|b| *b == b':').unwrap_or(host.len())),
    };
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    !name.is_empty()
        && name.iter().all(plain)
        && match port {
            [] => true,
            [b':', digits @ ..] => {
                digits.len() <= 5
                    && digits.iter().all(u8::is_ascii_digit)
                    && digits
                        .iter()
                        .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'))
                        <= 65_535
            }
            _ => false,
        }
}

/// Of an absolute target, the connection's own: `https` with TLS, else `http` (RFC 9110 §7.4). Over HTTP/2, where every
/// request names one, it says nothing: whoever ends an encryption before us may have left it as it was.
fn check_scheme(head: &Parts, encrypted: bool) -> Result<(), Reason> {
    let own = if encrypted {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    match head.uri.scheme() {
        Some(scheme) if *scheme != own => Err(Reason::Target),
        _ => Ok(()),
    }
}

/// A normal path in origin form; `*` for OPTIONS alone.
fn settle_target(head: &mut Parts, profile: config::Profile) -> Result<(), Reason> {
    let absolute = head.uri.authority().is_some();
    let Some(target) = head.uri.path_and_query() else {
        return Err(Reason::Target);
    };
    if target.path() == "*" {
        return if head.method == Method::OPTIONS && target.query().is_none() {
            Ok(())
        } else {
            Err(Reason::Target)
        };
    }
    // No URI has them (RFC 3986 §2); who writes them may mean any encoding.
    if profile == config::Profile::Edge && !target.as_str().is_ascii() {
        return Err(Reason::Target);
    }
    let normal =
        config::normalise(target.path(), profile == config::Profile::Sidecar).map_err(|bad| {
            match bad {
                config::BadPath::Malformed | config::BadPath::EncodedSlash => Reason::Target,
            }
        })?;
    let target = match (normal, absolute) {
        (std::borrow::Cow::Borrowed(_), false) => return Ok(()),
        // Written anew: an absolute target may have a query and no path (RFC 9112 §3.2.1).
        (path, _) => with_query(path.into_owned(), target.query())
            .parse::<PathAndQuery>()
            .map_err(|_| Reason::Target)?,
    };
    head.uri = Uri::from(target);
    Ok(())
}

fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// One coding, `chunked`, once; or one length; never a coding in HTTP/1.0 (RFC 9112 §6.1).
fn check_framing(head: &Parts, survey: Survey) -> Result<(), Reason> {
    if survey.has(Seen::SecondFraming) {
        return Err(Reason::Framing);
    }
    if survey.has(Seen::TransferEncoding) {
        let coding = head
            .headers
            .get(header::TRANSFER_ENCODING)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Reason::TransferCoding);
        }
        if head.version < Version::HTTP_11 || survey.has(Seen::ContentLength) {
            return Err(Reason::Framing);
        }
    }
    Ok(())
}

fn check_expectation(head: &Parts, survey: Survey) -> Result<(), Reason> {
    if !survey.has(Seen::Expect) {
        return Ok(());
    }
    let mut expects = head.headers.get_all(header::EXPECT).iter();
    let known = expects.all(|e| {
        e.as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"100-continue")
    });
    if known {
        Ok(())
    } else {
        Err(Reason::Expectation)
    }
}

/// The protocol asked for, where the request is one that can change protocols: HTTP/1.1, no body, `Connection: upgrade`
/// (RFC 9110 §7.8), one protocol that the listener lets through. `h2c` never: it would be a way around the rules.
fn upgrade(head: &Parts, survey: Survey, wanted: &config::Listener) -> Option<HeaderValue> {
    if !survey.has(Seen::Upgrade)
        || !survey.has(Seen::Connection)
        || head.version != Version::HTTP_11
    {
        return None;
    }
    let has_body = survey.has(Seen::TransferEncoding)
        || head
            .headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|v| v.as_bytes() != b"0");
    let asked = head.headers.get_all(header::CONNECTION).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let mut values = head.headers.get_all(header::UPGRADE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let protocol = value.as_bytes().trim_ascii();
    (asked && !has_body && is_protocol(protocol) && wanted.lets_upgrade_to(protocol))
        .then(|| value.clone())
}

/// One protocol by its name, perhaps with a version (RFC 9110 §7.8), and none that is HTTP.
fn is_protocol(protocol: &[u8]) -> bool {
    let is_http = [&b"http"[..], b"h2"].into_iter().any(|http| {
        protocol
            .get(..http.len())
            .is_some_and(|p| p.eq_ignore_ascii_case(http))
    });
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(b);
    !is_http && !protocol.is_empty() && protocol.iter().all(is_token)
}

/// Removes what outsiders must not decide, in every spelling. Names with underscores are gone altogether there: many a
/// version takes `_` for `-`, and then there are two words where a rule saw one. Nobody frames a message by them.
/// `believed` is a proxy in front, whose word counts about who is behind it.
fn strip(
    headers: &mut HeaderMap,
    survey: Survey,
    listener: &Listener,
    profile: config::Profile,
    believed: bool,
) {
    let is_edge = profile == config::Profile::Edge;
    if is_edge {
        for name in listener.stripped.iter() {
            headers.remove(name);
        }
    }
    let hearsay = is_edge && survey.has(Seen::Forwarded) && !believed;
    if survey.has(Seen::Underscore) || (is_edge && survey.has(Seen::Reserved)) || hearsay {
        let doomed: Vec<HeaderName> = headers
            .keys()
            .filter(|name| match name.as_str() {
                "transfer_encoding" | "content_length" => true,
                name => {
                    (is_edge && listener.is_reserved(name))
                        || (hearsay && is_hearsay(name) && !listener.is_trusted(name))
                }
            })
            .cloned()
            .collect();
        for name in doomed {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_perhaps_a_port() {
        for good in [
            "a",
            "shop.example.com",
            "a:80",
            "a:",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:8080",
            "a_b",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "u@h", "a:x", "a:65536", "[::1", "[::1]x", "[zz]", "a,b",
            "a#b", "é",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
