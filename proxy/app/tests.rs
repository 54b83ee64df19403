//! The whole process in this one: a file, real sockets, the admin API.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

const FILE: &str = r#"
version: 1
runtime: { workers: 1, drain: { min: 0s, max: 2s } }
admin: { address: "127.0.0.1:0" }
listeners:
  - { name: in, address: "127.0.0.1:0" }
services:
  - name: app
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:9"] }
      - { name: v2, endpoints: ["127.0.0.1:9"] }
routes:
  - name: app
    service: app
    rules:
      - name: testers
        when: { header: { name: x-beta, exact: "1" } }
        to: v2
      - name: everyone
        split: { by: random, weights: { v1: 90%, v2: 10% } }
"#;

struct Running {
    folder: TempDir,
    admin: SocketAddr,
    probes: Option<SocketAddr>,
    signals: mpsc::Sender<Signal>,
    ended: JoinHandle<End>,
}

struct Said {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Running {
    async fn start(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, file).await
    }

    async fn start_in(folder: TempDir, file: &str) -> Self {
        write(folder.path(), file);
        let bound = bind(folder.path()).await.unwrap();
        Self::of(folder, bound)
    }

    fn of(folder: TempDir, bound: Bound) -> Self {
        let (signals, taken) = mpsc::channel(1);
        let (admin, probes) = (bound.admin_address, bound.probes_address);
        Self {
            folder,
            admin,
            probes,
            signals,
            ended: tokio::spawn(bound.serve(taken)),
        }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        ask(self.admin, method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Said {
        self.ask(Method::GET, path, &[], "").await
    }

    async fn reload(&self, file: &str) -> Said {
        write(self.folder.path(), file);
        self.ask(Method::POST, "/api/v1/config/reload", &[], "")
            .await
    }

    async fn leave(self) -> End {
        self.signals.send(Signal::Leave).await.unwrap();
        tokio::time::timeout(PATIENCE, self.ended)
            .await
            .expect("it leaves")
            .unwrap()
    }
}

fn write(folder: &Path, file: &str) {
    std::fs::write(folder.join("tidegate.yaml"), file).unwrap();
}

async fn bind(folder: &Path) -> Result<Bound, StartError> {
    App::bind(Options {
        state_dir: None,
        take_over: false,
        again: None,
        config: folder.join("tidegate.yaml"),
    })
    .await
}

async fn ask(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Said {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driven = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", to.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request))
        .await
        .expect("an answer")
        .unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    driven.abort();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Said {
        status,
        headers,
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

#[tokio::test]
async fn it_is_ready_once_bound_and_leaves_cleanly() {
    let app = Running::start(FILE).await;
    assert_eq!(app.get("/healthz").await.status, 200);
    let ready = app.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json["status"].as_str()),
        (StatusCode::OK, Some("ready"))
    );
    assert_eq!(app.leave().await, End::Clean);
}

#[tokio::test]
async fn status_and_config_tell_what_the_contract_names() {
    let app = Running::start(FILE).await;
    let status = app.get("/api/v1/status").await.json;
    for member in [
        "version",
        "revision",
        "started_at",
        "config",
        "rollouts",
        "services",
        "listeners",
        "workers",
    ] {
        assert!(!status[member].is_null(), "{member} is missing in {status}");
    }
    assert_eq!(status["rollouts"], serde_json::json!([]));
    assert_eq!(status["workers"], 1);
    assert_eq!(
        status["services"][0]["versions"][1]["endpoints"][0]["address"],
        "127.0.0.1:9"
    );
    assert_ne!(
        status["listeners"][0]["address"], "127.0.0.1:0",
        "the real port is told"
    );
    let config = app.get("/api/v1/config").await.json;
    assert_eq!(
        (&config["ok"], &config["revision"]),
        (&true.into(), &1.into())
    );
    assert_eq!(config["problems"], serde_json::json!([]));
    assert!(config["loaded_at"].as_str().unwrap().ends_with('Z'));
    assert!(config["file"].as_str().unwrap().ends_with("tidegate.yaml"));
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("tidegate_config_revision 1"), "{metrics}");
    assert!(metrics.contains("tidegate_endpoint_healthy{"), "{metrics}");
}

#[tokio::test]
async fn a_reload_is_answered_when_it_is_in_force_or_refused() {
    let app = Running::start(FILE).await;
    let unchanged = app.reload(FILE).await;
    assert_eq!(
        (unchanged.status, &unchanged.json["revision"]),
        (StatusCode::OK, &1.into()),
        "{}",
        unchanged.text
    );

    let raised = FILE.replace("v1: 90%, v2: 10%", "v1: 75%, v2: 25%");
    let good = app.reload(&raised).await;
    assert_eq!(
        (good.status, &good.json["revision"]),
        (StatusCode::OK, &2.into()),
        "{}",
        good.text
    );

    let bad = app.reload(&FILE.replace("to: v2", "to: v3")).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bad.headers["content-type"], "application/problem+json");
    assert_eq!(bad.json["problems"][0]["line"], 19, "{}", bad.text);
    let config = app.get("/api/v1/config").await.json;
    assert_eq!(
        (&config["ok"], &config["revision"]),
        (&false.into(), &2.into())
    );
    assert_eq!(
        app.get("/readyz").await.status,
        200,
        "the old revision serves on"
    );
    assert!(
        app.get("/metrics")
            .await
            .text
            .contains("tidegate_config_rejected_total 1")
    );

    let restored = app.reload(&raised).await;
    assert_eq!(
        (restored.status, &restored.json["revision"]),
        (StatusCode::OK, &2.into()),
        "{}",
        restored.text
    );
    assert_eq!(restored.json["problems"], serde_json::json!([]));

    std::fs::remove_file(app.folder.path().join("tidegate.yaml")).unwrap();
    let gone = app
        .ask(Method::POST, "/api/v1/config/reload", &[], "")
        .await;
    assert_eq!(
        gone.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        gone.text
    );
    assert_eq!(app.leave().await, End::Clean);
}

/// Where sums are checked, a revision after the last one there can be is a panic: a fault as good as any.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_fault_of_the_proxy_while_it_takes_an_edit_refuses_the_edit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), FILE);
    let bound = bind(folder.path()).await.unwrap();
    let live = bound.controller.live.clone();
    let at = |revision| {
        let config = Arc::clone(&live.current().config);
        compile(config, None, revision, None, &bound.controller.ledger)
    };
    let first = at(1);
    live.publish(at(u64::MAX));
    let last = live.current();
    let app = Running::of(folder, bound);
    let raised = FILE.replace("v1: 90%, v2: 10%", "v1: 75%, v2: 25%");
    let said = app.reload(&raised).await;
    assert_eq!(
        said.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        said.text
    );
    let problem = &said.json["problems"][0];
    assert_eq!(problem["code"], "T999", "{problem}");
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("a fault of tidegate"), "{message}");
    assert!(Arc::ptr_eq(&last, &live.current()), "what was in force is");
    assert_eq!(app.get("/readyz").await.status, 200);

    live.publish(first);
    let again = app.reload(&raised).await;
    assert_eq!(
        (again.status, &again.json["revision"]),
        (StatusCode::OK, &2.into()),
        "without the fault the same file comes into force: {}",
        again.text
    );
    assert_eq!(app.leave().await, End::Clean);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_the_rest_is_in_force() {
    let app = Running::start(FILE).await;
    let edited = FILE
        .replace("workers: 1", "workers: 2")
        .replace("v1: 90%, v2: 10%", "v1: 50%, v2: 50%");
    for _ in 0..2 {
        let said = app.reload(&edited).await;
        assert_eq!(
            (said.status, &said.json["revision"]),
            (StatusCode::OK, &2.into()),
            "{}",
            said.text
        );
        let problem = &said.json["problems"][0];
        assert_eq!(
            (&problem["severity"], &problem["path"]),
            (&"warning".into(), &"runtime.workers".into())
        );
        assert!(
            problem["message"]
                .as_str()
                .unwrap()
                .contains("needs a restart"),
            "{problem}"
        );
    }
    let moved = FILE.replace("workers: 1,", "workers: 1, state_dir: ./elsewhere,");
    let said = app.reload(&moved).await;
    assert_eq!(
        said.json["problems"][0]["path"], "runtime.state_dir",
        "{}",
        said.text
    );
    let back = app.reload(FILE).await;
    assert_eq!(
        back.json["problems"],
        serde_json::json!([]),
        "put back, it is no problem any more"
    );
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_refuses_the_edit_whole() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let app = Running::start(FILE).await;
    let more = format!(
        "  - {{ name: in, address: \"127.0.0.1:0\" }}\n  - {{ name: more, address: \"{address}\" }}"
    );
    let edited = FILE.replace("  - { name: in, address: \"127.0.0.1:0\" }", &more);
    let said = app.reload(&edited).await;
    assert_eq!(
        said.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        said.text
    );
    let message = said.json["problems"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("\"more\"") && message.contains(&address.to_string()),
        "{message}"
    );
    assert_eq!(said.json["revision"], 1);
    drop(taken);
    let again = app
        .ask(Method::POST, "/api/v1/config/reload", &[], "")
        .await;
    assert_eq!(
        again.status,
        StatusCode::OK,
        "freed, the same file comes into force: {}",
        again.text
    );
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        bind(folder.path()).await,
        Err(StartError::Unreadable { .. })
    ));
    write(folder.path(), &FILE.replace("to: v2", "to: v3"));
    assert!(
        matches!(bind(folder.path()).await, Err(StartError::Problems(problems)) if problems.len() == 1)
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    write(
        folder.path(),
        &FILE.replacen(
            "name: in, address: \"127.0.0.1:0\"",
            &format!("name: in, address: \"{address}\""),
            1,
        ),
    );
    assert!(
        matches!(bind(folder.path()).await, Err(StartError::Machine(problems)) if problems.len() == 1)
    );
    write(
        folder.path(),
        &FILE.replacen(
            "admin: { address: \"127.0.0.1:0\" }",
            &format!("admin: {{ address: \"{address}\" }}"),
            1,
        ),
    );
    match bind(folder.path()).await {
        Err(StartError::Machine(problems)) => {
            assert_eq!(problems[0].path, "admin.address");
            assert_ne!(problems[0].line, 0, "it is told where that is written");
        }
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn every_path_of_the_description_answers_and_no_other() {
    let app = Running::start(FILE).await;
    let description = app.get("/openapi.json").await.json;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            if path == "/api/v1/events" {
                continue; // it never ends
            }
            let said = app
                .ask(
                    method.clone(),
                    path,
                    &[],
                    match path.as_str() {
                        "/api/v1/explain" => r#"{"url":"http://shop.example.com/"}"#,
                        "/api/v1/observations" => "[]",
                        _ => "",
                    },
                )
                .await;
            let promised = match path.as_str() {
                "/api/v1/observations" => StatusCode::NO_CONTENT,
                // This file has no rollout.
                path if path.contains("{name}") => StatusCode::NOT_FOUND,
                _ => StatusCode::OK,
            };
            assert_eq!(said.status, promised, "{method} {path}: {}", said.text);
        }
        let wrong = app.ask(Method::DELETE, path, &[], "").await;
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(
            wrong.headers.contains_key("allow"),
            "{path} says what is allowed"
        );
        assert_eq!(wrong.headers["content-type"], "application/problem+json");
    }
    for path in ["/", "/api", "/api/v1/rollout", "/metrics/", "//metrics"] {
        let said = app.get(path).await;
        assert_eq!(said.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(said.headers["content-type"], "application/problem+json");
        assert_eq!(said.json["status"], 404);
    }
}

#[tokio::test]
async fn foreign_hosts_and_pages_reach_nothing() {
    let app = Running::start(FILE).await;
    for path in ["/healthz", "/metrics", "/api/v1/status", "/nowhere"] {
        let said = app
            .ask(Method::GET, path, &[("host", "evil.example")], "")
            .await;
        assert_eq!(said.status, StatusCode::FORBIDDEN, "{path}");
    }
    let form = [("origin", "http://evil.example")];
    let said = app
        .ask(Method::POST, "/api/v1/config/reload", &form, "")
        .await;
    assert_eq!(said.status, StatusCode::FORBIDDEN);
    assert_eq!(said.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn tokens_open_what_their_role_may() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tokens"),
        "viewer:may-see-all\nadmin:may-do-all\n",
    )
    .unwrap();
    let address = "admin: { address: \"127.0.0.1:0\"";
    let file = FILE.replace(address, &format!("{address}, tokens_file: tokens"));
    let app = Running::start_in(folder, &file).await;
    for (path, method, token, promised) in [
        ("/healthz", Method::GET, None, 200),
        ("/readyz", Method::GET, None, 200),
        ("/metrics", Method::GET, None, 401),
        ("/nowhere", Method::GET, None, 401),
        ("/nowhere", Method::GET, Some("may-see-all"), 404),
        ("/metrics", Method::GET, Some("may-see-all"), 200),
        ("/api/v1/status", Method::GET, Some("nobodys-token"), 401),
        (
            "/api/v1/config/reload",
            Method::POST,
            Some("may-see-all"),
            403,
        ),
        (
            "/api/v1/config/reload",
            Method::POST,
            Some("may-do-all"),
            200,
        ),
    ] {
        let line = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = line
            .iter()
            .map(|line| ("authorization", line.as_str()))
            .collect();
        let said = app.ask(method, path, &headers, "").await;
        assert_eq!(
            said.status, promised,
            "{path} with {token:?}: {}",
            said.text
        );
        assert_eq!(
            said.headers.contains_key("www-authenticate"),
            promised == 401
        );
    }
}

#[tokio::test]
async fn the_address_for_probes_serves_probes_and_follows_edits() {
    let with_probes = FILE.replace(
        "admin: { address: \"127.0.0.1:0\"",
        "admin: { address: \"127.0.0.1:0\", probes: \"127.0.0.1:0\"",
    );
    let app = Running::start(&with_probes).await;
    let probes = app.probes.unwrap();
    for (path, promised) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/v1/status", 404),
    ] {
        // A load balancer asks by whatever name it likes.
        let said = ask(probes, Method::GET, path, &[("host", "10.1.2.3")], "").await;
        assert_eq!(said.status, promised, "{path}");
    }
    assert_eq!(app.reload(FILE).await.status, 200);
    tokio::time::timeout(PATIENCE, async {
        while TcpStream::connect(probes).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("an address that left the file is closed");
}

#[tokio::test]
async fn explain_answers_as_an_outsider_sees_it() {
    let app = Running::start(FILE).await;
    let body = r#"{"url":"http://shop.example.com/cart","headers":{"x-beta":"1"}}"#;
    let said = app.ask(Method::POST, "/api/v1/explain", &[], body).await;
    assert_eq!(
        (said.status, &said.json["version"], &said.json["rule"]),
        (StatusCode::OK, &"v2".into(), &"testers".into())
    );
    let said = app
        .ask(Method::POST, "/api/v1/explain", &[], r#"{"url":"/"}"#)
        .await;
    assert_eq!(
        (&said.json["rule"], &said.json["slot"]),
        (&"everyone".into(), &Value::Null),
        "random has no slot"
    );
    for wrong in [
        "",
        "{",
        "{}",
        r#"{"url":"no url"}"#,
        r#"{"url":"/","listener":"none"}"#,
        r#"{"url":"/","colour":1}"#,
    ] {
        let said = app.ask(Method::POST, "/api/v1/explain", &[], wrong).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(said.headers["content-type"], "application/problem+json");
    }
    let long = format!(r#"{{"url":"/{}"}}"#, "x".repeat(70_000));
    let said = app.ask(Method::POST, "/api/v1/explain", &[], &long).await;
    assert_eq!(said.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let app = Running::start(&FILE.replace("min: 0s, max: 2s", "min: 1h, max: 2h")).await;
    app.signals.send(Signal::Leave).await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while app.get("/readyz").await.status != StatusCode::SERVICE_UNAVAILABLE {}
    })
    .await
    .expect("readiness says no while draining");
    assert_eq!(app.get("/healthz").await.status, 200, "alive to the end");
    assert_eq!(app.leave().await, End::AtOnce);
}

#[tokio::test]
async fn an_edit_of_the_file_is_in_force_within_a_second_and_sighup_and_sigusr1_are_heard() {
    let app = Running::start(FILE).await;
    let start = std::time::Instant::now();
    write(
        app.folder.path(),
        &FILE.replace("v1: 90%, v2: 10%", "v1: 75%, v2: 25%"),
    );
    let revision = async |wanted: u64| {
        while app.get("/api/v1/config").await.json["revision"] != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, revision(2))
        .await
        .expect("the edit is noticed");
    assert!(
        start.elapsed() < Duration::from_millis(1200),
        "it took {:?}",
        start.elapsed()
    );
    write(app.folder.path(), FILE);
    app.signals.send(Signal::Reload).await.unwrap();
    app.signals.send(Signal::ReopenLog).await.unwrap();
    tokio::time::timeout(PATIENCE, revision(3))
        .await
        .expect("the signal is heard");
    assert_eq!(app.leave().await, End::Clean);
}

#[tokio::test]
async fn a_probed_endpoint_goes_and_comes_back_and_is_trusted_once_nobody_probes() {
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let backend = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = backend.local_addr().unwrap();
    let told = Arc::clone(&sick);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = backend.accept().await.unwrap();
            let status = if told.load(std::sync::atomic::Ordering::Relaxed) {
                "500 No"
            } else {
                "204 Yes"
            };
            let mut asked = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut asked).await;
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    });
    let probed = FILE.replace("127.0.0.1:9", &address.to_string()).replace(
        "    stable: v1\n",
        "    stable: v1\n    health: { active: { path: /up, interval: 20ms, timeout: 5s, healthy_after: 2 } }\n",
    );
    let app = Running::start(&probed).await;
    let healthy = async |wanted: bool| {
        while app.get("/api/v1/status").await.json["services"][0]["versions"][0]["endpoints"][0]["healthy"]
            != wanted
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, healthy(false))
        .await
        .expect("a sick one is noticed");
    sick.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, healthy(true))
        .await
        .expect("a well one is noticed");
    sick.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, healthy(false))
        .await
        .expect("sick again");
    let unprobed = FILE.replace("127.0.0.1:9", &address.to_string());
    assert_eq!(app.reload(&unprobed).await.status, 200);
    tokio::time::timeout(PATIENCE, healthy(true))
        .await
        .expect("an old verdict does not stay for ever");
}

#[tokio::test]
async fn an_identity_header_of_an_outsider_counts_only_where_it_is_trusted() {
    let edge = FILE
        .replace(
            "services:",
            "identity: { user: [{ header: x-user-id }] }\nservices:",
        )
        .replace("by: random", "by: user");
    let app = Running::start(&edge).await;
    let ask = async |more: &str| {
        let body = format!(r#"{{"url":"/","headers":{{"X-User-Id":"alice"}}{more}}}"#);
        app.ask(Method::POST, "/api/v1/explain", &[], &body)
            .await
            .json
    };
    assert_eq!(
        ask("").await["slot"],
        Value::Null,
        "an edge listener strips it"
    );
    let trusted = ask(r#","trusted":true"#).await;
    assert_eq!(
        (&trusted["slot"].is_u64(), &trusted["key_source"]),
        (&true, &"header x-user-id".into()),
        "{trusted}"
    );
}

#[tokio::test]
async fn a_worker_that_falls_ends_the_process_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), FILE);
    let mut bound = bind(folder.path()).await.unwrap();
    let (falls, fallen) = watch::channel(false);
    bound.fallen = fallen;
    let (_signals, taken) = mpsc::channel(1);
    let serving = bound.serve(taken);
    falls.send_replace(true);
    let end = tokio::time::timeout(PATIENCE, serving).await;
    assert_eq!(end, Ok(End::Broken));
}
