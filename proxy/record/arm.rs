//! The two sides of a rollout.

/// The side of a rollout that a request was assigned to, whoever answered it in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Arm {
    /// The service's stable version.
    Stable,
    /// The version that is tried.
    Candidate,
}

impl Arm {
    /// The word in the access log and in decisions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        }
    }
}
