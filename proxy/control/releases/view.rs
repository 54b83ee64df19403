//! A rollout as the API and metrics show it: as it was announced, with the numbers of this moment.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_config::plan::{Carries, MetricSource, Plan};
use tidegate_config::units::show_duration;
use tidegate_config::{self as config, Action, Share, Target};

use super::book::{Book, Shared, now};
use super::running::{Running, compared};
use crate::control::journal::Health;
use crate::control::prometheus::Standing;
use crate::control::standing::rfc3339;
use crate::record::{Arm, ArmCounts, RolloutState};
use crate::release::evidence::{Comparison, Finding, Metric, users_needed};
use crate::release::{Phase, Rollout};

/// Users are counted for so long before they are called few.
const ENOUGH_TO_COUNT: Duration = Duration::from_secs(60);

/// The rollout at `at`.
pub(super) fn rollout(shared: &Shared, book: &Book, at: usize) -> Value {
    let (running, plan) = (&book.running[at], &book.config.rollouts[at]);
    let service = &book.config.services[plan.service];
    let shown = &running.shown;
    // What has only gone on (time held, requests seen) is as good as announced.
    let state = if running.state.stands_as(shown) {
        &running.state
    } else {
        shown
    };
    let since = running.read.since(&running.begun);
    let users = users(shared, running);
    let counts = |of: ArmCounts| json!({ "requests": of.requests, "failures": of.failures });
    json!({
        "name": running.name,
        "service": service.name,
        "stable": service.versions[service.stable].name,
        "candidate": service.versions[plan.candidate].name,
        "phase": if running.pending.is_some() { Phase::Ramping } else { state.phase() }.as_str(),
        "stage": state.stage(),
        "stages": match &plan.plan { Plan::Split(_) => 1, Plan::Stages(stages) => stages.stages.len() },
        "weight": state.weight().percent(),
        "mirror": state.mirror().percent(),
        "attempt": state.attempt(),
        "reason": running.pending.as_ref().and_then(|pending| pending.trouble.clone()).unwrap_or_else(|| state.reason().to_string()),
        "cause": state.reason().cause.as_ref().map(|cause| cause.as_str()),
        "since": moment(state.since()),
        "started": state.started().map(moment),
        "pending": running.state.ramp().map(|ramp| json!({ "weight": ramp.weight().percent(), "mirror": ramp.mirror().percent() })),
        "hold": hold(state, plan),
        "approved": state.approved(),
        "paused_from": state.paused_from().map(Phase::as_str),
        "requests": { "candidate": counts(since.candidate), "stable": counts(since.stable), "mirrored": counts(since.mirrored) },
        "cohorts": (0..).zip(&plan.cohorts).map(|(bit, cohort): (u32, _)| json!({
            "name": cohort.name,
            "back": state.cohorts_back() & 1 << bit != 0,
        })).collect::<Vec<_>>(),
        "users": { "since": moment(running.users.since), "candidate": users[1], "stable": users[0] },
        "guards": guards(shared, running, plan),
        "warnings": warnings(shared, running, plan, users.iter().sum()),
        "forced": forced(&book.config, plan),
    })
}

fn moment(since_epoch: Duration) -> String {
    let nanos = i128::try_from(since_epoch.as_nanos()).unwrap_or(i128::MAX);
    Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), rfc3339)
}

fn hold(state: &Rollout, plan: &config::Rollout) -> Value {
    let Plan::Stages(stages) = &plan.plan else {
        return Value::Null;
    };
    let whole = |time: Duration| show_duration(Duration::from_secs(time.as_secs()));
    if state.phase() == Phase::Baking {
        return json!({ "held": whole(state.baked()), "of": show_duration(stages.bake), "requests": state.requests(), "min_requests": stages.stages.last().map_or(1, |last| last.min_requests.max(1)), "max_hold": null });
    }
    let Some(stage) = state
        .stage()
        .checked_sub(1)
        .and_then(|at| stages.stages.get(at))
    else {
        return Value::Null;
    };
    json!({
        "held": whole(state.held()),
        "of": show_duration(stage.hold),
        "requests": state.requests(),
        "min_requests": stage.min_requests,
        "max_hold": stage.max_hold.map(show_duration),
        "by_endpoints": stage.carries == Carries::ByEndpoints,
    })
}

fn guards(shared: &Shared, running: &Running, plan: &config::Rollout) -> Value {
    let guard = &plan.guard;
    let moment = now();
    let seen = running.thresholds.seen(moment);
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 * 100.0 / whole as f64);
    json!({
        "error_rate": guard.error_rate.map(|of| json!({
            "above": of.above.percent(),
            "window": show_duration(of.window),
            "min_requests": of.min_requests,
            "requests": seen.errors.requests,
            "failures": seen.errors.failures,
            "seen": share(seen.errors.failures, seen.errors.requests),
        })),
        "latency": guard.latency.map(|of| json!({
            "quantile": of.quantile.percent(),
            "above": show_duration(of.above),
            "window": show_duration(of.window),
            "min_requests": of.min_requests,
            "requests": seen.latency.requests,
            "slower": seen.latency.over,
        })),
        "consecutive_failures": guard.consecutive_failures.map(|above| json!({ "above": above, "seen": seen.run })),
        "compare": running.evidence.as_ref().map(|evidence| {
            let of = |metric| comparison(evidence.of(metric));
            let absolute = evidence.absolute();
            json!({
                "errors": of(Metric::Errors),
                "slow": of(Metric::Slow),
                "connect": of(Metric::Connect),
                "slow_above": evidence.pace().bound().map(show_duration),
                "absolute": absolute.allowed().map(|allowed| json!({
                    "allowed": allowed * 100.0,
                    "evidence": absolute.evidence(),
                    "threshold": absolute.threshold(),
                    "found": absolute.has_found(),
                })),
            })
        }),
        "compare_off": compare_off(plan),
        "cohorts": plan.cohorts.iter().zip(&running.cohorts).map(|(cohort, of)| json!({ "name": cohort.name, "errors": comparison(&of.1) })).collect::<Vec<_>>(),
        "metrics": metrics(shared, running, plan),
    })
}

fn comparison(of: &Comparison) -> Value {
    let reading = of.reading();
    let served =
        |of: crate::release::evidence::Served| json!({ "requests": of.requests, "bad": of.bad });
    json!({
        "evidence": reading.evidence,
        "threshold": reading.threshold,
        "progress": reading.progress(),
        "epoch": reading.epoch,
        "candidate_users": reading.candidate_units,
        "stable_users": reading.stable_units,
        "candidate": served(reading.counts.candidate),
        "stable": served(reading.counts.stable),
        "finding": match of.finding() {
            Finding::Nothing => "nothing",
            Finding::Suspect(_) => "suspect",
            Finding::Worse(_) => "worse",
        },
    })
}

/// Why there is no comparison.
fn compare_off(plan: &config::Rollout) -> Option<&'static str> {
    match (plan.guard.compare, compared(plan)) {
        (_, Some(_)) => None,
        (None, None) => Some("`compare: false`: thresholds alone"),
        (Some(_), None) => Some(
            "another split or rollout has the same salt: users whom that one harmed sit in the same slots, so there are thresholds alone",
        ),
    }
}

fn metrics(shared: &Shared, running: &Running, plan: &config::Rollout) -> Vec<Value> {
    let told = |metric: &config::plan::MetricGuard| match &metric.source {
        MetricSource::Pushed => {
            let of = running.pushed.iter().find(|(name, _)| *name == metric.name);
            json!({ "name": metric.name, "kind": "pushed", "compare": of.map(|(_, of)| comparison(of)) })
        }
        MetricSource::Prometheus(query) => {
            let standing = shared
                .queries
                .standing(&running.name, &metric.name, Instant::now());
            let (state, value) = match &standing {
                None => ("not_asked", None),
                Some(Standing::Good { value }) => ("good", Some(*value)),
                Some(Standing::Bad { value, .. }) => ("bad", Some(*value)),
                Some(Standing::NoData { .. }) => ("no_data", None),
            };
            let why = standing.map(|standing| standing.sentence(&metric.name, query));
            json!({ "name": metric.name, "kind": "prometheus", "state": state, "value": value, "why": why })
        }
    };
    plan.guard.metrics.iter().map(told).collect()
}

/// About how many users the open window has seen, stable's first; a candidate that makes its users ask more often shows here.
fn users(shared: &Shared, running: &Running) -> [u64; 2] {
    [Arm::Stable, Arm::Candidate].map(|arm| {
        let window = running.users.number;
        shared.ledger.rollout_units(running.id, arm, window)
    })
}

/// What stands between this rollout and a judgement.
fn warnings(shared: &Shared, running: &Running, plan: &config::Rollout, users: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    let weight = running.state.weight();
    let is_compared = running.evidence.is_some() && running.state.is_live();
    let watched = now().saturating_sub(running.users.since);
    if is_compared
        && weight < Share::FULL
        && watched >= ENOUGH_TO_COUNT
        && let Some(needed) = users_needed(weight)
        && users < needed
    {
        let way_out = match plan.by {
            config::SplitBy::Random => "a larger weight sees more",
            _ => {
                "a larger weight sees more, and so does `by: random`, which gives each request a chance of its own"
            }
        };
        warnings.push(format!(
                "about {users} users in {}: at {weight} the comparison needs about {needed} to see anything, and thresholds watch alone; {way_out}",
                show_duration(Duration::from_secs(watched.as_secs()))
            ));
    }
    if let Some(journal) = shared.own.journal()
        && let Health::Failing { why, .. } = journal.health()
    {
        warnings.push(format!(
            "the journal cannot be written: {why}; nothing grows until it can"
        ));
    }
    warnings
}

/// Rules that send to the candidate whatever the rollout does.
fn forced(config: &config::Config, plan: &config::Rollout) -> Vec<String> {
    let candidate = &config.services[plan.service].versions[plan.candidate].name;
    let mut forced = Vec::new();
    for route in &config.routes {
        let Action::Forward(forward) = &route.action else {
            continue;
        };
        if forward.service != plan.service {
            continue;
        }
        let to_it = forward
            .rules
            .iter()
            .filter(|rule| rule.target == Target::To(plan.candidate));
        forced.extend(to_it.map(|rule| format!("{}.{} → {candidate}", route.name, rule.name)));
    }
    forced
}

/// What metrics tell.
pub(super) fn state(running: &Running) -> RolloutState {
    let shown = &running.shown;
    let mut evidence = Vec::new();
    if let Some(of) = &running.evidence {
        for metric in Metric::ALL {
            evidence.push((metric.as_str().to_owned(), of.reading(metric).progress()));
        }
    }
    for (name, of) in &running.pushed {
        evidence.push((name.clone(), of.reading().progress()));
    }
    RolloutState {
        rollout: running.name.clone(),
        weight: shown.weight().max(Share::ZERO).percent(),
        phase: shown.phase().as_str(),
        evidence,
    }
}
