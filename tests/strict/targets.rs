//! RL-01 to RL-09: hosts, targets, methods that are not for everybody, and one path.

use super::stand::Stand;
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

#[test]
fn rl_01_http_1_1_without_a_host_is_refused() {
    let stand = Stand::new();
    let lines = [
        "",
        "X: 1\r\n",
        "Host : t\r\n",
        "Hos: t\r\n",
        "Hostt: t\r\n",
        "X-Host: t\r\n",
        ":authority: t\r\n",
        "Host_: t\r\n",
    ];
    stand.refuses(&[400], lines.map(with_lines));
    stand.refuses(
        &[400],
        [
            "GET http://t/x HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
        ],
    );
}

#[test]
fn rl_02_anything_but_one_valid_host_is_refused() {
    let stand = Stand::new();
    let doubled = [
        "Host: t\r\nHost: t\r\n",
        "Host: t\r\nHost: evil\r\n",
        "Host: t\r\nX: 1\r\nhost: t\r\n",
        "Host: t\r\nHost:\r\n",
        "Host:\r\nHost: t\r\n",
        "HOST: t\r\nhost: T\r\n",
    ];
    stand.refuses(&[400], doubled.map(with_lines));
    let values = [
        "",
        " ",
        "a, b",
        "a,b",
        "a b",
        "a\tb",
        "u@h",
        "u:p@h",
        "@h",
        "h/x",
        "/",
        "h/",
        "h\\x",
        "\\h",
        "h?x",
        "h#x",
        "http://h",
        "h:",
        ":80",
        ":",
        "h:x",
        "h:8o",
        "h:-1",
        "h:+80",
        "h: 80",
        "h:80:80",
        "h:65536",
        "h:99999999999",
        "h:80x",
        "[",
        "]",
        "[]",
        "[::1",
        "::1",
        "::1]",
        "[::1]]",
        "[::1]x",
        "[::1]:x",
        "[::g]",
        "[1.2.3.4]",
        "[v1.x]",
        "[::1%25eth0]",
        "[::1%eth0]",
        "h\0",
        "\u{0}h",
        "h\u{7f}",
        "h\u{1}",
        "h\u{e9}",
        "\u{c3}\u{a9}",
        "h%41",
        "%00",
        "h%",
        "h!",
        "h$",
        "h&",
        "h'",
        "h(",
        "h)",
        "h*",
        "*",
        "h+",
        "h;x",
        "h=x",
        "\"h\"",
        "<h>",
        "h|x",
        "h^x",
        "h`x",
        "{h}",
        "h\u{b}",
        "..",
        ".",
        "h..x",
        ".h",
        "*.h",
        "a;b",
        "h\u{a0}",
    ];
    // A port may be empty (RFC 3986 §3.2.3), and names of one dot or two are names.
    let plain = ["h:", ".", "..", "h..x", ".h"];
    let bad = values.iter().filter(|v| !plain.contains(v));
    stand.refuses(
        &[400],
        bad.clone().map(|v| with_lines(&format!("Host: {v}\r\n"))),
    );
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
            assert_eq!(
                passed.seen.fields.all(name),
                [host],
                "{}: {target}",
                passed.lane
            );
            assert_eq!(
                passed.seen.header("x-forwarded-host"),
                host,
                "{}: {target}",
                passed.lane
            );
        }
    }
    let bad = [
        "http://u@a.com/x",
        "http://u:p@a.com/x",
        "http:///x",
        "http://",
        "http:/x",
        "http:x",
        "http://a b/x",
        "http://a.com:x/",
        "http://a.com:65536/x",
        "http://[::1/x",
        "http://a,b/x",
        "http://:80/x",
        "http://a.com\\x",
        "//a.com/x?http://",
    ];
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
        "https://a.com/x",
        "HTTPS://a.com/x",
        "ftp://a.com/x",
        "ws://a.com/x",
        "wss://a.com/x",
        "file:///etc/passwd",
        "javascript://a.com/x",
        "gopher://a.com/x",
        "httpx://a.com/x",
        "http+unix://a/x",
        "h2://a.com/x",
        "x://a.com/x",
        "mailto:a@b.com",
        "data:text/plain,x",
        "urn:x:y",
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
    stand.passes(
        "OPTIONS http://t HTTP/1.1\r\nHost: t\r\n\r\n",
        "OPTIONS *",
        "",
    );
    stand.passes(
        "OPTIONS http://t/ HTTP/1.1\r\nHost: t\r\n\r\n",
        "OPTIONS /",
        "",
    );
    let others = [
        "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND", "options",
    ];
    stand.refuses(
        &[400],
        others.map(|m| format!("{m} * HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")),
    );
    stand.refuses(
        &[400],
        [
            "OPTIONS ** HTTP/1.1\r\nHost: t\r\n\r\n",
            "OPTIONS *a HTTP/1.1\r\nHost: t\r\n\r\n",
            "OPTIONS *?a HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET *x HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn rl_06_connect_is_refused_and_what_follows_is_no_request() {
    let stand = Stand::new();
    let targets = [
        "h:443",
        "h",
        "t:80",
        "127.0.0.1:22",
        "[::1]:443",
        "/x",
        "http://h/x",
        "*",
        "h:443/x",
    ];
    stand.refuses(
        &[400, 405],
        targets.map(|t| format!("CONNECT {t} HTTP/1.1\r\nHost: t\r\n\r\n")),
    );
    stand.refuses(&[405], ["CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"]);
    stand.refuses(
        &[400, 405],
        [
            "CONNECT h:443 HTTP/1.0\r\n\r\n",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ],
    );
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
            assert!(
                !answer.header("allow").contains("TRACE") && !answer.header("allow").is_empty()
            );
            assert!(lane.seen().is_empty() && lane.is_well(), "{}", lane.name);
        }
    }
}

#[test]
fn rl_08_a_target_with_bytes_that_no_target_has_is_refused() {
    let stand = Stand::new();
    let targets = [
        "/a#frag",
        "/#",
        "#",
        "/a?b#c",
        "/a#b?c",
        "/#/../admin",
        "http://t/a#b",
        "/a b",
        "/a?b c",
        "/a\tb",
        "/a\\b",
        "\\a",
        "/\\",
        "/a\\..\\b",
        "/\\/evil.com",
        "a",
        "foo",
        "foo/bar",
        "t:80",
        "t",
        "?a",
        "?",
        ".",
        "..",
        "../x",
        "",
        "%2F",
        "%2f..",
        ":80",
        "&",
        "/%",
        "/%1",
        "/%zz",
        "/%g1",
        "/%1g",
        "/%%20",
        "/a%",
        "/a%2",
        "/%00",
        "/a%00b",
        "/%u002e",
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
    let wild: Vec<String> = [
        "/\u{e9}",
        "/\u{c3}\u{a9}",
        "/a?\u{c3}\u{a9}",
        "/\u{ff}",
        "/\u{80}",
        "/\u{c0}\u{ae}\u{c0}\u{ae}/x",
        "/a?b=\u{a0}",
        "http://t/\u{c3}\u{a9}",
    ]
    .map(str::to_owned)
    .to_vec();
    stand.refuses_on(|l| l.edge, &[400], wild.iter().map(|t| get(t)));
}

#[test]
fn rl_08_what_is_let_through_is_matched_and_forwarded_as_the_same_bytes() {
    let stand = Stand::new();
    for (sent, forwarded) in [
        ("/a?b=c", "/a?b=c"),
        ("/a?", "/a?"),
        ("/a?b?c=/../d", "/a?b?c=/../d"),
        ("/a?%zz", "/a?%zz"),
        ("/a?x=%00", "/a?x=%00"),
        ("/a?b=%23&c=%2f", "/a?b=%23&c=%2f"),
        ("/a?a=1;a=2&a=3", "/a?a=1;a=2&a=3"),
        ("/a{b}|c", "/a%7Bb%7D%7Cc"),
        ("/%41", "/A"),
        ("/a?b=\\|{}^`", "/a?b=\\|{}^`"),
        ("/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="),
        ("/%e9", "/%E9"),
    ] {
        stand.passes(get(sent), &format!("GET {forwarded}"), "");
    }
}

#[test]
fn rl_09_one_normal_path_is_matched_and_forwarded() {
    let spellings = [
        "/a/../admin",
        "/./admin",
        "/admin/.",
        "/a/./../admin",
        "//admin",
        "///admin",
        "/a//../admin",
        "/a/b/../../admin",
        "/../admin",
        "/../../admin",
        "/%2e%2e/admin",
        "/%2E%2e/admin",
        "/a/%2e%2e/admin",
        "/a/.%2e/admin",
        "/a/%2e./admin",
        "/%2e/admin",
        "/%61dmin",
        "/a/..//admin",
        "/adm%69n",
        "/a;x=1/../admin",
        "/a%3bx/../admin",
        "/./../admin",
        "/a/b/c/../../../admin",
        "/.//admin",
        "http://t/a/../admin",
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
        ("/admin/../a", "/a"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/.", "/a/"),
        ("/a//b", "/a/b"),
        ("/a/...", "/a/..."),
        ("/a/..b", "/a/..b"),
        ("/a/b..", "/a/b.."),
        ("/%252e%252e/admin", "/%252e%252e/admin"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/.a", "/.a"),
        ("/a%20b", "/a%20b"),
        ("/ADMIN", "/ADMIN"),
        ("/Admin", "/Admin"),
    ] {
        stand.passes(get(sent), &format!("GET {forwarded}"), "");
    }
    // Some read a parameter off a dot segment and then climb.
    stand.refuses(
        &[400],
        [
            "/a/..;/admin",
            "/a/..;x=1/admin",
            "/..;/admin",
            "/.;/admin",
            "/a/.;x",
            "/%2e%2e;/admin",
            "/a/.%2e;a=b/x",
        ]
        .map(get),
    );
    let slashes = [
        "/a%2fb",
        "/a%2Fb",
        "/%2fadmin",
        "/a/..%2fadmin",
        "/a%2f..%2fadmin",
        "/a%5cb",
        "/a%5C..%5cadmin",
        "/..%5cadmin",
        "/%2F",
        "/%5c",
    ];
    stand.refuses_on(|l| l.edge, &[400], slashes.map(get));
    for lane in stand.lanes.iter().filter(|l| !l.edge) {
        for target in ["/a%2fb", "/a%2Fb", "/a%2f..%2fadmin", "/a/..%2fadmin"] {
            lane.forget();
            let mut conn = Conn::open(lane.address);
            conn.send(get(target));
            assert_eq!(conn.answer().status, 200, "{}: {target}", lane.name);
            assert_eq!(
                lane.seen()[0].target,
                target.replace("%2f", "%2F"),
                "{}",
                lane.name
            );
        }
    }
}
