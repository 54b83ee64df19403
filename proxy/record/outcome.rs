//! How an exchange ended, and whose fault it was.

use std::time::Duration;

/// The status of an exchange whose client went away before its answer was whole. It is counted and logged, never sent.
pub const CLIENT_GONE: u16 = 499;

/// The end of one exchange: known when the last byte of the answer has left, or will never leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The status that the client saw, or [`CLIENT_GONE`].
    pub status: u16,
    /// What went wrong. A version's own 4xx is an answer, not a failure.
    pub failure: Option<Failure>,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
}

impl Outcome {
    /// A whole answer of a version: a failure exactly where its status is 5xx.
    #[must_use]
    pub fn answered(status: u16, duration: Duration) -> Self {
        let failure = (500..600)
            .contains(&status)
            .then(|| FailureKind::Status.failure());
        Self {
            status,
            failure,
            duration,
        }
    }

    /// Whether it counts against the version.
    #[must_use]
    pub fn is_version_failure(&self) -> bool {
        self.failure
            .is_some_and(|failure| failure.blame == Blame::Version)
    }
}

/// What went wrong, and who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it was.
    pub blame: Blame,
    /// What it was.
    pub kind: FailureKind,
}

/// Whose fault a failure was. Only [`Blame::Version`] counts against a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client: it went away, was too slow or sent what cannot be forwarded.
    Caller,
    /// The proxy: it is full, it is leaving, or it is wrong.
    Gate,
    /// The version that the request was routed to.
    Version,
}

impl Blame {
    /// The word in the access log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Gate => "gate",
            Self::Version => "version",
        }
    }
}

/// What a failure was: the label `kind` of `tidegate_failures_total`. The set is closed, so nobody outside can
/// make a new series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureKind {
    /// `connect`: every endpoint that was tried refused the connection. Version.
    Connect,
    /// `connect_timeout`: no connection in time. Version.
    ConnectTimeout,
    /// `no_endpoint`: every endpoint is unhealthy, so none was tried. Version.
    NoEndpoint,
    /// `pool_full`: no connection became free in time. Version: its answers are what holds them.
    PoolFull,
    /// `timeout`: no head of an answer in time. Version.
    Timeout,
    /// `reset`: the connection broke before the head of an answer. Version.
    Reset,
    /// `garbage`: what came was no HTTP, or framed in a way that cannot be forwarded. Version.
    Garbage,
    /// `truncated`: the answer broke off in its body. Version.
    Truncated,
    /// `stream_idle`: the answer's body stood still for too long. Version.
    StreamIdle,
    /// `removed`: the endpoint left the configuration, and the answer went on for longer than the drain. Gate.
    Removed,
    /// `local_resources`: the proxy itself had no file descriptor, memory or local port left to connect with. Gate.
    LocalResources,
    /// `status`: a whole answer, with a status of 500 to 599. Version.
    Status,
    /// `aborted`: the client went away. Caller.
    Aborted,
    /// `refused`: the proxy turned the request away, see [`Reason`](crate::record::Reason). Caller or Gate.
    Refused,
    /// `internal`: the proxy itself broke. Gate.
    Internal,
}

impl FailureKind {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::NoEndpoint,
        Self::PoolFull,
        Self::Timeout,
        Self::Reset,
        Self::Garbage,
        Self::Truncated,
        Self::StreamIdle,
        Self::Removed,
        Self::LocalResources,
        Self::Status,
        Self::Aborted,
        Self::Refused,
        Self::Internal,
    ];

    /// The word in metrics and in the access log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::NoEndpoint => "no_endpoint",
            Self::PoolFull => "pool_full",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::StreamIdle => "stream_idle",
            Self::Removed => "removed",
            Self::LocalResources => "local_resources",
            Self::Status => "status",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }

    /// Who is to blame unless the place that saw it knows better.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Aborted | Self::Refused => Blame::Caller,
            Self::Removed | Self::LocalResources | Self::Internal => Blame::Gate,
            _ => Blame::Version,
        }
    }

    /// A failure of this kind, blamed as usual.
    #[must_use]
    pub const fn failure(self) -> Failure {
        Failure {
            blame: self.blame(),
            kind: self,
        }
    }
}

// Counters are arrays indexed by kind.
const _: () = {
    let mut i = 0;
    while i < FailureKind::ALL.len() {
        assert!(FailureKind::ALL[i] as usize == i);
        i += 1;
    }
    assert!(FailureKind::Internal as usize + 1 == FailureKind::ALL.len());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_5xx_answer_is_a_failure_of_its_version() {
        for status in 100..1000 {
            let outcome = Outcome::answered(status, Duration::ZERO);
            assert_eq!(
                outcome.is_version_failure(),
                (500..600).contains(&status),
                "status {status}"
            );
        }
    }

    #[test]
    fn a_client_that_goes_away_counts_against_nobody_else() {
        let gone = Outcome {
            status: CLIENT_GONE,
            failure: Some(FailureKind::Aborted.failure()),
            duration: Duration::ZERO,
        };
        assert!(!gone.is_version_failure());
    }
}
