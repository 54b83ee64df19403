//! What is asked of a rollout.

use std::borrow::Cow;
use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan;

use super::{Ramp, Rollout};
use crate::release::key::Key;
use crate::release::phase::Phase;
use crate::release::verdict::Reason;

impl Rollout {
    /// What it is remembered by if it is rolled back.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// From 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The salt of this attempt: a further one meets other users.
    #[must_use]
    pub fn salt<'a>(&self, plan: &'a plan::Rollout) -> Cow<'a, str> {
        match self.attempt {
            0 | 1 => Cow::Borrowed(&plan.salt),
            attempt => Cow::Owned(format!("{}#{attempt}", plan.salt)),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the phase began.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Why it stands there.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The same with somebody's own words after the reason, for the order that led here.
    #[must_use]
    pub fn because(self, words: &str) -> Self {
        Self {
            reason: self.reason.because(words),
            ..self
        }
    }

    /// The stage in force, from 1, mirror stages included; 0 before the first one.
    #[must_use]
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// The candidate's share of users that is in force. While ramping it is still the one before.
    #[must_use]
    pub fn weight(&self) -> Share {
        self.weight
    }

    /// The share of requests that are copied to the candidate. While ramping it is still the one before.
    #[must_use]
    pub fn mirror(&self) -> Share {
        self.mirror
    }

    /// While ramping: what is in force once this is durable.
    #[must_use]
    pub fn ramp(&self) -> Option<&Ramp> {
        self.ramp.as_ref()
    }

    /// For so long the stage held.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.held
    }

    /// For so long it baked.
    #[must_use]
    pub fn baked(&self) -> Duration {
        self.baked
    }

    /// Requests of the candidate in this stage, or in this bake.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When the first weight above 0 came into force.
    #[must_use]
    pub fn started(&self) -> Option<Duration> {
        self.started
    }

    /// The stage that somebody approved.
    #[must_use]
    pub fn approved(&self) -> Option<usize> {
        (self.approved > 0).then_some(self.approved)
    }

    /// While paused: the phase that it goes back to.
    #[must_use]
    pub fn paused_from(&self) -> Option<Phase> {
        self.paused_from
    }

    /// Bit i: the cohort i is back on stable.
    #[must_use]
    pub fn cohorts_back(&self) -> u16 {
        self.cohorts_back
    }

    /// Whether guards act and anything can still happen by itself.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase.is_live()
    }

    /// Whether nothing happened that a history tells: only time, counts and the words of the reason may differ.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        let step = |rollout: &Self| {
            (
                (rollout.key, rollout.attempt, rollout.phase, rollout.stage),
                (rollout.weight, rollout.mirror, rollout.cohorts_back),
                (rollout.approved, rollout.paused_from),
            )
        };
        step(self) == step(other)
            && self.ramp == other.ramp
            && self.reason.cause == other.reason.cause
    }
}
