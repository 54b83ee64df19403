//! A version that fails is told apart from everything else: the right status to the client, the right kind in the
//! counter, and no two answers ever mixed on a connection that is used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, STATUS_200,
    answering as h2c, frame,
};
use crate::harness::{
    Backend, Echo, H2Client, Load, Proxy, Scripted, Site, each_request, failures, hash, pattern,
    soon, until,
};

fn behind(endpoint: String) -> Site {
    Site::of(&[("v1", endpoint)]).route("timeouts: { request: 2s, stream_idle: 700ms }", "[]")
}

/// One GET over HTTP/1.1 and one over HTTP/2; each must get this status, and the counter this kind, twice.
#[track_caller]
fn each_gets(proxy: &Proxy, status: u16, kind: &str) {
    for answer in [
        proxy.get("/", &[]),
        H2Client::open(proxy.address("in")).get("/", &[]),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_ne!(
            answer.header("x-tidegate-refusal"),
            "",
            "our own answer says so: {:?}",
            answer.fields
        );
    }
    proxy.counts(
        "tidegate_failures_total",
        &[("version", "v1"), ("kind", kind)],
        2.0,
    );
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "v1"), ("code", &status.to_string())],
        2.0,
    );
    assert_eq!(
        proxy.metrics().sum("tidegate_failures_total", &[]),
        2.0,
        "and nothing else"
    );
}

/// What a version may do instead of answering, the status and the kind of failure.
fn fault(name: &str) -> Scripted {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    match name {
        "closes at once" => Scripted::start(|_, _| Ok(())),
        "closes after the request" => Scripted::start(|scene, _| scene.request().map(drop)),
        "resets" => Scripted::start(|scene, _| {
            scene.request()?;
            scene.reset()
        }),
        "half closes" => Scripted::start(|scene, _| {
            scene.request()?;
            scene.half_close()?;
            scene.wait_for_end()
        }),
        "never answers" => Scripted::start(|scene, _| scene.wait_for_end()),
        "dribbles its head" => Scripted::start(move |scene, _| {
            scene.request()?;
            scene.dribble(ok.as_bytes(), Duration::from_millis(200))
        }),
        "speaks another protocol" => Scripted::always("220 mail.example ESMTP\r\n"),
        "answers with bytes" => Scripted::always(vec![0_u8, 159, 146, 150, 13, 10, 13, 10]),
        "answers HTTP/2" => Scripted::always(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00".as_slice()),
        "two lengths" => {
            Scripted::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")
        }
        "a length that is none" => {
            Scripted::always("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok")
        }
        "a status that is none" => {
            Scripted::always("HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nok")
        }
        "10 000 headers" => {
            let lines: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
            Scripted::always(format!(
                "HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok"
            ))
        }
        "a head of 4 MiB" => Scripted::always(format!(
            "HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 2\r\n\r\nok",
            "y".repeat(4 << 20)
        )),
        "interim answers for ever" => Scripted::start(|scene, _| {
            scene.request()?;
            loop {
                scene.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100))?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }),
        other => panic!("no fault is called {other}"),
    }
}

#[test]
fn a_version_without_a_reachable_endpoint_is_503_and_its_own_failure() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = port.local_addr().unwrap().to_string();
    drop(port);
    let other = Backend::start("v2");
    let site = Site::of(&[("v1", endpoint), ("v2", other.endpoint())]);
    let proxy = Proxy::start(&site);
    each_gets(&proxy, 503, "connect");
    assert_eq!(
        other.requests(),
        0,
        "never a silent slide to another version"
    );
}

#[test]
fn a_version_that_closes_or_resets_is_502() {
    for name in [
        "closes at once",
        "closes after the request",
        "resets",
        "half closes",
    ] {
        let backend = fault(name);
        let proxy = Proxy::start(&behind(backend.endpoint()));
        eprintln!("a version that {name}");
        each_gets(&proxy, 502, "reset");
    }
}

#[test]
fn a_version_that_answers_nonsense_is_502() {
    for name in [
        "speaks another protocol",
        "answers with bytes",
        "answers HTTP/2",
        "two lengths",
        "a length that is none",
        "a status that is none",
        "10 000 headers",
        "a head of 4 MiB",
    ] {
        let backend = fault(name);
        let proxy = Proxy::start(&behind(backend.endpoint()));
        eprintln!("a version that answers: {name}");
        each_gets(&proxy, 502, "garbage");
    }
}

fn behind_h2c(endpoint: String) -> Site {
    behind(endpoint.clone()).service("protocol: h2c", &[("v1", endpoint)])
}

/// What a version of HTTP/2 may send that is none.
fn nonsense_over_h2c(name: &str) -> Scripted {
    let ends = END_STREAM | END_HEADERS;
    match name {
        "bytes at once" => Scripted::start(|scene, _| {
            scene.write([0xFF; 100])?;
            scene.wait_for_end()
        }),
        "bytes after the request" => h2c(|_, _| vec![0xFF; 100]),
        "HTTP/1.1" => Scripted::start(|scene, _| {
            scene.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
            scene.wait_for_end()
        }),
        // `x: y`, and nothing else.
        "a head without a status" => {
            h2c(move |_, stream| frame(HEADERS, ends, stream, b"\0\x01x\x01y"))
        }
        // `content-length: 9` by the index of its name.
        "a length and no body" => h2c(move |_, stream| {
            frame(
                HEADERS,
                ends,
                stream,
                &[STATUS_200, b"\x0f\x0d\x019"].concat(),
            )
        }),
        other => panic!("no nonsense is called {other}"),
    }
}

#[test]
fn a_version_that_answers_nonsense_over_http_2_is_502_as_over_http_1() {
    for name in [
        "bytes at once",
        "bytes after the request",
        "HTTP/1.1",
        "a head without a status",
        "a length and no body",
    ] {
        let backend = nonsense_over_h2c(name);
        let proxy = Proxy::start(&behind_h2c(backend.endpoint()));
        eprintln!("a version that answers: {name}");
        each_gets(&proxy, 502, "garbage");
        assert_eq!(
            proxy.get("/", &[]).header("x-tidegate-refusal"),
            "bad_answer"
        );
    }
}

#[test]
fn an_answer_over_http_2_that_is_not_as_long_as_it_says_is_told_apart_from_a_broken_connection() {
    let says_nine = |stream| {
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            &[STATUS_200, b"\x0f\x0d\x019"].concat(),
        )
    };
    let short = h2c(move |_, stream| {
        [says_nine(stream), frame(DATA, END_STREAM, stream, b"short")].concat()
    });
    let long = h2c(move |_, stream| {
        [
            says_nine(stream),
            frame(DATA, END_STREAM, stream, b"much too long"),
        ]
        .concat()
    });
    let cut = Scripted::start(move |scene, _| {
        scene.reader.take_until(b"SM\r\n\r\n")?;
        scene.write(frame(SETTINGS, 0, 0, &[]))?;
        loop {
            let head = scene.reader.take(9)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            scene.reader.take(length as usize)?;
            if head[3] == HEADERS {
                scene.write([says_nine(1), frame(DATA, 0, 1, b"cut")].concat())?;
                // Not before the answer has begun.
                std::thread::sleep(Duration::from_millis(100));
                return scene.half_close();
            }
        }
    });
    for (backend, kind) in [(short, "garbage"), (long, "garbage"), (cut, "truncated")] {
        let proxy = Proxy::start(&behind_h2c(backend.endpoint()));
        for answer in [
            proxy
                .connect()
                .try_request("GET", "/", &[], b"")
                .map_err(|e| e.to_string()),
            H2Client::open(proxy.address("in")).try_request("GET", "/", &[], b""),
        ] {
            let whole = answer.as_ref().is_ok_and(|a| a.status != 502);
            assert!(!whole, "{kind}: never a whole answer: {answer:?}");
        }
        let labels = [("version", "v1"), ("kind", kind)];
        proxy.counts("tidegate_failures_total", &labels, 2.0);
    }
}

#[test]
fn a_version_that_takes_too_long_is_504() {
    for name in ["never answers", "dribbles its head"] {
        let backend = fault(name);
        let proxy = Proxy::start(&behind(backend.endpoint()));
        let start = Instant::now();
        eprintln!("a version that {name}");
        each_gets(&proxy, 504, "timeout");
        let took = start.elapsed() / 2;
        assert!(
            took > Duration::from_millis(1900) && took < soon(Duration::from_millis(3500)),
            "request: 2s, took {took:?}"
        );
    }
}

#[test]
fn interim_answers_without_an_end_are_bounded() {
    let backend = fault("interim answers for ever");
    let proxy = Proxy::start(&behind(backend.endpoint()));
    let start = Instant::now();
    let answer = proxy.get("/", &[]);
    assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    assert!(start.elapsed() < soon(Duration::from_secs(4)));
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        1.0
    );
}

#[test]
fn connecting_has_a_bound_of_its_own() {
    // A listener whose queue is full does not answer further connections on Linux: it drops them.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    for _ in 0..8 {
        if let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
        {
            filling.push(stream);
        }
    }
    let site = behind(address.to_string())
        .service("pool: { connect: 300ms }", &[("v1", address.to_string())]);
    let proxy = Proxy::start(&site);
    let start = Instant::now();
    let answer = proxy.get("/", &[]);
    assert_eq!(answer.status, 504);
    assert!(
        start.elapsed() < soon(Duration::from_millis(1500)),
        "connect: 300ms, took {:?}",
        start.elapsed()
    );
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        1.0
    );
    proxy.counts(
        "tidegate_failures_total",
        &[("version", "v1"), ("kind", "connect_timeout")],
        1.0,
    );
}

#[test]
fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    let cuts: [(&str, &str); 3] = [
        (
            "a length not reached",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        ),
        (
            "a chunk not ended",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n50\r\nonly",
        ),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ];
    for (what, bytes) in cuts {
        let backend = Scripted::start(move |scene, _| {
            scene.request()?;
            scene.write(bytes)
        });
        let proxy = Proxy::start(&behind(backend.endpoint()));
        let mut conn = proxy.connect();
        let cut = conn.try_request("GET", "/", &[], b"");
        assert!(
            cut.as_ref().map_or(true, |a| a.status == 502),
            "{what}: never a whole answer: {cut:?}"
        );
        if cut.is_err() {
            assert!(
                conn.closes_within(Duration::from_secs(2)) || !conn.reader.buffer.is_empty(),
                "{what}: closed"
            );
        }
        let over_h2 = H2Client::open(proxy.address("in")).try_request("GET", "/", &[], b"");
        assert!(
            over_h2.as_ref().map_or(true, |a| a.status == 502),
            "{what}, over HTTP/2: {over_h2:?}"
        );
        proxy.counts("tidegate_failures_total", &[("version", "v1")], 2.0);
    }
}

#[test]
fn an_answer_that_stalls_is_ended_after_stream_idle() {
    let backend = Scripted::start(|scene, _| {
        scene.request()?;
        scene.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")?;
        scene.wait_for_end()
    });
    let proxy = Proxy::start(&behind(backend.endpoint()));
    let start = Instant::now();
    let cut = proxy.connect().try_request("GET", "/", &[], b"");
    assert!(cut.is_err(), "{cut:?}");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(600) && took < soon(Duration::from_secs(3)),
        "stream_idle: 700ms, took {took:?}"
    );
    proxy.counts(
        "tidegate_failures_total",
        &[("version", "v1"), ("kind", "stream_idle")],
        1.0,
    );
    let slow = Scripted::start(|scene, _| {
        scene.request()?;
        scene.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")?;
        scene.dribble(&[b'x'; 20], Duration::from_millis(100))
    });
    let proxy = Proxy::start(&behind(slow.endpoint()));
    assert_eq!(proxy.get("/", &[]).body.len(), 20, "slow is not stalled");
}

#[test]
fn bytes_after_an_answer_never_become_the_next_answer() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let answers: [(&str, String); 5] = [
        (
            "a second answer",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{poison}"),
        ),
        (
            "a body longer than its length",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL".to_owned(),
        ),
        (
            "a body on a 204",
            format!("HTTP/1.1 204 No Content\r\n\r\n{poison}"),
        ),
        (
            "a body on a 304",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n{poison}"),
        ),
        (
            "bytes after the last chunk",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"
            ),
        ),
    ];
    for (what, bytes) in answers {
        let first = Arc::new(AtomicUsize::new(0));
        let backend = Scripted::start(move |scene, _| {
            loop {
                let echo = scene.request()?;
                if first.fetch_add(1, SeqCst).is_multiple_of(2) {
                    scene.write(&bytes)?;
                } else {
                    scene.echo(&echo)?;
                }
            }
        });
        let proxy = Proxy::start(
            &behind(backend.endpoint())
                .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }"),
        );
        let mut conn = proxy.connect();
        for n in 0..10 {
            let answer = conn
                .try_request("GET", &format!("/{n}"), &[], b"")
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(
                !answer.text().contains("EVIL"),
                "{what}: request {n} got {}",
                answer.text()
            );
            if answer.version() == "scripted" {
                assert_eq!(
                    Echo::of(&answer).target,
                    format!("/{n}"),
                    "{what}: another request's answer"
                );
            }
            // Time for the stray bytes to arrive on the pooled connection, where they may not be taken for an answer.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_head_answered_with_a_body_does_not_shift_the_answers() {
    let backend = Scripted::start(|scene, _| {
        loop {
            let echo = scene.request()?;
            if echo.method == "HEAD" {
                scene.write("HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")?;
            } else {
                scene.echo(&echo)?;
            }
        }
    });
    let proxy = Proxy::start(&behind(backend.endpoint()));
    let mut conn = proxy.connect();
    for n in 0..6 {
        assert_eq!(conn.request("HEAD", "/h", &[], b"").status, 200);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(
            Echo::of(&conn.get(&format!("/{n}"), &[])).target,
            format!("/{n}")
        );
    }
}

#[test]
fn both_a_length_and_chunks_never_confuse_the_client() {
    let backend = Scripted::always(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let proxy = Proxy::start(&behind(backend.endpoint()));
    let mut conn = proxy.connect();
    for _ in 0..3 {
        let answer = conn.get("/", &[]);
        assert!(
            answer.status == 502 || answer.text() == "hello",
            "{} {:?}",
            answer.status,
            answer.text()
        );
    }
    let answer = H2Client::open(proxy.address("in")).get("/", &[]);
    assert!(answer.status == 502 || answer.text() == "hello");
}

#[test]
fn an_answer_before_the_body_was_read_is_passed_on_and_the_connection_not_used_again() {
    let backend = Scripted::start(|scene, number| {
        let head = scene.head()?;
        if head.starts_with("POST") {
            scene.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")?;
            return scene.wait_for_end();
        }
        scene.write(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{}",
            number % 10
        ))
    });
    let proxy = Proxy::start(&behind(backend.endpoint()));
    for _ in 0..4 {
        let mut conn = proxy.connect();
        conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nsome of it");
        let answer = conn.answer();
        assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
        drop(conn);
        assert_eq!(proxy.get("/", &[]).status, 200);
    }
}

#[test]
fn answers_are_never_mixed_however_the_version_misbehaves() {
    let backend = Scripted::start(|scene, _| {
        let mut count = 0;
        loop {
            let echo = scene.request()?;
            count += 1;
            match fastrand::u32(..12) {
                0 => return scene.reset(),
                1 => return Ok(()),
                2 => {
                    // In one piece: what arrives after the next request was sent nobody can tell apart.
                    let body = echo.json();
                    let whole = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    scene.write(whole + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")?;
                }
                3 => {
                    let body = echo.json();
                    scene.write(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                        body.len(),
                        &body[..9]
                    ))?;
                    return scene.reset();
                }
                4 if count > 1 => {
                    scene.echo(&echo)?;
                    return scene.reset();
                }
                _ => scene.echo(&echo)?,
            }
        }
    });
    let proxy = Proxy::start(&behind(backend.endpoint()));
    let address = proxy.address("in");
    let load = Load::start(8, move |user, stop| {
        let mut conn = crate::harness::Conn::open(address);
        let mut count = 0;
        each_request(user, stop, Duration::from_millis(1), move |_| {
            count += 1;
            let mark = format!("/{user}/{count}");
            let Ok(answer) = conn.try_request("GET", &mark, &[], b"") else {
                conn = crate::harness::Conn::try_open(address).map_err(|e| e.to_string())?;
                return Ok((200, "cut".to_owned()));
            };
            let told = answer.text();
            let fine = answer.status == 502
                || answer.status == 200 && told.contains(&format!("\"{mark}\""));
            if fine {
                Ok((200, String::new()))
            } else {
                Err(format!("{mark} got {} {told}", answer.status))
            }
        })
    });
    std::thread::sleep(Duration::from_secs(4));
    let records = load.finish();
    assert!(records.len() > 100, "{} requests", records.len());
    assert!(failures(&records).is_empty(), "{:#?}", failures(&records));
}

#[test]
fn what_never_left_the_proxy_is_sent_again_even_a_post() {
    let backend = Backend::start("v1");
    let site = Site::of(&[("v1", backend.endpoint())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    for n in 0..30 {
        let echo = Echo::of(&conn.request("POST", &format!("/{n}"), &[], b"once"));
        assert_eq!(echo.length, 4);
        // The pooled connection is dead by the time of the next request.
        backend.hang_up();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(backend.requests(), 30, "each exactly once");
    assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_for_another_of_the_same_version() {
    let backend = Backend::start("v1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = port.local_addr().unwrap();
    drop(port);
    let both = format!("{dead}, {}", backend.endpoint());
    let site = Site::of(&[("v1", both)]).route(
        "retry: { failures: [connect], attempts: 2, budget: 100% }",
        "[]",
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    for _ in 0..30 {
        assert_eq!(conn.request("POST", "/", &[], b"x").status, 200);
    }
    assert_eq!(backend.requests(), 30);
}

#[test]
fn a_stream_that_was_refused_is_sent_again_over_another_connection_even_a_post() {
    let go_away = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let refuse = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]);
    let answer = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, STATUS_200);
    let refuses = h2c(move |connection, stream| match connection {
        1 => refuse(stream),
        _ => answer(stream),
    });
    let leaves = h2c(move |connection, stream| match connection {
        1 => go_away(0),
        _ => answer(stream),
    });
    for (what, backend) in [("refuses", refuses), ("leaves", leaves)] {
        let health = "protocol: h2c\nhealth: { passive: { consecutive_failures: 1, eject_for: 60s, max_ejected: 100% } }";
        let site = Site::of(&[("v1", backend.endpoint())])
            .service(health, &[("v1", backend.endpoint())])
            .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
        let proxy = Proxy::start(&site);
        let mut conn = proxy.connect();
        for _ in 0..3 {
            let answer = conn.request("POST", "/", &[], b"");
            assert_eq!(
                answer.status,
                200,
                "a version that {what}: {}",
                answer.text()
            );
        }
        assert_eq!(backend.connections(), 2, "{what}");
        assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
    }
}

#[test]
fn a_version_that_refuses_every_stream_is_asked_twice_and_is_502() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let backend = h2c(move |_, stream| {
        seen.fetch_add(1, SeqCst);
        frame(RST_STREAM, 0, stream, &[0, 0, 0, 7])
    });
    let proxy = Proxy::start(&behind_h2c(backend.endpoint()));
    each_gets(&proxy, 502, "reset");
    assert_eq!(count.load(SeqCst), 4, "each twice");
    let answer = proxy.connect().request("POST", "/", &[], b"gone");
    assert_eq!(answer.status, 502);
    assert_eq!(
        count.load(SeqCst),
        5,
        "a body that has begun is not at hand"
    );
}

#[test]
fn a_post_that_left_is_not_sent_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let backend = Scripted::start(move |scene, _| {
        scene.request()?;
        seen.fetch_add(1, SeqCst);
        scene.reset()
    });
    let site = Site::of(&[("v1", backend.endpoint())]).route(
        "retry: { failures: [connect, reset], attempts: 3, budget: 100% }",
        "[]",
    );
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.connect().request("POST", "/", &[], b"x").status, 502);
    assert_eq!(count.load(SeqCst), 1, "a POST may have had its effect");
    assert_eq!(proxy.get("/", &[]).status, 502);
    until("a GET is tried as often as the route says", || {
        count.load(SeqCst) == 1 + 4
    });
}

#[test]
fn retries_follow_the_routes_statuses_tries_and_budget() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let backend = Scripted::start(move |scene, _| {
        loop {
            let echo = scene.request()?;
            if seen.fetch_add(1, SeqCst) % 3 == 2 {
                scene.echo(&echo)?;
            } else {
                scene.write("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
            }
        }
    });
    let with = |retry: &str| Site::of(&[("v1", backend.endpoint())]).route(retry, "[]");
    let proxy = Proxy::start(&with(
        "retry: { failures: [\"503\"], attempts: 2, budget: 100% }",
    ));
    let mut conn = proxy.connect();
    for n in 0..5 {
        assert_eq!(conn.get("/", &[]).status, 200, "two extra tries are enough");
        assert_eq!(count.load(SeqCst), 3 * (n + 1));
    }
    assert_eq!(
        conn.request("POST", "/", &[], b"x").status,
        503,
        "a POST that was answered is not tried again"
    );
    count.store(0, SeqCst);
    proxy.edit(&with(
        "retry: { failures: [\"502\"], attempts: 2, budget: 100% }",
    ));
    assert_eq!(
        conn.get("/", &[]).status,
        503,
        "another status is no reason"
    );
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let down = Scripted::start(move |scene, _| {
        loop {
            scene.request()?;
            counting.fetch_add(1, SeqCst);
            scene.write("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let budget = Site::of(&[("v1", down.endpoint())]).route(
        "retry: { failures: [\"503\"], attempts: 3, budget: 10% }",
        "[]",
    );
    let proxy = Proxy::start(&budget);
    let mut conn = proxy.connect();
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(conn.get("/", &[]).status, 503);
    }
    // A tenth of the requests over ten seconds, or three a second where that is more.
    let allowed = 20.0 + 3.0 * (start.elapsed().as_secs_f64() + 10.0);
    let extra = asked.load(SeqCst) as f64 - 200.0;
    assert!(
        extra <= allowed,
        "{extra} extra tries, at most {allowed} were allowed"
    );
    assert!(extra > 0.0, "and some were made");
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_requests_total", &[("code", "503")]),
        200.0,
        "a request counts once"
    );
}

#[test]
fn each_try_has_a_bound_of_its_own() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let backend = Scripted::start(move |scene, _| {
        loop {
            let echo = scene.request()?;
            if seen.fetch_add(1, SeqCst) == 0 {
                std::thread::sleep(Duration::from_secs(3));
            }
            scene.echo(&echo)?;
        }
    });
    let site = Site::of(&[("v1", backend.endpoint())]).route(
        "timeouts: { request: 5s, try: 300ms }\nretry: { failures: [timeout], attempts: 1, budget: 100% }",
        "[]",
    );
    let proxy = Proxy::start(&site);
    let start = Instant::now();
    assert_eq!(proxy.get("/", &[]).status, 200, "the second try");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(280) && took < soon(Duration::from_millis(2000)),
        "{took:?}"
    );
}

#[test]
fn the_versions_own_errors_pass_and_count_as_its_failures() {
    let backend = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    for status in [500, 502, 503, 404, 400, 429] {
        assert_eq!(conn.get(&format!("/?status={status}"), &[]).status, status);
    }
    proxy.counts(
        "tidegate_failures_total",
        &[("version", "v1"), ("kind", "status")],
        3.0,
    );
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "v1"), ("code", "404")],
        1.0,
    );
    assert_eq!(
        proxy.metrics().sum("tidegate_failures_total", &[]),
        3.0,
        "4xx are the caller's"
    );
}

#[test]
fn what_the_caller_breaks_is_not_the_versions_failure() {
    let backend = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    let answer = conn.try_answer();
    assert!(
        answer.as_ref().map_or(true, |a| a.status == 400),
        "{answer:?}"
    );
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nonly this");
    drop(conn);
    assert_eq!(proxy.get("/", &[]).status, 200);
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "v1"), ("code", "200")],
        1.0,
    );
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        0.0
    );
}

#[test]
fn a_version_that_comes_back_is_used_again_at_once() {
    let backend = Backend::start("v1");
    let address = backend.address;
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/", &[]).status, 200);
    drop(backend);
    until("it is gone", || {
        std::net::TcpStream::connect(address).is_err()
    });
    let down = conn.get("/", &[]);
    assert!(matches!(down.status, 502 | 503), "{}", down.status);
    let _again = Backend::on(address, "v1");
    until("it is back", || conn.get("/", &[]).status == 200);
}

/// A length that no single read or write takes at once.
const LONG: usize = 3 << 20;

fn long_head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_long_answer_that_is_cut_or_stalls_is_cut_for_the_client_and_counted() {
    for (what, kind) in [
        ("closes", "truncated"),
        ("resets", "reset"),
        ("stalls", "stream_idle"),
    ] {
        let backend = Scripted::start(move |scene, _| {
            scene.request()?;
            scene.write(long_head(LONG))?;
            scene.write(pattern(LONG / 2))?;
            match what {
                "closes" => Ok(()),
                "resets" => scene.reset(),
                _ => scene.wait_for_end(),
            }
        });
        let proxy = Proxy::start(&behind(backend.endpoint()));
        for _ in 0..3 {
            let cut = proxy.connect().try_request("GET", "/", &[], b"");
            assert!(
                cut.is_err(),
                "a version that {what}: {:?}",
                cut.map(|a| a.body.len())
            );
        }
        let cut = H2Client::open(proxy.address("in")).try_request("GET", "/", &[], b"");
        assert!(
            cut.is_err(),
            "over HTTP/2, a version that {what}: {:?}",
            cut.map(|a| a.body.len())
        );
        eprintln!("a version that {what}");
        proxy.counts(
            "tidegate_failures_total",
            &[("version", "v1"), ("kind", kind)],
            4.0,
        );
    }
}

#[test]
fn what_follows_a_long_answer_is_never_part_of_another() {
    let backend = Scripted::start(|scene, _| {
        loop {
            let echo = scene.request()?;
            if echo.target.starts_with("/long") {
                let mut whole = long_head(LONG).into_bytes();
                whole.extend(pattern(LONG));
                whole.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL");
                scene.write(whole)?;
            } else {
                scene.echo(&echo)?;
            }
        }
    });
    let one_worker = "{ workers: 1, drain: { min: 0s, max: 5s } }";
    let proxy = Proxy::start(&behind(backend.endpoint()).with("runtime", one_worker));
    let mut conn = proxy.connect();
    for n in 0..6 {
        assert!(conn.get("/long", &[]).body == pattern(LONG));
        std::thread::sleep(Duration::from_millis(10));
        let target = format!("/short/{n}");
        assert_eq!(Echo::of(&conn.get(&target, &[])).target, target);
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_long_answer_costs_nothing_that_stays() {
    let backend = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let target = format!("/?bytes={LONG}");
    assert!(proxy.get(&target, &[]).body == pattern(LONG));
    until("the first connection is gone", || {
        proxy
            .metrics()
            .sum("tidegate_connections", &[("listener", "in")])
            == 0.0
    });
    let files = proxy.descriptors();
    for n in 0..60 {
        let mut conn = proxy.connect();
        conn.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"));
        conn.reader.take_until(b"\r\n\r\n").unwrap();
        conn.reader.take(n * 1000).unwrap();
        if n % 2 == 0 {
            conn.reset();
        }
    }
    until("they are all gone", || {
        proxy
            .metrics()
            .sum("tidegate_connections", &[("listener", "in")])
            == 0.0
    });
    until("no file is left open", || proxy.descriptors() <= files + 4);
    let by_code = |code| {
        proxy.metrics().sum(
            "tidegate_requests_total",
            &[("version", "v1"), ("code", code)],
        )
    };
    // What fits into the buffers of the kernel is written before the client is missed.
    until("each is counted once", || {
        by_code("200") + by_code("499") == 61.0
    });
    assert!(by_code("499") > 0.0, "some were missed in the middle");
    assert_eq!(
        proxy.metrics().sum("tidegate_failures_total", &[]),
        0.0,
        "nobody's failure"
    );
    assert!(
        proxy.get(&target, &[]).body == pattern(LONG),
        "and the next one is whole"
    );
}

#[test]
fn long_answers_and_long_bodies_pass_side_by_side() {
    let backend = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let address = proxy.address("in");
    std::thread::scope(|scope| {
        for user in 0..6_usize {
            scope.spawn(move || {
                let mut conn = crate::harness::Conn::open(address);
                for n in 0..8 {
                    let length = 100_000 + user * 77_777 + n * 300_000;
                    let chunks = if n % 2 == 0 { "&chunks=3" } else { "" };
                    let answer = conn.get(&format!("/?bytes={length}{chunks}"), &[]);
                    assert!(answer.body == pattern(length), "{length} bytes down");
                    let echo = Echo::of(&conn.request("POST", "/", &[], &pattern(length)));
                    assert_eq!(echo.hash, hash(&pattern(length)), "{length} bytes up");
                }
            });
        }
    });
}
