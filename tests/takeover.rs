//! A new process takes over the sockets of a running one: nobody is refused, no request fails, what is under way ends
//! where it began, and what rollouts remember has one owner at every moment.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::harness::{
    Backend, Conn, Former, H2Client, Launch, Load, Mood, Planned, Proxy, Record, Signal, Site,
    WebSocket, each_request, eventually, failures, until,
};

const HALF: &str = "stages: [{ weight: 50%, hold: 10m }, { weight: 100% }]";

fn one(drain: &str) -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .with("runtime", &format!("{{ workers: 2, drain: {drain} }}"));
    (v1, site)
}

/// How many upgrades a test does: few in every run, as many as are asked for in a long one.
fn upgrades() -> usize {
    let asked = std::env::var("TIDEGATE_UPGRADES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// Users who open a connection for every request.
fn strangers(address: SocketAddr, users: usize) -> Load {
    Load::start(users, move |user, stop| {
        each_request(user, stop, Duration::from_millis(3), |_| {
            let mut conn = Conn::try_open(address).map_err(|e| format!("no connection: {e}"))?;
            let answer = conn.try_request("GET", "/load", &["Connection: close"], b"");
            answer
                .map(|a| (a.status, a.version().to_owned()))
                .map_err(|e| format!("{e} ({:?})", e.kind()))
        })
    })
}

/// Users of HTTP/2. A request that could not be sent any more, since the server has said that it goes away, is sent over
/// another connection, as every client of HTTP/2 does; one that was sent must be answered.
fn streams(address: SocketAddr, users: usize) -> Load {
    Load::start(users, move |user, stop| {
        let header = format!("x-user-id: {user}");
        let mut conn: Option<H2Client> = None;
        each_request(user, stop, Duration::from_millis(3), move |_| {
            for _ in 0..2 {
                let open = match &mut conn {
                    Some(open) => open,
                    None => conn.insert(H2Client::try_open(address)?),
                };
                match open.try_stream("GET", "/load", &[&header], true) {
                    Ok(mut stream) => {
                        let answer = stream.finish().inspect_err(|_| conn = None)?;
                        return Ok((answer.status, answer.version().to_owned()));
                    }
                    Err(_) => conn = None,
                }
            }
            Err("no stream on a new connection".to_owned())
        })
    })
}

#[track_caller]
fn all_good(what: &str, records: &[Record]) {
    let bad = failures(records);
    assert!(records.len() > 100, "{what}: {} requests", records.len());
    assert!(
        bad.is_empty(),
        "{what}: {} requests, of which these failed: {bad:#?}",
        records.len()
    );
}

#[test]
fn upgrades_cost_nobody_a_request() {
    let (_v1, site) = one("{ min: 0s, max: 20s }");
    let mut proxy = Proxy::start(&site);
    let address = proxy.address("in");
    let kept = Load::http1(address, 6, Duration::from_millis(2));
    let slow = Load::http1(address, 4, Duration::from_millis(700));
    let (new, h2c) = (strangers(address, 4), streams(address, 4));
    std::thread::sleep(Duration::from_millis(200));
    let mut formers = VecDeque::new();
    for _ in 0..upgrades() {
        let mut socket = WebSocket::open(address, "/", &[]);
        assert_eq!(socket.say("a"), "v1:a");
        let mut download = proxy.connect();
        download.send("GET /?bytes=100000&chunks=10&pace=100 HTTP/1.1\r\nHost: t\r\n\r\n");
        let mut former = proxy.take_over();
        assert_eq!(proxy.address("in"), address, "the very same sockets");
        assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
        assert!(former.runs(), "the WebSocket and the download are its own");
        assert_eq!(download.answer().body.len(), 100_000, "it is not cut");
        assert_eq!(socket.say("b"), "v1:b", "it talks on");
        formers.push_back((former, socket));
        // None is held longer than its drain may last.
        if formers.len() > 3 {
            leaves(formers.pop_front().expect("some are left"));
        }
    }
    for (what, load) in [
        ("kept connections", kept),
        ("slow users", slow),
        ("new connections", new),
        ("streams", h2c),
    ] {
        let records = load.finish();
        let count = records.len();
        if what == "slow users" {
            assert!(failures(&records).is_empty(), "{:#?}", failures(&records));
        } else {
            all_good(what, &records);
        }
        eprintln!("{what}: {count} requests, 0 failed");
    }
    formers.into_iter().for_each(leaves);
}

/// An old process, whose last caller goes.
#[track_caller]
fn leaves((mut former, socket): (Former, WebSocket)) {
    socket.close();
    assert_eq!(former.wait(Duration::from_secs(25)), 0, "a clean drain");
}

#[test]
fn the_admin_api_answers_at_once_as_the_new_process() {
    let (_v1, site) = one("{ min: 0s, max: 5s }");
    let mut proxy = Proxy::start(&site);
    let admin = proxy.admin();
    let before = proxy.status()["started_at"].clone();
    let mut kept = Conn::open(admin);
    let kept = kept.with_admin_host(admin);
    assert_eq!(kept.request("GET", "/readyz", &[], b"").status, 200);
    let mut former = proxy.take_over();
    let status = proxy.status();
    assert_ne!(status["started_at"], before, "{status}");
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
    assert!(
        kept.closes_within(Duration::from_secs(2)),
        "who kept a connection to the old one asks the new one"
    );
    assert_eq!(former.wait(Duration::from_secs(8)), 0);
    let socket = proxy.state().join("handover.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may ask for the sockets");
    proxy.finish();
    assert!(!socket.exists(), "who leaves for good takes it down");
}

#[test]
fn a_new_file_comes_into_force_with_the_new_process() {
    let (_v1, site) = one("{ min: 0s, max: 5s }");
    let two = "[{ name: in, address: \"127.0.0.1:0\" }, { name: side, address: \"127.0.0.1:0\" }]";
    let mut proxy = Proxy::start(&site.clone().with("listeners", two));
    let (main, side) = (proxy.address("in"), proxy.address("side"));
    for (workers, listeners) in [(1, "in"), (5, "in"), (3, "in")] {
        let runtime = format!("{{ workers: {workers}, drain: {{ min: 0s, max: 5s }} }}");
        let only = format!("[{{ name: {listeners}, address: \"127.0.0.1:0\" }}]");
        let next = site
            .clone()
            .with("runtime", &runtime)
            .with("listeners", &only);
        std::fs::write(proxy.file(), next.yaml()).unwrap();
        let _former = proxy.take_over();
        assert_eq!(proxy.address("in"), main);
        assert_eq!(proxy.status()["workers"], workers);
        // Whatever queue the kernel chooses, somebody serves it.
        let mut conns: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
        for conn in &mut conns {
            assert_eq!(conn.get("/", &[]).status, 200);
        }
        until("what the file does not name is closed", || {
            Conn::try_open(side).is_err()
        });
    }
}

#[test]
fn a_rollout_goes_on_where_it_stood_and_what_was_rolled_back_stays_back() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let mut former = proxy.take_over();
    let seen = proxy.stays("holding", 50.0);
    assert_eq!(seen["stage"], 1, "{seen}");
    // One who keeps a connection to the old process, and is on the candidate.
    former.wait(Duration::from_secs(8));
    let mut kept: Vec<_> = (0..20)
        .map(|number| (format!("x-user-id: u{number}"), proxy.connect()))
        .collect();
    kept.retain_mut(|(user, conn)| conn.get("/", &[user]).version() == "v2");
    assert!(!kept.is_empty());
    let mut former = proxy.take_over();
    proxy.obeys("rollback");
    std::thread::sleep(Duration::from_millis(100));
    for (user, conn) in &mut kept {
        let answer = conn.get("/", &[user]);
        assert_eq!(answer.version(), "v1", "a rollback reaches the old process");
        assert_eq!(answer.header("connection"), "close");
    }
    former.wait(Duration::from_secs(8));
    let _former = proxy.take_over();
    proxy.stays("rolled_back", 0.0);
    let history = proxy.ask("GET", "/api/v1/history", "").json();
    let seqs: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["seq"].as_u64())
        .collect();
    assert!(
        seqs.is_sorted() && seqs.len() >= 2,
        "one history: {history}"
    );
}

#[test]
fn a_bad_candidate_goes_back_while_upgrades_go_on() {
    let planned = Planned::by(
        "stages: [{ weight: 50%, hold: 10m }, { weight: 100% }], guard: { error_rate: { above: 5%, window: 10s, min_requests: 20 } }",
    );
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let load = Load::http1(proxy.address("in"), 16, Duration::from_millis(5));
    let _one = proxy.take_over();
    planned.v2.turn(Mood::Fails(500));
    let _two = proxy.take_over();
    proxy.reaches("rolled_back", 0.0);
    let _three = proxy.take_over();
    proxy.stays("rolled_back", 0.0);
    drop(load.finish());
}

#[test]
fn a_bad_file_is_told_to_whoever_starts_the_new_process_and_to_nobody_else() {
    let (_v1, site) = one("{ min: 0s, max: 5s }");
    let mut proxy = Proxy::start(&site);
    let bad = proxy.folder().join("bad.yaml");
    std::fs::write(
        &bad,
        site.clone()
            .with("routes", "[{ service: nothing, rules: [] }]")
            .yaml(),
    )
    .unwrap();
    let state = proxy.state().to_owned();
    let start = |file: &Path, state: &Path| {
        let [file, state] = [file, state].map(|path| path.to_str().unwrap());
        let told = crate::harness::command(
            &["run", "--config", file, "--state-dir", state, "--take-over"],
            "",
        );
        (
            told.status.code(),
            String::from_utf8_lossy(&told.stderr).into_owned(),
        )
    };
    let (code, told) = start(&bad, &state);
    assert_eq!(code, Some(1), "{told}");
    // What it cannot bind is the machine's fault: it has asked already, and the old one goes on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!(
        "[{{ name: in, address: \"{}\" }}]",
        taken.local_addr().unwrap()
    );
    assert!(
        !proxy.log().iter().any(|line| line.contains("take over")),
        "it never heard of it"
    );
    std::fs::write(&bad, site.with("listeners", &elsewhere).yaml()).unwrap();
    let (code, told) = start(&bad, &state);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("cannot bind"), "{told}");
    proxy.logs(&["ERROR", "does not take over", "goes on as before"]);
    assert_eq!(proxy.get("/", &[]).status, 200);
    let (code, told) = start(proxy.file(), &proxy.folder().join("another"));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("nobody to take over from"), "{told}");
    assert!(proxy.runs());
    let _former = proxy.take_over();
}

/// What the running process is told by somebody who plays the new one, and how far he goes. He is a process of his own:
/// he may be ended.
#[test]
#[ignore = "a part of other tests"]
fn puppet() {
    let Ok(plan) = std::env::var("TIDEGATE_PUPPET") else {
        return;
    };
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let state = PathBuf::from(plan["state"].as_str().unwrap());
    let line = UnixStream::connect(state.join("handover.sock")).unwrap();
    let say = |words: &Value| {
        let text = words.to_string();
        (&line)
            .write_all(&u32::try_from(text.len()).unwrap().to_be_bytes())
            .unwrap();
        (&line).write_all(text.as_bytes()).unwrap();
    };
    let hear = || {
        let mut length = [0; 4];
        (&line).read_exact(&mut length).unwrap();
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        (&line).read_exact(&mut text).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()
    };
    for words in plan["says"].as_array().unwrap() {
        say(words);
        let _: Value = hear();
        if words["taken"].is_null() && plan["says"].as_array().unwrap().len() > 1 {
            // The sockets: one byte for each batch.
            (&line).read_exact(&mut [0]).unwrap();
        }
    }
    let lock = plan["locks"] == true;
    let held = lock.then(|| {
        let lock = std::fs::File::open(state.join("lock")).unwrap();
        lock.lock().unwrap();
        lock
    });
    if plan["hangs"] == true {
        std::thread::sleep(Duration::from_secs(60));
    }
    drop(held);
}

struct Puppet(Child);

impl Puppet {
    fn start(proxy: &Proxy, plan: &Value) -> Self {
        let mut plan = plan.clone();
        plan["state"] = proxy.state().to_str().unwrap().into();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "takeover::puppet"])
            .env("TIDEGATE_PUPPET", plan.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    #[track_caller]
    fn ends_within(&mut self, within: Duration) {
        eventually("the puppet is ended", within, || {
            match self.0.try_wait().unwrap() {
                Some(_) => Ok(()),
                None => Err("it runs".to_owned()),
            }
        });
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hello(protocol: u32) -> Value {
    json!({ "protocol": protocol, "version": "99.0.0" })
}

#[test]
fn a_new_process_that_dies_or_hangs_before_it_accepts_changes_nothing() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let load = Load::http1(proxy.address("in"), 8, Duration::from_millis(5));
    let ready = json!({ "taken": [0] });
    let lines = |proxy: &Proxy| {
        let log = proxy.log();
        log.iter()
            .filter(|line| line.contains("goes on as before"))
            .count()
    };
    for (times, plan, is_ended) in [
        // It dies with the sockets in its hands.
        (
            1,
            json!({ "says": [hello(1), ready], "hangs": false }),
            false,
        ),
        // It says that it is ready and then nothing: it may take itself for the one who decides.
        (2, json!({ "says": [hello(1), ready], "hangs": true }), true),
    ] {
        let mut puppet = Puppet::start(&proxy, &plan);
        eventually("it goes on", Duration::from_secs(20), || {
            if lines(&proxy) == times {
                Ok(())
            } else {
                Err(proxy.log().join("\n"))
            }
        });
        if is_ended {
            puppet.ends_within(Duration::from_secs(5));
        }
        let seen = proxy.stays("holding", 50.0);
        assert_eq!(seen["stage"], 1, "{seen}");
    }
    let other = Puppet::start(&proxy, &json!({ "says": [hello(2)], "hangs": false }));
    proxy.logs(&["nothing is handed over", "99.0.0", "protocol 2"]);
    drop(other);
    assert!(failures(&load.finish()).is_empty());
    // It is the owner of the journal again.
    proxy.obeys("pause");
    proxy.finish();
    proxy.start_again();
    proxy.stays("paused", 50.0);
}

#[test]
fn a_rollback_while_the_journal_is_away_is_in_force_at_once_and_remembered() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let plan = json!({ "says": [hello(1)], "hangs": true, "locks": true });
    let mut puppet = Puppet::start(&proxy, &plan);
    proxy.logs(&["wants to take over"]);
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    proxy.obeys("rollback");
    proxy.reaches("rolled_back", 0.0);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it waits for nobody"
    );
    assert_eq!(proxy.get("/", &["x-user-id: a"]).version(), "v1");
    eventually("it goes on", Duration::from_secs(20), || {
        let log = proxy.log();
        let on = log.iter().any(|line| line.contains("goes on as before"));
        if on { Ok(()) } else { Err(log.join("\n")) }
    });
    // Whoever keeps the state directory and does not take over is ended.
    puppet.ends_within(Duration::from_secs(5));
    proxy.stays("rolled_back", 0.0);
    proxy.kill();
    proxy.start_again();
    proxy.stays("rolled_back", 0.0);
}

/// The process that has taken over, which is nobody's child here.
fn heir(proxy: &Proxy, times: usize) -> Pid {
    eventually("somebody has taken over", Duration::from_secs(15), || {
        let entries = proxy.entries();
        let handed = entries.iter().filter(|entry| {
            entry["message"]
                .as_str()
                .is_some_and(|m| m.contains("handed over to process"))
        });
        let handed: Vec<_> = handed
            .filter_map(|entry| entry["successor"].as_i64())
            .collect();
        match handed.get(times - 1) {
            Some(pid) => Ok(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap()),
            None => Err(proxy.log().join("\n")),
        }
    })
}

fn ends(pid: Pid) {
    let _ = kill_process(pid, Signal::TERM);
    let state = PathBuf::from(format!("/proc/{}/stat", pid.as_raw_pid()));
    until("it has ended", || {
        // Where nobody asks for its end it stays as a zombie.
        let stat = std::fs::read_to_string(&state);
        test_kill_process(pid).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    });
}

#[test]
fn sigusr2_starts_the_program_again_and_the_supervisor_learns_who_it_is() {
    let (_v1, site) = one("{ min: 0s, max: 5s }");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let hear = || {
        let mut words = [0; 256];
        let length = supervisor.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let mut proxy = Launch::new(&site)
        .after(&format!("export NOTIFY_SOCKET={}", path.display()))
        .start();
    let own = format!("READY=1\nMAINPID={}\n", proxy.pid().as_raw_pid());
    assert_eq!(hear(), own);

    // A file that is bad by now: the new process ends, this one goes on.
    let good = std::fs::read(proxy.file()).unwrap();
    std::fs::write(proxy.file(), "version: 1\nnonsense: true\n").unwrap();
    proxy.signal(Signal::USR2);
    proxy.logs(&["ERROR", "ended before it took over", "this one goes on"]);
    assert_eq!(proxy.get("/", &[]).status, 200);

    std::fs::write(proxy.file(), good).unwrap();
    let load = strangers(proxy.address("in"), 4);
    proxy.signal(Signal::USR2);
    let pid = heir(&proxy, 1);
    let mut told = [hear(), hear()];
    told.sort();
    let pid_text = pid.as_raw_pid();
    assert_eq!(
        told,
        [
            format!("MAINPID={pid_text}\n"),
            format!("READY=1\nMAINPID={pid_text}\n")
        ]
    );
    assert_eq!(proxy.wait(Duration::from_secs(8)), 0);
    std::thread::sleep(Duration::from_millis(300));
    let records = load.finish();
    ends(pid);
    assert!(failures(&records).is_empty(), "{:#?}", failures(&records));
}

#[test]
fn the_old_process_goes_sooner_when_it_is_told_to_and_says_so_when_the_new_one_dies() {
    let (_v1, site) = one("{ min: 0s, max: 60s }");
    let mut proxy = Proxy::start(&site);
    let address = proxy.address("in");
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/", &[]).status, 200);
    let mut socket = WebSocket::open(address, "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    let mut former = proxy.take_over();
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        !idle.closes_within(Duration::from_millis(100)),
        "it may ask once more"
    );
    former.signal(Signal::TERM);
    assert!(idle.closes_within(Duration::from_secs(5)), "no longer");
    assert_eq!(socket.say("b"), "v1:b", "what is under way stays");
    socket.close();
    assert_eq!(former.wait(Duration::from_secs(5)), 0);

    let mut socket = WebSocket::open(address, "/", &[]);
    let mut former = proxy.take_over();
    proxy.kill();
    proxy.logs(&["ERROR", "is gone: nobody accepts connections"]);
    assert!(
        Conn::try_open(address).is_err(),
        "that is a crash, as any other"
    );
    assert_eq!(socket.say("c"), "v1:c");
    socket.close();
    assert_eq!(former.wait(Duration::from_secs(5)), 0);
    proxy.start_again();
    proxy.will_exit_with(0);
}
