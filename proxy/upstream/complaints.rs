//! What the log says of an endpoint that cannot be spoken with: who it is, what was seen and what to do, in one line in ten
//! seconds however many requests it costs.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tidegate_config as config;

use super::scarcity::is_due;
use crate::http1::head::HeadError;
use crate::transport::fault::Fault;

/// So many bytes of an answer are shown: enough to know what speaks there.
const SHOWN: usize = 40;

/// What was to be spoken.
const HTTP1: &str = "HTTP/1.1";
const HTTP2: &str = "HTTP/2";

/// The lines about one endpoint.
#[derive(Debug, Default)]
pub struct Complaints {
    /// Service and version.
    whose: (String, String),
    /// When the next line may be written.
    next_line: AtomicU64,
}

impl Complaints {
    /// About an endpoint of a version.
    pub fn of(service: &config::Service, version: &config::Version) -> Self {
        Self {
            whose: (service.name.clone(), version.name.clone()),
            next_line: AtomicU64::new(0),
        }
    }

    /// A handshake failed; `name` is whom the endpoint was to prove to be.
    pub fn no_tls(&self, endpoint: &config::EndpointAddress, name: &str, fault: &Fault) {
        if self.is_due() {
            let (service, version) = &self.whose;
            tracing::warn!(
                service, version, %endpoint, name, reason = fault.word(),
                "no TLS with an endpoint: {fault}"
            );
        } else {
            tracing::debug!(%endpoint, "no TLS with an endpoint: {fault}");
        }
    }

    /// It answered with something else than what is spoken to it.
    pub fn no_http(&self, endpoint: &config::EndpointAddress, why: &NoHttp) {
        if self.is_due() {
            let (service, version) = &self.whose;
            tracing::warn!(service, version, %endpoint, "no HTTP from an endpoint: {why}");
        } else {
            tracing::debug!(%endpoint, "no HTTP from an endpoint: {why}");
        }
    }

    fn is_due(&self) -> bool {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        is_due(&self.next_line, BEGAN.elapsed())
    }
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHttp {
    /// It speaks TLS, and is not spoken to by it.
    #[error(
        "a TLS {0} came where an {1} answer was expected; it seems to speak TLS there: add `tls` to the service"
    )]
    Tls(&'static str, &'static str),
    /// It speaks the other version of HTTP, for which the service has this protocol.
    #[error("its answer is no {0}, but begins as {1}; set `protocol: {2}` on the service")]
    Version(&'static str, &'static str, &'static str),
    /// It speaks something else, which begins so.
    #[error("its answer is no {0}: it begins with \"{1}\"")]
    Garbage(&'static str, String),
    /// It broke off before the head was whole, which began so.
    #[error("its answer broke off within the head, which begins with \"{0}\"")]
    Cut(String),
    /// It is HTTP, and too much of it.
    #[error("the head of its answer has too many lines, or too many bytes")]
    TooLarge,
    /// Where its body ends can be read in two ways.
    #[error("its answer does not say in one way how long its body is")]
    Framing,
    /// Its body is coded by something else than chunks.
    #[error("its answer has a transfer coding that is not spoken here")]
    Coding,
}

impl NoHttp {
    /// What came in place of an answer in HTTP/1.1, and what the reader found wrong with it.
    pub fn in_place_of_http1(said: &[u8], error: HeadError, secure: bool) -> Self {
        match error {
            HeadError::TooLarge { .. } => Self::TooLarge,
            HeadError::Framing => Self::Framing,
            HeadError::Coding => Self::Coding,
            HeadError::Malformed | HeadError::Version => {
                let protocol = if secure { "h2" } else { "h2c" };
                match said {
                    // A frame of settings on no stream, as every connection of HTTP/2 begins (RFC 9113 §3.4).
                    [0, _, _, 4, _, 0, 0, 0, 0, ..] => Self::Version(HTTP1, HTTP2, protocol),
                    _ => Self::neither(said, HTTP1, secure),
                }
            }
        }
    }

    /// What came first in place of a frame of HTTP/2; `None` where it may be one.
    pub fn in_place_of_http2(said: &[u8], secure: bool) -> Option<Self> {
        match said {
            // No first frame is 64 KiB long.
            [] | [0, ..] => None,
            _ if said.starts_with(b"HTTP/1.") => Some(Self::Version(HTTP2, HTTP1, "http/1.1")),
            _ => Some(Self::neither(said, HTTP2, secure)),
        }
    }

    /// The connection ended so, within a head.
    pub fn cut(said: &[u8], secure: bool) -> Self {
        match Self::neither(said, HTTP1, secure) {
            Self::Garbage(_, said) => Self::Cut(said),
            other => other,
        }
    }

    /// What is no HTTP at all. Records of TLS begin with their kind and a version (RFC 8446 §5.1).
    fn neither(said: &[u8], expected: &'static str, secure: bool) -> Self {
        match said {
            [0x15, 3, ..] if !secure => Self::Tls("alert", expected),
            [0x16, 3, ..] if !secure => Self::Tls("handshake", expected),
            _ => Self::Garbage(
                expected,
                said[..said.len().min(SHOWN)].escape_ascii().to_string(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_there_is_told_by_how_it_begins() {
        let http1 =
            |said: &[u8]| NoHttp::in_place_of_http1(said, HeadError::Malformed, false).to_string();
        let http2 = |said: &[u8]| {
            let why = NoHttp::in_place_of_http2(said, false);
            why.map_or(String::new(), |why| why.to_string())
        };
        let alert = [0x15, 3, 1, 0, 2, 2, 70];
        for (said, promised) in [
            (http1(&alert), "a TLS alert came where an HTTP/1.1 answer"),
            (http1(&alert), "add `tls` to the service"),
            (http2(&alert), "a TLS alert came where an HTTP/2 answer"),
            (http1(&[0x16, 3, 3, 0, 100]), "a TLS handshake came"),
            (http1(b"\0\0\x12\x04\0\0\0\0\0\0"), "set `protocol: h2c`"),
            (http2(b"HTTP/1.1 400 Bad"), "set `protocol: http/1.1`"),
            (http1(b"220 mail\r\n"), r#"begins with "220 mail\r\n""#),
            (http2(b"SSH-2.0-x\r\n"), r#"begins with "SSH-2.0-x\r\n""#),
        ] {
            assert!(said.contains(promised), "{promised:?} is not in {said:?}");
        }
        assert_eq!(http2(b"\0\0\x12\x04\0"), "", "as HTTP/2 begins");
    }

    #[test]
    fn what_an_endpoint_says_cannot_harm_the_log() {
        let evil = "\n\x1b[2J\"\u{202e}\0".repeat(1000);
        let said = NoHttp::in_place_of_http1(evil.as_bytes(), HeadError::Malformed, false);
        let said = said.to_string();
        assert!(said.len() < 300, "{} bytes", said.len());
        assert!(
            said.chars().all(|c| c.is_ascii_graphic() || c == ' '),
            "{said}"
        );
    }

    #[test]
    fn behind_tls_nobody_is_told_to_add_it() {
        let alert = [0x15, 3, 1, 0, 2, 2, 70];
        let said = NoHttp::in_place_of_http1(&alert, HeadError::Malformed, true);
        assert!(matches!(said, NoHttp::Garbage(..)), "{said}");
    }
}
