//! What the judge is told of one request.

use std::time::Duration;

use tidegate_config::Share;

use crate::record::{Arm, FailureKind, RolloutId, VersionId};

/// Where a rollout sent a request, as it stood when the request was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its attempt.
    pub attempt: u32,
    /// The revision of the file.
    pub revision: u64,
    /// Where the request's slot belongs, whoever answered it.
    pub arm: Arm,
    /// The version of that arm.
    pub version: VersionId,
    /// The key's hash under the rollout's salt; `None` where chance drew the slot: the request is a unit of its own.
    pub unit: Option<u64>,
    /// The slot, from 0 to 99 999.
    pub slot: u32,
    /// The candidate's share.
    pub candidate: Share,
    /// Stable's share.
    pub stable: Share,
    /// Bit `i`: it belongs to cohort `i`.
    pub cohorts: u16,
}

/// A request of a rollout that failed or was slow; or one of the sample, which may be neither.
///
/// One message for the judge's evidence and for the record of decisions: both are of the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// Where it was sent.
    pub assignment: Assignment,
    /// When it ended, since the Unix epoch.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// The status that its version answered, or that the proxy did in its place.
    pub status: u16,
    /// What went wrong, where it was not the answer's own status.
    pub kind: Option<FailureKind>,
    /// The answer's `grpc-status`, where it had one.
    pub grpc: Option<u16>,
    /// It is a failure by `guard.failures`.
    pub error: bool,
    /// It is one for want of a connection.
    pub connect: bool,
    /// It took longer than the slow bound of its time.
    pub slow: bool,
    /// Stable was asked in the candidate's place.
    pub fallback: bool,
    /// It belongs into the record of decisions: every failure of the candidate, and one request in a thousand.
    pub sampled: bool,
    /// Failures of the candidate in a row, this one included, over all workers. 0 where it is no failure of the candidate.
    pub run: u32,
}

/// One request in so many is in the sample, of each arm on each worker.
pub(crate) const SAMPLED: u64 = 1000;
