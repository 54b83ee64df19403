//! Who may steer a rollout, how, and who hears of it.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Conn, Launch, Planned, Proxy, soon};

const HALF: &str = "stages: [{ weight: 50%, hold: 10m }, { weight: 100%, approve: true }]";
const TOKENS: [(&str, &str); 4] = [
    ("viewer", "look-at-it-well"),
    ("operator", "hold-it-tight-now"),
    ("approver", "let-it-go-on-then"),
    ("admin", "all-of-it-please"),
];

fn with_token(proxy: &Proxy, token: &str, method: &str, target: &str, body: &str) -> Answer {
    let header = format!("Authorization: Bearer {token}");
    let mut conn = Conn::open(proxy.admin());
    conn.with_admin_host(proxy.admin()).request(
        method,
        target,
        &[&header, "Content-Type: application/json"],
        body.as_bytes(),
    )
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let kind = answer.header("content-type");
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let detail = answer.json()["detail"].as_str().unwrap_or("").to_owned();
    assert!(detail.contains(says), "{says:?} in {detail:?}");
}

#[test]
fn a_role_may_do_what_it_may_and_the_history_names_it() {
    let planned = Planned::by(&format!(
        "{HALF}, guard: {{ metrics: [{{ name: orders_failed, pushed: true }}] }}"
    ));
    let site = planned
        .site
        .clone()
        .with("admin", "{ address: 127.0.0.1:0, tokens_file: ./tokens }");
    let launch = Launch::new(&site);
    let tokens = TOKENS
        .map(|(role, token)| format!("{role}:{token}\n"))
        .concat();
    std::fs::write(launch.folder().join("tokens"), tokens).unwrap();
    let proxy = launch.start();
    let observation = r#"{"rollout":"shop-v2","metric":"orders_failed","user":"a","bad":false}"#;
    // Each order, the least role for it, and what it is answered as things stand.
    let orders = [
        ("retry", 2, 409),
        ("pause", 1, 200),
        ("pause", 1, 409),
        ("resume", 1, 200),
        ("approve", 2, 200),
        ("promote", 2, 200),
        ("rollback", 1, 200),
        ("rollback", 1, 409),
    ];
    for (order, least, answered) in orders {
        let target = format!("/api/v1/rollouts/shop-v2/{order}");
        for (_, token) in &TOKENS[..least] {
            is_problem(&with_token(&proxy, token, "POST", &target, ""), 403, "role");
        }
        let (_, token) = TOKENS[least];
        let answer = with_token(&proxy, token, "POST", &target, r#"{"by":"ada"}"#);
        assert_eq!(answer.status, answered, "{order}: {}", answer.text());
    }
    let target = "/api/v1/observations";
    is_problem(
        &with_token(&proxy, TOKENS[0].1, "POST", target, observation),
        403,
        "role",
    );
    assert_eq!(
        with_token(&proxy, TOKENS[1].1, "POST", target, observation).status,
        204
    );
    is_problem(
        &with_token(&proxy, "nobody-knows-this", "GET", "/api/v1/rollouts", ""),
        401,
        "token",
    );

    let history = with_token(
        &proxy,
        TOKENS[0].1,
        "GET",
        "/api/v1/history?rollout=shop-v2",
        "",
    )
    .json();
    let by = |phase: &str| {
        let mut entries = history.as_array().unwrap().iter();
        let entry = entries.find(|entry| entry["phase"] == phase);
        entry.map(|entry| entry["actor"].as_str().unwrap().to_owned())
    };
    assert_eq!(by("paused").as_deref(), Some("operator (ada)"), "{history}");
    assert_eq!(
        by("rolled_back").as_deref(),
        Some("operator (ada)"),
        "{history}"
    );
    let actors = history.to_string();
    assert!(actors.contains("approver (ada)"), "{history}");
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let ask = |method: &str, target: &str| proxy.ask(method, target, "");
    is_problem(&ask("GET", "/api/v1/rollouts/nobody"), 404, "shop-v2");
    is_problem(&ask("POST", "/api/v1/rollouts/nobody/pause"), 404, "nobody");
    is_problem(&ask("GET", "/api/v1/history?rollout=nobody"), 404, "nobody");
    assert_eq!(ask("POST", "/api/v1/rollouts/shop-v2/forward").status, 404);
    is_problem(&proxy.order("resume"), 409, "not paused");
    is_problem(&proxy.order("retry"), 409, "not rolled back");
    let paused = proxy.obeys("pause");
    assert_eq!(
        (&paused["phase"], &paused["paused_from"]),
        (&"paused".into(), &"holding".into()),
        "the answer tells how it stands now: {paused}"
    );
    is_problem(&proxy.order("pause"), 409, "paused already");
    is_problem(&proxy.order("promote"), 409, "resume it first");
    assert_eq!(proxy.obeys("resume")["phase"], "holding");
    proxy.obeys("approve");
    is_problem(&proxy.order("approve"), 409, "approved already");
    let back = proxy.obeys("rollback");
    assert_eq!(
        (&back["phase"], &back["cause"]),
        (&"rolled_back".into(), &"operator".into())
    );
    for order in ["rollback", "pause", "promote", "approve", "resume"] {
        is_problem(&proxy.order(order), 409, "rolled back");
    }
    let bad = proxy.ask("POST", "/api/v1/rollouts/shop-v2/retry", "not JSON");
    is_problem(&bad, 400, "body");
    let split = planned.site.clone().without("rollouts").rules(
        "[{ name: everyone, split: { by: user, weights: { v2: 20%, v1: 80% }, guard: { consecutive_failures: 5 } } }]",
    );
    proxy.edit(&split);
    let promote = proxy.ask("POST", "/api/v1/rollouts/app.everyone/promote", "");
    is_problem(&promote, 409, "guarded split");
}

#[test]
fn somebody_with_many_words_is_heard_and_cut_short() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let words = "why ".repeat(15_000);
    let body = format!(r#"{{"reason":"{words}","by":"{words}"}}"#);
    assert_eq!(body.len() / 1024, 117, "more than a body may have");
    let target = "/api/v1/rollouts/shop-v2/rollback";
    assert_eq!(proxy.ask("POST", target, &body).status, 413);
    let body = format!(r#"{{"reason":"{}"}}"#, &words[..60_000]);
    assert_eq!(proxy.ask("POST", target, &body).status, 200);
    let last = proxy.told().pop().unwrap();
    let reason = last["reason"].as_str().unwrap();
    assert!(
        reason.contains("why why") && reason.len() < 2_000,
        "{} bytes",
        reason.len()
    );
    proxy.kill();
    proxy.start_again();
    proxy.stays("rolled_back", 0.0);
}

/// Listens to events; what is sent comes by [`Conn::reader`].
fn listener(proxy: &Proxy) -> Conn {
    let mut conn = Conn::open(proxy.admin());
    conn.with_admin_host(proxy.admin());
    conn.send(format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        proxy.admin()
    ));
    conn
}

#[test]
fn a_shift_is_heard_within_a_second_and_a_slow_listener_holds_nothing_up() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let mut hears = listener(&proxy);
    let head = hears.reader.take_until(b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(
        head.contains("200 ok") && head.contains("text/event-stream"),
        "{head}"
    );
    let deaf: Vec<Conn> = (0..20).map(|_| listener(&proxy)).collect();
    for _ in 0..100 {
        let start = Instant::now();
        proxy.obeys("pause");
        proxy.obeys("resume");
        assert!(
            start.elapsed() < soon(Duration::from_secs(2)),
            "{:?}",
            start.elapsed()
        );
    }
    let start = Instant::now();
    proxy.obeys("rollback");
    loop {
        hears
            .reader
            .take_until(b"event: shift\ndata: ")
            .expect("an event");
        let event = hears.reader.take_until(b"\n").unwrap();
        let event: serde_json::Value = serde_json::from_slice(&event).expect("a line of JSON");
        if event["phase"] == "rolled_back" {
            assert_eq!(
                (&event["from"], &event["to"]),
                (&50.0.into(), &0.0.into()),
                "{event}"
            );
            assert_eq!(event["actor"], "ada", "{event}");
            break;
        }
    }
    assert!(
        start.elapsed() < soon(Duration::from_secs(1)),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
    // Nor do listeners keep it from leaving.
    let start = Instant::now();
    proxy.finish();
    assert!(
        start.elapsed() < soon(Duration::from_secs(3)),
        "{:?}",
        start.elapsed()
    );
    drop(deaf);
}

#[test]
fn the_description_for_tools_knows_rollouts() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    let api = proxy.ask("GET", "/openapi.json", "").json();
    let schema = |path: &str, method: &str, status: &str| {
        let content = &api["paths"][path][method]["responses"][status]["content"];
        content["application/json"]["schema"].clone()
    };
    let reference =
        |name: &str| serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
    assert_eq!(
        schema("/api/v1/rollouts", "get", "200")["items"],
        reference("Rollout")
    );
    assert_eq!(
        schema("/api/v1/rollouts/{name}", "get", "200"),
        reference("Rollout")
    );
    assert_eq!(
        schema("/api/v1/history", "get", "200")["items"],
        reference("Entry")
    );
    for order in ["pause", "resume", "promote", "approve", "rollback", "retry"] {
        let path = format!("/api/v1/rollouts/{{name}}/{order}");
        let operation = &api["paths"][&path]["post"];
        assert_eq!(
            schema(&path, "post", "200"),
            reference("Rollout"),
            "{order}"
        );
        assert_eq!(
            operation["parameters"][0]["name"], "name",
            "{order}: {operation}"
        );
        assert_eq!(
            operation["parameters"][0]["in"], "path",
            "{order}: {operation}"
        );
        assert!(operation["requestBody"]["content"]["application/json"]["schema"].is_object());
        for status in ["404", "409"] {
            assert!(
                operation["responses"][status].is_object(),
                "{order} {status}"
            );
        }
    }
    let observe = &api["paths"]["/api/v1/observations"]["post"];
    assert!(observe["responses"]["204"].is_object(), "{observe}");
    assert!(observe["requestBody"].is_object(), "{observe}");
    let history = &api["paths"]["/api/v1/history"]["get"]["parameters"][0];
    assert_eq!(
        (&history["name"], &history["in"]),
        (&"rollout".into(), &"query".into())
    );
    let events = &api["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"];
    assert!(events["text/event-stream"].is_object(), "{events}");
    crate::harness::until("the history has begun", || !proxy.told().is_empty());
    // What is described is what is sent.
    for (name, sent) in [
        ("Rollout", proxy.rollout()),
        ("Entry", proxy.told().pop().unwrap()),
    ] {
        let described = &api["components"]["schemas"][name];
        for required in described["required"].as_array().unwrap() {
            let key = required.as_str().unwrap();
            assert!(sent.get(key).is_some(), "{name} has {key}: {sent}");
        }
    }
}

#[test]
fn metrics_tell_how_a_rollout_stands() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let of = |phase: &'static str| [("rollout", "shop-v2"), ("phase", phase)];
    let metrics = proxy.metrics();
    assert!(metrics.complaints.is_empty(), "{:#?}", metrics.complaints);
    let rollout = [("rollout", "shop-v2")];
    assert_eq!(metrics.sum("tidegate_rollout_weight", &rollout), 50.0);
    assert_eq!(metrics.sum("tidegate_rollout_phase", &of("holding")), 1.0);
    assert_eq!(
        metrics.sum("tidegate_rollout_phase", &rollout),
        1.0,
        "one phase at a time"
    );
    for metric in ["errors", "slow", "connect"] {
        let labels = [("rollout", "shop-v2"), ("metric", metric)];
        let found = metrics
            .matching("tidegate_rollout_evidence", &labels)
            .count();
        assert_eq!(found, 1, "{metric}");
    }
    assert_eq!(metrics.sum("tidegate_rollbacks_total", &rollout), 0.0);
    proxy.obeys("rollback");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_rollout_weight", &rollout), 0.0);
    assert_eq!(
        metrics.sum("tidegate_rollout_phase", &of("rolled_back")),
        1.0
    );
    let labels = [("rollout", "shop-v2"), ("reason", "operator")];
    assert_eq!(metrics.sum("tidegate_rollbacks_total", &labels), 1.0);
}
