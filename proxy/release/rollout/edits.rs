//! The file has changed.

use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan::{self, Carries, Plan, Stages};

use super::{Rollout, sentence};
use crate::release::key::Key;
use crate::release::phase::Phase;
use crate::release::verdict::{Cause, Reason};

impl Rollout {
    /// The rollout under a file that has it still, by a plan that may be another one.
    ///
    /// - The same key: it is kept.
    /// - A plan that was rolled back: it stays rolled back.
    /// - Another candidate or other users (salt), or another plan after a rollback: a new attempt, all fresh.
    /// - Another plan of one that goes on: it keeps its weight, its attempt and its evidence, and goes on at the last stage
    ///   that is not above it. A split takes its new weight: smaller at once, larger as growth.
    #[must_use]
    pub fn edited(&self, plan: &plan::Rollout, key: Key, now: Duration) -> Self {
        let mut next = self.clone();
        next.regroup(plan);
        if self.phase == Phase::Superseded && key.is_same_subject(&self.key) {
            next.key = key;
            next.roll_back(
                Reason::against(Cause::File, "the candidate is no longer stable"),
                now,
            );
            return next;
        }
        if key == self.key {
            return next;
        }
        if let Some(latch) = self.latches.iter().find(|latch| latch.key == key) {
            let text = format!("this plan was rolled back before: {}", latch.reason);
            let cause = latch.reason.cause.clone();
            next.key = key;
            // The latch keeps the reason of its own rollback.
            let text = Reason {
                cause,
                text: text.into(),
            };
            next.withdraw(Phase::RolledBack, text, now);
            return next;
        }
        if self.phase == Phase::RolledBack || !key.is_same_subject(&self.key) {
            let attempt = self.attempt.saturating_add(1);
            return Self::attempt_of(key, attempt, std::mem::take(&mut next.latches), now);
        }
        next.key = key;
        next.go_over_to(plan, now);
        next
    }

    /// A split that had this weight before it was guarded: its users stay where they are.
    #[must_use]
    pub fn taken_over(&self, weight: Share, now: Duration) -> Self {
        let mut next = self.clone();
        if weight > Share::ZERO {
            next.weight = weight;
            next.stage = 1;
            next.started = Some(now);
            let text = format!("guarded from now on at {weight}, which the split had before");
            next.stay(Phase::Holding, text, now);
        }
        next
    }

    /// Cohorts that are back stay back under their names, wherever these stand in the file now.
    fn regroup(&mut self, plan: &plan::Rollout) {
        let names = || plan.cohorts.iter().map(|cohort| &cohort.name);
        if self.cohorts_back == 0 || names().eq(&self.cohorts) || self.cohorts.is_empty() {
            return;
        }
        let is_back = |name: &String| {
            let at = self.cohorts.iter().position(|known| known == name);
            at.is_some_and(|at| self.cohorts_back & 1 << at != 0)
        };
        let bits = (0..).zip(names()).filter(|(_, name)| is_back(name));
        self.cohorts_back = bits.fold(0, |back, (bit, _): (u32, _)| back | 1 << bit);
        self.cohorts = names().cloned().collect();
    }

    /// The service's stable has become the candidate: everybody meets it there.
    #[must_use]
    pub fn superseded(&self, now: Duration) -> Self {
        let mut next = self.clone();
        next.end_ramp();
        let text = "the candidate is stable now: this rollout can be taken out of the file";
        next.withdraw(Phase::Superseded, Reason::plain(text), now);
        next
    }

    /// The file has no such rollout any more. One that goes on is rolled back, and stays so if the file has it again; what is
    /// over stays as it is.
    #[must_use]
    pub fn removed(&self, now: Duration) -> Self {
        let mut next = self.clone();
        if next.phase.is_live() {
            let reason = Reason::against(Cause::File, "the file no longer has this rollout");
            next.roll_back(reason, now);
        }
        next
    }

    /// Another plan of the same attempt.
    fn go_over_to(&mut self, plan: &plan::Rollout, now: Duration) {
        self.end_ramp();
        // Numbers of stages may mean others now.
        self.approved = 0;
        let stood = self.paused_from.unwrap_or(self.phase);
        let lands = match &plan.plan {
            Plan::Split(weight) => self.land_on_split(*weight, stood),
            Plan::Stages(stages) => self.land_on_stage(stages, stood),
        };
        if stood == Phase::Succeeded && lands != Phase::Succeeded {
            // What went well is not late because more is wanted of it.
            self.started = (self.weight > Share::ZERO).then_some(now);
        }
        let text = format!("the plan was edited; goes on at {}", sentence::at(self));
        if self.phase == Phase::Paused {
            self.paused_from = Some(lands);
        } else if lands != stood || lands.is_live() {
            self.stay(lands, text, now);
        }
    }

    fn land_on_split(&mut self, weight: Share, stood: Phase) -> Phase {
        self.mirror = Share::ZERO;
        self.weight = self.weight.min(weight);
        if self.stage == 0 && matches!(stood, Phase::Pending | Phase::Waiting) {
            return Phase::Pending;
        }
        self.stage = 1;
        Phase::Holding
    }

    fn land_on_stage(&mut self, stages: &Stages, stood: Phase) -> Phase {
        let fits = |stage: &plan::Stage| match stage.carries {
            Carries::Weight(weight) => self.weight > Share::ZERO && weight <= self.weight,
            Carries::ByEndpoints => self.weight > Share::ZERO,
            Carries::Mirror(mirror) => self.weight > Share::ZERO || self.mirror >= mirror,
        };
        let last = stages.stages.iter().rposition(fits);
        self.stage = last.map_or(0, |index| index + 1);
        if self.stage == 0 || self.weight > Share::ZERO {
            self.mirror = Share::ZERO;
        }
        match stood {
            _ if self.stage == 0 => Phase::Pending,
            Phase::Baking | Phase::Succeeded if self.stage == stages.stages.len() => stood,
            _ => Phase::Holding,
        }
    }
}
