//! What the business sees counts as what the proxy sees does: outcomes that are told of users, and a metrics store.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Gauges, Planned, Proxy, Steady, Store, eventually};

const PUSHED: &str = "stages: [{ weight: 50%, hold: 10m }, { weight: 100% }], \
    guard: { metrics: [{ name: orders_failed, pushed: true }] }";

fn observe(proxy: &Proxy, body: &Value) -> u16 {
    proxy
        .ask("POST", "/api/v1/observations", &body.to_string())
        .status
}

/// One user's request and what became of his order; the version that served.
fn order_of(proxy: &Proxy, number: usize, bad: impl Fn(&str) -> bool) -> String {
    let user = format!("user-{number}");
    let answer = proxy.get("/", &[&format!("x-user-id: {user}")]);
    assert_eq!(answer.status, 200);
    let version = answer.version().to_owned();
    let body = json!({ "rollout": "shop-v2", "metric": "orders_failed", "user": user, "bad": bad(&version) });
    assert_eq!(observe(proxy, &body), 204);
    version
}

#[test]
fn outcomes_that_are_bad_on_the_candidate_alone_take_it_back() {
    let planned = Planned::by(PUSHED);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    for number in 0..200 {
        order_of(&proxy, number, |version| version == "v2");
        if proxy.rollout()["phase"] == "rolled_back" {
            break;
        }
    }
    let back = proxy.rollout();
    assert_eq!(
        (&back["phase"], &back["cause"]),
        (&"rolled_back".into(), &"metric".into()),
        "{back}"
    );
    assert!(
        back["reason"].as_str().unwrap().contains("orders_failed"),
        "{back}"
    );
    assert_eq!(
        order_of(&proxy, 1000, |_| true),
        "v1",
        "what comes late is taken and changes nothing"
    );
    let labels = [("rollout", "shop-v2"), ("reason", "metric")];
    assert_eq!(
        proxy.metrics().sum("tidegate_rollbacks_total", &labels),
        1.0
    );
}

#[test]
fn outcomes_that_are_bad_everywhere_do_not() {
    let planned = Planned::by(PUSHED);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    for number in 0..300 {
        order_of(&proxy, number, |_| number % 3 == 0);
    }
    let held = proxy.stays("holding", 50.0);
    let metric = &held["guards"]["metrics"][0]["compare"];
    assert!(metric["candidate_users"].as_u64().unwrap() > 20, "{held}");
}

#[test]
fn an_outcome_that_makes_no_sense_is_refused_and_nothing_of_its_list_is_taken() {
    let planned = Planned::by(PUSHED);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let good = json!({ "rollout": "shop-v2", "metric": "orders_failed", "user": "a", "bad": true });
    let with = |key: &str, value: Value| {
        let mut other = good.clone();
        other[key] = value;
        other
    };
    assert_eq!(observe(&proxy, &with("rollout", "nobody".into())), 404);
    assert_eq!(observe(&proxy, &with("metric", "no_such".into())), 422);
    assert_eq!(
        observe(&proxy, &with("version", "v2".into())),
        422,
        "one of the two"
    );
    assert_eq!(observe(&proxy, &with("users", "b".into())), 400);
    let list = json!([good, with("metric", "no_such".into())]);
    assert_eq!(observe(&proxy, &list), 422);
    let seen = |proxy: &Proxy| {
        let compare = proxy.rollout()["guards"]["metrics"][0]["compare"].clone();
        compare["candidate_users"].as_u64().unwrap() + compare["stable_users"].as_u64().unwrap()
    };
    assert_eq!(seen(&proxy), 0);
    assert_eq!(observe(&proxy, &json!([good])), 204);
    assert_eq!(seen(&proxy), 1);
    let by_version =
        json!({ "rollout": "shop-v2", "metric": "orders_failed", "version": "v3", "bad": true });
    assert_eq!(observe(&proxy, &by_version), 422);
}

fn by_store(store: &Store, stages: &str) -> Planned {
    Planned::by(&format!(
        "stages: {stages}, guard: {{ metrics: [{{ name: pay_success, prometheus: {{ url: \"{}\", query: \"sum(pay_success)\", every: 1s }}, below: 98%, for: 1s, on_no_data: hold }}] }}",
        store.url()
    ))
}

#[test]
fn a_metric_that_is_bad_for_long_enough_takes_it_back() {
    let gauges = Gauges::start();
    gauges.set("pay_success", 0.99);
    let store = Store::start(&[&gauges]);
    let planned = by_store(&store, "[{ weight: 50%, hold: 10m }, { weight: 100% }]");
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    // A store that has just started has scraped nothing yet: that holds, and no more.
    eventually("the metric is good", Duration::from_secs(20), || {
        let seen = proxy.rollout();
        assert_eq!(seen["phase"], "holding", "{seen}");
        let is_good = seen["guards"]["metrics"][0]["state"] == "good";
        is_good.then_some(()).ok_or(seen.to_string())
    });
    gauges.set("pay_success", 0.5);
    let back = proxy.reaches("rolled_back", 0.0);
    assert_eq!(back["cause"], "metric", "{back}");
    assert!(
        back["reason"]
            .as_str()
            .unwrap()
            .contains("pay_success is 0.5"),
        "{back}"
    );
}

#[test]
fn a_store_that_is_silent_stops_growth_and_nothing_else() {
    let gauges = Gauges::start();
    gauges.set("pay_success", 0.99);
    let mut store = Store::start(&[&gauges]);
    let planned = by_store(
        &store,
        "[{ weight: 20%, hold: 2s, min_requests: 1 }, { weight: 50%, hold: 10m }, { weight: 100% }]",
    );
    let proxy = planned.start();
    store.kill();
    let load = Steady::new(50, 2).start(proxy.address("in"));
    proxy.reaches("holding", 20.0);
    std::thread::sleep(Duration::from_secs(4));
    let held = proxy.stays("holding", 20.0);
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("pay_success has no value"), "{held}");
    store.run_again();
    proxy.reaches("holding", 50.0);
    load.finish();
}
