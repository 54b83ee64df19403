//! Whoever sends too much, too little, too slowly or nothing at all is let go of; honest callers do not notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Conn, Echo, H2Client, Launch, Proxy, Scripted, Site, WebSocket, command, grpc_frame,
    pattern, soon, until,
};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, integer, literals, pseudo,
};

fn with(listener: &str) -> (Backend, Proxy) {
    let v1 = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", v1.endpoint())]).listener(listener));
    (v1, proxy)
}

fn refusals(proxy: &Proxy, reason: &str) -> f64 {
    let labels = [("listener", "in"), ("reason", reason)];
    proxy.metrics().sum("tidegate_refusals_total", &labels)
}

/// An honest caller is served, and soon.
#[track_caller]
fn serves(proxy: &Proxy) {
    let start = Instant::now();
    assert_eq!(proxy.get("/", &[]).status, 200);
    let took = start.elapsed();
    assert!(
        took < soon(Duration::from_secs(2)),
        "an honest request took {took:?}"
    );
}

/// The version is to blame for nothing.
#[track_caller]
fn nobody_is_blamed(proxy: &Proxy) {
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")]),
        0.0
    );
}

/// A connection whose system keeps little of what it does not read.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.into()
}

/// Reads so many bytes a second; how many came before the peer ended it, and how long that took.
fn sip(mut stream: TcpStream, rate: usize, at_most: Duration) -> (usize, Option<Duration>) {
    let (start, mut got) = (Instant::now(), 0);
    let mut piece = vec![0; (rate / 10).clamp(1, 65_536)];
    while start.elapsed() < at_most {
        if got as f64 > rate as f64 * start.elapsed().as_secs_f64() {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return (got, Some(start.elapsed())),
            Ok(n) => got += n,
        }
    }
    (got, None)
}

#[test]
fn ds_01_who_connects_and_says_nothing_is_let_go_of() {
    let (v1, proxy) = with("timeouts: { header: 700ms }");
    let address = proxy.address("in");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let first: [&[u8]; 8] = [
        b"",
        b"G",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\n",
        &preface[..1],
        &preface[..20],
        preface,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    std::thread::scope(|scope| {
        for bytes in first {
            scope.spawn(move || {
                let mut conn = Conn::open(address);
                conn.send(bytes);
                let start = Instant::now();
                conn.patience(Duration::from_secs(10));
                let rest = conn.reader.take_rest();
                let took = start.elapsed();
                assert!(took > Duration::from_millis(600), "{bytes:?}: {took:?}");
                assert!(took < soon(Duration::from_secs(4)), "{bytes:?}: {took:?}");
                if bytes.is_empty() {
                    assert_eq!(
                        rest.unwrap(),
                        b"",
                        "in silence: it may be a connection in reserve"
                    );
                }
            });
        }
    });
    until("each is counted", || {
        refusals(&proxy, "slow_request") >= 6.0
    });
    assert_eq!(v1.requests(), 0);
    proxy.counts("tidegate_connections", &[("listener", "in")], 0.0);
}

#[test]
fn ds_02_a_head_that_dribbles_has_one_time_for_all_of_it() {
    let (v1, proxy) = with("timeouts: { header: 1s }");
    let address = proxy.address("in");
    let served = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    std::thread::scope(|scope| {
        for (before, piece) in [
            ("", "x"),
            ("", "x: y\r\n"),
            (served, "x"),
            (served, "x: y\r\n"),
            ("", "\r\n"),
        ] {
            scope.spawn(move || {
                let mut conn = Conn::open(address);
                if !before.is_empty() {
                    conn.send(before);
                    assert_eq!(conn.answer().status, 200);
                }
                let start = Instant::now();
                if piece != "\r\n" {
                    conn.send("GET / HTTP/1.1\r\nHost: t\r\n");
                }
                while conn.try_send(piece).is_ok() && start.elapsed() < Duration::from_secs(8) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                let took = start.elapsed();
                assert!(
                    took < soon(Duration::from_secs(5)),
                    "{piece:?} goes on for {took:?}"
                );
                let said = conn.try_answer().map(|answer| answer.status);
                assert!(matches!(said, Ok(408 | 400) | Err(_)), "{said:?}");
            });
        }
        // Over HTTP/2 a head may come in pieces too.
        scope.spawn(move || {
            let mut frames = Frames::open(address);
            let start = Instant::now();
            frames.send(&frame(
                HEADERS,
                END_STREAM,
                1,
                &literals(pseudo("GET", "/")),
            ));
            while start.elapsed() < Duration::from_secs(8) {
                if !frames.send(&frame(CONTINUATION, 0, 1, &literals([("x", "y")]))) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            let took = start.elapsed();
            assert!(
                took < soon(Duration::from_secs(5)),
                "CONTINUATION goes on for {took:?}"
            );
        });
    });
    assert_eq!(v1.requests(), 2, "the two that were whole");
    serves(&proxy);
}

#[test]
fn ds_03_a_body_below_the_minimum_rate_is_408() {
    let (v1, proxy) = with("limits: { min_rate: 240B }");
    let address = proxy.address("in");
    let slow = |head: &'static str, piece: &'static str| {
        move || {
            let mut conn = Conn::open(address);
            conn.send(head);
            let start = Instant::now();
            conn.patience(Duration::from_millis(200));
            let answer = loop {
                let _ = conn.try_send(piece);
                match conn.try_answer() {
                    Err(e)
                        if e.kind() == std::io::ErrorKind::WouldBlock
                            && start.elapsed().as_secs() < 30 => {}
                    other => break other.expect("an answer"),
                }
            };
            let took = start.elapsed();
            assert_eq!(
                (answer.status, answer.header("x-tidegate-refusal")),
                (408, "slow_body"),
                "{head}"
            );
            assert!(
                took > Duration::from_secs(10),
                "not before its grace is over: {took:?}"
            );
            assert!(took < soon(Duration::from_secs(14)), "{took:?}");
            assert!(conn.closes_within(Duration::from_secs(4)));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(slow(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9999\r\n\r\n",
            "x",
        ));
        scope.spawn(slow(
            "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\nx\r\n",
        ));
        // A long extension is no body.
        scope.spawn(slow(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=bbbbbbbbbbbbbbbbb\r\nx\r\n",
        ));
        scope.spawn(slow(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Type: application/grpc\r\nContent-Length: 9999\r\n\r\n",
            "x",
        ));
        for piece in [&b"x"[..], b""] {
            scope.spawn(move || {
                let mut frames = Frames::open(address);
                let start = Instant::now();
                frames.request(1, &pseudo("POST", "/"), false);
                let mut ended = false;
                while !ended && start.elapsed() < Duration::from_secs(30) {
                    let sent = frames.send(&frame(DATA, 0, 1, piece));
                    ended = !sent || frames.next(Duration::from_millis(200)).is_some();
                }
                let took = start.elapsed();
                assert!(took > Duration::from_secs(9), "{took:?}");
                assert!(
                    took < soon(Duration::from_secs(14)),
                    "{piece:?} over HTTP/2: {took:?}"
                );
            });
        }
    });
    assert!(refusals(&proxy, "slow_body") >= 5.0);
    assert!(v1.recent().is_empty(), "none of them was whole");
    nobody_is_blamed(&proxy);
    serves(&proxy);
}

#[test]
fn ds_03_who_keeps_to_the_rate_or_is_not_waited_for_is_served() {
    let v1 = Backend::start("v1");
    let calls = Backend::h2c("v1");
    let more = Site::service_text("app", "", &[("v1", v1.endpoint())])
        + Site::service_text("calls", "protocol: h2c", &[("v1", calls.endpoint())])
            .trim_start_matches('\n');
    let site = Site::of(&[("v1", v1.endpoint())])
        .listener("limits: { min_rate: 2KiB }")
        .with("services", &more)
        .with(
            "routes",
            "[{ match: { path: { prefix: /calls } }, service: calls, rules: [] }, { service: app, rules: [] }]",
        );
    let proxy = Proxy::start(&site);
    let address = proxy.address("in");
    let sends = |piece: usize, pause: u64, pieces: usize| {
        move || {
            let mut conn = Conn::open(address);
            conn.send(format!(
                "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
                piece * pieces
            ));
            for at in 0..pieces {
                conn.send(&pattern(piece * pieces)[at * piece..(at + 1) * piece]);
                std::thread::sleep(Duration::from_millis(pause));
            }
            assert_eq!(Echo::of(&conn.answer()).length, piece * pieces);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(sends(1024, 100, 150));
        // A burst earns a rest.
        scope.spawn(sends(40_000, 12_000, 2));
        scope.spawn(move || {
            let answer = Conn::open(address).get("/?delay=12000", &[]);
            assert_eq!(answer.status, 200, "a slow version is not a slow caller");
        });
        scope.spawn(move || {
            let answer = Conn::open(address).request("POST", "/?delay=12000", &[], b"all of it");
            assert_eq!(answer.status, 200, "nor where there was a body");
        });
        scope.spawn(move || {
            let answer = Conn::open(address).get("/?bytes=20&chunks=20&pace=600", &[]);
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, 20),
                "nor one that drips its answer"
            );
        });
        scope.spawn(move || {
            let mut client = H2Client::open(address);
            let mut call = client.stream(
                "POST",
                "/calls/Say",
                &["content-type: application/grpc+proto", "te: trailers"],
            );
            call.send(grpc_frame(b"one"), false).unwrap();
            client.idle(Duration::from_secs(12));
            call.send(grpc_frame(b"two"), true).unwrap();
            assert_eq!(
                call.finish().unwrap().status,
                200,
                "a call that has nothing to say for a while"
            );
        });
        scope.spawn(move || {
            let mut socket = WebSocket::open(address, "/", &[]);
            assert!(socket.say("one").contains("one"));
            std::thread::sleep(Duration::from_secs(12));
            assert!(socket.say("two").contains("two"), "a tunnel");
            assert!(socket.close());
        });
    });
    assert_eq!(
        refusals(&proxy, "slow_body") + refusals(&proxy, "slow_reader"),
        0.0
    );
}

#[test]
fn ds_03_without_a_minimum_rate_slow_bodies_are_only_held_to_silence() {
    for listener in ["limits: { min_rate: none }", "profile: sidecar"] {
        let (_v1, proxy) = with(listener);
        let mut conn = proxy.connect();
        conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 24\r\n\r\n");
        for _ in 0..24 {
            conn.send("x");
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(conn.answer().status, 200, "{listener}");
    }
}

#[test]
fn ds_03_an_answer_that_is_read_below_the_minimum_rate_is_cut_off() {
    let (_v1, proxy) = with("limits: { min_rate: 200KiB }");
    let address = proxy.address("in");
    let answers = ["/?bytes=20000000", "/?bytes=20000000&chunks=300"];
    std::thread::scope(|scope| {
        for target in answers {
            for rate in [1_000, 20_000] {
                scope.spawn(move || {
                    let mut stream = narrow(address);
                    write!(stream, "GET {target} HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
                    let (got, took) = sip(stream, rate, Duration::from_secs(25));
                    let took =
                        took.unwrap_or_else(|| panic!("{rate} B/s: still there after {got} bytes"));
                    assert!(took > Duration::from_secs(10), "its grace: {took:?}");
                    assert!(took < soon(Duration::from_secs(17)), "{took:?}");
                    assert!(got < 5_000_000);
                });
            }
        }
        scope.spawn(move || {
            let mut stream = narrow(address);
            write!(
                stream,
                "GET /?bytes=4000000 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            let (got, _) = sip(stream, 2_000_000, Duration::from_secs(30));
            assert!(got > 4_000_000, "who is faster gets it all: {got}");
        });
        // One stream that trickles, beside one that is read.
        scope.spawn(move || {
            let mut frames = Frames::with_settings(address, &[(4, 1)]);
            frames.request(1, &pseudo("GET", "/?bytes=20000000"), true);
            let start = Instant::now();
            let mut ended = None;
            while ended.is_none() && start.elapsed() < Duration::from_secs(25) {
                frames.send(&frame(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes()));
                while let Some((kind, _, of, _)) = frames.next(Duration::from_millis(20)) {
                    if kind == RST_STREAM && of == 1 {
                        ended = Some(start.elapsed());
                    }
                }
                ended = ended.or(frames.closed.then(|| start.elapsed()));
            }
            let took = ended.expect("a stream that trickles is reset");
            assert!(
                took > Duration::from_secs(9) && took < soon(Duration::from_secs(17)),
                "{took:?}"
            );
        });
    });
    until("each is counted", || refusals(&proxy, "slow_reader") >= 5.0);
    nobody_is_blamed(&proxy);
}

#[test]
fn ds_03_an_answer_that_nobody_takes_is_cut_off_and_counted() {
    let (_v1, proxy) = with("timeouts: { idle: 1s }");
    let mut stream = narrow(proxy.address("in"));
    write!(stream, "GET /?bytes=20000000 HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let mut frames = Frames::with_settings(proxy.address("in"), &[(4, 0)]);
    frames.request(1, &pseudo("GET", "/?bytes=1000000"), true);
    proxy.counts("tidegate_refusals_total", &[("reason", "slow_reader")], 2.0);
    until("it is gone", || {
        proxy
            .metrics()
            .sum("tidegate_connections", &[("listener", "in")])
            == 0.0
    });
    nobody_is_blamed(&proxy);
}

/// So many rounds as fast as they are taken, until the peer has had enough; whether it ended the connection.
fn flood(frames: &mut Frames, rounds: u32, round: impl Fn(u32) -> Vec<u8>) -> bool {
    let start = Instant::now();
    for batch in 0..rounds / 100 {
        let bytes: Vec<u8> = (0..100).flat_map(|n| round(batch * 100 + n)).collect();
        if !frames.send(&bytes) || start.elapsed() > Duration::from_secs(10) {
            break;
        }
    }
    frames.is_ended_within(Duration::from_secs(2))
}

/// The stream of a round: 1, 3, 5, …
fn stream_of(round: u32) -> u32 {
    round * 2 + 1
}

#[test]
fn ds_04_a_rapid_reset_ends_the_connection_before_the_version_feels_it() {
    for target in ["/", "/?delay=100"] {
        let (v1, proxy) = with("limits: { connections: 100 }");
        let mut frames = Frames::open(proxy.address("in"));
        let block = literals(pseudo("GET", target));
        let ended = flood(&mut frames, 10_000, |n| {
            let mut out = frame(HEADERS, END_STREAM | END_HEADERS, stream_of(n), &block);
            out.extend(frame(RST_STREAM, 0, stream_of(n), &8_u32.to_be_bytes()));
            out
        });
        assert!(ended, "ten thousand resets are not suffered");
        assert!(
            v1.requests() < 2000,
            "{} reached the version",
            v1.requests()
        );
        assert!(
            v1.connections() <= 260,
            "{} connections to the version",
            v1.connections()
        );
        serves(&proxy);
        nobody_is_blamed(&proxy);
    }
}

#[test]
fn ds_05_resets_that_we_are_made_to_send_end_the_connection() {
    type Body = (&'static str, fn(u32) -> Vec<u8>);
    let bodies: [Body; 5] = [
        ("a window of nothing", |id| {
            frame(WINDOW_UPDATE, 0, id, &0_u32.to_be_bytes())
        }),
        ("a window too wide", |id| {
            frame(WINDOW_UPDATE, 0, id, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("data behind the end", |id| frame(DATA, 0, id, b"x")),
        ("a head behind the end", |id| {
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                id,
                &literals([("x", "1")]),
            )
        }),
        ("a stream that depends on itself", |id| {
            let mut payload = id.to_be_bytes().to_vec();
            payload.push(0);
            frame(PRIORITY, 0, id, &payload)
        }),
    ];
    let (v1, proxy) = with("limits: { connections: 100 }");
    for (what, made) in bodies {
        let before = v1.requests();
        let mut frames = Frames::open(proxy.address("in"));
        let block = literals(pseudo("GET", "/?delay=100"));
        let ended = flood(&mut frames, 10_000, |n| {
            let id = stream_of(n);
            [
                frame(HEADERS, END_STREAM | END_HEADERS, id, &block),
                made(id),
            ]
            .concat()
        });
        let reached = v1.requests() - before;
        // PRIORITY may be ignored (RFC 9113 §5.3.2); then the bound on streams is what holds.
        assert!(
            ended || what.contains("depends"),
            "{what}: ten thousand are not suffered"
        );
        assert!(reached < 3000, "{what}: {reached} reached the version");
        serves(&proxy);
    }
    let mut frames = Frames::open(proxy.address("in"));
    let malformed = literals(pseudo("GET", "/").into_iter().chain([("connection", "x")]));
    let ended = flood(&mut frames, 20_000, |n| {
        frame(HEADERS, END_STREAM | END_HEADERS, stream_of(n), &malformed)
    });
    assert!(ended, "malformed requests without end");
    serves(&proxy);
}

#[test]
fn ds_06_a_head_of_endless_continuations_ends_the_connection() {
    let (v1, proxy) = with("limits: { connections: 100 }");
    let field = literals([("x-flood", "0123456789012345678901234567890123456789")]);
    for piece in [Vec::new(), b"\0\x01x\x011".to_vec(), field] {
        let before = proxy.resident_kib();
        let mut frames = Frames::open(proxy.address("in"));
        frames.send(&frame(
            HEADERS,
            END_STREAM,
            1,
            &literals(pseudo("GET", "/")),
        ));
        let ended = flood(&mut frames, 200_000, |_| frame(CONTINUATION, 0, 1, &piece));
        assert!(ended, "pieces of {} bytes", piece.len());
        let grown = proxy.resident_kib().saturating_sub(before);
        assert!(grown < 8_000, "{grown} KiB");
        serves(&proxy);
    }
    assert_eq!(v1.requests(), 3, "honest ones alone");
}

#[test]
fn ds_07_floods_of_upkeep_take_no_memory_and_nobodys_turn() {
    let (_v1, proxy) = with("limits: { connections: 100 }");
    let priority = |n: u32| {
        let mut payload = 0_u32.to_be_bytes().to_vec();
        payload.push(n as u8);
        payload
    };
    type Flood = (&'static str, Box<dyn Fn(u32) -> Vec<u8>>);
    let floods: [Flood; 5] = [
        (
            "PING",
            Box::new(|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ),
        (
            "SETTINGS",
            Box::new(|n| frame(SETTINGS, 0, 0, &[&[0, 1][..], &n.to_be_bytes()].concat())),
        ),
        ("empty SETTINGS", Box::new(|_| frame(SETTINGS, 0, 0, b""))),
        (
            "PRIORITY",
            Box::new(move |n| frame(PRIORITY, 0, stream_of(n), &priority(n))),
        ),
        (
            "WINDOW_UPDATE",
            Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ),
    ];
    serves(&proxy);
    for (what, round) in floods {
        let before = proxy.resident_kib();
        let mut frames = Frames::open(proxy.address("in"));
        let start = Instant::now();
        // What is answered is not read.
        for batch in 0..2000 {
            let bytes: Vec<u8> = (0..100).flat_map(|n| round(batch * 100 + n)).collect();
            if !frames.send(&bytes) || start.elapsed() > Duration::from_secs(4) {
                break;
            }
            if batch == 500 {
                serves(&proxy);
            }
        }
        let grown = proxy.resident_kib().saturating_sub(before);
        assert!(grown < 16_000, "{what}: {grown} KiB");
        serves(&proxy);
    }
}

#[test]
fn ds_08_empty_pieces_of_a_body_are_not_suffered_for_ever() {
    let (v1, proxy) = with("limits: { min_rate: 240B }");
    let before = proxy.resident_kib();
    let start = Instant::now();
    let mut frames = Frames::open(proxy.address("in"));
    frames.request(1, &pseudo("POST", "/"), false);
    let mut ended = false;
    while !ended && start.elapsed() < Duration::from_secs(20) {
        let bytes: Vec<u8> = (0..100).flat_map(|_| frame(DATA, 0, 1, b"")).collect();
        ended = !frames.send(&bytes) || frames.next(Duration::ZERO).is_some() || frames.closed;
    }
    assert!(ended, "still there");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 16_000, "{grown} KiB");
    assert!(v1.recent().is_empty());
    serves(&proxy);
}

#[test]
fn ds_09_a_head_that_unfolds_is_counted_as_what_it_unfolds_to() {
    let (v1, proxy) = with("timeouts: { idle: 2s }");
    serves(&proxy);
    let before = proxy.resident_kib();
    let mut all = Vec::new();
    for bomb in ["reference", "cookies", "literals", "name"] {
        let mut frames = Frames::with_settings(proxy.address("in"), &[(4, 0)]);
        for n in 0..100 {
            let mut block = literals(pseudo("GET", "/?bytes=100000"));
            match bomb {
                // One large entry in the table, named again and again: a byte each.
                "reference" => {
                    block.push(0x40);
                    for text in ["x-bomb".to_owned(), "v".repeat(3900)] {
                        integer(&mut block, 0, 7, text.len());
                        block.extend(text.bytes());
                    }
                    block.extend(std::iter::repeat_n(0xbe, 16_000));
                }
                "cookies" => block.extend(literals(std::iter::repeat_n(("cookie", "a=1"), 4000))),
                "literals" => block.extend(literals(std::iter::repeat_n(("x", ""), 5000))),
                _ => block.extend(literals([("x".repeat(40_000).as_str(), "1")])),
            }
            if !frames.block(stream_of(n), &block, true) {
                break;
            }
        }
        let heard = frames.hear(1);
        assert!(
            heard.is_refused(),
            "{bomb}: {:?} {:?}",
            heard.status,
            heard.reset
        );
        all.push(frames);
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 32_000, "{grown} KiB for four hundred of them");
    assert_eq!(v1.requests(), 1, "none of them reached the version");
    serves(&proxy);
}

#[test]
fn ds_10_answers_that_nobody_reads_take_a_bounded_place() {
    let (_v1, proxy) = with("limits: { connections: 100 }");
    serves(&proxy);
    let before = proxy.resident_kib();
    let mut frames = Frames::with_settings(proxy.address("in"), &[(4, 0)]);
    for n in 0..100 {
        frames.request(stream_of(n), &pseudo("GET", "/?bytes=10000000"), true);
    }
    std::thread::sleep(Duration::from_secs(3));
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 64_000, "{grown} KiB for a hundred answers of 10 MB");
    serves(&proxy);
}

#[test]
fn ds_11_over_the_cap_callers_are_refused_fast_and_nobody_else_is_hurt() {
    let (_v1, proxy) = with("limits: { connections: 50, connections_per_client: 20 }");
    let from = |last: u8| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let address = SocketAddr::from(([127, 0, 1, last], 0));
        socket.bind(&address.into()).unwrap();
        socket.connect(&proxy.address("in").into()).unwrap();
        TcpStream::from(socket)
    };
    let ask = |mut stream: &TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            .ok()?;
        let mut first = [0; 12];
        stream.read_exact(&mut first).ok()?;
        let status = String::from_utf8_lossy(&first)[9..].to_owned();
        let mut rest = [0; 4096];
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        while stream.read(&mut rest).is_ok_and(|n| n == rest.len()) {}
        Some(status)
    };
    let mut open: Vec<TcpStream> = Vec::new();
    for client in 1..=2 {
        for _ in 0..20 {
            let stream = from(client);
            assert_eq!(ask(&stream).as_deref(), Some("200"));
            open.push(stream);
        }
        for _ in 0..10 {
            let start = Instant::now();
            let said = ask(&from(client));
            assert!(said.is_none() || said.as_deref() == Some("429"), "{said:?}");
            assert!(
                start.elapsed() < soon(Duration::from_secs(1)),
                "refused fast"
            );
        }
    }
    assert!(refusals(&proxy, "client_connections") >= 20.0);
    for _ in 0..10 {
        let stream = from(3);
        assert_eq!(ask(&stream).as_deref(), Some("200"));
        open.push(stream);
    }
    let crowd: Vec<_> = (0..300).map(|n| from(4 + (n % 100) as u8)).collect();
    until("the rest is refused", || {
        refusals(&proxy, "connections") >= 300.0
    });
    for stream in &open {
        assert_eq!(
            ask(stream).as_deref(),
            Some("200"),
            "those that were there go on"
        );
    }
    drop((crowd, open));
    until("there is room again", || {
        ask(&from(200)).as_deref() == Some("200")
    });
}

#[test]
fn ds_12_no_pattern_takes_more_than_its_time() {
    let v1 = Backend::start("v1");
    let patterns = [
        r"^/(a+)+$",
        r"^/(a|aa)*b$",
        r"^/(.*)*(.*)*x$",
        r"^/([a-z]+)*[0-9]$",
    ];
    let rules: Vec<String> = patterns
        .iter()
        .map(|p| format!("{{ when: {{ any: [{{ path: {{ regex: '{p}' }} }}, {{ header: {{ name: x-a, regex: '{p}' }} }}] }}, to: v1 }}"))
        .collect();
    let site = Site::of(&[("v1", v1.endpoint())])
        .listener("limits: { header_bytes: 64KiB, target_bytes: 32KiB }")
        .rules(&format!("[{}]", rules.join(", ")));
    let proxy = Proxy::start(&site);
    let long = format!("/{}!", "a".repeat(30_000));
    let start = Instant::now();
    let answer = proxy.get(&long, &[&format!("x-a: {long}")]);
    assert_eq!(answer.status, 200);
    assert!(
        start.elapsed() < soon(Duration::from_secs(3)),
        "{:?}",
        start.elapsed()
    );
    for bomb in [
        r"(a{1000}){1000}",
        r"((a{100}){100}){100}",
        r"\\w{1000}{100}",
    ] {
        let text = site
            .clone()
            .rules(&format!(
                "[{{ when: {{ path: {{ regex: \"{bomb}\" }} }}, to: v1 }}]"
            ))
            .yaml();
        let start = Instant::now();
        let checked = command(&["check", "-"], &text);
        assert_eq!(checked.status.code(), Some(1), "{bomb}");
        assert!(start.elapsed() < soon(Duration::from_secs(5)));
    }
}

#[test]
fn ds_14_a_proxy_header_is_no_request() {
    let (v1, proxy) = with("timeouts: { header: 1s }");
    let get = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let v2 = |rest: &[u8]| [b"\r\n\r\n\0\r\nQUIT\n", rest].concat();
    let headers: Vec<Vec<u8>> = vec![
        b"PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n".to_vec(),
        b"PROXY TCP6 ::1 ::1 1 80\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY ".to_vec(),
        v2(&[0x21, 0x11, 0, 12, 6, 6, 6, 6, 127, 0, 0, 1, 0, 1, 0, 80]),
        v2(&[0x20, 0x00, 0, 0]),
        v2(&[0x21, 0x11, 0, 12, 6, 6]),
        // A TLV longer than what is left.
        v2(&[
            0x21, 0x11, 0, 16, 6, 6, 6, 6, 127, 0, 0, 1, 0, 1, 0, 80, 1, 0xff, 0xff, 1,
        ]),
        v2(&[0x21, 0x11, 0xff, 0xff]),
    ];
    for header in headers {
        let mut conn = proxy.connect();
        conn.send([&header, get.as_bytes()].concat());
        let answer = conn.try_answer();
        assert!(
            answer
                .as_ref()
                .map_or(true, |a| a.status == 400 || a.status == 408),
            "{header:?}: {answer:?}"
        );
        assert!(conn.closes_within(Duration::from_secs(5)), "{header:?}");
    }
    assert_eq!(v1.requests(), 0, "and what follows is no request either");
    assert!(refusals(&proxy, "malformed") >= 8.0);
    serves(&proxy);
}

#[test]
fn ds_15_without_descriptors_it_waits_and_recovers() {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Launch::new(&site).after("ulimit -n 64").start();
    let mut first = proxy.connect();
    assert_eq!(first.get("/", &[]).status, 200);
    let crowd: Vec<_> = (0..150)
        .filter_map(|_| Conn::try_open(proxy.address("in")).ok())
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let ticks = |proxy: &Proxy| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid().as_raw_nonzero()))
            .unwrap();
        let after = stat.rsplit_once(')').unwrap().1.to_owned();
        let numbers: Vec<u64> = after
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        // utime and stime, behind state and ten more that are numbers but for the first.
        numbers[10] + numbers[11]
    };
    let before = ticks(&proxy);
    std::thread::sleep(Duration::from_secs(2));
    let spent = ticks(&proxy) - before;
    assert!(spent < 60, "{spent} hundredths of two seconds: it spins");
    assert_eq!(first.get("/", &[]).status, 200, "who is here goes on");
    drop(crowd);
    until("new callers are let in again", || {
        Conn::try_open(proxy.address("in"))
            .and_then(|mut conn| conn.try_request("GET", "/", &[], b""))
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn ds_16_who_goes_away_takes_the_request_along_and_nobody_is_blamed() {
    let (gone, ended) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let slow = Scripted::start(move |scene, _| {
        // Who goes away early may take it along before its head is here.
        if scene.head().is_ok() {
            let _ = scene.wait_for_end();
        }
        let _ = gone.lock().unwrap().send(());
        Ok(())
    });
    let site = Site::of(&[("v1", slow.endpoint())]).service(
        "pool: { max_per_endpoint: 2 }\nhealth: { passive: { consecutive_failures: 1, eject_for: 60s, max_ejected: 100% } }",
        &[("v1", slow.endpoint())],
    );
    let proxy = Proxy::start(&site);
    let waits = |what: &str| {
        ended
            .recv_timeout(Duration::from_secs(10))
            .unwrap_or_else(|_| panic!("{what}: the version still works"));
    };
    for round in 0..4 {
        let mut conn = proxy.connect();
        conn.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        until("it is there", || slow.connections() > round * 2);
        conn.reset();
        waits("a reset");
        let mut client = H2Client::open(proxy.address("in"));
        let mut stream = client.stream("POST", "/", &[]);
        stream.send(b"some".to_vec(), false).unwrap();
        until("it is there", || slow.connections() > round * 2 + 1);
        stream.cancel();
        client.idle(Duration::from_millis(100));
        waits("a cancelled stream");
    }
    nobody_is_blamed(&proxy);
    proxy.counts("tidegate_requests_total", &[("code", "499")], 8.0);
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_endpoint_healthy", &[("version", "v1")]),
        1.0,
        "nor taken out"
    );
}

#[test]
fn ds_17_a_file_that_is_a_bomb_is_refused_with_a_word() {
    let bomb = |open: &str| {
        let mut text = format!("version: 1\na0: &a0 {open}\n");
        for level in 1..40 {
            let above = format!("*a{}, ", level - 1).repeat(9);
            text += &format!("a{level}: &a{level} [{above}*a{}]\n", level - 1);
        }
        text
    };
    let merge = {
        let mut text = "version: 1\na0: &a0 { x: 1 }\n".to_owned();
        for level in 1..40 {
            text += &format!(
                "a{level}: &a{level} {{ <<: [*a{0}, *a{0}], y{level}: *a{0} }}\n",
                level - 1
            );
        }
        text
    };
    let deep = |piece: &str| format!("version: 1\nroutes: {}", piece.repeat(200_000));
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge.yaml");
    let file = std::fs::File::create(&huge).unwrap();
    file.set_len(100 << 20).unwrap();
    let lists = format!("version: 1\nroutes: [{}]", "x, ".repeat(3_000_000));
    let texts = [
        bomb("[x, x, x, x, x, x, x, x, x, x]"),
        bomb("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        merge,
        deep("["),
        deep("{a: "),
        deep("- "),
        deep("? "),
        deep("!!seq ["),
        lists,
    ];
    for (n, text) in texts.iter().enumerate() {
        let path = folder.path().join(format!("{n}.yaml"));
        std::fs::write(&path, text).unwrap();
        is_refused(&path);
    }
    is_refused(&huge);
}

#[track_caller]
fn is_refused(path: &std::path::Path) {
    let start = Instant::now();
    let checked = command(&["check", path.to_str().unwrap()], "");
    let told = String::from_utf8_lossy(&checked.stdout).into_owned()
        + &String::from_utf8_lossy(&checked.stderr);
    assert!(
        matches!(checked.status.code(), Some(1 | 2)),
        "{path:?}: {:?} {told}",
        checked.status
    );
    assert!(
        told.contains("error") || told.contains("larger"),
        "{path:?}: {told}"
    );
    assert!(
        told.len() < 100_000,
        "{path:?}: {} bytes of messages",
        told.len()
    );
    assert!(
        start.elapsed() < soon(Duration::from_secs(20)),
        "{path:?}: {:?}",
        start.elapsed()
    );
}
