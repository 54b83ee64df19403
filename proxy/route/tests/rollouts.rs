//! Rollouts: the table stays, the lots move.

use tidegate_config::plan::{Cohort, Failures, Guard, OnRegression, Stages, Windows};
use tidegate_config::*;

use super::house::*;
use crate::record::Arm;
use crate::route::slot::{Salt, slot};
use crate::route::{Choice, Decision, KeySource, Lot, Table};

fn share(percent: u32) -> Share {
    Share::from_parts(percent * 1000).unwrap()
}

fn rollout(plan: Plan) -> Rollout {
    Rollout {
        name: "app-v2".into(),
        service: 0,
        candidate: 1,
        by: SplitBy::User,
        salt: "app-v2".into(),
        shares_salt: false,
        fallback: false,
        cohorts: Vec::new(),
        plan,
        guard: Guard {
            failures: Failures::default(),
            error_rate: None,
            latency: None,
            consecutive_failures: None,
            compare: None,
            metrics: Vec::new(),
        },
        on_regression: OnRegression::Rollback,
    }
}

fn staged() -> Rollout {
    rollout(Plan::Stages(Box::new(Stages {
        stages: Vec::new(),
        bake: std::time::Duration::ZERO,
        deadline: None,
        windows: Windows::default(),
        gates: Vec::new(),
    })))
}

/// A tester's header by force, then the rollout.
fn shop(rollout: Rollout) -> Config {
    let everyone = Rule {
        name: "everyone".into(),
        when: None,
        target: Target::Rollout(0),
    };
    let rules = vec![to(1, header("x-beta", "1")), everyone];
    let mut config = config(
        vec![UserSource::Header("x-user-id".into())],
        vec![route("app", RouteMatch::default(), rules)],
    );
    config.rollouts.push(rollout);
    config
}

fn choice(table: &Table, lot: Lot, request: &Request) -> Choice {
    match table.decide(&request.caller(), [lot].as_slice(), &mut || 1 << 63) {
        Decision::Forward(choice) => choice,
        other => panic!("not forwarded but {other:?}"),
    }
}

fn user(name: &str) -> Request {
    get("a", "/").with("x-user-id", name)
}

fn lot(weight: u32) -> Lot {
    Lot::new("app-v2", 1, share(weight), 0)
}

#[test]
fn whose_slot_is_below_the_weight_is_on_the_candidate_and_stays_there_as_it_grows() {
    let table = table(&shop(staged()));
    for name in ["1", "2", "3", "alice", "bob", "carol", "dave", "erin"] {
        let place = slot(name.as_bytes(), Salt::new("app-v2"));
        for weight in [0, 1, 5, 25, 50, 99, 100] {
            let choice = choice(&table, lot(weight), &user(name));
            let on_candidate = place < weight * 1000;
            assert_eq!(
                choice.version,
                usize::from(on_candidate),
                "{name} at {weight} %"
            );
            assert_eq!(choice.slot, Some(place));
            let drawn = choice.lot.expect("evidence");
            assert_eq!(drawn.slot, place);
            assert_eq!(drawn.arm == Arm::Candidate, on_candidate);
        }
    }
}

#[test]
fn a_retry_meets_other_users() {
    let table = table(&shop(staged()));
    let units = [1, 2, 3].map(|attempt| {
        let lot = Lot::new("app-v2", attempt, share(50), 0);
        let choice = choice(&table, lot, &user("42"));
        let salt = if attempt == 1 {
            "app-v2".into()
        } else {
            format!("app-v2#{attempt}")
        };
        assert_eq!(choice.slot, Some(slot(b"42", Salt::new(&salt))));
        choice.lot.and_then(|drawn| drawn.unit).expect("a user")
    });
    assert!(units[0] != units[1] && units[1] != units[2]);
}

#[test]
fn who_says_nothing_draws_a_slot_and_is_a_unit_of_his_own() {
    let choice = choice(&table(&shop(staged())), lot(51), &get("a", "/"));
    assert_eq!((choice.version, choice.slot), (1, None));
    assert_eq!(choice.key_source, KeySource::Random);
    let drawn = choice.lot.expect("evidence");
    assert_eq!((drawn.unit, drawn.slot), (None, 50_000));
}

#[test]
fn who_is_sent_by_force_is_no_evidence() {
    let choice = choice(
        &table(&shop(staged())),
        lot(0),
        &user("42").with("x-beta", "1"),
    );
    assert_eq!((choice.version, choice.lot), (1, None));
}

#[test]
fn a_cohort_that_is_back_is_on_stable_and_no_evidence_while_the_rest_goes_on() {
    let mut rollout = staged();
    rollout.cohorts = vec![
        Cohort {
            name: "app".into(),
            when: header("x-app", "old"),
        },
        Cohort {
            name: "eu".into(),
            when: header("x-zone", "eu"),
        },
    ];
    let table = table(&shop(rollout));
    let back = Lot::new("app-v2", 1, share(100), 0b10);
    let eu = choice(
        &table,
        back,
        &user("42").with("x-zone", "eu").with("x-app", "old"),
    );
    assert_eq!((eu.version, eu.lot), (0, None));
    assert!(eu.slot.is_some(), "its slot is told all the same");
    let old = choice(&table, back, &user("42").with("x-app", "old"));
    assert_eq!(
        (old.version, old.lot.map(|drawn| drawn.cohorts)),
        (1, Some(0b01))
    );
    let none = choice(&table, back, &user("42"));
    assert_eq!(
        (none.version, none.lot.map(|drawn| drawn.cohorts)),
        (1, Some(0))
    );
}

#[test]
fn once_the_candidate_is_stable_everybody_goes_there() {
    let mut rollout = staged();
    rollout.candidate = 0;
    let table = table(&shop(rollout));
    let choice = choice(&table, lot(50), &user("42"));
    assert_eq!((choice.version, choice.slot, choice.lot), (0, None, None));
    let told = table.explain(&user("42").caller(), [lot(50)].as_slice(), &mut || 0);
    assert_eq!(
        told.why.last().unwrap(),
        "the rollout \"app-v2\" is superseded: v1 is the service's stable by now"
    );
}

#[test]
fn a_shift_that_nobody_announced_sends_nobody_to_the_candidate() {
    let table = table(&shop(staged()));
    let lots: &[Lot] = &[];
    match table.decide(&user("42").caller(), lots, &mut || 0) {
        Decision::Forward(choice) => assert_eq!((choice.version, choice.lot), (0, None)),
        other => panic!("not forwarded but {other:?}"),
    }
}

#[test]
fn from_the_file_alone_a_guarded_split_has_its_weight_and_stages_have_not_begun() {
    let written = |plan| Lot::written(&Rollout { plan, ..staged() }).candidate();
    assert_eq!(written(Plan::Split(share(20))), share(20));
    assert_eq!(Lot::written(&staged()).candidate(), Share::ZERO);
}

#[test]
fn a_rollout_is_told_with_its_weight_and_the_weight_from_which_one_is_on_the_candidate() {
    let table = table(&shop(staged()));
    let told = table.explain(&user("42").caller(), [lot(5)].as_slice(), &mut || 0);
    let place = slot(b"42", Salt::new("app-v2"));
    let shown = format!("{} {:03}", place / 1000, place % 1000);
    let needed = Share::from_parts(place + 1).unwrap().percent();
    assert_eq!(told.version.as_deref(), Some("v1"));
    assert_eq!(told.slot, Some(place));
    assert_eq!(told.key_source.as_deref(), Some("header x-user-id"));
    assert_eq!(
        told.why[2..],
        [
            "rule \"everyone\" matches: it has no conditions".to_owned(),
            "the user is \"42\"".into(),
            "the rollout \"app-v2\": v2 5 %, v1 95 %".into(),
            format!("slot {shown} of 100 000, from header x-user-id: on v1"),
            format!("slot {shown} of 100 000: on v2 from a weight of {needed} %"),
        ]
    );
}

#[test]
fn routing_by_a_rollout_allocates_nothing() {
    let mut rollout = staged();
    rollout.cohorts = vec![Cohort {
        name: "eu".into(),
        when: header("x-zone", "eu"),
    }];
    let table = table(&shop(rollout));
    let (request, lots) = (user("42"), [lot(50)]);
    let caller = request.caller();
    let counted = allocation_counter::measure(|| {
        std::hint::black_box(table.decide(&caller, lots.as_slice(), &mut || 0));
    });
    assert_eq!(counted.count_total, 0);
}
