//! The rules of routing as plain code: every route and every rule is looked at, in the order that the documentation
//! tells. The table must decide the same on any configuration and any request.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_config::*;

use super::house::*;
use crate::route::Lot;
use crate::route::slot::{Salt, slot};
use crate::route::{Decision, KeySource};

/// The one number that chance draws in these tests: a low slot.
const CHANCE: u64 = 0x0123_4567_89ab_cdef;
const ASSIGNED: &str = "0123456789abcdef0123456789abcdef";

/// What is compared of a decision: route, and rule, version, slot, and the assigned ID.
type Outcome = Option<(
    usize,
    Option<(Option<usize>, usize, Option<u32>, Option<String>)>,
)>;

fn outcome(decision: Decision) -> Outcome {
    match decision {
        Decision::NotFound => None,
        Decision::Answer { route } => Some((route, None)),
        Decision::Forward(c) => {
            let assigned = c.assigned.map(|id| id.as_str().to_string());
            Some((c.route, Some((c.rule, c.version, c.slot, assigned))))
        }
    }
}

fn reference(config: &Config, request: &Request) -> Outcome {
    let number = find_route(config, request)?;
    let Action::Forward(forward) = &config.routes[number].action else {
        return Some((number, None));
    };
    let rule = forward
        .rules
        .iter()
        .position(|rule| rule.when.as_ref().is_none_or(|w| holds(config, w, request)));
    let tried = rule.map_or(&forward.rules[..], |rule| &forward.rules[..=rule]);
    let mut asked = tried
        .iter()
        .any(|rule| rule.when.as_ref().is_some_and(mentions_user));
    let (version, slot) = match rule.map(|rule| &forward.rules[rule].target) {
        None => (config.services[forward.service].stable, None),
        Some(Target::To(version)) => (*version, None),
        Some(Target::Rollout(_)) => unreachable!("the house has none"),
        Some(Target::Split(split)) => {
            asked |= split.by == SplitBy::User;
            let key = key(config, &split.by, request);
            let slot = key.map(|key| slot(&key, Salt::new(&split.salt)));
            let place = slot.unwrap_or(((u128::from(CHANCE) * 100_000) >> 64) as u32);
            (
                version(
                    &split.weights,
                    config.services[forward.service].stable,
                    place,
                ),
                slot,
            )
        }
    };
    let given = user(config, request).is_some_and(|(_, assigned)| assigned);
    Some((
        number,
        Some((
            rule,
            version,
            slot,
            (asked && given).then(|| ASSIGNED.to_string()),
        )),
    ))
}

fn find_route(config: &Config, request: &Request) -> Option<usize> {
    let host = request.host.to_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let fits = config
        .routes
        .iter()
        .enumerate()
        .filter_map(|(number, route)| {
            if route
                .matches
                .listener
                .is_some_and(|listener| listener != request.listener)
            {
                return None;
            }
            let hosts = route
                .matches
                .hosts
                .iter()
                .filter_map(|pattern| match pattern {
                    HostPattern::Exact(name) => (host == name).then_some(usize::MAX),
                    HostPattern::Suffix(end) => {
                        (host.ends_with(end) && host.len() > end.len()).then_some(end.len())
                    }
                });
            let host = if route.matches.hosts.is_empty() {
                0
            } else {
                hosts.max()?
            };
            let path = match &route.matches.path {
                Some(path) if !path_holds(path, &request.path) => return None,
                Some(PathMatch::Exact(_)) => (3, 0),
                Some(PathMatch::Prefix(prefix)) => (2, prefix.len()),
                Some(PathMatch::Regex(_)) => (1, 0),
                None => (0, 0),
            };
            Some((host, path, Reverse(number)))
        });
    fits.max().map(|(_, _, Reverse(number))| number)
}

fn path_holds(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(wanted) => path == wanted,
        PathMatch::Prefix(prefix) => {
            let segments = |path: &str| path.split('/').map(String::from).collect::<Vec<_>>();
            prefix.is_empty() || segments(path).starts_with(&segments(prefix))
        }
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

fn holds(config: &Config, when: &When, request: &Request) -> bool {
    match when {
        When::All(list) => list.iter().all(|when| holds(config, when, request)),
        When::Any(list) => list.iter().any(|when| holds(config, when, request)),
        When::Not(when) => !holds(config, when, request),
        When::Header(name, text) => text_holds(text, &headers(request, name)),
        When::Cookie(name, text) => text_holds(text, &cookies(request, name)),
        When::Query(name, text) => text_holds(text, &queries(request, name)),
        When::Path(path) => path_holds(path, &request.path),
        When::Method(methods) => methods
            .iter()
            .any(|method| method == request.method.as_str()),
        When::Region(places) => {
            let Some(said) = trusted(config, request, "x-region").into_iter().next() else {
                return false;
            };
            let country = said.split('-').next().unwrap_or_default();
            let continent = if country == "SE" { "EU" } else { "NA" };
            let one = |list: &[String], code: &str| {
                list.is_empty() || list.iter().any(|item| item == code)
            };
            one(&places.country, country)
                && one(&places.subdivision, &said)
                && one(&places.continent, continent)
        }
        When::Source(networks) => networks
            .iter()
            .any(|network| network.contains(&request.client.to_canonical())),
        When::User(list) => {
            user(config, request).is_some_and(|(key, _)| list.iter().any(|u| u.as_bytes() == key))
        }
        // These callers show none.
        When::ClientCertificate(_, text) => text_holds(text, &[]),
    }
}

fn mentions_user(when: &When) -> bool {
    match when {
        When::All(list) | When::Any(list) => list.iter().any(mentions_user),
        When::Not(when) => mentions_user(when),
        When::User(_) => true,
        _ => false,
    }
}

fn text_holds(text: &TextMatch, values: &[String]) -> bool {
    match text {
        TextMatch::Exact(wanted) => values.iter().any(|value| value == wanted),
        TextMatch::Prefix(wanted) => values.iter().any(|value| value.starts_with(wanted)),
        TextMatch::Contains(wanted) => values.iter().any(|value| value.contains(wanted)),
        TextMatch::Regex(regex) => values.iter().any(|value| regex.is_match(value)),
        TextMatch::Present(wanted) => values.is_empty() != *wanted,
    }
}

fn headers(request: &Request, name: &str) -> Vec<String> {
    request
        .headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().unwrap().to_string())
        .collect()
}

fn trusted(config: &Config, request: &Request, name: &str) -> Vec<String> {
    let counts = config.listeners[request.listener]
        .trusted_headers
        .iter()
        .any(|header| header == name);
    if counts {
        headers(request, name)
    } else {
        Vec::new()
    }
}

fn cookies(request: &Request, name: &str) -> Vec<String> {
    let lines = headers(request, "cookie").join(";");
    let pairs = lines.split(';').filter_map(|piece| piece.split_once('='));
    pairs
        .filter(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_string())
        .collect()
}

fn queries(request: &Request, name: &str) -> Vec<String> {
    // Only `%61` ("a") and `+` occur in these requests.
    let decode = |text: &str| text.replace("%61", "a").replace('+', " ");
    let pieces = request
        .query
        .as_deref()
        .unwrap_or_default()
        .split('&')
        .filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pairs
        .filter(|(found, _)| decode(found) == name)
        .map(|(_, value)| decode(value))
        .collect()
}

/// The user's key, and whether it is one that was given just now.
fn user(config: &Config, request: &Request) -> Option<(Vec<u8>, bool)> {
    for source in &config.identity {
        let sent = match source {
            UserSource::Header(name) => trusted(config, request, name)
                .into_iter()
                .find(|value| !value.is_empty()),
            UserSource::Cookie(name) => cookies(request, name)
                .into_iter()
                .find(|value| !value.is_empty()),
            UserSource::AssignCookie(name) => {
                match cookies(request, name).into_iter().find(|v| !v.is_empty()) {
                    Some(sent) => Some(sent),
                    None => return Some((ASSIGNED.into(), true)),
                }
            }
            UserSource::ClientAddress => Some(address(request.client)),
            UserSource::ClientCertificate(_) => None,
        };
        if let Some(sent) = sent {
            return Some((sent.into_bytes(), false));
        }
    }
    None
}

fn address(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

fn key(config: &Config, by: &SplitBy, request: &Request) -> Option<Vec<u8>> {
    match by {
        SplitBy::User => user(config, request).map(|(key, _)| key),
        SplitBy::Random => None,
        SplitBy::ClientAddress => Some(address(request.client).into_bytes()),
        SplitBy::Header(name) => {
            let mut lines = headers(request, name);
            lines.dedup();
            (lines.len() == 1).then(|| lines.remove(0).into_bytes())
        }
        SplitBy::Cookie(name) => cookies(request, name)
            .into_iter()
            .find(|v| !v.is_empty())
            .map(String::into_bytes),
    }
}

/// Two versions besides stable, which is the first: one from below, one from above.
fn version(weights: &[Share], stable: usize, slot: u32) -> usize {
    assert_eq!((weights.len(), stable), (3, 0));
    if slot < weights[1].parts() {
        1
    } else if slot >= 100_000 - weights[2].parts() {
        2
    } else {
        0
    }
}

const HEADERS: [&str; 3] = ["x-a", "x-b", "x-user-id"];
const VALUES: [&str; 4] = ["a", "b", "aa", "a b"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(&["a", "b", "aa"][..]).prop_map(String::from)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(&VALUES[..]).prop_map(String::from)
}

fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(&["a", "b", "ab", ""][..]), 1..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn text() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        6 => value().prop_map(TextMatch::Exact),
        3 => prop_oneof![value(), Just(String::new())].prop_map(TextMatch::Prefix),
        1 => value().prop_map(TextMatch::Contains),
        1 => Just("^a+$".parse().unwrap()).prop_map(TextMatch::Regex),
        1 => any::<bool>().prop_map(TextMatch::Present),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        path().prop_map(PathMatch::Exact),
        path().prop_map(|path| PathMatch::Prefix(path.trim_end_matches('/').into())),
        prop::sample::select(&["^/a", "b$", "."][..])
            .prop_map(|r| PathMatch::Regex(r.parse().unwrap())),
    ]
}

fn region() -> impl Strategy<Value = RegionMatch> {
    let list = |codes: &'static [&'static str]| {
        vec(prop::sample::select(codes).prop_map(String::from), 0..3)
    };
    (
        list(&["SE", "US"]),
        list(&["US-CA", "US-NY"]),
        list(&["EU", "NA"]),
    )
        .prop_map(|(country, subdivision, continent)| {
            // At least one list, as the file's check wants it.
            let continent = if country.is_empty() && subdivision.is_empty() {
                vec!["EU".into()]
            } else {
                continent
            };
            RegionMatch {
                country,
                subdivision,
                continent,
            }
        })
}

fn when() -> impl Strategy<Value = When> {
    let networks = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1/32",
        "2001:db8::/32",
        "0.0.0.0/0",
    ];
    let leaf = prop_oneof![
        4 => (prop::sample::select(&HEADERS[..]), text()).prop_map(|(n, t)| When::Header(n.into(), t)),
        2 => (name(), text()).prop_map(|(n, t)| When::Cookie(n, t)),
        2 => (name(), text()).prop_map(|(n, t)| When::Query(n, t)),
        3 => path_match().prop_map(When::Path),
        1 => vec(prop::sample::select(&["GET", "POST"][..]).prop_map(String::from), 0..3).prop_map(When::Method),
        1 => region().prop_map(When::Region),
        1 => vec(prop::sample::select(networks.to_vec()).prop_map(|n| n.parse().unwrap()), 1..3).prop_map(When::Source),
        1 => vec(value(), 0..3).prop_map(|list| When::User(Arc::new(list.into_iter().collect()))),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(When::All),
            vec(inner.clone(), 0..4).prop_map(When::Any),
            inner.prop_map(|when| When::Not(Box::new(when))),
        ]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let by = prop_oneof![
        Just(SplitBy::User),
        Just(SplitBy::Random),
        Just(SplitBy::ClientAddress),
        Just(SplitBy::Header("x-a".into())),
        Just(SplitBy::Cookie("a".into())),
    ];
    let target = prop_oneof![
        (0usize..3).prop_map(Target::To),
        (by, 0u32..=50_000, 0u32..=50_000).prop_map(|(by, second, third)| {
            let weights = [100_000 - second - third, second, third]
                .map(|parts| Share::from_parts(parts).unwrap());
            Target::Split(Split {
                by,
                salt: "s".into(),
                weights: weights.into(),
            })
        }),
    ];
    let when = prop_oneof![9 => when().prop_map(Some), 1 => Just(None)];
    (when, target).prop_map(|(when, target)| Rule {
        name: "r".into(),
        when,
        target,
    })
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let hosts = ["a.test", "b.a.test", "*.test", "*.a.test", "*.b.a.test"];
    let listener = prop_oneof![4 => Just(None), 1 => (0usize..4).prop_map(Some)];
    (
        listener,
        vec(prop::sample::select(hosts.to_vec()), 0..3),
        prop::option::of(path_match()),
    )
        .prop_map(|(listener, hosts, path)| RouteMatch {
            listener,
            ..matching(&hosts, path)
        })
}

/// Any configuration of the house.
pub(crate) fn configuration(
    routes: std::ops::Range<usize>,
    rules: std::ops::Range<usize>,
) -> impl Strategy<Value = Config> {
    let respond = Respond {
        status: 200,
        body: String::new(),
        content_type: String::new(),
    };
    let one =
        (matches(), vec(rule(), rules), 0..10u8).prop_map(
            move |(matches, rules, kind)| match kind {
                0 => answering("r", matches, Action::Respond(respond.clone())),
                _ => route("r", matches, rules),
            },
        );
    let source = prop_oneof![
        Just(UserSource::Header("x-user-id".into())),
        name().prop_map(UserSource::Cookie),
        name().prop_map(UserSource::AssignCookie),
        Just(UserSource::ClientAddress),
    ];
    (vec(one, routes), vec(source, 0..3)).prop_map(|(routes, identity)| {
        let mut config = config(identity, routes);
        config.geo = Some(Geo {
            database: None,
            header: Some("x-region".into()),
        });
        config
    })
}

/// Any request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(
        &[
            "a.test",
            "B.a.Test",
            "c.b.a.test",
            "x.test.",
            "test",
            "other",
        ][..],
    );
    let query = vec(
        (
            prop::sample::select(&["a", "%61", "b", "a%61"][..]),
            query_value(),
        ),
        0..3,
    );
    let headers = vec((prop::sample::select(&["x-a", "x-b"][..]), value()), 0..4);
    let cookies = vec((name(), prop_oneof![value(), Just(String::new())]), 0..3);
    let user = prop::option::of(value());
    let region = prop::option::of(prop::sample::select(&["SE", "US", "US-CA"][..]));
    let client =
        prop::sample::select(&["10.1.1.1", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::1"][..]);
    let line = (0usize..4, any::<bool>(), host, path());
    (line, query, headers, cookies, (user, region, client)).prop_map(
        |((listener, post, host, path), query, headers, cookies, (user, region, client))| {
            let mut request = get(host, &path).on(listener).from(client);
            if post {
                request.method = http::Method::POST;
            }
            let pairs: Vec<String> = query
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request.query = (!pairs.is_empty()).then(|| pairs.join("&"));
            for (name, value) in headers {
                request = request.with(name, &value);
            }
            for (name, value) in cookies {
                request = request.with("cookie", &format!("{name}={value}"));
            }
            let optional = [("x-user-id", user.as_deref()), ("x-region", region)];
            for (name, value) in optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
            {
                request = request.with(name, value);
            }
            request
        },
    )
}

fn query_value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", "%61a", "a+b", ""][..])
}

/// Table and plain code decide the same.
pub(crate) fn agree(config: &Config, requests: &[Request]) -> Result<(), TestCaseError> {
    let table = table(config);
    for request in requests {
        let decision = request.decide_by_chance(&table, CHANCE);
        prop_assert_eq!(
            outcome(decision),
            reference(config, request),
            "{:?}",
            request
        );
        let told = table.explain(&request.caller(), &[] as &[Lot], &mut || CHANCE);
        if let Decision::Forward(choice) = decision {
            prop_assert_eq!(told.slot, choice.slot);
            prop_assert_eq!(
                told.version,
                Some(config.services[0].versions[choice.version].name.clone())
            );
            prop_assert_eq!(
                told.key_source.is_none(),
                choice.key_source == KeySource::Nothing
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_table_decides_as_the_rules_of_routing_say(
        config in configuration(0..12, 0..4), requests in vec(request(), 12)
    ) {
        agree(&config, &requests)?;
    }

    #[test]
    fn any_route_of_many_rules_decides_as_if_all_were_tried(
        config in configuration(1..2, 9..60), requests in vec(request(), 12)
    ) {
        let mut config = config;
        config.routes[0].matches = RouteMatch::default();
        agree(&config, &requests)?;
    }
}

#[test]
fn a_request_with_more_values_than_are_merged_is_decided_all_the_same() {
    let rules = (0..200)
        .map(|n| to(1 + n % 2, header("x-a", &format!("v{n}"))))
        .collect();
    let config = config(vec![], vec![route("app", RouteMatch::default(), rules)]);
    let table = table(&config);
    let mut request = get("a", "/");
    for n in (50..150).rev() {
        request = request.with("x-a", &format!("v{n}"));
        assert_eq!(request.choice(&table).rule, Some(n));
    }
}
