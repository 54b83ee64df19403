//! CH: chunked bodies.

use super::stand::Stand;
use crate::harness::{Conn, H2Client, grpc_frame};

/// A POST in chunks, `body` as it stands.
fn chunked(body: &str) -> Vec<u8> {
    let text = format!("POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    text.chars().map(|c| c as u32 as u8).collect()
}

fn all(bodies: &[String]) -> Vec<Vec<u8>> {
    bodies.iter().map(|b| chunked(b)).collect()
}

const LAST: &str = "0\r\n\r\n";

#[test]
fn ch_01_a_size_that_is_no_plain_number_breaks_the_body_off() {
    let stand = Stand::new();
    let sizes = [
        "+5",
        "-5",
        "-0",
        "0x5",
        "0X5",
        "x5",
        "5 ",
        "5\t",
        "5  ",
        " 5",
        "\t5",
        "_5",
        "5_",
        "5_0",
        "",
        " ",
        "\t",
        "5h",
        "g",
        "5.",
        "5.0",
        ".5",
        "5,",
        ",5",
        "5:",
        "5=",
        "5-",
        "5#",
        "5/",
        "\"5\"",
        "'5'",
        "five",
        "5 5",
        "5\t5",
        "5\0",
        "\u{0}5",
        "\u{b}5",
        "5\u{b}",
        "5\u{c}",
        "5\u{7f}",
        "\u{a0}5",
        "5\u{a0}",
        "\u{b2}",
        "%35",
        "5%",
        "0x",
        "h5",
        "5*",
        "&5",
        "5\\r",
        "\u{ef}\u{bc}\u{95}",
        "1e0",
        "5e1 ",
        "0,5",
        "[5]",
        "{5}",
        "(5)",
        "5!",
        "~5",
        "5|5",
        "5?",
    ];
    let bodies: Vec<String> = sizes
        .iter()
        .filter(|s| **s != "1e0")
        .flat_map(|s| {
            [
                format!("{s}\r\nhello\r\n{LAST}"),
                format!("1\r\nx\r\n{s}\r\nhello\r\n{LAST}"),
            ]
        })
        .collect();
    stand.breaks_off(all(&bodies));
    let last = [
        "+0", "-0", "0x0", " 0", "0 ", "0\t", "0\0", "00x", "0,", "0_0", "",
    ];
    let bodies: Vec<String> = last
        .iter()
        .map(|s| format!("5\r\nhello\r\n{s}\r\n\r\n"))
        .collect();
    stand.breaks_off(all(&bodies));
}

#[test]
fn ch_02_a_size_that_does_not_fit_breaks_the_body_off_and_does_not_wrap() {
    let stand = Stand::new();
    let sizes = [
        "10000000000000000",
        "10000000000000005",
        "100000000000000000000000000000005",
        "fffffffffffffffff",
        "00000000000000005",
        "f0000000000000005",
        "20000000000000000",
    ];
    let bodies: Vec<String> = sizes
        .iter()
        .map(|s| format!("{s}\r\nhello\r\n{LAST}"))
        .chain([format!("{}5\r\nhello\r\n{LAST}", "0".repeat(9000))])
        .collect();
    stand.breaks_off(all(&bodies));
    // The largest that fits is a body that has not ended.
    for lane in stand.lanes.iter().filter(|l| !l.http2) {
        for size in [
            "ffffffffffffffff",
            "fffffffffffffff0",
            "8000000000000000",
            "7fffffffffffffff",
        ] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(chunked(&format!("{size}\r\nhello\r\n{LAST}")))
                .half_close();
            let answer = conn.try_answer();
            assert!(
                answer.is_err() || answer.is_ok_and(|a| a.status == 400),
                "{size}"
            );
            assert!(lane.seen().is_empty() && lane.is_well(), "{size}");
        }
    }
}

#[test]
fn ch_03_an_extension_is_understood_and_does_not_go_on() {
    let stand = Stand::new();
    for extension in [
        ";a=b",
        ";a",
        ";a=b;c=d",
        " ;a=b",
        "; a=b",
        ";a =b",
        ";a= b",
        "\t;\ta\t=\tb",
        ";a=\"b\"",
        ";a=\"\"",
        ";a=\"b;c\"",
        ";a=\"b\\\"c\"",
        ";a=\"b\\\\\"",
        ";a=\"b c\td\"",
        ";!#$%&'*+-.^_`|~=1",
        ";a=1;a=1",
        ";a=\"\u{e9}\"",
        ";a=\"\\\u{e9}\"",
    ] {
        let body = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        for passed in stand.passes(chunked(&body), "POST /x", "hello") {
            let told = format!("{:?}{:?}", passed.seen.fields, passed.seen.trailers);
            assert!(!told.contains("a=b"), "{}", passed.lane);
        }
    }
}

#[test]
fn ch_04_an_extension_that_is_none_breaks_the_body_off() {
    let stand = Stand::new();
    let extensions = [
        ";",
        " ;",
        "; ",
        ";;",
        ";;a",
        ";a;",
        ";a;;b",
        ";=",
        ";=b",
        ";a=",
        ";a= ",
        ";a=;b",
        ";[",
        ";a[",
        ";a=[",
        ";a=b c",
        ";a b",
        ";a\"",
        ";\"a\"=b",
        ";a=\"b",
        ";a=b\"",
        ";a=\"b\"c",
        ";a=\"b\\\"",
        ";a=\"b\" c",
        ";a==b",
        ";a=b=c",
        ";a,b",
        ";a=b,c",
        ";a:b",
        ";a/b",
        ";a?b",
        ";a@b",
        ";a=<b>",
        ";a=(b)",
        ";a={b}",
        ";\u{e9}",
        ";a=\u{e9}",
        "a=b",
        " a=b",
        ",a=b",
        " a",
        ";a=\"b\0c\"",
        ";a=\"b\nc\"",
        ";a=\"b\rc\"",
        ";a=\"b\u{7f}\"",
        ";a=\"b\u{1}\"",
        ";a=\"b\\\u{1}\"",
        ";\0",
        ";a\0",
        ";\u{b}a",
        ";a\u{b}",
        ";\u{7f}",
        ";\nhello",
        ";a\nhello",
        ";a\n",
        ";\rhello",
        ";a\rb",
        ";\r",
        ";a=b\r",
        ";\n",
        "\n",
        "\r",
        "\n;a",
    ];
    let bodies: Vec<String> = extensions
        .iter()
        .flat_map(|e| {
            [
                format!("5{e}\r\nhello\r\n{LAST}"),
                format!("5\r\nhello\r\n0{e}\r\n\r\n"),
            ]
        })
        .collect();
    stand.breaks_off(all(&bodies));
    // Bare line feeds end no line at all.
    let bodies = [
        "5\nhello\n0\n\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5;\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
    ];
    stand.breaks_off(bodies.map(chunked));
}

#[test]
fn ch_05_extensions_have_a_bound() {
    let stand = Stand::new();
    let million = format!("5;a={}\r\nhello\r\n{LAST}", "x".repeat(1 << 20));
    let many = format!("1;a={}\r\nx\r\n", "y".repeat(1000)).repeat(1000) + LAST;
    let tiny = "1;a\r\nx\r\n".repeat(300_000) + LAST;
    let blanks = format!("5{};a\r\nhello\r\n{LAST}", " ".repeat(1 << 20));
    stand.breaks_off([million, many, tiny, blanks].map(|b| chunked(&b)));
}

#[test]
fn ch_06_a_chunk_that_does_not_end_where_it_said_breaks_the_body_off() {
    let stand = Stand::new();
    let ends = [
        "\n", "\r", "", "XX", "\n\r", "\r\r", "\n\n", "\r\n\r\n", " \r\n", "\0\0", "\rX", "X\n",
        "\t\r\n", ";\r\n", "!\r\n",
    ];
    let bodies: Vec<String> = ends
        .iter()
        .flat_map(|e| {
            [
                format!("5\r\nhello{e}{LAST}"),
                format!("5\r\nhello\r\n1\r\nx{e}1\r\ny\r\n{LAST}"),
            ]
        })
        .collect();
    stand.breaks_off(all(&bodies));
    let bodies: Vec<String> = [
        "6\r\nhello\r\n",
        "4\r\nhello\r\n",
        "1\r\nhello\r\n",
        "5\r\nhell\r\n",
    ]
    .iter()
    .map(|b| format!("{b}{LAST}"))
    .collect();
    stand.breaks_off(all(&bodies));
}

#[test]
fn ch_07_a_body_without_its_last_chunk_is_never_a_whole_one() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for body in [
            "5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\n",
            "5\r\nhello\r\n0",
            "5\r\nhello\r\n0\r\nX: y\r\n",
            "5\r\nhe",
            "5",
            "",
        ] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(chunked(body)).half_close();
            let answer = conn.try_answer();
            assert!(
                answer.is_err() || answer.is_ok_and(|a| a.status == 400),
                "{}: {body:?}",
                lane.name
            );
            assert!(lane.seen().is_empty(), "{}: {body:?}", lane.name);
            let mut conn = Conn::open(lane.address);
            conn.send(chunked(body));
            std::thread::sleep(std::time::Duration::from_millis(20));
            conn.reset();
            assert!(lane.is_well(), "{}: {body:?}", lane.name);
        }
    }
}

#[test]
fn ch_08_a_trailer_that_would_mean_something_in_a_head_does_not_go_on() {
    let stand = Stand::new();
    let forbidden = [
        "Content-Length: 50",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Host: evil",
        "Authorization: Basic x",
        "Content-Type: text/evil",
        "Content-Encoding: gzip",
        "Content-Range: bytes 0-1/2",
        "Cookie: a=b",
        "Set-Cookie: a=b",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "Forwarded: for=9.9.9.9",
        "X-Real-IP: 9.9.9.9",
        "x-tidegate-mirror: 1",
        "x_tidegate_mirror: 1",
        "X_Forwarded_For: 9.9.9.9",
        "x_user_id: 7",
        "Connection: x",
        "Keep-Alive: 1",
        "Upgrade: h2c",
        "TE: trailers",
        "Trailer: x",
        "Expect: 100-continue",
        "Max-Forwards: 0",
        "Proxy-Authorization: x",
        "Proxy-Connection: close",
        "Cache-Control: no-store",
        "Range: bytes=0-1",
        "If-Match: x",
        "If-None-Match: x",
        "If-Modified-Since: x",
        "If-Unmodified-Since: x",
        "If-Range: x",
        "Via: x",
        "Proxy: http://evil",
        "HTTP2-Settings: x",
        "WWW-Authenticate: x",
        "Proxy-Authenticate: x",
        "Date: x",
        "Expires: x",
        "Location: /",
        "Retry-After: 1",
        "Vary: *",
        "Age: 1",
        "Traceparent: x",
        "X-Request-ID: x",
        "Content_Length: 50",
        "Transfer_Encoding: chunked",
        "Origin: http://evil",
        "Referer: x",
    ];
    for line in forbidden {
        let body = format!("5\r\nhello\r\n0\r\n{line}\r\nX-Kept: 1\r\n\r\n");
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        for passed in stand.passes(chunked(&body), "POST /x", "hello") {
            assert!(!passed.seen.trailers.has(&name), "{}: {line}", passed.lane);
            assert_eq!(
                passed.seen.trailers.get("x-kept"),
                Some("1"),
                "{}: {line}",
                passed.lane
            );
            let value = line.split_once(": ").unwrap().1;
            let merged = passed.seen.fields.all(&name).contains(&value);
            assert!(!merged || value == "chunked", "{}: {line}", passed.lane);
        }
    }
    // The header that names users here, where callers may not set it.
    for passed in stand.passes(chunked("0\r\nX-User-Id: 7\r\n\r\n"), "POST /x", "") {
        assert!(
            !passed.edge || !passed.seen.trailers.has("x-user-id"),
            "{}",
            passed.lane
        );
    }
}

#[test]
fn ch_08_a_trailer_that_is_no_field_breaks_the_body_off() {
    let stand = Stand::new();
    let lines = [
        "X : y",
        " X: y",
        "\tX: y",
        ": y",
        "X",
        "X y",
        "X: y\n",
        "X: y\r",
        "X: \0",
        "X: y\r\n z",
        "X\0: y",
        "X: \u{b}",
        "X\u{e9}: y",
        "[X]: y",
        "X: y\u{7f}",
        "X: y\nZ: 1",
        "GET /smuggled HTTP/1.1",
    ];
    let bodies: Vec<String> = lines
        .iter()
        .map(|l| format!("5\r\nhello\r\n0\r\n{l}\r\n\r\n"))
        .collect();
    stand.breaks_off(all(&bodies));
}

#[test]
fn ch_09_trailers_have_a_bound() {
    let stand = Stand::new();
    let thousand: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    let million = format!("x: {}\r\n", "y".repeat(1 << 20));
    let wide: String = (0..60)
        .map(|n| format!("x-{n}: {}\r\n", "y".repeat(1000)))
        .collect();
    let bodies = [thousand, million, wide].map(|t| chunked(&format!("5\r\nhello\r\n0\r\n{t}\r\n")));
    stand.breaks_off(bodies);
}

#[test]
fn ch_10_trailers_survive_between_the_protocols_both_ways() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        lane.forget();
        let mut client = H2Client::open(lane.address);
        let mut stream = client.stream("POST", "/x?trailers=1", &["te: trailers"]);
        stream.send(b"hello".to_vec(), false).unwrap();
        stream
            .send_trailers(&[("x-check", "7"), ("content-length", "9"), ("host", "evil")])
            .unwrap();
        assert_eq!(stream.finish().unwrap().status, 200, "{}", lane.name);
        let seen = &lane.seen()[0];
        assert_eq!(lane.misframed(seen, "hello"), [""; 0], "{}", lane.name);
        assert_eq!(
            seen.trailers.0,
            [("x-check".to_owned(), "7".to_owned())],
            "{}",
            lane.name
        );
        if lane.http2 {
            assert_eq!(seen.header("te"), "trailers", "{}", lane.name);
            // And back, to a caller of either protocol.
            let mut conn = Conn::open(lane.address);
            let answer = conn.get("/x?trailers=1", &[]);
            assert!(answer.trailers.has("x-check"), "{}: {answer:?}", lane.name);
            let mut client = H2Client::open(lane.address);
            assert!(
                client.get("/x?trailers=1", &[]).trailers.has("x-check"),
                "{}",
                lane.name
            );
            let call = client.request(
                "POST",
                "/call",
                &["content-type: application/grpc", "te: trailers"],
                &grpc_frame(b"hi"),
            );
            assert_eq!(call.trailers.get("grpc-status"), Some("0"), "{}", lane.name);
        }
    }
}
