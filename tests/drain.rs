//! Leaving: readiness says no, what is in flight ends, nothing new is begun on old connections, and the deadline holds.

use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Conn, H2Client, Launch, Load, Proxy, Signal, Site, WebSocket, eventually, grpc_frame,
    soon, until,
};

fn one(drain: &str) -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .with("runtime", &format!("{{ workers: 2, drain: {drain} }}"));
    (v1, site)
}

#[test]
fn what_is_in_flight_ends_in_order_and_the_exit_code_is_0() {
    let (v1, site) = one("{ min: 0s, max: 10s }");
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start(&site);
        let address = proxy.address("in");
        let before = v1.requests();
        let mut one = proxy.connect();
        one.send("GET /?delay=700 HTTP/1.1\r\nHost: t\r\n\r\n");
        let mut long = proxy.connect();
        long.send("GET /?bytes=100000&chunks=10&pace=100 HTTP/1.1\r\nHost: t\r\n\r\n");
        let mut client = H2Client::open(address);
        let mut two = client.try_stream("GET", "/?delay=700", &[], true).unwrap();
        client.idle(Duration::from_millis(20));
        until("all three are on their way", || v1.requests() == before + 3);
        proxy.signal(signal);
        let answer = one.answer();
        assert_eq!(
            (
                answer.status,
                answer.header("connection").to_ascii_lowercase().as_str()
            ),
            (200, "close")
        );
        assert_eq!(long.answer().body.len(), 100_000, "a download is not cut");
        assert_eq!(two.finish().unwrap().status, 200);
        assert!(
            client.closes_within(Duration::from_secs(5)),
            "after GOAWAY and its last stream it closes"
        );
        assert_eq!(proxy.wait(Duration::from_secs(5)), 0);
        assert!(Conn::try_open(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn readiness_says_no_at_once_and_requests_are_taken_until_drain_min() {
    let (_v1, site) = one("{ min: 1500ms, max: 10s }");
    let mut proxy = Proxy::start(&site);
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/", &[]).status, 200);
    let mut http2 = H2Client::open(proxy.address("in"));
    assert_eq!(http2.get("/", &[]).status, 200);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    eventually("readyz says 503", Duration::from_secs(1), || {
        let answer = proxy.ask("GET", "/readyz", "");
        if answer.status == 503 {
            Ok(())
        } else {
            Err(answer.status.to_string())
        }
    });
    assert_eq!(proxy.ask("GET", "/healthz", "").status, 200, "it is alive");
    for mut client in [http2, H2Client::open(proxy.address("in"))] {
        assert_eq!(client.get("/", &[]).status, 200);
        assert!(
            client.closes_within(Duration::from_millis(600)),
            "who asks over HTTP/2 is asked to go"
        );
    }
    assert!(
        start.elapsed() < Duration::from_millis(1400),
        "before drain.min is over"
    );
    while start.elapsed() < Duration::from_millis(1100) {
        assert_eq!(
            proxy.get("/", &[]).status,
            200,
            "new connections are taken meanwhile"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(kept);
    assert_eq!(proxy.wait(Duration::from_secs(5)), 0);
    assert!(
        start.elapsed() >= Duration::from_millis(1400),
        "not before drain.min: {:?}",
        start.elapsed()
    );
}

#[test]
fn under_load_no_request_fails_while_clients_move_on() {
    let (_v1, site) = one("{ min: 500ms, max: 10s }");
    let mut proxy = Proxy::start(&site);
    let address = proxy.address("in");
    let load = Load::http1(address, 8, Duration::from_millis(2));
    std::thread::sleep(Duration::from_millis(300));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(Duration::from_secs(10)), 0);
    let records = load.finish();
    assert!(records.len() > 100);
    let bad: Vec<_> = records
        .iter()
        .filter(|r| !r.is_good())
        // Once nobody listens a new connection is refused: that is the end, not a failure.
        .filter(|r| !matches!(&r.outcome, Err(e) if e.contains("ConnectionRefused") || e.contains("refused")))
        .map(|r| format!("{:?}", r.outcome))
        .collect();
    assert!(
        bad.is_empty(),
        "{} of {}: {:#?}",
        bad.len(),
        records.len(),
        &bad[..bad.len().min(5)]
    );
}

#[test]
fn idle_connections_do_not_hold_the_drain_up() {
    let (_v1, site) = one("{ min: 0s, max: 20s }");
    let mut proxy = Proxy::start(&site);
    let mut idle: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
    for conn in &mut idle {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    let mut client = H2Client::open(proxy.address("in"));
    assert_eq!(client.get("/", &[]).status, 200);
    let silent = proxy.connect();
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert!(client.closes_within(Duration::from_secs(5)));
    assert_eq!(proxy.wait(Duration::from_secs(8)), 0);
    assert!(
        start.elapsed() < soon(Duration::from_secs(6)),
        "{:?}",
        start.elapsed()
    );
    assert!(
        idle.iter_mut()
            .all(|c| c.closes_within(Duration::from_secs(1)))
    );
    drop(silent);
}

#[test]
fn what_is_still_open_at_the_deadline_is_closed_and_the_exit_code_is_1() {
    let (_v1, site) = one("{ min: 0s, max: 1500ms }");
    let mut proxy = Proxy::start(&site);
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    let mut slow = proxy.connect();
    slow.send("GET /?delay=10000 HTTP/1.1\r\nHost: t\r\n\r\n");
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    proxy.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(socket.say("still"), "v1:still", "not before the deadline");
    assert!(socket.try_hear().is_err(), "closed at the deadline");
    assert_eq!(proxy.wait(Duration::from_secs(5)), 1);
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(1400) && took < soon(Duration::from_secs(4)),
        "{took:?}"
    );
    proxy.will_exit_with(1);
}

#[test]
fn a_websocket_and_a_stream_that_end_by_themselves_let_the_drain_be_clean() {
    let (_v1, site) = one("{ min: 0s, max: 15s }");
    let g1 = Backend::h2c("g1");
    let services = format!(
        "{}{}",
        Site::service_text("app", "", &[("v1", _v1.endpoint())]),
        Site::service_text("calls", "protocol: h2c", &[("g1", g1.endpoint())])
            .trim_start_matches('\n')
    );
    let site = site.with("services", &services).with(
        "routes",
        "[{ name: calls, match: { path: { prefix: /calls } }, service: calls, rules: [] }, { service: app, rules: [] }]",
    );
    let mut proxy = Proxy::start(&site);
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    let mut client = H2Client::open(proxy.address("in"));
    let mut call = client.stream(
        "POST",
        "/calls/Chat",
        &["content-type: application/grpc", "te: trailers"],
    );
    call.send(grpc_frame(b"a"), false).unwrap();
    assert!(call.data().unwrap().is_some());
    proxy.signal(Signal::TERM);
    client.idle(Duration::from_millis(300));
    assert_eq!(
        socket.say("b"),
        "v1:b",
        "it talks on while the proxy drains"
    );
    call.send(grpc_frame(b"b"), true).unwrap();
    assert!(call.data().unwrap().is_some(), "and so does the stream");
    while call.data().unwrap().is_some() {}
    assert_eq!(call.trailers().unwrap().get("grpc-status"), Some("0"));
    socket.close();
    drop(call);
    drop(client);
    assert_eq!(proxy.wait(Duration::from_secs(5)), 0);
}

#[test]
fn a_second_signal_ends_it_at_once_with_exit_code_1() {
    let (_v1, site) = one("{ min: 0s, max: 60s }");
    let mut proxy = Proxy::start(&site);
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    proxy.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.runs());
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(Duration::from_secs(3)), 1);
    assert!(start.elapsed() < soon(Duration::from_secs(2)));
    proxy.will_exit_with(1);
}

#[test]
fn exit_codes_tell_a_bad_file_from_one_that_cannot_be_read_or_bound() {
    let (_v1, site) = one("{ min: 0s, max: 5s }");
    let (code, log) = Launch::new(
        &site
            .clone()
            .with("routes", "[{ service: nothing, rules: [] }]"),
    )
    .fails();
    assert_eq!(code, 1, "a bad file:\n{log}");
    assert!(log.contains("nothing"), "{log}");
    let missing = crate::harness::command(&["run", "--config", "/nowhere/tidegate.yaml"], "");
    assert_eq!(
        missing.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&missing.stderr)
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, log) =
        Launch::new(&site.with("admin", &format!("{{ address: \"{address}\" }}"))).fails();
    assert_eq!(code, 2, "the admin address is taken:\n{log}");
    assert!(log.contains(&address.to_string()), "{log}");
}

#[test]
fn a_request_that_is_queued_when_the_listener_closes_is_served() {
    let (_v1, site) = one("{ min: 0s, max: 10s }");
    let mut proxy = Proxy::start(&site);
    let address = proxy.address("in");
    let mut refused_or_served = 0;
    let mut conns: Vec<_> = (0..50).map(|_| Conn::open(address)).collect();
    for conn in &mut conns {
        conn.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    proxy.signal(Signal::TERM);
    for conn in &mut conns {
        let answer = conn
            .try_answer()
            .expect("a connection that was made before the signal is served");
        assert_eq!(answer.status, 200);
        refused_or_served += 1;
    }
    assert_eq!(refused_or_served, 50);
    assert_eq!(proxy.wait(Duration::from_secs(5)), 0);
}

#[test]
fn a_connection_made_before_the_listeners_closed_may_still_ask_once() {
    let (_v1, site) = one("{ min: 300ms, max: 10s }");
    let mut proxy = Proxy::start(&site);
    let address = proxy.address("in");
    proxy.signal(Signal::TERM);
    let mut early: Vec<_> = (0..10).map(|_| Conn::open(address)).collect();
    until("nobody listens any more", || {
        Conn::try_open(address).is_err()
    });
    for conn in &mut early {
        let answer = conn.try_request("GET", "/", &[], b"");
        let answer = answer.expect("who was let in while the listener was open is served");
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    }
    assert_eq!(proxy.wait(Duration::from_secs(8)), 0);
}
