//! Every state of small plans that can be reached, and every step from each.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan::{self, Carries, OnRegression, Plan};

use super::super::{Look, Ramp, Rollout};
use super::world::*;
use crate::release::evidence::Metric;
use crate::release::{Answer, Cause, Key, Opening, Order, Phase, Verdict};

/// Later than any deadline here.
const LATE: Duration = Duration::from_secs(1_700_100_000);

/// One thing that happens.
#[derive(Debug)]
enum Step {
    Look(Seen),
    Ramped,
    Order(Order, Seen),
    Edit(usize),
    OtherCandidate,
    Superseded,
    Removed,
}

#[derive(Debug, Clone)]
struct Seen {
    now: Duration,
    elapsed: u64,
    requests: u64,
    alarm: Option<Verdict>,
    concern: bool,
    open: bool,
    gate: Answer,
    endpoints: Option<Share>,
}

impl Seen {
    fn through<T>(&self, then: impl FnOnce(&Look<'_>) -> T) -> T {
        let opening = if self.open { Opening::ALWAYS } else { closed() };
        then(&Look {
            now: self.now,
            elapsed: secs(self.elapsed),
            requests: self.requests,
            alarm: self.alarm.as_ref(),
            concern: self.concern.then_some("the metrics store is silent"),
            opening: &opening,
            gate: &self.gate,
            endpoints: self.endpoints,
        })
    }
}

/// A world: plans that the file can hold, the first of them in force at first.
#[derive(Debug)]
struct Model {
    plans: Vec<plan::Rollout>,
    seen: Vec<Seen>,
    steps: Vec<Step>,
    phases: BTreeSet<Phase>,
    states: usize,
}

/// What makes two states one for all that can follow. Counts beyond what any plan here asks for are one.
type Same = (
    (Key, u32, Phase, usize, Share, Share, Option<Ramp>),
    (u64, u64, u64, u64),
    (Option<Duration>, usize, Option<Phase>, u16, Vec<Key>),
    usize,
);

fn same(at: &Rollout, plan: usize, is_patient: bool) -> Same {
    let seconds = |time: Duration, most: u64| time.as_secs().min(most);
    let ramp = at.ramp.clone();
    (
        (
            at.key, at.attempt, at.phase, at.stage, at.weight, at.mirror, ramp,
        ),
        (
            seconds(at.held, 2),
            seconds(at.waited, if is_patient { 0 } else { 5 }),
            seconds(at.baked, 2),
            at.requests.min(3),
        ),
        (
            at.started,
            at.approved,
            at.paused_from,
            at.cohorts_back,
            at.latches.iter().map(|latch| latch.key).collect(),
        ),
        plan,
    )
}

impl Model {
    fn new(plans: Vec<plan::Rollout>) -> Self {
        let is_by_endpoints = matches!(&plans[0].plan, Plan::Stages(stages)
            if stages.stages.iter().any(|stage| stage.carries == Carries::ByEndpoints));
        let endpoints = if is_by_endpoints {
            vec![Some(Share::ZERO), Some(Share::HALF), Some(Share::FULL)]
        } else {
            vec![None]
        };
        let alarms = [
            None,
            Some(errors()),
            Some(Verdict::new(Cause::Compare(Metric::Errors), "worse")),
            Some(Verdict::new(
                Cause::NoEndpoint,
                "candidate has no healthy endpoint",
            )),
            Some(errors().of_cohort(0)),
        ];
        let mut seen = Vec::new();
        for alarm in alarms {
            for bits in 0..32_u32 {
                for endpoints in &endpoints {
                    let bit = |n: u32| bits & (1 << n) != 0;
                    // Whatever fires, what passed meanwhile is all the same.
                    if alarm.is_some() && (!bit(1) || !bit(2)) {
                        continue;
                    }
                    let gates = [Answer::Unasked, Answer::Go { stage: 2 }];
                    seen.push(Seen {
                        now: if bit(0) && bit(3) { LATE } else { NOW },
                        elapsed: if bit(1) { 2 } else { 0 },
                        requests: if bit(2) { 5 } else { 0 },
                        alarm: alarm.clone(),
                        concern: bit(3) && !bit(0),
                        open: !bit(4),
                        gate: gates[usize::from(bit(0))].clone(),
                        endpoints: *endpoints,
                    });
                }
            }
        }
        let mut steps: Vec<_> = seen.iter().cloned().map(Step::Look).collect();
        for order in Order::ALL {
            let now = seen.iter().filter(|seen| {
                let is_one = seen.alarm.is_some() || seen.elapsed == 0 && seen.requests == 0;
                is_one && seen.endpoints.is_none_or(|share| share == Share::HALF)
            });
            steps.extend(now.cloned().map(|seen| Step::Order(order, seen)));
        }
        steps.extend((0..plans.len()).map(Step::Edit));
        steps.extend([
            Step::Ramped,
            Step::OtherCandidate,
            Step::Superseded,
            Step::Removed,
        ]);
        Self {
            plans,
            seen,
            steps,
            phases: BTreeSet::new(),
            states: 0,
        }
    }

    /// Breadth first through all that can be reached in two attempts.
    fn explore(&mut self) {
        let first = (begun(&self.plans[0]), 0);
        let is_patient = self.plans.iter().all(|plan| match &plan.plan {
            Plan::Split(_) => true,
            Plan::Stages(stages) => stages.stages.iter().all(|stage| stage.max_hold.is_none()),
        });
        let mut known = HashSet::from([same(&first.0, 0, is_patient)]);
        let mut queue = VecDeque::from([first]);
        while let Some((at, plan)) = queue.pop_front() {
            self.states += 1;
            self.phases.insert(at.phase);
            self.every_way_back_works(&at, plan);
            for step in &self.steps {
                let Some((next, plan_then)) = self.take(&at, plan, step) else {
                    continue;
                };
                self.check(&at, &next, plan, step);
                if next.attempt <= 2 && known.insert(same(&next, plan_then, is_patient)) {
                    queue.push_back((next, plan_then));
                }
            }
        }
    }

    fn take(&self, at: &Rollout, index: usize, step: &Step) -> Option<(Rollout, usize)> {
        let plan = &self.plans[index];
        let next = match step {
            Step::Look(seen) => seen.through(|look| at.look(plan, look)),
            Step::Ramped => at.ramped(plan, NOW),
            Step::Order(order, seen) => seen.through(|look| at.obey(plan, *order, look)).ok()?,
            Step::Edit(other) => {
                return Some((
                    at.edited(&self.plans[*other], key(&self.plans[*other]), NOW),
                    *other,
                ));
            }
            Step::OtherCandidate => at.edited(plan, Key::new(plan, "v3", []), NOW),
            Step::Superseded => at.superseded(NOW),
            Step::Removed => at.removed(NOW),
        };
        Some((next, index))
    }

    /// What holds for one step.
    fn check(&self, at: &Rollout, next: &Rollout, index: usize, step: &Step) {
        let plan = &self.plans[index];
        let told = || format!("{at:#?}\nbecame\n{next:#?}");
        if !matches!(step, Step::Ramped) {
            assert!(
                next.weight <= at.weight,
                "a weight grows only when that is durable: {}",
                told()
            );
            assert!(next.mirror <= at.mirror, "a mirror too: {}", told());
        }
        assert_eq!(
            next.ramp.is_some(),
            next.phase == Phase::Ramping,
            "{}",
            told()
        );
        assert_eq!(
            next.paused_from.is_some(),
            next.phase == Phase::Paused,
            "{}",
            told()
        );
        if matches!(next.phase, Phase::RolledBack | Phase::Superseded) {
            assert_eq!(
                (next.weight, next.mirror),
                (Share::ZERO, Share::ZERO),
                "{}",
                told()
            );
        }
        assert!(!next.reason.text.is_empty());
        if next.attempt == at.attempt && next.stage == at.stage {
            assert!(next.held >= at.held, "hold is never lost: {}", told());
        }
        if at.phase == Phase::RolledBack {
            let leaves = match step {
                Step::Order(order, _) => *order == Order::Retry,
                Step::Edit(other) => key(&self.plans[*other]) != at.key,
                Step::OtherCandidate | Step::Superseded => true,
                _ => false,
            };
            assert!(leaves || next == at, "rolled back is for good: {}", told());
            let is_new = next.attempt > at.attempt || !next.phase.is_live();
            assert!(is_new, "only a new attempt leaves it: {}", told());
        }
        if let Step::Look(seen) | Step::Order(_, seen) = step {
            if next.phase == Phase::Ramping {
                self.may_grow(at, next, plan, step, seen, &told);
            }
            if matches!(step, Step::Look(_)) && at.phase == Phase::Paused {
                let phases = [Phase::Paused, Phase::RolledBack];
                assert!(
                    phases.contains(&next.phase),
                    "nothing goes on in a pause: {}",
                    told()
                );
            }
        }
    }

    fn may_grow(
        &self,
        at: &Rollout,
        next: &Rollout,
        plan: &plan::Rollout,
        step: &Step,
        seen: &Seen,
        told: &impl Fn() -> String,
    ) {
        // Approving a step that is on its way changes nothing of it; whoever looks next asks all again.
        if matches!(step, Step::Order(Order::Approve, _)) {
            return assert_eq!(at.ramp, next.ramp);
        }
        let is_settled = seen
            .alarm
            .as_ref()
            .is_some_and(|alarm| alarm.cohort.is_some())
            && plan.on_regression == OnRegression::Rollback;
        assert!(
            seen.alarm.is_none() || is_settled,
            "nothing grows while a guard fires: {}",
            told()
        );
        assert!(
            !seen.concern,
            "nothing grows while a concern stands: {}",
            told()
        );
        assert!(
            at.phase != Phase::Paused,
            "nothing grows in a pause: {}",
            told()
        );
        let Plan::Stages(stages) = &plan.plan else {
            return;
        };
        assert!(
            seen.open,
            "nothing grows while a window is closed: {}",
            told()
        );
        let ramp = next.ramp.as_ref().unwrap();
        if ramp.stage() == at.stage {
            return;
        }
        assert_eq!(
            ramp.stage(),
            at.stage + 1,
            "no stage is left out: {}",
            told()
        );
        let needs_approval = stages.stages[at.stage].approve;
        assert!(
            !needs_approval || at.approved == ramp.stage(),
            "approval: {}",
            told()
        );
        let is_gated = stages
            .gates
            .iter()
            .any(|gate| gate.before_stage == ramp.stage());
        assert!(
            !is_gated
                || seen.gate
                    == Answer::Go {
                        stage: ramp.stage()
                    },
            "gate: {}",
            told()
        );
        let is_watched = matches!(at.phase, Phase::Holding);
        if is_watched && matches!(step, Step::Look(_)) {
            let stage = &stages.stages[at.stage - 1];
            assert!(next.held >= stage.hold, "the hold is over: {}", told());
            assert!(
                next.requests >= stage.min_requests,
                "enough was seen: {}",
                told()
            );
        }
    }

    /// From this state, each of the ways back.
    fn every_way_back_works(&self, at: &Rollout, index: usize) {
        let plan = &self.plans[index];
        let carries = at.weight > Share::ZERO || at.mirror > Share::ZERO;
        for seen in &self.seen {
            let next = seen.through(|look| at.look(plan, look));
            let Some(alarm) = seen.alarm.as_ref().filter(|alarm| alarm.cohort.is_none()) else {
                if at.phase.is_live() && seen.now == LATE && at.started == Some(NOW) {
                    let has_deadline =
                        matches!(&plan.plan, Plan::Stages(stages) if stages.deadline.is_some());
                    assert_eq!(
                        next.phase == Phase::RolledBack,
                        has_deadline,
                        "deadline: {at:#?} {next:#?}"
                    );
                }
                continue;
            };
            if !at.phase.is_live() {
                assert_eq!(&next, at, "guards stop there");
            } else if alarm.cause == Cause::NoEndpoint && !carries {
                assert_eq!(next.ramp, None, "no endpoint, no growth: {next:#?}");
            } else if plan.on_regression == OnRegression::Rollback {
                assert_eq!(next.phase, Phase::RolledBack, "a guard: {at:#?}");
            } else if plan.on_regression == OnRegression::Pause {
                assert!(
                    matches!(next.phase, Phase::Paused | Phase::RolledBack),
                    "a guard: {at:#?}"
                );
            }
        }
        let by_operator = at.obey(plan, Order::Rollback, &calm());
        let is_over = matches!(at.phase, Phase::RolledBack | Phase::Superseded);
        match by_operator {
            Ok(next) => assert_eq!((next.phase, is_over), (Phase::RolledBack, false)),
            Err(_) => assert!(
                is_over,
                "an operator's rollback works in every phase: {at:#?}"
            ),
        }
        let removed = at.removed(NOW);
        assert!(!removed.phase.is_live(), "the file is a way back: {at:#?}");
        assert_eq!(at.superseded(NOW).weight, Share::ZERO);
    }
}

/// One walk through a world, and what holds for each of its steps. Longer than a search through all of them can be: with
/// many attempts and edits.
#[derive(Debug)]
pub(crate) struct Walk(Model);

impl Walk {
    /// The worlds in which to walk.
    pub(crate) fn all() -> Vec<Self> {
        let split_or_stages = vec![
            split(20),
            staged(stages(vec![stage(5, 2, 3), stage(100, 0, 0)])),
            staged(stages(vec![stage(2, 2, 0), by_endpoints(2, 3)])),
            three_stages(true, OnRegression::Pause),
        ];
        [
            vec![three_stages(true, OnRegression::Rollback)],
            vec![three_stages(true, OnRegression::Pause)],
            vec![three_stages(false, OnRegression::Alert)],
            split_or_stages,
        ]
        .into_iter()
        .map(|plans| Self(Model::new(plans)))
        .collect()
    }

    /// Takes the steps that the numbers choose. An odd one is taken after a restart.
    pub(crate) fn go(&self, numbers: impl Iterator<Item = u16>) {
        let model = &self.0;
        let (mut at, mut plan) = (begun(&model.plans[0]), 0);
        for number in numbers {
            if number & 1 == 1 {
                let written = serde_json::to_vec(&at).unwrap();
                let restarted: Rollout = serde_json::from_slice(&written).unwrap();
                assert_eq!(restarted, at, "a restart changes nothing");
                at = restarted;
            }
            let step = &model.steps[usize::from(number >> 1) % model.steps.len()];
            if let Some((next, plan_then)) = model.take(&at, plan, step) {
                model.check(&at, &next, plan, step);
                (at, plan) = (next, plan_then);
            }
        }
        model.every_way_back_works(&at, plan);
    }
}

fn explore(plans: Vec<plan::Rollout>) -> Model {
    let mut model = Model::new(plans);
    model.explore();
    model
}

fn three_stages(deadline: bool, on_regression: OnRegression) -> plan::Rollout {
    let mut last = stage(100, 2, 3);
    last.approve = true;
    let mut patient = stage(5, 2, 3);
    patient.max_hold = Some(secs(5));
    let mut of = stages(vec![mirror(10, 2, 3), patient, last]);
    of.bake = secs(2);
    of.deadline = deadline.then(|| secs(50_000));
    of.gates = vec![gate(2)];
    plan::Rollout {
        on_regression,
        ..staged(of)
    }
}

fn without(phases: &[Phase]) -> BTreeSet<Phase> {
    Phase::ALL
        .into_iter()
        .filter(|phase| !phases.contains(phase))
        .collect()
}

#[test]
fn from_every_state_of_a_staged_plan_every_way_back_works_and_growth_needs_every_condition() {
    let model = explore(vec![three_stages(true, OnRegression::Rollback)]);
    assert_eq!(model.phases, without(&[]));
    assert!(model.states > 300, "{}", model.states);
}

#[test]
fn a_plan_that_pauses_on_a_regression_never_grows_under_one() {
    let model = explore(vec![three_stages(true, OnRegression::Pause)]);
    assert_eq!(model.phases, without(&[]));
}

#[test]
fn a_plan_that_only_alerts_never_grows_under_a_regression() {
    let model = explore(vec![three_stages(false, OnRegression::Alert)]);
    assert_eq!(model.phases, without(&[]));
}

#[test]
fn a_rolling_replacement_follows_its_endpoints_down_at_once_and_up_as_growth() {
    let mut of = stages(vec![by_endpoints(2, 3)]);
    of.bake = secs(2);
    of.deadline = Some(secs(50_000));
    let model = explore(vec![staged(of)]);
    assert_eq!(model.phases, without(&[]));
}

#[test]
fn a_guarded_split_holds_for_ever_and_every_way_back_works() {
    let model = explore(vec![split(20), split(0)]);
    assert_eq!(
        model.phases,
        without(&[Phase::Waiting, Phase::Baking, Phase::Succeeded])
    );
}

#[test]
fn plans_that_are_edited_midway_keep_every_promise() {
    let model = explore(vec![
        staged(stages(vec![stage(5, 2, 3), stage(100, 0, 0)])),
        staged(stages(vec![stage(1, 2, 3), stage(50, 0, 0)])),
    ]);
    assert_eq!(model.phases, without(&[Phase::Baking]));
}
