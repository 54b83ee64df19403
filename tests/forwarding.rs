//! What the client sent reaches the version, and what the version said reaches the client: bodies as they flow, trailers,
//! framing written anew, the hop's own fields kept off, the proxy's own told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Conn, Echo, H2Client, Proxy, Scripted, Site, hash, pattern, soon, until,
};

/// One version behind each of the four ways through: HTTP/1.1 or HTTP/2 in, HTTP/1.1 or HTTP/2 out.
struct Ways {
    one: Backend,
    two: Backend,
    proxy: Proxy,
}

impl Ways {
    fn open() -> Self {
        let (one, two) = (Backend::start("one"), Backend::h2c("two"));
        let first = Site::service_text("h1", "", &[("one", one.endpoint())]);
        let second = Site::service_text("h2", "protocol: h2c", &[("two", two.endpoint())]);
        let site = Site::new().with("services", &format!("{first}{}", second.trim_start_matches('\n'))).with(
            "routes",
            "[{ match: { path: { prefix: /h2 } }, service: h2, rules: [] }, { service: h1, rules: [] }]",
        );
        Self {
            one,
            two,
            proxy: Proxy::start(&site),
        }
    }

    /// The same request over all four ways.
    fn each(
        &self,
        method: &str,
        query: &str,
        headers: &[&str],
        body: &[u8],
        check: impl Fn(&str, crate::harness::Answer),
    ) {
        let (mut one, mut two) = (
            self.proxy.connect(),
            H2Client::open(self.proxy.address("in")),
        );
        for out in ["h1", "h2"] {
            let target = format!("/{out}/x{query}");
            check(
                &format!("HTTP/1.1 in, {out} out"),
                one.request(method, &target, headers, body),
            );
            check(
                &format!("HTTP/2 in, {out} out"),
                two.request(method, &target, headers, body),
            );
        }
    }
}

fn one() -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]);
    (v1, site)
}

#[test]
fn bodies_pass_whole_in_both_directions_over_all_four_ways() {
    let ways = Ways::open();
    for length in [0, 1, 1000, 65_536, 3_000_000] {
        let body = pattern(length);
        ways.each("POST", "", &[], &body, |way, answer| {
            let echo = Echo::of(&answer);
            assert_eq!(
                (echo.length, echo.hash),
                (length, hash(&body)),
                "{length} bytes up, {way}"
            );
        });
        ways.each(
            "GET",
            &format!("?bytes={length}"),
            &[],
            b"",
            |way, answer| {
                assert_eq!(answer.body.len(), length, "{length} bytes down, {way}");
                assert!(answer.body == body, "the same bytes, {way}");
            },
        );
    }
    assert!(ways.one.requests() >= 20 && ways.two.requests() >= 20);
}

#[test]
fn methods_targets_and_ordinary_headers_pass_unchanged() {
    let ways = Ways::open();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"] {
        ways.each(
            method,
            "?a=b%20c&d=%C3%A9&e=+",
            &["X-Thing: One, two", "Accept: */*"],
            b"",
            |way, answer| {
                let echo = Echo::of(&answer);
                assert_eq!(echo.method, method, "{way}");
                assert!(
                    echo.target.ends_with("/x?a=b%20c&d=%C3%A9&e=+"),
                    "{} {way}",
                    echo.target
                );
                assert_eq!(echo.fields.all("x-thing"), ["One, two"], "{way}");
                let host = echo.fields.get("host").or(echo.fields.get(":authority"));
                assert_eq!(
                    host,
                    Some("t"),
                    "the client's Host, {way}: {:?}",
                    echo.fields
                );
            },
        );
    }
}

#[test]
fn statuses_pass_unchanged_and_those_without_a_body_have_none() {
    let ways = Ways::open();
    for status in [
        200, 201, 204, 206, 301, 304, 400, 404, 418, 429, 500, 502, 503, 599,
    ] {
        ways.each(
            "GET",
            &format!("?status={status}"),
            &[],
            b"",
            |way, answer| {
                assert_eq!(answer.status, status, "{way}");
                assert!(
                    !answer.fields.has("x-tidegate-refusal"),
                    "{way}: not the proxy's own: {:?}",
                    answer.fields
                );
                if matches!(status, 204 | 304) {
                    assert!(answer.body.is_empty(), "{way}");
                    assert!(
                        !answer.fields.has("transfer-encoding"),
                        "{way}: {:?}",
                        answer.fields
                    );
                }
            },
        );
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let ways = Ways::open();
    ways.each("HEAD", "?bytes=5000", &[], b"", |way, answer| {
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{way}");
    });
    let mut conn = ways.proxy.connect();
    let answer = conn.request("HEAD", "/h1/x?bytes=5000", &[], b"");
    assert_eq!(answer.header("content-length"), "5000");
    assert_eq!(conn.get("/h1/x", &[]).status, 200, "the connection goes on");
}

#[test]
fn trailers_pass_in_both_directions() {
    let ways = Ways::open();
    ways.each(
        "GET",
        "?trailers=1&bytes=100",
        &["TE: trailers"],
        b"",
        |way, answer| {
            assert_eq!(
                answer.trailers.get("x-check"),
                Some(hash(&pattern(100)).as_str()),
                "{way}: {:?}",
                answer.trailers
            );
        },
    );
    let mut conn = ways.proxy.connect();
    for out in ["h1", "h2"] {
        let head = format!(
            "POST /{out}/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
        );
        conn.send(head + "3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n");
        let echo = Echo::of(&conn.answer());
        assert_eq!((echo.length, echo.hash), (5, hash(b"abcde")));
        assert_eq!(
            echo.trailers.get("x-sum"),
            Some("7"),
            "HTTP/1.1 in, {out} out"
        );
        let mut client = H2Client::open(ways.proxy.address("in"));
        let mut stream = client.stream("POST", &format!("/{out}/x"), &[]);
        stream.send(b"abcde".to_vec(), false).unwrap();
        stream.send_trailers(&[("x-sum", "8")]).unwrap();
        let echo = Echo::of(&stream.finish().unwrap());
        assert_eq!(
            echo.trailers.get("x-sum"),
            Some("8"),
            "HTTP/2 in, {out} out"
        );
    }
}

#[test]
fn trailers_never_carry_what_belongs_in_a_head() {
    let ways = Ways::open();
    let mut conn = ways.proxy.connect();
    conn.send(
        "POST /h1/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 99\r\n\
         Transfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: evil\r\nX-Forwarded-For: 6.6.6.6\r\nx-ok: 1\r\n\r\n",
    );
    let answer = conn.answer();
    if answer.status == 400 {
        return;
    }
    let echo = Echo::of(&answer);
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "x-forwarded-for",
    ] {
        assert!(
            !echo.trailers.has(name),
            "{name} in the trailers: {:?}",
            echo.trailers
        );
    }
    assert_eq!(echo.header("host"), "t");
}

#[test]
fn a_body_flows_before_it_is_whole() {
    let ways = Ways::open();
    let mut client = H2Client::open(ways.proxy.address("in"));
    for out in ["h1", "h2"] {
        let start = Instant::now();
        let mut stream = client.stream("GET", &format!("/{out}/x?bytes=60&chunks=6&pace=100"), &[]);
        stream.send(Vec::new(), true).unwrap();
        let first = stream.data().unwrap().expect("a piece");
        if out == "h1" {
            assert!(
                first.len() < 60 && start.elapsed() < soon(Duration::from_millis(450)),
                "{first:?} {:?}",
                start.elapsed()
            );
        }
    }
    let mut conn = ways.proxy.connect();
    conn.send("GET /h1/x?bytes=60&chunks=6&pace=100 HTTP/1.1\r\nHost: t\r\n\r\n");
    let start = Instant::now();
    conn.reader.take_until(b"\r\n\r\n").unwrap();
    conn.reader.take_until(b"\r\n").unwrap();
    conn.reader.take(10).unwrap();
    assert!(
        start.elapsed() < soon(Duration::from_millis(450)),
        "the first of six pieces came after {:?}",
        start.elapsed()
    );
}

#[test]
fn a_request_body_flows_before_it_is_whole() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    let backend = Scripted::start(move |scene, _| {
        scene.head()?;
        loop {
            count.store(scene.reader.buffer.len(), SeqCst);
            if scene.reader.buffer.windows(5).any(|w| w == b"0\r\n\r\n") {
                break;
            }
            scene.reader.fill()?;
        }
        scene.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    until("the first piece is there before the second is sent", || {
        arrived.load(SeqCst) >= 5
    });
    conn.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(conn.answer().status, 200);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client_that_sends() {
    let release = Arc::new(AtomicUsize::new(0));
    let go = release.clone();
    let backend = Scripted::start(move |scene, _| {
        while go.load(SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let echo = scene.request()?;
        scene.echo(&echo)
    });
    let site = Site::of(&[("v1", backend.endpoint())]);
    let proxy = Proxy::start(&site.route("timeouts: { request: none }", "[]"));
    let before = proxy.resident_kib();
    let length = 48 << 20;
    let mut conn = proxy.connect();
    conn.reader
        .stream
        .set_write_timeout(Some(Duration::from_millis(600)))
        .unwrap();
    conn.send(format!(
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n"
    ));
    let (body, mut sent) = (pattern(length), 0);
    let mut stream = &conn.reader.stream;
    while sent < length {
        match std::io::Write::write(&mut stream, &body[sent..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(
        sent < 40 << 20,
        "the client is held back, it could send {sent} bytes"
    );
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(
        grown < 16 << 10,
        "the proxy holds {grown} KiB for one stalled body"
    );
    release.store(1, SeqCst);
    stream
        .set_write_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    std::io::Write::write_all(&mut stream, &body[sent..]).unwrap();
    let told = conn.answer();
    assert_eq!(told.json()["hash"], hash(&body));
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_that_sends() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let backend = Scripted::start(move |scene, _| {
        scene.request()?;
        scene.write(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            256 << 20
        ))?;
        let piece = vec![7; 65_536];
        for _ in 0..4096 {
            scene.write(&piece)?;
            count.fetch_add(piece.len(), SeqCst);
        }
        Ok(())
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let before = proxy.resident_kib();
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut last = 0;
    until("the backend is held back", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = written.load(SeqCst);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    assert!(last < 64 << 20, "{last} bytes went nowhere");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(
        grown < 16 << 10,
        "the proxy holds {grown} KiB for one client that does not read"
    );
    let mut client = H2Client::open(proxy.address("in"));
    let mut stream = client.stream("GET", "/", &[]);
    stream.send(Vec::new(), true).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "nor over HTTP/2: {grown} KiB");
    stream.cancel();
}

#[test]
fn a_get_with_a_chunked_body_keeps_its_body() {
    let ways = Ways::open();
    let mut conn = ways.proxy.connect();
    for (method, out) in [
        ("GET", "h1"),
        ("GET", "h2"),
        ("DELETE", "h1"),
        ("OPTIONS", "h1"),
    ] {
        let head =
            format!("{method} /{out}/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        conn.send(head + "5\r\nhello\r\n0\r\n\r\n");
        let echo = Echo::of(&conn.answer());
        assert_eq!(
            (echo.length, echo.hash),
            (5, hash(b"hello")),
            "{method}, {out} out"
        );
        let mut client = H2Client::open(ways.proxy.address("in"));
        let mut stream = client.stream(method, &format!("/{out}/x"), &[]);
        stream.send(b"hello".to_vec(), true).unwrap();
        let echo = Echo::of(&stream.finish().unwrap());
        assert_eq!(
            (echo.length, echo.hash),
            (5, hash(b"hello")),
            "{method} over HTTP/2, {out} out"
        );
    }
}

#[test]
fn framing_is_written_anew_and_never_twice() {
    let ways = Ways::open();
    let mut conn = ways.proxy.connect();
    let length = Echo::of(&conn.request("POST", "/h1/x", &[], b"12345"));
    assert_eq!(
        (
            length.header("content-length"),
            length.fields.has("transfer-encoding")
        ),
        ("5", false)
    );
    conn.send("POST /h1/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n");
    let chunked = Echo::of(&conn.answer());
    assert_eq!(
        chunked.fields.all("transfer-encoding").len() + chunked.fields.all("content-length").len(),
        1
    );
    let none = Echo::of(&conn.get("/h1/x", &[]));
    assert!(
        !none.fields.has("content-length") && !none.fields.has("transfer-encoding"),
        "{:?}",
        none.fields
    );
    let chunks = conn.get("/h1/x?bytes=100&chunks=4", &[]);
    assert_eq!(chunks.body, pattern(100));
}

#[test]
fn fields_of_one_hop_go_no_further() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let echo = Echo::of(&conn.get(
        "/",
        &[
            "Connection: keep-alive, X-Secret , x-other",
            "X-Secret: 1",
            "X-Other: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "TE: gzip, trailers",
            "HTTP2-Settings: AAMAAABk",
            "Proxy: http://evil",
            "X-Stays: 1",
        ],
    ));
    let gone = [
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
        "proxy",
    ];
    for name in gone {
        assert!(!echo.fields.has(name), "{name} went on: {:?}", echo.fields);
    }
    assert!(!echo.header("te").contains("gzip"), "{:?}", echo.fields);
    assert_eq!(echo.header("x-stays"), "1");
    let echo = Echo::of(&conn.get(
        "/",
        &[
            "Connection: host, x-forwarded-for, x-request-id, content-length, cookie",
            "Cookie: a=b",
        ],
    ));
    assert_eq!(echo.header("host"), "t", "Connection cannot take Host away");
    assert!(
        echo.fields.has("x-forwarded-for") && echo.fields.has("x-request-id"),
        "nor ours: {:?}",
        echo.fields
    );
}

#[test]
fn an_answers_own_hop_fields_go_no_further() {
    let backend = Scripted::always(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Stays: 1\r\n\r\nok",
    );
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let answers = [
        proxy.get("/", &[]),
        H2Client::open(proxy.address("in")).get("/", &[]),
    ];
    for answer in answers {
        for name in ["x-secret", "keep-alive", "proxy-connection", "upgrade"] {
            assert!(!answer.fields.has(name), "{name}: {:?}", answer.fields);
        }
        assert_eq!(
            (answer.header("x-stays"), answer.text().as_str()),
            ("1", "ok")
        );
    }
}

#[test]
fn who_asked_is_told_to_the_version_and_cannot_be_faked() {
    let (_v1, site) = one();
    let site = site.with(
        "listeners",
        r#"
  - { name: in, address: "127.0.0.1:0" }
  - name: behind
    address: 127.0.0.2:0
    client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.0/8"] }"#,
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let echo = Echo::of(&conn.get(
        "/",
        &[
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil",
            "X-Forwarded-Port: not-a-port",
            "Forwarded: for=6.6.6.6;host=evil",
            "X-Real-IP: 6.6.6.6",
            "Host: shop:80",
        ],
    ));
    assert_eq!(echo.fields.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(echo.fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(echo.fields.all("x-forwarded-host"), ["shop:80"]);
    let all = format!("{:?}", echo.fields);
    assert!(
        !all.contains("6.6.6.6") && !all.contains("evil") && !all.contains("not-a-port"),
        "{all}"
    );
    assert!(
        echo.header("via")
            .to_ascii_lowercase()
            .contains("1.1 tidegate"),
        "{all}"
    );
    let behind = Echo::of(&Conn::open(proxy.address("behind")).get(
        "/",
        &[
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop",
        ],
    ));
    assert_eq!(
        behind.header("x-forwarded-for").replace(' ', ""),
        "192.0.2.1,127.0.0.1"
    );
    assert_eq!(
        behind.header("x-forwarded-proto"),
        "https",
        "a trusted proxy's word is kept"
    );
    assert_eq!(behind.header("x-forwarded-host"), "shop");
    let two = Echo::of(&H2Client::open(proxy.address("in")).get("/", &[]));
    assert!(
        two.header("via")
            .to_ascii_lowercase()
            .contains("2.0 tidegate")
            || two.header("via").contains("2 ")
    );
}

#[test]
fn every_request_has_an_id_and_a_trace() {
    let (_v1, site) = one();
    let site = site.with(
        "listeners",
        r#"[{ name: in, address: "127.0.0.1:0" }, { name: mesh, address: "127.0.0.2:0", profile: sidecar }]"#,
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let first = conn.get("/", &[]);
    let (a, b) = (Echo::of(&first), Echo::of(&conn.get("/", &[])));
    assert!(a.header("x-request-id").len() >= 16, "{:?}", a.fields);
    assert_ne!(a.header("x-request-id"), b.header("x-request-id"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parts = |text: &str| -> Vec<String> { text.split('-').map(str::to_owned).collect() };
    let own = parts(a.header("traceparent"));
    assert_eq!(
        (own.len(), own[1].len(), own[2].len()),
        (4, 32, 16),
        "{:?}",
        a.fields
    );
    let mut mesh = Conn::open(proxy.address("mesh"));
    let on = Echo::of(&mesh.get(
        "/",
        &[
            &format!("traceparent: {trace}"),
            "tracestate: a=1",
            "x-request-id: abc-1",
        ],
    ));
    assert_eq!(
        parts(on.header("traceparent"))[1],
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "the trace goes on"
    );
    assert_eq!(on.header("tracestate"), "a=1");
    assert_eq!(
        on.header("x-request-id"),
        "abc-1",
        "a known peer's request keeps its ID"
    );
    for bad in [
        "00-xyz",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
    ] {
        let echo = Echo::of(&mesh.get("/", &[&format!("traceparent: {bad}")]));
        assert_eq!(echo.fields.all("traceparent").len(), 1, "{bad}");
        assert_ne!(
            echo.header("traceparent"),
            bad,
            "what is no trace is not passed on"
        );
    }
}

#[test]
fn expect_100_continue_is_answered_here_and_the_body_follows() {
    let (v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let interim = conn.reader.take_until(b"\r\n\r\n").unwrap();
    assert!(
        interim.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&interim)
    );
    conn.send("hello");
    let echo = Echo::of(&conn.answer());
    assert_eq!((echo.length, echo.hash), (5, hash(b"hello")));
    let other = conn.get("/", &["Expect: something-else"]);
    assert!(matches!(other.status, 417 | 200), "{}", other.status);
    assert!(v1.requests() >= 1);
}

#[test]
fn interim_answers_of_a_version_never_pass_for_the_final_one() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let backend = Scripted::always(format!(
        "{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ));
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    for _ in 0..3 {
        let answer = conn.get("/", &[]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert!(
            answer.interim.is_empty(),
            "they are dropped: {:?}",
            answer.interim
        );
    }
    assert_eq!(
        H2Client::open(proxy.address("in")).get("/", &[]).text(),
        "ok"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let mut all = String::new();
    for n in 0..50 {
        let delay = if n % 7 == 0 { 20 } else { 0 };
        all += &format!(
            "POST /{n}?delay={delay} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nn{n:03}"
        );
    }
    conn.send(all);
    for n in 0..50 {
        let echo = Echo::of(&conn.answer());
        assert!(
            echo.target.starts_with(&format!("/{n}?")),
            "answer {n} is for {}",
            echo.target
        );
        assert_eq!(echo.hash, hash(format!("n{n:03}").as_bytes()));
    }
}

#[test]
fn http_1_0_and_connection_close_end_the_connection() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut old = proxy.connect();
    old.send("GET /?bytes=10&chunks=2 HTTP/1.0\r\nHost: t\r\n\r\n");
    let answer = old.answer();
    assert_eq!(
        answer.body,
        pattern(10),
        "no chunks for a client that knows none: {:?}",
        answer.fields
    );
    assert!(old.closes_within(Duration::from_secs(2)));
    let mut kept = proxy.connect();
    kept.send("GET /?bytes=10 HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(kept.answer().body, pattern(10));
    let mut conn = proxy.connect();
    let answer = conn.get("/", &["Connection: close"]);
    assert_eq!(answer.header("connection").to_ascii_lowercase(), "close");
    assert!(conn.closes_within(Duration::from_secs(2)));
    let mut conn = proxy.connect();
    assert_eq!(
        conn.get("/?close=1", &[]).status,
        200,
        "a version that closes is no reason"
    );
    assert_eq!(conn.get("/", &[]).status, 200, "to close toward the client");
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let (_v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    conn.send("GET /?delay=200 HTTP/1.1\r\nHost: t\r\n\r\n")
        .half_close();
    assert_eq!(conn.answer().status, 200);
    assert!(conn.closes_within(Duration::from_secs(2)));
}

#[test]
fn a_client_that_goes_away_cancels_its_request_and_counts_against_nobody() {
    let came = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(AtomicUsize::new(0));
    let (arrivals, ends) = (came.clone(), gone.clone());
    let backend = Scripted::start(move |scene, _| {
        scene.request()?;
        arrivals.fetch_add(1, SeqCst);
        scene.wait_for_end()?;
        ends.fetch_add(1, SeqCst);
        Ok(())
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut one = proxy.connect();
    one.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut client = H2Client::open(proxy.address("in"));
    let mut two = client.stream("GET", "/", &[]);
    two.send(Vec::new(), true).unwrap();
    // Not only connected: what is cancelled before it was sent reaches no version.
    until("both are with the version", || came.load(SeqCst) == 2);
    one.reset();
    two.cancel();
    until("the version is told", || gone.load(SeqCst) == 2);
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "v1"), ("code", "499")],
        2.0,
    );
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        0.0
    );
}

#[test]
fn a_client_that_goes_away_in_a_body_that_is_gathered_is_not_refused() {
    let (v1, site) = one();
    let retry = "retry: { failures: [reset], attempts: 2, budget: 100% }";
    let proxy = Proxy::start(&site.route(retry, "[]"));
    let mut gone = proxy.connect();
    gone.send("PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    let word = gone.reader.take_until(b"\r\n\r\n").unwrap();
    assert!(word.starts_with(b"HTTP/1.1 100 "), "its body is waited for");
    gone.reset();
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "v1"), ("code", "499")],
        1.0,
    );
    assert_eq!(proxy.metrics().sum("tidegate_refusals_total", &[]), 0.0);
    assert_eq!(v1.requests(), 0);
}

#[test]
fn cookies_that_came_in_pieces_over_http_2_are_one_line_for_http_1() {
    let ways = Ways::open();
    let mut client = H2Client::open(ways.proxy.address("in"));
    let echo = Echo::of(&client.get("/h1/x", &["cookie: a=1", "cookie: b=2", "cookie: c=3"]));
    assert_eq!(echo.fields.all("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn connect_and_trace_are_refused_and_options_can_end_here() {
    let (v1, site) = one();
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    conn.send("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n");
    assert_eq!(conn.answer().status, 405);
    let mut conn = proxy.connect();
    assert_eq!(conn.request("TRACE", "/", &[], b"").status, 405);
    let mut conn = proxy.connect();
    let here = conn.request("OPTIONS", "/", &["Max-Forwards: 0"], b"");
    assert!(
        here.status < 300 && here.version().is_empty(),
        "{} {:?}",
        here.status,
        here.fields
    );
    assert_eq!(v1.requests(), 0, "none of them reached the version");
    let echo = Echo::of(&conn.request("OPTIONS", "/", &["Max-Forwards: 3"], b""));
    assert_eq!(echo.header("max-forwards"), "2");
}

#[test]
fn a_unix_socket_and_ipv6_are_endpoints_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut piece = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut piece);
            let answer = b"HTTP/1.1 200 OK\r\nx-version: unix\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, answer);
        }
    });
    let six = Backend::on("[::1]:0".parse().unwrap(), "six");
    let unix = format!("unix:{}", path.display());
    let site = Site::of(&[("unix", unix), ("six", six.endpoint())])
        .rules("[{ when: { query: { name: six, present: true } }, to: six }]");
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.get("/", &[]).version(), "unix");
    assert_eq!(proxy.get("/?six", &[]).version(), "six");
}

#[test]
fn connections_to_a_version_are_used_again_and_balanced() {
    let (a, b) = (Backend::start("v1"), Backend::start("v1"));
    let both = format!("{}, {}", a.endpoint(), b.endpoint());
    let site = Site::of(&[("v1", both.clone())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(
        &site
            .clone()
            .service("balance: round_robin", &[("v1", both)]),
    );
    let mut conn = proxy.connect();
    for _ in 0..100 {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    assert_eq!(
        (a.requests(), b.requests()),
        (50, 50),
        "one after the other"
    );
    assert_eq!(
        (a.connections(), b.connections()),
        (1, 1),
        "over one warm connection each"
    );
    proxy.edit(&site);
    for _ in 0..100 {
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    assert!(
        a.requests() > 60 && b.requests() > 60,
        "the less busy of two: {} and {}",
        a.requests(),
        b.requests()
    );
}

#[test]
fn protocols_that_a_listener_does_not_speak_are_refused() {
    let (_v1, site) = one();
    let site = site.with(
        "listeners",
        r#"[{ name: in, address: "127.0.0.1:0", protocols: [http/1.1] }, { name: two, address: "127.0.0.2:0", protocols: [h2c] }]"#,
    );
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.get("/", &[]).status, 200);
    let refused = H2Client::try_open(proxy.address("in"))
        .and_then(|mut c| c.try_request("GET", "/", &[], b""));
    assert!(refused.is_err(), "no HTTP/2 here: {refused:?}");
    assert_eq!(
        H2Client::open(proxy.address("two")).get("/", &[]).status,
        200
    );
    let answer = Conn::open(proxy.address("two")).try_request("GET", "/", &[], b"");
    assert!(
        answer.as_ref().map_or(true, |a| a.status >= 400),
        "no HTTP/1.1 there: {answer:?}"
    );
    let upgrade = proxy.get(
        "/",
        &[
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
        ],
    );
    assert_eq!(
        upgrade.status, 200,
        "an upgrade to HTTP/2 is never taken up"
    );
}

/// One request of a random conversation: its bytes, and what the answer must show.
struct Exchange {
    bytes: Vec<u8>,
    method: &'static str,
    target: String,
    body: Vec<u8>,
    answer: Option<usize>,
}

#[test]
fn any_well_formed_conversation_passes_unharmed() {
    let ways = Ways::open();
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    for conversation in 0..60 {
        let exchanges: Vec<_> = (0..chance.usize(1..12))
            .map(|n| exchange(n, &mut chance))
            .collect();
        let mut conn = ways.proxy.connect();
        let mut writer = conn.reader.stream.try_clone().unwrap();
        let all: Vec<u8> = exchanges.iter().flat_map(|e| e.bytes.clone()).collect();
        let mut cuts = chance.clone();
        chance.u64(..);
        let sending = std::thread::spawn(move || {
            let (mut rest, big) = (all.as_slice(), cuts.bool());
            while !rest.is_empty() {
                let n = cuts
                    .usize(1..if big { 50_000 } else { 700 })
                    .min(rest.len());
                if std::io::Write::write_all(&mut writer, &rest[..n]).is_err() {
                    return;
                }
                rest = &rest[n..];
                if cuts.u8(..20) == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        for (n, exchange) in exchanges.iter().enumerate() {
            let what = format!(
                "seed {seed}, conversation {conversation}, exchange {n}: {} {}",
                exchange.method, exchange.target
            );
            let answer = conn
                .reader
                .answer(exchange.method == "HEAD")
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            match exchange.answer {
                _ if exchange.method == "HEAD" => {}
                Some(length) => assert!(
                    answer.body == pattern(length),
                    "{what}: {} bytes",
                    answer.body.len()
                ),
                None => {
                    let echo = Echo::of(&answer);
                    assert_eq!(
                        (echo.method.as_str(), &echo.target),
                        (exchange.method, &exchange.target),
                        "{what}"
                    );
                    assert_eq!(
                        (echo.length, echo.hash),
                        (exchange.body.len(), hash(&exchange.body)),
                        "{what}"
                    );
                }
            }
        }
        sending.join().unwrap();
    }
}

/// A request with a random framing that asks for an answer with a random framing.
fn exchange(n: usize, chance: &mut fastrand::Rng) -> Exchange {
    let method = ["GET", "POST", "PUT", "DELETE", "HEAD"][chance.usize(..5)];
    let out = ["h1", "h2"][chance.usize(..2)];
    let answer = chance.bool().then(|| size(chance));
    let mut target = format!("/{out}/{n}");
    if let Some(length) = answer {
        target += &format!("?bytes={length}");
        if out == "h1" && chance.bool() {
            target += &format!("&chunks={}", chance.usize(1..9));
        }
        if chance.u8(..4) == 0 {
            target += "&trailers=1";
        }
        if out == "h1" && chance.u8(..6) == 0 {
            target += "&close=1";
        }
    }
    let body = if chance.bool() && method != "HEAD" {
        pattern(size(chance))
    } else {
        Vec::new()
    };
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: t\r\n").into_bytes();
    if chance.bool() && method != "HEAD" {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let n = chance.usize(1..20_000).min(rest.len());
            bytes.extend(format!("{n:x}\r\n").bytes());
            bytes.extend_from_slice(&rest[..n]);
            bytes.extend(b"\r\n");
            rest = &rest[n..];
        }
        bytes.extend_from_slice(if chance.bool() {
            b"0\r\n\r\n"
        } else {
            b"0\r\nx-sum: 1\r\n\r\n"
        });
    } else {
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend_from_slice(&body);
    }
    Exchange {
        bytes,
        method,
        target,
        body,
        answer,
    }
}

fn size(chance: &mut fastrand::Rng) -> usize {
    [
        0, 1, 2, 100, 4095, 4096, 8192, 16_384, 65_535, 65_536, 200_000,
    ][chance.usize(..11)]
}
