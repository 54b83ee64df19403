//! Long random lives: orders, edits, restarts, weeks without traffic.

use proptest::prelude::*;
use tidegate_config::plan;

use super::super::{Look, Rollout};
use super::world::*;
use crate::release::{Answer, Opening, Order, Phase, Verdict};

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Look {
        elapsed: u64,
        requests: u64,
        alarm: u8,
        is_closed: bool,
        gate: usize,
        endpoints: Option<u32>,
    },
    Order(Order),
    Ramped,
    Edit(usize),
}

/// Something that happens, and whether the process is killed behind it, and begins again from what was written down.
pub(crate) fn event() -> impl Strategy<Value = (Step, bool)> {
    (step(), any::<bool>())
}

fn life() -> impl Strategy<Value = Vec<(Step, bool)>> {
    prop::collection::vec(event(), 1..200)
}

fn step() -> impl Strategy<Value = Step> {
    let look = (
        0_u64..40,
        0_u64..40,
        0_u8..60,
        any::<bool>(),
        0_usize..4,
        prop::option::of(0_u32..=100),
    );
    prop_oneof![
        12 => look.prop_map(|(elapsed, requests, alarm, is_closed, gate, endpoints)| Step::Look {
            elapsed, requests, alarm, is_closed, gate, endpoints
        }),
        8 => Just(Step::Ramped),
        2 => prop::sample::select(&Order::ALL[..]).prop_map(Step::Order),
        1 => (0_usize..4).prop_map(Step::Edit),
    ]
}

fn plans() -> Vec<plan::Rollout> {
    let mut full = stages(vec![
        mirror(10, 20, 5),
        stage(1, 30, 20),
        stage(25, 30, 20),
        stage(100, 0, 0),
    ]);
    full.stages[1].max_hold = Some(secs(300));
    full.stages[2].approve = true;
    full.gates = vec![gate(3)];
    full.bake = secs(60);
    full.deadline = Some(secs(5000));
    vec![
        staged(full),
        staged(stages(vec![stage(5, 20, 20), stage(50, 20, 0)])),
        staged(stages(vec![stage(2, 5, 0), by_endpoints(20, 10)])),
        split(20),
    ]
}

/// One step in the life of a rollout.
fn take(
    plans: &[plan::Rollout],
    at: &Rollout,
    now: &mut std::time::Duration,
    index: &mut usize,
    step: &Step,
) -> Rollout {
    let plan = &plans[*index];
    let (error, cohort): (Verdict, Verdict) = (errors(), errors().of_cohort(0));
    match step {
        Step::Look {
            elapsed,
            requests,
            alarm,
            is_closed,
            gate,
            endpoints,
        } => {
            *now += secs(*elapsed);
            let opening = if *is_closed {
                closed()
            } else {
                Opening::ALWAYS
            };
            at.look(
                plan,
                &Look {
                    now: *now,
                    elapsed: secs(*elapsed),
                    requests: *requests,
                    alarm: match alarm {
                        0 => Some(&error),
                        1 => Some(&cohort),
                        _ => None,
                    },
                    concern: (*alarm == 2).then_some("the metrics store is silent"),
                    opening: &opening,
                    gate: &Answer::Go { stage: *gate },
                    endpoints: endpoints.map(percent),
                },
            )
        }
        Step::Order(order) => {
            let look = Look {
                now: *now,
                ..calm()
            };
            at.obey(plan, *order, &look).unwrap_or_else(|_| at.clone())
        }
        Step::Ramped => at.ramped(plan, *now),
        Step::Edit(other) => {
            *index = *other;
            at.edited(&plans[*other], key(&plans[*other]), *now)
        }
    }
}

/// Only what is durable grows, and rolled back stays back.
pub(crate) fn keeps_its_promises(steps: &[(Step, bool)]) -> Result<(), TestCaseError> {
    let plans = plans();
    let (mut now, mut index) = (NOW, 0);
    let mut at = begun(&plans[0]);
    for (step, _) in steps {
        let next = take(&plans, &at, &mut now, &mut index, step);
        let grew = next.weight() > at.weight() || next.mirror() > at.mirror();
        prop_assert!(!grew || matches!(step, Step::Ramped) && at.phase() == Phase::Ramping);
        if at.phase() == Phase::RolledBack && next.phase().is_live() {
            prop_assert!(next.attempt() > at.attempt());
            prop_assert!(matches!(step, Step::Order(Order::Retry) | Step::Edit(_)));
        }
        if let Step::Look { alarm: 0, .. } = step
            && at.is_live()
        {
            prop_assert_eq!(next.phase(), Phase::RolledBack);
        }
        let is_one_stage = (next.attempt(), next.stage()) == (at.attempt(), at.stage());
        prop_assert!(
            !is_one_stage || next.held() >= at.held(),
            "hold is never lost"
        );
        at = next;
    }
    Ok(())
}

/// With the restarts and without them it is the same life.
pub(crate) fn outlives_restarts(steps: &[(Step, bool)]) -> Result<(), TestCaseError> {
    let plans = plans();
    let ((mut now, mut index), mut at) = ((NOW, 0), begun(&plans[0]));
    let ((mut now_too, mut index_too), mut restarted) = ((NOW, 0), at.clone());
    for (step, restarts) in steps {
        at = take(&plans, &at, &mut now, &mut index, step);
        restarted = take(&plans, &restarted, &mut now_too, &mut index_too, step);
        if *restarts {
            let written = serde_json::to_vec(&restarted).unwrap();
            restarted = serde_json::from_slice(&written).unwrap();
        }
        prop_assert_eq!(&restarted, &at);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn in_any_life_only_what_is_durable_grows_and_rolled_back_stays_back(life in life()) {
        keeps_its_promises(&life)?;
    }

    #[test]
    fn a_life_with_restarts_is_the_same_life(life in life()) {
        outlives_restarts(&life)?;
    }
}

#[test]
fn a_thousand_idle_rollouts_neither_go_back_nor_forward_in_a_week() {
    let plan = {
        let mut of = stages(vec![
            stage(1, 600, 200),
            stage(5, 1200, 500),
            stage(100, 0, 0),
        ]);
        of.bake = secs(3600);
        staged(of)
    };
    let mut rollouts = vec![begun(&plan); 1000];
    // All of them see one request an hour for three hours, then nothing more.
    for hour in 0..7 * 24 {
        let now = NOW + secs(hour * 3600);
        let look = Look {
            now,
            elapsed: secs(3600),
            requests: u64::from((1..=3).contains(&hour)),
            ..calm()
        };
        for at in &mut rollouts {
            *at = at.look(&plan, &look).ramped(&plan, now);
        }
    }
    for at in rollouts {
        assert_eq!(
            (at.phase(), at.stage(), at.weight()),
            (Phase::Holding, 1, percent(1))
        );
        assert_eq!(
            at.reason().text,
            "holds at 1 %: the hold is over, but more requests are needed; 3 of 200 requests"
        );
    }
}

#[test]
fn a_latch_that_is_newer_than_the_journal_rolls_back_and_an_older_one_does_not() {
    let mut shop = Driven::new(split(20));
    shop.pass(0, 0);
    let journalled = shop.at.clone();
    let alarm = errors();
    shop.look(Look {
        alarm: Some(&alarm),
        ..calm()
    });
    let back = shop.at.clone();
    let reason = back.reason().clone();
    let recalled = journalled.recalled(back.key(), back.attempt(), reason.clone(), NOW);
    assert_eq!(
        (recalled.phase(), recalled.weight()),
        (Phase::RolledBack, percent(0))
    );
    assert_eq!(recalled, back, "as if the journal had been in time");
    assert_eq!(
        back.recalled(back.key(), 1, reason.clone(), NOW + secs(9)),
        back
    );
    shop.order(Order::Retry).unwrap();
    assert_eq!(
        shop.at.recalled(back.key(), 1, reason.clone(), NOW),
        shop.at,
        "a retry is newer"
    );
    let far = journalled.recalled(back.key(), 7, reason, NOW);
    assert_eq!((far.phase(), far.attempt()), (Phase::RolledBack, 7));
}
