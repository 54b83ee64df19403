//! RL: request lines, targets, hosts and header lines.

use super::stand::{AFTER, Stand};
use crate::harness::{Conn, Proxy, Site};

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
fn rl_01_http_1_1_without_a_host_is_refused() {
    let stand = Stand::new();
    let lines = ["", "X: 1\r\n", "Host : t\r\n", "Hos: t\r\n", "Hostt: t\r\n", "X-Host: t\r\n", ":authority: t\r\n", "Host_: t\r\n"];
    stand.refuses(&[400], lines.map(with_lines));
    stand.refuses(&[400], ["GET http://t/x HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n"]);
}

#[test]
fn rl_02_anything_but_one_valid_host_is_refused() {
    let stand = Stand::new();
    let doubled = [
        "Host: t\r\nHost: t\r\n", "Host: t\r\nHost: evil\r\n", "Host: t\r\nX: 1\r\nhost: t\r\n", "Host: t\r\nHost:\r\n",
        "Host:\r\nHost: t\r\n", "HOST: t\r\nhost: T\r\n",
    ];
    stand.refuses(&[400], doubled.map(with_lines));
    let values = [
        "", " ", "a, b", "a,b", "a b", "a\tb", "u@h", "u:p@h", "@h", "h/x", "/", "h/", "h\\x", "\\h", "h?x", "h#x", "http://h",
        "h:", ":80", ":", "h:x", "h:8o", "h:-1", "h:+80", "h: 80", "h:80:80", "h:65536", "h:99999999999", "h:80x", "[", "]", "[]",
        "[::1", "::1", "::1]", "[::1]]", "[::1]x", "[::1]:x", "[::g]", "[1.2.3.4]", "[v1.x]", "[::1%25eth0]", "[::1%eth0]", "h\0",
        "\u{0}h", "h\u{7f}", "h\u{1}", "h\u{e9}", "\u{c3}\u{a9}", "h%41", "%00", "h%", "h!", "h$", "h&", "h'", "h(", "h)", "h*", "*",
        "h+", "h;x", "h=x", "\"h\"", "<h>", "h|x", "h^x", "h`x", "{h}", "h\u{b}", "..", ".", "h..x", ".h", "*.h", "a;b", "h\u{a0}",
    ];
    // A port may be empty (RFC 3986 §3.2.3), and names of one dot or two are names.
    let plain = ["h:", ".", "..", "h..x", ".h"];
    let bad = values.iter().filter(|v| !plain.contains(v));
    stand.refuses(&[400], bad.clone().map(|v| with_lines(&format!("Host: {v}\r\n"))));
    stand.refuses_on(
        |l| !l.http2,
        &[400],
        bad.map(|v| latin(&format!("GET http://t/x HTTP/1.1\r\nHost: {v}\r\n\r\n"))),
    );
}

#[test]
fn rl_03_the_host_of_an_absolute_target_is_the_one_that_counts() {
    let stand = Stand::new();
    for (target, host, line) in [
        ("http://a.com/x", "a.com", "GET /x"),
        ("http://a.com:8080/x?q", "a.com:8080", "GET /x?q"),
        ("HTTP://A.com/x", "A.com", "GET /x"),
        ("http://a.com", "a.com", "GET /"),
        ("http://a.com?q", "a.com", "GET /?q"),
        ("http://[::1]:80/x", "[::1]:80", "GET /x"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: b.com\r\n\r\n");
        for passed in stand.passes(text, line, "") {
            let name = if passed.http2 { ":authority" } else { "host" };
            assert_eq!(passed.seen.fields.all(name), [host], "{}: {target}", passed.lane);
            assert_eq!(passed.seen.header("x-forwarded-host"), host, "{}: {target}", passed.lane);
        }
    }
    let bad = ["http://u@a.com/x", "http://u:p@a.com/x", "http:///x", "http://", "http:/x", "http:x", "http://a b/x", "http://a.com:x/", "http://a.com:65536/x", "http://[::1/x", "http://a,b/x", "http://:80/x", "http://a.com\\x", "//a.com/x?http://"];
    stand.refuses(&[400], bad[..bad.len() - 1].iter().map(|t| get(t)));
}

#[test]
fn rl_03_routes_look_at_the_host_of_the_target() {
    let v1 = crate::harness::Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]).with(
        "routes",
        "\n  - { name: a, match: { hosts: [a.com] }, service: app, rules: [] }\n  - { name: b, match: { hosts: [b.com] }, respond: { status: 418 } }",
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    conn.send("GET http://a.com/x HTTP/1.1\r\nHost: b.com\r\n\r\n");
    assert_eq!(conn.answer().status, 200);
    conn.send("GET http://b.com/x HTTP/1.1\r\nHost: a.com\r\n\r\n");
    assert_eq!(conn.answer().status, 418);
    assert_eq!(v1.recent().len(), 1);
}

#[test]
fn rl_04_another_scheme_than_http_is_refused_on_a_plain_listener() {
    let stand = Stand::new();
    let targets = [
        "https://a.com/x", "HTTPS://a.com/x", "ftp://a.com/x", "ws://a.com/x", "wss://a.com/x", "file:///etc/passwd",
        "javascript://a.com/x", "gopher://a.com/x", "httpx://a.com/x", "http+unix://a/x", "h2://a.com/x", "x://a.com/x", "mailto:a@b.com",
        "data:text/plain,x", "urn:x:y",
    ];
    stand.refuses(&[400, 421], targets.map(get));
}

#[test]
fn rl_05_an_asterisk_is_for_options_alone() {
    let stand = Stand::new();
    for passed in stand.passes("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", "OPTIONS *", "") {
        assert_eq!(passed.answer.status, 200, "{}", passed.lane);
    }
    // An absolute target without a path is the same (RFC 9112 §3.2.4).
    stand.passes("OPTIONS http://t HTTP/1.1\r\nHost: t\r\n\r\n", "OPTIONS *", "");
    stand.passes("OPTIONS http://t/ HTTP/1.1\r\nHost: t\r\n\r\n", "OPTIONS /", "");
    let others = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND", "options"];
    stand.refuses(&[400], others.map(|m| format!("{m} * HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")));
    stand.refuses(&[400], ["OPTIONS ** HTTP/1.1\r\nHost: t\r\n\r\n", "OPTIONS *a HTTP/1.1\r\nHost: t\r\n\r\n", "OPTIONS *?a HTTP/1.1\r\nHost: t\r\n\r\n", "GET *x HTTP/1.1\r\nHost: t\r\n\r\n"]);
}

#[test]
fn rl_06_connect_is_refused_and_what_follows_is_no_request() {
    let stand = Stand::new();
    let targets = ["h:443", "h", "t:80", "127.0.0.1:22", "[::1]:443", "/x", "http://h/x", "*", "h:443/x"];
    stand.refuses(&[400, 405], targets.map(|t| format!("CONNECT {t} HTTP/1.1\r\nHost: t\r\n\r\n")));
    stand.refuses(&[405], ["CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"]);
    stand.refuses(&[400, 405], ["CONNECT h:443 HTTP/1.0\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"]);
}

#[test]
fn rl_07_trace_is_refused() {
    let stand = Stand::new();
    for lane in &stand.lanes {
        for text in [
            "TRACE /x HTTP/1.1\r\nHost: t\r\nCookie: secret\r\n\r\n",
            "TRACE /x HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n",
            "TRACE * HTTP/1.1\r\nHost: t\r\n\r\n",
            "TRACE http://t/ HTTP/1.1\r\nHost: t\r\n\r\n",
        ] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(text);
            let answer = conn.answer();
            assert_eq!(answer.status, 405, "{}: {text:?}", lane.name);
            assert!(!answer.text().contains("secret"), "nothing is echoed");
            assert!(!answer.header("allow").contains("TRACE") && !answer.header("allow").is_empty());
            assert!(lane.seen().is_empty() && lane.is_well(), "{}", lane.name);
        }
    }
}

#[test]
fn rl_08_a_target_with_bytes_that_no_target_has_is_refused() {
    let stand = Stand::new();
    let targets = [
        "/a#frag", "/#", "#", "/a?b#c", "/a#b?c", "/#/../admin", "http://t/a#b", "/a b", "/a?b c", "/a\tb", "/a\\b", "\\a", "/\\",
        "/a\\..\\b", "/\\/evil.com", "a", "foo", "foo/bar", "t:80", "t", "?a", "?", ".", "..", "../x", "", "%2F", "%2f..", ":80",
        "&", "/%", "/%1", "/%zz", "/%g1", "/%1g", "/%%20", "/a%", "/a%2", "/%00", "/a%00b", "/%u002e",
    ];
    stand.refuses(&[400], targets.map(get));
    let mut controls = Vec::new();
    for byte in (0u8..0x20).chain([0x7f]) {
        let c = char::from(byte);
        controls.push(format!("/a{c}b"));
        controls.push(format!("/a?b={c}"));
    }
    // Two of them end the line: what is left of it is no request line.
    stand.refuses_on(|l| !l.http2, &[400, 505], controls.iter().map(|t| get(t)));
    let wild: Vec<String> = ["/\u{e9}", "/\u{c3}\u{a9}", "/a?\u{c3}\u{a9}", "/\u{ff}", "/\u{80}", "/\u{c0}\u{ae}\u{c0}\u{ae}/x", "/a?b=\u{a0}", "http://t/\u{c3}\u{a9}"]
        .map(str::to_owned)
        .to_vec();
    stand.refuses_on(|l| l.edge, &[400], wild.iter().map(|t| get(t)));
}

#[test]
fn rl_08_what_is_let_through_is_matched_and_forwarded_as_the_same_bytes() {
    let stand = Stand::new();
    for (sent, forwarded) in [
        ("/a?b=c", "/a?b=c"), ("/a?", "/a?"), ("/a?b?c=/../d", "/a?b?c=/../d"), ("/a?%zz", "/a?%zz"), ("/a?x=%00", "/a?x=%00"),
        ("/a?b=%23&c=%2f", "/a?b=%23&c=%2f"), ("/a?a=1;a=2&a=3", "/a?a=1;a=2&a=3"), ("/a{b}|c", "/a%7Bb%7D%7Cc"), ("/%41", "/A"),
        ("/a?b=\\|{}^`", "/a?b=\\|{}^`"), ("/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="), ("/%e9", "/%E9"),
    ] {
        stand.passes(get(sent), &format!("GET {forwarded}"), "");
    }
}

#[test]
fn rl_09_one_normal_path_is_matched_and_forwarded() {
    let spellings = [
        "/a/../admin", "/./admin", "/admin/.", "/a/./../admin", "//admin", "///admin", "/a//../admin", "/a/b/../../admin", "/../admin",
        "/../../admin", "/%2e%2e/admin", "/%2E%2e/admin", "/a/%2e%2e/admin", "/a/.%2e/admin", "/a/%2e./admin", "/%2e/admin", "/%61dmin",
        "/a/..//admin", "/adm%69n", "/a;x=1/../admin", "/a%3bx/../admin", "/./../admin", "/a/b/c/../../../admin", "/.//admin", "http://t/a/../admin",
        "http://t//admin",
    ];
    // What is open, and what is closed: whoever gets past sees the version's answer.
    let site = |site: Site| {
        let mut routes = String::new();
        for n in 0..4 {
            routes += &format!(
                "\n  - {{ name: closed{n}, match: {{ listener: in{n}, path: {{ prefix: /admin }} }}, respond: {{ status: 403 }} }}\n  \
                 - {{ name: open{n}, match: {{ listener: in{n} }}, service: s{n}, rules: [] }}"
            );
        }
        site.with("routes", &routes)
    };
    let stand = Stand::with("", site);
    for lane in &stand.lanes {
        lane.forget();
        for target in spellings {
            let mut conn = Conn::open(lane.address);
            conn.send(get(target));
            assert_eq!(conn.answer().status, 403, "{}: {target}", lane.name);
        }
        assert!(lane.seen().is_empty(), "{}: {:?}", lane.name, lane.seen());
    }
    for (sent, forwarded) in [
        ("/admin/../a", "/a"), ("/a/..", "/"), ("/a/../", "/"), ("/a/.", "/a/"), ("/a//b", "/a/b"), ("/a/...", "/a/..."), ("/a/..b", "/a/..b"),
        ("/a/b..", "/a/b.."), ("/%252e%252e/admin", "/%252e%252e/admin"), ("/a;x=1/b", "/a;x=1/b"), ("/.a", "/.a"), ("/a%20b", "/a%20b"),
        ("/ADMIN", "/ADMIN"), ("/Admin", "/Admin"),
    ] {
        stand.passes(get(sent), &format!("GET {forwarded}"), "");
    }
    // Some read a parameter off a dot segment and then climb.
    stand.refuses(&[400], ["/a/..;/admin", "/a/..;x=1/admin", "/..;/admin", "/.;/admin", "/a/.;x", "/%2e%2e;/admin", "/a/.%2e;a=b/x"].map(get));
    let slashes = ["/a%2fb", "/a%2Fb", "/%2fadmin", "/a/..%2fadmin", "/a%2f..%2fadmin", "/a%5cb", "/a%5C..%5cadmin", "/..%5cadmin", "/%2F", "/%5c"];
    stand.refuses_on(|l| l.edge, &[400], slashes.map(get));
    for lane in stand.lanes.iter().filter(|l| !l.edge) {
        for target in ["/a%2fb", "/a%2Fb", "/a%2f..%2fadmin", "/a/..%2fadmin"] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(get(target));
            assert_eq!(conn.answer().status, 200, "{}: {target}", lane.name);
            assert_eq!(lane.seen()[0].target, target.replace("%2f", "%2F"), "{}", lane.name);
        }
    }
}

#[test]
fn rl_10_lines_end_in_cr_lf_alone() {
    let stand = Stand::new();
    stand.refuses(
        &[400],
        [
            "GET /x HTTP/1.1\nHost: t\n\n", "GET /x HTTP/1.1\nHost: t\r\n\r\n", "GET /x HTTP/1.1\r\nHost: t\n\r\n", "GET /x HTTP/1.1\r\nHost: t\nX: 1\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: t\r\nX: 1\n\r\n", "GET /x HTTP/1.1\rHost: t\r\r", "GET /x HTTP/1.1\r\nHost: t\r\rX: 1\r\n\r\n", "GET /x HTTP/1.1\r\nHost: t\r\nX: 1\ry\r\n\r\n",
            "GET /x HTTP/1.1\r\r\nHost: t\r\n\r\n", "GET /x HTTP/1.1\n\rHost: t\n\r\n\r", "\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n", "\rGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\r\n\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n", "\n\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n", " GET /x HTTP/1.1\r\nHost: t\r\n\r\n", "\tGET /x HTTP/1.1\r\nHost: t\r\n\r\n",
            "\r\n GET /x HTTP/1.1\r\nHost: t\r\n\r\n", "GET /x HTTP/1.1\r\n Host: t\r\n\r\n", "GET /x HTTP/1.1\r\n\tHost: t\r\n\r\n", "GET /x HTTP/1.1\r\n \r\nHost: t\r\n\r\n",
            "GET /x HTTP/1.1\r\n X: y\r\nHost: t\r\n\r\n", "GET /x HTTP/1.1\r\n \tX: y\r\nHost: t\r\n\r\n", "GET /x HTTP/1.1\r\nHost: t\r\n \r\n\r\n", "GET /x HTTP/1.1\r\nHost: t\r\n\n",
            "\0GET /x HTTP/1.1\r\nHost: t\r\n\r\n", "\u{feff}GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
    stand.passes("\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n", "GET /x", "");
    stand.passes("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\r\n", "POST /x", "hello");
}

#[test]
fn rl_11_a_version_that_is_not_spoken_is_refused() {
    let stand = Stand::new();
    let versions = [
        "http/1.1", "Http/1.1", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/01.1", "HTTP/1.01", "HTTP/1.10", "HTTP/1.11", "HTTP/1.2", "HTTP/1.9", "HTTP/2", "HTTP/2.0", "HTTP/3.0", "HTTP/0.9",
        "HTTP/0.0", "HTTP/9.9", "HTTP/10.1", "HTTP/11", "HTTP 1.1", "HTTP/1,1", "HTTP/1.1.1", "HTTP/1.x", "HTTP/x.1", "HTTP/-1.1", "HTTP/+1.1", "HTTP/ 1.1", "HTTP /1.1", "HTTPS/1.1", "HTP/1.1",
        "ICY/1.1", "HTTP/1.1 ", "HTTP/1.1\t", "HTTP/1.1 x", "HTTP/1.1x", " HTTP/1.1", "\tHTTP/1.1", "HTTP/1.1\0", "HTTP\\1.1", "", "1.1", "HTTP", "HTTP/", "RTSP/1.0", "SIP/2.0", "HTTP/1\u{b7}1",
    ];
    stand.refuses(&[400, 505], versions.map(|v| latin(&format!("GET /x {v}\r\nHost: t\r\n\r\n"))));
    stand.refuses(&[400, 505], ["GET /x\r\n\r\n", "GET /x\r\n", "GET\r\n\r\n", "GET /x\r\nHost: t\r\n\r\n", "/x HTTP/1.1\r\nHost: t\r\n\r\n", "GET  /x HTTP/1.1\r\nHost: t\r\n\r\n", "GET /x  HTTP/1.1\r\nHost: t\r\n\r\n", "GET\t/x\tHTTP/1.1\r\nHost: t\r\n\r\n", "GET\u{b}/x HTTP/1.1\r\nHost: t\r\n\r\n"]);
}

#[test]
fn rl_12_a_method_is_passed_as_it_is_written_or_refused() {
    let stand = Stand::new();
    for method in ["get", "Get", "gET", "PROPFIND", "M-SEARCH", "FOO", "x", "!#$%&'*+-.^_`|~", "CONNECTX", "TRACER", "connect", "trace"] {
        stand.passes(format!("{method} /x HTTP/1.1\r\nHost: t\r\n\r\n"), &format!("{method} /x"), "");
    }
    let bad = ["G(T", "G)T", "G<T", "G>T", "G@T", "G,T", "G;T", "G:T", "G\\T", "G\"T", "G/T", "G[T", "G]T", "G?T", "G=T", "G{T", "G}T", "", "G\0T", "G\u{7f}T", "G\u{e9}T", "\"GET\"", "G\tT", "GE\u{b}T"];
    stand.refuses(&[400, 505], bad.map(|m| latin(&format!("{m} /x HTTP/1.1\r\nHost: t\r\n\r\n"))));
    let long = "G".repeat(100 * 1024);
    stand.refuses(&[400], [long.clone(), format!("{long} /x HTTP/1.1\r\nHost: t\r\n\r\n"), "x".repeat(1 << 20)]);
}

#[test]
fn rl_13_what_is_over_a_limit_is_refused_by_its_own_status() {
    let stand = Stand::with("limits: { header_bytes: 8KiB, header_count: 20, target_bytes: 1KiB, body_bytes: 1KiB }", |s| s);
    let long = "a".repeat(1024);
    stand.refuses(&[414], [get(&format!("/{long}")), get(&format!("/x?{long}")), get(&format!("/{}", "a".repeat(9000))), get(&format!("/{}", "a".repeat(1 << 20))), get(&format!("http://t/{long}"))]);
    let lines: String = (0..20).map(|n| format!("X-{n}: y\r\n")).collect();
    let same: String = (0..20).map(|_| "X: y\r\n").collect();
    let many: String = (0..2000).map(|n| format!("X{n}:\r\n")).collect();
    stand.refuses(
        &[431],
        [with_line(lines.trim_end()), with_line(same.trim_end()), with_line(many.trim_end()), with_line(&format!("X: {}", "y".repeat(8192))), with_line(&format!("X: {}", "y".repeat(1 << 20))), with_line(&format!("{}: y", "x".repeat(9000)))],
    );
    let body = "b".repeat(1025);
    stand.refuses(&[413], [format!("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1025\r\n\r\n{body}"), "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551615\r\n\r\n".to_owned()]);
    let chunks = format!("POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n");
    stand.breaks_off([chunks]);
    for lane in &stand.lanes {
        let mut conn = Conn::open(lane.address);
        conn.send(format!("POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(conn.answer().status, 413, "{}", lane.name);
    }
    let fits = "b".repeat(1024);
    stand.passes(format!("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1024\r\n\r\n{fits}"), "POST /x", &fits);
    let target = format!("/{}", "a".repeat(1023));
    stand.passes(get(&target), &format!("GET {target}"), "");
}

#[test]
fn rl_14_a_folded_line_is_refused() {
    let stand = Stand::new();
    let folds = [
        "X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", "X: a\r\n ", "X: a\r\n \r\n b", "X: a\r\n  Y: b", "Transfer-Encoding: chunked\r\n ", "Transfer-Encoding:\r\n chunked", "Content-Length: 5\r\n 0",
        "Content-Length:\r\n 5", "Expect: 100-\r\n continue", "Expect:\r\n 100-continue", "Connection: close\r\n , X", "Host2: a\r\n Host: b", "Cookie: a=b;\r\n c=d", "X-User-Id: 1\r\n 2",
    ];
    stand.refuses(&[400], folds.map(with_line));
    stand.refuses(&[400], ["GET /x HTTP/1.1\r\nHost: t\r\n u\r\n\r\n", "GET /x HTTP/1.1\r\nHost:\r\n t\r\n\r\n", "GET /x\r\n HTTP/1.1\r\nHost: t\r\n\r\n"]);
}

#[test]
fn rl_15_a_line_without_a_proper_name_is_refused() {
    let stand = Stand::new();
    let lines = [
        ": x", ":", "::", " : x", "X", "X y", "X : y", "X\t: y", "X  : y", "[X]: y", "X[0]: y", "(X): y", "X,Y: z", "X;Y: z", "X/Y: z", "X=Y: z", "X@Y: z", "X Y: z", "\"X\": y", "<X>: y", "{X}: y", "X?: y",
        "X\\: y", "\u{e9}: y", "X\u{e9}: y", "\u{c3}\u{a9}: y", "X\0: y", "\0: y", "X\u{b}: y", "X\u{7f}: y", "X\u{1}Y: z", "\u{ff}: y", "= y", "X=y", "GET /smuggled HTTP/1.1", "HTTP/1.1 200 OK", ":path: /smuggled", ":method: POST",
    ];
    stand.refuses(&[400], lines.map(with_line));
    stand.refuses(&[400], lines.map(|l| with_lines(&format!("{l}\r\nHost: t\r\n"))));
}

#[test]
fn rl_16_a_value_with_a_control_byte_is_refused() {
    let stand = Stand::new();
    let mut lines = Vec::new();
    for byte in (0u8..0x20).chain([0x7f]).filter(|b| !matches!(b, b'\t' | b'\n' | b'\r')) {
        let c = char::from(byte);
        lines.extend([format!("X: {c}"), format!("X: a{c}b"), format!("X:{c}a"), format!("X: a{c}")]);
    }
    lines.extend(["X: a\rb", "X: a\nb", "X: a\r", "X: \r", "X: a\n", "X: a\rGET /smuggled HTTP/1.1", "X: a\nY: b", "X: a\r\rY: b", "X: a\n\nGET /smuggled HTTP/1.1"].map(str::to_owned));
    stand.refuses_on(|l| !l.http2, &[400], lines.iter().map(|l| with_line(l)));
    // What is no control byte is the version's to read.
    for passed in stand.passes(with_line("X: a\tb \u{e9}\u{ff}"), "GET /x", "") {
        assert!(passed.seen.header("x").starts_with("a\tb "), "{}", passed.lane);
    }
}

#[test]
fn rl_17_a_request_without_a_host_is_logged_and_harms_nobody() {
    let stand = Stand::with("", |site| site.with("access_log", "{ output: stdout, sample: { success: 100%, failure: 100% } }"));
    for lane in &stand.lanes {
        for text in ["GET /nohost10 HTTP/1.0\r\n\r\n", "GET /nohost10 HTTP/1.0\r\nHost:\r\n\r\n"] {
            lane.forget();
            let heard = lane.say(text.as_bytes());
            let status = heard.statuses()[0];
            assert!(matches!(status, 200 | 400), "{}: {text:?} {status}", lane.name);
            for seen in lane.seen() {
                let hosts = seen.fields.all(if lane.http2 { ":authority" } else { "host" });
                assert_eq!(hosts.len(), 1, "{}: a later protocol names a host", lane.name);
            }
        }
        for text in ["GET /nohost11 HTTP/1.1\r\n\r\n", "GET http://t/nohost11 HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n"] {
            let heard = lane.say(&[text.as_bytes(), AFTER].concat());
            assert_eq!(heard.statuses(), [400], "{}: {text:?}", lane.name);
        }
        assert!(lane.is_well(), "{}", lane.name);
    }
    stand.proxy.logs(&["/nohost10"]);
    stand.proxy.logs(&["/nohost11"]);
}
