//! Where a rollout stands at one moment, as the request path sees it.

use std::sync::Arc;

use tidegate_config::{Rollout, Share};

use crate::record::{Assignment, Ledger, Measure, RolloutId, SlowBound, VersionId};
use crate::route::{Drawn, Lot, Lots};

/// Where a rollout stands. It never changes: a shift is another one. A request keeps the one that routed it to its end,
/// so what is counted late is counted with the attempt and the weights of its routing.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What it is counted under.
    pub id: RolloutId,
    /// Counts from 1; each has a salt of its own.
    pub attempt: u32,
    /// The share of the users that is on the candidate.
    pub candidate: Share,
    /// What is left for stable.
    pub stable: Share,
    /// Who is on the candidate.
    pub lot: Lot,
    /// The share of stable's GET and HEAD requests of which the candidate gets a copy.
    pub mirror: Share,
    /// Bit `i`: cohort `i` is back on stable.
    pub cohorts_back: u16,
    /// Above this time a request is slow.
    pub pace: Arc<SlowBound>,
    /// What counts as a failure, and as too slow.
    pub measure: Arc<Measure>,
}

impl InForce {
    /// Where `rollout` stands: `weight` of the users are on its candidate in this attempt.
    pub fn new(
        rollout: &Rollout,
        attempt: u32,
        weight: Share,
        mirror: Share,
        cohorts_back: u16,
        id: RolloutId,
        pace: Arc<SlowBound>,
    ) -> Self {
        let left = Share::FULL.parts() - weight.parts();
        Self {
            id,
            attempt,
            candidate: weight,
            stable: Share::from_parts(left).unwrap_or_default(),
            lot: Lot::new(&rollout.salt, attempt, weight, cohorts_back),
            mirror,
            cohorts_back,
            measure: Arc::new(Measure::new(&rollout.guard, Arc::clone(&pace))),
            pace,
        }
    }

    /// Nobody is on the candidate.
    pub fn nobody(rollout: &Rollout, ledger: &Ledger) -> Self {
        Self::at(rollout, Share::ZERO, ledger)
    }

    /// As the file alone says it: a guarded split at its weight, a rollout with stages before the first of them.
    pub fn written(rollout: &Rollout, ledger: &Ledger) -> Self {
        Self::at(rollout, Lot::written(rollout).candidate(), ledger)
    }

    /// What it did with a request that it drew `drawn` for; `version` is that of the request's arm.
    pub fn assignment(&self, drawn: &Drawn, version: VersionId, revision: u64) -> Assignment {
        Assignment {
            rollout: self.id,
            attempt: self.attempt,
            revision,
            arm: drawn.arm,
            version,
            unit: drawn.unit,
            slot: drawn.slot,
            candidate: self.candidate,
            stable: self.stable,
            cohorts: drawn.cohorts,
        }
    }

    fn at(rollout: &Rollout, weight: Share, ledger: &Ledger) -> Self {
        let id = ledger.rollout(&rollout.name);
        let pace = ledger.slow_bound(id);
        Self::new(rollout, 1, weight, Share::ZERO, 0, id, pace)
    }
}

impl Lots for [InForce] {
    fn lot(&self, rollout: usize) -> Option<&Lot> {
        self.get(rollout).map(|rollout| &rollout.lot)
    }
}
