//! Rollouts and guarded splits that load, and what they mean.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Weekday, date, time};
use jiff::tz::TimeZone;

use super::{good, parsed};
use crate::plan::*;
use crate::*;

const GUARDED: &str = r#"# A weight set by hand, and a guard that takes it back.
version: 1
listeners:
  - name: in
    address: 127.0.0.1:8080
    trusted_headers: [x-user-id]        # whoever calls this listener may say who the user is
admin:
  address: 127.0.0.1:9900
identity:
  user:
    - header: x-user-id
services:
  - name: app
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:3001"] }
      - { name: v2, endpoints: ["127.0.0.1:3002"] }
routes:
  - name: app
    service: app
    rules:
      - name: testers
        when: { header: { name: x-beta, exact: "1" } }
        to: v2
      - name: nordic
        when: { region: { country: [SE, "NO", FI] } }
        to: v1
      - name: everyone                  # its guard appears as the rollout "app.everyone"
        split:
          by: user
          weights: { v2: 20%, v1: 80% }
          guard:
            error_rate: { above: 5%, window: 10s, min_requests: 50 }
"#;

const ROLLOUT: &str = r#"# Stage by stage, guarded, with fallback: a failing candidate costs its users nothing.
version: 1
listeners:
  - name: in
    address: 127.0.0.1:8080
    trusted_headers: [x-user-id]        # whoever calls this listener may say who the user is
admin:
  address: 127.0.0.1:9900
identity:
  user:
    - header: x-user-id
    - assign_cookie: tidegate_id
services:
  - name: shop
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:3001"] }
      - { name: v2, endpoints: ["127.0.0.1:3002"] }
rollouts:
  - name: shop-v2
    service: shop
    candidate: v2
    by: user
    fallback: stable
    stages:
      - { weight: 1%,  hold: 10m, min_requests: 200 }
      - { weight: 5%,  hold: 20m, min_requests: 500 }
      - { weight: 25%, hold: 30m }
      - { weight: 50%, hold: 30m, approve: true }
      - { weight: 100% }
    bake: 1h
    deadline: 24h
    guard:
      error_rate: { above: 5%, window: 30s, min_requests: 50 }
      latency: { quantile: 99%, above: 800ms, window: 30s, min_requests: 100 }
      consecutive_failures: 20
      compare: { false_rollback: 0.1%, min_excess: 0.1% }
routes:
  - name: shop
    match: { hosts: ["shop.example.com"], path: { prefix: / } }
    service: shop
    rules:
      - name: everyone
        rollout: shop-v2
"#;

/// A rollout that says all that can be said.
const WHOLE: &str = r#"version: 1
runtime: { state_dir: ./state }
geo: { header: x-region }
listeners: [{ name: in, address: 127.0.0.1:8080, trusted_headers: [x-user-id, x-region] }]
identity: { user: [{ header: x-user-id }] }
services:
  - name: checkout
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:3001"] }
      - { name: v2, endpoints: ["127.0.0.1:3002"] }
routes:
  - service: checkout
    rules: [{ rollout: checkout-2.4.0 }]
rollouts:
  - name: checkout-2.4.0
    service: checkout
    candidate: v2
    by: user                            # user | random | client_address | header:NAME | cookie:NAME
    salt: checkout-2.4.0                # defaults to the name
    fallback: stable                    # an idempotent request that the candidate failed is answered by stable
    cohorts:                            # judged apart as well: one may go back while the rest goes on
      - { name: eu, when: { region: { continent: [EU] } } }
    stages:
      - { mirror: 10%, hold: 5m }       # shadow traffic first: answers thrown away
      - { weight: 1%, hold: 5m, min_requests: 200 }
      - { weight: 25%, hold: 30m, max_hold: 6h }
      - { weight: 50%, hold: 30m, approve: true }
      - { weight: 100% }
    bake: 2h
    deadline: 48h                       # not finished by then: rolled back
    on_regression: rollback             # rollback | pause | alert
    windows:
      allow: [{ days: [mon, tue, wed, thu], from: "09:30", to: "16:00", zone: Asia/Shanghai }]
      deny: [{ name: national-day, from: "2026-09-30T00:00", to: "2026-10-08T09:00", zone: Asia/Shanghai }]
    gates:
      - { name: e2e, before_stage: 3, http: "http://127.0.0.1:7000/gate", timeout: 5s, on_error: hold }
    guard:
      failures: [5xx, connect, timeout, reset, "grpc:13", "grpc:14"]
      error_rate: { above: 5%, window: 30s, min_requests: 50 }
      latency: { quantile: 99%, above: 800ms, window: 30s, min_requests: 100 }
      consecutive_failures: 20
      compare: { false_rollback: 0.1%, min_excess: 0.1% }
      metrics:
        - { name: orders_failed, pushed: true }
        - name: pay_success
          prometheus: { url: "http://127.0.0.1:9090", query: "sum(rate(pay_ok[1m]))/sum(rate(pay[1m]))", every: 15s }
          below: 98%
          for: 2m
          on_no_data: hold

"#;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn share(text: &str) -> Share {
    text.parse().unwrap()
}

/// The targets of a route's rules.
fn targets(config: &Config, route: usize) -> Vec<&Target> {
    let Action::Forward(forward) = &config.routes[route].action else {
        panic!("it forwards")
    };
    forward.rules.iter().map(|rule| &rule.target).collect()
}

fn stages(rollout: &Rollout) -> &Stages {
    match &rollout.plan {
        Plan::Stages(stages) => stages,
        Plan::Split(_) => panic!("it goes by stages"),
    }
}

fn codes(text: &str) -> Vec<&'static str> {
    parsed(text).problems.iter().map(|p| p.code).collect()
}

#[test]
fn a_split_with_a_guard_is_a_rollout_of_one_weight() {
    let config = good(GUARDED);
    assert_eq!(
        codes(GUARDED),
        ["T903"],
        "only the region that nobody tells"
    );
    let [rollout] = config.rollouts.as_slice() else {
        panic!("one rollout")
    };
    assert_eq!(targets(&config, 0)[2], &Target::Rollout(0));
    assert_eq!(
        rollout,
        &Rollout {
            name: "app.everyone".to_owned(),
            service: 0,
            candidate: 1,
            by: SplitBy::User,
            salt: "app.everyone".to_owned(),
            shares_salt: false,
            fallback: false,
            cohorts: Vec::new(),
            plan: Plan::Split(Share::FIFTH),
            guard: Guard {
                failures: Failures::default(),
                error_rate: Some(ErrorRate {
                    above: share("5%"),
                    window: Duration::from_secs(10),
                    min_requests: 50,
                }),
                latency: None,
                consecutive_failures: None,
                compare: Some(Compare::default()),
                metrics: Vec::new(),
            },
            on_regression: OnRegression::Rollback,
        }
    );
}

#[test]
fn a_rollout_climbs_its_stages() {
    let config = good(ROLLOUT);
    assert_eq!(parsed(ROLLOUT).problems, []);
    assert_eq!(targets(&config, 0), [&Target::Rollout(0)]);
    let rollout = &config.rollouts[0];
    assert_eq!(
        (rollout.name.as_str(), rollout.salt.as_str()),
        ("shop-v2", "shop-v2")
    );
    assert!(rollout.fallback);
    let plan = stages(rollout);
    let told: Vec<_> = plan
        .stages
        .iter()
        .map(|stage| (stage.carries, stage.hold, stage.min_requests, stage.approve))
        .collect();
    let weight = |text| Carries::Weight(share(text));
    assert_eq!(
        told,
        [
            (weight("1%"), minutes(10), 200, false),
            (weight("5%"), minutes(20), 500, false),
            (weight("25%"), minutes(30), MIN_REQUESTS, false),
            (weight("50%"), minutes(30), MIN_REQUESTS, true),
            (weight("100%"), Duration::ZERO, 0, false),
        ]
    );
    assert_eq!(
        (plan.bake, plan.deadline),
        (minutes(60), Some(minutes(24 * 60)))
    );
    assert_eq!(rollout.guard.consecutive_failures, Some(20));
    assert_eq!(
        rollout.guard.latency,
        Some(Latency {
            quantile: share("99%"),
            above: Duration::from_millis(800),
            window: Duration::from_secs(30),
            min_requests: 100,
        })
    );
}

#[test]
fn everything_that_a_rollout_can_say_arrives() {
    let config = good(WHOLE);
    assert_eq!(parsed(WHOLE).problems, []);
    assert_eq!(config.runtime.state_dir.as_deref(), Some("./state".as_ref()));
    let rollout = &config.rollouts[0];
    assert_eq!(rollout.cohorts[0].name, "eu");
    assert!(matches!(&rollout.cohorts[0].when, When::Region(region) if region.continent == ["EU"]));
    let plan = stages(rollout);
    assert_eq!(plan.stages[0].carries, Carries::Mirror(share("10%")));
    assert_eq!(plan.stages[2].max_hold, Some(minutes(6 * 60)));
    assert_eq!(
        plan.gates,
        [Gate {
            name: "e2e".to_owned(),
            before_stage: 3,
            url: "http://127.0.0.1:7000/gate".to_owned(),
            timeout: Duration::from_secs(5),
        }]
    );
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let [allow] = plan.windows.allow.as_slice() else {
        panic!("one window")
    };
    let days = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
    ];
    assert_eq!(
        allow.days,
        days.map(Day).into_iter().collect::<BTreeSet<_>>()
    );
    assert_eq!(
        (allow.from, allow.until),
        (time(9, 30, 0, 0), time(16, 0, 0, 0))
    );
    assert_eq!(allow.zone.iana_name(), zone.iana_name());
    let [deny] = plan.windows.deny.as_slice() else {
        panic!("one window")
    };
    assert_eq!(deny.name, "national-day");
    assert_eq!(
        (deny.from, deny.until),
        (
            date(2026, 9, 30).at(0, 0, 0, 0),
            date(2026, 10, 8).at(9, 0, 0, 0)
        )
    );
    let guard = &rollout.guard;
    assert_eq!(guard.failures.statuses, (500..600).collect());
    assert_eq!(guard.failures.grpc, [13, 14].into());
    assert_eq!(guard.metrics[0].source, MetricSource::Pushed);
    assert_eq!(
        guard.metrics[1].source,
        MetricSource::Prometheus(PrometheusQuery {
            url: "http://127.0.0.1:9090".to_owned(),
            query: "sum(rate(pay_ok[1m]))/sum(rate(pay[1m]))".to_owned(),
            every: Duration::from_secs(15),
            bad: Bad::Below(0.98),
            lasting: minutes(2),
        })
    );
}
