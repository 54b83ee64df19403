//! What a rollout is about to carry.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;
use tidegate_config::plan::{self, Carries, Plan};

use super::{Rollout, sentence};
use crate::release::phase::Phase;
use crate::release::share;

/// A step that is being written down, and comes into force when it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ramp {
    stage: usize,
    #[serde(with = "share")]
    weight: Share,
    #[serde(with = "share")]
    mirror: Share,
    /// The phase that it begins in, and goes back to where it is called off …
    from: Phase,
    /// … and when that one began.
    since: Duration,
}

impl Ramp {
    /// The stage that is about to be in force.
    #[must_use]
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// The candidate's share of users in it.
    #[must_use]
    pub fn weight(&self) -> Share {
        self.weight
    }

    /// The share of requests that will be copied to the candidate.
    #[must_use]
    pub fn mirror(&self) -> Share {
        self.mirror
    }

    /// No more than was written down already.
    pub(super) fn keep_to(&mut self, written: &Self) {
        if self.stage == written.stage {
            self.weight = self.weight.min(written.weight);
            self.mirror = self.mirror.min(written.mirror);
        }
    }
}

impl Rollout {
    /// A rollout in `ramping` as it is once that is durable; any other as it is.
    #[must_use]
    pub fn ramped(&self, plan: &plan::Rollout, now: Duration) -> Self {
        let mut next = self.clone();
        let Some(ramp) = next.ramp.take() else {
            return next;
        };
        next.weight = ramp.weight;
        next.mirror = ramp.mirror;
        if next.weight > Share::ZERO {
            next.started.get_or_insert(now);
        }
        if ramp.stage == next.stage {
            next.phase = ramp.from;
            next.since = ramp.since;
            next.reason = sentence::grown(&next);
            return next;
        }
        next.stage = ramp.stage;
        next.held = Duration::ZERO;
        next.waited = Duration::ZERO;
        next.requests = 0;
        let reason = sentence::grown(&next);
        next.enter(Phase::Holding, reason, now);
        if let Plan::Stages(stages) = &plan.plan
            && next.stage >= stages.stages.len()
            && let Some(stage) = next.stage_of(stages)
            && sentence::missing(&next, plan, stage).is_none()
        {
            next.begin_bake(stages, now);
        }
        next
    }

    pub(super) fn begin_ramp(&mut self, stage: usize, weight: Share, mirror: Share, now: Duration) {
        let ramp = Ramp {
            stage,
            weight,
            mirror,
            from: self.phase,
            since: self.since,
        };
        let text = sentence::ramping(self, &ramp);
        self.ramp = Some(ramp);
        self.stay(Phase::Ramping, text, now);
    }

    /// Into a stage, with what it carries.
    pub(super) fn begin_stage(
        &mut self,
        number: usize,
        stage: &plan::Stage,
        endpoints: Option<Share>,
        now: Duration,
    ) {
        let (weight, mirror) = match stage.carries {
            Carries::Weight(weight) => (weight, Share::ZERO),
            Carries::ByEndpoints => (endpoints.unwrap_or(self.weight), Share::ZERO),
            Carries::Mirror(mirror) => (self.weight, mirror),
        };
        self.begin_ramp(number, weight, mirror, now);
    }

    /// Calls a step off that is not durable yet.
    pub(super) fn end_ramp(&mut self) {
        if let Some(ramp) = self.ramp.take() {
            self.phase = ramp.from;
            self.since = ramp.since;
        }
    }
}
