//! A share of the users, always the same ones, and nobody goes back while a share only grows. The published function is
//! computed here again, so that a data team's offline computation is held to what the proxy does.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Answer, Backend, Conn, Echo, H2Client, Proxy, Site, command};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The documented function: 100 000 slots.
fn slot(key: &str, salt: &str) -> u32 {
    ((u128::from(xxh3_64_with_seed(key.as_bytes(), xxh3_64(salt.as_bytes()))) * 100_000) >> 64)
        as u32
}

fn two() -> (Backend, Backend, Site) {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    (v1, v2, site)
}

fn share(percent: &str, rest: &str) -> String {
    format!(
        "[{{ name: everyone, split: {{ by: user, weights: {{ v2: {percent}, v1: {rest} }} }} }}]"
    )
}

/// Asks for each user over four HTTP/1.1 connections, several requests at a time on each; the version of each.
fn versions(proxy: &Proxy, users: &[String]) -> Vec<String> {
    let address = proxy.address("in");
    let quarter = users.len().div_ceil(4);
    std::thread::scope(|scope| {
        let parts: Vec<_> = users
            .chunks(quarter)
            .map(|part| {
                scope.spawn(move || {
                    let mut conn = Conn::open(address);
                    let mut seen = Vec::with_capacity(part.len());
                    for batch in part.chunks(64) {
                        let requests: String = batch
                            .iter()
                            .map(|user| {
                                format!(
                                    "GET /?bytes=1 HTTP/1.1\r\nHost: t\r\nx-user-id: {user}\r\n\r\n"
                                )
                            })
                            .collect();
                        conn.send(requests);
                        seen.extend(batch.iter().map(|_| conn.answer().version().to_owned()));
                    }
                    seen
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("a client does not fail"))
            .collect()
    })
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user-{n}")).collect()
}

#[test]
fn of_100_000_users_a_fifth_is_a_fifth() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.rules(&share("20%", "80%")));
    let users = users(100_000);
    let seen = versions(&proxy, &users);
    let candidates = seen.iter().filter(|v| *v == "v2").count();
    assert_eq!(seen.len(), 100_000);
    let percent = candidates as f64 / 1000.0;
    assert!(
        (percent - 20.0).abs() <= 0.3,
        "{percent} % of the users instead of 20 ± 0.3"
    );
    let expected = users
        .iter()
        .filter(|u| slot(u, "app.everyone") < 20_000)
        .count();
    assert_eq!(candidates, expected, "by the published function");
}

#[test]
fn a_user_keeps_the_version_across_connections_protocols_workers_and_restarts() {
    let (_v1, _v2, site) = two();
    let site = site.rules(&share("30%", "70%"));
    let users = users(1000);
    let expected: Vec<_> = users
        .iter()
        .map(|u| {
            if slot(u, "app.everyone") < 30_000 {
                "v2"
            } else {
                "v1"
            }
            .to_owned()
        })
        .collect();
    let mut first = Proxy::start(&site);
    assert_eq!(versions(&first, &users), expected, "over HTTP/1.1");
    let requests: Vec<_> = users
        .iter()
        .map(|u| ("/".to_owned(), format!("x-user-id: {u}")))
        .collect();
    let over_h2: Vec<_> = H2Client::open(first.address("in"))
        .get_all(&requests)
        .into_iter()
        .map(|a| a.expect("an answer").version().to_owned())
        .collect();
    assert_eq!(over_h2, expected, "over HTTP/2");
    first.finish();
    let other = site.with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    assert_eq!(
        versions(&Proxy::start(&other), &users),
        expected,
        "after a restart with another number of workers"
    );
}

#[test]
fn growing_from_10_to_25_percent_moves_nobody_back() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.clone().rules(&share("10%", "90%")));
    let users = users(20_000);
    let chosen = |seen: Vec<String>| -> BTreeSet<String> {
        users
            .iter()
            .zip(seen)
            .filter(|(_, v)| v == "v2")
            .map(|(u, _)| u.clone())
            .collect()
    };
    let at_10 = chosen(versions(&proxy, &users));
    proxy.edit(&site.rules(&share("25%", "75%")));
    let at_25 = chosen(versions(&proxy, &users));
    assert_eq!(
        at_10.difference(&at_25).count(),
        0,
        "who has the candidate keeps it"
    );
    let expected = |bound: u32| {
        users
            .iter()
            .filter(|u| slot(u, "app.everyone") < bound)
            .count()
    };
    assert_eq!(
        (at_10.len(), at_25.len()),
        (expected(10_000), expected(25_000))
    );
}

#[test]
fn a_thousandth_of_a_percent_is_one_slot() {
    let (_v1, _v2, site) = two();
    let proxy = Proxy::start(&site.rules(&share("0.001%", "99.999%")));
    let chosen = (0..)
        .map(|n| format!("u{n}"))
        .find(|u| slot(u, "app.everyone") == 0)
        .expect("a user in slot 0");
    let next = (0..)
        .map(|n| format!("u{n}"))
        .find(|u| slot(u, "app.everyone") == 1)
        .expect("a user in slot 1");
    assert_eq!(
        proxy.get("/", &[&format!("x-user-id: {chosen}")]).version(),
        "v2"
    );
    assert_eq!(
        proxy.get("/", &[&format!("x-user-id: {next}")]).version(),
        "v1"
    );
}

#[test]
fn explain_gives_the_slots_of_the_published_function() {
    let (_v1, _v2, site) = two();
    let site = site.with(
        "routes",
        r#"
  - name: shop
    match: { hosts: [shop] }
    service: app
    rules: [{ name: everyone, split: { by: user, weights: { v2: 20%, v1: 80% } } }]
  - name: written
    match: { hosts: [written] }
    service: app
    rules: [{ split: { by: user, salt: "spring sale", weights: { v2: 20%, v1: 80% } } }]
  - match: { hosts: [unnamed] }
    service: app
    rules: [{ when: { header: { name: a, exact: b } }, to: v1 }, { split: { weights: { v2: 20%, v1: 80% } } }]"#,
    );
    let proxy = Proxy::start(&site);
    let file = proxy.file().to_str().unwrap().to_owned();
    let salts = [
        ("shop", "shop.everyone"),
        ("written", "spring sale"),
        ("unnamed", "app.2"),
    ];
    for (host, salt) in salts {
        for key in ["42", "user-1", "", "ümläut", "a b", &"long".repeat(100)] {
            let header = format!("x-user-id: {key}");
            let url = format!("http://{host}/");
            let args = [
                "explain",
                "--config",
                &file,
                "--trusted",
                "--header",
                &header,
                "--format",
                "json",
                &url,
            ];
            let out = command(&args, "");
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            let told: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
            if key.is_empty() {
                assert!(told["slot"].is_null(), "an empty ID is no user: {told}");
                continue;
            }
            assert_eq!(
                told["slot"],
                slot(key, salt),
                "key {key:?}, salt {salt:?}: {told}"
            );
            let version = if slot(key, salt) < 20_000 { "v2" } else { "v1" };
            assert_eq!(
                told["version"], version,
                "key {key:?}, salt {salt:?}: {told}"
            );
            assert!(
                told["key_source"]
                    .as_str()
                    .is_some_and(|s| s.contains("x-user-id")),
                "{told}"
            );
        }
    }
}

#[test]
fn a_random_split_is_not_pinned_to_a_connection() {
    let (_v1, _v2, site) = two();
    let rules = "[{ split: { by: random, weights: { v2: 25%, v1: 75% } } }]";
    let proxy = Proxy::start(&site.rules(rules));
    let mut conn = proxy.connect();
    let seen: Vec<_> = (0..4000)
        .map(|_| conn.get("/?bytes=1", &["x-user-id: one"]).version() == "v2")
        .collect();
    let share = seen.iter().filter(|s| **s).count() as f64;
    // Four standard deviations of the binomial: one run in 16 000 would fall outside.
    assert!(
        (share - 1000.0).abs() < 4.0 * (4000.0_f64 * 0.25 * 0.75).sqrt(),
        "{share} of 4 000 instead of 1 000"
    );
    let changes = seen.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(
        changes > 1000,
        "requests of one connection are drawn one by one, here {changes} changes"
    );
}

#[test]
fn a_split_can_follow_a_header_a_cookie_or_the_client_address() {
    let (_v1, _v2, site) = two();
    let split = |by: &str| {
        format!("[{{ name: r, split: {{ by: \"{by}\", weights: {{ v2: 50%, v1: 50% }} }} }}]")
    };
    let version = |key: &str| {
        if slot(key, "app.r") < 50_000 {
            "v2"
        } else {
            "v1"
        }
    };
    let proxy = Proxy::start(&site.clone().rules(&split("header:x-tenant")));
    for tenant in ["a", "b", "c", "d", "e", "f"] {
        let answer = proxy.get("/", &[&format!("X-Tenant: {tenant}  "), "x-user-id: same"]);
        assert_eq!(answer.version(), version(tenant), "tenant {tenant}");
    }
    proxy.edit(&site.clone().rules(&split("cookie:sid")));
    for sid in ["a", "b", "c", "d", "e", "f"] {
        let answer = proxy.get("/", &[&format!("Cookie: x=1; sid={sid}; y=2")]);
        assert_eq!(answer.version(), version(sid), "session {sid}");
    }
    let by_address = site
        .with(
            "listeners",
            r#"[{ name: in, address: "127.0.0.1:0", client_address: { from: x-forwarded-for, trusted_proxies: ["127.0.0.1"] } }]"#,
        )
        .rules(&split("client_address"));
    let proxy = Proxy::start(&by_address);
    for n in 1..9 {
        let address = format!("198.51.100.{n}");
        let answer = proxy.get("/", &[&format!("x-forwarded-for: {address}")]);
        assert_eq!(answer.version(), version(&address), "{address}");
        let mapped = proxy.get("/", &[&format!("x-forwarded-for: ::ffff:{address}")]);
        assert_eq!(
            mapped.version(),
            answer.version(),
            "an IPv4-mapped address is the IPv4 one"
        );
        let six = |host: &str| {
            proxy
                .get("/", &[&format!("x-forwarded-for: 2001:db8:{n}::{host}")])
                .version()
                .to_owned()
        };
        assert_eq!(six("1"), six("ffff:2"), "one /64 is one client");
    }
}

#[test]
fn a_visitor_without_an_id_is_given_one_and_it_counts_for_that_very_request() {
    let (_v1, _v2, site) = two();
    let site = site
        .with("identity", "{ user: [{ cookie: uid }, { assign_cookie: tidegate_id }] }")
        .with(
            "routes",
            r#"
  - { name: fixed, match: { path: { prefix: /fixed } }, service: app, rules: [{ to: v1 }] }
  - { name: app, service: app, rules: [{ name: r, split: { by: user, weights: { v2: 50%, v1: 50% } } }] }"#,
        );
    let proxy = Proxy::start(&site);
    let expected = |key: &str| {
        if slot(key, "app.r") < 50_000 {
            "v2"
        } else {
            "v1"
        }
    };
    let mut given = BTreeSet::new();
    for _ in 0..40 {
        let answer = proxy.get("/", &[]);
        let cookie = given_id(&answer);
        assert_eq!(answer.version(), expected(&cookie), "the ID counts at once");
        let again = proxy.get("/", &[&format!("Cookie: tidegate_id={cookie}")]);
        assert_eq!(again.version(), expected(&cookie), "and for good");
        assert!(
            !again.fields.has("set-cookie"),
            "it is given once: {:?}",
            again.fields
        );
        assert!(given.insert(cookie), "no two visitors get the same ID");
    }
    let known = proxy.get("/", &["Cookie: uid=7"]);
    assert_eq!(known.version(), expected("7"));
    assert!(
        !known.fields.has("set-cookie"),
        "who has an ID is not given another: {:?}",
        known.fields
    );
    assert!(
        !proxy.get("/fixed", &[]).fields.has("set-cookie"),
        "only where a split asked"
    );
    let both = proxy.get("/?cookie=own=1", &[]);
    assert_eq!(
        both.fields.all("set-cookie").len(),
        2,
        "the backend's cookie goes on beside it: {:?}",
        both.fields
    );
}

/// The ID in the cookie, whose attributes are checked.
#[track_caller]
fn given_id(answer: &Answer) -> String {
    let line = answer.header("set-cookie");
    let mut parts = line.split(';').map(str::trim);
    let id = parts
        .next()
        .and_then(|p| p.strip_prefix("tidegate_id="))
        .unwrap_or_else(|| panic!("a cookie in {line:?}"));
    let attributes: BTreeSet<_> = parts.map(str::to_ascii_lowercase).collect();
    let expected: BTreeSet<_> = ["path=/", "httponly", "samesite=lax", "max-age=31536000"]
        .map(str::to_owned)
        .into_iter()
        .collect();
    assert_eq!(attributes, expected, "of {line:?} over plain HTTP");
    assert!(
        id.len() >= 20 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
        "an ID that nobody guesses: {id}"
    );
    id.to_owned()
}

#[test]
fn of_two_candidates_the_first_takes_slots_from_below_and_the_second_from_above() {
    let backends: Vec<_> = ["v1", "v2", "v3"].map(Backend::start).into_iter().collect();
    let versions_of: Vec<_> = backends
        .iter()
        .map(|b| (b.state.version.as_str(), b.endpoint()))
        .collect();
    let site = Site::of(&versions_of);
    let rules = |v2: u32, v3: u32| {
        let v1 = 100 - v2 - v3;
        format!(
            "[{{ name: r, split: {{ by: user, weights: {{ v3: {v3}%, v1: {v1}%, v2: {v2}% }} }} }}]"
        )
    };
    let proxy = Proxy::start(&site.clone().rules(&rules(20, 10)));
    let users = users(3000);
    let expected = |v2: u32, v3: u32| -> Vec<String> {
        let version = |s: u32| {
            if s < v2 * 1000 {
                "v2"
            } else if s >= 100_000 - v3 * 1000 {
                "v3"
            } else {
                "v1"
            }
        };
        users
            .iter()
            .map(|u| version(slot(u, "app.r")).to_owned())
            .collect()
    };
    assert_eq!(versions(&proxy, &users), expected(20, 10));
    proxy.edit(&site.clone().rules(&rules(40, 30)));
    assert_eq!(
        versions(&proxy, &users),
        expected(40, 30),
        "both grow and nobody moves between them"
    );
    proxy.edit(&site.rules(&rules(40, 60)));
    assert_eq!(
        versions(&proxy, &users),
        expected(40, 60),
        "until nothing is left"
    );
}

#[test]
fn every_worker_takes_part_and_agrees() {
    let (_v1, _v2, site) = two();
    let site = site
        .with("runtime", "{ workers: 3, drain: { min: 0s, max: 5s } }")
        .rules(&share("50%", "50%"));
    let proxy = Proxy::start(&site);
    assert_eq!(proxy.status()["workers"], 3);
    let mut of_user: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..40 {
        let mut conn = proxy.connect();
        for user in ["a", "b", "c", "d"] {
            let echo = Echo::of(&conn.get("/", &[&format!("x-user-id: {user}")]));
            of_user
                .entry(user.to_owned())
                .or_default()
                .insert(echo.version);
        }
    }
    assert!(
        of_user.values().all(|versions| versions.len() == 1),
        "one user, one version: {of_user:?}"
    );
}
