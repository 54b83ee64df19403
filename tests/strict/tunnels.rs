//! UP: connections that would go on as something else.

use std::time::Duration;

use super::stand::Stand;
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, STATUS_200, frame};
use crate::harness::{Conn, Proxy, Scripted, Site};

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

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn up_01_nothing_goes_raw_before_the_101() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for early in [
            "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
            "\u{81}\u{85}raw",
            "POST /smuggled HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n",
        ] {
            lane.forget();
            let mut bytes = get(ASK).into_bytes();
            bytes.extend(early.chars().map(|c| c as u32 as u8));
            let heard = lane.say(&bytes);
            assert_eq!(heard.statuses(), [200], "{}: {early:?}", lane.name);
            assert!(heard.closed, "{}: what came early is nobody's", lane.name);
            let seen: Vec<_> = lane.seen().into_iter().map(|s| s.target).collect();
            assert_eq!(seen, ["/x"], "{}", lane.name);
            assert!(
                lane.objections().is_empty(),
                "{}: {:?}",
                lane.name,
                lane.objections()
            );
            assert!(lane.is_well(), "{}", lane.name);
        }
        // Who waited goes on.
        let mut conn = Conn::open(lane.address);
        conn.send(get(ASK));
        assert_eq!(conn.answer().status, 200);
        assert_eq!(conn.get("/next", &[]).status, 200, "{}", lane.name);
    }
}

#[test]
fn up_02_a_protocol_that_is_not_on_the_list_is_not_asked_for() {
    let stand = Stand::new();
    let known = [
        "foo",
        "TLS/1.0",
        "IRC/6.9",
        "websocketx",
        "websocket/14",
        "SPDY/3.1",
    ];
    let never = [
        "HTTP/2.0",
        "h2",
        "h2c",
        "websocket, foo",
        "foo, websocket",
        "websocket/13, h2c",
        "",
        ",",
        "\"websocket\"",
        "web socket",
        "websocket;q=1",
    ];
    for protocol in known.into_iter().chain(never) {
        for passed in stand.passes_in_turn(
            get(&format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n")),
            "GET /x",
            "",
        ) {
            if passed.edge || passed.http2 || never.contains(&protocol) {
                assert!(!passed.seen.has("upgrade"), "{}: {protocol:?}", passed.lane);
                assert!(
                    !passed.seen.has("connection"),
                    "{}: {protocol:?}",
                    passed.lane
                );
            } else {
                // Among known peers it is for both sides to agree.
                assert_eq!(passed.seen.header("upgrade"), protocol, "{}", passed.lane);
            }
        }
    }
}

#[test]
fn up_03_an_upgrade_with_a_body_is_an_ordinary_request() {
    let stand = Stand::new();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    let size = inner.len();
    for method in ["GET", "POST"] {
        let text = format!(
            "{method} /x HTTP/1.1\r\nHost: t\r\n{ASK}Content-Length: {size}\r\n\r\n{inner}"
        );
        let chunks = format!(
            "{method} /x HTTP/1.1\r\nHost: t\r\n{ASK}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{inner}\r\n0\r\n\r\n"
        );
        for text in [text, chunks] {
            for passed in stand.passes_in_turn(text, &format!("{method} /x"), inner) {
                assert!(!passed.seen.has("upgrade"), "{}", passed.lane);
            }
        }
    }
}

#[test]
fn up_04_an_upgrade_that_connection_does_not_name_or_of_http_1_0_is_none() {
    let stand = Stand::new();
    for lines in [
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\n",
        "Upgrade: websocket\r\nConnection: upgraded\r\n",
        "Upgrade: websocket\r\nConnection: \"upgrade\"\r\n",
        "Upgrade: websocket\r\nConnection: upgrade;q=1\r\n",
        "Connection: upgrade\r\n",
    ] {
        for passed in stand.passes(get(lines), "GET /x", "") {
            assert!(
                !passed.seen.has("upgrade") && !passed.seen.has("connection"),
                "{}: {lines:?}",
                passed.lane
            );
        }
    }
    for lane in &stand.lanes {
        lane.forget();
        let heard = lane.say(format!("GET /x HTTP/1.0\r\nHost: t\r\n{ASK}\r\n").as_bytes());
        assert_eq!(heard.statuses(), [200], "{}", lane.name);
        assert!(
            !lane.seen()[0].has("upgrade") && lane.is_well(),
            "{}",
            lane.name
        );
    }
}

#[test]
fn up_05_a_101_that_nobody_asked_for_is_no_answer() {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nEVIL";
    let (backend, proxy) = behind(head);
    let asks = [
        "",
        "Connection: upgrade\r\nUpgrade: other\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
    ];
    for (n, lines) in asks.into_iter().enumerate() {
        let mut conn = proxy.connect();
        conn.send(get(lines));
        let answer = conn.answer();
        assert_eq!(answer.status, 502, "{lines:?}");
        assert!(!answer.text().contains("EVIL"));
        assert!(
            backend.connections() > n,
            "each over a connection of its own"
        );
    }
    // Nor one that does not say to which protocol, or to another one.
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    ] {
        let (_backend, proxy) = behind(head);
        let mut conn = proxy.connect();
        conn.send(get(ASK));
        assert_eq!(conn.answer().status, 502, "{head:?}");
    }
}

#[test]
fn up_06_h2c_is_never_asked_for() {
    let stand = Stand::new();
    for protocol in [
        "h2c",
        "H2C",
        " h2c ",
        "h2c, websocket",
        "websocket, h2c",
        "h2c\r\nUpgrade: websocket",
        "websocket\r\nUpgrade: h2c",
        "HTTP/2.0",
        "http/1.1",
    ] {
        let lines = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        );
        for passed in stand.passes_in_turn(get(&lines), "GET /x", "") {
            assert!(
                !passed.seen.has("upgrade")
                    && !passed.seen.has("http2-settings")
                    && !passed.seen.has("connection"),
                "{}: {protocol:?}",
                passed.lane
            );
        }
        for lane in &stand.lanes {
            lane.forget();
            let heard = lane.say(
                &[
                    get(&lines).as_bytes(),
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    &frame(SETTINGS, 0, 0, &[]),
                ]
                .concat(),
            );
            assert!(
                heard.closed && heard.parsed.violations.is_empty(),
                "{}",
                lane.name
            );
            assert!(
                lane.seen().len() <= 1 && lane.objections().is_empty() && lane.is_well(),
                "{}",
                lane.name
            );
        }
    }
}

#[test]
fn up_07_what_follows_a_refused_connect_is_no_request() {
    let stand = Stand::new();
    stand.refuses(
        &[405],
        [
            "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n",
            "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\n\r\n",
            "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n\x16\x03\x01\x02\x00\x01",
            "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn up_08_an_extended_connect_opens_no_raw_tunnel() {
    let stand = Stand::new();
    let text = |name: &str, value: &str| {
        let mut field = vec![0, name.len() as u8];
        field.extend(name.as_bytes());
        field.push(value.len() as u8);
        field.extend(value.as_bytes());
        field
    };
    let pairs = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/x"),
        (":authority", "t"),
    ];
    let block: Vec<u8> = pairs.iter().flat_map(|(n, v)| text(n, v)).collect();
    for lane in &stand.lanes {
        lane.forget();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
        bytes.extend(frame(
            DATA,
            END_STREAM,
            1,
            b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        ));
        let mut conn = Conn::open(lane.address);
        conn.patience(Duration::from_millis(500));
        conn.send(&bytes);
        while conn.reader.fill().unwrap_or(false) {}
        let heard = conn.reader.buffer.clone();
        assert!(
            !heard
                .windows(10)
                .any(|w| w[3] == HEADERS && w[9] == STATUS_200[0]),
            "{}: {heard:?}",
            lane.name
        );
        assert!(
            lane.seen().is_empty() && lane.objections().is_empty(),
            "{}",
            lane.name
        );
        assert!(lane.is_well(), "{}", lane.name);
    }
}
