//! A plan is climbed stage by stage, waits for whom it must, bakes and succeeds; and a restart at any moment neither loses a
//! stage nor repeats one.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Backend, Mood, Proxy, Site, Steady, Tells, eventually};

/// A rollout `shop-v2` with this plan.
fn planned(plan: &str) -> (Backend, Backend, Site) {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ name: everyone, rollout: shop-v2 }]")
        .with(
            "rollouts",
            &format!("[{{ name: shop-v2, service: app, candidate: v2, by: user, {plan} }}]"),
        );
    (v1, v2, site)
}

fn view(proxy: &Proxy) -> Value {
    proxy.ask("GET", "/api/v1/rollouts/shop-v2", "").json()
}

#[track_caller]
fn reaches(proxy: &Proxy, phase: &str, weight: f64) -> Value {
    let what = format!("shop-v2 is {phase} at {weight} %");
    eventually(&what, Duration::from_secs(20), || {
        let seen = view(proxy);
        if seen["phase"] == phase && seen["weight"] == weight {
            Ok(seen)
        } else {
            Err(seen.to_string())
        }
    })
}

#[track_caller]
fn order(proxy: &Proxy, order: &str) -> Value {
    let answer = proxy.ask(
        "POST",
        &format!("/api/v1/rollouts/shop-v2/{order}"),
        "{\"reason\":\"as planned\",\"by\":\"ada\"}",
    );
    assert_eq!(answer.status, 200, "{order}: {}", answer.text());
    answer.json()
}

/// `(phase, stage, weight after)` of every entry.
fn history(proxy: &Proxy) -> Vec<(String, u64, f64)> {
    let entries = proxy
        .ask("GET", "/api/v1/history?rollout=shop-v2", "")
        .json();
    let entries = entries.as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|e| {
            (
                e["phase"].as_str().unwrap_or("").to_owned(),
                e["stage"].as_u64().unwrap_or(99),
                e["to"].as_f64().unwrap_or(-1.0),
            )
        })
        .collect()
}

const PLAN: &str = "stages: [
      { weight: 5%, hold: 300ms, min_requests: 5 }, { weight: 25%, hold: 300ms, min_requests: 20 },
      { weight: 50%, hold: 300ms, approve: true, min_requests: 20 }, { weight: 100% }], bake: 500ms, deadline: 10m";

#[test]
fn a_plan_is_climbed_by_itself_but_for_the_approval() {
    let (_v1, v2, site) = planned(PLAN);
    let proxy = Proxy::start(&site);
    let load = Steady::new(300, 8).start(proxy.address("in"));
    let waiting = reaches(&proxy, "waiting", 25.0);
    assert!(
        waiting["reason"]
            .as_str()
            .unwrap_or("")
            .contains("approval"),
        "{waiting}"
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(view(&proxy)["weight"], 25.0, "it waits");
    let approved = order(&proxy, "approve");
    assert!(
        ["waiting", "ramping", "holding"].contains(&approved["phase"].as_str().unwrap()),
        "{approved}"
    );
    let done = reaches(&proxy, "succeeded", 100.0);
    assert_eq!(done["stage"], 4, "{done}");
    let records = load.finish();
    assert_eq!(records.errors(), 0);
    assert!(v2.answered().well > 100);
    let told = history(&proxy);
    let weights: Vec<f64> = told
        .iter()
        .filter(|(phase, ..)| phase == "holding" || phase == "baking")
        .map(|(.., to)| *to)
        .collect();
    assert_eq!(weights, [5.0, 25.0, 50.0, 100.0], "{told:?}");
    let phases: Vec<&str> = told.iter().map(|(phase, ..)| phase.as_str()).collect();
    let end = &phases[phases.len() - 2..];
    assert_eq!(end, ["baking", "succeeded"], "{told:?}");
    let entries = proxy
        .ask("GET", "/api/v1/history?rollout=shop-v2", "")
        .json();
    assert!(
        entries
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["actor"] == "ada"),
        "{entries}"
    );
}

#[test]
fn fifty_kills_on_the_way_lose_no_stage_and_repeat_none() {
    let plan = PLAN
        .replace("300ms", "1500ms")
        .replace("approve: true, ", "");
    let (_v1, _v2, site) = planned(&plan);
    let mut proxy = Proxy::start(&site);
    let mut seen: Vec<(u64, f64)> = Vec::new();
    let mut chance = fastrand::Rng::with_seed(7);
    for kill in 0..50 {
        let load = Steady::new(200, 4).start(proxy.address("in"));
        let until = Instant::now() + Duration::from_millis(chance.u64(20..500));
        while Instant::now() < until {
            let now = view(&proxy);
            let stands = (
                now["stage"].as_u64().unwrap(),
                now["weight"].as_f64().unwrap(),
            );
            let last = seen.last().copied().unwrap_or((0, 0.0));
            assert!(
                stands.0 >= last.0 && stands.1 >= last.1,
                "kill {kill}: {last:?} was announced, then {now}"
            );
            assert!(
                stands.0 <= last.0 + 1,
                "kill {kill}: a stage was left out between {last:?} and {now}"
            );
            if stands != last {
                seen.push(stands);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy.kill();
        drop(load.finish());
        proxy.start_again();
        let now = view(&proxy);
        let last = seen.last().copied().unwrap_or((0, 0.0));
        // What was written down in the last moment is told by the start itself, before anything listens.
        assert!(
            now["stage"].as_u64().unwrap() >= last.0,
            "kill {kill}: {last:?} was announced, now {now}"
        );
    }
    let load = Steady::new(300, 8).start(proxy.address("in"));
    reaches(&proxy, "succeeded", 100.0);
    load.finish();
    let weights: Vec<f64> = history(&proxy)
        .iter()
        .filter(|(phase, ..)| phase == "holding" || phase == "baking")
        .map(|(.., to)| *to)
        .collect();
    assert_eq!(
        weights,
        [5.0, 25.0, 50.0, 100.0],
        "every step once: {:?}",
        history(&proxy)
    );
}

#[test]
fn whoever_has_no_traffic_holds_and_says_what_is_missing() {
    let (_v1, _v2, site) =
        planned("stages: [{ weight: 5%, hold: 100ms, min_requests: 30 }, { weight: 100% }]");
    let proxy = Proxy::start(&site);
    reaches(&proxy, "holding", 5.0);
    std::thread::sleep(Duration::from_millis(500));
    let held = view(&proxy);
    assert_eq!(
        (&held["phase"], &held["weight"]),
        (&"holding".into(), &5.0.into()),
        "{held}"
    );
    assert!(
        held["reason"]
            .as_str()
            .unwrap_or("")
            .contains("0 of 30 requests"),
        "{held}"
    );
}

#[test]
fn with_fallback_a_candidate_that_fails_costs_its_users_nothing() {
    let (_v1, v2, site) = planned(
        "fallback: stable, stages: [{ weight: 5%, hold: 10m }, { weight: 100% }], guard: { error_rate: { above: 5%, window: 30s, min_requests: 50 } }",
    );
    let proxy = Proxy::start(&site);
    reaches(&proxy, "holding", 5.0);
    let load = Steady::new(1000, 16).start(proxy.address("in"));
    load.reaches(500);
    v2.turn(Mood::Fails(500));
    let back = reaches(&proxy, "rolled_back", 0.0);
    std::thread::sleep(Duration::from_millis(100));
    let records = load.finish();
    assert_eq!(
        records.errors(),
        0,
        "users saw errors: {:?}",
        records.iter().find(|r| !r.is_good())
    );
    let hit = v2.answered().users_hit.len();
    assert!(
        (3..=8).contains(&hit),
        "{hit} users met the failing candidate: {back}"
    );
    let metrics = proxy.metrics();
    let of = [("service", "app"), ("version", "v2")];
    let (fallbacks, failures) = (
        metrics.sum("tidegate_fallbacks_total", &of),
        metrics.sum("tidegate_failures_total", &of),
    );
    assert!(
        fallbacks >= 3.0 && failures >= fallbacks,
        "{fallbacks} fallbacks, {failures} failures"
    );
}
