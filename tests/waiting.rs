//! Growth waits for whoever has a say in it: gates, windows, people, evidence. Going back waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::harness::{
    Backend, Mood, Planned, Proxy, Scripted, Site, Steady, Tells, eventually, soon, until,
};

const TWO: &str = "stages: [{ weight: 20%, min_requests: 0, hold: 200ms }, { weight: 50%, hold: 10m }, { weight: 100% }]";

/// An HTTP server that says this status to everybody.
fn gate(status: &Arc<AtomicU16>) -> Scripted {
    let says = Arc::clone(status);
    Scripted::start(move |scene, _| {
        loop {
            scene.request()?;
            let status = says.load(SeqCst);
            scene.write(format!(
                "HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n"
            ))?;
        }
    })
}

#[test]
fn a_stage_waits_for_its_gate() {
    let status = Arc::new(AtomicU16::new(503));
    let server = gate(&status);
    let gated = |timeout: &str| {
        format!(
            "{TWO}, gates: [{{ name: e2e, before_stage: 2, http: \"http://{}/gate\", timeout: {timeout}, on_error: hold }}]",
            server.endpoint()
        )
    };
    let planned = Planned::by(&gated("5s"));
    let proxy = planned.start();
    eventually("the gate is heard", Duration::from_secs(10), || {
        let seen = proxy.rollout();
        let reason = seen["reason"].as_str().unwrap_or("");
        (reason.contains("gate e2e said 503"))
            .then_some(())
            .ok_or(seen.to_string())
    });
    proxy.stays("waiting", 20.0);
    let refused = proxy.order("promote");
    assert_eq!(refused.status, 409, "{}", refused.text());
    status.store(200, SeqCst);
    // It would be asked again after half a minute; a gate that was edited is asked at once.
    proxy.edit(&Planned::plan(&planned.site, &gated("4s")));
    proxy.reaches("holding", 50.0);
}

#[test]
fn a_gate_that_cannot_be_reached_holds() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let planned = Planned::by(&format!(
        "{TWO}, gates: [{{ name: e2e, before_stage: 1, http: \"http://{address}/gate\" }}]"
    ));
    let proxy = planned.start();
    eventually("the gate is missed", Duration::from_secs(10), || {
        let seen = proxy.rollout();
        let reason = seen["reason"].as_str().unwrap_or("");
        (reason.contains("gate e2e cannot be reached"))
            .then_some(())
            .ok_or(seen.to_string())
    });
    proxy.stays("waiting", 0.0);
    proxy.obeys("rollback");
    proxy.stays("rolled_back", 0.0);
}

#[test]
fn growth_waits_for_an_open_window() {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let local = |hours: i64| {
        let at = &now + hours.hours();
        at.strftime("%Y-%m-%dT%H:%M").to_string()
    };
    let denied = format!(
        "windows: {{ deny: [{{ name: holidays, from: \"{}\", to: \"{}\", zone: UTC }}] }}",
        local(-2),
        local(2)
    );
    let (from, to) = if now.hour() < 12 {
        ("20:00", "21:00")
    } else {
        ("02:00", "03:00")
    };
    let closed = format!(
        "windows: {{ allow: [{{ days: [mon, tue, wed, thu, fri, sat, sun], from: \"{from}\", to: \"{to}\", zone: UTC }}] }}"
    );
    for (windows, says) in [(denied, "holidays"), (closed, "opens")] {
        let planned = Planned::by(&format!("{TWO}, {windows}"));
        let proxy = planned.start();
        let waiting = proxy.stays("waiting", 0.0);
        assert!(
            waiting["reason"].as_str().unwrap().contains(says),
            "{waiting}"
        );
        assert_eq!(proxy.order("promote").status, 409);
        proxy.edit(&Planned::plan(&planned.site, TWO));
        let grown = proxy.reaches("holding", 50.0);
        assert_eq!(
            grown["attempt"], 1,
            "windows are no part of the plan: {grown}"
        );
    }
}

#[test]
fn a_stage_waits_for_its_approval_and_a_pause_for_its_end() {
    let planned = Planned::by(
        "stages: [{ weight: 20%, hold: 100ms, min_requests: 0 }, { weight: 50%, approve: true, hold: 10m }, { weight: 100% }], bake: 10m",
    );
    let proxy = planned.start();
    let waiting = proxy.reaches("waiting", 20.0);
    assert!(
        waiting["reason"].as_str().unwrap().contains("approval"),
        "{waiting}"
    );
    assert_eq!(proxy.obeys("pause")["phase"], "paused");
    proxy.obeys("approve");
    proxy.stays("paused", 20.0);
    proxy.obeys("resume");
    proxy.reaches("holding", 50.0);
    proxy.obeys("promote");
    proxy.reaches("baking", 100.0);
    proxy.obeys("promote");
    proxy.reaches("succeeded", 100.0);
    assert_eq!(proxy.order("promote").status, 409);
    proxy.obeys("rollback");
    proxy.stays("rolled_back", 0.0);
}

/// A rollout at 20 % whose candidate has just begun to fail every request, under this load.
fn failing(more: &str) -> (Planned, Proxy) {
    let planned = Planned::by(&format!(
        "stages: [{{ weight: 20%, hold: 10m }}, {{ weight: 100% }}], guard: {{ consecutive_failures: 10 }}, {more}"
    ));
    let proxy = planned.start();
    proxy.reaches("holding", 20.0);
    planned.v2.turn(Mood::Fails(500));
    (planned, proxy)
}

#[test]
fn on_regression_pause_stays_where_it_is_until_somebody_decides() {
    let (planned, proxy) = failing("on_regression: pause");
    let load = Steady::new(200, 4).start(proxy.address("in"));
    let paused = proxy.reaches("paused", 20.0);
    assert!(!paused["cause"].is_null(), "{paused}");
    proxy.stays("paused", 20.0);
    // Somebody has mended it and goes on: what was found before does not stand in the way for ever.
    planned.v2.turn(Mood::Well);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(proxy.obeys("resume")["phase"], "holding");
    proxy.stays("holding", 20.0);
    planned.v2.turn(Mood::Fails(500));
    proxy.reaches("paused", 20.0);
    load.finish();
    proxy.obeys("rollback");
    proxy.stays("rolled_back", 0.0);
    drop(planned);
}

#[test]
fn on_regression_alert_only_says_so_and_does_not_grow() {
    let (planned, proxy) = failing("on_regression: alert");
    let load = Steady::new(200, 4).start(proxy.address("in"));
    proxy.logs(&["WARN", "shop-v2", "the weight stays at 20"]);
    proxy.stays("holding", 20.0);
    // It is shown once it is written down, and a disk may take its time.
    until("its cause is shown", || !proxy.rollout()["cause"].is_null());
    assert_eq!(proxy.order("promote").status, 409);
    load.finish();
    drop(planned);
}

#[test]
fn one_cohort_may_go_back_while_the_rest_goes_on() {
    let v1 = Backend::start("v1");
    // Whoever shops from the EU meets a candidate that fails.
    let v2 = Scripted::start(|scene, _| {
        loop {
            let asked = scene.request()?;
            let status = if asked.header("x-eu") == "1" {
                500
            } else {
                200
            };
            scene.write(format!(
                "HTTP/1.1 {status} Said\r\nx-version: v2\r\nContent-Length: 0\r\n\r\n"
            ))?;
        }
    });
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ name: everyone, rollout: shop-v2 }]");
    let plan = "stages: [{ weight: 20%, hold: 4s, min_requests: 100 }, { weight: 50%, hold: 10m }, { weight: 100% }], \
        cohorts: [{ name: eu, when: { header: { name: x-eu, exact: \"1\" } } }], guard: { compare: { min_excess: 40% } }";
    let mut proxy = Proxy::start(&Planned::plan(&site, plan));
    proxy.reaches("holding", 20.0);
    let rest = Steady::new(200, 4).start(proxy.address("in"));
    let eu = |rate: usize| {
        let mut load = Steady::new(rate, 2);
        load.headers = vec!["x-eu: 1".to_owned()];
        load
    };
    let load = eu(40).start(proxy.address("in"));
    let back = eventually("the EU is back", soon(Duration::from_secs(10)), || {
        let seen = proxy.rollout();
        (seen["cohorts"][0]["back"] == true)
            .then_some(seen.clone())
            .ok_or(seen.to_string())
    });
    assert_eq!(back["phase"], "holding", "{back}");
    std::thread::sleep(Duration::from_millis(100));
    assert!(load.finish().errors() > 0);
    let records = {
        let load = eu(200).start(proxy.address("in"));
        load.reaches(200);
        load.finish()
    };
    assert_eq!(records.errors(), 0, "nobody of it meets the candidate");
    assert!(records.users_of("v2").is_empty());
    let why = proxy
        .told()
        .into_iter()
        .find(|entry| entry["cohorts_back"][0] == "eu");
    let why = why.expect("the history tells of it");
    assert!(
        why["reason"].as_str().unwrap().contains("cohort eu"),
        "{why}"
    );
    proxy.reaches("holding", 50.0);
    let records = rest.finish();
    assert_eq!(records.errors(), 0);
    assert!(!records.users_of("v2").is_empty(), "the rest goes on");
    proxy.kill();
    proxy.start_again();
    assert_eq!(
        proxy.rollout()["cohorts"][0]["back"],
        true,
        "also after a kill"
    );
}

#[test]
fn who_is_not_done_by_the_deadline_goes_back() {
    let planned = Planned::by(
        "stages: [{ weight: 20%, hold: 200ms, min_requests: 1000 }, { weight: 100% }], deadline: 2s",
    );
    let proxy = planned.start();
    proxy.reaches("holding", 20.0);
    let back = proxy.reaches("rolled_back", 0.0);
    assert_eq!(back["cause"], "deadline", "{back}");
    until("it is counted", || {
        let labels = [("rollout", "shop-v2"), ("reason", "deadline")];
        proxy.metrics().sum("tidegate_rollbacks_total", &labels) == 1.0
    });
}
