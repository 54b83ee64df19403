//! The file changes.

use std::time::Duration;

use tidegate_config::{Share, plan};

use super::super::{Look, MAX_LATCHES};
use super::world::*;
use crate::release::{Cause, Key, Order, Phase};

fn of(weights: &[u32]) -> plan::Rollout {
    staged(stages(
        weights
            .iter()
            .map(|weight| stage(*weight, 60, 10))
            .collect(),
    ))
}

/// At 5 %, 40 s of its hold over.
fn at_five() -> Driven {
    let mut shop = Driven::new(of(&[1, 5, 50]));
    shop.pass(0, 0);
    shop.pass(60, 10);
    shop.pass(40, 7);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 5));
    shop
}

fn rolled_back() -> Driven {
    let mut shop = at_five();
    let alarm = errors();
    shop.look(Look {
        alarm: Some(&alarm),
        ..calm()
    });
    assert_eq!(shop.at.phase(), Phase::RolledBack);
    shop
}

#[test]
fn an_unrelated_edit_changes_nothing() {
    for mut shop in [at_five(), rolled_back()] {
        let before = shop.at.clone();
        let mut plan = shop.plan.clone();
        plan.guard.consecutive_failures = Some(3);
        shop.edit(plan);
        assert_eq!(shop.at, before);
        for _ in 0..100 {
            shop.pass(0, 100);
        }
        assert_eq!(shop.at.phase(), before.phase());
    }
}

#[test]
fn a_plan_that_is_edited_midway_keeps_its_weight_and_goes_on_at_the_last_stage_not_above_it() {
    let cases = [
        (vec![1, 2, 5, 50], 3),
        (vec![1, 10, 50], 1),
        (vec![5], 1),
        (vec![10, 50], 0),
    ];
    for (weights, stage) in cases {
        let mut shop = at_five();
        shop.edit(of(&weights));
        assert_eq!(
            (shop.at.stage(), shop.at.weight()),
            (stage, percent(5)),
            "{weights:?}"
        );
        assert_eq!((shop.at.attempt(), shop.at.held()), (1, secs(40)));
        shop.pass(60, 10);
        let next = weights.get(stage).copied();
        assert_eq!(shop.at.weight(), percent(next.unwrap_or(5)), "{weights:?}");
    }
}

#[test]
fn an_edit_in_a_pause_stays_paused() {
    let mut shop = at_five();
    shop.order(Order::Pause).unwrap();
    shop.edit(of(&[1, 5, 20, 50]));
    shop.pass(100, 100);
    assert_eq!(shop.stands(), (Phase::Paused, 2, 5));
    shop.order(Order::Resume).unwrap();
    assert_eq!(shop.at.phase(), Phase::Holding);
}

#[test]
fn more_stages_after_a_success_are_climbed_and_are_not_late() {
    let mut plan = of(&[5]);
    let plan::Plan::Stages(inner) = &mut plan.plan else {
        unreachable!()
    };
    inner.deadline = Some(secs(1000));
    let mut shop = Driven::new(plan.clone());
    shop.pass(0, 0);
    shop.pass(60, 10);
    assert_eq!(shop.at.phase(), Phase::Succeeded);
    shop.pass(100_000, 0);
    let plan::Plan::Stages(inner) = &mut plan.plan else {
        unreachable!()
    };
    inner.stages.push(stage(50, 60, 10));
    shop.edit(plan);
    assert_eq!(shop.stands(), (Phase::Holding, 1, 5));
    shop.pass(0, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 2, 50));
}

#[test]
fn a_changed_plan_or_candidate_after_a_rollback_is_a_new_attempt_with_other_users() {
    let mut shop = rolled_back();
    shop.edit(of(&[2, 50]));
    assert_eq!(
        (shop.stands(), shop.at.attempt()),
        ((Phase::Pending, 0, 0), 2)
    );
    assert!(
        shop.order(Order::Retry).is_err(),
        "there is nothing to retry"
    );

    let mut shop = rolled_back();
    let plan = shop.plan.clone();
    shop.edit_candidate(plan, "v3");
    assert_eq!(
        (shop.stands(), shop.at.attempt()),
        ((Phase::Pending, 0, 0), 2)
    );
}

#[test]
fn another_candidate_midway_begins_afresh() {
    let mut shop = at_five();
    let plan = shop.plan.clone();
    shop.edit_candidate(plan, "v3");
    assert_eq!(
        (shop.stands(), shop.at.attempt(), shop.at.held()),
        ((Phase::Pending, 0, 0), 2, Duration::ZERO)
    );
}

#[test]
fn going_back_to_a_plan_that_was_rolled_back_stays_rolled_back() {
    let mut shop = rolled_back();
    let bad = shop.plan.clone();
    shop.edit(of(&[2, 50]));
    shop.pass(0, 0);
    assert_eq!(shop.stands(), (Phase::Holding, 1, 2));
    shop.edit(bad.clone());
    assert_eq!(
        (shop.at.phase(), shop.at.weight()),
        (Phase::RolledBack, Share::ZERO)
    );
    assert_eq!(
        shop.reason(),
        "this plan was rolled back before: candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)"
    );
    assert_eq!(shop.at.reason().cause, Some(Cause::ErrorRate));
    shop.order(Order::Retry).unwrap();
    shop.pass(0, 0);
    assert_eq!(
        (shop.stands(), shop.at.attempt()),
        ((Phase::Holding, 1, 1), 3),
        "a retry lets it go"
    );
}

#[test]
fn what_was_rolled_back_is_remembered_within_bounds() {
    let mut shop = Driven::new(split(1));
    for n in 1..=MAX_LATCHES as u32 + 20 {
        shop.edit(split(n));
        shop.order(Order::Rollback).unwrap();
    }
    assert_eq!(shop.at.latches.len(), MAX_LATCHES);
    shop.edit(split(50));
    assert_eq!(shop.at.phase(), Phase::RolledBack);
}

#[test]
fn a_split_takes_a_smaller_weight_at_once_and_a_larger_one_as_growth() {
    let mut of = Driven::new(split(20));
    of.pass(0, 0);
    of.edit(split(5));
    assert_eq!(of.stands(), (Phase::Holding, 1, 5));
    of.edit(split(50));
    assert_eq!(of.stands(), (Phase::Holding, 1, 5));
    of.pass(0, 0);
    assert_eq!(of.stands(), (Phase::Holding, 1, 50));
    of.edit(split(0));
    assert_eq!((of.stands(), of.at.attempt()), ((Phase::Holding, 1, 0), 1));
    of.pass(0, 0);
    of.edit(split(20));
    of.pass(0, 0);
    assert_eq!(
        (of.stands(), of.at.attempt()),
        ((Phase::Holding, 1, 20), 1),
        "the same users"
    );
}

#[test]
fn a_split_of_nothing_holds_at_nothing() {
    let mut of = Driven::new(split(0));
    of.pass(0, 0);
    assert_eq!(of.stands(), (Phase::Holding, 1, 0));
    assert_eq!(of.at.started(), None);
}

#[test]
fn a_candidate_that_has_become_stable_is_superseded_and_does_not_come_forward_when_that_is_undone()
{
    let mut shop = at_five();
    shop.at = shop.at.superseded(shop.now);
    assert_eq!(shop.stands(), (Phase::Superseded, 2, 0));
    for order in Order::ALL {
        assert!(shop.order(order).is_err(), "{order}");
    }
    let plan = shop.plan.clone();
    shop.edit(plan);
    assert_eq!(shop.at.phase(), Phase::RolledBack);
    assert_eq!(shop.at.reason().cause, Some(Cause::File));
}

#[test]
fn a_rollout_that_leaves_the_file_goes_back_and_stays_so() {
    let mut shop = at_five();
    shop.at = shop.at.removed(shop.now);
    assert_eq!(shop.stands(), (Phase::RolledBack, 2, 0));
    let plan = shop.plan.clone();
    shop.edit(plan);
    shop.pass(0, 0);
    assert_eq!(shop.at.phase(), Phase::RolledBack);
}

#[test]
fn the_latch_key_knows_candidate_tags_salt_and_steps_and_nothing_else() {
    let plan = of(&[1, 5]);
    let tags = [("build", "2.4.0"), ("track", "candidate")];
    let key = Key::new(&plan, "v2", tags);
    let turned = [tags[1], tags[0]];
    assert_eq!(
        Key::new(&plan, "v2", turned),
        key,
        "the order of tags is nothing"
    );
    assert_eq!(key.to_string().parse(), Ok(key));
    // A vector: the key must be the same in every process and every release, or latches are lost.
    assert_eq!(
        key.to_string(),
        "5580745af76cdbd55e2bcb04e7e748bd-4e8b66a97d295281918e57c2b36eb690"
    );
    let mut same = plan.clone();
    same.guard.compare = None;
    same.fallback = true;
    assert_eq!(Key::new(&same, "v2", tags), key);

    let mut salted = plan.clone();
    salted.salt = "other".into();
    let others = [
        Key::new(&plan, "v3", tags),
        Key::new(&plan, "v2", [("build", "2.4.1"), tags[1]]),
        Key::new(&plan, "v2", [("build2.4.0", ""), tags[1]]),
        Key::new(&salted, "v2", tags),
    ];
    for other in others {
        assert!(other != key && !other.is_same_subject(&key), "{other}");
    }
    for steps in [of(&[1, 5, 50]), of(&[1, 6]), split(1)] {
        let other = Key::new(&steps, "v2", tags);
        assert!(other != key && other.is_same_subject(&key), "{other}");
    }
    for text in [
        "",
        "-",
        "12-34",
        &format!("{key}0"),
        &key.to_string().replace('-', "+"),
    ] {
        assert!(text.parse::<Key>().is_err(), "{text}");
    }
}
