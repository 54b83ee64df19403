//! Whether the stages of a rollout lead anywhere: upwards, and in the time that they have.

use std::time::Duration;

use super::Check;
use crate::plan::{Carries, Stage, Stages};
use crate::source::At;
use crate::units::{Share, show_duration};

/// A plan that needs more requests a second than these, for one rollout at one proxy, was not meant.
pub(super) const MOST_A_SECOND: u128 = 100_000;

impl Stages {
    /// The largest share of the requests that a stage gives the candidate.
    pub(super) fn most(&self) -> Share {
        let share = |stage: &Stage| match stage.carries {
            Carries::Weight(share) | Carries::Mirror(share) => share,
            Carries::ByEndpoints => Share::FULL,
        };
        self.stages.iter().map(share).max().unwrap_or_default()
    }
}

/// How many requests a share of all can be in so long.
pub(super) fn reachable(share: Share, wait: Duration) -> u64 {
    let requests = MOST_A_SECOND * u128::from(share.parts()) * wait.as_millis();
    u64::try_from(requests / (u128::from(Share::FULL.parts()) * 1000)).unwrap_or(u64::MAX)
}

impl Check<'_> {
    /// Mirror stages first, then weights that grow. A weight by endpoints is known only when it is reached, so what
    /// comes after it can only be everything.
    pub(super) fn order(&mut self, at: &At<'_>, stages: &[Stage]) {
        let mut before: Option<(usize, Carries)> = None;
        let mut gives_weight = false;
        for (index, stage) in stages.iter().enumerate() {
            let carries = stage.carries;
            if carries == Carries::Weight(Share::ZERO) {
                // It was told already.
                gives_weight = true;
                continue;
            }
            gives_weight |= !matches!(carries, Carries::Mirror(_));
            if let Some((first, before)) = before
                && let Some((message, hint)) = disorder(first + 1, before, index + 1, carries)
            {
                let at = at.index(index);
                let key = match carries {
                    Carries::Mirror(_) => "mirror",
                    Carries::Weight(_) | Carries::ByEndpoints => "weight",
                };
                self.problems.error(&at.key(key), "T318", message, hint);
            }
            before = Some((index, carries));
        }
        if !gives_weight && !stages.is_empty() {
            let message = "no stage gives the candidate a weight: it would never answer anybody";
            self.problems.error(
                at,
                "T318",
                message,
                "add stages with a `weight` behind these",
            );
        }
    }

    /// Holds within the deadline, and requests within the longest hold.
    pub(super) fn enough_time(&mut self, at: &At<'_>, stages: &Stages) {
        let stages_at = at.key("stages");
        for (index, stage) in stages.stages.iter().enumerate() {
            self.enough_requests(&stages_at.index(index), stage, stages.deadline);
        }
        // The deadline runs from the first weight, so mirror stages do not count.
        let weighted = stages
            .stages
            .iter()
            .filter(|stage| !matches!(stage.carries, Carries::Mirror(_)));
        let needed = weighted.map(|stage| stage.hold).sum::<Duration>() + stages.bake;
        let too_short = |deadline: &Duration| !deadline.is_zero() && *deadline <= needed;
        if let Some(deadline) = stages.deadline.filter(too_short) {
            let message = format!(
                "`deadline` ({}) is over before the holds and `bake` are, which take {} together: it would always be rolled back",
                show_duration(deadline),
                show_duration(needed)
            );
            self.problems.error(
                &at.key("deadline"),
                "T314",
                message,
                "raise it well above their sum, or shorten the holds",
            );
        }
    }

    /// Warns of a plan that succeeds in the moment in which it begins: guards end with it.
    pub(super) fn time_to_watch(&mut self, at: &At<'_>, stages: &Stages) {
        let waits = |stage: &Stage| {
            !stage.hold.is_zero()
                || stage.min_requests > 0
                || stage.approve
                || stage.carries == Carries::ByEndpoints
        };
        let is_over_at_once = stages.bake.is_zero()
            && stages.gates.is_empty()
            && !stages.stages.is_empty()
            && !stages.stages.iter().any(waits);
        if is_over_at_once {
            let message = "this rollout succeeds in the moment in which it begins, and its guard never sees a request";
            let hint = "add `bake: 1h`, or `hold` to a stage";
            self.problems
                .warning(&at.key("stages"), "T911", message, hint);
        }
    }

    fn enough_requests(&mut self, at: &At<'_>, stage: &Stage, deadline: Option<Duration>) {
        let (share, deadline) = match stage.carries {
            Carries::Weight(Share::ZERO) => return,
            Carries::Weight(share) => (share, deadline),
            Carries::ByEndpoints => (Share::FULL, deadline),
            Carries::Mirror(share) => (share, None),
        };
        let Some(longest) = stage.max_hold.into_iter().chain(deadline).min() else {
            return;
        };
        // What is too short at all is told by its own check.
        let most = reachable(share, longest);
        if stage.min_requests <= most || longest < stage.hold || longest.is_zero() {
            return;
        }
        let message = format!(
            "`min_requests` ({}) is out of reach: at {share} of {MOST_A_SECOND} requests a second the candidate gets {most} in {}",
            stage.min_requests,
            show_duration(longest)
        );
        let written = at.key("min_requests");
        let limit = at.key("max_hold");
        let place = [written, limit].into_iter().find(At::is_written);
        let hint = "lower it, raise the weight, or wait longer by `max_hold` and `deadline`";
        self.problems
            .error(&place.unwrap_or(*at), "T314", message, hint);
    }
}

/// What is wrong with a stage that comes after another one.
fn disorder(
    first: usize,
    before: Carries,
    second: usize,
    after: Carries,
) -> Option<(String, &'static str)> {
    let raise = "write weights that grow from stage to stage; the way back is not a stage";
    match (before, after) {
        (Carries::Weight(_) | Carries::ByEndpoints, Carries::Mirror(_)) => Some((
            format!("stage {second} mirrors, and stage {first} before it gives a weight already"),
            "put mirror stages first",
        )),
        (Carries::Mirror(was), Carries::Mirror(is))
        | (Carries::Weight(was), Carries::Weight(is))
            if was >= is =>
        {
            let how = if was == is {
                format!("stage {second} repeats the {was} of stage {first}")
            } else {
                format!("stage {second} falls from {was} to {is}")
            };
            Some((how, raise))
        }
        (Carries::Weight(Share::FULL) | Carries::ByEndpoints, Carries::ByEndpoints) => Some((
            format!("stage {second} adds nothing to stage {first}"),
            "remove one of the two",
        )),
        (Carries::ByEndpoints, Carries::Weight(is)) if is != Share::FULL => Some((
            format!("stage {second} may fall: nobody knows what `by_endpoints` will have reached"),
            "after `by_endpoints` write 100% or nothing",
        )),
        _ => None,
    }
}
