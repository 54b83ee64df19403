//! May the next stage be entered?

use tidegate_config::plan::{self, Stages};

use super::{Look, Rollout, sentence, stages};
use crate::release::answer::Answer;
use crate::release::calendar::Opening;
use crate::release::phase::Phase;

impl Rollout {
    /// The stage whose gates want to be asked now, and again from time to time: whatever they said before another stage, or
    /// before this one was due, does not count.
    #[must_use]
    pub fn asks(&self, plan: &plan::Rollout) -> Option<usize> {
        let next = self.stage + 1;
        let gated = stages(plan)?
            .gates
            .iter()
            .any(|gate| gate.before_stage == next);
        let is_due = match self.phase {
            Phase::Pending | Phase::Waiting => true,
            Phase::Ramping => self.ramp.as_ref().is_some_and(|ramp| ramp.stage() == next),
            _ => false,
        };
        (gated && is_due).then_some(next)
    }

    /// At the door of the next stage: in, or wait.
    pub(super) fn knock(&mut self, stages: &Stages, look: &Look<'_>, against: Option<&str>) {
        if let Some(against) = against {
            return self.stay(self.phase, sentence::against(self, against), look.now);
        }
        let next = self.stage + 1;
        let Some(stage) = stages.stages.get(self.stage) else {
            // Only a file that was never checked has no stage to go to.
            return self.begin_bake(stages, look.now);
        };
        match self.missing_at_door(stages, next, look) {
            Some(missing) => self.stay(Phase::Waiting, missing, look.now),
            None => self.begin_stage(next, stage, look.endpoints, look.now),
        }
    }

    /// What still keeps the stage shut: everything of it, for whoever reads it wants to know what to do.
    pub(super) fn missing_at_door(
        &self,
        stages: &Stages,
        next: usize,
        look: &Look<'_>,
    ) -> Option<String> {
        let needs_approval = stages
            .stages
            .get(next - 1)
            .is_some_and(|stage| stage.approve);
        let missing = [
            closed(look.opening),
            (needs_approval && self.approved != next).then(|| "its approval".to_owned()),
            shut(stages, next, look.gate),
        ];
        let missing: Vec<_> = missing.into_iter().flatten().collect();
        (!missing.is_empty())
            .then(|| format!("stage {next} waits for {}", missing.join(", and for ")))
    }
}

/// A window, in words.
pub(super) fn closed(opening: &Opening) -> Option<String> {
    match opening {
        Opening::Open { .. } => None,
        Opening::Closed {
            why,
            opens: Some(opens),
        } => Some(format!("an open window ({why}; opens {opens})")),
        Opening::Closed { why, opens: None } => Some(format!(
            "an open window ({why}; none opens within 400 days)"
        )),
    }
}

fn shut(stages: &Stages, next: usize, answer: &Answer) -> Option<String> {
    let mut gates = stages.gates.iter().filter(|gate| gate.before_stage == next);
    let first = gates.next()?;
    match answer {
        Answer::Go { stage } if *stage == next => None,
        Answer::Wait { stage, why } if *stage == next => Some(format!("a yes ({why})")),
        _ => Some(format!("an answer of gate {:?}", first.name)),
    }
}
