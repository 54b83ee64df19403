//! Hosts, paths, rules, splits.

use tidegate_config::*;

use super::house::*;
use crate::route::slot::{Salt, slot};
use crate::route::{Decision, KeySource};

#[test]
fn the_most_specific_host_wins_then_the_most_specific_path() {
    let any = || matching(&[], None);
    let config = config(
        vec![],
        vec![
            route("anything", any(), vec![]),
            route(
                "regex",
                matching(&["shop.example.com"], regex("^/cart/[0-9]+$")),
                vec![],
            ),
            route("shop", matching(&["shop.example.com"], prefix("/")), vec![]),
            route(
                "cart",
                matching(&["shop.example.com"], prefix("/cart")),
                vec![],
            ),
            route(
                "cart-items",
                matching(&["shop.example.com"], prefix("/cart/items")),
                vec![],
            ),
            route(
                "cart-exact",
                matching(&["shop.example.com"], exact("/cart/1")),
                vec![],
            ),
            route(
                "cart-again",
                matching(&["shop.example.com"], prefix("/cart")),
                vec![],
            ),
            route("sub", matching(&["*.example.com"], prefix("/s")), vec![]),
            route("deep", matching(&["*.eu.example.com"], regex("x$")), vec![]),
            route(
                "old",
                matching(&["old.example.com", "older.example.com"], regex("^/a")),
                vec![],
            ),
        ],
    );
    let table = table(&config);
    for (host, path, wanted) in [
        ("shop.example.com", "/", "shop"),
        ("SHOP.example.COM", "/cart", "cart"),
        ("shop.example.com.", "/cart", "cart"),
        ("shop.example.com", "/cart/", "cart"),
        ("shop.example.com", "/carts", "shop"),
        ("shop.example.com", "/cart/items/7", "cart-items"),
        ("shop.example.com", "/cart/1", "cart-exact"),
        ("shop.example.com", "/cart/2", "cart"),
        ("x.example.com", "/s/1", "sub"),
        ("a.b.example.com", "/s", "sub"),
        ("a.eu.example.com", "/s/x", "deep"),
        ("a.eu.example.com", "/s/y", "sub"),
        ("a.eu.example.com", "/t", "anything"),
        ("example.com", "/s", "anything"),
        (".example.com", "/s", "anything"),
        ("older.example.com", "/a", "old"),
        ("older.example.com", "/s", "sub"),
        ("other", "/", "anything"),
    ] {
        assert_eq!(
            get(host, path).route(&config, &table).as_deref(),
            Some(wanted),
            "{host} {path}"
        );
    }
}

#[test]
fn a_route_of_another_listener_is_passed_over() {
    let mut inside = matching(&["a"], exact("/x"));
    inside.listener = Some(SIDECAR);
    let config = config(
        vec![],
        vec![
            route("inside", inside, vec![]),
            route("a", matching(&["a"], None), vec![]),
        ],
    );
    let table = table(&config);
    assert_eq!(
        get("a", "/x").on(SIDECAR).route(&config, &table).as_deref(),
        Some("inside")
    );
    assert_eq!(
        get("a", "/x").on(EDGE).route(&config, &table).as_deref(),
        Some("a")
    );
    assert_eq!(get("b", "/x").decide(&table), Decision::NotFound);
}

#[test]
fn a_route_may_answer_by_itself() {
    let respond = Respond {
        status: 404,
        body: String::new(),
        content_type: String::new(),
    };
    let config = config(
        vec![],
        vec![answering(
            "nothing",
            RouteMatch::default(),
            Action::Respond(respond),
        )],
    );
    assert_eq!(
        get("a", "/").decide(&table(&config)),
        Decision::Answer { route: 0 }
    );
}

#[test]
fn the_first_rule_that_matches_wins_and_none_is_stable() {
    let rules = vec![
        to(1, header("x-beta", "1")),
        to(2, header("x-beta", "1")),
        to(2, header("x-beta", "2")),
    ];
    let config = config(vec![], vec![route("app", RouteMatch::default(), rules)]);
    let table = table(&config);
    let seen = |value: &str| {
        let choice = get("a", "/").with("x-beta", value).choice(&table);
        (choice.rule, choice.version, choice.key_source)
    };
    assert_eq!(seen("1"), (Some(0), 1, KeySource::Nothing));
    assert_eq!(seen("2"), (Some(2), 2, KeySource::Nothing));
    assert_eq!(seen("3"), (None, 0, KeySource::Nothing));
    let two = get("a", "/")
        .with("x-beta", "3")
        .with("x-beta", "2")
        .choice(&table);
    assert_eq!(two.rule, Some(2), "any of several lines may match");
}

#[test]
fn a_user_has_the_published_slot_and_keeps_the_version_when_the_weight_grows() {
    let at = |percent: u32| {
        let rules = vec![split(SplitBy::User, &[100 - percent, percent, 0])];
        table(&config(
            vec![UserSource::Header("x-user-id".into())],
            vec![route("app", RouteMatch::default(), rules)],
        ))
    };
    let (small, large) = (at(10), at(25));
    let mut candidates = 0;
    for user in 0..2_000 {
        let id = format!("user-{user}");
        let request = get("a", "/").with("x-user-id", &format!(" {id} "));
        let choice = request.choice(&small);
        let wanted = slot(id.as_bytes(), Salt::new("app.everyone"));
        assert_eq!(choice.slot, Some(wanted));
        assert_eq!(choice.key_source, KeySource::User(0));
        assert_eq!(choice.version == 1, wanted < 10_000);
        assert!(
            choice.version == 0 || request.choice(&large).version == 1,
            "{id} was moved back"
        );
        candidates += u32::from(choice.version == 1);
    }
    assert!(
        (140..=260).contains(&candidates),
        "{candidates} of 2 000 at 10 %"
    );
}

#[test]
fn a_split_may_go_by_header_cookie_address_or_chance() {
    let choose = |by: SplitBy, request: Request, chance: u64| {
        let rules = vec![split(by, &[50, 50, 0])];
        let table = table(&config(
            vec![],
            vec![route("app", RouteMatch::default(), rules)],
        ));
        match request.decide_by_chance(&table, chance) {
            Decision::Forward(choice) => (choice.slot, choice.key_source, choice.version),
            other => panic!("{other:?}"),
        }
    };
    let of = |key: &str| Some(slot(key.as_bytes(), Salt::new("app.everyone")));
    let plain = get("a", "/").on(EDGE);
    let sent = plain
        .clone()
        .with("x-tenant", "t1")
        .with("cookie", "a=b; uid=u1")
        .from("2001:db8:1:2:3::4");
    let by_header = || SplitBy::Header("x-tenant".into());
    let by_cookie = || SplitBy::Cookie("uid".into());

    let (found, source, _) = choose(by_header(), sent.clone(), 0);
    assert_eq!((found, source), (of("t1"), KeySource::Header));
    let (found, source, _) = choose(by_cookie(), sent.clone(), 0);
    assert_eq!((found, source), (of("u1"), KeySource::Cookie));
    let (found, source, _) = choose(SplitBy::ClientAddress, sent.clone(), 0);
    assert_eq!(
        (found, source),
        (of("2001:db8:1:2::/64"), KeySource::ClientAddress)
    );

    for by in [by_header(), by_cookie(), SplitBy::User, SplitBy::Random] {
        assert_eq!(
            choose(by.clone(), plain.clone(), 0),
            (None, KeySource::Random, 1),
            "{by:?}"
        );
        assert_eq!(
            choose(by.clone(), plain.clone(), u64::MAX),
            (None, KeySource::Random, 0),
            "{by:?}"
        );
    }
    let two = sent.with("x-tenant", "t2");
    assert_eq!(
        choose(by_header(), two, 0).1,
        KeySource::Random,
        "two tenants are none"
    );
}

#[test]
fn texts_are_matched_in_headers_cookies_and_queries() {
    let text = |kind: &str, wanted: &str| match kind {
        "exact" => TextMatch::Exact(wanted.into()),
        "prefix" => TextMatch::Prefix(wanted.into()),
        "contains" => TextMatch::Contains(wanted.into()),
        "regex" => TextMatch::Regex(wanted.parse().unwrap()),
        _ => TextMatch::Present(wanted == "true"),
    };
    let request = get(
        "a",
        "/?a=one&b=tw%6f+three&a=four&long=".to_string().as_str(),
    )
    .with("x-a", "one")
    .with("x-a", "four")
    .with("cookie", "a=one; b=\"q\"");
    let cases = [
        ("header", "x-a", "exact", "four", true),
        ("header", "x-a", "exact", "One", false),
        ("header", "x-a", "prefix", "fo", true),
        ("header", "x-a", "contains", "ou", true),
        ("header", "x-a", "regex", "^f.*r$", true),
        ("header", "x-a", "present", "true", true),
        ("header", "x-a", "present", "false", false),
        ("header", "x-b", "present", "false", true),
        ("header", "x-b", "regex", "", false),
        ("cookie", "b", "exact", "\"q\"", true),
        ("cookie", "a", "prefix", "on", true),
        ("cookie", "c", "present", "true", false),
        ("query", "b", "exact", "two three", true),
        ("query", "b", "contains", "o t", true),
        ("query", "b", "prefix", "two ", true),
        ("query", "b", "regex", "^two three$", true),
        ("query", "a", "exact", "four", true),
        ("query", "long", "present", "true", true),
        ("query", "long", "exact", "", true),
        ("query", "none", "present", "false", true),
    ];
    for (place, name, kind, wanted, holds) in cases {
        let condition = match place {
            "header" => When::Header(name.into(), text(kind, wanted)),
            "cookie" => When::Cookie(name.into(), text(kind, wanted)),
            _ => When::Query(name.into(), text(kind, wanted)),
        };
        let table = table(&config(
            vec![],
            vec![route("app", RouteMatch::default(), vec![to(1, condition)])],
        ));
        assert_eq!(
            request.choice(&table).version == 1,
            holds,
            "{place} {name} {kind} {wanted:?}"
        );
    }
}

#[test]
fn a_source_network_covers_addresses_however_they_are_written() {
    let networks =
        |list: &[&str]| When::Source(list.iter().map(|net| net.parse().unwrap()).collect());
    for (list, client, holds) in [
        (&["10.0.0.0/8"][..], "10.1.2.3", true),
        (&["10.0.0.0/8"], "::ffff:10.1.2.3", true),
        (&["::ffff:10.0.0.0/104"], "10.1.2.3", true),
        (&["::/0"], "10.1.2.3", false),
        (&["0.0.0.0/0"], "2001:db8::1", false),
        (&["192.0.2.1/32", "2001:db8::/32"], "2001:db8:9::1", true),
    ] {
        let table = table(&config(
            vec![],
            vec![route(
                "app",
                RouteMatch::default(),
                vec![to(1, networks(list))],
            )],
        ));
        assert_eq!(
            get("a", "/").from(client).choice(&table).version == 1,
            holds,
            "{client} in {list:?}"
        );
    }
}
