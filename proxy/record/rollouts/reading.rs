//! The sums over all workers, as control reads them.

use std::time::Duration;

use super::cell::RolloutCell;
use super::steps::{COUNT, end_of};
use super::units::Union;
use crate::record::Arm;

/// The counts of one rollout since the start of the process. Exact. They never fall, also through edits and attempts:
/// what happened in a time is a difference. A request that ends after its attempt is over is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RolloutCounts {
    /// Requests that were assigned to stable.
    pub stable: ArmCounts,
    /// Requests that were assigned to the candidate, whoever answered them.
    pub candidate: ArmCounts,
    /// Copies that the candidate was sent in a mirror stage.
    pub mirrored: ArmCounts,
}

/// The counts of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmCounts {
    /// Requests that have ended, without those that their callers or the proxy ended.
    pub requests: u64,
    /// Those that failed, by `guard.failures`;
    pub failures: u64,
    /// of these, those for want of a connection.
    pub connect: u64,
    /// Those that took longer than `guard.latency.above`.
    pub over: u64,
    /// Those that took longer than the slow bound of their time.
    pub slow: u64,
}

impl ArmCounts {
    /// What has come since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failures: self.failures.saturating_sub(earlier.failures),
            connect: self.connect.saturating_sub(earlier.connect),
            over: self.over.saturating_sub(earlier.over),
            slow: self.slow.saturating_sub(earlier.slow),
        }
    }
}

impl RolloutCounts {
    /// What has come since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            stable: self.stable.since(&earlier.stable),
            candidate: self.candidate.since(&earlier.candidate),
            mirrored: self.mirrored.since(&earlier.mirrored),
        }
    }
}

/// The requests of one rollout by time, of both arms, since the start of the process. Failures that came fast are left
/// out: they say nothing about how fast a version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutTimes {
    /// By [`Arm`].
    arms: Box<[[u64; COUNT]; 2]>,
}

impl Default for RolloutTimes {
    fn default() -> Self {
        Self {
            arms: Box::new([[0; COUNT]; 2]),
        }
    }
}

impl RolloutTimes {
    pub(crate) fn add(&mut self, cell: &RolloutCell) {
        for arm in [Arm::Stable, Arm::Candidate] {
            cell.add_times(arm, &mut self.arms[arm as usize]);
        }
    }

    /// What has come since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        let pairs = rest.arms.as_flattened_mut().iter_mut();
        for (count, before) in pairs.zip(earlier.arms.as_flattened()) {
            *count = count.saturating_sub(*before);
        }
        rest
    }

    /// Times, by the longest of each step of 6 %, and how many requests of an arm were in the step. Ascending; steps
    /// without requests are left out.
    pub fn steps(&self, arm: Arm) -> impl Iterator<Item = (Duration, u64)> {
        steps(self.arms[arm as usize].iter().copied())
    }

    /// The same of both arms together.
    pub fn both(&self) -> impl Iterator<Item = (Duration, u64)> {
        let [stable, candidate] = &*self.arms;
        steps(stable.iter().zip(candidate).map(|(s, c)| s + c))
    }
}

fn steps(counts: impl Iterator<Item = u64>) -> impl Iterator<Item = (Duration, u64)> {
    counts
        .enumerate()
        .filter(|(_, count)| *count > 0)
        .map(|(step, count)| (end_of(step), count))
}

/// About how many users an arm had in a window, over all workers.
pub(crate) fn units<'a>(
    cells: impl IntoIterator<Item = &'a RolloutCell>,
    window: u32,
    arm: Arm,
) -> u64 {
    let mut union = Union::default();
    for cell in cells {
        cell.add_units(window, arm, &mut union);
    }
    union.estimate()
}
