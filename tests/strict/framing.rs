//! H1: where a request's body ends.

use std::time::Duration;

use super::stand::{AFTER, Stand};
use crate::harness::{Conn, Proxy, Scripted, Site, pattern};

/// A POST with these header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n{body}")
}

fn posts(lines: &[&str], body: &str) -> Vec<Vec<u8>> {
    lines
        .iter()
        .map(|l| {
            let text = post(&format!("{l}\r\n"), body);
            text.chars().map(|c| c as u32 as u8).collect()
        })
        .collect()
}

const CHUNKED_OK: &str = "5\r\nhello\r\n0\r\n\r\n";

#[test]
fn h1_01_a_length_and_then_chunks_are_refused_and_the_connection_closed() {
    let stand = Stand::new();
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    for body in ["0\r\n\r\nG", CHUNKED_OK, smuggled] {
        let length = body.len();
        let lines = [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            "Content-Length: 6\r\nTransfer-Encoding: chunked".to_owned(),
            "Content-Length: 0\r\nTransfer-Encoding: chunked".to_owned(),
            "content-length: 6\r\ntransfer-encoding: CHUNKED".to_owned(),
            "Content-Length: 6\r\nX-Between: 1\r\nTransfer-Encoding:chunked".to_owned(),
            "Content-Length: 6\r\nTransfer-Encoding: \tchunked\t".to_owned(),
            "Content-Length: 6\r\nConnection: Content-Length\r\nTransfer-Encoding: chunked"
                .to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        stand.refuses(&[400], posts(&lines, body));
    }
}

#[test]
fn h1_02_chunks_and_then_a_length_are_refused_and_the_connection_closed() {
    let stand = Stand::new();
    for body in [CHUNKED_OK, "4\r\nhell\r\n0\r\n\r\n"] {
        let lines = [
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Transfer-Encoding: chunked\r\nConnection: close, Transfer-Encoding\r\nContent-Length: 4",
            "Transfer-Encoding: chunked\r\nX: 1\r\nContent-Length: 4\r\nContent-Length: 4",
        ];
        stand.refuses(&[400], posts(&lines, body));
    }
}

#[test]
fn h1_03_two_lengths_that_differ_are_refused() {
    let stand = Stand::new();
    let lines = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 5",
        "Content-Length: 5\r\nX: 1\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\ncontent-length: 50",
        "Content-Length: 5, 6",
        "Content-Length: 6,5",
        "Content-Length: 5\r\nContent-Length:",
        "Content-Length: 5\r\nContent-Length: +5",
        "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6",
    ];
    stand.refuses(&[400], posts(&lines, "hello"));
    let get = "GET /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello";
    stand.refuses(&[400], [get]);
}

#[test]
fn h1_04_one_length_told_twice_is_refused_or_reaches_the_version_once() {
    let stand = Stand::new();
    let lines = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nX: 1\r\ncontent-length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,5",
        "Content-Length: 5,",
        "Content-Length: ,5",
        "Content-Length: 5\r\nContent-Length: 05",
    ];
    stand.refuses(&[400], posts(&lines, "hello"));
}

#[test]
fn h1_05_a_length_that_is_no_number_is_refused() {
    let stand = Stand::new();
    let spellings = [
        "",
        " ",
        "\t",
        "+5",
        "-5",
        "-0",
        "+0",
        "--5",
        "0x5",
        "0X5",
        "5x",
        "x5",
        "5h",
        "5 5",
        "5\t5",
        "5_0",
        "_5",
        "5_",
        "1e1",
        "1E1",
        "5e",
        "5.0",
        ".5",
        "5.",
        "5;",
        "5;a=b",
        "5 ;a",
        "\"5\"",
        "'5'",
        "(5)",
        "[5]",
        "{5}",
        "<5>",
        "5/1",
        "5%",
        "%35",
        "#5",
        "five",
        "NaN",
        "inf",
        "0b101",
        "0o5",
        "5L",
        "5n",
        "5U",
        "1,000",
        "1.000",
        "1'000",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999999999",
        "5\u{a0}",
        "\u{a0}5",
        "\u{b2}",
        "5 # x",
        "5//",
        "=5",
        ":5",
        "5:",
        "5\\r",
        "&5",
        "*5",
        "$5",
        "@5",
        "!5",
        "~5",
        "^5",
        "`5`",
        "|5",
        "?5",
        "\u{ff15}5",
    ];
    let lines: Vec<String> = spellings
        .iter()
        .map(|s| {
            format!(
                "Content-Length: {}",
                s.replace('\u{ff15}', "\u{ef}\u{bc}\u{95}")
            )
        })
        .chain(["Content-Length:".to_owned(), "Content-Length:+5".to_owned()])
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stand.refuses(&[400], posts(&lines, "hello"));
    let controls = [
        "\u{b}5", "5\u{b}", "\u{c}5", "5\u{c}", "5\0", "\u{0}5", "5\u{7f}", "\u{8}5", "5\u{1b}",
        "5\u{85}",
    ];
    let lines: Vec<String> = controls
        .iter()
        .map(|s| format!("Content-Length: {s}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stand.refuses(&[400], posts(&lines, "hello"));
    let get = "GET /x HTTP/1.1\r\nHost: t\r\nContent-Length: +0\r\n\r\n";
    stand.refuses(&[400], [get]);
}

#[test]
fn h1_05_a_number_in_another_spelling_reaches_the_version_in_one() {
    let stand = Stand::new();
    let zeros = format!("Content-Length: {}5", "0".repeat(300));
    for line in [
        "Content-Length: 005",
        "content-LENGTH:5",
        "Content-Length: \t 5 \t",
        zeros.as_str(),
    ] {
        for passed in stand.passes(post(&format!("{line}\r\n"), "hello"), "POST /x", "hello") {
            assert_eq!(passed.seen.header("content-length"), "5", "{}", passed.lane);
        }
    }
}

#[test]
fn h1_06_chunks_in_http_1_0_are_refused() {
    let stand = Stand::new();
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Host: t\r\nTransfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
    ] {
        let text = format!("POST /x HTTP/1.0\r\n{lines}\r\n{CHUNKED_OK}");
        stand.refuses(&[400, 501], [text]);
    }
}

#[test]
fn h1_07_an_http_1_0_body_without_a_length_is_none_and_its_bytes_are_no_request() {
    let stand = Stand::new();
    for method in ["POST", "PUT", "PATCH"] {
        for lines in ["", "Host: t\r\n", "Host: t\r\nConnection: keep-alive\r\n"] {
            for lane in &stand.lanes {
                lane.forget();
                let mut bytes = format!("{method} /x HTTP/1.0\r\n{lines}\r\n").into_bytes();
                bytes.extend_from_slice(AFTER);
                let heard = lane.say(&bytes);
                assert_eq!(heard.statuses(), [200], "{}: {method} {lines:?}", lane.name);
                assert!(heard.closed, "{}: {method} {lines:?}", lane.name);
                let seen = lane.seen();
                assert_eq!(seen.len(), 1, "{}: {seen:?}", lane.name);
                assert_eq!(lane.misframed(&seen[0], ""), [""; 0], "{}", lane.name);
                assert!(lane.is_well());
            }
        }
    }
}

#[test]
fn h1_08_a_coding_beside_chunked_is_refused() {
    let stand = Stand::new();
    let lines = [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip,chunked",
        "Transfer-Encoding: deflate, chunked",
        "Transfer-Encoding: br, chunked",
        "Transfer-Encoding: x, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: compress;q=1, chunked",
        "Transfer-Encoding: trailers, chunked",
        "Transfer-Encoding: gzip, identity, chunked",
    ];
    stand.refuses(&[400, 501], posts(&lines, CHUNKED_OK));
}

#[test]
fn h1_09_chunked_twice_is_refused() {
    let stand = Stand::new();
    let lines = [
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,chunked",
        "Transfer-Encoding: chunked , Chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nX: 1\r\ntransfer-encoding: CHUNKED",
        "Transfer-Encoding: chunked, chunked, chunked",
    ];
    stand.refuses(&[400], posts(&lines, CHUNKED_OK));
}

#[test]
fn h1_10_identity_and_then_chunked_is_refused() {
    let stand = Stand::new();
    let lines = [
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: Identity,chunked",
    ];
    stand.refuses(&[400], posts(&lines, CHUNKED_OK));
}

#[test]
fn h1_11_a_coding_that_is_not_chunked_is_refused() {
    let stand = Stand::new();
    let values = [
        "",
        " ",
        "identity",
        "xchunked",
        "chunkedx",
        "x-chunked",
        "chunke",
        "hunked",
        "chunked;a=b",
        "chunked; a=b",
        "chunked;",
        ";chunked",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked, ",
        "chunked,,",
        ",",
        ",,",
        "chunked chunked",
        "\"chunked\"",
        "'chunked'",
        "(chunked)",
        "chunked=1",
        "chunked q=1",
        "chunked;q=0",
        "chunk",
        "chunked/1",
        "cow",
        "cHuNkEdx",
        "chunked, identity",
        "chunked, cow",
        "cow, chunked",
        "chunked\tx",
        "chunked.",
        ".chunked",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "chun\u{eb}ked",
        "chun ked",
        "CHUN\u{ce}ED",
        "*",
    ];
    let lines: Vec<String> = values
        .iter()
        .map(|v| format!("Transfer-Encoding: {v}"))
        .collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity");
    lines.push("Transfer-Encoding: chunked\r\nTransfer-Encoding:");
    lines.push("Transfer-Encoding:\r\nTransfer-Encoding: chunked");
    lines.push("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow");
    lines.push("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked");
    stand.refuses(&[400, 501], posts(&lines, CHUNKED_OK));
    let with_length: Vec<String> = values
        .iter()
        .map(|v| format!("Content-Length: 5\r\nTransfer-Encoding: {v}"))
        .collect();
    let with_length: Vec<&str> = with_length.iter().map(String::as_str).collect();
    stand.refuses_on(
        |lane| !lane.http2,
        &[400, 501],
        posts(&with_length, "hello"),
    );
}

#[test]
fn h1_12_a_coding_that_is_hidden_is_refused() {
    let stand = Stand::new();
    let mut lines = Vec::new();
    for byte in (0u8..0x20).chain([0x7f, 0x80, 0x85, 0xa0, 0xff]) {
        if matches!(byte, b'\t' | b'\n' | b'\r') {
            continue;
        }
        let byte = char::from(byte);
        lines.push(format!("Transfer-Encoding:{byte}chunked"));
        lines.push(format!("Transfer-Encoding: {byte}chunked"));
        lines.push(format!("Transfer-Encoding: chunked{byte}"));
        lines.push(format!("Transfer-Encoding: chun{byte}ked"));
        lines.push(format!("Transfer-Encoding{byte}: chunked"));
        lines.push(format!("{byte}Transfer-Encoding: chunked"));
        lines.push(format!("Transfer{byte}Encoding: chunked"));
    }
    for line in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "X: 1\r\n Transfer-Encoding: chunked",
        "X: 1\nTransfer-Encoding: chunked",
        "X: 1\rTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding: \r\n chunked",
        "Transfer-Encoding:\nchunked",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chun\r\n ked",
        "Transfer-Encoding chunked",
        "Transfer-Encoding",
        "Transfer Encoding: chunked",
        "\"Transfer-Encoding\": chunked",
        "Transfer-Encoding;: chunked",
        "Transfer-Encoding=chunked",
        "Transfer\u{2010}Encoding: chunked",
    ] {
        lines.push(line.replace('\u{2010}', "\u{e2}\u{80}\u{90}"));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stand.refuses_on(|lane| !lane.http2, &[400, 501], posts(&lines, CHUNKED_OK));
}

#[test]
fn h1_12_an_underscore_makes_no_framing_and_does_not_go_on() {
    let stand = Stand::new();
    for lines in [
        "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
        "Content-Length: 5\r\nTRANSFER_ENCODING: chunked\r\n",
        "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent_Length: 50\r\n",
        "Content-Length: 5\r\nContent_Length: 0\r\ntransfer_encoding: gzip\r\n",
    ] {
        for passed in stand.passes(post(lines, "hello"), "POST /x", "hello") {
            for name in ["transfer_encoding", "content_length"] {
                assert!(!passed.seen.has(name), "{}: {name}", passed.lane);
            }
        }
    }
    // Strangers have no use for them at all: others take `_` for `-`.
    let lines = "x_user_id: 7\r\nX_Forwarded_For: 9.9.9.9\r\nx_forwarded-for: 9.9.9.9\r\nX_Real_IP: 9.9.9.9\r\n\
                 my_own: 1\r\nx-tidegate_mirror: 1\r\n_: 1\r\nhost_: x\r\n";
    for passed in stand.passes(post(lines, ""), "POST /x", "") {
        let kept: Vec<_> = passed
            .seen
            .fields
            .0
            .iter()
            .filter(|(n, _)| n.contains('_'))
            .map(|(n, _)| n.as_str())
            .collect();
        if passed.edge {
            assert!(kept.is_empty(), "{}: {kept:?}", passed.lane);
        } else {
            assert!(kept.contains(&"my_own"), "{}: {kept:?}", passed.lane);
        }
    }
}

#[test]
fn h1_13_what_is_accepted_reaches_the_version_with_one_framing_of_the_proxys_own() {
    let stand = Stand::new();
    let bodies = [
        ("Content-Length: 0\r\n", "", ""),
        ("", "", ""),
        ("Content-Length: 5\r\n", "hello", "hello"),
        ("Transfer-Encoding: chunked\r\n", CHUNKED_OK, "hello"),
        (
            "transfer-encoding:CHUNKED\r\n",
            "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("Transfer-Encoding: \t chunked \t\r\n", "0\r\n\r\n", ""),
        (
            "Connection: content-length, transfer-encoding\r\nContent-Length: 5\r\n",
            "hello",
            "hello",
        ),
        (
            "Connection: content-length, transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
            CHUNKED_OK,
            "hello",
        ),
    ];
    for method in [
        "POST", "PUT", "PATCH", "GET", "DELETE", "OPTIONS", "PROPFIND", "get",
    ] {
        for (lines, sent, body) in bodies {
            let text = format!("{method} /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n{sent}");
            stand.passes(text, &format!("{method} /x"), body);
        }
    }
}

#[test]
fn h1_14_the_body_of_a_get_never_becomes_the_next_request() {
    let stand = Stand::new();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    for method in ["GET", "DELETE", "OPTIONS", "HEAD2"] {
        let text = format!(
            "{method} /x HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        );
        stand.passes(text, &format!("{method} /x"), inner);
        let size = inner.len();
        let text = format!(
            "{method} /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{inner}\r\n0\r\n\r\n"
        );
        stand.passes(text, &format!("{method} /x"), inner);
    }
}

/// Every answer that the proxy gives by itself, to a request whose body is still to come: (what it is, target, more
/// lines, status).
const OWN_ANSWERS: [(&str, &str, &str, u16); 8] = [
    ("no route", "/none", "", 404),
    ("respond 401", "/401", "", 401),
    ("respond 403", "/403", "", 403),
    ("redirect", "/moved", "", 302),
    ("no endpoint", "/gone", "", 503),
    ("an expectation", "/x", "Expect: something\r\n", 417),
    ("too large", "/x", "", 413),
    ("bad target", "/%00", "", 400),
];

fn own_answers() -> Stand {
    Stand::with("limits: { body_bytes: 100B }", |site| {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let closed = gone.local_addr().expect("a bound socket").to_string();
        drop(gone);
        let mut routes = String::new();
        let mut services = String::new();
        for n in 0..4 {
            let at = format!("listener: in{n}, path: ");
            routes += &format!(
                "\n  - {{ name: a{n}, match: {{ {at}{{ prefix: /401 }} }}, respond: {{ status: 401, body: no }} }}\n  \
                 - {{ name: b{n}, match: {{ {at}{{ prefix: /403 }} }}, respond: {{ status: 403 }} }}\n  \
                 - {{ name: c{n}, match: {{ {at}{{ prefix: /moved }} }}, redirect: {{ host: elsewhere }} }}\n  \
                 - {{ name: d{n}, match: {{ {at}{{ prefix: /gone }} }}, service: gone, rules: [] }}\n  \
                 - {{ name: e{n}, match: {{ {at}{{ prefix: /x }} }}, service: s{n}, rules: [] }}\n  \
                 - {{ name: f{n}, match: {{ {at}{{ prefix: /well }} }}, service: s{n}, rules: [] }}\n  \
                 - {{ name: g{n}, match: {{ {at}{{ prefix: /after }} }}, service: s{n}, rules: [] }}"
            );
        }
        services += &Site::service_text("gone", "", &[("v1", closed)]);
        let services = services.trim_matches('\n').to_owned();
        site.adding("services", &format!("\n{services}"))
            .with("routes", &routes)
    })
}

#[test]
fn h1_15_an_answer_of_our_own_never_leaves_a_body_that_becomes_a_request() {
    let stand = own_answers();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    let long = inner.repeat(4000);
    for (what, target, lines, status) in OWN_ANSWERS {
        for body in [inner, long.as_str()] {
            if status == 413 && body.len() < 100 {
                continue;
            }
            let size = body.len();
            for (framing, sent) in [
                (format!("Content-Length: {size}\r\n"), body.to_owned()),
                (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    format!("{size:x}\r\n{body}\r\n0\r\n\r\n"),
                ),
                (
                    format!("Content-Length: {size}\r\nExpect: 100-continue\r\n"),
                    body.to_owned(),
                ),
                (
                    "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n".to_owned(),
                    format!("{size:x}\r\n{body}\r\n0\r\n\r\n"),
                ),
            ] {
                if !lines.is_empty() && framing.contains("Expect") {
                    continue;
                }
                let text =
                    format!("POST {target} HTTP/1.1\r\nHost: t\r\n{lines}{framing}\r\n{sent}");
                let bytes = [
                    text.as_bytes(),
                    AFTER,
                    b"GET /after HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
                ]
                .concat();
                for lane in &stand.lanes {
                    lane.forget();
                    let heard = lane.say(&bytes);
                    let about = format!("{}: {what}, {framing:?}, {size} bytes", lane.name);
                    let statuses = heard.statuses();
                    let first = statuses.first().copied().unwrap_or(0);
                    // What is on its way to nowhere may be too large as well.
                    assert!(
                        first == status || (first == 413 && status == 503),
                        "{about}: {statuses:?}"
                    );
                    assert!(
                        statuses[1..].iter().all(|s| *s == 200),
                        "{about}: {statuses:?}"
                    );
                    assert!(
                        heard.closed && heard.parsed.violations.is_empty(),
                        "{about}"
                    );
                    let seen: Vec<String> = lane.seen().into_iter().map(|s| s.target).collect();
                    assert!(seen.iter().all(|t| t == "/after"), "{about}: {seen:?}");
                    assert_eq!(
                        seen.len(),
                        statuses.len() - 1,
                        "{about}: {statuses:?} and {seen:?}"
                    );
                    assert!(lane.is_well(), "{about}");
                }
            }
        }
    }
}

#[test]
fn h1_15_a_short_body_of_a_refused_request_is_read_and_the_connection_goes_on() {
    let stand = own_answers();
    for lane in &stand.lanes {
        for target in ["/none", "/401", "/moved", "/gone"] {
            let mut conn = Conn::open(lane.address);
            let status = conn.request("POST", target, &[], &pattern(50)).status;
            assert!(status >= 300, "{target}: {status}");
            assert_eq!(conn.get("/x", &[]).status, 200, "{}: {target}", lane.name);
        }
    }
}

#[test]
fn h1_15_a_body_that_does_not_come_holds_the_connection_only_for_a_while() {
    let stand = own_answers();
    for lane in &stand.lanes {
        let mut conn = Conn::open(lane.address);
        conn.send("POST /none HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf");
        assert_eq!(conn.answer().status, 404, "told before the body is there");
        assert!(conn.closes_within(Duration::from_secs(8)), "{}", lane.name);
        let mut conn = Conn::open(lane.address);
        conn.send(
            "POST /none HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        );
        let answer = conn.answer();
        assert_eq!(
            (answer.status, answer.interim.len()),
            (404, 0),
            "no word to go on"
        );
        assert!(conn.closes_within(Duration::from_secs(8)), "{}", lane.name);
    }
}

#[test]
fn h1_16_a_body_that_ends_early_is_never_a_whole_one() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for (lines, body) in [
            ("Content-Length: 10\r\n", "hello"),
            ("Content-Length: 10\r\n", ""),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
            (
                "Transfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\nX: y\r\n",
            ),
            ("Transfer-Encoding: chunked\r\n", ""),
        ] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(post(lines, body)).half_close();
            let answer = conn.try_answer();
            let about = format!("{}: {lines:?} {body:?}", lane.name);
            assert!(
                answer.is_err() || answer.is_ok_and(|a| a.status == 400),
                "{about}"
            );
            assert!(conn.closes_within(Duration::from_secs(3)), "{about}");
            assert!(lane.seen().is_empty(), "{about}: {:?}", lane.seen());
            assert!(lane.is_well(), "{about}");
        }
    }
}

#[test]
fn h1_17_bytes_behind_a_body_begin_the_next_request() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        lane.forget();
        let bytes = [post("Content-Length: 5\r\n", "helloXXXX").as_bytes(), AFTER].concat();
        let heard = lane.say(&bytes);
        // `XXXXGET` is a method that nobody has reserved.
        assert_eq!(heard.statuses()[0], 200, "{}", lane.name);
        let seen = lane.seen();
        assert_eq!(lane.misframed(&seen[0], "hello"), [""; 0], "{}", lane.name);
        let rest: Vec<_> = seen[1..].iter().map(|s| s.method.as_str()).collect();
        assert!(
            rest.is_empty() || rest == ["XXXXGET"],
            "{}: {rest:?}",
            lane.name
        );
        lane.forget();
        let bytes = [
            post("Content-Length: 5\r\n", "hello\0\0\0\0").as_bytes(),
            AFTER,
        ]
        .concat();
        let heard = lane.say(&bytes);
        assert_eq!(heard.statuses(), [200, 400], "{}", lane.name);
        assert!(heard.closed && lane.seen().len() == 1, "{}", lane.name);
        assert!(lane.is_well(), "{}", lane.name);
    }
}

#[test]
fn h1_18_a_connection_with_half_a_request_in_it_is_never_used_again() {
    let backend = Scripted::start(|scene, _| {
        let mut half_told = false;
        loop {
            let early = scene.head()?.starts_with("POST /early");
            let body = match (early, half_told) {
                (true, _) => "early",
                (false, true) => "wrong",
                (false, false) => "plain",
            };
            half_told |= early;
            scene.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"
            ))?;
        }
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    for lines in [
        "Content-Length: 1000000",
        "Transfer-Encoding: chunked",
        "Content-Length: 1000000\r\nExpect: 100-continue",
    ] {
        let mut conn = proxy.connect();
        conn.send(format!(
            "POST /early HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n"
        ));
        assert_eq!(conn.answer().text(), "early", "{lines}");
        for _ in 0..6 {
            assert_eq!(proxy.get("/", &[]).text(), "plain", "{lines}");
        }
        drop(conn);
        for _ in 0..6 {
            assert_eq!(proxy.get("/", &[]).text(), "plain", "{lines}");
        }
    }
}
