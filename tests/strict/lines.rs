//! RL-10 to RL-17: request lines and header lines.

use super::stand::{AFTER, Stand};
use crate::harness::Conn;

fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u32 as u8).collect()
}

fn get(target: &str) -> Vec<u8> {
    latin(&format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
}

fn with_lines(lines: &str) -> Vec<u8> {
    latin(&format!("GET /x HTTP/1.1\r\n{lines}\r\n"))
}

fn with_line(line: &str) -> Vec<u8> {
    with_lines(&format!("Host: t\r\n{line}\r\n"))
}

#[test]
fn rl_10_lines_end_in_cr_lf_alone() {
    let stand = Stand::new();
    stand.refuses(
        &[400],
        [
            "GET /x HTTP/1.1\nHost: t\n\n",
            "GET /x HTTP/1.1\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\nX: 1\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\r\nX: 1\n\r\n",
            "GET /x HTTP/1.1\rHost: t\r\r",
            "GET /x HTTP/1.1\r\nHost: t\r\rX: 1\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\r\nX: 1\ry\r\n\r\n",
            "GET /x HTTP/1.1\r\r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\n\rHost: t\n\r\n\r",
            "\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\rGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\r\n\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\n\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            " GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\tGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\r\n GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n Host: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n\tHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n \r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n X: y\r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n \tX: y\r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\r\n \r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\r\n\n",
            "\0GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\u{feff}GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
    stand.passes("\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n", "GET /x", "");
    stand.passes(
        "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\r\n",
        "POST /x",
        "hello",
    );
}

#[test]
fn rl_11_a_version_that_is_not_spoken_is_refused() {
    let stand = Stand::new();
    let versions = [
        "http/1.1",
        "Http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/1.10",
        "HTTP/1.11",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/0.9",
        "HTTP/0.0",
        "HTTP/9.9",
        "HTTP/10.1",
        "HTTP/11",
        "HTTP 1.1",
        "HTTP/1,1",
        "HTTP/1.1.1",
        "HTTP/1.x",
        "HTTP/x.1",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTP/ 1.1",
        "HTTP /1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "ICY/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP/1.1 x",
        "HTTP/1.1x",
        " HTTP/1.1",
        "\tHTTP/1.1",
        "HTTP/1.1\0",
        "HTTP\\1.1",
        "",
        "1.1",
        "HTTP",
        "HTTP/",
        "RTSP/1.0",
        "SIP/2.0",
        "HTTP/1\u{b7}1",
    ];
    stand.refuses(
        &[400, 505],
        versions.map(|v| latin(&format!("GET /x {v}\r\nHost: t\r\n\r\n"))),
    );
    stand.refuses(
        &[400, 505],
        [
            "GET /x\r\n\r\n",
            "GET /x\r\n",
            "GET\r\n\r\n",
            "GET /x\r\nHost: t\r\n\r\n",
            "/x HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET  /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET /x  HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET\t/x\tHTTP/1.1\r\nHost: t\r\n\r\n",
            "GET\u{b}/x HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn rl_12_a_method_is_passed_as_it_is_written_or_refused() {
    let stand = Stand::new();
    for method in [
        "get",
        "Get",
        "gET",
        "PROPFIND",
        "M-SEARCH",
        "FOO",
        "x",
        "!#$%&'*+-.^_`|~",
        "CONNECTX",
        "TRACER",
        "connect",
        "trace",
    ] {
        stand.passes(
            format!("{method} /x HTTP/1.1\r\nHost: t\r\n\r\n"),
            &format!("{method} /x"),
            "",
        );
    }
    let bad = [
        "G(T", "G)T", "G<T", "G>T", "G@T", "G,T", "G;T", "G:T", "G\\T", "G\"T", "G/T", "G[T",
        "G]T", "G?T", "G=T", "G{T", "G}T", "", "G\0T", "G\u{7f}T", "G\u{e9}T", "\"GET\"", "G\tT",
        "GE\u{b}T",
    ];
    stand.refuses(
        &[400, 505],
        bad.map(|m| latin(&format!("{m} /x HTTP/1.1\r\nHost: t\r\n\r\n"))),
    );
    let long = "G".repeat(100 * 1024);
    stand.refuses(
        &[400],
        [
            long.clone(),
            format!("{long} /x HTTP/1.1\r\nHost: t\r\n\r\n"),
            "x".repeat(1 << 20),
        ],
    );
}

#[test]
fn rl_13_what_is_over_a_limit_is_refused_by_its_own_status() {
    let stand = Stand::with(
        "limits: { header_bytes: 8KiB, header_count: 20, target_bytes: 1KiB, body_bytes: 1KiB }",
        |s| s,
    );
    let long = "a".repeat(1024);
    stand.refuses(
        &[414],
        [
            get(&format!("/{long}")),
            get(&format!("/x?{long}")),
            get(&format!("/{}", "a".repeat(9000))),
            get(&format!("/{}", "a".repeat(1 << 20))),
            get(&format!("http://t/{long}")),
        ],
    );
    let lines: String = (0..20).map(|n| format!("X-{n}: y\r\n")).collect();
    let same: String = (0..20).map(|_| "X: y\r\n").collect();
    let many: String = (0..2000).map(|n| format!("X{n}:\r\n")).collect();
    stand.refuses(
        &[431],
        [
            with_line(lines.trim_end()),
            with_line(same.trim_end()),
            with_line(many.trim_end()),
            with_line(&format!("X: {}", "y".repeat(8192))),
            with_line(&format!("X: {}", "y".repeat(1 << 20))),
            with_line(&format!("{}: y", "x".repeat(9000))),
        ],
    );
    let body = "b".repeat(1025);
    stand.refuses(
        &[413],
        [
            format!("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1025\r\n\r\n{body}"),
            "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551615\r\n\r\n"
                .to_owned(),
        ],
    );
    let chunks = format!(
        "POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"
    );
    stand.breaks_off([chunks]);
    for lane in &stand.lanes {
        let mut conn = Conn::open(lane.address);
        conn.send(format!("POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(conn.answer().status, 413, "{}", lane.name);
    }
    let fits = "b".repeat(1024);
    stand.passes(
        format!("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1024\r\n\r\n{fits}"),
        "POST /x",
        &fits,
    );
    let target = format!("/{}", "a".repeat(1023));
    stand.passes(get(&target), &format!("GET {target}"), "");
}

#[test]
fn rl_14_a_folded_line_is_refused() {
    let stand = Stand::new();
    let folds = [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X:\r\n b",
        "X: a\r\n ",
        "X: a\r\n \r\n b",
        "X: a\r\n  Y: b",
        "Transfer-Encoding: chunked\r\n ",
        "Transfer-Encoding:\r\n chunked",
        "Content-Length: 5\r\n 0",
        "Content-Length:\r\n 5",
        "Expect: 100-\r\n continue",
        "Expect:\r\n 100-continue",
        "Connection: close\r\n , X",
        "Host2: a\r\n Host: b",
        "Cookie: a=b;\r\n c=d",
        "X-User-Id: 1\r\n 2",
    ];
    stand.refuses(&[400], folds.map(with_line));
    stand.refuses(
        &[400],
        [
            "GET /x HTTP/1.1\r\nHost: t\r\n u\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost:\r\n t\r\n\r\n",
            "GET /x\r\n HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn rl_15_a_line_without_a_proper_name_is_refused() {
    let stand = Stand::new();
    let lines = [
        ": x",
        ":",
        "::",
        " : x",
        "X",
        "X y",
        "X : y",
        "X\t: y",
        "X  : y",
        "[X]: y",
        "X[0]: y",
        "(X): y",
        "X,Y: z",
        "X;Y: z",
        "X/Y: z",
        "X=Y: z",
        "X@Y: z",
        "X Y: z",
        "\"X\": y",
        "<X>: y",
        "{X}: y",
        "X?: y",
        "X\\: y",
        "\u{e9}: y",
        "X\u{e9}: y",
        "\u{c3}\u{a9}: y",
        "X\0: y",
        "\0: y",
        "X\u{b}: y",
        "X\u{7f}: y",
        "X\u{1}Y: z",
        "\u{ff}: y",
        "= y",
        "X=y",
        "GET /smuggled HTTP/1.1",
        "HTTP/1.1 200 OK",
        ":path: /smuggled",
        ":method: POST",
    ];
    stand.refuses(&[400], lines.map(with_line));
    stand.refuses(
        &[400],
        lines.map(|l| with_lines(&format!("{l}\r\nHost: t\r\n"))),
    );
}

#[test]
fn rl_16_a_value_with_a_control_byte_is_refused() {
    let stand = Stand::new();
    let mut lines = Vec::new();
    for byte in (0u8..0x20)
        .chain([0x7f])
        .filter(|b| !matches!(b, b'\t' | b'\n' | b'\r'))
    {
        let c = char::from(byte);
        lines.extend([
            format!("X: {c}"),
            format!("X: a{c}b"),
            format!("X:{c}a"),
            format!("X: a{c}"),
        ]);
    }
    lines.extend(
        [
            "X: a\rb",
            "X: a\nb",
            "X: a\r",
            "X: \r",
            "X: a\n",
            "X: a\rGET /smuggled HTTP/1.1",
            "X: a\nY: b",
            "X: a\r\rY: b",
            "X: a\n\nGET /smuggled HTTP/1.1",
        ]
        .map(str::to_owned),
    );
    stand.refuses_on(|l| !l.http2, &[400], lines.iter().map(|l| with_line(l)));
    // What is no control byte is the version's to read.
    for passed in stand.passes(with_line("X: a\tb \u{e9}\u{ff}"), "GET /x", "") {
        assert!(
            passed.seen.header("x").starts_with("a\tb "),
            "{}",
            passed.lane
        );
    }
}

#[test]
fn rl_17_a_request_without_a_host_is_logged_and_harms_nobody() {
    let stand = Stand::with("", |site| {
        site.with(
            "access_log",
            "{ output: stdout, sample: { success: 100%, failure: 100% } }",
        )
    });
    for lane in &stand.lanes {
        for text in [
            "GET /nohost10 HTTP/1.0\r\n\r\n",
            "GET /nohost10 HTTP/1.0\r\nHost:\r\n\r\n",
        ] {
            lane.forget();
            let heard = lane.say(text.as_bytes());
            let status = heard.statuses()[0];
            assert!(
                matches!(status, 200 | 400),
                "{}: {text:?} {status}",
                lane.name
            );
            for seen in lane.seen() {
                let hosts = seen
                    .fields
                    .all(if lane.http2 { ":authority" } else { "host" });
                assert_eq!(
                    hosts.len(),
                    1,
                    "{}: a later protocol names a host",
                    lane.name
                );
            }
        }
        for text in [
            "GET /nohost11 HTTP/1.1\r\n\r\n",
            "GET http://t/nohost11 HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
        ] {
            let heard = lane.say(&[text.as_bytes(), AFTER].concat());
            assert_eq!(heard.statuses(), [400], "{}: {text:?}", lane.name);
        }
        assert!(lane.is_well(), "{}", lane.name);
    }
    stand.proxy.logs(&["/nohost10"]);
    stand.proxy.logs(&["/nohost11"]);
}
