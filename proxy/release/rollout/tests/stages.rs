//! Stage by stage.

use tidegate_config::plan::OnRegression;
use tidegate_config::{Share, plan};

use super::super::Look;
use super::world::*;
use crate::release::{Answer, Cause, Opening, Order, Phase, Verdict};

/// 1 % for 10 s and 20 requests, 5 % for 20 s and 50, 100 % without a hold; 60 s of bake.
fn shop() -> plan::Rollout {
    let mut of = stages(vec![stage(1, 10, 20), stage(5, 20, 50), stage(100, 0, 0)]);
    of.bake = secs(60);
    staged(of)
}

#[test]
fn a_plan_climbs_by_itself_bakes_and_succeeds() {
    let mut shop = Driven::new(shop());
    for _ in 0..200 {
        shop.pass(1, 10);
    }
    use Phase::{Baking, Holding, Ramping, Succeeded};
    let story = [
        (Ramping, 0, 0),
        (Holding, 1, 1),
        (Ramping, 1, 1),
        (Holding, 2, 5),
        (Ramping, 2, 5),
        (Baking, 3, 100),
        (Succeeded, 3, 100),
    ];
    assert_eq!(shop.story, story);
    assert_eq!(
        shop.reason(),
        "every stage is over; the candidate keeps 100 %"
    );
}

#[test]
fn a_stage_says_in_numbers_what_it_still_waits_for() {
    let mut shop = Driven::new(shop());
    shop.pass(0, 0);
    shop.pass(10, 20);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 5));
    shop.pass(3, 12);
    assert_eq!(
        shop.reason(),
        "holds at 5 % for 17s more of 20s; 12 of 50 requests"
    );
    shop.pass(17, 12);
    assert_eq!(
        shop.reason(),
        "holds at 5 %: the hold is over, but more requests are needed; 24 of 50 requests"
    );
}

#[test]
fn without_traffic_nothing_grows_and_nothing_ends() {
    let mut shop = Driven::new(shop());
    for _ in 0..1000 {
        shop.pass(60, 0);
    }
    assert_eq!(shop.stands(), (Phase::Holding, 1, 1));
    let mut bakes = Driven::new(shop.plan.clone());
    for (seconds, requests) in [(0, 0), (10, 20), (20, 50), (100_000, 0)] {
        bakes.pass(seconds, requests);
    }
    assert_eq!(bakes.at.phase(), Phase::Baking);
    assert_eq!(
        bakes.reason(),
        "bakes at 100 %: the time is over, but more requests are needed; 0 of 1 requests"
    );
    assert_eq!(bakes.pass(1, 1).phase(), Phase::Succeeded);
}

#[test]
fn growth_is_in_force_only_when_it_is_durable() {
    let shop = shop();
    let ramping = begun(&shop).look(&shop, &calm());
    assert_eq!(
        (ramping.phase(), ramping.weight()),
        (Phase::Ramping, Share::ZERO)
    );
    let ramp = ramping.ramp().expect("it says what comes");
    assert_eq!((ramp.stage(), ramp.weight()), (1, percent(1)));
    let holding = ramping.ramped(&shop, NOW);
    assert_eq!(
        (holding.phase(), holding.weight()),
        (Phase::Holding, percent(1))
    );
    assert_eq!(holding.started(), Some(NOW));
    assert_eq!(holding.ramped(&shop, NOW), holding, "once");
}

#[test]
fn a_step_that_is_not_durable_yet_is_called_off_by_whatever_forbids_it() {
    let mut of = shop();
    of.on_regression = OnRegression::Alert;
    let ramping = begun(&of).look(&of, &calm());
    let alarm = errors();
    let closed = closed();
    let alarmed = Look {
        alarm: Some(&alarm),
        ..calm()
    };
    let concerned = Look {
        concern: Some("the metrics store is silent"),
        ..calm()
    };
    let shut = Look {
        opening: &closed,
        ..calm()
    };
    for look in [alarmed, concerned, shut] {
        let back = ramping.look(&of, &look);
        assert!(
            matches!(back.phase(), Phase::Pending | Phase::Waiting),
            "{back:?}"
        );
        assert_eq!(back.ramped(&of, NOW), back);
    }
    let paused = ramping.obey(&of, Order::Pause, &calm()).unwrap();
    assert_eq!(paused.ramped(&of, NOW).weight(), Share::ZERO);
}

#[test]
fn a_stage_waits_at_its_door_for_window_approval_and_gate() {
    let mut of = stages(vec![stage(1, 1, 0), stage(50, 1, 0), stage(100, 1, 0)]);
    of.stages[1].approve = true;
    of.gates = vec![gate(2)];
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    let closed = closed();
    let second = secs(1);
    shop.look(Look {
        elapsed: second,
        opening: &closed,
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::Waiting, 1, 1));
    assert_eq!(
        shop.reason(),
        "stage 2 waits for an open window (outside of the allowed times; none opens within 400 days), and for its approval, \
         and for an answer of gate \"e2e\""
    );
    assert_eq!(shop.at.asks(&shop.plan), Some(2));
    shop.order(Order::Approve).unwrap();
    shop.look(Look {
        gate: &Answer::Go { stage: 1 },
        ..calm()
    });
    assert_eq!(
        shop.at.phase(),
        Phase::Waiting,
        "an answer before another stage does not count"
    );
    let no = Answer::Wait {
        stage: 2,
        why: "gate \"e2e\" answered 503".into(),
    };
    shop.look(Look {
        gate: &no,
        ..calm()
    });
    assert_eq!(
        shop.reason(),
        "stage 2 waits for a yes (gate \"e2e\" answered 503)"
    );
    shop.look(Look {
        gate: &Answer::Go { stage: 2 },
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50));
    assert_eq!(shop.at.asks(&shop.plan), None);
}

#[test]
fn a_stage_that_sees_too_little_for_too_long_pauses_and_says_what_is_missing() {
    let mut of = stages(vec![stage(5, 10, 50), stage(100, 0, 0)]);
    of.stages[0].max_hold = Some(secs(60));
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    shop.pass(30, 12);
    shop.order(Order::Pause).unwrap();
    shop.pass(1000, 0);
    shop.order(Order::Resume).unwrap();
    shop.pass(29, 0);
    assert_eq!(shop.at.phase(), Phase::Holding, "pauses are left out");
    shop.pass(1, 0);
    assert_eq!(shop.stands(), (Phase::Paused, 1, 5));
    assert_eq!(
        shop.reason(),
        "paused at 5 % after 1m (max_hold 1m): 12 of 50 requests"
    );
    shop.order(Order::Resume).unwrap();
    shop.pass(59, 0);
    assert_eq!(
        shop.at.phase(),
        Phase::Holding,
        "whoever resumes waits once more"
    );
    shop.pass(1, 0);
    assert_eq!(shop.at.phase(), Phase::Paused);
}

#[test]
fn a_rollout_that_is_not_finished_in_time_goes_back_even_in_a_pause() {
    let mut of = stages(vec![
        mirror(10, 100, 0),
        stage(5, 1000, 0),
        stage(100, 0, 0),
    ]);
    of.deadline = Some(secs(500));
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    shop.pass(100, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 5));
    shop.order(Order::Pause).unwrap();
    shop.pass(499, 0);
    assert_eq!(
        shop.at.phase(),
        Phase::Paused,
        "it runs from the first weight above 0"
    );
    shop.pass(1, 0);
    assert_eq!(shop.stands(), (Phase::RolledBack, 2, 0));
    assert_eq!(shop.at.reason().cause, Some(Cause::Deadline));
    assert_eq!(
        shop.reason(),
        "not finished 8m 20s after its first weight: it stood at 5 %"
    );
}

#[test]
fn a_mirror_stage_carries_copies_and_nobody() {
    let mut shop = Driven::new(staged(stages(vec![mirror(10, 10, 5), stage(1, 0, 0)])));
    shop.pass(0, 0);
    assert_eq!(
        (shop.stands(), shop.at.mirror()),
        ((Phase::Holding, 1, 0), percent(10))
    );
    shop.pass(4, 3);
    assert_eq!(
        shop.reason(),
        "mirrors 10 % for 6s more of 10s; 3 of 5 requests"
    );
    shop.pass(6, 3);
    assert_eq!(
        (shop.stands(), shop.at.mirror()),
        ((Phase::Succeeded, 2, 1), Share::ZERO)
    );
}

#[test]
fn a_rolling_replacement_follows_the_healthy_endpoints() {
    let mut shop = Driven::new(staged(stages(vec![by_endpoints(10, 1)])));
    let at = |share| Look {
        endpoints: Some(percent(share)),
        elapsed: secs(5),
        requests: 1,
        ..calm()
    };
    shop.look(at(0));
    assert_eq!(shop.stands(), (Phase::Holding, 1, 0));
    for share in [20, 60, 40, 100] {
        shop.look(at(share));
        assert_eq!(shop.stands(), (Phase::Holding, 1, share));
    }
    assert_eq!(shop.at.held(), secs(0), "its hold begins when it is all");
    shop.look(at(100));
    shop.look(at(100));
    assert_eq!(shop.at.phase(), Phase::Succeeded);
}

#[test]
fn a_candidate_that_is_not_there_yet_is_waited_for_and_one_that_goes_is_rolled_back() {
    let gone = Verdict::new(Cause::NoEndpoint, "candidate has no healthy endpoint");
    let none = Look {
        alarm: Some(&gone),
        ..calm()
    };
    for plan in [shop(), split(20)] {
        let mut shop = Driven::new(plan);
        shop.look(none);
        assert_eq!(shop.stands(), (Phase::Pending, 0, 0));
        assert_eq!(
            shop.reason(),
            "stays at 0 %: candidate has no healthy endpoint"
        );
        shop.pass(0, 0);
        assert_eq!(shop.at.phase(), Phase::Holding);
        shop.look(none);
        assert_eq!(shop.at.phase(), Phase::RolledBack);
    }
}

#[test]
fn a_cohort_goes_back_alone_while_the_rest_goes_on() {
    let mut shop = Driven::new(shop());
    shop.pass(0, 0);
    let eu = errors().of_cohort(0);
    shop.look(Look {
        alarm: Some(&eu),
        ..calm()
    });
    assert_eq!(
        (shop.at.cohorts_back(), shop.stands()),
        (1, (Phase::Holding, 1, 1))
    );
    assert_eq!(
        shop.reason(),
        "candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %); \
         holds at 1 % for 10s more of 10s; 0 of 20 requests; back on stable: eu"
    );
    shop.look(calm());
    assert_eq!(
        shop.reason(),
        "holds at 1 % for 10s more of 10s; 0 of 20 requests; back on stable: eu"
    );
    shop.look(Look {
        alarm: Some(&eu),
        elapsed: secs(10),
        requests: 20,
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::Holding, 2, 5), "it goes on");
    let unknown = errors().of_cohort(16);
    shop.look(Look {
        alarm: Some(&unknown),
        ..calm()
    });
    assert_eq!(
        shop.at.phase(),
        Phase::RolledBack,
        "a cohort that nobody knows is everybody"
    );
}

#[test]
fn a_regression_may_pause_or_only_tell() {
    let alarm = errors();
    let alarmed = Look {
        alarm: Some(&alarm),
        elapsed: secs(100),
        requests: 100,
        ..calm()
    };
    let mut pauses = Driven::new(plan::Rollout {
        on_regression: OnRegression::Pause,
        ..shop()
    });
    pauses.pass(0, 0);
    pauses.look(alarmed);
    assert_eq!(pauses.stands(), (Phase::Paused, 1, 1));
    assert_eq!(pauses.reason(), alarm.text);
    let refused = pauses.order_in(Order::Resume, alarmed).unwrap_err();
    assert!(refused.contains("7.4 %"), "{refused}");
    assert_eq!(pauses.order(Order::Resume).unwrap().phase(), Phase::Holding);

    let mut tells = Driven::new(plan::Rollout {
        on_regression: OnRegression::Alert,
        ..shop()
    });
    tells.pass(0, 0);
    tells.look(alarmed);
    assert_eq!(
        tells.stands(),
        (Phase::Holding, 1, 1),
        "it stays, and does not grow"
    );
    assert_eq!(tells.at.reason().cause, Some(Cause::ErrorRate));
    tells.pass(0, 0);
    assert_eq!(tells.stands(), (Phase::Holding, 2, 5));
}

#[test]
fn guards_stop_at_succeeded_and_an_operator_does_not() {
    let mut shop = Driven::new(staged(stages(vec![stage(100, 0, 0)])));
    assert_eq!(shop.pass(0, 0).phase(), Phase::Succeeded);
    let alarm = errors();
    shop.look(Look {
        alarm: Some(&alarm),
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::Succeeded, 1, 100));
    shop.order(Order::Rollback).unwrap();
    assert_eq!(shop.stands(), (Phase::RolledBack, 1, 0));
}

#[test]
fn a_closed_window_never_keeps_anybody_from_going_back() {
    let mut shop = Driven::new(shop());
    shop.pass(0, 0);
    let (closed, alarm): (Opening, _) = (closed(), errors());
    shop.look(Look {
        alarm: Some(&alarm),
        opening: &closed,
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::RolledBack, 1, 0));
}
