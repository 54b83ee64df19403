//! What the commands for a running proxy say, and how they end. The other side is a script that answers as the admin API
//! does: these tests are about the client alone.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use crate::harness::{Scripted, Signal, command, eventually};

/// What one command said, and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(args: &[&str]) -> Said {
    let output = command(args, "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Answers everything with this, and passes on what was asked: the head's lines and the body.
fn answering(status: &'static str, body: Value) -> (Scripted, mpsc::Receiver<(String, Value)>) {
    let (tell, asked) = mpsc::channel();
    let server = Scripted::start(move |scene, _| {
        let head = scene.head()?;
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let sent = scene.reader.take(length)?;
        let _ = tell.send((head, serde_json::from_slice(&sent).unwrap_or_default()));
        scene.write(answer(status, &body))
    });
    (server, asked)
}

fn url(server: &Scripted) -> String {
    format!("http://{}", server.address)
}

fn paused() -> Value {
    json!({ "name": "shop/v2", "candidate": "v2", "phase": "paused", "stage": 2, "stages": 5, "weight": 5, "attempt": 1,
            "reason": "by mia: looking at the logs" })
}

#[test]
fn an_order_reaches_the_rollout_with_its_reason_and_its_author_and_tells_what_is_now_true() {
    let (server, asked) = answering("200 OK", paused());
    let url = url(&server);
    let order = [
        "rollout",
        "pause",
        "shop/v2",
        "--reason",
        "looking at the logs",
        "--by",
        "mia",
        "--admin",
        &url,
    ];
    let said = run(&order);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.out,
        "shop/v2 is paused at 5 % (stage 2 of 5): by mia: looking at the logs\n"
    );
    let (head, body) = asked.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        head.starts_with("POST /api/v1/rollouts/shop%2Fv2/pause HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(
        body,
        json!({ "by": "mia", "reason": "looking at the logs" })
    );

    let as_it_is = run(&[&order[..], &["--format", "json"]].concat());
    assert_eq!(
        serde_json::from_str::<Value>(&as_it_is.out).unwrap(),
        paused()
    );
}

#[test]
fn a_refused_order_ends_with_1_and_the_proxys_words_and_an_unanswered_one_with_2() {
    let detail = "shop-v2 is rolled back; retry begins again";
    let (server, _asked) = answering("409 Conflict", json!({ "status": 409, "detail": detail }));
    let refused = run(&["rollout", "rollback", "shop-v2", "--admin", &url(&server)]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(
        refused.err.contains("409") && refused.err.contains(detail),
        "{}",
        refused.err
    );

    let nobody = "http://127.0.0.1:1";
    for args in [
        &["rollout", "pause", "a"][..],
        &["history"],
        &["events"],
        &["status"],
    ] {
        let said = run(&[args, &["--admin", nobody]].concat());
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(
            said.err.contains("is tidegate running"),
            "{args:?}: {}",
            said.err
        );
    }
}

#[test]
fn history_asks_for_one_rollout_and_shows_the_last_entries() {
    let entry = |seq: u64| {
        json!({ "seq": seq, "at": "2026-01-02T03:04:05.678Z", "rollout": "shop-v2", "actor": "engine",
                                   "from": 0, "to": seq, "phase": "holding", "reason": format!("reason {seq}"), "revision": 1 })
    };
    let entries: Vec<Value> = (1..=60).map(entry).collect();
    let (server, asked) = answering("200 OK", json!(entries));
    let url = url(&server);
    let said = run(&["history", "shop v2", "--admin", &url]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out
            .starts_with("10 earlier entries not shown: --limit 60 shows all\n"),
        "{}",
        said.out
    );
    assert_eq!(
        said.out.lines().count(),
        52,
        "what is left out, titles, 50 entries"
    );
    assert!(!said.out.contains('\x1b'), "a pipe has no colours");
    let (head, _) = asked.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        head.starts_with("GET /api/v1/history?rollout=shop%20v2 HTTP/1.1\r\n"),
        "{head}"
    );

    let all = run(&["history", "--format", "json", "--admin", &url]);
    assert_eq!(
        serde_json::from_str::<Value>(&all.out).unwrap(),
        json!(entries),
        "JSON is what the API answers"
    );
    let two = run(&[
        "history", "--format", "json", "--limit", "2", "--admin", &url,
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&two.out).unwrap(),
        json!(entries[58..])
    );
}

/// A running `tidegate events`, and the lines that it prints.
struct Listening {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Listening {
    fn to(server: &Scripted, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([&["events", "--admin", &url(server)], more].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines
            .recv_timeout(Duration::from_secs(10))
            .expect("a line within 10 s")
    }

    fn code(&mut self) -> Option<i32> {
        eventually("the command ends", Duration::from_secs(10), || {
            let ended = self.child.try_wait().expect("it is our child");
            ended
                .map(|status| status.code())
                .ok_or_else(|| "it runs".to_owned())
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SHIFT: &str = "event: shift\ndata: {\"seq\":9,\"at\":\"2026-01-02T03:04:05.678Z\",\"rollout\":\"shop-v2\",\"actor\":\"engine\",\
                     \"from\":5,\"to\":0,\"phase\":\"rolled_back\",\"reason\":\"too many errors\"}\n\n";

fn streaming(then_leave: bool) -> Scripted {
    Scripted::start(move |scene, _| {
        let head = scene.head()?;
        assert!(
            head.starts_with("GET /api/v1/events HTTP/1.1\r\n"),
            "{head}"
        );
        scene.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut chunk = |text: &str| scene.write(format!("{:x}\r\n{text}\r\n", text.len()));
        chunk(": keep-alive\n\n")?;
        // An event need not arrive in one piece.
        let (first, rest) = SHIFT.split_at(40);
        chunk(first)?;
        std::thread::sleep(Duration::from_millis(20));
        chunk(rest)?;
        if then_leave {
            Ok(())
        } else {
            scene.wait_for_end()
        }
    })
}

#[test]
fn events_are_told_as_they_happen_until_ctrl_c() {
    let server = streaming(false);
    let mut listening = Listening::to(&server, &[]);
    assert_eq!(
        listening.line(),
        "2026-01-02T03:04:05Z  shift  shop-v2  5 % → 0 %  rolled_back  by engine  too many errors"
    );
    let pid = Pid::from_raw(listening.child.id().cast_signed()).expect("a process has a number");
    kill_process(pid, Signal::INT).expect("it is our child");
    assert_eq!(listening.code(), Some(0));
}

#[test]
fn orders_to_the_proxies_of_a_machine_end_no_command_that_listens_to_one() {
    let server = streaming(false);
    let mut listening = Listening::to(&server, &[]);
    listening.line();
    let pid = Pid::from_raw(listening.child.id().cast_signed()).expect("a process has a number");
    for order in [Signal::USR1, Signal::USR2, Signal::INT] {
        kill_process(pid, order).expect("it is our child");
    }
    assert_eq!(listening.code(), Some(0), "Ctrl-C ended it");
}

#[test]
fn a_proxy_that_goes_away_ends_the_events_with_2_and_words() {
    let server = streaming(true);
    let mut listening = Listening::to(&server, &["--format", "json"]);
    let line: Value = serde_json::from_str(&listening.line()).expect("an object a line");
    assert_eq!(
        (&line["event"], &line["to"], &line["seq"]),
        (&json!("shift"), &json!(0), &json!(9))
    );
    assert_eq!(listening.code(), Some(2));
    let mut said = String::new();
    let mut err = listening.child.stderr.take().expect("a pipe was asked for");
    err.read_to_string(&mut said).unwrap();
    assert!(said.contains("is gone"), "{said}");
}

#[test]
fn what_is_no_stream_of_events_is_refused_in_words() {
    let (server, _asked) = answering(
        "403 Forbidden",
        json!({ "detail": "the token's role may not" }),
    );
    let said = run(&["events", "--admin", &url(&server)]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("the token's role may not"),
        "{}",
        said.err
    );
}

#[test]
fn recorded_decisions_are_recomputed_from_a_file_or_standard_input() {
    let record = |slot: u32, version: &str| {
        json!({ "at": "2026-01-02T03:04:05.678Z", "revision": 1, "rollout": "shop-v2", "attempt": 1, "unit": null, "slot": slot,
                "candidate_weight": 5000, "version": version, "candidate": "v2", "stable": "v1" })
        .to_string()
            + "\n"
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, record(4999, "v2") + &record(5000, "v1")).unwrap();
    let fine = run(&["replay", path]);
    assert_eq!(
        (fine.code, fine.out.as_str()),
        (Some(0), "2 decisions: all agree\n"),
        "{}",
        fine.err
    );

    let differs = command(
        &["replay", "-", "--format", "json"],
        &(record(1, "v2") + &record(5000, "v2")),
    );
    assert_eq!(differs.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(
        (
            &told["agree"],
            &told["differ"],
            &told["differences"][0]["line"]
        ),
        (&json!(1), &json!(1), &json!(2))
    );

    let nowhere = run(&["replay", "/nowhere.jsonl"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(
        nowhere.err.contains("/nowhere.jsonl: cannot be read"),
        "{}",
        nowhere.err
    );
}

const PLANNED: &str = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080, trusted_headers: [x-user-id] }]
identity: { user: [{ header: x-user-id }] }
services:
  - name: shop
    stable: v1
    versions:
      - { name: v1, endpoints: [\"127.0.0.1:3001\"] }
      - { name: v2, endpoints: [\"127.0.0.1:3002\"] }
rollouts:
  - name: shop-v2
    service: shop
    candidate: v2
    by: user
    stages:
      - { weight: 5%, hold: 10m, min_requests: 500 }
      - { weight: 100% }
routes:
  - name: shop
    service: shop
    rules:
      - name: testers
        when: { header: { name: x-beta, exact: \"1\" } }
        split: { by: user, weights: { v2: 20%, v1: 80% }, guard: { error_rate: { above: 5%, window: 10s, min_requests: 50 } } }
      - name: everyone
        rollout: shop-v2
";

#[test]
fn a_plan_tells_how_long_its_stages_take_at_a_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    std::fs::write(&file, PLANNED).unwrap();
    let file = file.to_str().unwrap();
    let plan = |name: &str, more: &[&str]| {
        let traffic = [
            "plan",
            "--config",
            file,
            name,
            "--rps",
            "10",
            "--error-rate",
            "0.5%",
        ];
        run(&[&traffic, more].concat())
    };

    let staged = plan("shop-v2", &["--format", "json"]);
    assert_eq!(staged.code, Some(0), "{}", staged.err);
    let told: Value = serde_json::from_str(&staged.out).unwrap();
    assert_eq!(
        told["stages"][0]["lasts_seconds"], 1000.0,
        "500 requests at 0.5 a second: {told}"
    );
    assert_eq!(told["stages"][0]["total_break"]["users"], 4, "{told}");

    let guarded = plan("shop.testers", &[]);
    assert_eq!(guarded.code, Some(0), "{}", guarded.err);
    assert!(
        guarded.out.contains("20 %") && guarded.out.contains("stays"),
        "{}",
        guarded.out
    );

    let unknown = plan("shop", &[]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("the file has shop-v2, shop.testers"),
        "{}",
        unknown.err
    );

    std::fs::write(file, PLANNED.replace("candidate: v2", "candidate: v3")).unwrap();
    let wrong = plan("shop-v2", &[]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("v3"), "{}", wrong.err);
    let nowhere = run(&[
        "plan",
        "--config",
        "/nowhere.yaml",
        "a",
        "--rps",
        "1",
        "--error-rate",
        "0%",
    ]);
    assert_eq!(nowhere.code, Some(2));
    let no_traffic = run(&[
        "plan",
        "--config",
        file,
        "shop-v2",
        "--rps",
        "0",
        "--error-rate",
        "0%",
    ]);
    assert_eq!(
        no_traffic.code,
        Some(2),
        "a command line that makes no sense"
    );
}
