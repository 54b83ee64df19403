//! What other proxies once got wrong about HTTP/1, one check each, where no row of the catalogue holds it.

use super::stand::Stand;
use crate::harness::{Backend, Conn, H2Client, Proxy, Site};

/// CVE-2020-25017: of two equal headers only the first was looked at.
#[test]
fn a_rule_sees_every_line_of_a_header() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ when: { header: { name: x-canary, exact: always } }, to: v2 }]");
    let proxy = Proxy::start(&site);
    for lines in [
        ["X-Canary: always", "X-Canary: no"],
        ["X-Canary: no", "X-Canary: always"],
        ["x-canary: no", "X-CANARY:always"],
    ] {
        let answer = proxy.get("/", &lines);
        assert_eq!(answer.version(), "v2", "{lines:?}");
    }
    assert_eq!(
        proxy
            .get("/", &["X-Canary: no", "X-Canary: never"])
            .version(),
        "v1"
    );
}

/// CVE-2023-25690, and redirects like it: what is encoded stays encoded on its way into a head.
#[test]
fn a_rewrite_or_a_redirect_decodes_no_line_end() {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]).with(
        "routes",
        "\n  - { name: moved, match: { path: { prefix: /moved } }, redirect: { host: elsewhere } }\n  \
         - { name: app, match: { path: { prefix: /old } }, service: app, rewrite: { prefix: /new }, rules: [] }",
    );
    let proxy = Proxy::start(&site);
    let injected = "%0d%0aX-Evil:%201%0D%0A%0d%0aGET%20/smuggled";
    let mut conn = proxy.connect();
    let answer = conn.get(&format!("/moved/{injected}?{injected}"), &[]);
    assert_eq!(answer.status, 302);
    assert!(!answer.fields.has("x-evil"), "{:?}", answer.fields);
    assert!(
        answer
            .header("location")
            .starts_with("http://elsewhere/moved/%0D%0AX-Evil:")
    );
    assert_eq!(
        conn.get(&format!("/old/{injected}?{injected}"), &[]).status,
        200
    );
    let seen = &v1.recent()[0];
    assert!(
        seen.target.starts_with("/new/%0D%0AX-Evil:%201"),
        "{}",
        seen.target
    );
    assert!(!seen.fields.has("x-evil"));
}

/// CVE-2022-2880: what a rule read in a query was not what was forwarded.
#[test]
fn a_query_is_forwarded_as_it_was_matched() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ when: { query: { name: a, exact: \"2\" } }, to: v2 }]");
    let proxy = Proxy::start(&site);
    for query in [
        "a=1;a=2", "a=1&a=2", "a=2&a=1", "%61=2", "a=%32", "a=2;b", "%zz&a=2", "a=1&%", "a==2",
        "a", "A=2",
    ] {
        let target = format!("/?{query}");
        let answer = proxy.get(&target, &[]);
        assert_eq!(answer.status, 200, "{query}");
        let seen = [v1.recent(), v2.recent()].concat();
        assert!(
            seen.iter().any(|e| e.target == target),
            "{query}: as it came"
        );
    }
}

/// CVE-2021-28682: a timeout in a header overflowed.
#[test]
fn a_timeout_that_a_caller_writes_harms_nobody() {
    let stand = Stand::new();
    for value in [
        "99999999H",
        "99999999999999999999999999S",
        "-1S",
        "0n",
        "H",
        "",
        "1e9S",
    ] {
        let text = format!("GET /x HTTP/1.1\r\nHost: t\r\nGrpc-Timeout: {value}\r\n\r\n");
        stand.passes(text, "GET /x", "");
        for lane in &stand.lanes {
            let mut client = H2Client::open(lane.address);
            let lines = [format!("grpc-timeout: {value}")];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(
                client.get("/x", &lines).status,
                200,
                "{}: {value:?}",
                lane.name
            );
        }
    }
}

/// CVE-2021-40346: the length of a header's name overflowed eight bits, and a hidden length came out.
#[test]
fn a_long_name_hides_nothing() {
    let stand = Stand::new();
    for length in [255, 256, 257, 270, 271, 511, 512, 1023, 1024, 65_535] {
        let name = format!("Content-Length0{}", "a".repeat(length - 15));
        let text =
            format!("POST /x HTTP/1.1\r\nHost: t\r\n{name}:\r\nContent-Length: 5\r\n\r\nhello");
        if length > 32_000 {
            stand.refuses(&[431], [text]);
        } else {
            stand.passes(text, "POST /x", "hello");
        }
    }
}

/// CVE-2022-31813, CVE-2021-33197: `Connection` that is empty, doubled or names too much.
#[test]
fn a_connection_line_of_any_kind_takes_away_what_it_names_and_no_more() {
    let stand = Stand::new();
    let many: String = (0..300).map(|n| format!("x-{n}, ")).collect();
    let wild = [
        "",
        ",",
        " , ,",
        "\u{ff}\u{fe}",
        "x\u{e9}y",
        "\"x-kept\"",
        "x-kept;q=1",
        "x-kept=1",
        "close-not",
        many.as_str(),
    ];
    for value in wild {
        let text =
            format!("GET /x HTTP/1.1\r\nHost: t\r\nConnection: {value}\r\nX-Kept: 1\r\n\r\n");
        let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
        for passed in stand.passes(bytes, "GET /x", "") {
            assert_eq!(
                passed.seen.header("x-kept"),
                "1",
                "{}: {value:?}",
                passed.lane
            );
            assert!(
                passed.seen.has("x-forwarded-for") && !passed.seen.has("connection"),
                "{}",
                passed.lane
            );
        }
    }
}

/// CVE-2024-28869: a body that was announced and never sent held a request for ever.
#[test]
fn a_body_that_never_comes_has_an_end() {
    let stand = Stand::with("timeouts: { body_idle: 500ms }", |site| site);
    for lane in &stand.lanes {
        for lines in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(format!("POST /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n"));
            assert_eq!(conn.answer().status, 408, "{}: {lines}", lane.name);
            assert!(
                conn.closes_within(std::time::Duration::from_secs(3)),
                "{}",
                lane.name
            );
            assert!(lane.seen().is_empty() && lane.is_well(), "{}", lane.name);
        }
    }
}

/// What an `OPTIONS` that may go no further asks is answered here.
#[test]
fn an_options_that_may_go_no_further_ends_here() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for target in ["*", "/x", "http://t/x", "http://t"] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(format!(
                "OPTIONS {target} HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n"
            ));
            let answer = conn.answer();
            assert!(
                answer.status < 300 && answer.fields.has("allow"),
                "{}: {target} {answer:?}",
                lane.name
            );
            assert!(lane.seen().is_empty(), "{}: {target}", lane.name);
            assert_eq!(conn.get("/x", &[]).status, 200);
        }
        for (sent, forwarded) in [("1", "0"), ("7", "6"), ("4294967295", "4294967294")] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(format!(
                "OPTIONS /x HTTP/1.1\r\nHost: t\r\nMax-Forwards: {sent}\r\n\r\n"
            ));
            assert_eq!(conn.answer().status, 200);
            assert_eq!(
                lane.seen()[0].header("max-forwards"),
                forwarded,
                "{}",
                lane.name
            );
        }
    }
}

/// Many small chunks are no small frames: a version would take them for a flood and end a connection that others share.
#[test]
fn tiny_chunks_do_not_become_tiny_frames() {
    let stand = Stand::new();
    let body: String = "1\r\nx\r\n".repeat(20_000);
    let text = format!(
        "POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\nX-Last: 1\r\n\r\n"
    );
    for passed in stand.passes(text, "POST /x", &"x".repeat(20_000)) {
        assert_eq!(
            passed.seen.trailers.get("x-last"),
            Some("1"),
            "{}",
            passed.lane
        );
    }
}
