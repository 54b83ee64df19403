//! The same decision in words.

use serde_json::json;
use tidegate_config::*;

use super::house::*;
use crate::route::Lot;

fn shop() -> Config {
    let rules = vec![
        Rule {
            name: "testers".into(),
            ..to(1, header("x-beta", "1"))
        },
        split(SplitBy::User, &[70, 10, 20]),
    ];
    let redirect = Redirect {
        status: 308,
        scheme: None,
        host: Some("shop".into()),
        port: None,
        path: None,
    };
    config(
        vec![
            UserSource::Header("x-user-id".into()),
            UserSource::AssignCookie("tidegate_id".into()),
        ],
        vec![
            route(
                "shop",
                matching(&["shop.example.com"], prefix("/cart")),
                rules,
            ),
            answering(
                "old",
                matching(&["old.example.com"], None),
                Action::Redirect(redirect),
            ),
        ],
    )
}

fn explained(request: &Request) -> serde_json::Value {
    serde_json::to_value(table(&shop()).explain(&request.caller(), &[] as &[Lot], &mut || 1))
        .unwrap()
}

#[test]
fn a_split_is_told_with_the_slot_and_the_weights_that_would_move_it() {
    let told = explained(
        &get("shop.example.com", "/cart")
            .with("x-user-id", "42")
            .with("x-beta", "0"),
    );
    assert_eq!(
        told,
        json!({
            "route": "shop", "rule": "everyone", "service": "app", "version": "v3", "slot": 83904,
            "key_source": "header x-user-id",
            "why": [
                "route \"old\": the host is \"shop.example.com\", wanted \"old.example.com\"",
                "route \"shop\" fits: host \"shop.example.com\", path the prefix \"/cart\"",
                "rule \"testers\" does not match: header x-beta is \"0\", wanted exactly \"1\"",
                "rule \"everyone\" matches: it has no conditions",
                "the user is \"42\"",
                "the split: v1 70 %, v2 10 %, v3 20 %",
                "slot 83 904 of 100 000, from header x-user-id: on v3",
                "slot 83 904 of 100 000: on v2 from a weight of 83.905 %",
                "slot 83 904 of 100 000: on v3 from a weight of 16.096 %",
            ],
        })
    );
}

#[test]
fn a_plain_rule_a_redirect_and_a_404_are_told() {
    let plain = explained(&get("shop.example.com", "/cart").with("x-beta", "1"));
    assert_eq!(
        (&plain["rule"], &plain["version"]),
        (&json!("testers"), &json!("v2"))
    );
    assert_eq!(
        (&plain["slot"], &plain["key_source"]),
        (&json!(null), &json!(null))
    );
    let redirect = explained(&get("old.example.com", "/"));
    assert_eq!(
        (&redirect["route"], &redirect["version"]),
        (&json!("old"), &json!(null))
    );
    assert_eq!(
        redirect["why"][2],
        "the route answers by itself: a redirect with status 308"
    );
    let none = explained(&get("shop.example.com", "/else"));
    assert_eq!(none["route"], json!(null));
    assert_eq!(
        none["why"][0],
        "route \"shop\": the path is \"/else\", wanted the prefix \"/cart\""
    );
    assert_eq!(none["why"][2], "no route is for this request: 404");
}

#[test]
fn an_id_given_just_now_is_told_as_such() {
    let told = explained(&get("shop.example.com", "/cart"));
    assert_eq!(told["key_source"], "assigned cookie tidegate_id");
    assert_eq!(
        told["why"][4],
        "the user is \"00000000000000010000000000000001\""
    );
}

#[test]
fn chance_is_told_without_a_slot() {
    let rules = vec![split(SplitBy::Random, &[90, 10, 0])];
    let table = table(&config(
        vec![],
        vec![route("app", RouteMatch::default(), rules)],
    ));
    let told =
        serde_json::to_value(
            table.explain(&get("a", "/").caller(), &[] as &[Lot], &mut || u64::MAX),
        )
        .unwrap();
    assert_eq!(
        (&told["slot"], &told["key_source"], &told["version"]),
        (&json!(null), &json!("random"), &json!("v1"))
    );
    assert_eq!(
        told["why"][3],
        "each request draws a slot of its own (the split says so); this one drew v1"
    );
}

#[test]
fn combined_conditions_name_what_failed() {
    let all = When::All(vec![
        When::Method(vec!["GET".into(), "POST".into()]),
        When::Not(Box::new(When::Path(PathMatch::Prefix("/admin".into())))),
        When::Any(vec![
            users(&["7", "8"]),
            When::Cookie("beta".into(), TextMatch::Present(true)),
        ]),
        When::Source(vec!["10.0.0.0/8".parse().unwrap()]),
    ]);
    let told = |request: Request| {
        let rules = vec![to(1, all.clone())];
        let table = table(&config(
            vec![UserSource::Header("x-user-id".into())],
            vec![route("app", RouteMatch::default(), rules)],
        ));
        table
            .explain(&request.caller(), &[] as &[Lot], &mut || 0)
            .why[1]
            .clone()
    };
    let request = get("a", "/admin/x");
    assert_eq!(
        told(request),
        "rule \"to-1\" does not match: not (the path is \"/admin/x\", wanted the prefix \"/admin\")"
    );
    assert_eq!(
        told(get("a", "/").with("x-user-id", "9")),
        "rule \"to-1\" does not match: none of: the user is \"9\", wanted one of 2 listed; cookie beta is absent, \
         wanted any value"
    );
    assert_eq!(
        told(get("a", "/").with("cookie", "beta=1")),
        "rule \"to-1\" does not match: the client is 203.0.113.7, wanted one in 10.0.0.0/8"
    );
}
