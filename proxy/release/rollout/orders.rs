//! An operator wants something.

use std::time::Duration;

use tidegate_config::plan::{self, OnRegression, Plan, Stages};

use super::{Latch, Look, Rollout, door, sentence, stages};
use crate::release::order::{Forbidden, Order};
use crate::release::phase::Phase;
use crate::release::verdict::{Cause, Reason};

/// An approval so soon after the stage that the last one let in is the same one, said twice.
const SAID_TWICE: Duration = Duration::from_secs(5);

impl Rollout {
    /// The rollout after an order.
    ///
    /// # Errors
    /// Where phase, plan or guards forbid it. Then nothing has changed.
    pub fn obey(
        &self,
        plan: &plan::Rollout,
        order: Order,
        look: &Look<'_>,
    ) -> Result<Self, Forbidden> {
        let mut next = self.clone();
        match order {
            Order::Pause => next.obey_pause(look.now),
            Order::Resume => next.obey_resume(plan, look),
            Order::Promote => next.obey_promote(plan, look),
            Order::Approve => next.obey_approve(plan, look.now),
            Order::Rollback => next.obey_rollback(look.now),
            Order::Retry => next.obey_retry(look.now),
        }
        .map(|()| next)
        .map_err(|why| Forbidden(format!("cannot {order}: {why}")))
    }

    fn obey_pause(&mut self, now: Duration) -> Result<(), String> {
        if self.phase == Phase::Paused || !self.phase.is_live() {
            return Err(format!("it is {}", told(self.phase)));
        }
        self.end_ramp();
        let text = format!("paused at {} by an operator", sentence::at(self));
        self.pause(Reason::plain(text), now);
        Ok(())
    }

    fn obey_resume(&mut self, plan: &plan::Rollout, look: &Look<'_>) -> Result<(), String> {
        let (Phase::Paused, Some(from)) = (self.phase, self.paused_from) else {
            return Err(format!("it is {}, not paused", told(self.phase)));
        };
        if let Some(alarm) = look.alarm
            && plan.on_regression == OnRegression::Pause
        {
            return Err(format!(
                "a guard fires: {alarm}; roll it back, or wait until it is silent"
            ));
        }
        self.paused_from = None;
        if self.is_out_of_patience(plan) {
            // Whoever resumes gives it anew; else it would pause again at once.
            self.waited = Duration::ZERO;
        }
        let text = format!("goes on at {}", sentence::at(self));
        self.stay(from, text, look.now);
        Ok(())
    }

    fn obey_promote(&mut self, plan: &plan::Rollout, look: &Look<'_>) -> Result<(), String> {
        let Plan::Stages(stages) = &plan.plan else {
            return Err("a guarded split has one weight, the file's: edit it there".to_owned());
        };
        match self.phase {
            Phase::Ramping => return Err("it is on its way to the next stage".to_owned()),
            Phase::Paused => return Err("it is paused: resume it first".to_owned()),
            phase if !phase.is_live() => return Err(format!("it is {}", told(phase))),
            _ => {}
        }
        if let Some(alarm) = look.alarm
            && !self.is_settled(plan, alarm.cohort)
        {
            return Err(format!("a guard fires: {alarm}"));
        }
        if let Some(concern) = look.concern {
            return Err(format!("it may not grow: {concern}"));
        }
        // Where a stage follows, whoever says so may do the last step of a rolling replacement before the last machine of
        // stable goes; else its users would have nowhere to go for the moment in between.
        let is_last = self.stage >= stages.stages.len();
        if is_last && !self.carries_all(plan) {
            return Err(
                "the stage ends when the candidate has all of the healthy endpoints".to_owned(),
            );
        }
        if self.phase == Phase::Baking {
            self.succeed(look.now);
            return Ok(());
        }
        if is_last {
            self.begin_bake(stages, look.now);
            return Ok(());
        }
        self.promote_through_door(stages, look)
    }

    fn promote_through_door(&mut self, stages: &Stages, look: &Look<'_>) -> Result<(), String> {
        if let Some(closed) = door::closed(look.opening) {
            return Err(format!("the next stage waits for {closed}"));
        }
        let was_due = matches!(self.phase, Phase::Pending | Phase::Waiting);
        if was_due && let Some(missing) = self.missing_at_door(stages, self.stage + 1, look) {
            return Err(missing);
        }
        // The hold is over from here on, even if an approval or a gate still keeps the door shut.
        self.stay(Phase::Waiting, "promoted", look.now);
        self.knock(stages, look, None);
        Ok(())
    }

    fn obey_approve(&mut self, plan: &plan::Rollout, at: Duration) -> Result<(), String> {
        let Plan::Stages(stages) = &plan.plan else {
            return Err("a guarded split has no stages to approve".to_owned());
        };
        let from = self.paused_from.unwrap_or(self.phase);
        if !matches!(
            from,
            Phase::Pending | Phase::Waiting | Phase::Ramping | Phase::Holding
        ) {
            return Err(format!("it is {}", told(from)));
        }
        let now = self.ramp.as_ref().map_or(self.stage, super::Ramp::stage);
        let next = now + 1;
        match stages.stages.get(now) {
            None => Err(format!("stage {now} is the last one")),
            Some(stage) if !stage.approve => Err(format!("stage {next} needs no approval")),
            Some(_) if self.approved == next => Err(format!("stage {next} is approved already")),
            // Who says it twice in a row means the stage that was let in by the first of them.
            Some(_)
                if now > 0
                    && self.approved == now
                    && self.phase != Phase::Waiting
                    && at.saturating_sub(self.since) < SAID_TWICE =>
            {
                Err(format!(
                    "stage {now} was approved and let in just now; if stage {next} is meant, say it again in {} s",
                    SAID_TWICE.as_secs()
                ))
            }
            Some(_) => {
                self.approved = next;
                self.reason = Reason::plain(format!("stage {next} is approved"));
                Ok(())
            }
        }
    }

    fn obey_rollback(&mut self, now: Duration) -> Result<(), String> {
        if matches!(self.phase, Phase::RolledBack | Phase::Superseded) {
            return Err(format!("it is {}", told(self.phase)));
        }
        self.roll_back(
            Reason::against(Cause::Operator, "rolled back by an operator"),
            now,
        );
        Ok(())
    }

    fn obey_retry(&mut self, now: Duration) -> Result<(), String> {
        if self.phase != Phase::RolledBack {
            return Err(format!("it is {}, not rolled back", told(self.phase)));
        }
        let key = self.key;
        let mut latches: Vec<Latch> = std::mem::take(&mut self.latches);
        latches.retain(|latch| latch.key != key);
        *self = Self::attempt_of(key, self.attempt.saturating_add(1), latches, now);
        self.reason = Reason::plain(format!("attempt {} begins", self.attempt));
        Ok(())
    }

    fn is_out_of_patience(&self, plan: &plan::Rollout) -> bool {
        let stage = stages(plan).and_then(|stages| self.stage_of(stages));
        stage
            .and_then(|stage| stage.max_hold)
            .is_some_and(|most| self.waited >= most)
    }

    /// Whether what a verdict about a cohort asks for is done already.
    fn is_settled(&self, plan: &plan::Rollout, cohort: Option<usize>) -> bool {
        plan.on_regression == OnRegression::Rollback
            && cohort.is_some_and(|cohort| {
                cohort < plan::MAX_COHORTS && self.cohorts_back & (1 << cohort) != 0
            })
    }
}

/// A phase within a sentence.
fn told(phase: Phase) -> &'static str {
    match phase {
        Phase::RolledBack => "rolled back",
        Phase::Paused => "paused already",
        other => other.as_str(),
    }
}
