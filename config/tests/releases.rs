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
    assert_eq!(
        config.runtime.state_dir.as_deref(),
        Some("./state".as_ref())
    );
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
            authorities: None,
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
            authorities: None,
            query: "sum(rate(pay_ok[1m]))/sum(rate(pay[1m]))".to_owned(),
            every: Duration::from_secs(15),
            bad: Bad::Below(0.98),
            lasting: minutes(2),
        })
    );
}

/// Two services with two versions each, and users who are known.
const HEAD: &str = r#"version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
identity: { user: [{ assign_cookie: id }] }
services:
  - { name: app, stable: v1, versions: [{ name: v1, endpoints: ["127.0.0.1:1"] }, { name: v2, endpoints: ["127.0.0.1:2"] }] }
  - { name: web, stable: w1, versions: [{ name: w1, endpoints: ["127.0.0.1:3"] }, { name: w2, endpoints: ["127.0.0.1:4"] }] }
"#;

/// A rollout of `app` with these further keys, and a rule that names it.
fn with(keys: &str) -> String {
    format!(
        "{HEAD}routes: [{{ service: app, rules: [{{ rollout: r }}] }}]\n\
         rollouts: [{{ name: r, service: app, candidate: v2, {keys} }}]\n"
    )
}

/// The only rollout of a file without any problem.
#[track_caller]
fn only(text: &str) -> Rollout {
    assert_eq!(parsed(text).problems, []);
    let mut rollouts = good(text).rollouts;
    assert_eq!(rollouts.len(), 1);
    rollouts.remove(0)
}

const STAGES: &str = "stages: [{ weight: 5%, hold: 1m }]";

#[test]
fn a_rollout_without_a_guard_is_compared_and_nothing_else() {
    let rollout = only(&with(STAGES));
    let guard = Guard {
        failures: Failures::default(),
        error_rate: None,
        latency: None,
        consecutive_failures: None,
        compare: Some(Compare::default()),
        metrics: Vec::new(),
    };
    assert_eq!(rollout.guard, guard);
    assert_eq!(rollout.by, SplitBy::User, "users are known here");
    assert_eq!(
        (rollout.fallback, rollout.on_regression),
        (false, OnRegression::Rollback)
    );
    let plan = stages(&rollout);
    assert_eq!(
        (plan.bake, plan.deadline, &plan.windows),
        (Duration::ZERO, None, &Windows::default())
    );
}

#[test]
fn comparison_is_off_only_where_the_file_says_so() {
    let compare = |text: &str| {
        only(&with(&format!(
            "{STAGES}, guard: {{ consecutive_failures: 5, {text} }}"
        )))
        .guard
        .compare
    };
    let parts = |false_rollback, min_excess| {
        Some(Compare {
            false_rollback: share(false_rollback),
            min_excess: share(min_excess),
        })
    };
    assert_eq!(compare(""), Some(Compare::default()));
    assert_eq!(compare("compare: true"), Some(Compare::default()));
    assert_eq!(compare("compare: false"), None);
    assert_eq!(compare("compare: {}"), Some(Compare::default()));
    assert_eq!(compare("compare: { min_excess: 0% }"), parts("0.1%", "0%"));
    assert_eq!(
        compare("compare: { false_rollback: 50% }"),
        parts("50%", "0.1%")
    );
}

#[test]
fn thresholds_have_defaults_where_they_say_little() {
    let guard = "guard: { error_rate: { above: 1% }, latency: { above: 2s } }";
    let guard = only(&with(&format!("{STAGES}, {guard}"))).guard;
    let window = Duration::from_secs(30);
    assert_eq!(
        (guard.error_rate, guard.latency),
        (
            Some(ErrorRate {
                above: share("1%"),
                window,
                min_requests: 50
            }),
            Some(Latency {
                quantile: share("99%"),
                above: Duration::from_secs(2),
                window,
                min_requests: 100
            })
        )
    );
}

#[test]
fn failures_are_what_the_file_lists_and_nothing_else() {
    let failures = |list: &str| {
        only(&with(&format!("{STAGES}, guard: {{ failures: [{list}] }}")))
            .guard
            .failures
    };
    let none = Failures {
        statuses: BTreeSet::new(),
        connect: false,
        timeout: false,
        reset: false,
        grpc: BTreeSet::new(),
    };
    assert_eq!(
        failures("4xx, \"503\""),
        Failures {
            statuses: (400..500).chain([503]).collect(),
            ..none.clone()
        }
    );
    assert_eq!(
        failures("connect, timeout, reset, \"grpc:0\", \"grpc:16\""),
        Failures {
            connect: true,
            timeout: true,
            reset: true,
            grpc: [0, 16].into(),
            ..none
        }
    );
}

#[test]
fn a_bad_value_of_a_metric_is_a_number_or_a_share() {
    for (text, bad) in [
        ("above: 3", Bad::Above(3.0)),
        ("above: -0.5", Bad::Above(-0.5)),
        ("below: 1e3", Bad::Below(1000.0)),
        ("below: 99.9%", Bad::Below(0.999)),
    ] {
        let metric =
            format!("{{ name: m, prometheus: {{ url: \"http://p:9090/x\", query: up }}, {text} }}");
        let guard = only(&with(&format!(
            "{STAGES}, guard: {{ metrics: [{metric}] }}"
        )))
        .guard;
        let MetricSource::Prometheus(query) = &guard.metrics[0].source else {
            panic!("it is asked for")
        };
        assert_eq!(
            (query.bad, query.every),
            (bad, Duration::from_secs(15)),
            "{text}"
        );
    }
}

#[test]
fn a_stage_waits_for_requests_unless_it_is_a_last_one_without_a_hold() {
    let waits = |text: &str| -> Vec<u64> {
        let rollout = only(&with(&format!("bake: 1m, stages: [{text}]")));
        stages(&rollout)
            .stages
            .iter()
            .map(|stage| stage.min_requests)
            .collect()
    };
    assert_eq!(waits("{ weight: 5% }, { weight: 100% }"), [50, 0]);
    assert_eq!(waits("{ weight: 5% }, { weight: 50%, hold: 1m }"), [50, 50]);
    assert_eq!(
        waits("{ weight: 5%, min_requests: 0 }, { weight: 100%, min_requests: 7 }"),
        [0, 7]
    );
}

#[test]
fn a_rolling_replacement_goes_by_endpoints() {
    let text = with(
        "stages: [{ mirror: 1%, hold: 1m }, { weight: 1%, hold: 1m }, { weight: by_endpoints }, { weight: 100% }]",
    );
    let carries: Vec<Carries> = stages(&only(&text))
        .stages
        .iter()
        .map(|stage| stage.carries)
        .collect();
    assert_eq!(
        carries[2..],
        [Carries::ByEndpoints, Carries::Weight(Share::FULL)]
    );
    only(&with("stages: [{ weight: by_endpoints }]"));
}

#[test]
fn windows_may_end_at_midnight_go_over_it_and_stand_on_every_day() {
    let windows = |text: &str| match only(&with(&format!("{STAGES}, windows: {{ {text} }}"))).plan {
        Plan::Stages(stages) => stages.windows,
        Plan::Split(_) => panic!("it goes by stages"),
    };
    let hours = |text: &str| {
        let windows = windows(&format!("allow: [{{ {text}, zone: UTC }}]"));
        let allow = &windows.allow[0];
        (allow.from, allow.until, allow.days.len())
    };
    let midnight = time(0, 0, 0, 0);
    assert_eq!(
        hours("from: \"00:00\", to: \"24:00\""),
        (midnight, midnight, 7)
    );
    assert_eq!(
        hours("from: 09:00, to: \"24:00\", days: [sun]"),
        (time(9, 0, 0, 0), midnight, 1)
    );
    assert_eq!(
        hours("from: 22:00, to: 02:00"),
        (time(22, 0, 0, 0), time(2, 0, 0, 0), 7)
    );
    // A year is long, and it ends; weeks that touch each other end too.
    windows(
        "deny: [{ name: a, from: 2026-01-01T00:00, to: 2027-01-01T00:00, zone: America/New_York }]",
    );
    windows(
        "allow: [{ days: [mon], from: 23:00, to: 01:00, zone: Asia/Kolkata }], deny: [{ name: a, from: 2026-01-01T00:00, to: 2027-01-01T00:00, zone: UTC }, { name: b, from: 2027-01-08T00:00, to: 2027-12-01T00:00, zone: UTC }]",
    );
}

#[test]
fn a_calendar_full_of_windows_is_read_in_good_time() {
    let allow = "{ days: [mon], from: 09:00, to: 09:01, zone: Europe/Berlin }, ".repeat(32);
    let deny: String = (0..100)
        .map(|n| {
            let (year, month) = (2026 + n / 12, 1 + n % 12);
            format!("{{ name: d{n}, from: {year}-{month:02}-01T00:00, to: {year}-{month:02}-28T00:00, zone: Asia/Tokyo }}, ")
        })
        .collect();
    let start = std::time::Instant::now();
    parsed(&with(&format!(
        "{STAGES}, windows: {{ allow: [{allow}], deny: [{deny}] }}"
    )));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn the_candidate_of_a_guarded_split_is_its_one_version_beside_stable() {
    let split = |weights: &str| {
        let text = format!(
            "{HEAD}routes: [{{ service: app, rules: [{{ name: all, split: {{ weights: {weights}, guard: {{}} }} }}] }}]\n"
        );
        let rollout = only(&text);
        (rollout.candidate, rollout.plan)
    };
    assert_eq!(
        split("{ v1: 90%, v2: 10% }"),
        (1, Plan::Split(share("10%")))
    );
    assert_eq!(split("{ v2: 0%, v1: 100% }"), (1, Plan::Split(Share::ZERO)));
    assert_eq!(split("{ v2: 100% }"), (1, Plan::Split(Share::FULL)));
}

#[test]
fn written_rollouts_come_first_and_guarded_splits_in_the_order_of_routes() {
    let text = format!(
        "{HEAD}routes:
  - {{ service: web, rules: [{{ name: all, split: {{ weights: {{ w1: 99%, w2: 1% }}, guard: {{}} }} }}] }}
  - service: app
    match: {{ hosts: [a.b] }}
    rules:
      - {{ rollout: second, when: {{ method: [GET] }} }}
      - {{ name: puts, when: {{ method: [PUT] }}, split: {{ weights: {{ v1: 99%, v2: 1% }}, guard: {{}} }} }}
      - {{ rollout: first, when: {{ method: [HEAD] }} }}
      - {{ rollout: second }}
rollouts:
  - {{ name: first, service: app, candidate: v2, {STAGES} }}
  - {{ name: second, service: app, candidate: v2, {STAGES} }}
"
    );
    assert_eq!(parsed(&text).problems, []);
    let config = good(&text);
    let names: Vec<&str> = config.rollouts.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "web.all", "app.puts"]);
    assert_eq!(targets(&config, 0), [&Target::Rollout(2)]);
    assert_eq!(
        targets(&config, 1),
        [1, 3, 0, 1].map(Target::Rollout).iter().collect::<Vec<_>>()
    );
    assert_eq!(config.rollouts[2].service, 1);
}

#[test]
fn who_shares_a_salt_is_not_compared() {
    let shares = |first: &str, second: &str, third: &str| -> Vec<bool> {
        let text = format!(
            "{HEAD}routes:
  - service: app
    rules:
      - {{ when: {{ method: [GET] }}, rollout: a }}
      - {{ name: g, when: {{ method: [PUT] }}, split: {{ {second} weights: {{ v1: 99%, v2: 1% }}, guard: {{ consecutive_failures: 9, compare: false }} }} }}
      - {{ name: s, split: {{ {third} weights: {{ v1: 99%, v2: 1% }} }} }}
rollouts: [{{ name: a, service: app, candidate: v2, {first} {STAGES}, guard: {{ consecutive_failures: 9, compare: false }} }}]
"
        );
        assert_eq!(parsed(&text).problems, [], "nobody asked for a comparison");
        good(&text).rollouts.iter().map(|r| r.shares_salt).collect()
    };
    assert_eq!(
        shares("", "", ""),
        [false, false],
        "by default everyone has a salt"
    );
    assert_eq!(shares("salt: x,", "salt: x,", ""), [true, true]);
    assert_eq!(
        shares("salt: x,", "", "salt: x,"),
        [true, false],
        "with a plain split"
    );
    assert_eq!(
        shares("", "", "salt: a,"),
        [true, false],
        "the default salt is the name"
    );
    assert_eq!(
        shares("salt: x,", "salt: x, by: client_address,", ""),
        [false, false],
        "another key"
    );
    assert_eq!(
        shares("salt: x, by: random,", "salt: x, by: random,", ""),
        [false, false],
        "dice"
    );
}

#[test]
fn a_rollout_whose_candidate_became_stable_still_loads() {
    let text = with(STAGES).replace("name: app, stable: v1", "name: app, stable: v2");
    let loaded = parsed(&text);
    let codes: Vec<_> = loaded
        .problems
        .iter()
        .map(|p| (p.code, p.is_error()))
        .collect();
    assert_eq!(codes, [("T909", false)]);
    let config = loaded.config.unwrap();
    assert!(config.rollouts[0].is_superseded(config.services[0].stable));
}

#[test]
fn all_that_is_wrong_with_a_plan_is_told_at_once() {
    let text = format!(
        "{HEAD}routes: [{{ service: web, rules: [{{ rollout: r }}] }}]
rollouts:
  - name: r
    service: app
    candidate: v3
    stages:
      - {{ weight: 25%, hold: 10m, max_hold: 5m }}
      - {{ weight: 5%, hold: 2h }}
    deadline: 1h
    windows: {{ allow: [{{ from: 09:00, to: 09:00, zone: Mars/Olympus }}] }}
    gates: [{{ name: g, before_stage: 7, http: nowhere }}]
    guard: {{ error_rate: {{ above: 100%, window: 0s, min_requests: 0 }} }}
"
    );
    let told: Vec<String> = parsed(&text)
        .problems
        .iter()
        .map(|p| format!("{} {}", p.line, p.code))
        .collect();
    assert_eq!(
        told,
        [
            "7 T207", "11 T201", "13 T314", "14 T318", "15 T314", "16 T320", "16 T319", "17 T302",
            "17 T304", "18 T302", "18 T302", "18 T302"
        ]
    );
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told_at_its_line() {
    let found = Problem {
        path: "runtime.state_dir".to_owned(),
        ..Problem::of_file("T401", "tidegate.yaml".into(), "it is full", "make room")
    };
    let placed = parsed(WHOLE).place(found);
    assert_eq!((placed.line, placed.column), (2, 23));
}
