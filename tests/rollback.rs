//! A candidate that is worse goes back by itself, in the next request of everybody, and stays back.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Backend, Mood, Proxy, Signal, Site, Steady, Tells, command, eventually};

/// From the moment in which a guard is due to the last request on the candidate.
const BACK: Duration = Duration::from_secs(1);

/// A split of 20 % with this guard, its versions, and the file.
fn guarded(guard: &str) -> (Backend, Backend, Site) {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    let site = site.rules(&format!(
        "[{{ name: everyone, split: {{ by: user, weights: {{ v2: 20%, v1: 80% }}, guard: {guard} }} }}]"
    ));
    (v1, v2, site)
}

fn rollout(proxy: &Proxy, name: &str) -> Value {
    proxy
        .ask("GET", &format!("/api/v1/rollouts/{name}"), "")
        .json()
}

#[track_caller]
fn reaches(proxy: &Proxy, name: &str, phase: &str) -> Value {
    eventually(
        &format!("{name} is {phase}"),
        Duration::from_secs(10),
        || {
            let seen = rollout(proxy, name);
            if seen["phase"] == phase {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        },
    )
}

#[test]
fn a_candidate_that_fails_is_left_by_whichever_guard_fires_first() {
    let (v1, v2, site) = guarded("{ error_rate: { above: 5%, window: 10s, min_requests: 50 } }");
    let proxy = Proxy::start(&site);
    let before = reaches(&proxy, "app.everyone", "holding");
    assert_eq!(before["weight"], 20.0, "{before}");
    let load = Steady::new(200, 8).start(proxy.address("in"));
    load.reaches(100);
    v2.turn(Mood::Fails(500));
    let broke = Instant::now();
    let after = reaches(&proxy, "app.everyone", "rolled_back");
    std::thread::sleep(Duration::from_millis(200));
    let records = load.finish();
    assert_eq!(after["weight"], 0.0, "{after}");
    assert_eq!(after["cause"], "compare_errors", "{after}");
    let reason = after["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("users were hit on the candidate"),
        "the numbers stand in {reason:?}"
    );
    let last = records.last_sent_to("v2").expect("v2 had requests");
    assert!(
        last < broke + BACK,
        "the last one {:?} after the break",
        last - broke
    );
    let hit = records.users_hit().len();
    assert!(hit <= 12, "{hit} users were hit");
    assert!(v1.answered().well > 100);
    let metrics = proxy.metrics();
    assert_eq!(
        metrics.sum("tidegate_rollout_weight", &[("rollout", "app.everyone")]),
        0.0
    );
    let labels = [("rollout", "app.everyone"), ("reason", "compare_errors")];
    assert_eq!(metrics.sum("tidegate_rollbacks_total", &labels), 1.0);
    proxy.logs(&["app.everyone", "rolled back", "20 % → 0 %"]);
}

#[test]
fn without_comparison_the_threshold_takes_it_back() {
    let (_v1, v2, site) =
        guarded("{ compare: false, error_rate: { above: 5%, window: 10s, min_requests: 50 } }");
    let proxy = Proxy::start(&site);
    reaches(&proxy, "app.everyone", "holding");
    let load = Steady::new(200, 8).start(proxy.address("in"));
    load.reaches(100);
    v2.turn(Mood::Fails(500));
    let after = reaches(&proxy, "app.everyone", "rolled_back");
    assert_eq!(after["cause"], "error_rate", "{after}");
    let reason = after["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("(allowed 5 %)"),
        "the numbers stand in {reason:?}"
    );
    let due = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let records = load.finish();
    let last = records.last_sent_to("v2").expect("v2 had requests");
    assert!(
        last < due + Duration::from_millis(50),
        "on every connection the next request is stable's"
    );
    let bad = records
        .iter()
        .filter(|record| record.is_of("v2") && !record.is_good())
        .count();
    assert!(
        (3..=60).contains(&bad),
        "{bad} requests failed before 5 % of 50 were due"
    );
}

#[test]
fn what_was_rolled_back_stays_back_until_somebody_says_retry() {
    let (_v1, v2, site) = guarded("{ error_rate: { above: 5%, window: 10s, min_requests: 50 } }");
    let mut proxy = Proxy::start(&site);
    reaches(&proxy, "app.everyone", "holding");
    v2.turn(Mood::Fails(500));
    let load = Steady::new(200, 8).start(proxy.address("in"));
    reaches(&proxy, "app.everyone", "rolled_back");
    load.finish();
    v2.turn(Mood::Well);
    let stays_back = |proxy: &Proxy, after: &str| {
        let seen = rollout(proxy, "app.everyone");
        assert_eq!(
            (&seen["phase"], &seen["weight"]),
            (&"rolled_back".into(), &0.0.into()),
            "after {after}: {seen}"
        );
        v2.forget();
        let load = Steady::new(200, 4).start(proxy.address("in"));
        load.reaches(100);
        load.finish();
        assert_eq!(
            v2.answered().well,
            0,
            "after {after} the candidate was asked"
        );
    };
    stays_back(&proxy, "the rollback");

    fs::write(proxy.file(), fs::read(proxy.file()).unwrap()).unwrap();
    proxy.signal(Signal::HUP);
    stays_back(&proxy, "touching the file and SIGHUP");

    proxy.edit(&site.clone().with("access_log", "{ output: none }"));
    stays_back(&proxy, "an unrelated edit");

    proxy.kill();
    proxy.start_again();
    stays_back(&proxy, "kill -9");

    proxy.finish();
    proxy.start_again();
    stays_back(&proxy, "a restart");

    let orders = |order: &str| {
        proxy.ask(
            "POST",
            &format!("/api/v1/rollouts/app.everyone/{order}"),
            "{\"reason\":\"mended\"}",
        )
    };
    assert_eq!(orders("rollback").status, 409, "it is back already");
    let again = orders("retry");
    assert_eq!(again.status, 200, "{}", again.text());
    let told = again.json();
    assert!(
        told["attempt"] == 2 && told["phase"] != "rolled_back",
        "the answer is what is true now: {told}"
    );
    let again = reaches(&proxy, "app.everyone", "holding");
    assert_eq!(
        (again["weight"].as_f64(), again["attempt"].as_u64()),
        (Some(20.0), Some(2)),
        "{again}"
    );
    let load = Steady::new(400, 4).start(proxy.address("in"));
    load.reaches(200);
    let records = load.finish();
    assert!(
        !records.users_of("v2").is_empty(),
        "the candidate has users again"
    );
    assert_eq!(records.errors(), 0);
    let history = proxy
        .ask("GET", "/api/v1/history?rollout=app.everyone", "")
        .json();
    let phases: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["phase"].as_str().unwrap().to_owned())
        .collect();
    assert!(phases.contains(&"rolled_back".to_owned()), "{history}");
    assert_eq!(
        phases.last().map(String::as_str),
        Some("holding"),
        "{history}"
    );
}

#[test]
fn every_failure_of_the_candidate_is_written_down_and_can_be_recomputed() {
    let (_v1, v2, site) = guarded("{ error_rate: { above: 5%, window: 10s, min_requests: 50 } }");
    let mut proxy = Proxy::start(&site);
    reaches(&proxy, "app.everyone", "holding");
    let load = Steady::new(400, 8).start(proxy.address("in"));
    load.reaches(100);
    v2.turn(Mood::Fails(500));
    reaches(&proxy, "app.everyone", "rolled_back");
    load.finish();
    proxy.finish();
    let path = proxy.state().join("decisions.jsonl");
    let text = fs::read_to_string(&path).expect("decisions");
    let failures = text
        .lines()
        .filter(|line| line.contains("\"failed\":true"))
        .count();
    assert_eq!(
        failures,
        v2.answered().badly,
        "each failure of the candidate has a line"
    );
    let path = path.to_str().unwrap();
    let replayed = command(&["replay", path], "");
    let said = String::from_utf8_lossy(&replayed.stdout);
    assert_eq!(replayed.status.code(), Some(0), "{said}");
    // One that went to the other version is found.
    let wrong = text.replacen("\"version\":\"v2\"", "\"version\":\"v1\"", 1);
    let replayed = command(&["replay", "-"], &wrong);
    assert_eq!(
        replayed.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&replayed.stdout)
    );
}

#[test]
fn a_guard_comes_to_a_split_in_use_and_leaves_it_without_moving_anybody() {
    let (_v1, v2, site) = guarded("{ compare: false }");
    let plain = site
        .clone()
        .rules("[{ name: everyone, split: { by: user, weights: { v2: 20%, v1: 80% } } }]");
    let proxy = Proxy::start(&plain);
    let load = Steady::new(400, 8).start(proxy.address("in"));
    load.reaches(100);
    for _ in 0..3 {
        proxy.edit(&site);
        let seen = reaches(&proxy, "app.everyone", "holding");
        assert_eq!(seen["weight"], 20.0, "{seen}");
        load.reaches(100);
        proxy.edit(&plain);
        load.reaches(100);
    }
    let records = load.finish();
    assert_eq!(records.errors(), 0);
    let (on_v1, on_v2) = (records.users_of("v1"), records.users_of("v2"));
    let moved: Vec<_> = on_v1.intersection(&on_v2).collect();
    assert!(
        moved.is_empty(),
        "{} users met both versions: {moved:?}",
        moved.len()
    );
    assert!(v2.answered().well > 50);
}

#[test]
fn a_candidate_that_becomes_slow_goes_back() {
    let (_v1, v2, site) = guarded("{}");
    let proxy = Proxy::start(&site);
    reaches(&proxy, "app.everyone", "holding");
    let load = Steady::new(200, 16).start(proxy.address("in"));
    // Which time is slow is known after a thousand requests; for half a minute after a growth nothing is.
    load.reaches(200 * 42);
    v2.turn(Mood::Slow(Duration::from_millis(60)));
    let after = reaches(&proxy, "app.everyone", "rolled_back");
    load.finish();
    assert_eq!(after["cause"], "compare_slow", "{after}");
    let slow = &after["guards"]["compare"]["slow"];
    assert!(
        slow["candidate"]["bad"].as_u64() > Some(2),
        "the numbers agree: {after}"
    );
}
