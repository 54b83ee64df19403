//! HH, EX, IX, NB: what ends at each hop, `Expect`, interim answers, bodies that must not exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::stand::{AFTER, Stand};
use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, STATUS_200, answering, frame,
};
use crate::harness::{Conn, Planned, Proxy, Scripted, Site, until};

/// A GET with these header lines.
fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n")
}

/// A version that answers each request with these bytes, and its proxy.
fn behind(answer: &str) -> (Scripted, Proxy) {
    let backend = Scripted::always(answer);
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    (backend, proxy)
}

#[test]
fn hh_01_what_connection_names_ends_here() {
    let stand = Stand::new();
    for lines in [
        "Connection: X-Foo\r\nX-Foo: 1\r\n",
        "X-Foo: 1\r\nConnection: keep-alive, X-Foo\r\n",
        "Connection: x-foo\r\nX-FOO: 1\r\nX-Foo: 2\r\n",
        "Connection: ,, X-Foo ,\r\nX-Foo: 1\r\n",
        "Connection: \r\nConnection: X-Foo\r\nX-Foo: 1\r\n",
        "Connection: keep-alive\r\nConnection:\tX-Foo\t\r\nX-Foo: 1\r\n",
        "Connection: \u{e9}, X-Foo\r\nX-Foo: 1\r\n",
        "Connection: X-Foo, X-Foo\r\nX-Foo: 1\r\n",
    ] {
        let bytes: Vec<u8> = get(lines).chars().map(|c| c as u32 as u8).collect();
        for passed in stand.passes(bytes, "GET /x", "") {
            assert!(!passed.seen.has("x-foo"), "{}: {lines:?}", passed.lane);
            assert!(!passed.seen.has("connection"), "{}: {lines:?}", passed.lane);
        }
    }
    for lane in &stand.lanes {
        lane.forget();
        let heard = lane.say(
            &[
                get("Connection: close, X-Foo\r\nX-Foo: 1\r\n").as_bytes(),
                AFTER,
            ]
            .concat(),
        );
        assert_eq!(heard.statuses(), [200], "{}", lane.name);
        assert!(
            heard.closed && !lane.seen()[0].has("x-foo") && lane.seen().len() == 1,
            "{}",
            lane.name
        );
    }
}

#[test]
fn hh_02_what_the_proxy_says_and_what_a_message_needs_cannot_be_named_away() {
    let stand = Stand::new();
    let own = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "x-request-id",
        "traceparent",
    ];
    let needed = [
        ("authorization", "Basic eDp5"),
        ("cookie", "a=b"),
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
    ];
    let mut lines = String::from("Content-Length: 5\r\n");
    for (name, value) in needed {
        lines += &format!("{name}: {value}\r\n");
    }
    let names: Vec<&str> = own
        .into_iter()
        .chain(needed.map(|(n, _)| n))
        .chain([
            "host",
            "content-length",
            "transfer-encoding",
            "expect",
            ":authority",
            ":path",
            "x-user-id",
        ])
        .collect();
    let spellings = [
        format!("Connection: {}\r\n", names.join(", ")),
        names
            .iter()
            .map(|n| format!("Connection: {}\r\n", n.to_uppercase()))
            .collect(),
        format!("Connection: keep-alive,{}\r\n", names.join(",")),
    ];
    for spelling in spellings {
        let text = format!("POST /x HTTP/1.1\r\nHost: t\r\n{lines}{spelling}\r\nhello");
        for passed in stand.passes(text, "POST /x", "hello") {
            for name in own {
                assert!(
                    passed.seen.has(name),
                    "{}: {name} of {spelling:?}",
                    passed.lane
                );
            }
            for (name, value) in needed {
                assert_eq!(passed.seen.header(name), value, "{}: {name}", passed.lane);
            }
            let host = if passed.http2 { ":authority" } else { "host" };
            assert_eq!(passed.seen.header(host), "t", "{}", passed.lane);
        }
    }
}

#[test]
fn hh_02_a_strangers_word_on_where_a_request_comes_from_is_replaced_however_it_is_named() {
    let stand = Stand::new();
    let lines = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: evil\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n\
                 X-Tidegate-Mirror: 1\r\nx-tidegate_mirror: 1\r\nX-User-Id: 7\r\nX-Forwarded-Port: 9\r\nX-Forwarded-Prefix: /evil\r\n";
    for named in [
        "",
        "Connection: x-forwarded-for, x-forwarded-host, forwarded, x-real-ip, x-tidegate-mirror\r\n",
    ] {
        for passed in stand.passes(get(&format!("{lines}{named}")), "GET /x", "") {
            if !passed.edge {
                continue;
            }
            let text = format!("{:?}", passed.seen.fields);
            assert!(
                !text.contains("9.9.9.9") && !text.contains("evil"),
                "{}: {text}",
                passed.lane
            );
            for name in [
                "x-tidegate-mirror",
                "x-tidegate_mirror",
                "x-user-id",
                "x-forwarded-port",
                "x-real-ip",
            ] {
                assert!(!passed.seen.has(name), "{}: {name}", passed.lane);
            }
            assert!(
                passed.seen.header("x-forwarded-for").starts_with("127."),
                "{}: {text}",
                passed.lane
            );
        }
    }
}

#[test]
fn hh_03_what_is_for_this_hop_does_not_go_on() {
    let stand = Stand::new();
    let lines = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: foo\r\nProxy-Authorization: Basic x\r\n\
                 HTTP2-Settings: AAMAAABk\r\nProxy: http://evil/\r\nConnection: keep-alive, HTTP2-Settings, TE\r\n";
    for passed in stand.passes(get(lines), "GET /x", "") {
        for name in [
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "proxy-authorization",
            "http2-settings",
            "proxy",
            "connection",
        ] {
            assert!(!passed.seen.has(name), "{}: {name}", passed.lane);
        }
    }
    for te in [
        "trailers",
        "gzip, trailers",
        "Trailers",
        "trailers, deflate;q=0.5",
        "trailers;q=0.5",
    ] {
        for passed in stand.passes(
            get(&format!("TE: {te}\r\nConnection: TE\r\n")),
            "GET /x",
            "",
        ) {
            let said = passed.seen.fields.all("te");
            assert!(
                said.is_empty() || (passed.http2 && said == ["trailers"]),
                "{}: {said:?}",
                passed.lane
            );
        }
    }
}

#[test]
fn hh_04_what_is_for_this_hop_does_not_come_back() {
    let (_backend, proxy) = behind(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
         TE: gzip\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nHTTP2-Settings: x\r\nProxy: x\r\nX-Stays: 1\r\n\r\nok",
    );
    let mut conn = proxy.connect();
    for _ in 0..3 {
        let answer = conn.get("/", &[]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        for name in [
            "connection",
            "x-foo",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "proxy-authorization",
            "http2-settings",
            "proxy",
        ] {
            assert!(!answer.fields.has(name), "{name}");
        }
        assert_eq!(answer.header("x-stays"), "1");
    }
    // It cannot name away what the answer needs.
    let (_backend, proxy) = behind(
        "HTTP/1.1 200 OK\r\nConnection: Content-Length, Content-Type, Date, Set-Cookie\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok",
    );
    let answer = proxy.get("/", &[]);
    assert_eq!(
        (answer.text().as_str(), answer.header("content-type")),
        ("ok", "text/plain")
    );
    assert_eq!(answer.fields.all("date").len(), 1);
}

#[test]
fn ex_01_a_caller_that_waits_for_a_word_gets_it_and_the_version_its_body() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for (framing, sent) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            for expect in ["100-continue", "100-Continue", " 100-continue "] {
                lane.forget();
                let mut conn = Conn::open(lane.address);
                conn.send(format!(
                    "POST /x HTTP/1.1\r\nHost: t\r\nExpect: {expect}\r\n{framing}\r\n\r\n"
                ));
                let word = conn.reader.take_until(b"\r\n\r\n").unwrap();
                assert!(
                    word.starts_with(b"HTTP/1.1 100"),
                    "{}: the word comes before the body",
                    lane.name
                );
                conn.send(sent);
                assert_eq!(conn.answer().status, 200, "{}", lane.name);
                let seen = &lane.seen()[0];
                assert_eq!(lane.misframed(seen, "hello"), [""; 0], "{}", lane.name);
                assert!(!seen.has("expect"), "{}: nobody waits twice", lane.name);
                assert_eq!(conn.get("/next", &[]).status, 200, "{}", lane.name);
            }
        }
    }
}

#[test]
fn ex_01_a_version_that_never_says_continue_holds_nobody_up() {
    let backend = Scripted::start(|scene, _| {
        let echo = scene.request()?;
        scene.echo(&echo)
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    conn.send("POST /x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(
        conn.reader
            .take_until(b"\r\n\r\n")
            .unwrap()
            .starts_with(b"HTTP/1.1 100")
    );
    conn.send("hello");
    assert_eq!(conn.answer().status, 200);
}

#[test]
fn ex_02_a_final_answer_in_place_of_the_word_ends_the_exchange() {
    let heads = Arc::new(AtomicUsize::new(0));
    let count = heads.clone();
    let backend = Scripted::start(move |scene, _| {
        loop {
            let head = scene.head()?;
            assert!(!head.contains("smuggled"), "{head}");
            count.fetch_add(1, SeqCst);
            scene.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")?;
        }
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    for sent in ["", "hel"] {
        let before = heads.load(SeqCst);
        let mut conn = proxy.connect();
        conn.send(format!("POST /x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n{sent}"));
        assert_eq!(conn.answer().status, 401);
        // The rest of the body, or what a caller that does not send it says next: it cannot be told which.
        conn.send("GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        let next = conn.try_answer();
        assert!(next.is_err(), "{next:?}");
        drop(conn);
        let answer = proxy.get("/y", &[]);
        assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
        assert_eq!(
            heads.load(SeqCst),
            before + 2,
            "the version saw two heads, and no body in between"
        );
    }
}

#[test]
fn ex_03_an_expectation_without_a_body_or_of_http_1_0_gets_no_word() {
    let stand = Stand::new();
    for lines in [
        "Expect: 100-continue\r\n",
        "Expect: 100-continue\r\nContent-Length: 0\r\n",
    ] {
        for method in ["GET", "POST"] {
            let text = format!("{method} /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n");
            for passed in stand.passes(text, &format!("{method} /x"), "") {
                assert!(!passed.seen.has("expect"), "{}", passed.lane);
            }
            for lane in &stand.lanes {
                let text =
                    format!("{method} /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{lines}\r\n");
                assert_eq!(
                    lane.say(text.as_bytes()).parsed.interim(),
                    0,
                    "{}",
                    lane.name
                );
            }
        }
    }
    for lane in &stand.lanes {
        lane.forget();
        let heard = lane.say(b"POST /x HTTP/1.0\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(
            (heard.statuses(), heard.parsed.interim()),
            (vec![200], 0),
            "{}",
            lane.name
        );
        assert_eq!(
            lane.misframed(&lane.seen()[0], "hello"),
            [""; 0],
            "{}",
            lane.name
        );
    }
    for value in [
        "foo",
        "100-continue, foo",
        "foo, 100-continue",
        "100-continue;q=1",
        "100",
        "100 continue",
        "100-continu",
        "101-continue",
        "200-ok",
        "\"100-continue\"",
        "100-continue 100-continue",
    ] {
        for lane in &stand.lanes {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(format!(
                "POST /x HTTP/1.1\r\nHost: t\r\nExpect: {value}\r\nContent-Length: 5\r\n\r\nhello"
            ));
            let answer = conn.answer();
            assert_eq!(
                (answer.status, answer.interim.len()),
                (417, 0),
                "{}: {value:?}",
                lane.name
            );
            assert!(
                lane.seen().is_empty() && lane.is_well(),
                "{}: {value:?}",
                lane.name
            );
        }
    }
    stand.refuses(
        &[400],
        [
            "Expect: 100-\r\n continue",
            "Expect:\r\n 100-continue",
            "Expect: 100-continue\r\n ",
            "Expect : 100-continue",
        ]
        .map(|l| format!("POST /x HTTP/1.1\r\nHost: t\r\n{l}\r\nContent-Length: 5\r\n\r\nhello")),
    );
}

#[test]
fn ix_01_interim_answers_are_not_the_final_one_and_not_without_number() {
    for interim in [
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 199 What\r\nContent-Length: 5\r\n\r\n",
    ] {
        let (_backend, proxy) =
            behind(&(interim.repeat(3) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        let mut conn = proxy.connect();
        for _ in 0..3 {
            let answer = conn.get("/", &[]);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "{interim:?}"
            );
            assert!(
                !answer.fields.has("link"),
                "an interim answer's fields are not the final one's"
            );
        }
    }
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)
        + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_backend, proxy) = behind(&many);
    assert_eq!(proxy.get("/", &[]).status, 502);
    // The same over HTTP/2: `:status: 103` many times.
    for (times, status) in [(3, 200), (100_000, 502)] {
        let backend = answering(move |_, stream| {
            let hint = frame(HEADERS, END_HEADERS, stream, b"\x08\x03103");
            let mut all = hint.repeat(times);
            all.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200));
            all
        });
        let proxy = Proxy::start(
            &Site::of(&[("v1", backend.endpoint())])
                .service("protocol: h2c", &[("v1", backend.endpoint())])
                .route("timeouts: { request: 5s }", "[]"),
        );
        let got = proxy.get("/", &[]).status;
        assert!(got == status || (times > 3 && got == 200), "{times}: {got}");
    }
}

#[test]
fn ix_02_a_caller_of_http_1_0_gets_no_interim_answer() {
    let (_backend, proxy) = behind(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    for lines in [
        "",
        "Host: t\r\nExpect: 100-continue\r\nContent-Length: 1\r\n",
    ] {
        let body = if lines.is_empty() { "" } else { "x" };
        let mut conn = proxy.connect();
        conn.send(format!("POST / HTTP/1.0\r\n{lines}\r\n{body}"));
        let answer = conn.answer();
        assert_eq!(
            (answer.status, answer.interim.len(), answer.text().as_str()),
            (200, 0, "ok")
        );
    }
}

/// Each of these heads, answered to `request` with bytes that must not be a body: the caller gets nothing of them, and the
/// next answers are the next ones'.
fn swallows(request: &str, heads: &[&str], check: impl Fn(&crate::harness::Answer)) {
    for head in heads {
        let answer = format!("{head}\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
        let backend = Scripted::start(move |scene, _| {
            loop {
                let head = scene.head()?;
                if head.contains(" /odd ") {
                    scene.write(&answer)?;
                } else {
                    scene.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
                }
            }
        });
        let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
        let mut conn = proxy.connect();
        for _ in 0..3 {
            conn.send(format!("{request} /odd HTTP/1.1\r\nHost: t\r\n\r\n"));
            let answer = conn.reader.answer(request == "HEAD").unwrap();
            assert!(answer.body.is_empty(), "{head:?}: {:?}", answer.text());
            check(&answer);
            std::thread::sleep(Duration::from_millis(20));
            let next = conn.get("/", &[]);
            assert_eq!((next.status, next.text().as_str()), (200, "ok"), "{head:?}");
            assert_eq!(proxy.get("/", &[]).text(), "ok", "{head:?}");
        }
    }
}

#[test]
fn nb_01_a_head_answered_with_a_body_shifts_nothing() {
    swallows(
        "HEAD",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n",
        ],
        |answer| assert!(!answer.fields.has("transfer-encoding")),
    );
}

#[test]
fn nb_02_a_status_without_a_body_has_none_whatever_its_fields_say() {
    swallows(
        "GET",
        &[
            "HTTP/1.1 204 No Content\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n",
        ],
        |answer| {
            assert_eq!(answer.status, 204);
            assert!(
                !answer.fields.has("content-length") && !answer.fields.has("transfer-encoding"),
                "{answer:?}"
            );
        },
    );
    swallows(
        "GET",
        &[
            "HTTP/1.1 304 Not Modified\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
        ],
        |answer| {
            assert_eq!(answer.status, 304);
            assert!(!answer.fields.has("transfer-encoding"), "{answer:?}");
        },
    );
    // Over HTTP/2: `:status: 204` and a body behind it.
    let backend = answering(|_, stream| {
        [
            frame(HEADERS, END_HEADERS, stream, &[0x89]),
            frame(DATA, END_STREAM, stream, b"poison"),
        ]
        .concat()
    });
    let proxy = Proxy::start(
        &Site::of(&[("v1", backend.endpoint())])
            .service("protocol: h2c", &[("v1", backend.endpoint())]),
    );
    for _ in 0..3 {
        let mut conn = proxy.connect();
        conn.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").half_close();
        let heard = String::from_utf8(conn.reader.take_rest().unwrap_or_default()).unwrap();
        assert!(
            !heard.contains("poison") && !heard.contains("transfer-encoding"),
            "{heard}"
        );
        assert!(
            heard.starts_with("HTTP/1.1 204") || heard.starts_with("HTTP/1.1 502"),
            "{heard}"
        );
    }
}

#[test]
fn nb_03_the_answer_to_a_copy_is_read_and_thrown_away() {
    let planned = Planned::by("stages: [{ mirror: 100%, hold: 1h }, { weight: 50%, hold: 1h }]");
    let proxy = planned.start();
    let mut conn = proxy.connect();
    for n in 0..50 {
        conn.send(format!("HEAD /{n}?bytes=1000 HTTP/1.1\r\nHost: t\r\n\r\n"));
        let answer = conn.reader.answer(true).unwrap();
        assert_eq!(
            (answer.status, answer.version(), answer.body.len()),
            (200, "v1", 0)
        );
        assert_eq!(conn.get(&format!("/{n}"), &[]).version(), "v1");
        assert_eq!(
            conn.request("POST", &format!("/{n}"), &[], b"body")
                .version(),
            "v1"
        );
    }
    // Nearly all: a copy is not made where that would hold up its request.
    until("the copies have come", || planned.v2.requests() >= 50);
    assert!(
        planned.v2.recent().iter().all(|e| e.method != "POST"),
        "what changes something is not copied"
    );
    assert!(
        planned
            .v2
            .recent()
            .iter()
            .all(|e| e.length == 0 && e.header("x-tidegate-mirror") == "1")
    );
}
