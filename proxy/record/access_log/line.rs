//! What a line of the access log says.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tidegate_config as config;
use tidegate_config::EndpointAddress;

use crate::record::{Outcome, Reason};
use crate::transport::session::Session;

/// A text that comes from outside is cut after so many bytes and marked with `…`.
const TEXT_MAX: usize = 4096;

/// What stands in the place of a value that must not be written.
const REDACTED: &[u8] = b"***";

/// One request, as the log tells it. What is `None` is left out of the line.
///
/// | key | what it is |
/// |---|---|
/// | `time` | when the head was read, RFC 3339 in UTC with milliseconds |
/// | `listener` | the listener's name |
/// | `client` | the client's address, as `client_address` finds it |
/// | `method` `host` `path` `query` | what was asked; the query redacted |
/// | `protocol` | `HTTP/1.1` or `HTTP/2` |
/// | `tls_version` `tls_cipher` `tls_server_name` `tls_alpn` | what the handshake agreed on, where there was one |
/// | `tls_client` | the subject of the certificate that the caller showed |
/// | `status` | what the client saw; 499 where it went away |
/// | `revision` | of the configuration that decided |
/// | `route` `rule` `service` `version` | where it was sent |
/// | `endpoint` | the machine that was tried last |
/// | `slot` `key_source` | the slot of the user, and what gave it |
/// | `bytes_in` `bytes_out` | of the bodies |
/// | `duration_ms` | from the head of the request to the end of the answer |
/// | `upstream_ms` | from sending to the head of the version's answer |
/// | `attempts` | how often it was sent |
/// | `fallback` | `true` where the version failed and stable was asked in its place; `endpoint` is stable's then |
/// | `failure` `blame` | what went wrong, and whose fault it was: the words of `tidegate_failures_total`; caller, gate, version |
/// | `refusal` | why the proxy answered itself: the words of `tidegate_refusals_total` |
/// | `request_id` `traceparent` | as forwarded |
/// | `user_agent` `referer` | as sent; the referer's query redacted |
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the table above tells each field")]
pub struct Line<'a> {
    pub time: SystemTime,
    pub listener: &'a str,
    pub client: IpAddr,
    pub method: &'a str,
    pub host: &'a [u8],
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub protocol: &'static str,
    pub session: Option<&'a Session>,
    pub revision: u64,
    pub route: Option<&'a str>,
    pub rule: Option<&'a str>,
    pub service: Option<&'a str>,
    pub version: Option<&'a str>,
    pub endpoint: Option<&'a EndpointAddress>,
    pub slot: Option<u32>,
    pub key_source: Option<&'a str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Status, failure, blame and duration.
    pub outcome: Outcome,
    pub upstream: Option<Duration>,
    pub attempts: u32,
    pub fallback: bool,
    pub refusal: Option<Reason>,
    pub request_id: Option<&'a [u8]>,
    pub traceparent: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
}

impl Line<'_> {
    /// The line with its newline. Whatever was sent, it is one line of printable text.
    #[must_use]
    pub fn to_json(&self, policy: &config::AccessLog) -> Vec<u8> {
        let referer = self.referer.map(|url| referer(url, &policy.redact_query));
        let mut object = Object::open();
        object.text("time", rfc3339(self.time).as_bytes());
        object.text("listener", self.listener.as_bytes());
        object.raw("client", format_args!("\"{}\"", self.client));
        object.text("method", self.method.as_bytes());
        object.text("host", header(policy, "host", self.host));
        object.text("path", self.path);
        object.some(
            "query",
            self.query
                .map(|query| redacted(query, &policy.redact_query))
                .as_deref(),
        );
        object.text("protocol", self.protocol.as_bytes());
        if let Some(session) = self.session {
            object.text("tls_version", session.version.as_bytes());
            object.text("tls_cipher", session.cipher.as_bytes());
            object.some(
                "tls_server_name",
                session.server_name.as_deref().map(str::as_bytes),
            );
            object.some("tls_alpn", session.alpn.map(str::as_bytes));
            let certificate = session.certificate.as_ref();
            object.some("tls_client", certificate.map(|c| c.subject.as_bytes()));
        }
        object.raw("status", self.outcome.status);
        object.raw("revision", self.revision);
        object.some("route", self.route.map(str::as_bytes));
        object.some("rule", self.rule.map(str::as_bytes));
        object.some("service", self.service.map(str::as_bytes));
        object.some("version", self.version.map(str::as_bytes));
        object.some(
            "endpoint",
            self.endpoint
                .map(|at| at.to_string().into_bytes())
                .as_deref(),
        );
        if let Some(slot) = self.slot {
            object.raw("slot", slot);
        }
        object.some("key_source", self.key_source.map(str::as_bytes));
        object.raw("bytes_in", self.bytes_in);
        object.raw("bytes_out", self.bytes_out);
        object.raw("duration_ms", Millis(self.outcome.duration));
        if let Some(upstream) = self.upstream {
            object.raw("upstream_ms", Millis(upstream));
        }
        object.raw("attempts", self.attempts);
        if self.fallback {
            object.raw("fallback", true);
        }
        if let Some(failure) = self.outcome.failure {
            object.text("failure", failure.kind.as_str().as_bytes());
            object.text("blame", failure.blame.as_str().as_bytes());
        }
        object.some(
            "refusal",
            self.refusal.map(|reason| reason.as_str().as_bytes()),
        );
        object.some(
            "request_id",
            self.request_id
                .map(|value| header(policy, "x-request-id", value)),
        );
        object.some(
            "traceparent",
            self.traceparent
                .map(|value| header(policy, "traceparent", value)),
        );
        object.some(
            "user_agent",
            self.user_agent
                .map(|value| header(policy, "user-agent", value)),
        );
        object.some(
            "referer",
            referer.as_deref().map(|url| header(policy, "referer", url)),
        );
        object.close()
    }
}

/// A header's value, unless it is to be kept secret.
fn header<'a>(policy: &config::AccessLog, name: &str, value: &'a [u8]) -> &'a [u8] {
    let secret = policy
        .redact_headers
        .iter()
        .any(|redacted| redacted.eq_ignore_ascii_case(name));
    if secret { REDACTED } else { value }
}

fn rfc3339(time: SystemTime) -> String {
    // A clock that is set to before year -9999 has other worries.
    Timestamp::try_from(time)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// The query part of a URL redacted like the request's own: a secret travels on in the next request's referer.
fn referer<'a>(url: &'a [u8], names: &[String]) -> Cow<'a, [u8]> {
    let Some(at) = url.iter().position(|byte| *byte == b'?') else {
        return Cow::Borrowed(url);
    };
    let (before, query) = url.split_at(at + 1);
    match redacted(query, names) {
        Cow::Borrowed(_) => Cow::Borrowed(url),
        Cow::Owned(query) => Cow::Owned([before, &query].concat()),
    }
}

/// The query with the values of these parameters replaced. Names are compared decoded and in any case, since that is
/// how some services read them, and `;` separates parameters too, since to some it does.
fn redacted<'a>(query: &'a [u8], names: &[String]) -> Cow<'a, [u8]> {
    let is_secret = |parameter: &[u8]| {
        let name = parameter
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        names
            .iter()
            .any(|secret| decoded(name).eq(secret.bytes().map(|byte| byte.to_ascii_lowercase())))
    };
    let separator = |byte: &u8| matches!(byte, b'&' | b';');
    if !query.split(separator).any(is_secret) {
        return Cow::Borrowed(query);
    }
    let mut out = Vec::with_capacity(query.len());
    for parameter in query.split_inclusive(|byte| separator(byte)) {
        let (parameter, end) = match parameter.split_last() {
            Some((last, rest)) if separator(last) => (rest, Some(*last)),
            _ => (parameter, None),
        };
        if is_secret(parameter) {
            out.extend(parameter.iter().take_while(|byte| **byte != b'='));
            out.push(b'=');
            out.extend_from_slice(REDACTED);
        } else {
            out.extend_from_slice(parameter);
        }
        out.extend(end);
    }
    Cow::Owned(out)
}

/// Percent-decoded, lower case.
fn decoded(name: &[u8]) -> impl Iterator<Item = u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *name.get(at)?;
        let (byte, step) = match (byte, hex(name.get(at + 1)), hex(name.get(at + 2))) {
            (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
            (b'+', ..) => (b' ', 1),
            _ => (byte, 1),
        };
        at += step;
        Some(byte.to_ascii_lowercase())
    })
}

/// A JSON object on one line.
struct Object {
    out: Vec<u8>,
}

impl Object {
    fn open() -> Self {
        let mut out = Vec::with_capacity(640);
        out.push(b'{');
        Self { out }
    }

    fn close(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"}\n");
        self.out
    }

    fn key(&mut self, key: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}"); // a Vec takes everything
    }

    fn some(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        let (kept, cut) = if value.len() > TEXT_MAX {
            (&value[..TEXT_MAX], true)
        } else {
            (value, false)
        };
        for chunk in kept.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.push(c);
            }
            if !chunk.invalid().is_empty() {
                self.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if cut {
            self.push('…');
        }
        self.out.push(b'"');
    }

    fn push(&mut self, c: char) {
        match c {
            '"' => self.out.extend_from_slice(b"\\\""),
            '\\' => self.out.extend_from_slice(b"\\\\"),
            ' '..='~' => self.out.push(c as u8),
            c if is_shown(c) => self
                .out
                .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.out, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// Whether a character may stand in a terminal as it is: no control, nothing that reorders, breaks or hides text.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}'          // soft hyphen, Arabic letter mark, vowel separator
            | '\u{200b}'..='\u{200f}'                     // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'                     // line and paragraph ends, embeddings, overrides
            | '\u{2060}'..='\u{206f}'                     // invisible operators, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'        // byte order mark, annotations
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
pub(super) mod tests;
