//! What becomes of headers on the way through: hop-by-hop fields end here (RFC 9110 §7.6.1), where the request comes from
//! is written anew or added to (RFC 7239), every request has an ID and a trace.

use std::net::IpAddr;

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tidegate_config as config;

use super::client_address::is_trusted;
use super::peer::Peer;
use super::survey::{Seen, Survey};

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Request-ID`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `Traceparent` (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const VIA_1: HeaderValue = HeaderValue::from_static("1.1 tidegate");
const VIA_2: HeaderValue = HeaderValue::from_static("2.0 tidegate");
/// A longer ID from outside is replaced.
const REQUEST_ID_BYTES: usize = 128;

/// Fields that end at every hop whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy"),
];

/// What a caller cannot have removed by naming it in `Connection`: the message would mean something else without it.
const KEPT: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CACHE_CONTROL,
    header::EXPECT,
    header::TE,
];

/// Ends the hop-by-hop fields of a message. Fields that `Connection` names go too, but for `KEPT`.
pub fn end_hop(headers: &mut HeaderMap, survey: Survey) {
    if survey.has(Seen::Connection) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|line| {
                line.as_bytes()
                    .split(|b| *b == b',')
                    .map(<[u8]>::trim_ascii)
            })
            // What most senders say; the field of that name is seen by its own.
            .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive"))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    let any = [
        Seen::Te,
        Seen::TransferEncoding,
        Seen::Upgrade,
        Seen::HopByHop,
    ];
    if any.into_iter().any(|seen| survey.has(seen)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

/// How the request goes on.
#[derive(Debug, Clone, Copy)]
pub struct Onward {
    /// The client's address.
    pub client: IpAddr,
    /// The version speaks HTTP/2.
    pub http2: bool,
    /// The listener's profile.
    pub profile: config::Profile,
}

/// Makes the head of a request that was admitted into the one that the version gets. Edits come after it.
pub fn toward_version(
    head: &mut Parts,
    survey: Survey,
    peer: &Peer,
    from: &config::ClientAddress,
    upgrade: Option<HeaderValue>,
    onward: Onward,
) {
    let wants_trailers = survey.has(Seen::Te) && accepts_trailers(&head.headers);
    end_hop(&mut head.headers, survey);
    if survey.has(Seen::Expect) {
        head.headers.remove(header::EXPECT);
    }
    if survey.has(Seen::SecondCookie) {
        join_cookies(&mut head.headers);
    }
    tell_origin(&mut head.headers, survey, peer, from, onward);
    let via = if head.version == Version::HTTP_2 {
        VIA_2
    } else {
        VIA_1
    };
    head.headers.append(header::VIA, via);
    if !(survey.has(Seen::RequestId) && keeps_request_id(&head.headers)) {
        head.headers.insert(X_REQUEST_ID, request_id());
    }
    if !(survey.has(Seen::Traceparent) && keeps_trace(&head.headers)) {
        head.headers.insert(TRACEPARENT, traceparent());
    }
    // How long the body is, the connection says by what it sends.
    if survey.has(Seen::ContentLength) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if onward.http2 {
        if wants_trailers {
            head.headers
                .insert(header::TE, HeaderValue::from_static("trailers"));
        }
    } else if let Some(protocol) = upgrade {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, protocol);
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// HTTP/2 may split a cookie into lines; HTTP/1.1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut joined = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}

/// `X-Forwarded-*` and `Forwarded`: written anew where the peer is nobody's trusted proxy (what it said is gone already),
/// else added to.
fn tell_origin(
    headers: &mut HeaderMap,
    survey: Survey,
    peer: &Peer,
    from: &config::ClientAddress,
    onward: Onward,
) {
    let believed =
        onward.profile == config::Profile::Sidecar || is_trusted(peer.address.ip(), from);
    let present = survey.has(Seen::Forwarded);
    if present && believed {
        add_to_origin(headers, peer);
    } else {
        headers.insert(X_FORWARDED_FOR, peer.address_value.clone());
        headers.insert(X_FORWARDED_PROTO, scheme(peer));
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.insert(X_FORWARDED_HOST, host);
        }
        headers.insert(header::FORWARDED, peer.forwarded_value.clone());
    }
}

fn scheme(peer: &Peer) -> HeaderValue {
    if peer.is_encrypted() { HTTPS } else { HTTP }
}

fn add_to_origin(headers: &mut HeaderMap, peer: &Peer) {
    append_element(headers, X_FORWARDED_FOR, &peer.address_value);
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, scheme(peer));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    append_element(headers, header::FORWARDED, &peer.forwarded_value);
}

/// Adds an element to a list that may stand in several lines.
fn append_element(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut joined = Vec::new();
    for line in headers.get_all(&name) {
        joined.extend_from_slice(line.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(element.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(name, value);
    }
}

fn keeps_request_id(headers: &HeaderMap) -> bool {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let fits = |id: &HeaderValue| {
        let id = id.as_bytes();
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.iter().all(u8::is_ascii_graphic)
    };
    ids.next().is_some_and(fits) && ids.next().is_none()
}

/// `version-trace-parent-flags`, all lower-case hexadecimal, IDs not zero (W3C Trace Context §3.2).
fn keeps_trace(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let line = line.as_bytes();
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let set = |part: &[u8]| hex(part) && part.iter().any(|b| *b != b'0');
    line.len() >= 55
        && (line.len() == 55 || (line[55] == b'-' && &line[..2] != b"00"))
        && [2, 35, 52].iter().all(|at| line[*at] == b'-')
        && hex(&line[..2])
        && &line[..2] != b"ff"
        && set(&line[3..35])
        && set(&line[36..52])
        && hex(&line[53..55])
}

/// A new request ID: 128 random bits in hexadecimal.
pub fn request_id() -> HeaderValue {
    let mut text = [0; 32];
    write_hex(&mut text, fastrand::u128(..).to_be_bytes());
    ascii_value(&text)
}

/// A new trace: version 00, random IDs, not sampled.
fn traceparent() -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], fastrand::u128(1..).to_be_bytes());
    write_hex(&mut text[36..52], fastrand::u64(1..).to_be_bytes());
    ascii_value(&text)
}

fn ascii_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

fn write_hex<const N: usize>(out: &mut [u8], bytes: [u8; N]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Makes the head of a version's answer into the one that the caller gets. Edits come after it.
pub fn toward_caller(headers: &mut HeaderMap) {
    let survey = Survey::of(headers);
    if survey.has(Seen::TransferEncoding) {
        // Both were there: the length is a lie (RFC 9112 §6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    end_hop(headers, survey);
}
