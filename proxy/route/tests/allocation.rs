//! Nothing is allocated: counted on this thread by a test allocator.

use tidegate_config::*;

use super::house::*;
use super::regions::{by_region, database};
use crate::route::Lot;
use crate::route::{Regions, Table};

/// What one decision allocates, after a first one made scratch memory for expressions.
fn allocations(table: &Table, request: &Request) -> u64 {
    let caller = request.caller();
    let mut chance = || 0x9e37_79b9_7f4a_7c15;
    std::hint::black_box(table.decide(&caller, &[] as &[Lot], &mut chance));
    allocation_counter::measure(|| {
        std::hint::black_box(table.decide(&caller, &[] as &[Lot], &mut chance));
    })
    .count_total
}

/// A rule on each kind of condition, `filler` rules of each of some kinds, and a split.
fn full(filler: usize, by: SplitBy) -> Table {
    let query = |name: &str, text: TextMatch| When::Query(name.into(), text);
    let cookie = |name: &str, value: String| When::Cookie(name.into(), TextMatch::Exact(value));
    let mut rules = vec![
        to(
            1,
            When::Header("x-a".into(), TextMatch::Contains("needle".into())),
        ),
        to(
            1,
            When::Header(
                "x-b".into(),
                TextMatch::Regex("^[0-9]+-(a|b)+$".parse().unwrap()),
            ),
        ),
        to(1, query("q", TextMatch::Contains("two words!".into()))),
        to(1, query("q", TextMatch::Regex("^x.*y$".parse().unwrap()))),
        to(
            1,
            When::Path(PathMatch::Regex("^/never/(a|b)*$".parse().unwrap())),
        ),
        to(1, When::Not(Box::new(When::Method(vec!["GET".into()])))),
        to(
            1,
            When::Source(vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ]),
        ),
        to(
            1,
            When::Region(RegionMatch {
                country: vec!["SE".into()],
                ..RegionMatch::default()
            }),
        ),
    ];
    for n in 0..filler {
        rules.push(to(1, header("x-tenant", &format!("t{n}"))));
        rules.push(to(1, cookie("group", format!("g{n}"))));
        rules.push(to(1, query("q", TextMatch::Exact(format!("v {n}")))));
        rules.push(to(1, users(&[&format!("u{n}")])));
        rules.push(to(1, When::Path(PathMatch::Prefix(format!("/p{n}")))));
    }
    rules.push(split(by, &[40, 30, 30]));
    let identity = vec![
        UserSource::Header("x-user-id".into()),
        UserSource::Cookie("uid".into()),
        UserSource::AssignCookie("tidegate_id".into()),
    ];
    let mut config = config(
        identity,
        vec![
            route(
                "other",
                matching(&["*.example.com"], prefix("/other")),
                vec![],
            ),
            route("app", matching(&["shop.example.com"], prefix("/")), rules),
        ],
    );
    config.geo = Some(Geo {
        database: Some(database()),
        header: Some("x-region".into()),
    });
    let regions = config
        .geo
        .as_ref()
        .and_then(|geo| geo.database.as_ref())
        .map(|d| Regions::open(d).unwrap());
    Table::compile(&config, regions)
}

#[test]
fn a_decision_allocates_nothing() {
    let plain = get("Shop.Example.com", "/p/q?q=some%20words&z=1");
    let requests = [
        plain.clone(),
        plain
            .clone()
            .with("x-user-id", "42")
            .with("x-region", "DE-BE"),
        plain
            .clone()
            .with("cookie", "a=1; uid=7; group=none")
            .with("x-tenant", "nobody")
            .with("x-a", "hay"),
        plain.clone().with("x-tenant", "t3").with("x-b", "12-aba"),
        plain.clone().from("2001:db9::1"),
        plain.clone().from("81.2.70.1").with("x-b", "no"),
        get("shop.example.com", "/p7/x?q=v+7")
            .with("cookie", "group=g7")
            .with("x-user-id", "u7"),
        get("unknown", "/"),
    ];
    let by = [
        SplitBy::User,
        SplitBy::Random,
        SplitBy::ClientAddress,
        SplitBy::Header("x-tenant".into()),
        SplitBy::Cookie("group".into()),
    ];
    for filler in [0, 200] {
        for by in &by {
            let table = full(filler, by.clone());
            for request in &requests {
                assert_eq!(
                    allocations(&table, request),
                    0,
                    "{filler} × 5 rules, by {by:?}: {request:?}"
                );
            }
        }
    }
}

#[test]
fn a_region_from_a_database_allocates_nothing() {
    for (country, subdivision) in [("SE", "SE-AB"), ("US", "US-CA")] {
        let places = RegionMatch {
            country: vec![country.into()],
            subdivision: vec![subdivision.into()],
            continent: vec![],
        };
        let table = by_region(places, None, true);
        for client in ["81.2.69.160", "216.160.83.56", "2a02:cf40::1", "127.0.0.1"] {
            assert_eq!(
                allocations(&table, &get("a", "/").from(client)),
                0,
                "{client}"
            );
        }
    }
}

#[test]
fn the_counter_counts() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(info.count_total, 1);
}
