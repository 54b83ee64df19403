//! Rollouts: from which version to which, by which steps.

use std::time::Duration;

use super::Check;
use super::names::Unique;
use crate::file;
use crate::names::nearest;
use crate::plan::{
    Carries, Cohort, MAX_COHORTS, MIN_REQUESTS, OnRegression, Plan, Rollout, Stage, Stages,
};
use crate::problem::quoted;
use crate::read::Part;
use crate::source::At;
use crate::units::{Share, show_duration};

/// Written ones and guarded splits together: each has counters on every worker.
const MOST_ROLLOUTS: usize = 7_000;
const MOST_STAGES: usize = 100;
/// More requests are no number that anybody waits for.
pub(super) const MOST_REQUESTS: u64 = 1_000_000_000;

impl Check<'_> {
    /// The written ones. Guarded splits join them when their routes are checked.
    pub(super) fn rollouts(&mut self) {
        for part in self.parts {
            let root = At::root(&part.source);
            let at = root.key("rollouts");
            for (index, rollout) in part.file.rollouts.iter().enumerate() {
                let rollout = self.rollout(&at.index(index), rollout, part);
                self.add_rollout(&at.index(index), rollout);
            }
        }
    }

    /// Its index.
    pub(super) fn add_rollout(&mut self, at: &At<'_>, rollout: Rollout) -> usize {
        if self.rollouts.len() == MOST_ROLLOUTS {
            let message =
                format!("these are more than {MOST_ROLLOUTS} rollouts and guarded splits");
            self.problems
                .error(at, "T302", message, "remove those that are over");
        }
        self.rollouts.push(rollout);
        self.rollouts.len() - 1
    }

    fn rollout(&mut self, at: &At<'_>, written: &file::Rollout, part: &Part) -> Rollout {
        let stages = self.stages(at, written);
        let most = stages.most();
        let (service, candidate) = self.tried(at, written);
        let by = self.split_by(&at.key("by"), written.by.as_deref());
        self.asks_for_nobody(&at.key("by"), &by);
        Rollout {
            name: written.name.clone(),
            service,
            candidate,
            by,
            salt: self.salt(&at.key("salt"), written.salt.as_deref(), || {
                written.name.clone()
            }),
            // Known when all of them are.
            shares_salt: false,
            fallback: matches!(written.fallback, Some(file::Fallback::Stable)),
            cohorts: self.cohorts(&at.key("cohorts"), &written.cohorts, part),
            plan: Plan::Stages(Box::new(stages)),
            guard: self.guard(&at.key("guard"), written.guard.as_ref(), most),
            on_regression: match written.on_regression {
                None | Some(file::OnRegression::Rollback) => OnRegression::Rollback,
                Some(file::OnRegression::Pause) => OnRegression::Pause,
                Some(file::OnRegression::Alert) => OnRegression::Alert,
            },
        }
    }

    /// The service and its version, as indexes.
    ///
    /// A candidate that is stable already is what a rollout looks like after its success: the operator wrote `stable: v2`
    /// and left the rollout for later. So that is a warning (see `releases`), and refused is only a service with one
    /// version, where no edit of `stable` can ever have led there.
    fn tried(&mut self, at: &At<'_>, written: &file::Rollout) -> (usize, usize) {
        let Some((index, service)) = self.service_named(&at.key("service"), &written.service)
        else {
            return (0, 0);
        };
        let at = at.key("candidate");
        let who = format!("rollout {} tries", quoted(&written.name));
        let candidate = self.version_named(&at, &written.candidate, service, &who, false);
        if candidate.is_some() && service.versions.len() == 1 {
            let message = format!(
                "service {} has one version, which is stable: there is nothing to try",
                quoted(&service.name)
            );
            self.problems.error(
                &at,
                "T206",
                message,
                "add the new version to the service and name it here",
            );
        }
        (index, candidate.unwrap_or(0))
    }

    fn cohorts(&mut self, at: &At<'_>, written: &[file::Cohort], part: &Part) -> Vec<Cohort> {
        self.at_most(at, written.len(), MAX_COHORTS, "cohorts");
        let mut names = Unique::new("cohort of this rollout");
        let mut cohorts = Vec::with_capacity(written.len());
        for (index, cohort) in written.iter().enumerate() {
            let at = at.index(index);
            names.name(&at.key("name"), &cohort.name, self.problems);
            cohorts.push(Cohort {
                name: cohort.name.clone(),
                when: self.when(&at.key("when"), &cohort.when, part),
            });
        }
        cohorts
    }

    fn stages(&mut self, at: &At<'_>, written: &file::Rollout) -> Stages {
        let stages_at = at.key("stages");
        if written.stages.is_empty() {
            let message = format!("rollout {} has no stage", quoted(&written.name));
            let hint = "add stages: `- { weight: 5%, hold: 10m }`, `- { weight: 100% }`";
            self.problems.error(&stages_at, "T204", message, hint);
        }
        self.at_most(&stages_at, written.stages.len(), MOST_STAGES, "stages");
        let mut stages = Vec::with_capacity(written.stages.len());
        for (index, stage) in written.stages.iter().enumerate() {
            let is_last = index + 1 == written.stages.len();
            stages.push(self.stage(&stages_at.index(index), stage, is_last));
        }
        self.order(&stages_at, &stages);
        let bake = self.duration(&at.key("bake"), written.bake.as_ref(), Duration::ZERO);
        let deadline = written
            .deadline
            .as_ref()
            .map(|text| self.wait(&at.key("deadline"), Some(text), Duration::ZERO));
        let stages = Stages {
            windows: self.windows(&at.key("windows"), written.windows.as_ref()),
            gates: self.gates(&at.key("gates"), &written.gates, stages.len()),
            stages,
            bake,
            deadline,
        };
        self.enough_time(at, &stages);
        self.time_to_watch(at, &stages);
        stages
    }

    fn stage(&mut self, at: &At<'_>, written: &file::Stage, is_last: bool) -> Stage {
        let carries = match (&written.weight, &written.mirror) {
            (Some(text), None) if text.0 == "by_endpoints" => Some(Carries::ByEndpoints),
            (Some(text), None) if nearest(&text.0, ["by_endpoints"]).is_some() => {
                let message = format!("{} is no weight", quoted(&text.0));
                self.problems.error(
                    &at.key("weight"),
                    "T301",
                    message,
                    "did you mean `by_endpoints`?",
                );
                None
            }
            (Some(text), None) => self
                .carried(&at.key("weight"), &file::ShareText(text.0.clone()))
                .map(Carries::Weight),
            (None, Some(text)) => self.carried(&at.key("mirror"), text).map(Carries::Mirror),
            (weight, _) => {
                let count = if weight.is_some() { 2 } else { 0 };
                let message = format!(
                    "a stage has exactly one of `weight` and `mirror`, this one has {count}"
                );
                self.problems.error(
                    at,
                    "T108",
                    message,
                    "write `weight: 5%`, or `mirror: 10%` for copies whose answers nobody gets",
                );
                None
            }
        };
        let hold = self.duration(&at.key("hold"), written.hold.as_ref(), Duration::ZERO);
        let default = if is_last && hold.is_zero() {
            0
        } else {
            MIN_REQUESTS
        };
        let min_requests = self.number(
            &at.key("min_requests"),
            written.min_requests,
            default,
            (0, MOST_REQUESTS),
        );
        let max_hold = written
            .max_hold
            .as_ref()
            .map(|text| self.wait(&at.key("max_hold"), Some(text), Duration::ZERO));
        if let Some(most) = max_hold.filter(|most| *most < hold) {
            let message = format!(
                "`max_hold` ({}) is shorter than `hold` ({})",
                show_duration(most),
                show_duration(hold)
            );
            self.problems.error(
                &at.key("max_hold"),
                "T314",
                message,
                "raise it, or lower `hold`",
            );
        }
        Stage {
            // A stand-in where there was a problem; the order of such stages is not judged.
            carries: carries.unwrap_or(Carries::Weight(Share::ZERO)),
            hold,
            min_requests,
            max_hold,
            approve: written.approve,
        }
    }

    /// A share of users or of copies, above 0.
    fn carried(&mut self, at: &At<'_>, text: &file::ShareText) -> Option<Share> {
        let share = self.share_read(at, text)?;
        if share == Share::ZERO {
            self.problems.error(
                at,
                "T302",
                "a stage of 0% shows nothing of the candidate",
                "write a share above 0, or remove the stage",
            );
            return None;
        }
        Some(share)
    }

    /// Tells lists that are longer than what is kept for each.
    pub(super) fn at_most(&mut self, at: &At<'_>, count: usize, most: usize, what: &str) {
        if count > most {
            let message = format!("these are more than {most} {what}");
            self.problems
                .error(at, "T302", message, "keep those that matter");
        }
    }
}
