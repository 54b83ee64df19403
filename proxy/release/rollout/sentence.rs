//! Why a rollout stands where it stands, in a sentence with numbers.

use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan::{self, Carries, Stage, Stages};

use super::{Ramp, Rollout};
use crate::release::verdict::Reason;
use crate::release::words::{count, percent, span};

/// What a stage still needs: its time, requests, endpoints. `None` where it is over.
pub(super) fn missing(rollout: &Rollout, plan: &plan::Rollout, stage: &Stage) -> Option<String> {
    let rest = stage.hold.saturating_sub(rollout.held);
    let enough = rollout.requests >= stage.min_requests;
    let all = rollout.carries_all(plan);
    if rest.is_zero() && enough && all {
        return None;
    }
    let mut text = standing(rollout, stage);
    if !all {
        text.push_str(": the candidate has not all of the healthy endpoints yet");
    } else if rest.is_zero() {
        text.push_str(": the hold is over, but more requests are needed");
    } else {
        text.push_str(&format!(" for {} more of {}", span(rest), span(stage.hold)));
    }
    text.push_str(&requests(rollout, stage.min_requests));
    Some(text + &cohorts(rollout, plan))
}

/// What a bake still needs.
pub(super) fn missing_in_bake(
    rollout: &Rollout,
    plan: &plan::Rollout,
    stages: &Stages,
) -> Option<String> {
    // Without traffic nothing was watched.
    let last = stages.stages.last().map_or(0, |stage| stage.min_requests);
    let least = last.max(u64::from(!stages.bake.is_zero()));
    let rest = stages.bake.saturating_sub(rollout.baked);
    let enough = rollout.requests >= least;
    let all = rollout.carries_all(plan);
    if rest.is_zero() && enough && all {
        return None;
    }
    let at = percent(rollout.weight);
    let text = if !all {
        format!("bakes at {at}: the candidate no longer has all of the healthy endpoints")
    } else if rest.is_zero() {
        format!("bakes at {at}: the time is over, but more requests are needed")
    } else {
        format!(
            "bakes at {at} for {} more of {}",
            span(rest),
            span(stages.bake)
        )
    };
    Some(text + &requests(rollout, least) + &cohorts(rollout, plan))
}

pub(super) fn split(rollout: &Rollout) -> String {
    format!(
        "holds at {}, as the file says; {} requests",
        percent(rollout.weight),
        count(rollout.requests)
    )
}

pub(super) fn against(rollout: &Rollout, against: &str) -> String {
    format!("stays at {}: {against}", at(rollout))
}

pub(super) fn waited_too_long(
    rollout: &Rollout,
    stage: &Stage,
    most: Duration,
    against: Option<&str>,
) -> String {
    let missing = match against {
        Some(against) => against.to_owned(),
        None if rollout.requests < stage.min_requests => format!(
            "{} of {} requests",
            count(rollout.requests),
            count(stage.min_requests)
        ),
        None if rollout.held < stage.hold => {
            format!("held for {} of {}", span(rollout.held), span(stage.hold))
        }
        None => "the candidate has not all of the healthy endpoints".to_owned(),
    };
    format!(
        "paused at {} after {} (max_hold {}): {missing}",
        at(rollout),
        span(rollout.waited),
        span(most)
    )
}

pub(super) fn deadline(rollout: &Rollout, deadline: Duration) -> String {
    format!(
        "not finished {} after its first weight: it stood at {}",
        span(deadline),
        at(rollout)
    )
}

pub(super) fn ramping(rollout: &Rollout, ramp: &Ramp) -> String {
    let to = carried(ramp.weight(), ramp.mirror());
    format!(
        "on its way from {} to {to} (stage {})",
        at(rollout),
        ramp.stage()
    )
}

pub(super) fn grown(rollout: &Rollout) -> Reason {
    Reason::plain(format!("reached {} (stage {})", at(rollout), rollout.stage))
}

pub(super) fn bake_begins(rollout: &Rollout, bake: Duration) -> String {
    format!("bakes at {} for {}", percent(rollout.weight), span(bake))
}

pub(super) fn succeeded(rollout: &Rollout) -> String {
    format!("every stage is over; the candidate keeps {}", at(rollout))
}

/// What the candidate carries.
pub(super) fn at(rollout: &Rollout) -> String {
    carried(rollout.weight, rollout.mirror)
}

fn carried(weight: Share, mirror: Share) -> String {
    if weight == Share::ZERO && mirror > Share::ZERO {
        format!("a mirror of {}", percent(mirror))
    } else {
        percent(weight)
    }
}

fn standing(rollout: &Rollout, stage: &Stage) -> String {
    match stage.carries {
        Carries::Mirror(_) if rollout.mirror > Share::ZERO => {
            format!("mirrors {}", percent(rollout.mirror))
        }
        Carries::ByEndpoints => format!("follows the endpoints, at {}", percent(rollout.weight)),
        Carries::Weight(_) | Carries::Mirror(_) => format!("holds at {}", percent(rollout.weight)),
    }
}

fn requests(rollout: &Rollout, least: u64) -> String {
    match least {
        0 => format!("; {} requests", count(rollout.requests)),
        least => format!("; {} of {} requests", count(rollout.requests), count(least)),
    }
}

fn cohorts(rollout: &Rollout, plan: &plan::Rollout) -> String {
    let back = plan.cohorts.iter().enumerate();
    let back = back.filter(|(n, _)| *n < 16 && rollout.cohorts_back & (1 << n) != 0);
    let names: Vec<_> = back.map(|(_, cohort)| cohort.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; back on stable: {}", names.join(", ")),
    }
}
