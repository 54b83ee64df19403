//! The moving part of a rollout: the table knows who asks and by what, a [`Lot`] how many of them are on the candidate
//! at this moment. A shift is another lot, never another table.

use tidegate_config::{Rollout, Share};

use super::slot::Salt;
use crate::record::Arm;

/// How many are on a rollout's candidate: those whose slot is below its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    salt: Salt,
    candidate: Share,
    /// Bit `i`: cohort `i` is back on stable.
    cohorts_back: u16,
}

impl Lot {
    /// The lot of an attempt, counted from 1: each has a salt of its own, so a retry meets other users first.
    pub fn new(salt: &str, attempt: u32, candidate: Share, cohorts_back: u16) -> Self {
        let salt = if attempt > 1 {
            Salt::new(&format!("{salt}#{attempt}"))
        } else {
            Salt::new(salt)
        };
        Self {
            salt,
            candidate,
            cohorts_back,
        }
    }

    /// As the file alone says it: the weight of a guarded split; nobody where stages decide.
    pub fn written(rollout: &Rollout) -> Self {
        let weight = match &rollout.plan {
            tidegate_config::Plan::Split(weight) => *weight,
            tidegate_config::Plan::Stages(_) => Share::ZERO,
        };
        Self::new(&rollout.salt, 1, weight, 0)
    }

    /// The candidate's weight.
    pub fn candidate(&self) -> Share {
        self.candidate
    }

    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    /// Whose slot this is.
    pub fn arm(&self, slot: u32) -> Arm {
        if slot < self.candidate.parts() {
            Arm::Candidate
        } else {
            Arm::Stable
        }
    }

    /// Whether one of these cohorts is back on stable.
    pub(super) fn is_back(&self, cohorts: u16) -> bool {
        cohorts & self.cohorts_back != 0
    }
}

/// The lots of all rollouts, in the order of `Config::rollouts`. Generic instead of `dyn`: it is asked by every request.
pub trait Lots {
    /// A rollout's lot; `None` only where there is no such rollout.
    fn lot(&self, rollout: usize) -> Option<&Lot>;
}

impl Lots for [Lot] {
    fn lot(&self, rollout: usize) -> Option<&Lot> {
        self.get(rollout)
    }
}

/// What a rollout needs to know of a request that it sent somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Index into `Config::rollouts`.
    pub rollout: usize,
    /// The key's hash under the rollout's salt; `None` where chance drew the slot: then the request is a unit of its own.
    pub unit: Option<u64>,
    /// Its slot, from 0 to 99 999.
    pub slot: u32,
    /// Where the slot belongs.
    pub arm: Arm,
    /// Bit `i`: it belongs to cohort `i`.
    pub cohorts: u16,
}
