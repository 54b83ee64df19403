//! Who the user is.

use tidegate_config::*;

use super::house::*;
use crate::route::Lot;
use crate::route::slot::{Salt, slot};
use crate::route::{KeySource, Table};

fn by_user(identity: &[UserSource]) -> Table {
    let rules = vec![split(SplitBy::User, &[50, 50, 0])];
    table(&config(
        identity.to_vec(),
        vec![route("app", RouteMatch::default(), rules)],
    ))
}

fn of(key: &str) -> Option<u32> {
    Some(slot(key.as_bytes(), Salt::new("app.everyone")))
}

fn all() -> [UserSource; 4] {
    [
        UserSource::Header("x-user-id".into()),
        UserSource::Cookie("uid".into()),
        UserSource::AssignCookie("tidegate_id".into()),
        UserSource::ClientAddress,
    ]
}

#[test]
fn the_first_source_that_answers_is_the_user() {
    let table = by_user(&all());
    let both = get("a", "/")
        .with("x-user-id", "42")
        .with("cookie", "uid=7; tidegate_id=9");
    let choice = both.choice(&table);
    assert_eq!(
        (choice.slot, choice.key_source),
        (of("42"), KeySource::User(0))
    );
    let empty = get("a", "/")
        .with("x-user-id", "  ")
        .with("cookie", "tidegate_id=9")
        .with("cookie", "uid=7");
    assert_eq!(
        empty.choice(&table).slot,
        of("7"),
        "an empty header is no answer"
    );
    let returning = get("a", "/").with("cookie", "tidegate_id=9").choice(&table);
    assert_eq!((returning.slot, returning.assigned), (of("9"), None));
}

#[test]
fn an_identity_header_counts_only_where_the_listener_trusts_it() {
    let table = by_user(&[
        UserSource::Header("x-user-id".into()),
        UserSource::ClientAddress,
    ]);
    for (listener, counts) in [
        (EDGE, false),
        (TRUSTING, true),
        (SIDECAR, false),
        (TRUSTING_SIDECAR, true),
    ] {
        let choice = get("a", "/")
            .on(listener)
            .with("x-user-id", "42")
            .choice(&table);
        assert_eq!(
            choice.slot,
            of(if counts { "42" } else { "203.0.113.7" }),
            "listener {listener}"
        );
    }
}

#[test]
fn an_edge_listener_strips_what_it_does_not_trust() {
    let mut config = config(all().to_vec(), vec![]);
    config.geo = Some(Geo {
        database: None,
        header: Some("x-region".into()),
    });
    let table = table(&config);
    assert_eq!(table.stripped(EDGE), ["x-region", "x-user-id"]);
    assert_eq!(
        table.stripped(TRUSTING).len() + table.stripped(SIDECAR).len(),
        0
    );
}

#[test]
fn two_users_in_one_request_are_a_conflict_on_edge_and_nobody_elsewhere() {
    let table = by_user(&[UserSource::Header("x-user-id".into())]);
    let two = get("a", "/")
        .with("x-user-id", "42")
        .with("x-user-id", "43");
    let same = get("a", "/")
        .with("x-user-id", "42")
        .with("x-user-id", "42 ");
    assert_eq!(
        table
            .conflict(TRUSTING, &two.headers)
            .map(|name| name.as_str()),
        Some("x-user-id")
    );
    assert_eq!(table.conflict(TRUSTING, &same.headers), None);
    assert_eq!(
        table.conflict(EDGE, &two.headers),
        None,
        "it is stripped there"
    );
    assert_eq!(table.conflict(TRUSTING_SIDECAR, &two.headers), None);
    assert_eq!(
        two.on(TRUSTING_SIDECAR).choice(&table).key_source,
        KeySource::Random
    );
    assert_eq!(same.choice(&table).slot, of("42"));
}

#[test]
fn a_new_visitor_is_given_an_id_that_this_very_request_uses() {
    let table = by_user(&all());
    let mut numbers = 1u64..;
    let request = get("a", "/");
    let crate::route::Decision::Forward(choice) =
        table.decide(&request.caller(), &[] as &[Lot], &mut || {
            numbers.next().unwrap()
        })
    else {
        panic!("not forwarded")
    };
    let id = choice.assigned.expect("the visitor is given an ID");
    assert_eq!(id.as_str(), "00000000000000010000000000000002");
    assert_eq!(
        (choice.slot, choice.key_source),
        (of(id.as_str()), KeySource::Assigned(2))
    );
    assert_eq!(table.assigned_cookie(), Some("tidegate_id"));
    let next = get("a", "/")
        .with("cookie", &format!("tidegate_id={}", id.as_str()))
        .choice(&table);
    assert_eq!(
        (next.slot, next.version, next.assigned),
        (choice.slot, choice.version, None)
    );
}

#[test]
fn nobody_is_given_an_id_that_no_one_asked_for() {
    let rules = |filler: usize| {
        let mut rules = vec![to(2, header("x-beta", "1"))];
        rules.extend((0..filler).map(|n| to(2, header("x-filler", &n.to_string()))));
        rules.push(to(1, users(&["42"])));
        rules
    };
    // With few rules all are tried, with many an index finds them: the promise is the same.
    for filler in [0, 50] {
        let with = |rules| {
            table(&config(
                all().to_vec(),
                vec![route("app", RouteMatch::default(), rules)],
            ))
        };
        let table = with(rules(filler));
        assert_eq!(
            get("a", "/").with("x-beta", "1").choice(&table).assigned,
            None,
            "a rule before it decided"
        );
        assert!(
            get("a", "/").choice(&table).assigned.is_some(),
            "the rule on users was tried"
        );
        assert_eq!(
            get("a", "/")
                .with("cookie", "uid=42")
                .choice(&table)
                .version,
            1
        );
        let plain = with(vec![split(SplitBy::Random, &[50, 50, 0])]);
        assert_eq!(get("a", "/").choice(&plain).assigned, None);
    }
}
