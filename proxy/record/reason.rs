//! Why the proxy refuses a request: one table of words, statuses and blame.

use crate::record::{Blame, Failure, FailureKind};

/// Why the proxy answered by itself: the label `reason` of `tidegate_refusals_total` and the value of the header
/// `x-tidegate-refusal`. The set is closed, so nobody outside can make a new series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The request is not HTTP, or a header of it is not.
    Malformed,
    /// Its length is told twice or in two ways: what one peer takes for a body, another may take for a request.
    Framing,
    /// HTTP without TLS, where callers must speak TLS.
    PlainHttp,
    /// The TLS handshake failed, or was not done in time.
    TlsHandshake,
    /// `Host` is missing, is there twice, is not a host, or disagrees with the target.
    Host,
    /// The target is no path that can be normalised safely.
    Target,
    /// Two different values of an identity header.
    IdentityConflict,
    /// No route matches.
    NoRoute,
    /// CONNECT or TRACE.
    Method,
    /// The head did not arrive in time.
    SlowRequest,
    /// The body stood still for too long.
    SlowBody,
    /// The body is over the limit.
    BodyTooLarge,
    /// The target is over the limit.
    TargetTooLong,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// The listener asks callers for certificates, and the host is not one of the certificate that this connection was
    /// opened with.
    Misdirected,
    /// The listener has as many connections as it may.
    Connections,
    /// The client's address has as many connections as it may.
    ClientConnections,
    /// Too many TLS handshakes are under way: the oldest makes room.
    Handshakes,
    /// The head is over a limit, in bytes or in lines.
    HeaderTooLarge,
    /// A transfer coding other than chunked.
    TransferCoding,
    /// The version answered what is no HTTP, or cannot be forwarded.
    BadAnswer,
    /// The version's connection broke before its answer.
    Reset,
    /// Every endpoint of the version is unhealthy.
    NoEndpoint,
    /// Every endpoint that was tried refused the connection.
    Connect,
    /// No connection to the version became free in time.
    PoolFull,
    /// The process is leaving.
    Draining,
    /// The proxy itself has no file descriptor, memory or local port left to connect with.
    LocalResources,
    /// No connection to the version in time.
    ConnectTimeout,
    /// No answer of the version in time.
    RequestTimeout,
    /// A version of HTTP that is not spoken here.
    HttpVersion,
}

struct Row {
    reason: Reason,
    word: &'static str,
    status: u16,
    failure: Failure,
}

const fn row(reason: Reason, word: &'static str, status: u16, failure: Failure) -> Row {
    Row {
        reason,
        word,
        status,
        failure,
    }
}

const CALLER: Failure = Failure {
    blame: Blame::Caller,
    kind: FailureKind::Refused,
};
const GATE: Failure = Failure {
    blame: Blame::Gate,
    kind: FailureKind::Refused,
};

const TABLE: &[Row] = &[
    row(Reason::Malformed, "malformed", 400, CALLER),
    row(Reason::Framing, "framing", 400, CALLER),
    row(Reason::PlainHttp, "plain_http", 400, CALLER),
    row(Reason::TlsHandshake, "tls_handshake", 400, CALLER),
    row(Reason::Host, "host", 400, CALLER),
    row(Reason::Target, "target", 400, CALLER),
    row(Reason::IdentityConflict, "identity_conflict", 400, CALLER),
    row(Reason::NoRoute, "no_route", 404, CALLER),
    row(Reason::Method, "method", 405, CALLER),
    row(Reason::SlowRequest, "slow_request", 408, CALLER),
    row(Reason::SlowBody, "slow_body", 408, CALLER),
    row(Reason::BodyTooLarge, "body_too_large", 413, CALLER),
    row(Reason::TargetTooLong, "target_too_long", 414, CALLER),
    row(Reason::Expectation, "expectation", 417, CALLER),
    row(Reason::Misdirected, "misdirected", 421, CALLER),
    row(Reason::Connections, "connections", 429, GATE),
    row(Reason::ClientConnections, "client_connections", 429, CALLER),
    row(Reason::Handshakes, "handshakes", 429, GATE),
    row(Reason::HeaderTooLarge, "header_too_large", 431, CALLER),
    row(Reason::TransferCoding, "transfer_coding", 501, CALLER),
    row(
        Reason::BadAnswer,
        "bad_answer",
        502,
        FailureKind::Garbage.failure(),
    ),
    row(Reason::Reset, "reset", 502, FailureKind::Reset.failure()),
    row(
        Reason::NoEndpoint,
        "no_endpoint",
        503,
        FailureKind::NoEndpoint.failure(),
    ),
    row(
        Reason::Connect,
        "connect",
        503,
        FailureKind::Connect.failure(),
    ),
    row(
        Reason::PoolFull,
        "pool_full",
        503,
        FailureKind::PoolFull.failure(),
    ),
    row(Reason::Draining, "draining", 503, GATE),
    row(
        Reason::LocalResources,
        "local_resources",
        503,
        FailureKind::LocalResources.failure(),
    ),
    row(
        Reason::ConnectTimeout,
        "connect_timeout",
        504,
        FailureKind::ConnectTimeout.failure(),
    ),
    row(
        Reason::RequestTimeout,
        "request_timeout",
        504,
        FailureKind::Timeout.failure(),
    ),
    row(Reason::HttpVersion, "http_version", 505, CALLER),
];

// The table is indexed by discriminant: a row in the wrong place does not compile.
const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].reason as usize == i);
        i += 1;
    }
    assert!(Reason::HttpVersion as usize + 1 == TABLE.len());
};

impl Reason {
    /// How many there are.
    pub const COUNT: usize = TABLE.len();

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.reason)
    }

    /// The word in metrics, in the access log and in `x-tidegate-refusal`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TABLE[self as usize].word
    }

    /// The status that it is answered with.
    #[must_use]
    pub const fn status(self) -> u16 {
        TABLE[self as usize].status
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        TABLE[self as usize].failure.blame
    }

    /// The failure that an exchange ends with when it ends so.
    #[must_use]
    pub const fn failure(self) -> Failure {
        TABLE[self as usize].failure
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_that_fits_a_label_and_a_header() {
        let words: HashSet<_> = Reason::all().map(Reason::as_str).collect();
        assert_eq!(words.len(), Reason::COUNT);
        assert!(
            words
                .iter()
                .all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn what_is_answered_with_4xx_never_counts_against_a_version() {
        for reason in Reason::all() {
            if reason.status() < 500 {
                assert_ne!(reason.blame(), Blame::Version, "{}", reason.as_str());
            }
        }
    }
}
