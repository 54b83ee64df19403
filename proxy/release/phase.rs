//! Where a rollout stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No stage was entered yet.
    Pending,
    /// The next stage may not be entered: a window is closed, an approval or a gate is missing.
    Waiting,
    /// The next weight is being written down; it is in force once that is durable.
    Ramping,
    /// The candidate is watched at the weight of its stage.
    Holding,
    /// It goes on when an operator says so. The weight stays.
    Paused,
    /// The last weight is reached, and the candidate is watched for a while longer.
    Baking,
    /// Over: the candidate keeps its last weight, and guards have stopped.
    Succeeded,
    /// Everybody is back on stable, and it stays so.
    RolledBack,
    /// The candidate has become stable: there is nothing left to do.
    Superseded,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Waiting,
        Self::Ramping,
        Self::Holding,
        Self::Paused,
        Self::Baking,
        Self::Succeeded,
        Self::RolledBack,
        Self::Superseded,
    ];

    /// The word of the API and of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Ramping => "ramping",
            Self::Holding => "holding",
            Self::Paused => "paused",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }

    /// Whether guards act, and whether anything can still happen by itself.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Succeeded | Self::RolledBack | Self::Superseded)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
