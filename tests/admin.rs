//! The admin API tells how it stands and what counts, to those who may ask.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Conn, Launch, Metrics, Proxy, Site, command, eventually, soon, until,
};

fn one() -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]);
    (v1, site)
}

#[test]
fn health_readiness_status_and_config_answer() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.ask("GET", "/healthz", "").status, 200);
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
    let status = proxy.status();
    assert!(
        status["version"].as_str().is_some_and(|v| v.contains('.')),
        "{status}"
    );
    assert!(
        status["revision"].as_u64().is_some_and(|r| r >= 1),
        "{status}"
    );
    assert_eq!(status["workers"], 2);
    let started = status["started_at"].as_str().unwrap_or("").to_owned();
    assert!(
        started.ends_with('Z') && started.contains('T'),
        "RFC 3339 in UTC: {started}"
    );
    assert_eq!(status["services"][0]["name"], "app", "{status}");
    assert!(
        status["rollouts"].as_array().is_some_and(Vec::is_empty),
        "{status}"
    );
    let config = proxy.config();
    assert_eq!(config["ok"], true, "{config}");
    assert_eq!(config["revision"], status["revision"]);
    assert_eq!(config["problems"], serde_json::json!([]));
    assert!(
        config["file"]
            .as_str()
            .is_some_and(|f| f.ends_with("tidegate.yaml")),
        "{config}"
    );
    assert!(
        config["loaded_at"]
            .as_str()
            .is_some_and(|t| t.ends_with('Z')),
        "{config}"
    );
}

#[test]
fn the_metrics_of_the_contract_are_there_and_well_formed() {
    let (_v1, site) = one();
    let active = "health: { active: { path: /healthz, interval: 200ms } }";
    let proxy = Proxy::start(&site.service(active, &[("v1", _v1.endpoint())]));
    let mut conn = proxy.connect();
    for _ in 0..10 {
        conn.get("/", &[]);
    }
    conn.get("/?status=500", &[]);
    let other = Conn::open(proxy.address("in")).try_request("TRACE", "/", &[], b"");
    assert_eq!(other.unwrap().status, 405);
    let labels = [
        ("listener", "in"),
        ("route", "app"),
        ("service", "app"),
        ("version", "v1"),
        ("code", "200"),
    ];
    proxy.counts("tidegate_requests_total", &labels, 10.0);
    proxy.counts(
        "tidegate_request_duration_seconds_count",
        &[("service", "app"), ("version", "v1")],
        11.0,
    );
    proxy.counts("tidegate_connections", &[("listener", "in")], 1.0);
    let page = proxy.ask("GET", "/metrics", "");
    assert!(
        page.header("content-type").starts_with("text/plain"),
        "{:?}",
        page.fields
    );
    let metrics = Metrics::parse(&page.text());
    assert!(metrics.complaints.is_empty(), "{:#?}", metrics.complaints);
    for name in [
        "tidegate_failures_total",
        "tidegate_config_revision",
        "tidegate_config_reloads_total",
        "tidegate_config_rejected_total",
        "tidegate_config_age_seconds",
        "tidegate_upstream_connections",
        "tidegate_refusals_total",
        "tidegate_endpoint_healthy",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(metrics.has(name), "{name} is missing");
    }
    assert_eq!(
        metrics.types["tidegate_request_duration_seconds"],
        "histogram"
    );
    let upstream = metrics.sum(
        "tidegate_upstream_connections",
        &[("service", "app"), ("version", "v1")],
    );
    assert!(upstream >= 1.0, "{upstream}");
    let buckets: Vec<_> = metrics
        .matching("tidegate_request_duration_seconds_bucket", &[])
        .collect();
    assert!(
        buckets.windows(2).all(|w| w[0].value <= w[1].value),
        "buckets grow: {buckets:?}"
    );
    assert_eq!(
        buckets.last().map(|b| b.labels["le"].as_str()),
        Some("+Inf")
    );
    assert_eq!(buckets.last().map(|b| b.value), Some(11.0));
}

#[test]
fn a_page_in_a_browser_cannot_reach_the_api_by_another_name() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let admin = proxy.admin();
    let ask = |host: &str, headers: &[&str], method: &str| {
        let mut all = vec![format!("Host: {host}")];
        all.extend(headers.iter().map(|h| (*h).to_owned()));
        let lines: Vec<&str> = all.iter().map(String::as_str).collect();
        Conn::open(admin)
            .request(method, "/api/v1/status", &lines, b"")
            .status
    };
    assert_eq!(ask(&admin.to_string(), &[], "GET"), 200);
    assert_eq!(ask(&format!("localhost:{}", admin.port()), &[], "GET"), 200);
    for foreign in [
        "evil.example",
        &format!("evil.example:{}", admin.port()),
        "127.0.0.1.evil.example",
    ] {
        assert!(
            matches!(ask(foreign, &[], "GET"), 400 | 403 | 421),
            "Host: {foreign}"
        );
    }
    let own = admin.to_string();
    assert!(matches!(
        ask(&own, &["Origin: http://evil.example"], "GET"),
        403
    ));
    assert_eq!(ask(&own, &[&format!("Origin: http://{own}")], "GET"), 200);
    let mut conn = Conn::open(admin);
    let lines = [
        format!("Host: {own}"),
        "Origin: http://evil.example".to_owned(),
    ];
    let answer = conn.request(
        "POST",
        "/api/v1/config/reload",
        &[&lines[0], &lines[1]],
        b"",
    );
    assert_eq!(answer.status, 403);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/problem+json"),
        "{:?}",
        answer.fields
    );
    assert!(!answer.fields.has("access-control-allow-origin"));
}

#[test]
fn tokens_decide_who_may_what() {
    let (_v1, site) = one();
    let site = site.with("admin", "{ address: 127.0.0.1:0, tokens_file: ./tokens }");
    let launch = Launch::new(&site);
    std::fs::write(
        launch.folder().join("tokens"),
        "viewer:look-at-it\noperator:hold-it-tight\nadmin:all-of-it-please\n",
    )
    .unwrap();
    let proxy = launch.start();
    let ask = |method: &str, target: &str, token: Option<&str>| {
        let mut conn = Conn::open(proxy.admin());
        conn.with_admin_host(proxy.admin());
        let header = token.map(|t| format!("Authorization: Bearer {t}"));
        let lines: Vec<&str> = header.iter().map(String::as_str).collect();
        conn.request(method, target, &lines, b"")
    };
    for open in ["/healthz", "/readyz"] {
        assert_eq!(ask("GET", open, None).status, 200, "{open} needs no token");
    }
    for (method, target) in [
        ("GET", "/metrics"),
        ("GET", "/api/v1/status"),
        ("POST", "/api/v1/config/reload"),
    ] {
        let answer = ask(method, target, None);
        assert_eq!(answer.status, 401, "{target}");
        assert!(
            answer
                .header("content-type")
                .starts_with("application/problem+json"),
            "{:?}",
            answer.fields
        );
        assert_eq!(
            ask(method, target, Some("look-at-i")).status,
            401,
            "{target} with a wrong token"
        );
    }
    assert_eq!(ask("GET", "/metrics", Some("look-at-it")).status, 200);
    assert_eq!(ask("GET", "/api/v1/status", Some("look-at-it")).status, 200);
    assert_eq!(
        ask("POST", "/api/v1/config/reload", Some("look-at-it")).status,
        403
    );
    assert_eq!(
        ask("POST", "/api/v1/config/reload", Some("hold-it-tight")).status,
        403
    );
    assert_eq!(
        ask("POST", "/api/v1/config/reload", Some("all-of-it-please")).status,
        200
    );
    assert!(
        !proxy.log().join("\n").contains("all-of-it-please"),
        "a token never stands in a log"
    );
}

#[test]
fn anything_but_loopback_needs_tokens() {
    let (_v1, site) = one();
    let (code, log) = Launch::new(&site.with("admin", "{ address: 0.0.0.0:0 }")).fails();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("token"), "{log}");
}

#[test]
fn an_address_for_probes_alone_tells_nothing_else() {
    let (_v1, site) = one();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::start(&site.with(
        "admin",
        &format!("{{ address: 127.0.0.1:0, probes: \"{port}\" }}"),
    ));
    let ask = |target: &str| {
        Conn::open(port)
            .get(target, &[&format!("Host: {port}")])
            .status
    };
    assert_eq!(
        (ask("/healthz"), ask("/readyz"), ask("/metrics")),
        (200, 200, 200)
    );
    assert_eq!(
        (
            ask("/api/v1/status"),
            ask("/api/v1/config"),
            ask("/openapi.json")
        ),
        (404, 404, 404)
    );
    drop(proxy);
}

#[test]
fn openapi_describes_what_is_there() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let api = proxy.ask("GET", "/openapi.json", "").json();
    assert!(
        api["openapi"].as_str().is_some_and(|v| v.starts_with("3.")),
        "{api}"
    );
    let paths: BTreeSet<_> = api["paths"].as_object().unwrap().keys().cloned().collect();
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/config",
        "/api/v1/config/reload",
        "/api/v1/explain",
    ] {
        assert!(paths.contains(path), "{path} of {paths:?}");
    }
    for path in &paths {
        for (method, operation) in api["paths"][path].as_object().unwrap() {
            assert!(operation["responses"].is_object(), "{method} {path}");
            if method == "get" && !path.contains('{') && !path.contains("events") {
                let status = proxy.ask("GET", path, "").status;
                assert!(status < 400, "GET {path} is described and answers {status}");
            }
        }
    }
}

#[test]
fn errors_are_problems_in_json() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    for (method, target, body, status) in [
        ("GET", "/api/v1/nothing", "", 404),
        ("DELETE", "/api/v1/status", "", 405),
        ("POST", "/api/v1/explain", "not JSON", 400),
        ("POST", "/api/v1/explain", "{}", 422),
    ] {
        let answer = proxy.ask(method, target, body);
        assert!(
            answer.status == status || status == 422 && answer.status == 400,
            "{method} {target}: {}",
            answer.status
        );
        assert!(
            answer
                .header("content-type")
                .starts_with("application/problem+json"),
            "{target} {:?}",
            answer.fields
        );
        assert_eq!(answer.json()["status"], answer.status, "{}", answer.text());
    }
}

#[test]
fn check_explain_schema_and_status_work_from_the_command_line() {
    let (_v1, site) = one();
    let proxy = Proxy::start(
        &site.rules("[{ name: beta, when: { header: { name: x-beta, exact: \"1\" } }, to: v1 }]"),
    );
    let file = proxy.file().to_str().unwrap();
    let fine = command(&["check", file], "");
    assert_eq!(
        fine.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&fine.stderr)
    );
    let json = command(&["check", file, "--format", "json"], "");
    assert_eq!(json.status.code(), Some(0));
    assert!(
        serde_json::from_slice::<serde_json::Value>(&json.stdout)
            .unwrap()
            .is_array()
    );
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(
        command(&["check", "-"], &text).status.code(),
        Some(0),
        "from standard input"
    );
    assert_eq!(
        command(&["check", "-"], "version: 2\n").status.code(),
        Some(1)
    );
    assert_eq!(
        command(&["check", "/nowhere.yaml"], "").status.code(),
        Some(2)
    );
    let told = command(
        &[
            "explain",
            "--config",
            file,
            "--header",
            "x-beta: 1",
            "--format",
            "json",
            "http://t/",
        ],
        "",
    );
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(
        (&told["route"], &told["rule"], &told["version"]),
        (&"app".into(), &"beta".into(), &"v1".into())
    );
    let human = command(&["explain", "--config", file, "http://t/"], "");
    assert!(human.status.success() && String::from_utf8_lossy(&human.stdout).contains("v1"));
    for (question, way_out) in [
        (["--method", "CONNECT", "http://t/"], "405"),
        (["--listener", "nope", "http://t/"], "the file has in"),
        (["--method", "GET", "ftp://t/"], "write http://HOST/PATH"),
    ] {
        let refused = command(
            &[&["explain", "--config", file], &question[..]].concat(),
            "",
        );
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{question:?}: {told}");
        assert!(told.contains(way_out), "{question:?}: {told}");
    }
    let schema = command(&["schema"], "");
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert!(
        schema["properties"]["routes"].is_object(),
        "a JSON Schema of the file"
    );
    let url = format!("http://{}", proxy.admin());
    let status = command(&["status", "--admin", &url], "");
    assert_eq!(
        status.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    assert!(String::from_utf8_lossy(&status.stdout).contains("app"));
    let nobody = command(&["status", "--admin", "http://127.0.0.1:1"], "");
    assert_eq!(nobody.status.code(), Some(2), "unreachable");
    let version = command(&["--version"], "");
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("tidegate "));
    let completions = command(&["completions", "bash"], "");
    assert!(completions.status.success() && !completions.stdout.is_empty());
}

#[test]
fn the_contracts_small_file_loads_and_works() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    // As an operator writes it in the first five minutes; only the ports are the test's.
    let text = format!(
        r#"version: 1
listeners:
  - name: in
    address: 127.0.0.1:0
services:
  - name: app
    stable: v1
    versions:
      - {{ name: v1, endpoints: ["{}"] }}
      - {{ name: v2, endpoints: ["{}"] }}
routes:
  - service: app
    rules:
      - split: {{ weights: {{ v2: 10%, v1: 90% }} }}
admin: {{ address: 127.0.0.1:0 }}
runtime: {{ drain: {{ min: 0s, max: 5s }} }}
"#,
        v1.endpoint(),
        v2.endpoint()
    );
    let proxy = Launch::text(&text).start();
    let mut conn = proxy.connect();
    let share = (0..1000)
        .filter(|_| conn.get("/?bytes=1", &[]).version() == "v2")
        .count();
    assert!(
        (60..=140).contains(&share),
        "one request in ten, {share} of 1 000"
    );
    eventually("the counters agree", Duration::from_secs(5), || {
        let metrics = proxy.metrics();
        let counted = metrics.sum("tidegate_requests_total", &[("version", "v2")]);
        if counted == share as f64 {
            Ok(())
        } else {
            Err(format!("{counted} of {share}"))
        }
    });
}

#[test]
fn the_contracts_split_by_user_loads_and_works() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let text = format!(
        r#"version: 1
listeners:
  - name: in
    address: 127.0.0.1:0
    trusted_headers: [x-user-id]        # whoever calls this listener may say who the user is
admin:
  address: 127.0.0.1:0
identity:
  user:
    - header: x-user-id
services:
  - name: app
    stable: v1
    versions:
      - {{ name: v1, endpoints: ["{}"] }}
      - {{ name: v2, endpoints: ["{}"] }}
routes:
  - name: app
    service: app
    rules:
      - name: testers
        when: {{ header: {{ name: x-beta, exact: "1" }} }}
        to: v2
      - name: nordic
        when: {{ region: {{ country: [SE, "NO", FI] }} }}
        to: v1
      - name: everyone
        split:
          by: user
          weights: {{ v2: 20%, v1: 80% }}
runtime: {{ drain: {{ min: 0s, max: 5s }} }}
"#,
        v1.endpoint(),
        v2.endpoint()
    );
    let proxy = Launch::text(&text).start();
    let mut conn = proxy.connect();
    assert_eq!(
        conn.get("/", &["x-beta: 1", "x-user-id: 1"]).version(),
        "v2"
    );
    let share = (0..1000)
        .filter(|n| {
            conn.get("/?bytes=1", &[&format!("x-user-id: {n}")])
                .version()
                == "v2"
        })
        .count();
    assert!(
        (150..=250).contains(&share),
        "one user in five, {share} of 1 000"
    );
    proxy.logs(&["warning", "region"]);
}

/// What the contract promises for later: sections, and where each stands in a file that is fine without it.
const LATER: &[(&str, &str)] = &[
    ("alerts", "{ sinks: [] }"),
    (
        "tracing",
        "{ otlp: { endpoint: \"http://127.0.0.1:4318\" } }",
    ),
    (
        "identity",
        "{ user: [{ jwt: { header: authorization, claim: sub, key: ./k.pem, algorithm: ES256 } }] }",
    ),
    (
        "services",
        "[{ name: app, stable: v1, versions: [{ name: v1, dns: { name: localhost, port: 1 } }] }]",
    ),
    (
        "services",
        "[{ name: app, stable: v1, versions: [{ name: v1, endpoints_file: ./e.yaml }] }]",
    ),
    (
        "services",
        "[{ name: app, stable: v1, balance: hash, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }]",
    ),
    (
        "routes",
        "[{ service: app, mirror: [{ to: v1, share: 1% }], rules: [] }]",
    ),
    (
        "routes",
        "[{ service: app, rules: [{ when: { cel: \"true\" }, to: v1 }] }]",
    ),
    (
        "routes",
        "[{ service: app, rules: [{ when: { device: { os: [ios] } }, to: v1 }] }]",
    ),
    (
        "routes",
        "[{ service: app, rules: [{ when: { tag: { header: x-tags, has: vip } }, to: v1 }] }]",
    ),
    (
        "routes",
        "[{ service: app, rules: [{ when: { time: { from: \"2026-01-01T00:00\", zone: UTC } }, to: v1 }] }]",
    ),
];

#[test]
fn what_does_not_work_yet_is_an_error_and_never_ignored() {
    let site = Site::of(&[("v1", "127.0.0.1:1".to_owned())]);
    assert_eq!(
        command(&["check", "-"], &site.yaml()).status.code(),
        Some(0)
    );
    let mut quiet = Vec::new();
    for (section, text) in LATER {
        let check = command(&["check", "-"], &site.clone().with(section, text).yaml());
        let told = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
        if check.status.code() != Some(1) || !told.contains("error[T107]") {
            quiet.push(format!("{section}: {text}\n  {told}"));
        }
    }
    assert!(
        quiet.is_empty(),
        "{} of {}:\n{}",
        quiet.len(),
        LATER.len(),
        quiet.join("\n")
    );
}

/// An answer of readyz and of healthz, each on a connection of its own, each within a second.
#[track_caller]
fn probes_answer(address: SocketAddr) {
    for path in ["/readyz", "/healthz"] {
        let start = Instant::now();
        let mut conn = Conn::open(address);
        let answer = conn.with_admin_host(address).get(path, &[]);
        let took = start.elapsed();
        assert_eq!(answer.status, 200, "{path}");
        assert!(took < soon(Duration::from_secs(1)), "{path} took {took:?}");
    }
}

/// A port that is free now.
fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

#[test]
fn strangers_that_connect_and_say_nothing_do_not_keep_probes_out() {
    let (_v1, site) = one();
    let probes = free_port();
    let proxy = Proxy::start(&site.with(
        "admin",
        &format!("{{ address: 127.0.0.1:0, probes: \"{probes}\" }}"),
    ));
    for address in [proxy.admin(), probes] {
        let silent: Vec<Conn> = (0..300).map(|_| Conn::open(address)).collect();
        probes_answer(address);
        // Who begins a head and does not end it has asked nothing either.
        let begun = (0..300).map(|_| {
            let mut conn = Conn::open(address);
            conn.send("GET /readyz HTTP/1.1\r\nHo");
            conn
        });
        let begun: Vec<Conn> = begun.collect();
        probes_answer(address);
        let told = || {
            let log = proxy.log();
            let place = address.to_string();
            let is_told = |line: &&String| line.contains(&place) && line.contains("give way");
            log.iter().filter(is_told).count()
        };
        until("it is told", || told() > 0);
        assert!(told() <= 2, "not once a connection");
        drop((silent, begun));
    }
}

#[test]
fn a_request_under_way_to_the_admin_api_does_not_give_way_to_a_crowd() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let address = proxy.admin();
    let body = r#"{"method":"GET","url":"http://t/"}"#;
    let mut slow = Conn::open(address);
    slow.send(format!(
        "POST /api/v1/explain HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    ));
    // It is under way once a later connection has been answered.
    probes_answer(address);
    let _silent: Vec<Conn> = (0..600).map(|_| Conn::open(address)).collect();
    probes_answer(address);
    slow.send(&body[10..]);
    let answer = slow.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
