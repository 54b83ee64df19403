//! Splits with a guard: rollouts of one weight.

use super::Check;
use crate::file;
use crate::plan::{OnRegression, Plan, Rollout};
use crate::problem::quoted;
use crate::source::At;
use crate::{Share, Split, Target};

/// The rule that a split stands in.
pub(super) struct Ruled<'a> {
    pub(super) route: &'a str,
    pub(super) rule: &'a str,
    /// Whether the rule has a name of its own, and no number.
    pub(super) is_named: bool,
}

impl Check<'_> {
    /// Makes the split a rollout, which the rule then goes by. `at` is the rule's.
    pub(super) fn guarded(
        &mut self,
        at: &At<'_>,
        written: &file::Split,
        guard: &file::Guard,
        split: Split,
        ruled: &Ruled<'_>,
        service: Option<&file::Service>,
    ) -> Target {
        let name = format!("{}.{}", ruled.route, ruled.rule);
        if !ruled.is_named {
            let message = "a rule whose split has a guard needs a `name`";
            let hint = "add `name:`; the rollout is called `<route>.<rule>`, and a number would change when rules move";
            self.problems.error(at, "T105", message, hint);
        }
        let split_at = at.key("split");
        let service_index = service
            .and_then(|service| self.names.service_index(&service.name))
            .unwrap_or(0);
        let candidate = service.and_then(|service| {
            self.guarded_candidate(&split_at.key("weights"), written, &split, service)
        });
        let weight = candidate.map_or(Share::ZERO, |candidate| split.weights[candidate]);
        let rollout = Rollout {
            name: name.clone(),
            service: service_index,
            candidate: candidate.unwrap_or(0),
            by: split.by,
            salt: split.salt,
            shares_salt: false,
            fallback: false,
            cohorts: Vec::new(),
            plan: Plan::Split(weight),
            guard: self.guard(&split_at.key("guard"), Some(guard), weight),
            on_regression: OnRegression::Rollback,
        };
        if ruled.is_named {
            self.names.guarded(&at.key("name"), &name, self.problems);
        }
        Target::Rollout(self.add_rollout(&split_at, rollout))
    }

    /// The one version beside stable that has a weight, or where none has, that is named with 0 %.
    fn guarded_candidate(
        &mut self,
        at: &At<'_>,
        written: &file::Split,
        split: &Split,
        service: &file::Service,
    ) -> Option<usize> {
        // Unknown versions and wrong weights are told already.
        let is_sound = written.weights.iter().all(|(name, share)| {
            service.versions.iter().any(|version| version.name == *name)
                && share.0.parse::<Share>().is_ok()
        });
        let stable = service
            .versions
            .iter()
            .position(|version| version.name == service.stable);
        if !is_sound || stable.is_none() {
            return None;
        }
        let named = |index: &usize| {
            Some(*index) != stable && written.weights.contains_key(&service.versions[*index].name)
        };
        let named: Vec<usize> = (0..service.versions.len()).filter(named).collect();
        let weighted: Vec<usize> = named
            .iter()
            .copied()
            .filter(|index| split.weights[*index] > Share::ZERO)
            .collect();
        let (message, hint) = match (weighted.as_slice(), named.as_slice()) {
            ([one], _) | ([], [one]) => return Some(*one),
            ([], []) => (
                format!(
                    "there is nothing to guard: every weight is {}'s, which is stable",
                    quoted(&service.stable)
                ),
                "name the version that is tried (`v2: 0%` is enough), or remove `guard`",
            ),
            ([], several) | (several, _) => {
                let names: Vec<&str> = several
                    .iter()
                    .map(|index| service.versions[*index].name.as_str())
                    .collect();
                (
                    format!(
                        "a guard watches one candidate, and these are {}: {}",
                        names.len(),
                        crate::names::list(&names, "and")
                    ),
                    "leave one beside stable, or give each a rule with a split and a guard of its own",
                )
            }
        };
        self.problems.error(at, "T206", message, hint);
        None
    }
}
