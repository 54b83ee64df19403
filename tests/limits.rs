//! Every bound has a name, crossing it has a status, and whoever crosses it hurts nobody else.

use std::time::{Duration, Instant};

use crate::harness::{Backend, Conn, Echo, H2Client, Proxy, Site, pattern, soon, until};

fn with(listener: &str) -> (Backend, Proxy) {
    let v1 = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", v1.endpoint())]).listener(listener));
    (v1, proxy)
}

/// The proxy's own answer with this status, counted as a refusal.
#[track_caller]
fn refused(proxy: &Proxy, conn: &mut Conn, status: u16) {
    let answer = conn.answer();
    assert_eq!(answer.status, status, "{}", answer.text());
    until("it is counted", || {
        proxy
            .metrics()
            .sum("tidegate_refusals_total", &[("listener", "in")])
            >= 1.0
    });
}

#[test]
fn a_body_over_the_limit_is_413_with_and_without_a_length() {
    let (v1, proxy) = with("limits: { body_bytes: 1000B }");
    let fine = Echo::of(&proxy.connect().request("POST", "/", &[], &pattern(1000)));
    assert_eq!(fine.length, 1000);
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
    refused(&proxy, &mut conn, 413);
    assert!(
        conn.closes_within(Duration::from_secs(3)),
        "what would follow is nobody's request"
    );
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        conn.send(format!("190\r\n{}\r\n", "x".repeat(400)));
    }
    conn.send("0\r\n\r\n");
    assert_eq!(conn.answer().status, 413);
    let mut client = H2Client::open(proxy.address("in"));
    let answer = client
        .try_request("POST", "/", &["content-length: 1001"], &pattern(1001))
        .unwrap();
    assert_eq!(answer.status, 413, "over HTTP/2");
    let mut stream = client.stream("POST", "/", &[]);
    let _ = stream.send(pattern(2000), true);
    assert_eq!(
        stream.finish().unwrap().status,
        413,
        "over HTTP/2 without a length"
    );
    assert_eq!(client.get("/", &[]).status, 200, "other streams go on");
    assert!(
        v1.recent().iter().all(|e| e.length <= 1000),
        "no version got more than the limit as a whole request"
    );
}

#[test]
fn a_target_over_the_limit_is_414() {
    let (v1, proxy) = with("limits: { target_bytes: 200B }");
    let mut conn = proxy.connect();
    assert_eq!(conn.get(&format!("/{}", "a".repeat(199)), &[]).status, 200);
    conn.send(format!(
        "GET /{} HTTP/1.1\r\nHost: t\r\n\r\n",
        "a".repeat(200)
    ));
    refused(&proxy, &mut conn, 414);
    let long = format!("/{}", "a".repeat(200));
    assert_eq!(
        H2Client::open(proxy.address("in")).get(&long, &[]).status,
        414
    );
    assert_eq!(v1.requests(), 1);
}

#[test]
fn headers_over_a_limit_are_431() {
    let (v1, proxy) = with("limits: { header_bytes: 2KiB, header_count: 20 }");
    let many: String = (0..18).map(|n| format!("x-{n}: 1\r\n")).collect();
    let mut conn = proxy.connect();
    conn.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{many}\r\n"));
    assert_eq!(conn.answer().status, 200, "19 lines of 20");
    let many: String = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect();
    conn.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{many}\r\n"));
    refused(&proxy, &mut conn, 431);
    let mut conn = proxy.connect();
    conn.send(format!(
        "GET / HTTP/1.1\r\nHost: t\r\nx: {}\r\n\r\n",
        "y".repeat(2100)
    ));
    refused(&proxy, &mut conn, 431);
    let mut conn = proxy.connect();
    conn.send(format!(
        "GET / HTTP/1.1\r\nHost: t\r\nx: {}",
        "y".repeat(300_000)
    ));
    assert_eq!(
        conn.answer().status,
        431,
        "a head that does not end is refused before it does"
    );
    let lines: Vec<String> = (0..21).map(|n| format!("x-{n}: 1")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        H2Client::open(proxy.address("in")).get("/", &lines).status,
        431,
        "over HTTP/2"
    );
    let big = H2Client::open(proxy.address("in")).try_request(
        "GET",
        "/",
        &[&format!("x: {}", "y".repeat(2100))],
        b"",
    );
    assert!(big.as_ref().map_or(true, |a| a.status == 431), "{big:?}");
    assert_eq!(v1.requests(), 1);
}

#[test]
fn a_head_that_comes_too_slowly_is_408() {
    let (v1, proxy) = with("timeouts: { header: 500ms }");
    let start = Instant::now();
    let mut conn = proxy.connect();
    conn.send("GET / HT");
    let answer = conn.answer();
    assert_eq!(answer.status, 408);
    assert!(
        start.elapsed() > Duration::from_millis(400)
            && start.elapsed() < soon(Duration::from_secs(3))
    );
    assert!(conn.closes_within(Duration::from_secs(2)));
    let start = Instant::now();
    let mut conn = proxy.connect();
    let head = b"GET / HTTP/1.1\r\nHost: t\r\nx-slow: 1\r\n";
    for byte in head.iter().cycle() {
        if conn.try_send([*byte]).is_err() || start.elapsed() > Duration::from_secs(2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = conn.try_answer();
    assert!(
        answer
            .as_ref()
            .map_or(true, |a| a.status == 408 || a.status == 400),
        "{answer:?}"
    );
    assert!(
        start.elapsed() < soon(Duration::from_secs(4)),
        "a byte now and then does not prolong it: {:?}",
        start.elapsed()
    );
    let mut busy = proxy.connect();
    assert_eq!(
        busy.get("/?delay=900", &[]).status,
        200,
        "a slow version is not a slow head"
    );
    assert_eq!(v1.requests(), 1);
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    let (v1, proxy) = with("timeouts: { body_idle: 500ms }");
    let start = Instant::now();
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nsome of it");
    let answer = conn.answer();
    assert_eq!(answer.status, 408);
    assert!(
        start.elapsed() > Duration::from_millis(400)
            && start.elapsed() < soon(Duration::from_secs(3))
    );
    assert!(conn.closes_within(Duration::from_secs(2)));
    let mut slow = proxy.connect();
    slow.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(120));
        slow.send("x");
    }
    assert_eq!(slow.answer().status, 200, "slow is not stalled");
    let mut client = H2Client::open(proxy.address("in"));
    let mut stream = client.stream("POST", "/", &[]);
    stream.send(b"some of it".to_vec(), false).unwrap();
    let answer = stream.finish();
    assert!(
        answer.as_ref().map_or(true, |a| a.status == 408),
        "over HTTP/2: {answer:?}"
    );
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        0.0,
        "the caller's fault alone"
    );
    drop(v1);
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let (_v1, proxy) = with("timeouts: { idle: 500ms }");
    let mut conn = proxy.connect();
    let start = Instant::now();
    assert_eq!(conn.get("/", &[]).status, 200);
    assert!(
        conn.closes_within(Duration::from_secs(3)),
        "closed, with nothing said"
    );
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "not before its time: {:?}",
        start.elapsed()
    );
    let mut silent = proxy.connect();
    assert!(
        silent.closes_within(Duration::from_secs(13)),
        "nor does one that never speaks stay"
    );
    let mut client = H2Client::open(proxy.address("in"));
    assert_eq!(client.get("/", &[]).status, 200);
    assert!(
        client.closes_within(Duration::from_secs(3)),
        "over HTTP/2 too"
    );
}

#[test]
fn connections_over_the_cap_are_refused_and_those_that_are_open_go_on() {
    let (_v1, proxy) = with("limits: { connections: 10 }");
    let mut open: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
    for conn in &mut open {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    proxy.counts("tidegate_connections", &[("listener", "in")], 10.0);
    let mut more = proxy.connect();
    let answer = more.try_request("GET", "/", &[], b"");
    assert!(
        answer
            .as_ref()
            .map_or(true, |a| matches!(a.status, 429 | 503)),
        "the eleventh: {answer:?}"
    );
    assert!(
        proxy
            .metrics()
            .sum("tidegate_refusals_total", &[("listener", "in")])
            >= 1.0
    );
    for conn in &mut open {
        assert_eq!(conn.get("/", &[]).status, 200, "the ten are unharmed");
    }
    open.truncate(5);
    until("room is used again", || {
        Conn::try_open(proxy.address("in"))
            .and_then(|mut c| c.try_request("GET", "/", &[], b""))
            .is_ok_and(|a| a.status == 200)
    });
}

#[test]
fn one_client_cannot_take_all_connections() {
    let (_v1, proxy) = with("limits: { connections_per_client: 5 }");
    let mut open: Vec<_> = (0..5).map(|_| proxy.connect()).collect();
    for conn in &mut open {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    let answer = proxy.connect().try_request("GET", "/", &[], b"");
    assert!(
        answer
            .as_ref()
            .map_or(true, |a| matches!(a.status, 429 | 503)),
        "{answer:?}"
    );
    // Another address of loopback is another client.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.2:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.connect(&proxy.address("in").into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    assert_eq!(
        crate::harness::Reader::new(stream)
            .answer(false)
            .unwrap()
            .status,
        200
    );
    drop(open);
    until("its room is free again", || proxy.get_or_refused() == 200);
}

impl Proxy {
    /// The status of a GET, 0 where the connection was refused.
    fn get_or_refused(&self) -> u16 {
        let conn = Conn::try_open(self.address("in"));
        conn.and_then(|mut c| c.try_request("GET", "/", &[], b""))
            .map_or(0, |a| a.status)
    }
}

#[test]
fn streams_of_one_http_2_connection_are_bounded() {
    let (v1, proxy) = with("limits: { h2_streams: 10 }");
    let mut client = H2Client::open(proxy.address("in"));
    assert_eq!(client.get("/", &[]).status, 200);
    let mut open: Vec<_> = (0..10)
        .map(|_| client.stream("POST", "/?delay=300", &[]))
        .collect();
    let more = client.try_stream("GET", "/", &[], true);
    // The eleventh waits on our side or is refused; it never reaches the version beside the ten.
    client.idle(Duration::from_millis(200));
    assert!(v1.requests() <= 11, "{}", v1.requests());
    for stream in &mut open {
        stream.send(Vec::new(), true).unwrap();
    }
    for stream in &mut open {
        assert_eq!(stream.finish().unwrap().status, 200);
    }
    if let Ok(mut more) = more {
        let answer = more.finish();
        assert!(
            answer.as_ref().map_or(true, |a| a.status == 200),
            "{answer:?}"
        );
    }
}

#[test]
fn a_local_answer_never_leaves_a_body_behind_that_is_read_as_a_request() {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]).with(
        "routes",
        r#"
  - { name: said, match: { path: { prefix: /said } }, respond: { status: 403 } }
  - { name: moved, match: { path: { prefix: /moved } }, redirect: { host: elsewhere } }
  - { name: app, match: { hosts: [app] }, service: app, rules: [] }"#,
    );
    let proxy = Proxy::start(&site);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";
    for (target, status) in [("/said", 403), ("/moved", 302), ("/nowhere", 404)] {
        for framing in [
            format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
                smuggled.len()
            ),
        ] {
            let mut conn = proxy.connect();
            conn.send(format!("POST {target} HTTP/1.1\r\nHost: t\r\n{framing}"));
            assert_eq!(conn.answer().status, status);
            if let Ok(next) = conn.try_request("GET", "/", &["Host: app"], b"") {
                assert_eq!(Echo::of(&next).target, "/", "{target}");
            }
        }
        // A body that is announced and never comes.
        let mut conn = proxy.connect();
        conn.send(format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000\r\n\r\nabc"
        ));
        assert_eq!(conn.answer().status, status);
        conn.send(smuggled);
        drop(conn);
    }
    assert!(
        v1.recent().iter().all(|e| !e.target.contains("smuggled")),
        "{:?}",
        v1.recent()
    );
}

#[test]
fn metrics_do_not_grow_with_what_callers_invent() {
    let (_v1, proxy) = with("limits: { connections: 1000 }");
    let mut conn = proxy.connect();
    for n in 0..200 {
        conn.request(
            &format!("M{n}"),
            &format!("/{n}?q={n}"),
            &[&format!("Host: h{n}"), &format!("x-{n}: {n}")],
            b"",
        );
    }
    let before = proxy.metrics().samples.len();
    for n in 200..600 {
        conn.request(
            &format!("M{n}"),
            &format!("/{n}?q={n}"),
            &[&format!("Host: h{n}"), &format!("x-{n}: {n}")],
            b"",
        );
    }
    assert_eq!(proxy.metrics().samples.len(), before);
}

#[test]
fn a_thousand_idle_connections_cost_little_and_hold_up_nobody() {
    let (_v1, proxy) = with("limits: { connections: 5000 }");
    assert_eq!(proxy.get("/", &[]).status, 200);
    let before = proxy.resident_kib();
    let mut idle: Vec<_> = (0..1000).map(|_| proxy.connect()).collect();
    for conn in &mut idle {
        assert_eq!(conn.get("/?bytes=1", &[]).status, 200);
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(
        grown < 40_000,
        "{grown} KiB for a thousand idle connections in a debug build"
    );
    let start = Instant::now();
    assert_eq!(proxy.get("/", &[]).status, 200);
    assert!(start.elapsed() < soon(Duration::from_secs(1)));
}

#[test]
fn connections_to_an_endpoint_are_for_whichever_worker_needs_one() {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .service("pool: { max_per_endpoint: 1 }", &[("v1", v1.endpoint())]);
    let proxy = Proxy::start(&site);
    let start = Instant::now();
    let mut open = Vec::new();
    for turn in 0..30 {
        let mut conn = proxy.connect();
        let answer = conn.get("/", &[]);
        assert_eq!(answer.status, 200, "request {turn}: {}", answer.text());
        open.push(conn);
    }
    assert!(
        start.elapsed() < soon(Duration::from_secs(3)),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_bound_of_ours_does_not_take_an_endpoint_out() {
    let v1 = Backend::start("v1");
    let more = "pool: { max_per_endpoint: 1, connect: 100ms }\n\
                health: { passive: { consecutive_failures: 1, eject_for: 60s, max_ejected: 100% } }";
    let proxy =
        Proxy::start(&Site::of(&[("v1", v1.endpoint())]).service(more, &[("v1", v1.endpoint())]));
    let mut slow = proxy.connect();
    slow.send("GET /?delay=1000 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it holds the only connection", || v1.requests() == 1);
    let full = proxy.get("/", &[]);
    assert_eq!(full.status, 503);
    assert_eq!(full.header("x-tidegate-refusal"), "pool_full");
    assert_eq!(slow.answer().status, 200);
    let next = proxy.get("/", &[]);
    assert_eq!(next.status, 200, "{}", next.text());
    let full = [("version", "v1"), ("kind", "pool_full")];
    proxy.counts("tidegate_failures_total", &full, 1.0);
}

#[test]
fn ds_10_callers_of_http_2_that_read_nothing_cost_no_more_than_is_said() {
    const CALLERS: usize = 3;
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]).service(
        "pool: { max_per_endpoint: 1000, connect: 30s }",
        &[("v1", v1.endpoint())],
    );
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.get("/", &[]).status, 200);
    let before = proxy.resident_kib();
    let target = "/?bytes=10000000";
    let mut head = vec![0x82, 0x86, 0x01, 1, b't', 0x04, target.len() as u8];
    head.extend(target.bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // All windows are as wide as can be: it is the socket that takes no more.
    bytes.extend(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff");
    bytes.extend(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00");
    for stream in 0..100u32 {
        bytes.extend([0, 0, head.len() as u8, 1, 5]);
        bytes.extend((2 * stream + 1).to_be_bytes());
        bytes.extend(&head);
    }
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(proxy.address("in")).unwrap();
            std::io::Write::write_all(&mut stream, &bytes).unwrap();
            stream
        })
        .collect();
    until("all have asked", || v1.requests() > 100 * CALLERS);
    std::thread::sleep(Duration::from_secs(1));
    let (start, used) = (Instant::now(), proxy.processor_time());
    std::thread::sleep(Duration::from_secs(1));
    let used = proxy.processor_time() - used;
    assert!(
        used < start.elapsed() / 4,
        "{used:?} of work for callers that take nothing"
    );
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(
        grown < CALLERS as u64 * 10 * 1024,
        "{grown} KiB for {CALLERS} callers with a hundred answers each"
    );
    assert_eq!(proxy.get("/", &[]).status, 200, "nobody else is hurt");
    drop(callers);
}
