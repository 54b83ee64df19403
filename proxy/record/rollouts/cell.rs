//! One worker's counts of one rollout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::incident::{Assignment, Incident, SAMPLED};
use super::measure::{Ended, Finding, Measure, micros};
use super::queue::Queue;
use super::reading::{ArmCounts, RolloutCounts};
use super::shared::Shared;
use super::steps::{COUNT, Steps};
use super::units::{Union, Units};
use crate::record::Arm;
use crate::record::tally::bump;

/// One worker's counts of one rollout, on cache lines of their own. They count on through edits and attempts, each
/// attempt its own requests: whoever wants those of a time takes a difference.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct RolloutCell {
    /// By [`Arm`].
    arms: [Counts; 2],
    mirrored: Counts,
    /// By [`Arm`].
    steps: [Steps; 2],
    units: Units,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    failures: AtomicU64,
    connect: AtomicU64,
    over: AtomicU64,
    slow: AtomicU64,
}

impl RolloutCell {
    /// Nothing counted yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            arms: Default::default(),
            mirrored: Counts::default(),
            steps: Default::default(),
            units: Units::default(),
            shared,
        }
    }

    /// Counts a request that has ended, and tells the judge where he should know: one of the attempt that he judges. What
    /// an earlier one left behind would be held against the next. Only the worker that owns this cell may call it. `chance` gives a request without a user a number of its own.
    pub(crate) fn weigh(
        &self,
        assignment: &Assignment,
        measure: &Measure,
        ended: &Ended,
        chance: impl FnOnce() -> u64,
        queue: &Queue,
    ) {
        if !self.shared.slow.is_judged(assignment.attempt) {
            return;
        }
        let Some(found) = measure.find(ended) else {
            return;
        };
        let arm = assignment.arm;
        let number = self.arms[arm as usize].count(&found);
        if found.timed {
            self.steps[arm as usize].count(micros(ended.outcome.duration));
        }
        let unit = assignment.unit.unwrap_or_else(chance);
        self.units.see(self.shared.window(), arm, unit);
        let run = match arm {
            Arm::Stable => 0,
            Arm::Candidate => self.run(assignment.attempt, found.failed),
        };
        let in_sample = number % SAMPLED == 1;
        // Where nobody is on the candidate, no failure says anything about it.
        let is_evidence = (found.failed || found.slow) && assignment.candidate.parts() > 0;
        if is_evidence || in_sample {
            let sampled = in_sample || (found.failed && arm == Arm::Candidate);
            // Counted before it is told: the judge who wakes finds it in the sums.
            queue.tell(incident(assignment, ended, &found, sampled, run));
        }
    }

    /// Counts a mirrored request: for the thresholds, never for the comparison, since it was nobody's.
    pub(crate) fn weigh_mirrored(&self, attempt: u32, measure: &Measure, ended: &Ended) {
        if self.shared.slow.is_judged(attempt)
            && let Some(found) = measure.find(ended)
        {
            self.mirrored.count(&found);
            self.run(attempt, found.failed);
        }
    }

    /// Adds these counts to a sum; from any thread.
    pub(crate) fn add_to(&self, sum: &mut RolloutCounts) {
        self.arms[Arm::Stable as usize].add_to(&mut sum.stable);
        self.arms[Arm::Candidate as usize].add_to(&mut sum.candidate);
        self.mirrored.add_to(&mut sum.mirrored);
    }

    /// Adds the requests of an arm by time; from any thread.
    pub(crate) fn add_times(&self, arm: Arm, sum: &mut [u64; COUNT]) {
        self.steps[arm as usize].add_to(sum);
    }

    /// Adds the users of an arm in a window; from any thread.
    pub(super) fn add_units(&self, window: u32, arm: Arm, union: &mut Union) {
        self.units.add_to(window, arm, union);
    }

    fn run(&self, attempt: u32, failed: bool) -> u32 {
        if failed {
            return self.shared.run.failed(attempt);
        }
        self.shared.run.succeeded(attempt);
        0
    }
}

impl Counts {
    /// Counts one, and tells which it was.
    fn count(&self, found: &Finding) -> u64 {
        bump(&self.requests, 1);
        for (count, is) in [
            (&self.failures, found.failed),
            (&self.connect, found.connect),
            (&self.over, found.over),
            (&self.slow, found.slow),
        ] {
            if is {
                // Released after the request was counted, see `add_to`.
                count.store(
                    count.load(Ordering::Relaxed).wrapping_add(1),
                    Ordering::Release,
                );
            }
        }
        self.requests.load(Ordering::Relaxed)
    }

    fn add_to(&self, sum: &mut ArmCounts) {
        // Failures before requests: whoever reads in the middle never sees more failures than requests.
        sum.slow += self.slow.load(Ordering::Acquire);
        sum.over += self.over.load(Ordering::Acquire);
        sum.connect += self.connect.load(Ordering::Acquire);
        sum.failures += self.failures.load(Ordering::Acquire);
        sum.requests += self.requests.load(Ordering::Relaxed);
    }
}

#[cold]
fn incident(
    assignment: &Assignment,
    ended: &Ended,
    found: &Finding,
    sampled: bool,
    run: u32,
) -> Incident {
    Incident {
        assignment: *assignment,
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        took: ended.outcome.duration,
        status: ended.outcome.status,
        kind: ended.outcome.failure.map(|failure| failure.kind),
        grpc: ended.grpc,
        error: found.failed,
        connect: found.connect,
        slow: found.slow,
        fallback: ended.fallback,
        sampled,
        run,
    }
}
