//! What rollouts are judged by. Where a request of a rollout ends, its worker counts it in a cell of its own; and where it
//! failed, was slow or is in the sample, an [`Incident`] goes to the judge, who wakes at once.
//!
//! - `measure`: what counts as a failure of a rollout, and as too slow
//! - `slow`: the time above which a request is slow, which the judge moves
//! - `cell`: one worker's counts of one rollout
//! - `steps`: counts by time
//! - `units`: about how many users there were
//! - `run`: failures of the candidate one after the other, over all workers
//! - `incident`: what the judge is told of one request
//! - `queue`: how it is told
//! - `shared`: what the workers have in common of a rollout
//! - `reading`: the sums over all workers

mod cell;
mod incident;
mod measure;
mod queue;
mod reading;
mod run;
mod shared;
mod slow;
mod steps;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use cell::RolloutCell;
pub use incident::{Assignment, Incident};
pub use measure::{Ended, Measure};
pub use queue::INCIDENTS_MAX;
pub(crate) use reading::units;
pub use reading::{ArmCounts, RolloutCounts, RolloutTimes};
pub(crate) use shared::Rollouts;
pub use slow::SlowBound;
