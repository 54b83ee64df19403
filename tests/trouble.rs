//! When the machine runs out of something the proxy says so, goes on, and recovers by itself.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Backend, Conn, Launch, Proxy, Signal, Site, eventually, soon, until};

fn one() -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]);
    (v1, site)
}

#[test]
fn without_file_descriptors_new_connections_wait_and_open_ones_go_on() {
    let (_v1, site) = one();
    let proxy = Launch::new(&site).after("ulimit -n 80").start();
    let address = proxy.address("in");
    let mut first = proxy.connect();
    assert_eq!(first.get("/", &[]).status, 200);
    // The kernel accepts for the proxy, so that all of these connect.
    let mut crowd: Vec<Conn> = Vec::new();
    for _ in 0..150 {
        match Conn::try_open(address) {
            Ok(conn) => crowd.push(conn),
            Err(_) => break,
        }
    }
    until("it has run out", || proxy.descriptors() >= 64);
    let busy = processor_time(&proxy);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(800) {
        assert_eq!(
            first.get("/", &[]).status,
            200,
            "an open connection goes on"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = processor_time(&proxy) - busy;
    assert!(
        used < 60,
        "it does not spin: {used} ticks of processor time in {:?}",
        start.elapsed()
    );
    drop(crowd);
    eventually(
        "it accepts again by itself",
        Duration::from_secs(10),
        || {
            let answer = Conn::try_open(address).and_then(|mut c| {
                c.patience(Duration::from_secs(1));
                c.try_request("GET", "/", &[], b"")
            });
            answer.map(drop).map_err(|e| e.to_string())
        },
    );
    let log = proxy.log().join("\n").to_ascii_lowercase();
    assert!(
        log.contains("too many open files") || log.contains("emfile") || log.contains("descriptor"),
        "{log}"
    );
    assert!(
        proxy.log().len() < 200,
        "and does not fill the log: {} lines",
        proxy.log().len()
    );
}

/// Connections that hold every descriptor that connections may have.
fn crowd(address: SocketAddr) -> Vec<Conn> {
    // The kernel accepts for the proxy, so that all of these connect.
    let crowd = (0..90).map(|_| {
        let mut conn = Conn::open(address);
        conn.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        conn
    });
    crowd.collect()
}

#[test]
fn without_file_descriptors_for_callers_probes_are_answered_and_edits_come_into_force() {
    let (v1, site) = one();
    let proxy = Launch::new(&site).after("ulimit -n 64").start();
    let _crowd = crowd(proxy.address("in"));
    proxy.logs(&["cannot accept connections"]);
    for path in ["/readyz", "/healthz", "/metrics", "/api/v1/config"] {
        let start = Instant::now();
        assert_eq!(proxy.ask("GET", path, "").status, 200);
        let took = start.elapsed();
        assert!(took < soon(Duration::from_secs(1)), "{path} took {took:?}");
    }
    proxy.edit(&Site::of(&[("v2", v1.endpoint())]));
    let more = "[{ name: in, address: \"127.0.0.1:0\" }, { name: more, address: \"127.0.0.1:0\" }]";
    proxy.edit(&site.with("listeners", more));
}

#[test]
fn silent_callers_of_the_admin_api_leave_descriptors_to_probes_and_edits() {
    let (v1, site) = one();
    let proxy = Launch::new(&site).after("ulimit -n 64").start();
    let _crowd = crowd(proxy.address("in"));
    proxy.logs(&["cannot accept connections"]);
    let _silent: Vec<Conn> = (0..100).map(|_| Conn::open(proxy.admin())).collect();
    let start = Instant::now();
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
    assert!(start.elapsed() < soon(Duration::from_secs(1)));
    proxy.edit(&Site::of(&[("v2", v1.endpoint())]));
}

/// Lets the running process open so many files.
fn allow(proxy: &Proxy, files: u64) {
    let limit = rustix::process::Rlimit {
        current: Some(files),
        maximum: Some(20_000),
    };
    let pid = Some(proxy.pid());
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).expect("our child");
}

#[test]
fn an_edit_that_no_descriptor_was_left_to_read_is_no_mistake_and_comes_into_force_once_there_are_some()
 {
    let (v1, site) = one();
    let proxy = Proxy::start(&site);
    proxy.edit(&Site::of(&[("v2", v1.endpoint())]));
    allow(&proxy, 3);
    let before = proxy.log().len();
    proxy.write(&Site::of(&[("v3", v1.endpoint())]).yaml());
    proxy.logs(&["files cannot be read", "Too many open files"]);
    std::thread::sleep(Duration::from_secs(2));
    let log = proxy.log().split_off(before);
    assert!(
        !log.iter()
            .any(|line| line.contains("T401") || line.contains("refused")),
        "{log:#?}"
    );
    assert!(
        log.len() < 20,
        "it does not fill the log: {} lines",
        log.len()
    );
    allow(&proxy, 1000);
    proxy.in_force_after(2, Instant::now());
}

#[test]
fn who_asks_for_a_reload_without_descriptors_is_told_what_is_wrong_until_there_are_some() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    allow(&proxy, 3);
    proxy.signal(Signal::HUP);
    proxy.logs(&["Too many open files", "limit of open files", "T401"]);
    allow(&proxy, 1000);
    eventually("all is well again", soon(Duration::from_secs(1)), || {
        let config = proxy.config();
        (config["ok"] == true)
            .then_some(())
            .ok_or_else(|| config.to_string())
    });
}

#[test]
fn what_the_proxy_itself_lacks_is_never_blamed_on_a_version() {
    let (one, two) = (Backend::start("v1"), Backend::start("v1"));
    let both = format!("{}, {}", one.endpoint(), two.endpoint());
    let health = "health: { active: { path: /healthz, interval: 100ms }, \
                  passive: { consecutive_failures: 1, eject_for: 60s, max_ejected: 100% } }";
    let site = Site::of(&[("v1", both.clone())]).service(health, &[("v1", both)]);
    let proxy = Launch::new(&site).after("ulimit -n 64").start();
    let mut crowd: Vec<Conn> = (0..90).map(|_| proxy.connect()).collect();
    proxy.logs(&["cannot accept connections"]);
    // Long enough for the checks to run into it.
    std::thread::sleep(Duration::from_millis(500));
    for conn in &mut crowd {
        conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    }
    let mut turned_away = 0.0;
    // Who has got an answer leaves, and makes room for those who wait.
    for mut conn in crowd {
        let answer = conn.answer();
        let word = answer.header("x-tidegate-refusal");
        match answer.status {
            200 => {}
            503 if word == "local_resources" => turned_away += 1.0,
            other => panic!("{other} {word}"),
        }
    }
    assert!(turned_away >= 1.0, "the test did not exhaust it");
    proxy.counts(
        "tidegate_refusals_total",
        &[("reason", "local_resources")],
        turned_away,
    );
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_failures_total", &[]), 0.0);
    assert_eq!(
        metrics.sum("tidegate_endpoint_healthy", &[("version", "v1")]),
        2.0,
        "both were well all the time"
    );
    for _ in 0..10 {
        assert_eq!(proxy.get("/", &[]).status, 200);
    }
    let log = proxy.log();
    let told = |line: &&String| line.contains("a version") && line.contains("limit of open files");
    let told = log.iter().filter(told).count();
    assert!((1..=3).contains(&told), "told {told} times: {log:#?}");
    let blamed = |line: &&String| line.contains("unhealthy") || line.contains("ejected");
    assert_eq!(log.iter().filter(blamed).count(), 0, "{log:#?}");
}

/// Clock ticks that the process has used, of 100 a second.
fn processor_time(proxy: &Proxy) -> u64 {
    let pid = proxy.pid().as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or("").to_owned();
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<u64>().ok())
        .sum()
}

#[test]
fn a_full_disk_under_the_access_log_costs_lines_and_no_requests() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site.with(
        "access_log",
        "{ output: /dev/full, sample: { success: 100%, failure: 100% } }",
    ));
    let mut conn = proxy.connect();
    for _ in 0..500 {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    eventually("it is told", Duration::from_secs(5), || {
        let log = proxy.log().join("\n").to_ascii_lowercase();
        if log.contains("/dev/full") || log.contains("no space left") {
            Ok(())
        } else {
            Err(log)
        }
    });
    assert!(
        proxy.log().len() < 200,
        "not once a line: {} lines",
        proxy.log().len()
    );
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
}

#[test]
fn a_log_pipe_that_closes_costs_nothing_but_the_log() {
    let (_v1, site) = one();
    let site = site.with(
        "access_log",
        "{ output: stdout, sample: { success: 100%, failure: 100% } }",
    );
    let mut reader = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pipe = reader.stdin.take().unwrap();
    let mut proxy = Launch::new(&site).stdout(Stdio::from(pipe)).spawn();
    proxy.wait_ready();
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/", &[]).status, 200);
    reader.kill().unwrap();
    reader.wait().unwrap();
    for _ in 0..500 {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    assert!(proxy.runs());
}

#[test]
fn a_log_pipe_that_nobody_reads_stops_no_request() {
    let (_v1, site) = one();
    let site = site.with(
        "access_log",
        "{ output: stdout, sample: { success: 100%, failure: 100% } }",
    );
    // A reader that is asleep: the pipe fills up.
    let mut reader = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pipe = reader.stdin.take().unwrap();
    let mut proxy = Launch::new(&site).stdout(Stdio::from(pipe)).spawn();
    proxy.wait_ready();
    let mut conn = proxy.connect();
    for _ in 0..1500 {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    reader.kill().unwrap();
    reader.wait().unwrap();
    proxy.finish();
}

#[test]
fn the_access_log_tells_each_request_and_is_reopened_on_a_signal() {
    let (_v1, site) = one();
    let access = "{ output: ./access.log, format: json, sample: { success: 100%, failure: 100% }, \
                  redact: { headers: [authorization], query: [token] } }";
    let proxy = Proxy::start(&site.with("access_log", access));
    let file = proxy.folder().join("access.log");
    let lines = |path: &std::path::Path| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
            .collect()
    };
    let mut conn = proxy.connect();
    conn.get(
        "/shop?token=secret&x=1",
        &["Authorization: Bearer secret", "x-user-id: 7"],
    );
    conn.get("/?status=503", &[]);
    conn.get("/a%0ab\u{1b}", &[]);
    until("lines are there", || lines(&file).len() >= 2);
    let seen = lines(&file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("/shop") && text.contains("***"), "{text}");
    assert!(seen.iter().any(|l| l.to_string().contains("503")), "{text}");
    let first = &seen[0];
    for word in ["v1", "app", "GET", "200"] {
        assert!(first.to_string().contains(word), "{word} in {first}");
    }
    fs::rename(&file, proxy.folder().join("access.log.1")).unwrap();
    proxy.signal(Signal::USR1);
    until("the file is opened again", || {
        proxy.get("/again", &[]);
        file.exists()
            && fs::read_to_string(&file)
                .unwrap_or_default()
                .contains("/again")
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_is_a_warning_where_nothing_is_guarded() {
    let (_v1, site) = one();
    let proxy = Launch::new(&site).state_dir("/proc/nothing").start();
    assert_eq!(proxy.get("/", &[]).status, 200);
}
