//! The examples of rollouts: each goes its way before real backends, steered as an operator steers it.

use std::time::Duration;

use serde_json::Value;

use super::{Exercise, PROMETHEUS, Stage, exercise};
use crate::harness::{Conn, Load, Mood, Steady, Tells, command, eventually, soon};

/// The examples of rollouts by file name; each has a test of its own, for they take their time.
pub(super) const EXERCISES: &[(&str, Exercise)] = &[
    ("blue_green.yaml", blue_green),
    ("business_metrics.yaml", business_metrics),
    ("guarded.yaml", guarded),
    ("rolling.yaml", rolling),
    ("rollout.yaml", rollout),
    ("windows_and_gates.yaml", windows_and_gates),
];

#[test]
fn green_is_shown_switched_to_and_left_in_an_instant() {
    exercise("blue_green.yaml");
}

#[test]
fn orders_and_payments_send_a_version_back_and_a_silent_store_holds_it() {
    exercise("business_metrics.yaml");
}

#[test]
fn a_weight_by_hand_goes_back_by_itself() {
    exercise("guarded.yaml");
}

#[test]
fn the_weight_follows_the_machines_of_a_rolling_replacement() {
    exercise("rolling.yaml");
}

#[test]
fn a_rollout_climbs_waits_for_approval_bakes_and_costs_nobody_an_error() {
    exercise("rollout.yaml");
}

#[test]
fn growth_waits_for_windows_and_gates_and_a_rollback_for_nobody() {
    exercise("windows_and_gates.yaml");
}

/// What an example's file says, and what a test that must end soon puts there instead.
pub(super) const SHORTER: &[(&str, &[(&str, &str)])] = &[
    ("business_metrics.yaml", SHORTER_METRICS),
    ("rolling.yaml", SHORTER_ROLLING),
    ("rollout.yaml", SHORTER_ROLLOUT),
    ("windows_and_gates.yaml", SHORTER_WINDOWS),
];

/// A step of a rollout with short holds comes within this.
const STEP: Duration = Duration::from_secs(20);

const SHORTER_ROLLOUT: &[(&str, &str)] = &[
    (
        "hold: 10m, min_requests: 200",
        "hold: 500ms, min_requests: 5",
    ),
    (
        "hold: 20m, min_requests: 500",
        "hold: 500ms, min_requests: 20",
    ),
    ("hold: 30m", "hold: 500ms"),
    ("bake: 1h", "bake: 1s"),
];

const SHORTER_ROLLING: &[(&str, &str)] = &[
    ("interval: 1s, timeout: 1s", "interval: 100ms, timeout: 1s"),
    ("hold: 1m", "hold: 1s"),
    ("bake: 10m", "bake: 1s"),
];

const SHORTER_WINDOWS: &[(&str, &str)] = &[
    ("hold: 1h", "hold: 300ms"),
    // Whatever day it is, every hour is an office hour.
    (
        "days: [mon, tue, wed, thu], from: \"09:30\", to: \"16:00\"",
        "days: [mon, tue, wed, thu, fri, sat, sun], from: \"00:00\", to: \"24:00\"",
    ),
    // And the holidays are long ago, until a test needs some.
    (
        "from: \"2026-12-18T12:00\", to: \"2027-01-04T09:00\"",
        HOLIDAYS_OVER,
    ),
];
const HOLIDAYS_OVER: &str = "from: \"2020-12-18T12:00\", to: \"2021-01-04T09:00\"";

/// From yesterday until next week.
fn holidays_now() -> String {
    let now = jiff::Zoned::now().datetime();
    let at = |hours: i64| {
        now.checked_add(jiff::SignedDuration::from_hours(hours))
            .unwrap()
    };
    let minute = |at: jiff::civil::DateTime| at.strftime("%Y-%m-%dT%H:%M").to_string();
    format!(
        "from: \"{}\", to: \"{}\"",
        minute(at(-24)),
        minute(at(7 * 24))
    )
}

const SHORTER_METRICS: &[(&str, &str)] = &[
    ("hold: 1h, min_requests: 500", "hold: 2s, min_requests: 50"),
    ("every: 15s", "every: 1s"),
    ("for: 2m", "for: 2s"),
];

impl Stage {
    fn rollout(&self, name: &str) -> Value {
        let path = format!("/api/v1/rollouts/{name}");
        self.proxy.ask("GET", &path, "").json()
    }

    /// Waits until the rollout is in this phase at this weight.
    #[track_caller]
    fn comes_to(&self, name: &str, phase: &str, weight: f64) -> Value {
        let what = format!("{name} is {phase} at {weight} %");
        eventually(&what, soon(STEP), || {
            let seen = self.rollout(name);
            let is = seen["phase"] == phase && seen["weight"].as_f64() == Some(weight);
            is.then(|| seen.clone()).ok_or_else(|| seen.to_string())
        })
    }

    /// Waits until the rollout says why it stands where it stands.
    #[track_caller]
    fn says(&self, name: &str, words: &str) {
        eventually(&format!("{name} says {words:?}"), soon(STEP), || {
            let seen = self.rollout(name);
            let reason = seen["reason"].as_str().unwrap_or_default();
            reason
                .contains(words)
                .then_some(())
                .ok_or_else(|| seen.to_string())
        });
    }

    /// `tidegate rollout VERB NAME`.
    #[track_caller]
    fn order(&self, verb: &str, name: &str) {
        let admin = format!("http://{}", self.proxy.admin());
        let output = command(&["rollout", verb, name, "--admin", &admin], "");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{verb} {name}: {told}");
    }

    fn users_ask(&self, rate: usize) -> Load {
        Steady::new(rate, 8).start(self.proxy.address(&self.listener))
    }
}

fn guarded(stage: &Stage) {
    let name = "app.everyone";
    stage.comes_to(name, "holding", 20.0);
    let share = stage.share("x-user-id: {}", "v2", 1000);
    assert!(
        (16.0..=24.0).contains(&share),
        "one user in five, here {share} %"
    );
    let load = stage.users_ask(200);
    stage.backend("v2", 0).turn(Mood::Fails(500));
    stage.comes_to(name, "rolled_back", 0.0);
    stage.backend("v2", 0).turn(Mood::Well);
    assert_eq!(
        stage.share("x-user-id: {}", "v2", 500),
        0.0,
        "everybody is back"
    );
    stage.order("retry", name);
    assert_eq!(stage.comes_to(name, "holding", 20.0)["attempt"], 2);
    stage.order("rollback", name);
    stage.comes_to(name, "rolled_back", 0.0);
    stage.rewrite("v2: 20%, v1: 80%", "v2: 10%, v1: 90%");
    stage.comes_to(name, "holding", 10.0);
    load.finish();
}

fn rollout(stage: &Stage) {
    let name = "shop-v2";
    let load = stage.users_ask(400);
    stage.comes_to(name, "waiting", 25.0);
    stage.says(name, "appro");
    stage.backend("v2", 0).turn(Mood::Fails(500));
    stage.comes_to(name, "rolled_back", 0.0);
    stage.backend("v2", 0).turn(Mood::Well);
    stage.order("retry", name);
    stage.comes_to(name, "waiting", 25.0);
    stage.order("approve", name);
    stage.comes_to(name, "succeeded", 100.0);
    let records = load.finish();
    assert_eq!(records.errors(), 0, "v1 answered where v2 failed");
    assert_eq!(stage.share("x-user-id: {}", "v2", 200), 100.0);
    let history = stage
        .proxy
        .ask("GET", "/api/v1/history?rollout=shop-v2", "")
        .json();
    let text = history.to_string();
    for phase in ["rolled_back", "waiting", "baking", "succeeded"] {
        assert!(
            text.contains(phase),
            "{phase} stands in the history: {text}"
        );
    }
}

fn blue_green(stage: &Stage) {
    let served_by = |version: &str| {
        let answer = stage.connect().get("/", &[]);
        assert_eq!(
            (answer.version(), answer.header("x-served-by")),
            (version, version)
        );
        let preview = stage.version(&["x-preview: green"]);
        assert_eq!(preview, "green", "the preview leads to green at any time");
    };
    stage.comes_to("green", "waiting", 0.0);
    served_by("blue");
    stage.order("approve", "green");
    stage.comes_to("green", "baking", 100.0);
    served_by("green");
    let open: &mut Conn = &mut stage.connect();
    assert_eq!(open.get("/", &[]).version(), "green");
    stage.order("rollback", "green");
    assert_eq!(
        open.get("/", &[]).version(),
        "blue",
        "on a connection that was open"
    );
    served_by("blue");
    let seen = stage.comes_to("green", "rolled_back", 0.0);
    assert_eq!(seen["cause"], "operator", "{seen}");
}

fn rolling(stage: &Stage) {
    let name = "app-v2";
    let load = stage.users_ask(400);
    std::thread::sleep(Duration::from_secs(1));
    let seen = stage.rollout(name);
    assert_eq!(seen["weight"], 0.0, "no machine of v2 is up: {seen}");
    assert!(
        seen["reason"].as_str().unwrap().contains("endpoint"),
        "and it says so: {seen}"
    );
    // One of the new version comes up, one of the old one goes, and so on.
    for (version, nth, healthy, weight) in [
        ("v2", 0, true, 33.333),
        ("v1", 0, false, 50.0),
        ("v2", 1, true, 66.666),
    ] {
        stage.backend(version, nth).set_healthy(healthy);
        stage.comes_to(name, "holding", weight);
    }
    stage.order("promote", name);
    stage.comes_to(name, "succeeded", 100.0);
    stage.backend("v1", 1).set_healthy(false);
    let records = load.finish();
    assert_eq!(records.errors(), 0, "nobody saw an error");
    assert_eq!(stage.share("x-user-id: {}", "v2", 200), 100.0);
}

fn windows_and_gates(stage: &Stage) {
    let (name, gate, holidays) = ("app-v2", stage.backend("e2e", 0), holidays_now());
    gate.turn(Mood::Fails(503));
    stage.comes_to(name, "holding", 5.0);
    stage.rewrite(HOLIDAYS_OVER, &holidays);
    let load = stage.users_ask(600);
    stage.says(name, "holidays");
    stage.comes_to(name, "waiting", 5.0);

    stage.rewrite(&holidays, HOLIDAYS_OVER);
    stage.says(name, "e2e");
    stage.comes_to(name, "waiting", 5.0);

    stage.rewrite(HOLIDAYS_OVER, &holidays);
    stage.says(name, "holidays");
    stage.backend("v2", 0).turn(Mood::Fails(500));
    stage.comes_to(name, "rolled_back", 0.0);

    stage.backend("v2", 0).turn(Mood::Well);
    gate.turn(Mood::Well);
    stage.order("retry", name);
    stage.says(name, "holidays");
    stage.rewrite(&holidays, HOLIDAYS_OVER);
    stage.comes_to(name, "holding", 50.0);
    load.finish();
}

fn business_metrics(stage: &Stage) {
    let name = "shop-v2";
    let (gauges, _) = stage.store.as_ref().expect(PROMETHEUS);
    gauges.set("payments", 0.0);
    gauges.set("payments_ok", 0.0);
    let load = stage.users_ask(400);
    stage.comes_to(name, "holding", 10.0);
    stage.says(name, "payments_succeed has no value");
    let seen = stage.rollout(name);
    assert_eq!(seen["weight"], 10.0, "without data it holds: {seen}");

    // Orders fail for users of v2, and for nobody else.
    for user in 0..200 {
        let bad = stage.version(&[&format!("x-user-id: buyer-{user}")]) == "v2";
        let told = format!(
            "{{\"rollout\":\"{name}\",\"metric\":\"orders_failed\",\"user\":\"buyer-{user}\",\"bad\":{bad}}}"
        );
        let answer = stage.proxy.ask("POST", "/api/v1/observations", &told);
        assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    }
    let seen = stage.comes_to(name, "rolled_back", 0.0);
    assert!(
        seen["reason"].as_str().unwrap().contains("orders_failed"),
        "{seen}"
    );

    // Payments are counted and succeed: it grows. They fail: it goes back.
    stage.order("retry", name);
    stage.comes_to(name, "holding", 10.0);
    // Once these are stored, an increase can be seen.
    stage.says(name, "the query gives NaN, as 0/0 does");
    gauges.set("payments", 1000.0);
    gauges.set("payments_ok", 1000.0);
    stage.comes_to(name, "holding", 50.0);
    gauges.set("payments", 2000.0);
    let seen = stage.comes_to(name, "rolled_back", 0.0);
    assert!(
        seen["reason"]
            .as_str()
            .unwrap()
            .contains("payments_succeed"),
        "{seen}"
    );
    load.finish();
}
