//! A request goes where the file says: by header, cookie, query, path, method, region, source and user; by host and
//! path; and what an outsider must not decide, an outsider does not decide.

use crate::harness::{Backend, Conn, Echo, H2Client, Launch, Proxy, Site};

/// Every rule tells its name to the backend, so that one look shows which of them matched.
const TELL: &str = r#"request_headers: { set: { x-rule: "{rule}", x-route: "{route}" } }"#;

fn two() -> (Backend, Backend, Site) {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    (v1, v2, site)
}

/// Sends the table's requests and compares the rule that each of them met.
#[track_caller]
fn meets(proxy: &Proxy, table: &[(&str, &str, &[&str], &str)]) {
    let mut conn = proxy.connect();
    for (method, target, headers, rule) in table {
        let echo = Echo::of(&conn.request(method, target, headers, b""));
        assert_eq!(
            echo.header("x-rule"),
            *rule,
            "{method} {target} {headers:?}"
        );
        let version = if *rule == "rest" { "v1" } else { "v2" };
        assert_eq!(
            echo.version, version,
            "{method} {target} {headers:?} met the rule {rule}"
        );
    }
}

#[test]
fn rules_match_on_headers_cookies_query_path_and_method() {
    let (_v1, _v2, site) = two();
    let site = site.route(
        TELL,
        r#"
      - { name: exact, when: { header: { name: x-beta, exact: "1" } }, to: v2 }
      - { name: prefix, when: { header: { name: X-App, prefix: "ios/" } }, to: v2 }
      - { name: contains, when: { header: { name: user-agent, contains: Tester } }, to: v2 }
      - { name: regex, when: { header: { name: x-build, regex: "^7[0-9]$" } }, to: v2 }
      - { name: present, when: { header: { name: x-debugging, present: true } }, to: v2 }
      - { name: cookie, when: { cookie: { name: beta, regex: "^(1|yes)$" } }, to: v2 }
      - { name: query, when: { query: { name: preview, exact: "2.4 0" } }, to: v2 }
      - { name: path-exact, when: { path: { exact: /only } }, to: v2 }
      - { name: path-prefix, when: { path: { prefix: /new } }, to: v2 }
      - { name: path-regex, when: { path: { regex: "^/items/[0-9]+$" } }, to: v2 }
      - { name: method, when: { method: [PUT, DELETE] }, to: v2 }
      - { name: rest, to: v1 }"#,
    );
    let proxy = Proxy::start(&site);
    meets(
        &proxy,
        &[
            ("GET", "/", &["x-beta: 1"], "exact"),
            ("GET", "/", &["X-BETA: 1"], "exact"),
            ("GET", "/", &["x-beta: 10"], "rest"),
            ("GET", "/", &["x-beta: 0", "x-beta: 1"], "exact"),
            ("GET", "/", &["x-app: ios/3.1"], "prefix"),
            ("GET", "/", &["x-app: android/3.1"], "rest"),
            ("GET", "/", &["user-agent: My Tester 1"], "contains"),
            ("GET", "/", &["x-build: 75"], "regex"),
            ("GET", "/", &["x-build: 175"], "rest"),
            ("GET", "/", &["x-debugging:"], "present"),
            ("GET", "/", &["cookie: a=b; beta=yes; c=d"], "cookie"),
            ("GET", "/", &["cookie: xbeta=yes; beta=no"], "rest"),
            ("GET", "/?preview=2.4+0", &[], "query"),
            ("GET", "/?x=1&preview=2.4%200", &[], "query"),
            ("GET", "/?xpreview=2.4+0", &[], "rest"),
            ("GET", "/only", &[], "path-exact"),
            ("GET", "/only/", &[], "rest"),
            ("GET", "/new", &[], "path-prefix"),
            ("GET", "/new/thing?a=b", &[], "path-prefix"),
            ("GET", "/newer", &[], "rest"),
            ("GET", "/items/42", &[], "path-regex"),
            ("GET", "/items/x", &[], "rest"),
            ("PUT", "/", &[], "method"),
            ("GET", "/only", &["x-beta: 1"], "exact"),
        ],
    );
}

#[test]
fn rules_combine_conditions_with_any_all_and_not() {
    let (_v1, _v2, site) = two();
    let site = site.route(
        TELL,
        r#"
      - name: both
        when: { header: { name: x-a, exact: "1" }, query: { name: b, exact: "1" } }
        to: v2
      - name: either
        when: { any: [{ header: { name: x-c, present: true } }, { cookie: { name: c, present: true } }] }
        to: v2
      - name: nested
        when:
          all:
            - method: [POST]
            - not: { path: { prefix: /admin } }
            - any: [{ header: { name: x-d, exact: "1" } }, { header: { name: x-d, exact: "2" } }]
        to: v2
      - { name: rest, to: v1 }"#,
    );
    let proxy = Proxy::start(&site);
    meets(
        &proxy,
        &[
            ("GET", "/?b=1", &["x-a: 1"], "both"),
            ("GET", "/?b=2", &["x-a: 1"], "rest"),
            ("GET", "/?b=1", &[], "rest"),
            ("GET", "/", &["x-c: anything"], "either"),
            ("GET", "/", &["cookie: c="], "either"),
            ("POST", "/shop", &["x-d: 2"], "nested"),
            ("POST", "/admin/shop", &["x-d: 2"], "rest"),
            ("GET", "/shop", &["x-d: 2"], "rest"),
            ("POST", "/shop", &["x-d: 3"], "rest"),
        ],
    );
}

#[test]
fn rules_match_users_by_list_and_by_file_and_a_changed_list_counts_at_once() {
    let (_v1, _v2, site) = two();
    let site = site.route(
        TELL,
        r#"
      - { name: listed, when: { user: { any_of: ["42", "4711"] } }, to: v2 }
      - { name: filed, when: { user: { file: ./testers.txt } }, to: v2 }
      - { name: rest, to: v1 }"#,
    );
    let launch = Launch::new(&site);
    std::fs::write(launch.folder().join("testers.txt"), "anna\nbob\n").unwrap();
    let proxy = launch.start();
    meets(
        &proxy,
        &[
            ("GET", "/", &["x-user-id: 42"], "listed"),
            ("GET", "/", &["x-user-id:   4711  "], "listed"),
            ("GET", "/", &["x-user-id: 421"], "rest"),
            ("GET", "/", &["x-user-id: bob"], "filed"),
            ("GET", "/", &["x-user-id: carol"], "rest"),
            ("GET", "/", &[], "rest"),
        ],
    );
    let (before, start) = (proxy.revision(), std::time::Instant::now());
    std::fs::write(proxy.folder().join("testers.txt"), "anna\ncarol\n").unwrap();
    proxy.in_force_after(before, start);
    meets(
        &proxy,
        &[
            ("GET", "/", &["x-user-id: carol"], "filed"),
            ("GET", "/", &["x-user-id: bob"], "rest"),
        ],
    );
}

#[test]
fn the_region_is_read_from_a_trusted_header_first_and_else_from_the_database() {
    let (_v1, _v2, site) = two();
    let site = site
        .with("geo", "{ database: ./regions.mmdb, header: x-region }")
        .with(
            "listeners",
            r#"
  - name: in
    address: 127.0.0.1:0
    trusted_headers: [x-region]
    client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.0/8"] }
  - name: strangers
    address: 127.0.0.2:0
    client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.0/8"] }"#,
        )
        .route(
            TELL,
            r#"
      - { name: nordic, when: { region: { country: [SE, "NO", FI] } }, to: v2 }
      - { name: california, when: { region: { subdivision: [US-CA] } }, to: v2 }
      - { name: africa, when: { region: { continent: [AF] } }, to: v2 }
      - { name: rest, to: v1 }"#,
        );
    let launch = Launch::new(&site);
    std::fs::write(launch.folder().join("regions.mmdb"), region_database()).unwrap();
    let proxy = launch.start();
    meets(
        &proxy,
        &[
            ("GET", "/", &["x-region: SE"], "nordic"),
            ("GET", "/", &["x-region: NO"], "nordic"),
            ("GET", "/", &["x-region: US-CA"], "california"),
            ("GET", "/", &["x-region: US"], "rest"),
            ("GET", "/", &["x-forwarded-for: 81.2.69.7"], "nordic"),
            ("GET", "/", &["x-forwarded-for: 81.2.70.7"], "california"),
            ("GET", "/", &["x-forwarded-for: 81.2.71.7"], "africa"),
            (
                "GET",
                "/",
                &["x-forwarded-for: 81.2.69.7", "x-region: DE"],
                "rest",
            ),
            ("GET", "/", &["x-forwarded-for: 8.8.8.8"], "rest"),
            ("GET", "/", &[], "rest"),
        ],
    );
    let mut stranger = Conn::open(proxy.address("strangers"));
    let echo = Echo::of(&stranger.get("/", &["x-region: SE"]));
    assert_eq!(
        (echo.header("x-rule"), echo.header("x-region")),
        ("rest", ""),
        "a stranger does not say where it is"
    );
    let echo = Echo::of(&stranger.get("/", &["x-region: DE", "x-forwarded-for: 81.2.69.7"]));
    assert_eq!(
        echo.header("x-rule"),
        "nordic",
        "the database is asked where the header does not count"
    );
}

/// Three networks: Sweden, California, Kenya.
fn region_database() -> Vec<u8> {
    use mmdb_writer::{Value, Writer};
    let named = |code: &str| Value::map([("iso_code", Value::from(code))]);
    let entry = |continent: &str, country: &str, part: Option<&str>| {
        let mut map = vec![
            ("continent", Value::map([("code", Value::from(continent))])),
            ("country", named(country)),
        ];
        if let Some(part) = part {
            map.push(("subdivisions", Value::Array(vec![named(part)])));
        }
        Value::map(map)
    };
    let mut writer = Writer::new("GeoLite2-City");
    for (network, value) in [
        ("81.2.69.0/24", entry("EU", "SE", None)),
        ("81.2.70.0/24", entry("NA", "US", Some("CA"))),
        ("81.2.71.0/24", entry("AF", "KE", None)),
    ] {
        writer
            .insert_value(network.parse::<ipnet::IpNet>().unwrap(), value)
            .unwrap();
    }
    writer.to_bytes().unwrap()
}

#[test]
fn the_source_is_the_rightmost_address_that_no_trusted_proxy_wrote() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            r#"
  - name: in
    address: 127.0.0.1:0
    client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.0/8", "10.0.0.0/8"] }
  - { name: direct, address: "127.0.0.2:0" }"#,
        )
        .route(TELL, r#"[{ name: office, when: { source: ["192.0.2.0/24"] }, to: v2 }, { name: rest, to: v1 }]"#);
    let proxy = Proxy::start(&site);
    meets(
        &proxy,
        &[
            ("GET", "/", &["x-forwarded-for: 192.0.2.9"], "office"),
            (
                "GET",
                "/",
                &["x-forwarded-for: 192.0.2.9, 10.1.1.1"],
                "office",
            ),
            (
                "GET",
                "/",
                &["x-forwarded-for: 192.0.2.9, 198.51.100.3, 10.1.1.1"],
                "rest",
            ),
            (
                "GET",
                "/",
                &[
                    "x-forwarded-for: 198.51.100.3",
                    "x-forwarded-for: 192.0.2.9",
                ],
                "office",
            ),
            ("GET", "/", &[], "rest"),
        ],
    );
    let echo =
        Echo::of(&Conn::open(proxy.address("direct")).get("/", &["x-forwarded-for: 192.0.2.9"]));
    assert_eq!(
        echo.header("x-rule"),
        "rest",
        "a peer that is no trusted proxy does not say where it is"
    );
    assert!(
        !echo.header("x-forwarded-for").contains("192.0.2.9"),
        "and its header is written anew: {:?}",
        echo.fields
    );
}

#[test]
fn routes_are_tried_by_most_specific_host_then_path_then_order() {
    let (_v1, _v2, site) = two();
    let route = |name: &str, matches: &str| {
        format!(
            "\n  - {{ name: {name}, match: {{ {matches} }}, service: app, {TELL}, rules: [{{ name: rest, to: v1 }}] }}"
        )
    };
    let text: String = [
        route("any", ""),
        route("star", r#"hosts: ["*.example.com"]"#),
        route("star-deep", r#"hosts: ["*.eu.example.com"]"#),
        route(
            "shop",
            r#"hosts: [shop.example.com, Shop2.Example.COM], path: { prefix: / }"#,
        ),
        route(
            "shop-regex",
            r#"hosts: [shop.example.com], path: { regex: "^/cart/[a-z]+$" }"#,
        ),
        route(
            "shop-cart",
            r#"hosts: [shop.example.com], path: { prefix: /cart }"#,
        ),
        route(
            "shop-cart-open",
            r#"hosts: [shop.example.com], path: { prefix: /cart/open }"#,
        ),
        route(
            "shop-exact",
            r#"hosts: [shop.example.com], path: { exact: /cart/open }"#,
        ),
        route(
            "only-path",
            r#"hosts: [api.example.com], path: { prefix: /api }"#,
        ),
    ]
    .concat();
    let proxy = Proxy::start(&site.with("routes", &text));
    let mut conn = proxy.connect();
    let mut h2 = H2Client::open(proxy.address("in"));
    for (host, target, route) in [
        ("elsewhere.org", "/", "any"),
        ("shop.example.com", "/", "shop"),
        ("SHOP.example.com", "/x", "shop"),
        ("shop.example.com:8080", "/x", "shop"),
        ("shop2.example.com", "/x", "shop"),
        ("shop.example.com", "/cart", "shop-cart"),
        ("shop.example.com", "/cart/x", "shop-cart"),
        ("shop.example.com", "/cart/open", "shop-exact"),
        ("shop.example.com", "/cart/open/1", "shop-cart-open"),
        ("shop.example.com", "/carts", "shop"),
        ("a.example.com", "/", "star"),
        ("a.b.example.com", "/", "star"),
        ("a.eu.example.com", "/", "star-deep"),
        ("example.com", "/", "any"),
        ("api.example.com", "/api/1", "only-path"),
        ("api.example.com", "/other", "star"),
    ] {
        let echo = Echo::of(&conn.get(target, &[&format!("Host: {host}")]));
        assert_eq!(
            echo.header("x-route"),
            route,
            "{host}{target} over HTTP/1.1"
        );
        h2 = h2.with_authority(host);
        let echo = Echo::of(&h2.get(target, &[]));
        assert_eq!(echo.header("x-route"), route, "{host}{target} over HTTP/2");
    }
}

#[test]
fn a_route_may_be_for_one_listener_only() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            r#"[{ name: in, address: "127.0.0.1:0" }, { name: other, address: "127.0.0.2:0" }]"#,
        )
        .with(
            "routes",
            "[{ match: { listener: other }, service: app, rules: [{ to: v2 }] }]",
        );
    let proxy = Proxy::start(&site);
    assert_eq!(
        Conn::open(proxy.address("other")).get("/", &[]).version(),
        "v2"
    );
    assert_eq!(proxy.get("/", &[]).status, 404);
}

#[test]
fn a_request_that_no_route_matches_gets_404_and_one_that_no_rule_matches_goes_to_stable() {
    let (_v1, _v2, site) = two();
    let site = site.with(
        "routes",
        r#"[{ match: { hosts: [known] }, service: app, rules: [{ when: { header: { name: x, exact: "1" } }, to: v2 }] }]"#,
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let answer = conn.get("/", &["Host: unknown"]);
    assert_eq!(answer.status, 404);
    assert_ne!(
        answer.header("x-tidegate-refusal"),
        "",
        "an answer of the proxy's own says so: {:?}",
        answer.fields
    );
    assert_eq!(conn.get("/", &["Host: known"]).version(), "v1");
    assert_eq!(conn.get("/", &["Host: known", "x: 1"]).version(), "v2");
}

#[test]
fn a_route_can_redirect_or_answer_by_itself() {
    let (_v1, _v2, site) = two();
    let site = site.with(
        "routes",
        r#"
  - { name: moved, match: { hosts: [old.example.com] }, redirect: { status: 308, host: shop.example.com } }
  - { name: path, match: { path: { prefix: /a } }, redirect: { scheme: https, host: b.org, port: 8443, path: /z } }
  - { name: rest, respond: { status: 418, body: "no route\n" }, response_headers: { set: { x-served-by: "{route}" } } }"#,
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    let moved = conn.get("/x/y?z=1", &["Host: old.example.com"]);
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, "http://shop.example.com/x/y?z=1")
    );
    let moved = conn.get("/a/b", &["Host: t"]);
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, "https://b.org:8443/z")
    );
    let said = conn.request("POST", "/", &["Host: t"], b"a body that nobody reads");
    assert_eq!((said.status, said.text().as_str()), (418, "no route\n"));
    assert_eq!(said.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(said.header("x-served-by"), "rest");
    assert_eq!(
        conn.get("/", &["Host: t"]).status,
        418,
        "the connection lives on after a local answer"
    );
}

#[test]
fn headers_are_edited_and_paths_and_hosts_rewritten_as_the_route_says() {
    let (_v1, _v2, site) = two();
    let site = site.with(
        "routes",
        r#"
  - name: checkout
    match: { path: { prefix: /checkout } }
    service: app
    request_headers:
      remove: [x-debug, x-old]
      set: { x-chosen: "{service}/{version}/{route}/{rule}", x-from: "{client_address}", x-id: "{request_id}" }
      add: { x-more: "2" }
    response_headers: { remove: [x-version], set: { x-served-by: tidegate }, add: { x-extra: "a" } }
    rewrite: { prefix: /pay, host: inside.example }
    rules: [{ name: everyone, to: v2 }]"#,
    );
    let proxy = Proxy::start(&site);
    let answer = proxy.get(
        "/checkout/now?q=1",
        &["x-debug: 1", "x-old: 1", "x-chosen: me", "x-more: 1"],
    );
    let echo = Echo::of(&answer);
    assert_eq!(echo.target, "/pay/now?q=1");
    assert_eq!(echo.header("host"), "inside.example");
    assert!(
        !echo.fields.has("x-debug") && !echo.fields.has("x-old"),
        "removed: {:?}",
        echo.fields
    );
    assert_eq!(echo.fields.all("x-chosen"), ["app/v2/checkout/everyone"]);
    assert_eq!(echo.header("x-from"), "127.0.0.1");
    assert_eq!(echo.header("x-id"), echo.header("x-request-id"));
    assert_eq!(echo.fields.all("x-more"), ["1", "2"]);
    assert!(
        !answer.fields.has("x-version"),
        "removed: {:?}",
        answer.fields
    );
    assert_eq!(answer.header("x-served-by"), "tidegate");
    assert_eq!(answer.header("x-extra"), "a");
    let echo = Echo::of(&proxy.get("/checkout", &[]));
    assert!(
        matches!(echo.target.as_str(), "/pay" | "/pay/"),
        "the prefix alone: {}",
        echo.target
    );
}

#[test]
fn an_outsider_does_not_say_who_the_user_is() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            r#"
  - { name: in, address: "127.0.0.1:0" }
  - { name: trusting, address: "127.0.0.2:0", trusted_headers: [x-user-id, x-tidegate-lane] }
  - { name: mesh, address: "127.0.0.3:0", profile: sidecar }
  - { name: mesh-trusting, address: "127.0.0.4:0", profile: sidecar, trusted_headers: [x-user-id] }"#,
        )
        .route(TELL, r#"[{ name: tester, when: { user: { any_of: ["42"] } }, to: v2 }, { name: rest, to: v1 }]"#);
    let proxy = Proxy::start(&site);
    let ask = |listener: &str, headers: &[&str]| {
        let echo = Echo::of(&Conn::open(proxy.address(listener)).get("/", headers));
        (echo.header("x-rule").to_owned(), echo)
    };
    for header in [
        "x-user-id: 42",
        "X-User-Id: 42",
        "X_User_Id: 42",
        "x-user_id: 42",
    ] {
        let (rule, echo) = ask("in", &[header]);
        assert_eq!(rule, "rest", "{header} on an edge listener");
        let kept: Vec<_> = echo.fields.0.iter().filter(|(_, v)| v == "42").collect();
        assert!(
            kept.is_empty(),
            "{header} is stripped, the backend got {kept:?}"
        );
    }
    for header in [
        "x-tidegate-lane: a",
        "X-TIDEGATE-anything: a",
        "x_tidegate_lane: a",
        "X-Tidegate_Lane: a",
    ] {
        let (_, echo) = ask("in", &[header]);
        let kept: Vec<_> = echo.fields.0.iter().filter(|(_, v)| v == "a").collect();
        assert!(
            kept.is_empty(),
            "{header} is stripped, the backend got {kept:?}"
        );
    }
    assert_eq!(ask("trusting", &["x-user-id: 42"]).0, "tester");
    assert_eq!(
        ask("trusting", &["x-user-id: 42"]).1.header("x-user-id"),
        "42"
    );
    assert_eq!(
        ask("trusting", &["x-tidegate-lane: a"])
            .1
            .header("x-tidegate-lane"),
        "a"
    );
    assert_eq!(
        ask("trusting", &["connection: x-user-id", "x-user-id: 42"]).0,
        "tester",
        "named in Connection"
    );
    let (rule, echo) = ask("mesh", &["x-user-id: 42"]);
    assert_eq!(
        (rule.as_str(), echo.header("x-user-id")),
        ("rest", "42"),
        "a sidecar strips nothing, and trusts nobody"
    );
    assert_eq!(ask("mesh-trusting", &["x-user-id: 42"]).0, "tester");
}

#[test]
fn trailers_of_an_outsider_carry_no_routing_header() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.listener("profile: edge"));
    let mut conn = proxy.connect();
    conn.send(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: x-user-id, x-tidegate-a, x-fine\r\n\r\n\
         2\r\nhi\r\n0\r\nx-user-id: 42\r\nX_User_Id: 42\r\nx-tidegate-a: 42\r\nx-fine: 1\r\n\r\n",
    );
    let echo = Echo::of(&conn.answer());
    let smuggled: Vec<_> = echo.trailers.0.iter().filter(|(_, v)| v == "42").collect();
    assert!(
        smuggled.is_empty(),
        "stripped from the trailers too, the backend got {smuggled:?}"
    );
    assert_eq!(echo.length, 2);
}

#[test]
fn two_different_user_ids_are_refused_on_edge_and_nobody_on_a_sidecar() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            r#"
  - { name: in, address: "127.0.0.1:0", trusted_headers: [x-user-id] }
  - { name: mesh, address: "127.0.0.2:0", profile: sidecar, trusted_headers: [x-user-id] }"#,
        )
        .route(TELL, r#"[{ name: tester, when: { user: { any_of: ["42", "7"] } }, to: v2 }, { name: rest, to: v1 }]"#);
    let proxy = Proxy::start(&site);
    let twice = ["x-user-id: 42", "x-user-id: 7"];
    assert_eq!(proxy.get("/", &twice).status, 400);
    assert_eq!(
        proxy
            .get("/", &["x-user-id: 42", "x-user-id: 42"])
            .version(),
        "v2",
        "the same twice is one user"
    );
    assert_eq!(
        Conn::open(proxy.address("mesh")).get("/", &twice).version(),
        "v1",
        "nobody"
    );
}

#[test]
fn the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let (_v1, _v2, site) = two();
    let site = site
        .with(
            "listeners",
            r#"[{ name: in, address: "127.0.0.1:0" }, { name: mesh, address: "127.0.0.2:0", profile: sidecar }]"#,
        )
        .route(TELL, "[{ name: admin, when: { path: { prefix: /admin } }, to: v2 }, { name: rest, to: v1 }]");
    let proxy = Proxy::start(&site);
    for listener in ["in", "mesh"] {
        let mut conn = Conn::open(proxy.address(listener));
        for target in [
            "/a/../admin/x",
            "/./admin/x",
            "/%61dmin/x",
            "/a/%2e%2e/admin/x",
            "/a/b/%2E%2E/.%2e/admin/x",
        ] {
            let answer = conn.get(target, &[]);
            if answer.status == 400 {
                continue;
            }
            let echo = Echo::of(&answer);
            assert_eq!(
                (echo.header("x-rule"), echo.target.as_str()),
                ("admin", "/admin/x"),
                "{target} on {listener}"
            );
        }
    }
    assert_eq!(
        proxy.get("/admin%2Fx", &[]).status,
        400,
        "%2F is refused on edge"
    );
    let echo = Echo::of(&Conn::open(proxy.address("mesh")).get("/admin%2Fx", &[]));
    assert_eq!(
        (
            echo.header("x-rule"),
            echo.target.to_ascii_uppercase().as_str()
        ),
        ("rest", "/ADMIN%2FX")
    );
}

#[test]
fn explain_says_what_the_wire_does() {
    let (_v1, _v2, site) = two();
    let site = site.route(
        TELL,
        r#"
      - { name: beta, when: { header: { name: x-beta, exact: "1" } }, to: v2 }
      - { name: everyone, split: { by: user, weights: { v2: 50%, v1: 50% } } }"#,
    );
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    for (user, beta) in [
        ("a", false),
        ("b", false),
        ("c", true),
        ("d", false),
        ("e", false),
        ("f", false),
    ] {
        let mut headers = vec![format!("x-user-id: {user}")];
        let mut map = serde_json::json!({ "x-user-id": user });
        if beta {
            headers.push("x-beta: 1".to_owned());
            map["x-beta"] = "1".into();
        }
        let lines: Vec<&str> = headers.iter().map(String::as_str).collect();
        let echo = Echo::of(&conn.get("/p?q=1", &lines));
        let body = serde_json::json!({ "method": "GET", "url": "http://t/p?q=1", "headers": map, "listener": "in" });
        let answer = proxy.ask("POST", "/api/v1/explain", &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        assert_eq!(
            told["version"],
            echo.version.as_str(),
            "user {user}: {told}"
        );
        assert_eq!(told["rule"], echo.header("x-rule"), "user {user}: {told}");
        assert_eq!(told["route"], "app");
        assert_eq!(told["service"], "app");
        assert!(
            told["why"].as_str().is_some_and(|w| !w.is_empty()) || told["why"].is_array(),
            "{told}"
        );
        assert_eq!(
            told["slot"].is_number(),
            !beta,
            "a slot where a split decided: {told}"
        );
    }
}
