//! What an operator may ask of a rollout, and the answer where its phase forbids it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operator may ask of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Stay at this weight.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End this stage's hold and its want of evidence: one stage on.
    Promote,
    /// Let it into the next stage.
    Approve,
    /// Everybody back to stable.
    Rollback,
    /// Once more from the beginning, with other users.
    Retry,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 6] = [
        Self::Pause,
        Self::Resume,
        Self::Promote,
        Self::Approve,
        Self::Rollback,
        Self::Retry,
    ];

    /// The word of the API, the command and the history.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An order that the rollout's phase, plan or guards forbid: why, and what to do instead. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);
