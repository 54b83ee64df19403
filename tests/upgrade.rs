//! A tunnel is opened only when both sides agreed to it, and nothing that was sent too early ever becomes a request.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Backend, Proxy, Scripted, Site, WebSocket, pattern, soon, until};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn one() -> (Backend, Proxy) {
    let v1 = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", v1.endpoint())]));
    (v1, proxy)
}

/// A listener that lets a protocol of its own through.
fn of_its_own(endpoint: String) -> Proxy {
    let more = "upgrades: [websocket, Own-Talk]";
    Proxy::start(&Site::of(&[("v1", endpoint)]).listener(more))
}

#[test]
fn a_websocket_talks_both_ways_through_the_version_that_was_chosen() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ when: { user: { any_of: [tester] } }, to: v2 }]");
    let proxy = Proxy::start(&site);
    let mut stable = WebSocket::open(proxy.address("in"), "/chat", &[]);
    let mut candidate = WebSocket::open(proxy.address("in"), "/chat", &[("x-user-id", "tester")]);
    for n in 0..100 {
        assert_eq!(stable.say(&format!("{n}")), format!("v1:{n}"));
        assert_eq!(candidate.say(&format!("{n}")), format!("v2:{n}"));
    }
    for length in [0, 1, 125, 126, 65_536, 1 << 20] {
        stable.send_binary(pattern(length)).unwrap();
        match stable.message().unwrap() {
            Message::Binary(back) => assert!(back == pattern(length), "{length} bytes"),
            other => panic!("{other:?}"),
        }
    }
    assert!(stable.close() && candidate.close(), "they close in order");
    proxy.counts("tidegate_requests_total", &[("code", "101")], 2.0);
}

#[test]
fn any_protocol_that_the_listener_lets_through_and_both_sides_agree_on_is_a_tunnel() {
    let v1 = Backend::start("v1");
    let proxy = of_its_own(v1.endpoint());
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: own-talk\r\n\r\n");
    let answer = conn.answer();
    assert_eq!((answer.status, answer.header("upgrade")), (101, "own-talk"));
    assert_eq!(answer.header("connection").to_ascii_lowercase(), "upgrade");
    assert_eq!(conn.reader.take_until(b"\n").unwrap(), b"hello from v1");
    conn.send(pattern(300_000));
    assert!(
        conn.reader.take(300_000).unwrap() == pattern(300_000),
        "the same bytes back"
    );
    conn.half_close();
    assert!(
        conn.closes_within(Duration::from_secs(3)),
        "an end on one side ends the other"
    );
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_the_connection_goes_on() {
    let (_v1, proxy) = one();
    let mut conn = proxy.connect();
    conn.send(ASK.replace("/chat", "/chat?refuse=1&status=403"));
    assert_eq!(conn.answer().status, 403);
    assert_eq!(conn.get("/", &[]).status, 200);
}

#[test]
fn what_is_sent_before_the_101_never_becomes_a_request() {
    let heads = Arc::new(AtomicUsize::new(0));
    let count = heads.clone();
    let backend = Scripted::start(move |scene, _| {
        loop {
            scene.head()?;
            count.fetch_add(1, SeqCst);
            scene.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")?;
        }
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    conn.send(format!("{ASK}GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_eq!(conn.answer().status, 200);
    // What follows is either the next request of this client, answered as such, or the end of its connection.
    let next = conn.try_answer();
    assert!(next.is_err() || next.is_ok_and(|a| a.status == 200 || a.status == 400));
    drop(conn);
    assert_eq!(proxy.get("/", &[]).text(), "no");
    assert!(heads.load(SeqCst) <= 3);
}

#[test]
fn what_is_sent_early_goes_through_the_tunnel_once_it_is_open() {
    let v1 = Backend::start("v1");
    let proxy = of_its_own(v1.endpoint());
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: own-talk\r\n\r\nearly");
    assert_eq!(conn.answer().status, 101);
    assert_eq!(conn.reader.take_until(b"\n").unwrap(), b"hello from v1");
    assert_eq!(conn.reader.take(5).unwrap(), b"early");
}

#[test]
fn a_101_that_nobody_asked_for_is_the_versions_failure() {
    let unasked =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nEVIL";
    let backend = Scripted::always(unasked);
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let mut conn = proxy.connect();
    let answer = conn.get("/", &[]);
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("EVIL"));
    conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n");
    let other = conn.answer();
    assert_eq!(other.status, 502, "nor a 101 for another protocol");
    assert!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v1")])
            >= 1.0
    );
}

#[test]
fn an_upgrade_with_a_body_is_no_upgrade() {
    let (v1, proxy) = one();
    let mut conn = proxy.connect();
    conn.send(
        "POST /x?refuse=1 HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 44\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: t\r\nX: 1234567\r\n\r\n",
    );
    let answer = conn.answer();
    assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    assert!(
        v1.recent().iter().all(|e| !e.target.contains("smuggled")),
        "{:?}",
        v1.recent()
    );
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_is_closed() {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]).route("timeouts: { stream_idle: 1500ms }", "[]");
    let proxy = Proxy::start(&site);
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(socket.say("here"), "v1:here", "whoever speaks stays");
    }
    let start = std::time::Instant::now();
    assert!(socket.try_hear().is_err(), "silence ends it");
    assert!(
        start.elapsed() >= Duration::from_millis(1300)
            && start.elapsed() < soon(Duration::from_secs(5))
    );
}

#[test]
fn a_version_that_dies_ends_its_tunnels() {
    let (v1, proxy) = one();
    let mut socket = WebSocket::open(proxy.address("in"), "/", &[]);
    assert_eq!(socket.say("a"), "v1:a");
    v1.hang_up();
    assert!(socket.try_hear().is_err());
    assert_eq!(proxy.get("/", &[]).status, 200, "nothing else is hurt");
}

#[test]
fn a_client_that_vanishes_ends_its_tunnel_at_the_version() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let backend = Scripted::start(move |scene, _| {
        scene.head()?;
        scene.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-talk\r\n\r\n",
        )?;
        let end = scene.wait_for_end();
        count.fetch_add(1, SeqCst);
        end
    });
    let proxy = of_its_own(backend.endpoint());
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: own-talk\r\n\r\n");
    assert_eq!(conn.answer().status, 101);
    conn.reader.stream.write_all(b"a few bytes").unwrap();
    conn.reset();
    until("the version's side has ended", || ended.load(SeqCst) == 1);
}
