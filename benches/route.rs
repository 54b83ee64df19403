//! What a routing decision costs, by the number of rules and routes. The request has twelve headers, as a browser's.
//!
//! `contains` and `expressions` are the worst case: a header is sent of which every rule must be asked. All others are
//! the cases that the index is for: a thousand times the rules cost nearly the same.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use tidegate::route::{Caller, Lot, Regions, Table};
use tidegate_config::*;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// So many rules or routes.
type Routes = fn(usize) -> Vec<Route>;

fn decisions(criterion: &mut Criterion) {
    let text = |value: String| TextMatch::Exact(value);
    let cases: [(&str, Routes); 6] = [
        ("names", |count| {
            one_route(count, |n| {
                When::Header(format!("x-feature-{n}"), TextMatch::Exact("1".into()))
            })
        }),
        ("beginnings", |count| {
            one_route(count, |n| {
                When::Header("x-tenant".into(), TextMatch::Prefix(format!("t{n}")))
            })
        }),
        ("tenants", |count| {
            one_route(count, |n| {
                When::Header("x-tenant".into(), TextMatch::Exact(format!("t{n}")))
            })
        }),
        ("cohorts", |count| {
            one_route(count, |n| {
                When::User(Arc::new(
                    (0..20).map(|user| format!("u{n}-{user}")).collect(),
                ))
            })
        }),
        ("prefixes", |count| {
            (0..count)
                .map(|n| {
                    route(
                        vec![],
                        Some(PathMatch::Prefix(format!("/api/v1/area-{n}"))),
                        vec![],
                    )
                })
                .collect()
        }),
        ("hosts", |count| {
            let host = |n: usize| match n % 2 {
                0 => HostPattern::Exact(format!("shop-{n}.example.com")),
                _ => HostPattern::Suffix(format!(".shop-{n}.example.com")),
            };
            (0..count)
                .map(|n| {
                    route(
                        vec![host(n)],
                        Some(PathMatch::Prefix("/api".into())),
                        vec![],
                    )
                })
                .collect()
        }),
    ];
    for (name, routes) in cases {
        bench(criterion, name, &SIZES, routes);
    }
    bench(criterion, "mixed", &SIZES, |count| {
        one_route(count, |n| match n % 5 {
            0 => When::Header("x-tenant".into(), text(format!("t{n}"))),
            1 => When::Cookie("group".into(), text(format!("g{n}"))),
            2 => When::Query("preview".into(), text(format!("p{n}"))),
            3 => When::All(vec![
                When::Method(vec!["GET".into()]),
                When::Path(PathMatch::Prefix(format!("/api/v1/area-{n}"))),
            ]),
            _ => When::Source(vec![
                format!("10.{}.{}.0/24", n / 250 % 250, n % 250)
                    .parse()
                    .expect("a network"),
            ]),
        })
    });
    bench(criterion, "contains", &SIZES, |count| {
        one_route(count, |n| {
            When::Header(
                "x-tenant".into(),
                TextMatch::Contains(format!("tenant-{n}-")),
            )
        })
    });
    bench(criterion, "expressions", &SIZES[..2], |count| {
        let expression = |n| {
            format!("^tenant-{n}-(a|b)+$")
                .parse()
                .expect("an expression")
        };
        one_route(count, |n| {
            When::Header("x-tenant".into(), TextMatch::Regex(expression(n)))
        })
    });
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    sizes: &[usize],
    routes: impl Fn(usize) -> Vec<Route>,
) {
    let mut group = criterion.benchmark_group(format!("route/{name}"));
    for &count in sizes {
        let table = Table::compile(&config(routes(count)), None);
        let half = count / 2;
        let hit = headers(&[
            ("x-tenant", &format!("t{half}")),
            ("cookie", &format!("a=b; group=g{half}; uid=7")),
        ]);
        let miss = headers(&[("x-tenant", "nobody"), ("cookie", "a=b; group=none; uid=7")]);
        let host = format!("shop-{}.example.com", half & !1);
        for (name, path, headers) in [
            ("hit", format!("/api/v1/area-{half}/items/7"), hit),
            ("miss", "/".into(), miss),
        ] {
            let caller = Caller {
                listener: 0,
                method: &Method::GET,
                host: &host,
                path: &path,
                query: Some("sort=price&page=3"),
                headers: &headers,
                client: [203, 0, 113, 7].into(),
                certificate: None,
            };
            let mut chance = || 1;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| table.decide(black_box(&caller), &[] as &[Lot], &mut chance));
            });
        }
    }
    group.finish();
}

/// `count` rules with such conditions, then a split by user.
fn one_route(count: usize, when: impl Fn(usize) -> When) -> Vec<Route> {
    let rule = |n| Rule {
        name: format!("rule-{n}"),
        when: Some(when(n)),
        target: Target::To(1),
    };
    vec![route(
        vec![],
        None,
        (0..count).map(rule).chain([everyone()]).collect(),
    )]
}

fn everyone() -> Rule {
    let weights = [90_000, 10_000]
        .map(|parts| Share::from_parts(parts).expect("a share"))
        .into();
    let split = Split {
        by: SplitBy::User,
        salt: "app.everyone".into(),
        weights,
    };
    Rule {
        name: "everyone".into(),
        when: None,
        target: Target::Split(split),
    }
}

fn route(hosts: Vec<HostPattern>, path: Option<PathMatch>, rules: Vec<Rule>) -> Route {
    let rules = if rules.is_empty() {
        vec![everyone()]
    } else {
        rules
    };
    Route {
        name: "route".into(),
        matches: RouteMatch {
            listener: None,
            hosts,
            path,
        },
        action: Action::Forward(Forward {
            service: 0,
            rules,
            timeouts: RouteTimeouts {
                request: None,
                each_try: None,
                stream_idle: None,
            },
            retry: None,
            rewrite: Rewrite::default(),
        }),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
    }
}

fn headers(more: &[(&'static str, &str)]) -> HeaderMap {
    let usual = [
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("cache-control", "no-cache"),
        ("referer", "https://shop.example.com/"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("x-request-id", "8f14e45f-ceea-467f-a8d2-1c3f0e2b7d11"),
        ("x-user-id", "user-4711"),
    ];
    let all = usual.iter().chain(more);
    all.map(|(name, value)| {
        (
            (*name).parse().expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        )
    })
    .collect()
}

fn config(routes: Vec<Route>) -> Config {
    let seconds = Duration::from_secs;
    Config {
        rollouts: Vec::new(),
        runtime: Runtime {
            state_dir: None,
            workers: None,
            drain: Drain {
                min: seconds(0),
                max: seconds(30),
            },
        },
        admin: Admin {
            address: ([127, 0, 0, 1], 0).into(),
            probes: None,
            tokens: vec![],
        },
        access_log: None,
        geo: None,
        listeners: vec![Listener {
            name: "in".into(),
            address: ([127, 0, 0, 1], 0).into(),
            profile: Profile::Edge,
            http1: true,
            h2c: true,
            h2: false,
            tls: None,
            client_address: ClientAddress::default(),
            upgrades: None,
            limits: Limits {
                connections: 20_000,
                connections_per_client: None,
                header_bytes: 32 << 10,
                header_count: 100,
                target_bytes: 8 << 10,
                body_bytes: None,
                h2_streams: 100,
                min_rate: None,
            },
            timeouts: ListenerTimeouts {
                handshake: Duration::from_secs(5),
                header: seconds(10),
                body_idle: seconds(30),
                idle: seconds(60),
            },
            trusted_headers: vec!["x-user-id".into()],
        }],
        identity: vec![UserSource::Header("x-user-id".into())],
        services: vec![Service {
            name: "app".into(),
            stable: 0,
            versions: ["v1", "v2"].map(version).into(),
            protocol: Protocol::Http1,
            tls: None,
            balance: Balance::default(),
            pool: Pool {
                max_per_endpoint: NonZeroUsize::MIN,
                idle: seconds(4),
                connect: seconds(1),
            },
            health: Health::default(),
        }],
        routes,
    }
}

fn version(name: &str) -> Version {
    Version {
        name: name.into(),
        endpoints: vec![EndpointAddress::Ip([127, 0, 0, 1].into(), 3001)],
        tags: Default::default(),
    }
}

/// A region by address, from a database of a thousand networks.
fn regions(criterion: &mut Criterion) {
    let mut writer = mmdb_writer::Writer::new("Bench-City");
    for n in 0..1_000u32 {
        let network: ipnet::IpNet = format!("{}.{}.0.0/16", 60 + n / 250, n % 250)
            .parse()
            .expect("a network");
        let record = serde_json::json!({
            "city": {"geoname_id": n, "names": {"de": "Stadt", "en": "Town", "fr": "Ville", "zh-CN": "城市"}},
            "continent": {"code": "EU", "geoname_id": 6255148, "names": {"de": "Europa", "en": "Europe"}},
            "country": {"iso_code": if n % 2 == 0 { "SE" } else { "NO" }, "names": {"en": "Sweden", "fr": "Suède"}},
            "location": {"accuracy_radius": 20, "latitude": 59.3, "longitude": 18.0, "time_zone": "Europe/Stockholm"},
            "subdivisions": [{"iso_code": "AB", "names": {"en": "Stockholm"}}],
        });
        writer.insert(network, &record).expect("a record");
    }
    let database = Database {
        path: "bench.mmdb".into(),
        bytes: writer.to_bytes().expect("a database").into(),
    };
    let places = RegionMatch {
        country: vec!["FI".into()],
        ..RegionMatch::default()
    };
    let mut config = config(one_route(1, |_| When::Region(places.clone())));
    let regions = Regions::open(&database).expect("a database");
    config.geo = Some(Geo {
        database: Some(database),
        header: None,
    });
    let table = Table::compile(&config, Some(regions));
    let headers = headers(&[]);
    let caller = Caller {
        listener: 0,
        method: &Method::GET,
        host: "shop.example.com",
        path: "/",
        query: None,
        headers: &headers,
        client: [62, 100, 3, 4].into(),
        certificate: None,
    };
    let mut chance = || 1;
    criterion.bench_function("route/region_from_database", |b| {
        b.iter(|| table.decide(black_box(&caller), &[] as &[Lot], &mut chance))
    });
}

criterion_group!(benches, decisions, regions);
criterion_main!(benches);
