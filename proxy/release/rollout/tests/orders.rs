//! What an operator may ask.

use super::super::Look;
use super::world::*;
use crate::release::{Answer, Cause, Order, Phase};

/// 5 % for 60 s and 10 requests, 50 % by approval, 100 %; 60 s of bake.
fn shop() -> Driven {
    let mut of = stages(vec![stage(5, 60, 10), stage(50, 60, 10), stage(100, 0, 0)]);
    of.stages[1].approve = true;
    of.bake = secs(60);
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    shop
}

#[test]
fn a_pause_keeps_the_weight_and_loses_no_hold() {
    let mut shop = shop();
    shop.pass(40, 10);
    shop.order(Order::Pause).unwrap();
    shop.pass(1000, 10);
    assert_eq!(
        (shop.stands(), shop.at.held()),
        ((Phase::Paused, 1, 5), secs(40))
    );
    assert!(shop.order(Order::Pause).is_err());
    shop.order(Order::Resume).unwrap();
    assert_eq!(
        (shop.stands(), shop.at.held()),
        ((Phase::Holding, 1, 5), secs(40))
    );
    assert!(shop.order(Order::Resume).is_err());
}

#[test]
fn guards_act_in_a_pause() {
    let mut shop = shop();
    shop.order(Order::Pause).unwrap();
    let alarm = errors();
    shop.look(Look {
        alarm: Some(&alarm),
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::RolledBack, 1, 0));
}

#[test]
fn an_approval_is_remembered_for_its_stage_and_refused_where_none_is_needed() {
    let mut shop = shop();
    shop.order(Order::Approve).unwrap();
    assert_eq!(shop.at.approved(), Some(2));
    assert!(
        shop.order(Order::Approve)
            .unwrap_err()
            .contains("approved already")
    );
    shop.pass(60, 10);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50), "it did not wait");
    let refused = shop.order(Order::Approve).unwrap_err();
    assert_eq!(refused, "cannot approve: stage 3 needs no approval");
    shop.pass(60, 10);
    assert!(shop.order(Order::Approve).is_err(), "baking");
}

#[test]
fn promote_goes_one_stage_on_and_never_past_a_guard_or_a_closed_window() {
    let mut shop = shop();
    let (alarm, closed) = (errors(), closed());
    let refused = shop.order_in(
        Order::Promote,
        Look {
            alarm: Some(&alarm),
            ..calm()
        },
    );
    assert!(refused.unwrap_err().contains("a guard fires"));
    let refused = shop.order_in(
        Order::Promote,
        Look {
            opening: &closed,
            ..calm()
        },
    );
    assert!(refused.unwrap_err().contains("open window"));
    let refused = shop.order_in(
        Order::Promote,
        Look {
            concern: Some("no data"),
            ..calm()
        },
    );
    assert!(refused.unwrap_err().contains("no data"));
    assert_eq!(shop.stands(), (Phase::Holding, 1, 5));

    shop.order(Order::Promote).unwrap();
    assert_eq!(
        shop.stands(),
        (Phase::Waiting, 1, 5),
        "the approval is still asked for"
    );
    assert!(shop.order(Order::Promote).unwrap_err().contains("approval"));
    shop.order(Order::Approve).unwrap();
    shop.pass(0, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50));
    shop.order(Order::Promote).unwrap();
    assert_eq!(
        shop.stands(),
        (Phase::Baking, 3, 100),
        "a last stage without hold bakes at once"
    );
    shop.order(Order::Promote).unwrap();
    assert_eq!(shop.stands(), (Phase::Succeeded, 3, 100));
    assert!(shop.order(Order::Promote).is_err());
}

#[test]
fn promote_waits_for_a_gate() {
    let mut of = stages(vec![stage(5, 60, 10), stage(50, 60, 10)]);
    of.gates = vec![gate(2)];
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    shop.order(Order::Promote).unwrap();
    assert_eq!(shop.stands(), (Phase::Waiting, 1, 5));
    shop.look(Look {
        gate: &Answer::Go { stage: 2 },
        ..calm()
    });
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50));
}

#[test]
fn a_guarded_split_knows_neither_promotion_nor_approval() {
    let mut split = Driven::new(split(20));
    split.pass(0, 0);
    split.pass(1_000_000, 1_000_000);
    assert_eq!(split.stands(), (Phase::Holding, 1, 20));
    assert_eq!(
        split.reason(),
        "holds at 20 %, as the file says; 1 000 000 requests"
    );
    assert!(split.order(Order::Promote).is_err());
    assert!(split.order(Order::Approve).is_err());
}

#[test]
fn an_operator_rolls_back_once_and_retries_with_other_users() {
    let mut shop = shop();
    assert!(shop.order(Order::Retry).is_err());
    shop.order(Order::Rollback).unwrap();
    assert_eq!(shop.at.reason().cause, Some(Cause::Operator));
    assert_eq!(
        shop.order(Order::Rollback).unwrap_err(),
        "cannot rollback: it is rolled back"
    );
    for order in [Order::Pause, Order::Resume, Order::Promote, Order::Approve] {
        assert!(shop.order(order).is_err(), "{order}");
    }
    let words = shop.at.clone().because("too many complaints");
    assert_eq!(
        words.reason().to_string(),
        "rolled back by an operator: too many complaints"
    );
    shop.order(Order::Retry).unwrap();
    assert_eq!(
        (shop.stands(), shop.at.attempt()),
        ((Phase::Pending, 0, 0), 2)
    );
    assert_eq!(shop.at.salt(&shop.plan), "shop-v2#2");
    shop.pass(0, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 1, 5));
}

#[test]
fn the_last_step_of_a_rolling_replacement_can_be_taken_before_the_last_machine_of_stable_goes() {
    let most = Look {
        endpoints: Some(percent(60)),
        ..calm()
    };
    let mut shop = Driven::new(staged(stages(vec![by_endpoints(60, 10), stage(100, 0, 0)])));
    shop.look(most);
    assert_eq!(shop.stands(), (Phase::Holding, 1, 60));
    shop.order_in(Order::Promote, most).unwrap();
    shop.look(most);
    assert_eq!(shop.stands(), (Phase::Succeeded, 2, 100));

    let mut shop = Driven::new(staged(stages(vec![by_endpoints(60, 10)])));
    shop.look(most);
    let refused = shop.order_in(Order::Promote, most).unwrap_err();
    assert!(
        refused.contains("all of the healthy endpoints"),
        "{refused}"
    );
}

#[test]
fn an_approval_that_is_said_twice_lets_one_stage_in() {
    let mut of = stages(vec![stage(5, 60, 10), stage(50, 60, 10), stage(100, 0, 0)]);
    of.stages[1].approve = true;
    of.stages[2].approve = true;
    let mut shop = Driven::new(staged(of));
    shop.pass(0, 0);
    shop.pass(60, 10);
    shop.order(Order::Approve).unwrap();
    shop.pass(0, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50));
    let twice = shop.order(Order::Approve).unwrap_err();
    assert!(twice.contains("let in just now"), "{twice}");
    shop.pass(5, 0);
    shop.order(Order::Approve).unwrap();
}
