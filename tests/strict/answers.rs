//! RS: answers of versions that are broken or hostile; and answers that have no end but the connection's.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::conformance::parse::parse;
use crate::harness::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, STATUS_200, answering, frame,
};
use crate::harness::{Conn, Proxy, Scripted, Site, latin1, soon, until};

fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u32 as u8).collect()
}

/// A version that answers `/odd` with bytes of a test's own and everything else well, and a proxy before it.
struct Hostile {
    proxy: Proxy,
    backend: Scripted,
    odd: Arc<Mutex<Odd>>,
}

/// What it answers, and whether it closes behind it.
#[derive(Clone, Default)]
struct Odd {
    answer: Vec<u8>,
    closes: bool,
}

impl Hostile {
    fn new() -> Self {
        let odd = Arc::new(Mutex::new(Odd::default()));
        let told = odd.clone();
        let backend = Scripted::start(move |scene, _| {
            loop {
                if scene.head()?.contains(" /odd ") {
                    let odd = told.lock().unwrap().clone();
                    scene.write(&odd.answer)?;
                    if odd.closes {
                        return Ok(());
                    }
                } else {
                    scene.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
                }
            }
        });
        let site = Site::of(&[("v1", backend.endpoint())])
            .route("timeouts: { request: 10s, stream_idle: 5s }", "[]")
            .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
        let proxy = Proxy::start(&site);
        Self {
            proxy,
            backend,
            odd,
        }
    }

    /// From now on `/odd` is answered so.
    fn answers(&self, answer: &[u8], closes: bool) {
        let answer = answer.to_vec();
        *self.odd.lock().unwrap() = Odd { answer, closes };
    }

    /// What a caller hears of `/odd` on a connection of its own; then an ordinary request must be answered.
    fn odd(&self) -> (Vec<u8>, bool) {
        let mut conn = self.proxy.connect();
        conn.patience(Duration::from_secs(6));
        conn.send("GET /odd HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let closed = loop {
            match conn.reader.fill() {
                Ok(true) => {}
                Ok(false) => break true,
                Err(e) => break e.kind() == ErrorKind::ConnectionReset,
            }
        };
        for _ in 0..2 {
            let next = self.proxy.get("/", &[]);
            assert_eq!(
                (next.status, next.text().as_str()),
                (200, "ok"),
                "what follows"
            );
        }
        (conn.reader.buffer.clone(), closed)
    }
}

/// Each of these answers is none: 502, nothing of it to the caller, its connection given up.
#[track_caller]
fn nonsense<B: Into<Vec<u8>>>(answers: impl IntoIterator<Item = B>) {
    let (mut wrong, hostile) = (Vec::new(), Hostile::new());
    for answer in answers {
        let answer = answer.into();
        let shown = latin1(&answer[..answer.len().min(200)]);
        for closes in [false, true] {
            hostile.answers(&answer, closes);
            let before = hostile.backend.connections();
            let (heard, closed) = hostile.odd();
            let parsed = parse(&heard, closed, false);
            let status = parsed.finals().first().map(|p| p.status);
            if status != Some(502)
                || !closed
                || !parsed.violations.is_empty()
                || latin1(&heard).contains("EVIL")
            {
                wrong.push(format!(
                    "{shown:?}, closing {closes}: {status:?} {:?}",
                    parsed.violations
                ));
            }
            if hostile.backend.connections() == before {
                wrong.push(format!("{shown:?}: its connection was used again"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} findings:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// An answer with these header lines and this body.
fn ok(lines: &str, body: &str) -> Vec<u8> {
    latin(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}"))
}

#[test]
fn rs_01_of_a_length_and_chunks_the_chunks_count_and_the_connection_ends() {
    for lines in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 50\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: Chunked\r\n",
        "Connection: Content-Length\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    ] {
        let hostile = Hostile::new();
        hostile.answers(&ok(lines, "5\r\nhello\r\n0\r\n\r\n"), false);
        let (heard, closed) = hostile.odd();
        let parsed = parse(&heard, closed, false);
        assert_eq!(parsed.violations, [""; 0], "{lines:?}");
        let part = parsed.finals()[0];
        assert!(
            part.complete && part.body == b"hello" && part.all("content-length").is_empty(),
            "{lines:?}: {part:?}"
        );
        assert!(
            hostile.backend.connections() >= 2,
            "{lines:?}: its connection was used again"
        );
        // A caller of HTTP/1.0, which knows no chunks, gets the body as it is.
        let mut conn = hostile.proxy.connect();
        conn.send("GET /odd HTTP/1.0\r\n\r\n");
        let answer = conn.answer();
        assert!(
            !answer.fields.has("content-length") && !answer.fields.has("transfer-encoding"),
            "{answer:?}"
        );
        assert_eq!(answer.text(), "hello");
    }
}

#[test]
fn rs_02_an_answer_with_a_bad_length_is_none() {
    let lengths = [
        "+5",
        "-5",
        "",
        " ",
        "0x5",
        "5 5",
        "5,6",
        "5, 5",
        "5,",
        "1e1",
        "5.0",
        "five",
        "18446744073709551616",
        "99999999999999999999999",
        "5;",
        "\"5\"",
        "5\0",
        "\u{b}5",
        "5\u{a0}",
        "5_0",
    ];
    nonsense(lengths.map(|l| ok(&format!("Content-Length: {l}\r\n"), "EVILX")));
    nonsense(
        [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 6\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nX: 1\r\nContent-Length: 0\r\n",
        ]
        .map(|l| ok(l, "EVILXX")),
    );
    nonsense(
        [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "",
            "xchunked",
            "chunked, gzip",
            "chunked;a=b",
            "\u{b}chunked",
            "chunked\r\nTransfer-Encoding: chunked",
            "identity\r\nTransfer-Encoding: chunked",
        ]
        .map(|c| {
            ok(
                &format!("Transfer-Encoding: {c}\r\n"),
                "4\r\nEVIL\r\n0\r\n\r\n",
            )
        }),
    );
    nonsense([latin(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n",
    )]);
}

#[test]
fn rs_03_a_body_that_breaks_off_is_never_a_whole_one() {
    let cut = [
        ok("Content-Length: 100\r\n", "hello"),
        ok("Content-Length: 100\r\n", ""),
        ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ok("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        ok("Transfer-Encoding: chunked\r\n", ""),
        ok("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"),
        ok("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"),
        ok(
            "Transfer-Encoding: chunked\r\n",
            "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        ),
        ok("Transfer-Encoding: chunked\r\n", "5;\nhello\r\n0\r\n\r\n"),
        ok("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"),
        ok("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"),
        ok(
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        ),
        ok(
            "Transfer-Encoding: chunked\r\n",
            "0\r\nX: a\r\n fold\r\n\r\n",
        ),
    ];
    let hostile = Hostile::new();
    for (n, answer) in cut.iter().enumerate() {
        let shown = latin1(answer);
        hostile.answers(answer, true);
        let (heard, closed) = hostile.odd();
        let parsed = parse(&heard, closed, false);
        let part = parsed
            .finals()
            .first()
            .copied()
            .cloned()
            .unwrap_or_default();
        assert!(part.status == 502 || !part.complete, "{shown:?}: {part:?}");
        assert!(
            closed && parsed.violations.is_empty(),
            "{shown:?}: {:?}",
            parsed.violations
        );
        // Nor to a caller of HTTP/1.0, for which the end of the connection is the end of the answer.
        let mut conn = hostile.proxy.connect();
        conn.send("GET /odd HTTP/1.0\r\n\r\n");
        let answer = conn.try_answer();
        assert!(
            answer.is_err()
                || answer.is_ok_and(|a| a.status == 502 || a.fields.has("content-length")),
            "{shown:?}"
        );
        until("it is the version's failure", || {
            hostile
                .proxy
                .metrics()
                .sum("tidegate_failures_total", &[("version", "v1")])
                >= 2.0 * (n + 1) as f64
        });
    }
}

#[test]
fn rs_03_an_answer_that_ends_with_the_connection_and_breaks_off_is_reset() {
    // Of unknown length, to a caller that knows no chunks: only a reset tells that something is missing.
    let versions = [
        (
            "closes",
            Scripted::start(|scene, _| {
                scene.head()?;
                scene.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            }),
        ),
        (
            "resets",
            Scripted::start(|scene, _| {
                scene.head()?;
                scene.write("HTTP/1.1 200 OK\r\n\r\nhello")?;
                std::thread::sleep(Duration::from_millis(100));
                scene.reset()
            }),
        ),
        (
            "talks nonsense",
            Scripted::start(|scene, _| {
                scene.head()?;
                scene.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")?;
                scene.wait_for_end()
            }),
        ),
        (
            "is silent",
            Scripted::start(|scene, _| {
                scene.head()?;
                scene.write("HTTP/1.1 200 OK\r\n\r\nhello")?;
                scene.wait_for_end()
            }),
        ),
        (
            "is silent in chunks",
            Scripted::start(|scene, _| {
                scene.head()?;
                scene
                    .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
                scene.wait_for_end()
            }),
        ),
    ];
    for (what, backend) in versions {
        let site =
            Site::of(&[("v1", backend.endpoint())]).route("timeouts: { stream_idle: 500ms }", "[]");
        let proxy = Proxy::start(&site);
        for lines in ["", "Connection: keep-alive\r\n"] {
            let mut conn = proxy.connect();
            conn.send(format!("GET / HTTP/1.0\r\n{lines}\r\n"));
            let end = loop {
                match conn.reader.fill() {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(e) => break Some(e.kind()),
                }
            };
            assert_eq!(
                end,
                Some(ErrorKind::ConnectionReset),
                "a version that {what}: {:?}",
                latin1(&conn.reader.buffer)
            );
        }
    }
    // A whole one ends in order.
    let backend = Scripted::start(|scene, _| {
        scene.head()?;
        scene.write("HTTP/1.1 200 OK\r\n\r\nhello")
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(conn.answer().text(), "hello");
}

#[test]
fn rs_03_an_answer_that_ends_with_the_connection_is_reset_where_the_proxy_cannot_wait_for_it() {
    let backend = Scripted::start(|scene, _| {
        scene.head()?;
        scene.write("HTTP/1.1 200 OK\r\n\r\nhello")?;
        scene.wait_for_end()
    });
    let site = Site::of(&[("v1", backend.endpoint())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 500ms } }");
    let mut proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.0\r\n\r\n");
    until("it has begun", || {
        conn.reader.fill().unwrap() && latin1(&conn.reader.buffer).ends_with("hello")
    });
    proxy.will_exit_with(1);
    proxy.signal(crate::harness::Signal::TERM);
    assert_eq!(
        conn.reader.fill().map_err(|e| e.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    proxy.finish();
}

#[test]
fn rs_04_what_comes_behind_an_answer_or_before_a_request_is_nobodys_answer() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let (plan, told) = (
        Arc::new(Mutex::new((Vec::new(), Vec::new(), false))),
        Arc::new(AtomicUsize::new(0)),
    );
    let (planned, tells) = (plan.clone(), told.clone());
    let backend = Scripted::start(move |scene, _| {
        let head = scene.head()?;
        let (first, extra, late) = planned.lock().unwrap().clone();
        scene.write(if head.contains("/odd") {
            first
        } else {
            ok("Content-Length: 2\r\n", "ok")
        })?;
        if late {
            std::thread::sleep(Duration::from_millis(15));
        }
        scene.write(&extra)?;
        tells.fetch_add(1, SeqCst);
        scene.wait_for_end()
    });
    let site = Site::of(&[("v1", backend.endpoint())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let mut asked = 0;
    for extra in [
        poison,
        "X",
        "\r\n",
        "\r\n\r\n",
        "0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n",
    ] {
        for (lines, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            for late in [false, true] {
                *plan.lock().unwrap() = (ok(lines, body), extra.as_bytes().to_vec(), late);
                for (target, text) in [
                    ("/odd", "hello"),
                    ("/", "ok"),
                    ("/odd", "hello"),
                    ("/", "ok"),
                ] {
                    assert_eq!(conn.get(target, &[]).text(), text, "{extra:?} late {late}");
                    asked += 1;
                    until("the extra bytes are sent", || told.load(SeqCst) == asked);
                    std::thread::sleep(Duration::from_millis(15));
                    assert_eq!(
                        backend.connections(),
                        asked,
                        "{extra:?} late {late}: never used again"
                    );
                }
            }
        }
    }
    // A version that speaks first, on a connection that is then used: whatever is made of it, nothing is shifted.
    let backend = Scripted::start(move |scene, n| {
        if n % 2 == 1 {
            scene.write(poison)?;
        }
        loop {
            scene.head()?;
            scene.write(ok("Content-Length: 2\r\n", "ok"))?;
        }
    });
    let site = Site::of(&[("v1", backend.endpoint())])
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    let bodies: Vec<String> = (0..10)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(30));
            proxy.get("/", &[]).text()
        })
        .collect();
    assert!(
        bodies.iter().filter(|b| *b == "EVIL").count() <= 1,
        "{bodies:?}"
    );
    assert!(bodies[1..].iter().all(|b| b == "ok"), "{bodies:?}");
}

#[test]
fn rs_05_a_blank_before_a_colon_is_no_answer() {
    nonsense(
        [
            "Content-Length : 4\r\n",
            "Content-Length\t: 4\r\n",
            "X : y\r\nContent-Length: 4\r\n",
            " X: y\r\nContent-Length: 4\r\n",
            "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n",
        ]
        .map(|l| ok(l, "EVIL")),
    );
    nonsense(
        [
            ": x\r\n",
            "X\r\n",
            "[X]: y\r\n",
            "X Y: z\r\n",
            "X\0: y\r\n",
            "\u{e9}: y\r\n",
            "X: a\0b\r\n",
            "X: a\u{1}b\r\n",
            "X: a\u{7f}\r\n",
            "X: a\rb\r\n",
            "X: a\nEVIL: b\r\n",
            "X: a\r\r\n",
        ]
        .map(|l| ok(&format!("{l}Content-Length: 4\r\n"), "EVIL")),
    );
}

#[test]
fn rs_06_a_folded_line_is_no_answer() {
    nonsense(
        [
            "X: a\r\n b\r\nContent-Length: 4\r\n",
            "X: a\r\n\tb\r\nContent-Length: 4\r\n",
            "Content-Length:\r\n 4\r\n",
            "Content-Length: 4\r\n 4\r\n",
            "Transfer-Encoding: chunked\r\n \r\nContent-Length: 4\r\n",
        ]
        .map(|l| ok(l, "EVIL")),
    );
}

#[test]
fn rs_06_a_status_line_that_is_none_is_no_answer() {
    nonsense(
        [
            "HTTP/1.1 99 X",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 OK",
            "HTTP/1.1",
            "HTTP/2.0 200 OK",
            "HTTP/1.2 200 OK",
            "http/1.1 200 OK",
            "ICY 200 OK",
            "200 OK",
            "HTTP/1.1  200 OK",
            " HTTP/1.1 200 OK",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1 2x0 OK",
            "HTTP/1.1 200 O\0K",
            "HTTP/1.1 200 O\rK",
            "SSH-2.0-OpenSSH",
            "\u{15}\u{3}\u{1}\0\u{2}\u{2}P",
            "<html>",
        ]
        .map(|l| latin(&format!("{l}\r\nContent-Length: 4\r\n\r\nEVIL"))),
    );
    nonsense([
        "HTTP/1.1 200 OK\nContent-Length: 4\n\nEVIL\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\n\r\nEVIL",
        "HTTP/1.1 200 OK\nContent-Length: 4\r\n\r\nEVIL",
    ]);
}

/// A header block with a field of this name and value.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = STATUS_200.to_vec();
    block.extend([0, name.len() as u8]);
    block.extend(name.as_bytes());
    block.push(value.len() as u8);
    block.extend(value);
    block
}

fn over_http2(answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> (Scripted, Proxy) {
    let backend = answering(answer);
    let site = Site::of(&[("v1", backend.endpoint())])
        .service("protocol: h2c", &[("v1", backend.endpoint())])
        .route("timeouts: { request: 3s }", "[]")
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    (backend, proxy)
}

#[test]
fn rs_07_a_line_end_in_a_value_of_http_2_is_no_answer() {
    for (name, value) in [
        ("x", "a\r\nEVIL: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "\r\n\r\nEVIL"),
        ("x\r\nevil", "b"),
        ("x: y\r\nevil", "b"),
        ("x y", "b"),
        ("", "b"),
        ("X-Upper", "b"),
        ("x:", "b"),
        ("x\0", "b"),
    ] {
        let block = field(name, value.as_bytes());
        let (_backend, proxy) =
            over_http2(move |_, stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        let mut conn = proxy.connect();
        conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let heard = latin1(&conn.reader.take_rest().unwrap());
        assert!(
            heard.starts_with("HTTP/1.1 502 "),
            "{name:?} {value:?}: {heard}"
        );
        assert!(!heard.to_lowercase().contains("evil"), "{heard}");
    }
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("upgrade", "websocket"),
    ] {
        let block = field(name, value.as_bytes());
        let (_backend, proxy) =
            over_http2(move |_, stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        let answer = proxy.get("/", &[]);
        assert!(
            answer.status == 502 || !answer.fields.has(name),
            "{name}: {answer:?}"
        );
    }
}

#[test]
fn rs_08_an_answers_head_has_bounds_in_number_size_and_time() {
    let many: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let same = "X: y\r\n".repeat(10_000);
    let million = format!("X: {}\r\n", "y".repeat(1 << 20));
    let name = format!("{}: y\r\n", "x".repeat(1 << 20));
    let blanks = format!("X:{}y\r\n", " ".repeat(1 << 20));
    nonsense(
        [many, same, million, name, blanks]
            .map(|l| ok(&format!("{l}Content-Length: 4\r\n"), "EVIL")),
    );
    nonsense([
        latin(&format!(
            "HTTP/1.1 200 {}\r\nContent-Length: 4\r\n\r\nEVIL",
            "O".repeat(1 << 20)
        )),
        vec![b'H'; 1 << 20],
        vec![0; 1 << 20],
        b"\r\n".repeat(1 << 19),
    ]);
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000);
    nonsense([latin(
        &(interim + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    )]);
    let dribbled = Scripted::start(|scene, _| {
        scene.head()?;
        scene.dribble(&ok("Content-Length: 2\r\n", "ok"), Duration::from_secs(1))
    });
    let site =
        Site::of(&[("v1", dribbled.endpoint())]).route("timeouts: { request: 1500ms }", "[]");
    let proxy = Proxy::start(&site);
    let start = Instant::now();
    let status = proxy.get("/", &[]).status;
    assert!(matches!(status, 502 | 504), "{status}");
    assert!(
        start.elapsed() < soon(Duration::from_secs(4)),
        "{:?}",
        start.elapsed()
    );
    // Over HTTP/2: a block of many fields, and interim answers without an end.
    let block: Vec<u8> = STATUS_200
        .iter()
        .copied()
        .chain((0..10_000).flat_map(|_| [0, 1, b'x', 1, b'y']))
        .collect();
    let (_backend, proxy) = over_http2(move |_, stream| {
        let mut pieces = block.chunks(16_000);
        let mut all = frame(HEADERS, END_STREAM, stream, pieces.next().unwrap());
        let rest: Vec<_> = pieces.collect();
        for (n, piece) in rest.iter().enumerate() {
            all.extend(frame(
                9,
                if n + 1 == rest.len() { END_HEADERS } else { 0 },
                stream,
                piece,
            ));
        }
        all
    });
    let status = proxy.get("/", &[]).status;
    assert!(matches!(status, 502 | 504), "{status}");
}

#[test]
fn rs_09_only_the_proxy_sets_its_own_cookie() {
    let backend = Scripted::always(
        "HTTP/1.1 200 OK\r\nSet-Cookie: tidegate_id=stolen; Path=/\r\nSet-Cookie: own=1\r\nset-cookie: tidegate_id=again\r\nSet-Cookie:  tidegate_id =odd\r\n\
         Set-Cookie: tidegate_id_else=1\r\nContent-Length: 2\r\n\r\nok",
    );
    let site = Site::of(&[("v1", backend.endpoint()), ("v2", backend.endpoint())])
        .with(
            "identity",
            "{ user: [{ cookie: uid }, { assign_cookie: tidegate_id }] }",
        )
        .rules("[{ split: { by: user, weights: { v1: 50%, v2: 50% } } }]");
    let proxy = Proxy::start(&site);
    for (cookie, ours) in [
        ("", 1),
        ("Cookie: tidegate_id=0123456789abcdef0123456789abcdef", 0),
        ("Cookie: uid=7", 0),
    ] {
        let lines: Vec<&str> = if cookie.is_empty() {
            vec![]
        } else {
            vec![cookie]
        };
        let answer = proxy.get("/", &lines);
        let set = answer.fields.all("set-cookie");
        let own: Vec<_> = set
            .iter()
            .filter(|c| c.split('=').next().unwrap().trim() == "tidegate_id")
            .collect();
        assert!(
            own.iter()
                .all(|c| !c.contains("stolen") && !c.contains("again") && !c.contains("odd")),
            "{cookie:?}: {set:?}"
        );
        assert!(own.len() <= ours.max(1), "{cookie:?}: {set:?}");
        assert!(
            set.contains(&"own=1") && set.contains(&"tidegate_id_else=1"),
            "{cookie:?}: {set:?}"
        );
    }
}

#[test]
fn rs_10_what_a_version_gave_back_unseen_is_sent_over_another_connection() {
    let go_away = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let refuse = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]);
    let answer = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, STATUS_200);
    for leaves in [false, true] {
        let (backend, proxy) = over_http2(move |connection, stream| match (connection, leaves) {
            (1, true) => go_away(0),
            (1, false) => refuse(stream),
            _ => answer(stream),
        });
        let mut conn = proxy.connect();
        for method in ["GET", "POST", "POST"] {
            assert_eq!(
                conn.request(method, "/", &[], b"").status,
                200,
                "{method}, leaving {leaves}"
            );
        }
        assert_eq!(backend.connections(), 2, "leaving {leaves}");
    }
    // What was looked at before it left is not sent again.
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let (_backend, proxy) = over_http2(move |_, stream| {
        seen.fetch_add(1, SeqCst);
        [go_away(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])].concat()
    });
    assert_eq!(proxy.connect().request("POST", "/", &[], b"").status, 502);
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn rs_11_a_post_that_left_is_not_sent_again() {
    for (what, answer) in [
        ("resets", ""),
        ("answers nonsense", "nonsense\r\n\r\n"),
        ("begins an answer", "HTTP/1.1 200"),
        ("closes", ""),
    ] {
        for warm in [false, true] {
            let count = Arc::new(AtomicUsize::new(0));
            let seen = count.clone();
            let backend = Scripted::start(move |scene, _| {
                loop {
                    let echo = scene.request()?;
                    if echo.method != "POST" {
                        scene.echo(&echo)?;
                        continue;
                    }
                    seen.fetch_add(1, SeqCst);
                    scene.write(answer)?;
                    return if what == "resets" {
                        scene.reset()
                    } else {
                        Ok(())
                    };
                }
            });
            let site = Site::of(&[("v1", backend.endpoint())])
                .route(
                    "retry: { failures: [connect, reset, timeout], attempts: 3, budget: 100% }",
                    "[]",
                )
                .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
            let proxy = Proxy::start(&site);
            if warm {
                assert_eq!(proxy.get("/", &[]).status, 200);
            }
            for body in [&b""[..], b"x", &[b'y'; 100_000]] {
                let before = count.load(SeqCst);
                assert_eq!(
                    proxy.connect().request("POST", "/", &[], body).status,
                    502,
                    "a version that {what}"
                );
                assert_eq!(
                    count.load(SeqCst),
                    before + 1,
                    "a version that {what}, {} bytes",
                    body.len()
                );
            }
        }
    }
}

#[test]
fn a_client_that_half_closes_gets_its_answer() {
    let backend = Scripted::start(|scene, _| {
        let echo = scene.request()?;
        std::thread::sleep(Duration::from_millis(300));
        scene.echo(&echo)
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = Conn::open(proxy.address("in"));
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
        .half_close();
    assert_eq!(conn.answer().status, 200);
    assert!(conn.closes_within(Duration::from_secs(3)));
}
