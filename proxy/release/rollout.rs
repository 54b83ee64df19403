//! One rollout: where it stands, and what follows from what is seen. A value: every step gives the next one, and whoever
//! drives it looks at the difference.
//!
//! ```text
//! pending ─▶ waiting ─▶ ramping ─▶ holding ─▶ … ─▶ baking ─▶ succeeded        paused, from any of them before succeeded
//!     └───────────────── rolled_back, from all of them ─────────┘             superseded, when the candidate is stable
//! ```
//!
//! - **Guards are asked first**, on every look and in every phase, paused or not; they stop at `succeeded`.
//! - **Growth needs every condition** (hold over, enough requests, no alarm, no concern, window open, gate, approval);
//!   shrinking needs one.
//! - **Growth is two steps.** [`Rollout::look`] gives a rollout in `ramping`, whose [`Rollout::ramp`] says what it is about to
//!   carry, while [`Rollout::weight`] is still what is in force. Once that is durable, [`Rollout::ramped`] raises the weight.
//!   Nothing else ever does, so a crash can only leave the candidate smaller.
//! - **Rolled back is for good**: no look leaves it, only [`Order::Retry`] or a plan that was not rolled back before.
//!
//! Exceptions: while a candidate carries nothing, the want of a healthy endpoint is waited for and not rolled back; a split
//! whose weight is edited to 0 % holds at 0 %.
//!
//! Whoever drives it looks right before an order, and before [`Rollout::ramped`]: then time and requests go to the stage
//! that was in force meanwhile.

mod door; // may the next stage be entered?
mod edits; // the file has changed
mod orders; // an operator wants something
mod ramp; // what is about to be carried
mod recall; // a rollback that was written down faster than the rest
mod sentence; // why it stands where it stands
mod standing; // what is asked of it

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;
use tidegate_config::plan::{self, Carries, MAX_COHORTS, OnRegression, Plan, Stages};

use super::answer::Answer;
use super::calendar::Opening;
use super::key::Key;
use super::phase::Phase;
use super::share;
use super::verdict::{Cause, Reason, Verdict};

pub use ramp::Ramp;

/// So many plans that were rolled back are remembered for one rollout, the newest.
pub const MAX_LATCHES: usize = 64;

/// All of a rollout that must outlive the process, its evidence apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    key: Key,
    attempt: u32,
    phase: Phase,
    /// When the phase began.
    since: Duration,
    /// The stage that is in force, from 1; 0 before the first one.
    stage: usize,
    #[serde(with = "share")]
    weight: Share,
    #[serde(with = "share")]
    mirror: Share,
    /// While ramping: what is about to be carried.
    ramp: Option<Ramp>,
    /// For so long the stage held with all that it carries.
    held: Duration,
    /// For so long the stage has been there, pauses left out.
    waited: Duration,
    /// Requests of the candidate that ended in this stage, or in this bake.
    requests: u64,
    baked: Duration,
    /// The first weight above 0.
    started: Option<Duration>,
    /// The stage that somebody approved; 0 for none.
    approved: usize,
    /// While paused: what it goes back to.
    paused_from: Option<Phase>,
    cohorts_back: u16,
    /// The cohorts that those bits are about, in the order of the file in which they went back.
    #[serde(default)]
    cohorts: Vec<String>,
    reason: Reason,
    /// What was rolled back under this name, the newest last.
    latches: Vec<Latch>,
}

/// A plan that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Latch {
    key: Key,
    reason: Reason,
}

/// What is seen when a rollout is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Since the Unix epoch.
    pub now: Duration,
    /// By a clock that never goes back, since the last look; bounded by whoever looks, so that a machine that slept does
    /// not hold in its sleep.
    pub elapsed: Duration,
    /// Of the candidate, mirrored ones included, that ended since the last look.
    pub requests: u64,
    /// A guard that fires. One about everybody comes before one about a cohort; one about a cohort that is back already is
    /// heard and has no effect.
    pub alarm: Option<&'a Verdict>,
    /// A reason not to grow: a suspicion, a metrics store that is silent.
    pub concern: Option<&'a str>,
    /// Whether weights may grow at this time of the day.
    pub opening: &'a Opening,
    /// Of the gates before the stage that [`Rollout::asks`] names.
    pub gate: &'a Answer,
    /// The candidate's part of the healthy endpoints of both versions, where a stage goes by it.
    pub endpoints: Option<Share>,
}

impl Rollout {
    /// The first attempt, before its first look.
    #[must_use]
    pub fn new(key: Key, now: Duration) -> Self {
        Self::attempt_of(key, 1, Vec::new(), now)
    }

    fn attempt_of(key: Key, attempt: u32, latches: Vec<Latch>, now: Duration) -> Self {
        Self {
            key,
            attempt,
            phase: Phase::Pending,
            since: now,
            stage: 0,
            weight: Share::ZERO,
            mirror: Share::ZERO,
            ramp: None,
            held: Duration::ZERO,
            waited: Duration::ZERO,
            requests: 0,
            baked: Duration::ZERO,
            started: None,
            approved: 0,
            paused_from: None,
            cohorts_back: 0,
            cohorts: Vec::new(),
            reason: Reason::plain("begins"),
            latches,
        }
    }

    /// The rollout as it is after this look. Guards first.
    #[must_use]
    pub fn look(&self, plan: &plan::Rollout, look: &Look<'_>) -> Self {
        let mut next = self.clone();
        if !next.phase.is_live() {
            return next;
        }
        next.take_in(plan, look);
        let alarm = look.alarm.filter(|alarm| next.hear(plan, alarm, look.now));
        if !next.phase.is_live() {
            return next;
        }
        if let Some(text) = next.missed_deadline(plan, look.now) {
            next.roll_back(Reason::against(Cause::Deadline, text), look.now);
            return next;
        }
        next.shrink(plan, look);
        if next.phase != Phase::Paused {
            let against = alarm.map(|alarm| alarm.text.as_str()).or(look.concern);
            next.go_on(plan, look, against);
            if let Some(alarm) = alarm {
                next.reason.cause = Some(alarm.cause.clone());
            }
        }
        if next.cohorts_back != self.cohorts_back
            && let Some(alarm) = look.alarm
        {
            // For the entry that tells of it; the next look says only where the rest stands.
            next.reason.text = format!("{}; {}", alarm.text, next.reason.text).into();
        }
        next
    }

    /// Time and requests since the last look. They count for the stage that was in force meanwhile.
    fn take_in(&mut self, plan: &plan::Rollout, look: &Look<'_>) {
        if self.carries_something() {
            self.requests = self.requests.saturating_add(look.requests);
        }
        let carried = if self.carries_all(plan) {
            look.elapsed
        } else {
            Duration::ZERO
        };
        match self.phase {
            Phase::Holding => {
                self.held = self.held.saturating_add(carried);
                self.waited = self.waited.saturating_add(look.elapsed);
            }
            Phase::Baking => self.baked = self.baked.saturating_add(carried),
            _ => {}
        }
    }

    /// A guard fires: does what it asks for, or says that it only stands against growth.
    fn hear(&mut self, plan: &plan::Rollout, alarm: &Verdict, now: Duration) -> bool {
        let cohort = alarm.cohort.filter(|cohort| *cohort < MAX_COHORTS);
        // Nobody meets it at present: its endpoints may still be on their way, or be gone on purpose.
        if alarm.cause == Cause::NoEndpoint && !self.carries_something() {
            return true;
        }
        match (plan.on_regression, cohort) {
            (OnRegression::Rollback, Some(cohort)) => {
                self.cohorts_back |= 1 << cohort;
                self.cohorts = plan.cohorts.iter().map(|of| of.name.clone()).collect();
            }
            (OnRegression::Rollback, None) => self.roll_back(alarm.into(), now),
            (OnRegression::Pause, _) => self.pause(alarm.into(), now),
            (OnRegression::Alert, _) => return true,
        }
        false
    }

    fn carries_something(&self) -> bool {
        self.weight > Share::ZERO || self.mirror > Share::ZERO
    }

    fn missed_deadline(&self, plan: &plan::Rollout, now: Duration) -> Option<String> {
        let deadline = stages(plan)?.deadline?;
        (now.saturating_sub(self.started?) >= deadline).then(|| sentence::deadline(self, deadline))
    }

    /// What needs no condition: a split that was edited, or endpoints that went.
    fn shrink(&mut self, plan: &plan::Rollout, look: &Look<'_>) {
        if let Some(target) = self.target(plan, look)
            && target < self.weight
        {
            self.weight = target;
        }
    }

    /// What the stage in force should carry at present.
    fn target(&self, plan: &plan::Rollout, look: &Look<'_>) -> Option<Share> {
        match &plan.plan {
            Plan::Split(weight) => Some(*weight),
            Plan::Stages(stages) => match self.stage_of(stages)?.carries {
                Carries::ByEndpoints => look.endpoints,
                Carries::Weight(_) | Carries::Mirror(_) => None,
            },
        }
    }

    /// Everything but shrinking. `against` is what stands against growth, and against an end.
    fn go_on(&mut self, plan: &plan::Rollout, look: &Look<'_>, against: Option<&str>) {
        let ramp = self.ramp.clone();
        let since = self.since;
        self.end_ramp();
        match &plan.plan {
            Plan::Split(weight) => self.go_on_with_split(*weight, look.now, against),
            Plan::Stages(stages) => self.go_on_with_stages(plan, stages, look, against),
        }
        // The step that is being written down goes on; it does not become a larger one meanwhile.
        if let (Some(before), Some(now)) = (ramp, &mut self.ramp) {
            now.keep_to(&before);
            self.since = since;
        }
    }

    fn go_on_with_split(&mut self, weight: Share, now: Duration, against: Option<&str>) {
        if let Some(against) = against {
            let text = sentence::against(self, against);
            return self.stay(self.phase, text, now);
        }
        if weight > self.weight {
            return self.begin_ramp(1, weight, Share::ZERO, now);
        }
        self.stage = 1;
        self.stay(Phase::Holding, sentence::split(self), now);
    }

    fn go_on_with_stages(
        &mut self,
        plan: &plan::Rollout,
        stages: &Stages,
        look: &Look<'_>,
        against: Option<&str>,
    ) {
        if against.is_none()
            && let Some(target) = self.target(plan, look)
            && target > self.weight
            && matches!(look.opening, Opening::Open { .. })
        {
            return self.begin_ramp(self.stage, target, Share::ZERO, look.now);
        }
        match self.phase {
            Phase::Baking => self.bake(plan, stages, look.now, against),
            Phase::Holding => self.hold(plan, stages, look, against),
            _ => self.knock(stages, look, against),
        }
    }

    /// In a stage, until its time is over and enough was seen.
    fn hold(
        &mut self,
        plan: &plan::Rollout,
        stages: &Stages,
        look: &Look<'_>,
        against: Option<&str>,
    ) {
        let Some(stage) = self.stage_of(stages) else {
            // An edit left no such stage; `edited` never does.
            return self.knock(stages, look, against);
        };
        let missing = sentence::missing(self, plan, stage);
        let is_over = missing.is_none();
        if (!is_over || against.is_some())
            && let Some(most) = stage.max_hold.filter(|most| self.waited >= *most)
        {
            let text = sentence::waited_too_long(self, stage, most, against);
            return self.pause(Reason::plain(text), look.now);
        }
        match (missing, against) {
            (_, Some(against)) => {
                self.stay(Phase::Holding, sentence::against(self, against), look.now)
            }
            (Some(missing), None) => self.stay(Phase::Holding, missing, look.now),
            (None, None) if self.stage >= stages.stages.len() => {
                self.begin_bake(stages, look.now);
            }
            (None, None) => self.knock(stages, look, None),
        }
    }

    /// At the last weight, until it was watched for long enough.
    fn bake(
        &mut self,
        plan: &plan::Rollout,
        stages: &Stages,
        now: Duration,
        against: Option<&str>,
    ) {
        let missing = sentence::missing_in_bake(self, plan, stages);
        match (missing, against) {
            (_, Some(against)) => self.stay(Phase::Baking, sentence::against(self, against), now),
            (Some(missing), None) => self.stay(Phase::Baking, missing, now),
            (None, None) => self.succeed(now),
        }
    }

    /// The last stage is over.
    fn begin_bake(&mut self, stages: &Stages, now: Duration) {
        if stages.bake.is_zero() {
            return self.succeed(now);
        }
        self.requests = 0;
        self.baked = Duration::ZERO;
        self.stay(Phase::Baking, sentence::bake_begins(self, stages.bake), now);
    }

    fn succeed(&mut self, now: Duration) {
        self.stay(Phase::Succeeded, sentence::succeeded(self), now);
    }

    fn pause(&mut self, reason: Reason, now: Duration) {
        self.end_ramp();
        if self.phase != Phase::Paused {
            self.paused_from = Some(self.phase);
        }
        self.enter(Phase::Paused, reason, now);
    }

    /// Everybody goes back, for good.
    fn roll_back(&mut self, reason: Reason, now: Duration) {
        self.end_ramp();
        self.latch(reason.clone());
        self.withdraw(Phase::RolledBack, reason, now);
    }

    /// Remembers that the present plan was rolled back.
    fn latch(&mut self, reason: Reason) {
        let key = self.key;
        self.latches.retain(|latch| latch.key != key);
        self.latches.push(Latch { key, reason });
        let too_many = self.latches.len().saturating_sub(MAX_LATCHES);
        self.latches.drain(..too_many);
    }

    /// Into a phase in which the candidate carries nothing.
    fn withdraw(&mut self, phase: Phase, reason: Reason, now: Duration) {
        self.ramp = None;
        self.weight = Share::ZERO;
        self.mirror = Share::ZERO;
        self.paused_from = None;
        self.enter(phase, reason, now);
    }

    fn stay(&mut self, phase: Phase, text: impl Into<Cow<'static, str>>, now: Duration) {
        self.enter(phase, Reason::plain(text), now);
    }

    fn enter(&mut self, phase: Phase, reason: Reason, now: Duration) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
        self.reason = reason;
    }

    fn stage_of<'a>(&self, stages: &'a Stages) -> Option<&'a plan::Stage> {
        stages.stages.get(self.stage.checked_sub(1)?)
    }

    /// Whether the candidate carries all that its stage says. By endpoints that is the whole.
    fn carries_all(&self, plan: &plan::Rollout) -> bool {
        let stage = stages(plan).and_then(|stages| self.stage_of(stages));
        stage
            .is_none_or(|stage| stage.carries != Carries::ByEndpoints || self.weight == Share::FULL)
    }
}

fn stages(plan: &plan::Rollout) -> Option<&Stages> {
    match &plan.plan {
        Plan::Split(_) => None,
        Plan::Stages(stages) => Some(stages),
    }
}

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "tests, which fuzzers share")]
pub(crate) mod tests;
