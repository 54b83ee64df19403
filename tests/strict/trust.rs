//! Whose word counts: strangers decide nothing about who they are, what they see, or what a rollout learns from them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::harness::{
    Backend, Conn, Echo, H2Client, Launch, Mood, Planned, Proxy, Site, command, eventually, soon,
    until,
};

const TELL: &str = r#"request_headers: { set: { x-rule: "{rule}" } }"#;
const LOUD: &str = "{ output: ./access.log, sample: { success: 100%, failure: 100% }, redact: { headers: [authorization, cookie], query: [token] } }";

/// A site with these rules on listeners of both profiles, the first one's peers trusted proxies.
fn site(v1: &Backend, v2: &Backend, rules: &str) -> Site {
    Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .with(
            "listeners",
            r#"
  - { name: in, address: "127.0.0.1:0" }
  - name: behind
    address: "127.0.0.2:0"
    client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.0/8", "10.0.0.0/8"] }
  - { name: mesh, address: "127.0.0.3:0", profile: sidecar }"#,
        )
        .route(TELL, rules)
}

fn two() -> (Backend, Backend) {
    (Backend::start("v1"), Backend::start("v2"))
}

/// What the version got of a GET with these lines.
#[track_caller]
fn got(proxy: &Proxy, listener: &str, lines: &[&str]) -> Echo {
    Echo::of(&Conn::open(proxy.address(listener)).get("/", lines))
}

/// The slot as the documentation gives it.
fn slot(user: &str, salt: &str) -> u64 {
    let hash = xxh3_64_with_seed(user.as_bytes(), xxh3_64(salt.as_bytes()));
    ((u128::from(hash) * 100_000) >> 64) as u64
}

#[test]
fn gr_01_a_stranger_names_no_version() {
    let (v1, v2) = two();
    let rules = r#"[
      { name: forced, when: { header: { name: x-tidegate-version, present: true } }, to: v2 },
      { name: tester, when: { user: { any_of: ["42"] } }, to: v2 },
      { name: rest, to: v1 }]"#;
    let proxy = Proxy::start(&site(&v1, &v2, rules));
    for line in [
        "x-tidegate-version: v2",
        "X-Tidegate-Version: v2",
        "x-tidegate-lane: v2",
        "x-tidegate-: v2",
        "x-tidegate-override: v2",
        "x-tidegate-route: v2",
        "x-user-id: 42",
        "X-USER-ID: 42",
    ] {
        let echo = got(&proxy, "in", &[line]);
        assert_eq!(
            (echo.version.as_str(), echo.header("x-rule")),
            ("v1", "rest"),
            "{line}"
        );
        let kept: Vec<_> = echo
            .fields
            .0
            .iter()
            .filter(|(_, v)| v == "v2" || v == "42")
            .collect();
        assert!(kept.is_empty(), "{line}: {kept:?}");
    }
}

#[test]
fn gr_02_no_spelling_of_it_counts_either() {
    let (v1, v2) = two();
    let rules = r#"[
      { name: forced, when: { any: [{ header: { name: x-tidegate-version, present: true } }, { header: { name: x_tidegate_version, present: true } }] }, to: v2 },
      { name: tester, when: { user: { any_of: ["42"] } }, to: v2 },
      { name: rest, to: v1 }]"#;
    let proxy = Proxy::start(&site(&v1, &v2, rules));
    for lines in [
        &["X_Tidegate_Version: v2"][..],
        &["x_tidegate-version: v2"],
        &["X-TIDEGATE_VERSION: v2"],
        &["Connection: x-tidegate-version", "x-tidegate-version: v2"],
        &["Connection: close, X-User-Id", "x-user-id: 42"],
        &["X_User_Id: 42"],
        &["x-user_id: 42", "x_user-id: 42"],
    ] {
        let echo = got(&proxy, "in", lines);
        assert_eq!(
            (echo.version.as_str(), echo.header("x-rule")),
            ("v1", "rest"),
            "{lines:?}"
        );
        let kept: Vec<_> = echo
            .fields
            .0
            .iter()
            .filter(|(_, v)| v == "v2" || v == "42")
            .collect();
        assert!(kept.is_empty(), "{lines:?}: {kept:?}");
    }
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: x-tidegate-version\r\n\r\n1\r\nx\r\n0\r\n");
    conn.send(
        "X-Tidegate-Version: v2\r\nX_Tidegate_Version: v2\r\nx-user-id: 42\r\nX-Fine: 1\r\n\r\n",
    );
    let echo = Echo::of(&conn.answer());
    assert_eq!(echo.version, "v1");
    let told: Vec<_> = echo
        .fields
        .0
        .iter()
        .chain(&echo.trailers.0)
        .filter(|(_, v)| v == "v2" || v == "42")
        .collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn gr_03_it_is_gone_also_where_nothing_takes_its_place() {
    let (v1, v2) = two();
    let proxy = Proxy::start(&site(&v1, &v2, "[{ name: rest, to: v1 }]").without("identity"));
    let echo = got(
        &proxy,
        "in",
        &[
            "x-tidegate-anything: 1",
            "x-real-ip: 6.6.6.6",
            "x-forwarded-port: 1",
        ],
    );
    for name in ["x-tidegate-anything", "x-real-ip", "x-forwarded-port"] {
        assert!(!echo.fields.has(name), "{name}: {:?}", echo.fields);
    }
}

#[test]
fn gr_04_a_strangers_word_about_addresses_is_replaced() {
    let (v1, v2) = two();
    let rules =
        r#"[{ name: office, when: { source: ["192.0.2.0/24"] }, to: v2 }, { name: rest, to: v1 }]"#;
    let proxy = Proxy::start(&site(&v1, &v2, rules));
    for lines in [
        &["X-Forwarded-For: 192.0.2.7"][..],
        &["X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 192.0.2.8"],
        &["Forwarded: for=192.0.2.7"],
        &["X-Real-IP: 192.0.2.7"],
        &["X_Forwarded_For: 192.0.2.7"],
        &["True-Client-IP: 192.0.2.7", "X-Client-IP: 192.0.2.7"],
        &["Connection: X-Forwarded-For", "X-Forwarded-For: 192.0.2.7"],
    ] {
        let echo = got(&proxy, "in", lines);
        assert_eq!(echo.header("x-rule"), "rest", "{lines:?}");
        assert_eq!(
            echo.fields.all("x-forwarded-for"),
            ["127.0.0.1"],
            "{lines:?}"
        );
        let told = format!("{:?}", echo.fields);
        assert!(!told.contains("192.0.2"), "{lines:?}: {told}");
    }
}

#[test]
fn gr_05_the_client_is_the_rightmost_that_no_trusted_proxy_wrote() {
    let (v1, v2) = two();
    let rules =
        r#"[{ name: office, when: { source: ["192.0.2.0/24"] }, to: v2 }, { name: rest, to: v1 }]"#;
    let proxy = Proxy::start(&site(&v1, &v2, rules));
    for (lines, rule) in [
        (
            &["X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.1"][..],
            "office",
        ),
        (&["X-Forwarded-For: 192.0.2.7, 6.6.6.6, 10.0.0.1"], "rest"),
        (
            &["X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 6.6.6.6"],
            "rest",
        ),
        (
            &[
                "X-Forwarded-For: 6.6.6.6",
                "X-Forwarded-For: 192.0.2.7, 10.1.1.1",
            ],
            "office",
        ),
        (&["X-Forwarded-For: 192.0.2.7, nonsense, 10.0.0.1"], "rest"),
        (&["X-Forwarded-For: 192.0.2.7, , 10.0.0.1"], "rest"),
        (&["X-Forwarded-For: 10.0.0.2, 10.0.0.1"], "rest"),
        (&["Forwarded: for=192.0.2.7"], "rest"),
        (&["X-Real-IP: 192.0.2.7"], "rest"),
    ] {
        let echo = got(&proxy, "behind", lines);
        assert_eq!(echo.header("x-rule"), rule, "{lines:?}");
    }
    let echo = got(&proxy, "behind", &["X-Forwarded-For: 6.6.6.6, 192.0.2.7"]);
    assert_eq!(
        echo.fields.all("x-forwarded-for"),
        ["6.6.6.6, 192.0.2.7, 127.0.0.1"],
        "added to, in one line"
    );
}

/// What proxies in front say of who is at the other end; a version must hear it from nobody else.
const HEARSAY: [&str; 26] = [
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Server: evil",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-User: evil",
    "X-Forwarded-Email: evil",
    "X-Forwarded-Client-Cert: By=evil",
    "X-Forwarded-Tls-Client-Cert: evil",
    "X-Forwarded-Tls-Client-Cert-Info: evil",
    "Forwarded: for=6.6.6.6;host=evil;proto=https",
    "X-Real-IP: 6.6.6.6",
    "X-SSL-Client-Cert: evil",
    "X-SSL-Client-Verify: SUCCESS",
    "X-SSL-Client-S-DN: CN=evil",
    "X-SSL-Client-SHA1: evil",
    "X-SSL: 1 evil",
    "X-Client-Cert: evil",
    "X-Client-Cert-DN: evil",
    "X-Client-Verify: evil",
    "X-ARR-ClientCert: evil",
    "Client-Cert: :evil:",
    "Client-Cert-Chain: :evil:",
    "SSL_CLIENT_CERT: evil",
    "SSL_CLIENT_VERIFY: evil",
    "SSL-Client-S-DN: evil",
];

#[test]
fn gr_06_what_only_a_proxy_can_know_is_believed_of_no_stranger() {
    let (v1, v2) = two();
    let rules = r#"[
      { name: secure, when: { any: [{ header: { name: x-forwarded-proto, exact: https } }, { header: { name: x-ssl-client-verify, present: true } }] }, to: v2 },
      { name: rest, to: v1 }]"#;
    let proxy = Proxy::start(&site(&v1, &v2, rules));
    let mut h2 = H2Client::open(proxy.address("in"));
    for line in HEARSAY {
        let (name, value) = line.split_once(": ").unwrap();
        for echo in [got(&proxy, "in", &[line]), Echo::of(&h2.get("/", &[line]))] {
            assert_eq!(
                echo.header("x-rule"),
                "rest",
                "{line}: before it could be matched on"
            );
            let told: Vec<_> = echo
                .fields
                .0
                .iter()
                .filter(|(_, v)| v.contains(value))
                .collect();
            assert!(told.is_empty(), "{line}: {told:?}");
            let plain = name.replace('_', "-").to_lowercase();
            let ours = [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "forwarded",
            ];
            let others = echo
                .fields
                .0
                .iter()
                .filter(|(n, _)| n.replace('_', "-").to_lowercase() == plain);
            let kept: Vec<_> = others
                .filter(|(n, _)| !ours.contains(&n.to_lowercase().as_str()))
                .collect();
            assert!(kept.is_empty(), "{line}: {kept:?}");
        }
        let behind = got(&proxy, "behind", &[line]);
        if !name.contains('_') {
            assert!(
                behind.fields.all(name).iter().any(|v| v.contains(value)),
                "{line}: a trusted proxy's word"
            );
            let mesh = got(&proxy, "mesh", &[line]);
            assert!(
                mesh.fields.all(name).iter().any(|v| v.contains(value)),
                "{line}: in a mesh"
            );
        }
    }
    let echo = got(
        &proxy,
        "in",
        &["x-forwarded-proto: https", "Host: shop.example"],
    );
    assert_eq!(echo.fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(echo.fields.all("x-forwarded-host"), ["shop.example"]);
}

#[test]
fn gr_07_no_cookie_names_a_version() {
    let (v1, v2) = two();
    let rules = "[{ name: all, split: { by: user, weights: { v1: 100%, v2: 0% } } }]";
    let site = site(&v1, &v2, rules).with("identity", "{ user: [{ assign_cookie: visitor }] }");
    let proxy = Proxy::start(&site);
    let garbage = "x".repeat(3000);
    for cookie in [
        "visitor=v2",
        "visitor=",
        "visitor=\"\"",
        "visitor=v2; visitor=v1",
        "tidegate=v2; version=v2; x-tidegate-version=v2; canary=always",
        &format!("visitor={garbage}"),
        "visitor=%00%0d%0a",
    ] {
        let answer = proxy.get("/", &[&format!("Cookie: {cookie}")]);
        assert_eq!((answer.status, answer.version()), (200, "v1"), "{cookie}");
        let given = answer.header("set-cookie");
        assert!(
            !given.contains("v2") && !given.contains('\r'),
            "{cookie}: {given}"
        );
    }
    // One that was given under another plan means nothing more than who it is.
    let given = proxy.get("/", &[]).header("set-cookie").to_owned();
    let pair = given.split(';').next().unwrap().to_owned();
    proxy.edit(&site.rules("[{ name: all, split: { by: user, weights: { v1: 0%, v2: 100% } } }]"));
    let answer = proxy.get("/", &[&format!("Cookie: {pair}")]);
    assert_eq!((answer.version(), answer.header("set-cookie")), ("v2", ""));
}

#[test]
fn gr_08_trying_names_finds_no_candidate() {
    let (v1, v2) = two();
    let rules = "[{ name: all, split: { by: user, weights: { v1: 50%, v2: 50% } } }]";
    let untrusting = site(&v1, &v2, rules);
    let proxy = Proxy::start(&untrusting);
    let lucky = (0..)
        .map(|n| format!("user-{n}"))
        .find(|user| slot(user, "app.all") < 50_000)
        .unwrap();
    let mut conn = proxy.connect();
    let line = format!("x-user-id: {lucky}");
    let versions: std::collections::BTreeSet<String> = (0..60)
        .map(|_| conn.get("/", &[&line]).version().to_owned())
        .collect();
    assert_eq!(
        versions.len(),
        2,
        "a name that would be the candidate's, if it counted"
    );
    let warned = command(&["check", "-"], &untrusting.yaml());
    let told = String::from_utf8_lossy(&warned.stdout).into_owned()
        + &String::from_utf8_lossy(&warned.stderr);
    assert!(told.contains("T904"), "{told}");
    let cookies = untrusting.with("identity", "{ user: [{ cookie: uid }] }");
    let warned = command(&["check", "-"], &cookies.yaml());
    let told = String::from_utf8_lossy(&warned.stdout).into_owned()
        + &String::from_utf8_lossy(&warned.stderr);
    assert!(told.contains("T905"), "{told}");
}

const HALF: &str = "stages: [{ weight: 50%, hold: 10m }, { weight: 100% }]";

#[test]
fn gr_09_one_attacker_takes_no_candidate_back() {
    let planned = Planned::by(&format!(
        "{HALF}, guard: {{ error_rate: {{ above: 20%, window: 60s, min_requests: 100 }} }}"
    ));
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let victim = (0..)
        .map(|n| format!("user-{n}"))
        .find(|user| slot(user, "shop-v2") < 50_000)
        .unwrap();
    let line = format!("x-user-id: {victim}");
    let mut conn = proxy.connect();
    // What the caller does wrong is the caller's.
    for status in [400, 401, 403, 404, 405, 409, 413, 418, 422, 429, 451] {
        for _ in 0..20 {
            assert_eq!(
                conn.get(&format!("/?status={status}"), &[&line]).version(),
                "v2"
            );
        }
    }
    // So is going away, with the request half sent, and before or in the middle of the answer.
    for turn in 0..60 {
        let mut conn = proxy.connect();
        match turn % 3 {
            0 => conn.send(format!(
                "POST / HTTP/1.1\r\nHost: t\r\n{line}\r\nContent-Length: 50\r\n\r\nx"
            )),
            1 => conn.send(format!(
                "GET /?delay=300 HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n"
            )),
            _ => conn.send(format!(
                "GET /?bytes=9000000 HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n"
            )),
        };
        std::thread::sleep(Duration::from_millis(5));
        conn.reset();
    }
    // And malformed requests.
    for _ in 0..60 {
        let mut conn = proxy.connect();
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\n{line}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        ));
        let _ = conn.try_answer();
    }
    proxy.stays("holding", 50.0);
    assert_eq!(
        proxy
            .metrics()
            .sum("tidegate_failures_total", &[("version", "v2")]),
        0.0
    );
}

#[test]
fn gr_09_one_client_is_one_user_to_the_comparison() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let victim = (0..)
        .map(|n| format!("user-{n}"))
        .find(|user| slot(user, "shop-v2") < 50_000)
        .unwrap();
    let line = format!("x-user-id: {victim}");
    let mut conn = proxy.connect();
    for _ in 0..400 {
        assert_eq!(conn.get("/?status=500", &[&line]).version(), "v2");
    }
    let seen = proxy.stays("holding", 50.0);
    assert_eq!(
        seen["guards"]["compare"]["errors"]["candidate_users"], 1,
        "{seen}"
    );
}

#[test]
fn gr_10_a_flood_on_stable_hides_no_bad_candidate() {
    let planned = Planned::by(&format!(
        "{HALF}, guard: {{ error_rate: {{ above: 20%, window: 60s, min_requests: 50 }} }}"
    ));
    let proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let of_stable = |from: u32| {
        (from..)
            .map(|n| format!("user-{n}"))
            .find(|user| slot(user, "shop-v2") >= 50_000)
            .unwrap()
    };
    let mut conn = proxy.connect();
    // Stable looks bad, from many names; and it gets ten times the requests.
    for n in 0..60 {
        let line = format!("x-user-id: {}", of_stable(n * 10));
        for _ in 0..5 {
            assert_eq!(conn.get("/?status=500", &[&line]).version(), "v1");
        }
    }
    planned.v2.turn(Mood::Fails(500));
    let users: Vec<String> = (0..)
        .map(|n| format!("user-{n}"))
        .filter(|user| slot(user, "shop-v2") < 50_000)
        .take(100)
        .collect();
    for user in &users {
        if proxy.rollout()["phase"] == "rolled_back" {
            break;
        }
        conn.get("/", &[&format!("x-user-id: {user}")]);
    }
    let back = proxy.reaches("rolled_back", 0.0);
    assert_eq!(
        back["cause"], "error_rate",
        "the absolute bound holds: {back}"
    );
}

#[test]
fn gr_11_there_is_no_token_that_overrides() {
    let (v1, v2) = two();
    let proxy = Proxy::start(&site(&v1, &v2, "[{ name: rest, to: v1 }]"));
    for line in [
        "x-tidegate-override: v2",
        "x-tidegate-token: v2",
        "x-tidegate-version: v2; exp=99999999999; sig=00",
        "x-gray-override: v2",
        "Authorization: Tidegate v2",
    ] {
        for listener in ["in", "behind", "mesh"] {
            assert_eq!(
                got(&proxy, listener, &[line]).version,
                "v1",
                "{line} on {listener}"
            );
        }
    }
    assert_eq!(
        proxy
            .get("/?tidegate-version=v2&x-tidegate-override=v2", &[])
            .version(),
        "v1"
    );
}

/// The status of a request to the admin API with these lines.
fn admin(
    proxy: &Proxy,
    method: &str,
    target: &str,
    lines: &[&str],
    body: &[u8],
) -> crate::harness::Answer {
    let mut conn = Conn::open(proxy.admin());
    conn.with_admin_host(proxy.admin())
        .request(method, target, lines, body)
}

#[test]
fn gr_12_no_page_of_a_browser_reaches_the_admin_api() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    let before = proxy.reaches("holding", 50.0);
    let own = proxy.admin().to_string();
    let orders = [
        "/api/v1/rollouts/shop-v2/rollback",
        "/api/v1/rollouts/shop-v2/pause",
        "/api/v1/rollouts/shop-v2/promote",
        "/api/v1/config/reload",
    ];
    let attacks: Vec<Vec<String>> = [
        &["Host: evil.example"][..],
        &["Host: evil.example:9900"],
        &["Host: 127.0.0.1.nip.io"],
        &["Host: localhost.evil.example"],
        &["Host: 2130706433"],
        &["Host: 0.0.0.0"],
        &["Host: 10.0.0.1"],
        &["Origin: http://evil.example"],
        &["Origin: null"],
        &["Origin: https://localhost.evil.example"],
        &["Origin: http://localhost:1", "Origin: http://evil.example"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        &["Content-Type: text/plain"],
        &[
            "Content-Type: text/plain;charset=UTF-8",
            "Sec-Fetch-Site: none",
        ],
        &["Content-Type: multipart/form-data; boundary=x"],
        &[
            "Content-Type: application/x-www-form-urlencoded",
            "Origin: http://{own}",
        ],
        &[
            "Content-Type: application/x-www-form-urlencoded",
            "Referer: http://evil.example/",
        ],
        &[
            "Content-Type: application/x-www-form-urlencoded",
            "Sec-Fetch-Site: same-origin",
        ],
    ]
    .iter()
    .map(|lines| {
        lines
            .iter()
            .map(|line| line.replace("{own}", &own))
            .collect()
    })
    .collect();
    for lines in &attacks {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        for target in orders {
            let answer = admin(&proxy, "POST", target, &lines, b"{}");
            assert!(
                matches!(answer.status, 400 | 403 | 415 | 421),
                "{target} {lines:?}: {}",
                answer.status
            );
            let has_cors = answer
                .fields
                .0
                .iter()
                .any(|(n, _)| n.to_lowercase().starts_with("access-control-"));
            assert!(!has_cors, "{:?}", answer.fields);
        }
    }
    for line in ["Origin: http://evil.example", "Origin: http://localhost"] {
        let answer = admin(
            &proxy,
            "OPTIONS",
            orders[0],
            &[line, "Access-Control-Request-Method: POST"],
            b"",
        );
        assert!(answer.status >= 400, "a preflight: {}", answer.status);
        assert!(!answer.fields.has("access-control-allow-origin"));
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for target in orders {
            let mut conn = Conn::open(proxy.admin());
            let answer = conn
                .with_admin_host(proxy.admin())
                .try_request(method, target, &[], b"")
                .unwrap();
            assert_eq!(answer.status, 405, "{method} {target}");
        }
    }
    for target in [
        "/api/v1/rollouts",
        "/api/v1/status",
        "/api/v1/config",
        "/metrics",
        "/openapi.json",
        "/api/v1/history",
    ] {
        assert_eq!(
            admin(&proxy, "GET", target, &[], b"").status,
            200,
            "{target}"
        );
    }
    let after = proxy.stays("holding", 50.0);
    assert_eq!(
        (&before["since"], &before["stage"]),
        (&after["since"], &after["stage"]),
        "nothing was done"
    );
    assert_eq!(proxy.revision(), 1);
    // Who sits here may still ask as curl does.
    let order = admin(
        &proxy,
        "POST",
        orders[1],
        &["Content-Type: application/x-www-form-urlencoded"],
        b"{}",
    );
    assert_eq!(order.status, 200, "{}", order.text());
}

#[test]
fn gr_12_slow_callers_of_the_admin_api_take_nobodys_turn() {
    let (v1, v2) = two();
    let proxy = Proxy::start(&site(&v1, &v2, "[{ name: rest, to: v1 }]"));
    let own = proxy.admin();
    let mut crowd: Vec<Conn> = Vec::new();
    for n in 0..300 {
        let Ok(mut conn) = Conn::try_open(own) else {
            continue;
        };
        match n % 3 {
            0 => conn.send("GET /api/v1/status HTTP/1.1\r\n"),
            1 => conn.send(format!(
                "POST /api/v1/explain HTTP/1.1\r\nHost: {own}\r\nContent-Length: 1000\r\n\r\n{{"
            )),
            _ => conn.send(""),
        };
        crowd.push(conn);
    }
    let start = Instant::now();
    assert_eq!(proxy.ask("GET", "/readyz", "").status, 200);
    assert_eq!(proxy.ask("GET", "/metrics", "").status, 200);
    assert!(
        start.elapsed() < soon(Duration::from_secs(3)),
        "{:?}",
        start.elapsed()
    );
    let big = format!(
        "GET / HTTP/1.1\r\nHost: {own}\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let mut conn = Conn::open(own);
    conn.send(big);
    assert!(
        conn.try_answer()
            .map_or(true, |answer| answer.status >= 400),
        "a head without bound"
    );
    let body = format!("{{\"method\":\"{}\"}}", "x".repeat(200_000));
    assert_eq!(
        admin(
            &proxy,
            "POST",
            "/api/v1/explain",
            &["Content-Type: application/json"],
            body.as_bytes()
        )
        .status,
        413
    );
    // A head has its time, and so has a body: none of the crowd is there for long.
    let mut slow = crowd.swap_remove(crowd.len() - 3);
    slow.patience(soon(Duration::from_secs(25)));
    let ended = slow.reader.take_rest();
    assert!(ended.is_ok(), "a head that never ends: {ended:?}");
    drop(crowd);
}

#[test]
fn gr_13_what_callers_invent_makes_no_series() {
    let (v1, v2) = two();
    let proxy = Proxy::start(&site(&v1, &v2, "[{ name: rest, to: v1 }]"));
    let mut conn = proxy.connect();
    let invent = |conn: &mut Conn, n: usize| {
        let lines = [
            format!("Host: h{n}.example"),
            format!("x-{n}: {n}"),
            format!("User-Agent: agent-{n}"),
            format!("Cookie: c{n}={n}"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        conn.request(
            &format!("M{n}"),
            &format!("/{n}?q={n}&status={}", 200 + n % 3),
            &lines,
            b"",
        );
    };
    (0..50).for_each(|n| invent(&mut conn, n));
    until("they are counted", || {
        proxy
            .metrics()
            .sum("tidegate_requests_total", &[("listener", "in")])
            >= 50.0
    });
    let before = proxy.metrics().samples.len();
    (50..10_000).for_each(|n| invent(&mut conn, n));
    let page = proxy.ask("GET", "/metrics", "").text();
    assert_eq!(proxy.metrics().samples.len(), before);
    for invented in ["h77", "M77", "agent-77", "/77", "c77"] {
        assert!(!page.contains(invented), "{invented}");
    }
}

/// Characters that must not stand in a log as they are.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[test]
fn gr_14_nobody_writes_into_a_log_but_what_he_said() {
    let (v1, v2) = two();
    let nasty = "a\u{1b}[31mred\u{202e}nimda\u{2066}x\u{2028}y\u{9b}z";
    // What a value may hold, and a terminal should not.
    let unseen = "user\u{202e}nimda\u{2066}x\u{2028}y\u{9b}31mz";
    for format in ["json", "text"] {
        let yaml = site(&v1, &v2, "[{ name: rest, to: v1 }]")
            .with("access_log", LOUD)
            .yaml();
        let launch = Launch::text(&yaml).after(&format!(
            "export TIDEGATE_LOG=debug TIDEGATE_TEST_FORMAT={format}"
        ));
        let proxy = launch.start();
        let address = proxy.address("in");
        let percent: String = nasty.bytes().map(|b| format!("%{b:02X}")).collect();
        for line in [
            format!("User-Agent: {unseen}"),
            format!("Referer: http://x/{unseen}"),
            format!("X-Request-ID: {nasty}"),
            format!("Host: {nasty}"),
            format!("{nasty}: 1"),
        ] {
            let mut conn = Conn::open(address);
            conn.send(format!(
                "GET /{percent}?{percent} HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n"
            ));
            let _ = conn.try_answer();
        }
        for head in [
            format!("GET /{nasty} HTTP/1.1\r\nHost: t\r\n\r\n"),
            format!("{nasty} / HTTP/1.1\r\nHost: t\r\n\r\n"),
            format!("GET / HTTP/{nasty}\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: t\r\nx: a\nINFO forged line\r\n\r\n".to_owned(),
        ] {
            let mut conn = Conn::open(address);
            conn.send(head);
            let _ = conn.try_answer();
        }
        let reason = serde_json::json!({ "reason": nasty, "by": nasty }).to_string();
        proxy.ask("POST", "/api/v1/rollouts/nobody/pause", &reason);
        proxy.ask("GET", &format!("/api/v1/{percent}"), "");
        // A file whose names say more than they should.
        proxy.write(&format!(
            "version: 1\n\"{}\": 1\n",
            nasty
                .escape_unicode()
                .to_string()
                .replace("\\u{", "\\U{")
                .replace("\\U{1b}", "\\e")
        ));
        let bad = yaml.replace("name: rest", "name: \"re\\e[31mst\\u202e\", bogus: 1");
        proxy.write(&bad);
        until("the bad file is told of", || proxy.config()["ok"] == false);
        std::thread::sleep(Duration::from_millis(200));
        let log = proxy.log().join("\n");
        let found: Vec<&str> = log
            .lines()
            .filter(|line| line.chars().any(is_harmful))
            .collect();
        assert!(found.is_empty(), "{found:#?}");
        assert!(
            !log.lines()
                .any(|line| line.trim_start().starts_with("INFO forged")),
            "{log}"
        );
        let access = fs::read_to_string(proxy.folder().join("access.log")).unwrap();
        assert!(
            access.contains("User-Agent") || access.contains("user_agent"),
            "{access}"
        );
        assert!(!access.chars().any(is_harmful), "{access}");
        for line in access.lines() {
            let _: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        }
    }
}

#[test]
fn gr_14_secrets_stand_in_no_log_no_error_and_no_answer() {
    const SECRET: &str = "s3cr3t-that-nobody-reads";
    let (v1, v2) = two();
    let site = site(&v1, &v2, "[{ name: rest, to: v1 }]")
        .with("access_log", LOUD)
        .with("admin", "{ address: 127.0.0.1:0, tokens_file: ./tokens }");
    let launch = Launch::new(&site).after("export TIDEGATE_LOG=trace");
    let tokens = launch.folder().join("tokens");
    fs::write(
        &tokens,
        format!("admin:{SECRET}-admin\nviewer:{SECRET}-viewer\n"),
    )
    .unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let proxy = launch.start();
    let lines = [
        format!("Authorization: Bearer {SECRET}"),
        format!("Cookie: session={SECRET}"),
        format!("Proxy-Authorization: Basic {SECRET}"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let target = format!("/?token={SECRET}");
    assert_eq!(proxy.get(&target, &lines).status, 200);
    let mut h2 = H2Client::open(proxy.address("in"));
    assert_eq!(h2.get(&target, &lines[..2]).status, 200);
    assert_eq!(
        proxy.get(&format!("{target}&status=503"), &lines).status,
        503
    );
    v1.turn(Mood::Refuses);
    proxy.get(&target, &lines);
    let mut conn = proxy.connect();
    conn.send(format!(
        "GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n{}\r\n\r\n",
        lines.join("\r\n")
    ));
    let told = conn
        .try_answer()
        .map(|answer| answer.text())
        .unwrap_or_default();
    assert!(!told.contains(SECRET), "{told}");
    let mut answers = String::new();
    for token in ["admin", "viewer", "wrong"] {
        let bearer = format!("Authorization: Bearer {SECRET}-{token}");
        for (method, target) in [
            ("GET", "/api/v1/status"),
            ("GET", "/api/v1/config"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("POST", "/api/v1/config/reload"),
        ] {
            let answer = admin(&proxy, method, target, &[&bearer], b"");
            answers += &format!("{:?} {}\n", answer.fields, answer.text());
        }
    }
    // Mistakes in the file of secrets are told without them.
    fs::write(&tokens, format!("admin:{SECRET}-admin\n{SECRET}\nroot:{SECRET}\nviewer:{SECRET} x\nadmin:{SECRET}-admin\n")).unwrap();
    let bearer = format!("Authorization: Bearer {SECRET}-admin");
    let refused = admin(&proxy, "POST", "/api/v1/config/reload", &[&bearer], b"");
    assert_eq!(refused.status, 422, "{}", refused.text());
    answers += &refused.text();
    answers += &admin(&proxy, "GET", "/api/v1/config", &[&bearer], b"").text();
    let file = proxy.folder().join("tidegate.yaml");
    let checked = command(&["check", file.to_str().unwrap()], "");
    answers += &String::from_utf8_lossy(&checked.stdout);
    answers += &String::from_utf8_lossy(&checked.stderr);
    assert!(!answers.contains(SECRET), "{answers}");
    std::thread::sleep(Duration::from_millis(300));
    let log = proxy.log();
    let found: Vec<_> = log.iter().filter(|line| line.contains(SECRET)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(log.len() > 8, "it was loud: {}", log.len());
    let access = fs::read_to_string(proxy.folder().join("access.log")).unwrap();
    assert!(
        access.lines().count() >= 4 && !access.contains(SECRET),
        "{access}"
    );
}

#[test]
fn gr_15_files_that_others_may_write_are_refused_or_warned_of() {
    let (v1, v2) = two();
    let site = site(&v1, &v2, "[{ name: rest, to: v1 }]")
        .with("admin", "{ address: 127.0.0.1:0, tokens_file: ./tokens }");
    let start = |bits: u32| {
        let launch = Launch::new(&site);
        let tokens = launch.folder().join("tokens");
        fs::write(&tokens, "admin:all-of-it-please\n").unwrap();
        fs::set_permissions(&tokens, fs::Permissions::from_mode(bits)).unwrap();
        launch
    };
    let (code, log) = start(0o666).fails();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("T406") && log.contains("chmod 600"), "{log}");
    let proxy = start(0o644).start();
    proxy.logs(&["T912"]);
    // An edit that makes them so is refused like any other.
    fs::set_permissions(
        proxy.folder().join("tokens"),
        fs::Permissions::from_mode(0o622),
    )
    .unwrap();
    let bearer = ["Authorization: Bearer all-of-it-please"];
    assert_eq!(
        admin(&proxy, "POST", "/api/v1/config/reload", &bearer, b"").status,
        422
    );
    fs::set_permissions(
        proxy.folder().join("tokens"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    // Without anybody's asking: sooner where the system tells of it, else at the next look.
    let what = "what was mended is seen";
    let is_fine = || {
        let told = admin(&proxy, "GET", "/api/v1/config", &bearer, b"").json();
        if told["ok"] == true {
            Ok(())
        } else {
            Err(told.to_string())
        }
    };
    eventually(what, soon(Duration::from_secs(20)), is_fine);
    fs::set_permissions(proxy.file(), fs::Permissions::from_mode(0o666)).unwrap();
    // In place: what is renamed over it would bring its own mode along.
    let text = fs::read_to_string(proxy.file()).unwrap();
    fs::write(proxy.file(), format!("{text}# edited\n")).unwrap();
    assert_eq!(
        admin(&proxy, "POST", "/api/v1/config/reload", &bearer, b"").status,
        200
    );
    let problems = admin(&proxy, "GET", "/api/v1/config", &bearer, b"").json();
    assert!(problems.to_string().contains("T913"), "{problems}");
    assert!(!problems.to_string().contains("T912"), "{problems}");
}

#[test]
fn gr_16_a_database_may_be_replaced_in_any_way_while_it_is_asked() {
    let (v1, v2) = two();
    let rules = r#"[{ name: nordic, when: { region: { country: [SE] } }, to: v2 }, { name: rest, to: v1 }]"#;
    let site = site(&v1, &v2, rules).with("geo", "{ database: ./regions.mmdb }");
    let launch = Launch::new(&site);
    let path = launch.folder().join("regions.mmdb");
    let database = |country: &str| {
        use mmdb_writer::{Value, Writer};
        let mut writer = Writer::new("GeoLite2-Country");
        let named = Value::map([("iso_code", Value::from(country))]);
        let network = "81.2.69.0/24".parse::<ipnet::IpNet>().unwrap();
        writer
            .insert_value(network, Value::map([("country", named)]))
            .unwrap();
        writer.to_bytes().unwrap()
    };
    fs::write(&path, database("SE")).unwrap();
    let proxy = launch.start();
    let asked = || got(&proxy, "behind", &["X-Forwarded-For: 81.2.69.7"]).version;
    assert_eq!(asked(), "v2");
    // Cut short in place, as a careless copy does: who had mapped it would be killed.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(10).unwrap();
    for _ in 0..50 {
        assert_eq!(asked(), "v2");
    }
    until("the bad one is told of", || proxy.config()["ok"] == false);
    assert_eq!(asked(), "v2", "the old one stays");
    fs::remove_file(&path).unwrap();
    assert_eq!(asked(), "v2");
    fs::write(&path, database("NO")).unwrap();
    until("the new one is asked", || asked() == "v1");
}

/// GR-17 asks that a cache tells apart schemes, hosts and versions. There is no cache: what could be one is not.
#[test]
fn gr_17_nothing_is_answered_twice() {
    let (v1, v2) = two();
    let proxy = Proxy::start(&site(&v1, &v2, "[{ name: rest, to: v1 }]"));
    let mut conn = proxy.connect();
    for n in 1..=5 {
        let answer = conn.get(
            "/same",
            &[
                "If-None-Match: \"a\"",
                "Cache-Control: max-age=9999, only-if-cached",
            ],
        );
        assert_eq!(answer.status, 200);
        assert_eq!(v1.requests(), n, "each is the version's own");
    }
}
