//! Files that load, and what they mean.

use std::time::Duration;

use super::{good, parsed};
use crate::*;

const MINIMAL: &str = r#"# The five-minute file: one listener, two versions, one request in ten on the new one (nobody said who the user is).
version: 1
listeners:
  - name: in
    address: 127.0.0.1:8080
services:
  - name: app
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:3001"] }
      - { name: v2, endpoints: ["127.0.0.1:3002"] }
routes:
  - service: app
    rules:
      - split: { weights: { v2: 10%, v1: 90% } }
"#;

const HEAD: &str = r#"version: 1
listeners: [{ name: in, address: "127.0.0.1:8080" }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: ["127.0.0.1:3001"] }] }]
"#;

const BY_HAND: &str = r#"# A weight set by hand.
version: 1
listeners:
  - name: in
    address: 127.0.0.1:8080
    trusted_headers: [x-user-id]        # whoever calls this listener may say who the user is
admin:
  address: 127.0.0.1:9900
identity:
  user:
    - header: x-user-id
services:
  - name: app
    stable: v1
    versions:
      - { name: v1, endpoints: ["127.0.0.1:3001"] }
      - { name: v2, endpoints: ["127.0.0.1:3002"] }
routes:
  - name: app
    service: app
    rules:
      - name: testers
        when: { header: { name: x-beta, exact: "1" } }
        to: v2
      - name: nordic
        when: { region: { country: [SE, "NO", FI] } }
        to: v1
      - name: everyone
        split:
          by: user
          weights: { v2: 20%, v1: 80% }
"#;

/// Everything that this version understands.
const FULL: &str = r#"
version: 1
runtime: { workers: auto, drain: { min: 5s, max: 30s } }
admin: { address: 127.0.0.1:9900, probes: 0.0.0.0:9901 }
access_log:
  output: stdout
  format: json
  sample: { success: 10%, failure: 100% }
  redact: { headers: [Authorization, cookie], query: [token] }
geo: { header: X-Region }
listeners:
  - name: edge
    address: 0.0.0.0:8443
    profile: edge
    protocols: [h2c, http/1.1]
    client_address: { from: x-forwarded-for, trusted_proxies: ["10.1.2.3/8", "::1"] }
    limits:
      connections: 20000
      connections_per_client: 200
      header_bytes: 32KiB
      header_count: 100
      target_bytes: 8KiB
      body_bytes: 10MiB
      h2_streams: 100
    timeouts: { header: 10s, body_idle: 30s, idle: 60s }
    trusted_headers: []
    upgrades: [WebSocket, SPDY/3.1]
  - name: mesh-in
    address: "[::]:15006"
    profile: sidecar
    protocols: [http/1.1]
    trusted_headers: [X-User-Id, x-tidegate-lane, x-region]
identity:
  user:
    - header: x-user-id
    - assign_cookie: tidegate_id
    - client_address: true
services:
  - name: checkout
    stable: v1
    versions:
      - name: v1
        endpoints: ["127.0.0.1:3001", "[::1]:3002", "unix:/run/app.sock"]
        tags: { track: stable, build: "2.4.0" }
      - { name: v2, endpoints: ["127.0.0.1:3003"] }
      - { name: v3, endpoints: ["127.0.0.1:3004"] }
    protocol: http/1.1
    balance: round_robin
    pool: { max_per_endpoint: 64, idle: 60s, connect: 500ms }
    health:
      active: { path: "/healthz?deep=1", interval: 3s, timeout: 2s, healthy_after: 1, unhealthy_after: 4 }
      passive: { consecutive_failures: 6, eject_for: 20s, max_ejected: 25% }
  - { name: catalog, stable: v1, versions: [{ name: v1, endpoints: ["127.0.0.1:9000"] }], protocol: h2c }
routes:
  - name: checkout
    match: { listener: edge, hosts: ["Shop.Example.com", "*.shop.example.com"], path: { prefix: /checkout/ } }
    service: checkout
    timeouts: { request: 5s, try: 2s }
    retry: { failures: [connect, reset, "502", "503"], attempts: 2, budget: 20% }
    rules:
      - name: testers
        when:
          any:
            - header: { name: X-Beta, exact: "1" }
            - cookie: { name: beta, regex: "^(1|yes)$" }
            - query: { name: preview, prefix: "2." }
            - user: { any_of: ["42", "4711"] }
            - region: { country: [de], subdivision: [us-ca], continent: [EU] }
        to: v2
      - name: inside
        when:
          all:
            - source: ["10.0.0.0/8"]
            - not: { path: { prefix: /checkout/admin } }
            - method: [GET, POST]
        split: { by: "header:X-Tenant", salt: tenants, weights: { v3: 30%, v1: 70% } }
      - split: { weights: { v2: 0.001%, v1: 99.999% } }
    request_headers: { set: { X-Tidegate-Version: "{version}" }, remove: [x-debug] }
    response_headers: { add: { x-served-by: "tidegate {rule}" } }
    rewrite: { prefix: /, host: "checkout.internal:8080" }
  - name: grpc
    match: { listener: mesh-in, hosts: ["*.internal"], path: { regex: "^/catalog\\.v1\\." } }
    service: catalog
    timeouts: { request: none, stream_idle: 5m }
    rules: [{ to: v1 }]
  - name: old-site
    match: { hosts: ["old.example.com"] }
    redirect: { status: 308, host: shop.example.com }
  - name: nothing
    respond: { status: 404, body: "no route\n" }
"#;

#[test]
fn the_five_minute_file_loads_and_splits_at_random() {
    let config = good(MINIMAL);
    assert_eq!(parsed(MINIMAL).problems, []);
    let Action::Forward(forward) = &config.routes[0].action else {
        panic!("it forwards")
    };
    let Target::Split(split) = &forward.rules[0].target else {
        panic!("it splits")
    };
    assert_eq!(
        (
            config.routes[0].name.as_str(),
            forward.rules[0].name.as_str()
        ),
        ("app", "1")
    );
    assert_eq!(
        (&split.by, split.salt.as_str()),
        (&SplitBy::Random, "app.1")
    );
    assert_eq!(
        split.weights.iter().map(|w| w.parts()).collect::<Vec<_>>(),
        [90_000, 10_000]
    );
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9900");
    assert!(
        config.listeners[0].http1 && config.listeners[0].h2c,
        "both are spoken unless one is named"
    );
}

#[test]
fn a_weight_set_by_hand_loads_with_the_warning_that_regions_are_unknown() {
    let config = good(BY_HAND);
    let codes: Vec<_> = parsed(BY_HAND)
        .problems
        .iter()
        .map(|p| (p.code, p.line))
        .collect();
    assert_eq!(codes, [("T903", 26)]);
    let Action::Forward(forward) = &config.routes[0].action else {
        panic!("it forwards")
    };
    let names: Vec<_> = forward
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(names, ["testers", "nordic", "everyone"]);
    let Some(When::Region(region)) = &forward.rules[1].when else {
        panic!("a region")
    };
    assert_eq!(region.country, ["SE", "NO", "FI"]);
}

#[test]
fn everything_that_the_file_can_say_arrives() {
    let config = good(FULL);
    assert_eq!(parsed(FULL).problems, []);
    assert_eq!(
        config.runtime.drain,
        Drain {
            min: Duration::from_secs(5),
            max: Duration::from_secs(30)
        }
    );
    let log = config.access_log.as_ref().unwrap();
    assert_eq!(
        (log.sample_success.percent(), log.redact_headers.as_slice()),
        (10.0, &["authorization".to_owned(), "cookie".to_owned()][..])
    );

    let [edge, mesh] = config.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!(
        (edge.profile, mesh.profile),
        (Profile::Edge, Profile::Sidecar)
    );
    assert_eq!((mesh.http1, mesh.h2c), (true, false));
    assert_eq!(
        edge.client_address
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.0.0.0/8", "::1/128"]
    );
    assert_eq!(edge.limits.body_bytes, Some(10 << 20));
    assert_eq!(mesh.limits.connections_per_client, None);
    assert!(edge.lets_upgrade_to(b"websocket") && edge.lets_upgrade_to(b"spdy/3.1"));
    assert!(!edge.lets_upgrade_to(b"tls/1.0") && mesh.lets_upgrade_to(b"tls/1.0"));
    assert_eq!(
        mesh.trusted_headers,
        ["x-user-id", "x-tidegate-lane", "x-region"]
    );

    let checkout = &config.services[0];
    let endpoints: Vec<_> = checkout.versions[0]
        .endpoints
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        endpoints,
        ["127.0.0.1:3001", "[::1]:3002", "unix:/run/app.sock"]
    );
    assert_eq!(
        (checkout.protocol, config.services[1].protocol),
        (Protocol::Http1, Protocol::H2c)
    );
    assert_eq!(
        config.services[1].pool.idle,
        Duration::from_secs(4),
        "below Node's five seconds"
    );
    assert_eq!(
        checkout
            .health
            .passive
            .as_ref()
            .unwrap()
            .max_ejected
            .percent(),
        25.0
    );

    let route = &config.routes[0];
    assert_eq!(
        route.matches.hosts,
        [
            HostPattern::Exact("shop.example.com".into()),
            HostPattern::Suffix(".shop.example.com".into())
        ]
    );
    assert_eq!(
        route.matches.path,
        Some(PathMatch::Prefix("/checkout".into()))
    );
    assert_eq!(
        route.request_headers.set,
        [(
            "x-tidegate-version".into(),
            HeaderTemplate(vec![TemplatePart::Version])
        )]
    );
    let Action::Forward(forward) = &route.action else {
        panic!("it forwards")
    };
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!(
        retry.failures,
        [
            RetryOn::Connect,
            RetryOn::Reset,
            RetryOn::Status(502),
            RetryOn::Status(503)
        ]
    );
    let Some(When::Any(any)) = &forward.rules[0].when else {
        panic!("any of several")
    };
    assert_eq!(
        any[0],
        When::Header("x-beta".into(), TextMatch::Exact("1".into()))
    );
    assert_eq!(
        any[4],
        When::Region(RegionMatch {
            country: vec!["DE".into()],
            subdivision: vec!["US-CA".into()],
            continent: vec!["EU".into()]
        })
    );
    let Target::Split(tenants) = &forward.rules[1].target else {
        panic!("it splits")
    };
    assert_eq!(
        (&tenants.by, tenants.salt.as_str()),
        (&SplitBy::Header("x-tenant".into()), "tenants")
    );
    assert_eq!(
        tenants
            .weights
            .iter()
            .map(|w| w.parts())
            .collect::<Vec<_>>(),
        [70_000, 0, 30_000]
    );
    let Target::Split(last) = &forward.rules[2].target else {
        panic!("it splits")
    };
    assert_eq!(
        (&last.by, last.salt.as_str()),
        (&SplitBy::User, "checkout.3"),
        "users are known here"
    );

    let Action::Forward(grpc) = &config.routes[1].action else {
        panic!("it forwards")
    };
    assert_eq!(
        (grpc.timeouts.request, grpc.timeouts.stream_idle),
        (None, Some(Duration::from_secs(300)))
    );
    let Action::Redirect(old) = &config.routes[2].action else {
        panic!("it redirects")
    };
    assert_eq!(
        (old.status, old.host.as_deref()),
        (308, Some("shop.example.com"))
    );
    let Action::Respond(nothing) = &config.routes[3].action else {
        panic!("it answers")
    };
    assert_eq!((nothing.status, nothing.body.as_str()), (404, "no route\n"));
}

#[test]
fn equal_files_give_equal_values() {
    assert_eq!(good(FULL), good(FULL));
}

#[test]
fn an_anchor_may_be_used_again() {
    let config = good(
        "version: 1
listeners:
  - { name: a, address: 127.0.0.1:1, limits: &limits { connections: 7 } }
  - { name: b, address: 127.0.0.1:2, limits: *limits }
routes: [{ name: none, respond: { status: 404 } }]
",
    );
    assert_eq!(config.listeners[1].limits.connections, 7);
}

#[test]
fn norway_is_a_country_without_quotes_too() {
    let text = MINIMAL.replace(
        "split: {",
        "when: { region: { country: [NO] } }\n        split: {",
    );
    let Action::Forward(forward) = &good(&text).routes[0].action else {
        panic!("it forwards")
    };
    assert!(
        matches!(&forward.rules[0].when, Some(When::Region(region)) if region.country == ["NO"])
    );
}

#[test]
fn a_large_file_is_read_in_good_time() {
    let mut text = MINIMAL.to_owned();
    for number in 0..10_000 {
        text.push_str(&format!("      - {{ name: r{number}, when: {{ header: {{ name: x, exact: \"{number}\" }} }}, to: v2 }}\n"));
    }
    let config = good(&text);
    let Action::Forward(forward) = &config.routes[0].action else {
        panic!("it forwards")
    };
    assert_eq!(forward.rules.len(), 10_001);
}

#[test]
fn a_path_is_the_same_however_it_is_spelt() {
    for (written, normal) in [
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/%7Eadmin", "/~admin"),
        ("/%40admin", "/@admin"),
    ] {
        let text = format!(
            "{HEAD}routes: [{{ service: app, match: {{ path: {{ exact: '{written}' }} }} }}]\n"
        );
        let config = good(&text);
        assert!(
            matches!(&config.routes[0].matches.path, Some(PathMatch::Exact(path)) if path == normal),
            "{written}: {:?}",
            config.routes[0].matches.path
        );
    }
}

#[test]
fn an_address_has_one_text() {
    let text =
        format!("{HEAD}routes: [{{ service: app, match: {{ hosts: ['[2001:DB8:0::1]'] }} }}]\n");
    let config = good(&text);
    assert!(
        matches!(&config.routes[0].matches.hosts[..], [HostPattern::Exact(host)] if host == "[2001:db8::1]")
    );
}

#[test]
fn a_header_with_an_underscore_counts_where_a_listener_lets_it_in() {
    let services = HEAD.split_once("services:").expect("services").1;
    for more in [
        "profile: sidecar",
        "trusted_headers: [x_beta]",
        "trusted_headers: [X_Beta]",
    ] {
        let text = format!(
            "version: 1
listeners: [{{ name: out, address: 127.0.0.1:1 }}, {{ name: in, address: 127.0.0.1:2, {more} }}]
services:{services}routes:
  - {{ service: app, rules: [{{ when: {{ header: {{ name: x_beta, present: true }} }}, split: {{ by: \"header:x_beta\", weights: {{ v1: 100% }} }} }}] }}
"
        );
        let loaded = parsed(&text);
        assert_eq!(loaded.problems, [], "{more}");
    }
}
