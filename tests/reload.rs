//! The file is the steering wheel: an edit is in force within a second, on old connections too, and costs nobody a
//! request; a bad edit changes nothing and says why.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Conn, Echo, H2Client, Launch, Load, Proxy, Record, Signal, Site, WebSocket, command,
    each_request, eventually, failures, grpc_frame, until,
};

fn two() -> (Backend, Backend, Site) {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    (v1, v2, site)
}

fn to(version: &str) -> String {
    format!("[{{ name: r, to: {version} }}]")
}

#[test]
fn a_hundred_edits_under_load_fail_no_request_and_close_no_connection() {
    let (v1, v2, site) = two();
    let grpc = Backend::h2c("g1");
    let site = |weight: u32| {
        let app = Site::service_text("app", "", &[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
        let calls = Site::service_text("calls", "protocol: h2c", &[("g1", grpc.endpoint())]);
        site.clone()
            .with(
                "services",
                &format!("{app}{}", calls.trim_start_matches('\n')),
            )
            .with(
                "routes",
                &format!(
                    r#"
  - {{ name: calls, match: {{ path: {{ prefix: /calls }} }}, service: calls, rules: [] }}
  - name: app
    service: app
    rules: [{{ name: r, split: {{ by: user, weights: {{ v2: {weight}%, v1: {}% }} }} }}]"#,
                    100 - weight
                ),
            )
    };
    let proxy = Proxy::start(&site(0));
    let address = proxy.address("in");
    let http1 = Load::http1(address, 8, Duration::from_millis(4));
    let http2 = Load::h2c(address, 4, Duration::from_millis(8));
    let talk = Load::start(1, move |user, stop| {
        let mut socket = WebSocket::open(address, "/socket", &[]);
        let mut count = 0;
        each_request(user, stop, Duration::from_millis(10), move |_| {
            count += 1;
            let said = socket.try_say(&format!("{count}"))?;
            if said.ends_with(&format!(":{count}")) {
                Ok((200, String::new()))
            } else {
                Err(said)
            }
        })
    });
    let stream = Load::start(1, move |user, stop| {
        let mut client = H2Client::open(address);
        let mut call = client.stream(
            "POST",
            "/calls/Chat",
            &["content-type: application/grpc", "te: trailers"],
        );
        let records = each_request(user, stop, Duration::from_millis(10), |_| {
            let message = grpc_frame(b"still there?");
            call.send(message.clone(), false)?;
            let mut back = Vec::new();
            while back.len() < message.len() {
                back.extend(call.data()?.ok_or("the stream ended")?);
            }
            if back == message {
                Ok((200, String::new()))
            } else {
                Err("another message came back".to_owned())
            }
        });
        call.send(Vec::new(), true)
            .expect("the stream can be ended");
        while call.data().expect("an end in order").is_some() {}
        assert_eq!(
            call.trailers().expect("trailers").get("grpc-status"),
            Some("0")
        );
        records
    });
    let mut slowest = Duration::ZERO;
    for edit in 1..=100 {
        slowest = slowest.max(proxy.edit(&site(edit)));
    }
    let records = [http1, http2, talk, stream].map(Load::finish);
    for (records, who) in
        records
            .iter()
            .zip(["HTTP/1.1", "HTTP/2", "the WebSocket", "the gRPC stream"])
    {
        assert!(
            records.len() > 100,
            "{who} was busy: {} requests",
            records.len()
        );
        assert!(
            failures(records).is_empty(),
            "{who} during 100 edits: {:#?}",
            failures(records)
        );
        let again = records.iter().filter(|r| r.reconnected).count();
        assert_eq!(again, 0, "connections of {who} that had to be opened anew");
    }
    nobody_went_back(&records[0]);
    nobody_went_back(&records[1]);
    eprintln!("the slowest of 100 edits took {slowest:?}");
}

/// While the share only grows, nobody who had the candidate gets stable again.
#[track_caller]
fn nobody_went_back(records: &[Record]) {
    let mut candidate = std::collections::BTreeMap::<&str, bool>::new();
    for record in records {
        let Ok((_, version)) = &record.outcome else {
            continue;
        };
        let had = candidate.entry(&record.user).or_default();
        assert!(
            !*had || version == "v2",
            "{} had v2 and got {version}",
            record.user
        );
        *had |= version == "v2";
    }
}

#[test]
fn an_edit_counts_on_connections_that_are_open_already() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let (mut one, mut two) = (proxy.connect(), H2Client::open(proxy.address("in")));
    assert_eq!(
        (one.get("/", &[]).version(), two.get("/", &[]).version()),
        ("v1", "v1")
    );
    proxy.edit(&site.rules(&to("v2")));
    assert_eq!(
        (one.get("/", &[]).version(), two.get("/", &[]).version()),
        ("v2", "v2")
    );
}

#[test]
fn a_request_in_flight_ends_as_it_began() {
    let (v1, _v2, site) = two();
    let with = |version: &str, mark: &str| {
        site.clone().route(
            &format!("response_headers: {{ set: {{ x-mark: {mark} }} }}"),
            &to(version),
        )
    };
    let proxy = Proxy::start(&with("v1", "old"));
    let mut slow = proxy.connect();
    slow.send("GET /?delay=1500 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it is on its way", || v1.requests() == 1);
    proxy.edit(&with("v2", "new"));
    let answer = proxy.get("/", &[]);
    assert_eq!((answer.version(), answer.header("x-mark")), ("v2", "new"));
    let answer = slow.answer();
    assert_eq!(
        (answer.version(), answer.header("x-mark")),
        ("v1", "old"),
        "it keeps the rules it began with"
    );
    assert_eq!(
        slow.get("/", &[]).version(),
        "v2",
        "the next one on its connection has the new ones"
    );
}

#[test]
fn what_did_not_change_keeps_its_warm_connections_and_its_counters() {
    let (v1, _v2, site) = two();
    let site = site.with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site.clone().rules("[{ name: before, to: v1 }]"));
    let mut conn = proxy.connect();
    let ask = |conn: &mut Conn| Echo::of(&conn.get("/", &[])).connection;
    let first = ask(&mut conn);
    proxy.counts("tidegate_requests_total", &[("version", "v1")], 1.0);
    for name in ["after", "later"] {
        proxy.edit(&site.clone().rules(&format!("[{{ name: {name}, to: v1 }}]")));
        assert_eq!(ask(&mut conn), first, "the same connection to the backend");
    }
    proxy.counts("tidegate_requests_total", &[("version", "v1")], 3.0);
    assert_eq!(v1.connections(), 1);
}

#[test]
fn an_endpoint_that_is_removed_finishes_what_it_has_and_gets_nothing_more() {
    let (v1, _v2, site) = two();
    let other = Backend::start("v1");
    let with = |endpoints: String| site.clone().service("", &[("v1", endpoints)]);
    let proxy = Proxy::start(&with(v1.endpoint()));
    let mut slow = proxy.connect();
    slow.send("GET /?delay=1200 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it is on its way", || v1.requests() == 1);
    proxy.edit(&with(other.endpoint()));
    for _ in 0..20 {
        assert_eq!(proxy.get("/", &[]).status, 200);
    }
    assert_eq!(v1.requests(), 1, "nothing more for the endpoint that left");
    assert_eq!(other.requests(), 20);
    assert_eq!(slow.answer().status, 200, "what it had is finished");
    // Both stand in the file again: the newcomer shares the work.
    proxy.edit(&with(format!("{}, {}", v1.endpoint(), other.endpoint())));
    for _ in 0..60 {
        assert_eq!(proxy.get("/", &[]).status, 200);
    }
    assert!(
        v1.requests() > 10,
        "an endpoint that is added joins: {} of 60",
        v1.requests() - 1
    );
}

#[test]
fn a_version_that_is_removed_leaves_its_users_to_stable() {
    let (v1, _v2, site) = two();
    let proxy = Proxy::start(
        &site
            .clone()
            .rules("[{ split: { by: user, weights: { v2: 100%, v1: 0% } } }]"),
    );
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/", &["x-user-id: 1"]).version(), "v2");
    proxy.edit(&Site::of(&[("v1", v1.endpoint())]));
    assert_eq!(conn.get("/", &["x-user-id: 1"]).version(), "v1");
}

#[test]
fn a_websocket_and_a_stream_survive_edits_of_everything_but_their_endpoint() {
    let (v1, v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    for edited in [
        site.clone().rules(&to("v2")),
        site.clone().route("timeouts: { request: 2s }", &to("v1")),
        site.clone().listener("limits: { header_count: 50 }"),
        site.clone()
            .with("routes", "[{ name: said, respond: { status: 200 } }]"),
        Site::of(&[("v1", v1.endpoint())]),
        Site::of(&[("v1", v1.endpoint()), ("v3", v2.endpoint())]).rules(&to("v3")),
    ] {
        proxy.edit(&edited);
        assert_eq!(socket.say("still"), "v1:still");
    }
    assert!(socket.close(), "it closes in order");
}

#[test]
fn every_way_of_writing_the_file_is_seen() {
    let (_v1, _v2, site) = two();
    let text = |version: &str| site.clone().rules(&to(version)).yaml();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let mut conn = proxy.connect();
    let mut written = |how: &str, version: &str, write: &dyn Fn(&str)| {
        let (before, start) = (proxy.revision(), Instant::now());
        write(&text(version));
        let took = proxy.in_force_after(before, start);
        assert_eq!(
            conn.get("/", &[]).version(),
            version,
            "{how}, after {took:?}"
        );
    };
    let (file, folder) = (proxy.file(), proxy.folder());
    written("an atomic rename", "v2", &|text| proxy.write(text));
    written("in place", "v1", &|text| fs::write(file, text).unwrap());
    written("in place, again", "v2", &|text| {
        fs::write(file, text).unwrap()
    });
    written("a backup beside, then a new file", "v1", &|text| {
        fs::rename(file, folder.join("tidegate.yaml~")).unwrap();
        fs::write(file, text).unwrap();
    });
    written("in two halves", "v2", &|text| {
        let (a, b) = text.split_at(text.len() / 2);
        fs::write(file, a).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        fs::write(file, format!("{a}{b}")).unwrap();
    });
    written("a link to another file", "v1", &|text| {
        fs::write(folder.join("real.yaml"), text).unwrap();
        std::os::unix::fs::symlink("real.yaml", folder.join("link")).unwrap();
        fs::rename(folder.join("link"), file).unwrap();
    });
}

#[test]
fn the_swap_of_a_kubernetes_config_map_is_seen() {
    let (_v1, _v2, site) = two();
    let text = |version: &str| site.clone().rules(&to(version)).yaml();
    let launch = Launch::text(&text("v1")).file("etc/tidegate.yaml");
    let etc = launch.folder().join("etc");
    let generation = |name: &str, text: &str| {
        fs::create_dir_all(etc.join(name)).unwrap();
        fs::write(etc.join(name).join("tidegate.yaml"), text).unwrap();
    };
    generation("..2026_01", &text("v1"));
    std::os::unix::fs::symlink("..2026_01", etc.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/tidegate.yaml", etc.join("tidegate.yaml")).unwrap();
    let proxy = launch.start();
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/", &[]).version(), "v1");
    for (name, old, version) in [
        ("..2026_02", "..2026_01", "v2"),
        ("..2026_03", "..2026_02", "v1"),
    ] {
        let (before, start) = (proxy.revision(), Instant::now());
        generation(name, &text(version));
        std::os::unix::fs::symlink(name, etc.join("..data_tmp")).unwrap();
        fs::rename(etc.join("..data_tmp"), etc.join("..data")).unwrap();
        fs::remove_dir_all(etc.join(old)).unwrap();
        proxy.in_force_after(before, start);
        assert_eq!(conn.get("/", &[]).version(), version);
    }
}

#[test]
fn a_file_that_is_halved_emptied_or_deleted_changes_nothing_and_is_told() {
    let (_v1, _v2, site) = two();
    let text = |version: &str| site.clone().rules(&to(version)).yaml();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let mut conn = proxy.connect();
    let revision = proxy.revision();
    let mut harmless = |how: &str| {
        eventually(&format!("{how} is told"), Duration::from_secs(5), || {
            let config = proxy.config();
            if config["ok"] == false {
                Ok(())
            } else {
                Err(config.to_string())
            }
        });
        let config = proxy.config();
        assert_eq!(config["revision"], revision, "{how}: {config}");
        assert!(
            config["problems"].as_array().is_some_and(|p| !p.is_empty()),
            "{how}: {config}"
        );
        assert_eq!(conn.get("/", &[]).version(), "v1", "{how}");
        assert_eq!(
            proxy.ask("GET", "/readyz", "").status,
            200,
            "{how}: what is in force still serves"
        );
    };
    let half = text("v2");
    fs::write(proxy.file(), &half[..half.len() - 20]).unwrap();
    harmless("half a file");
    fs::write(proxy.file(), "").unwrap();
    harmless("an empty file");
    fs::write(proxy.file(), text("v1")).unwrap();
    eventually("the file is fine again", Duration::from_secs(5), || {
        let config = proxy.config();
        if config["ok"] == true {
            Ok(())
        } else {
            Err(config.to_string())
        }
    });
    let revision = proxy.revision();
    fs::remove_file(proxy.file()).unwrap();
    eventually("the loss is told", Duration::from_secs(5), || {
        let config = proxy.config();
        if config["ok"] == false {
            Ok(())
        } else {
            Err(config.to_string())
        }
    });
    assert_eq!(proxy.revision(), revision);
    assert_eq!(conn.get("/", &[]).version(), "v1");
    let start = Instant::now();
    fs::write(proxy.file(), text("v2")).unwrap();
    proxy.in_force_after(revision, start);
    assert_eq!(
        conn.get("/", &[]).version(),
        "v2",
        "and when it is back it counts"
    );
}

#[test]
fn the_same_bytes_again_are_no_edit() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let revision = proxy.revision();
    proxy.write(&site.clone().rules(&to("v1")).yaml());
    assert_eq!(proxy.ask("POST", "/api/v1/config/reload", "").status, 200);
    assert_eq!(proxy.revision(), revision);
    proxy.edit(&site.rules(&to("v2")));
    assert!(proxy.revision() > revision);
    assert!(proxy.metrics().sum("tidegate_config_revision", &[]) > revision as f64);
}

#[test]
fn a_signal_and_the_api_read_the_file_again() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let mut conn = proxy.connect();
    let (before, start) = (proxy.revision(), Instant::now());
    proxy.write(&site.clone().rules(&to("v2")).yaml());
    proxy.signal(Signal::HUP);
    proxy.in_force_after(before, start);
    assert_eq!(conn.get("/", &[]).version(), "v2");
    proxy.write(&site.clone().rules(&to("v1")).yaml());
    let answer = proxy.ask("POST", "/api/v1/config/reload", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        conn.get("/", &[]).version(),
        "v1",
        "the API's reload is in force when it answers"
    );
    proxy.write(&site.rules(&to("v9")).yaml());
    let answer = proxy.ask("POST", "/api/v1/config/reload", "");
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.header("content-type").contains("json"),
        "{:?}",
        answer.fields
    );
    let told = answer.json();
    assert!(
        told["problems"][0]["line"].as_u64().is_some_and(|l| l > 0),
        "with the problems: {told}"
    );
    assert_eq!(conn.get("/", &[]).version(), "v1");
}

#[test]
fn listeners_open_and_close_by_edit() {
    let (v1, _v2, site) = two();
    let listeners = |names: &[&str]| {
        let items: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, n)| format!("{{ name: {n}, address: \"127.0.0.{}:0\" }}", i + 1))
            .collect();
        site.clone()
            .with("listeners", &format!("[{}]", items.join(", ")))
    };
    let proxy = Proxy::start(&listeners(&["in"]));
    let first = proxy.address("in");
    proxy.edit(&listeners(&["in", "more"]));
    let more = proxy.address("more");
    let mut kept = Conn::open(more);
    assert_eq!(kept.get("/", &[]).status, 200);
    let mut slow = Conn::open(more);
    slow.send("GET /?delay=800 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it is on its way", || v1.requests() == 2);
    proxy.edit(&listeners(&["in"]));
    eventually(
        "the listener is closed",
        Duration::from_secs(3),
        || match Conn::try_open(more) {
            Err(_) => Ok(()),
            Ok(_) => Err("it still accepts".into()),
        },
    );
    assert_eq!(
        slow.answer().status,
        200,
        "what was in flight ends in order"
    );
    assert_eq!(
        Conn::open(first).get("/", &[]).status,
        200,
        "the other one is where it was"
    );
    drop((kept, slow));
    proxy.edit(&listeners(&["in", "more"]));
    assert_eq!(Conn::open(proxy.address("more")).get("/", &[]).status, 200);
}

#[test]
fn a_listener_that_cannot_be_bound_refuses_the_edit() {
    let (_v1, _v2, site) = two();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let proxy = Proxy::start(&site);
    let revision = proxy.revision();
    let both = format!(
        "[{{ name: in, address: \"127.0.0.1:0\" }}, {{ name: b, address: \"{address}\" }}]"
    );
    proxy.bad_edit(
        &site
            .clone()
            .with("listeners", &both)
            .rules(&to("v2"))
            .yaml(),
    );
    proxy.logs(&[&address.to_string()]);
    assert_eq!(
        (proxy.revision(), proxy.get("/", &[]).version()),
        (revision, "v1"),
        "nothing changed"
    );
    let refused = site.with("listeners", &both);
    let written = refused.yaml();
    let line = written.lines().position(|line| line.contains(&both));
    let place = format!("tidegate.yaml:{}:", line.unwrap() + 1);
    proxy.logs(&[&place]);
    let (code, log) = Launch::new(&refused).fails();
    assert_eq!(code, 2, "at the start it is exit 2:\n{log}");
    assert!(log.contains(&format!("cannot bind {address}")), "{log}");
    let first = log.lines().position(|line| line.contains(&place));
    let started = log.lines().position(|line| line.contains("starts"));
    assert!(
        first > started,
        "told in the order in which it happened, with its place:\n{log}"
    );
}

#[test]
fn what_needs_a_restart_says_so_and_the_rest_of_the_edit_counts() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    proxy.edit(
        &site
            .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }")
            .rules(&to("v2")),
    );
    assert_eq!(proxy.get("/", &[]).version(), "v2");
    assert_eq!(proxy.status()["workers"], 2);
    proxy.logs(&["needs a restart", "workers"]);
}

#[test]
fn included_files_count_and_reload() {
    let (v1, _v2, site) = two();
    let site = site.with(
        "runtime",
        "{ workers: 1, drain: { min: 0s, max: 5s }, include: [\"routes.d/*.yaml\"] }",
    );
    let launch = Launch::new(&site.without("routes"));
    fs::create_dir(launch.folder().join("routes.d")).unwrap();
    let route =
        |version: &str| format!("routes: [{{ service: app, rules: [{{ to: {version} }}] }}]\n");
    fs::write(launch.folder().join("routes.d/app.yaml"), route("v1")).unwrap();
    let proxy = launch.start();
    assert_eq!(proxy.get("/", &[]).version(), "v1");
    let (before, start) = (proxy.revision(), Instant::now());
    fs::write(proxy.folder().join("routes.d/app.yaml"), route("v2")).unwrap();
    proxy.in_force_after(before, start);
    assert_eq!(proxy.get("/", &[]).version(), "v2");
    let more = Site::service_text("more", "", &[("v1", v1.endpoint())]);
    let (before, start) = (proxy.revision(), Instant::now());
    let text = format!(
        "services:{more}routes: [{{ match: {{ hosts: [more] }}, service: more, rules: [] }}]\n"
    );
    fs::write(proxy.folder().join("routes.d/more.yaml"), text).unwrap();
    proxy.in_force_after(before, start);
    assert_eq!(
        proxy.get("/", &["Host: more"]).version(),
        "v1",
        "a file that is new counts too"
    );
    let twice = route("v2");
    fs::write(proxy.folder().join("routes.d/twice.yaml"), twice).unwrap();
    eventually(
        "a name given twice is refused",
        Duration::from_secs(5),
        || {
            let config = proxy.config();
            let told = config["problems"].to_string().contains("twice.yaml");
            if config["ok"] == false && told {
                Ok(())
            } else {
                Err(config.to_string())
            }
        },
    );
}

/// Bad edits: what stands in the file, `§` where the finger must point (the column may be that of the key or of the
/// value), and a word that the message must hold.
const BAD: &[(&str, &str, &str)] = &[
    (
        "a version that is not there",
        "routes: [{ service: app, rules: [{ §to: §v3 }] }]",
        "v3",
    ),
    (
        "a service that is not there",
        "routes: [{ §service: §ap, rules: [] }]",
        "ap",
    ),
    (
        "an unknown key",
        "routes: [{ service: app, §rulez: [] }]",
        "rulez",
    ),
    (
        "a key given twice",
        "routes: [{ service: app, rules: [], §service: §app }]",
        "service",
    ),
    (
        "shares that are not 100 %",
        "routes: [{ service: app, rules: [{ split: { §weights: §{ §v2: 10%, v1: 80% } } }] }]",
        "90",
    ),
    (
        "a share without its unit",
        "routes: [{ service: app, rules: [{ split: { weights: { §v2: §10, v1: 90% } } }] }]",
        "%",
    ),
    (
        "a share above 100 %",
        "routes: [{ service: app, rules: [{ split: { weights: { §v2: §110%, v1: 0% } } }] }]",
        "100",
    ),
    (
        "a share finer than a slot",
        "routes: [{ service: app, rules: [{ split: { weights: { §v2: §0.0001%, v1: 99.9999% } } }] }]",
        "0.001",
    ),
    (
        "a duration without its unit",
        "routes: [{ service: app, timeouts: { §request: §5 }, rules: [] }]",
        "10s",
    ),
    (
        "a regex that does not compile",
        "routes: [{ service: app, rules: [{ when: { header: { name: a, §regex: §\"(\" } }, to: v1 }] }]",
        "regex",
    ),
    (
        "two ways to match at once",
        "routes: [{ service: app, rules: [{ when: { §header: §{ name: a, exact: b, prefix: c } }, to: v1 }] }]",
        "exact",
    ),
    (
        "a rule with two targets",
        "routes: [{ service: app, rules: [§{ §to: v1, §split: { weights: { v1: 100% } } }] }]",
        "split",
    ),
    (
        "a rule without a target",
        "routes: [{ service: app, rules: [§{ when: { method: [GET] } }] }]",
        "to",
    ),
    (
        "a network that is none",
        "routes: [{ service: app, rules: [{ when: { §source: [§\"10.0.0.0/33\"] }, to: v1 }] }]",
        "10.0.0.0/33",
    ),
    (
        "a listener that is not there",
        "routes: [{ match: { §listener: §out }, service: app, rules: [] }]",
        "out",
    ),
    (
        "two routes of one name",
        "routes: [{ name: a, service: app, rules: [] }, { §name: §a, service: app, rules: [] }]",
        "a",
    ),
    (
        "a header name that is none",
        "routes: [{ service: app, request_headers: { set: { §\"x y\": §\"1\" } }, rules: [] }]",
        "x y",
    ),
    (
        "a template with an unknown place",
        "routes: [{ service: app, request_headers: { set: { §x: §\"{nobody}\" } }, rules: [] }]",
        "nobody",
    ),
    (
        "a redirect with another status",
        "routes: [{ redirect: { §status: §200, host: a } }]",
        "200",
    ),
    (
        "a key of a later release",
        "routes: [{ service: app, rules: [{ §guard: §{}, to: v1 }] }]",
        "guard",
    ),
    (
        "a list where a map belongs",
        "routes: [{ service: app, rules: §{ to: v1 } }]",
        "list",
    ),
    (
        "a wrong kind of number",
        "listeners: [{ name: in, address: \"127.0.0.1:0\", limits: { §header_count: §many } }]",
        "many",
    ),
    (
        "an address without a port",
        "listeners: [{ name: in, §address: §127.0.0.1 }]",
        "127.0.0.1",
    ),
    ("not YAML", "routes: [{ service: app, rules: [] §} §} ]", ""),
    (
        "an alias bomb's first step",
        "routes: [{ service: app, rules: [], name: §*nobody }]",
        "anchor",
    ),
];

#[test]
fn twenty_kinds_of_bad_edit_leave_the_old_revision_in_force_and_are_told_with_their_place() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let (revision, mut conn) = (proxy.revision(), proxy.connect());
    let mut wrong = Vec::new();
    for (what, section, word) in BAD {
        let (key, text) = section.split_once(": ").unwrap();
        let marked = site.clone().rules(&to("v1")).with(key, text).yaml();
        let (yaml, places) = unmark(&marked);
        let told = proxy.bad_edit(&yaml);
        let errors: Vec<_> = told.iter().filter(|p| p["severity"] == "error").collect();
        let place = |p: &serde_json::Value| {
            (
                p["line"].as_u64().unwrap_or(0),
                p["column"].as_u64().unwrap_or(0),
            )
        };
        let found = errors
            .iter()
            .find(|p| places.contains(&place(p)) && p.to_string().contains(word));
        let Some(problem) = found else {
            wrong.push(format!(
                "{what}: expected {places:?} and {word:?}, told {told:#?}"
            ));
            continue;
        };
        let (line, column) = place(problem);
        let code = problem["code"].as_str().unwrap_or("");
        if problem["hint"].as_str().unwrap_or("").is_empty() {
            wrong.push(format!("{what}: no way out in {problem}"));
        }
        proxy.logs(&[&format!("tidegate.yaml:{line}:{column}"), code]);
        let file = proxy.file().to_str().unwrap();
        let check = command(&["check", file], "");
        let text = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
        if check.status.code() != Some(1)
            || !text.contains(&format!(":{line}:{column}: error[{code}]: "))
        {
            wrong.push(format!("{what}: check says ({}) {text}", check.status));
        }
        if !text
            .lines()
            .any(|l| l.trim_start_matches(['|', ' ']).starts_with('^'))
            && line > 0
        {
            wrong.push(format!("{what}: no caret in {text}"));
        }
        let json = command(&["check", file, "--format", "json"], "");
        let list: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap_or_default();
        if json.status.code() != Some(1) || list[0]["code"].is_null() {
            wrong.push(format!("{what}: check --format json says {list}"));
        }
        assert_eq!(proxy.revision(), revision, "{what}");
        assert_eq!(conn.get("/", &[]).version(), "v1", "{what}");
    }
    let rejected = proxy.metrics().sum("tidegate_config_rejected_total", &[]);
    assert!(rejected >= BAD.len() as f64, "{rejected} refusals counted");
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        BAD.len(),
        wrong.join("\n\n")
    );
    proxy.edit(&site.rules(&to("v2")));
    assert_eq!(
        conn.get("/", &[]).version(),
        "v2",
        "the first good one counts again"
    );
}

/// The text without its marks, and where they stood: line and column in characters, from 1.
fn unmark(marked: &str) -> (String, Vec<(u64, u64)>) {
    let (mut clean, mut places, mut line, mut column) = (String::new(), Vec::new(), 1, 1);
    for c in marked.chars() {
        match c {
            '§' => places.push((line, column)),
            '\n' => {
                clean.push(c);
                (line, column) = (line + 1, 1);
            }
            c => {
                clean.push(c);
                column += 1;
            }
        }
    }
    (clean, places)
}

#[test]
fn all_problems_are_told_at_once() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site);
    let bad = site.with(
        "routes",
        r#"
  - { name: a, service: ap, rules: [] }
  - { name: b, service: app, rules: [{ to: v3 }, { split: { weights: { v1: 99% } } }] }
  - { name: b, service: app, rules: [] }"#,
    );
    let told = proxy.bad_edit(&bad.yaml());
    let lines: std::collections::BTreeSet<_> =
        told.iter().filter_map(|p| p["line"].as_u64()).collect();
    assert!(
        told.len() >= 4 && lines.len() >= 3,
        "four problems on three lines: {told:#?}"
    );
    let service = told.iter().find(|p| p.to_string().contains("ap")).unwrap();
    assert!(
        service.to_string().contains("app"),
        "did you mean: {service}"
    );
}

#[test]
fn edits_do_not_leak() {
    let (_v1, _v2, site) = two();
    let asked = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(&site.clone().rules(&to("v1")));
    let reload = |version: &str| {
        proxy.write(&site.clone().rules(&to(version)).yaml());
        assert_eq!(proxy.ask("POST", "/api/v1/config/reload", "").status, 200);
        assert_eq!(proxy.get("/", &[]).version(), version);
        asked.fetch_add(1, SeqCst);
    };
    for _ in 0..20 {
        reload("v2");
        reload("v1");
    }
    let (memory, files) = (proxy.resident_kib(), proxy.descriptors());
    for _ in 0..60 {
        reload("v2");
        reload("v1");
    }
    let grown = proxy.resident_kib().saturating_sub(memory);
    assert!(grown < 4096, "120 edits more took {grown} KiB, of {memory}");
    assert!(
        proxy.descriptors() <= files + 2,
        "{} open files, {files} before",
        proxy.descriptors()
    );
}

#[test]
fn two_listeners_on_port_0_get_a_port_each() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            "[{ name: in, address: \"127.0.0.1:0\" }, { name: other, address: \"127.0.0.1:0\" }]",
        )
        .with(
            "routes",
            "[{ name: other, match: { listener: other }, service: app, rules: [{ to: v2 }] }, \
              { name: rest, service: app, rules: [] }]",
        );
    let proxy = Proxy::start(&site);
    assert_ne!(proxy.address("in"), proxy.address("other"));
    assert_eq!(proxy.get("/", &[]).version(), "v1");
    let other = Conn::open(proxy.address("other")).get("/", &[]);
    assert_eq!(other.version(), "v2");
}

#[test]
fn what_an_endpoint_that_is_removed_still_carries_ends_after_the_drain() {
    let (v1, v2, _) = two();
    let (g1, g2) = (Backend::h2c("g1"), Backend::h2c("g2"));
    let site =
        |app: &Backend, calls: &Backend| {
            let app = Site::service_text("app", "", &[("v1", app.endpoint())]);
            let calls = Site::service_text("calls", "protocol: h2c", &[("g1", calls.endpoint())]);
            Site::new()
            .with("runtime", "{ workers: 2, drain: { min: 0s, max: 2s } }")
            .with("services", &format!("{app}{}", calls.trim_start_matches('\n')))
            .with(
                "routes",
                "[{ name: calls, match: { path: { prefix: /calls } }, service: calls, rules: [] }, \
                  { name: app, service: app, rules: [] }]",
            )
        };
    let proxy = Proxy::start(&site(&v1, &g1));
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    let mut client = H2Client::open(proxy.address("in"));
    let fields = ["content-type: application/grpc", "te: trailers"];
    let mut call = client.stream("POST", "/calls/Chat", &fields);
    call.send(grpc_frame(b"hello"), false).unwrap();
    assert!(call.data().unwrap().is_some());

    let edited = Instant::now();
    proxy.edit(&site(&v2, &g2));
    assert_eq!(socket.say("b"), "v1:b", "it has until the end of the drain");
    call.send(grpc_frame(b"still there?"), false).unwrap();
    assert!(call.data().unwrap().is_some());

    let gone = socket.try_hear();
    assert!(gone.is_err(), "the tunnel ends: {gone:?}");
    let broken = call.data();
    assert!(
        !matches!(broken, Ok(Some(_))),
        "the stream ends: {broken:?}"
    );
    let took = edited.elapsed();
    assert!(
        took > Duration::from_millis(1500) && took < Duration::from_secs(8),
        "after the drain, not at once and not never: {took:?}"
    );
    assert_eq!(proxy.get("/", &[]).version(), "v2");
}

#[test]
fn connections_of_a_listener_that_is_removed_drain() {
    let (v1, _v2, site) = two();
    let listeners = |text: &str| {
        site.clone()
            .with("runtime", "{ workers: 2, drain: { min: 0s, max: 2s } }")
            .with("listeners", text)
    };
    let one = "[{ name: in, address: \"127.0.0.1:0\" }]";
    let both = "[{ name: in, address: \"127.0.0.1:0\" }, { name: more, address: \"127.0.0.2:0\" }]";
    let proxy = Proxy::start(&listeners(both));
    let more = proxy.address("more");
    let mut stays = proxy.connect();
    assert_eq!(stays.get("/", &[]).status, 200);
    let (mut idle, mut http2) = (Conn::open(more), H2Client::open(more));
    assert_eq!(idle.get("/", &[]).status, 200);
    assert_eq!(http2.get("/", &[]).status, 200);
    let mut socket = WebSocket::open(more, "/", &[]);
    let mut slow = Conn::open(more);
    let before = v1.requests();
    slow.send("GET /?delay=1200 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it is on its way", || v1.requests() == before + 1);

    let edited = Instant::now();
    proxy.edit(&listeners(one));
    assert!(
        idle.closes_within(Duration::from_secs(2)),
        "who is idle goes at once"
    );
    assert!(
        http2.closes_within(Duration::from_secs(4)),
        "over HTTP/2 too"
    );
    assert_eq!(
        socket.say("a"),
        "v1:a",
        "a tunnel has until the end of the drain"
    );
    let answer = slow.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(socket.try_hear().is_err(), "the tunnel ends");
    let took = edited.elapsed();
    assert!(took < Duration::from_secs(8), "after the drain: {took:?}");
    assert_eq!(stays.get("/", &[]).status, 200, "the other listener's stay");
}

#[test]
fn a_listener_moves_from_one_address_to_all_and_back() {
    let (_v1, _v2, site) = two();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let at = |host: &str| {
        site.clone().with(
            "listeners",
            &format!("[{{ name: in, address: \"{host}:{port}\" }}]"),
        )
    };
    let proxy = Proxy::start(&at("127.0.0.1"));
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for host in ["0.0.0.0", "127.0.0.1", "[::]"] {
        proxy.edit(&at(host));
        assert_eq!(Conn::open(here).get("/", &[]).status, 200, "{host}");
    }
}

#[test]
fn a_listener_that_is_renamed_keeps_its_connections_and_its_counts() {
    let (_v1, _v2, site) = two();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let named = |name: &str| {
        let one = format!("[{{ name: {name}, address: \"{address}\" }}]");
        site.clone().with("listeners", &one)
    };
    let proxy = Proxy::start(&named("in"));
    let mut conn = Conn::open(address);
    assert_eq!(conn.get("/", &[]).status, 200);
    proxy.edit(&named("front"));
    assert_eq!(conn.get("/", &[]).status, 200);
    proxy.counts("tidegate_requests_total", &[("listener", "front")], 2.0);
    proxy.counts("tidegate_connections", &[("listener", "front")], 1.0);
}
