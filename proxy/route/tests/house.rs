//! Configurations and requests, built by hand.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_config::*;

use crate::route::{Caller, Choice, Decision, Lot, Table};

/// Listener numbers of [`config`].
pub(crate) const EDGE: usize = 0;
pub(crate) const TRUSTING: usize = 1;
pub(crate) const SIDECAR: usize = 2;
pub(crate) const TRUSTING_SIDECAR: usize = 3;

/// Four listeners, a service `app` with stable `v1`, `v2` and `v3`, and these routes.
pub(crate) fn config(identity: Vec<UserSource>, routes: Vec<Route>) -> Config {
    let trusted = ["x-user-id", "x-region"];
    Config {
        rollouts: Vec::new(),
        runtime: Runtime {
            state_dir: None,
            workers: None,
            drain: Drain {
                min: Duration::ZERO,
                max: Duration::ZERO,
            },
        },
        admin: Admin {
            address: ([127, 0, 0, 1], 0).into(),
            probes: None,
            tokens: Vec::new(),
        },
        access_log: None,
        geo: None,
        listeners: vec![
            listener("edge", Profile::Edge, &[]),
            listener("trusting", Profile::Edge, &trusted),
            listener("sidecar", Profile::Sidecar, &[]),
            listener("trusting-sidecar", Profile::Sidecar, &trusted),
        ],
        identity,
        services: vec![service("app", &["v1", "v2", "v3"])],
        routes,
    }
}

fn listener(name: &str, profile: Profile, trusted: &[&str]) -> Listener {
    Listener {
        name: name.into(),
        address: ([127, 0, 0, 1], 0).into(),
        profile,
        http1: true,
        h2c: true,
        h2: false,
        tls: None,
        client_address: ClientAddress::default(),
        limits: Limits {
            connections: 100,
            connections_per_client: None,
            header_bytes: 32 << 10,
            header_count: 100,
            target_bytes: 8 << 10,
            body_bytes: None,
            h2_streams: 100,
        },
        timeouts: ListenerTimeouts {
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        },
        trusted_headers: trusted.iter().map(ToString::to_string).collect(),
    }
}

/// The first version is stable.
pub(crate) fn service(name: &str, versions: &[&str]) -> Service {
    let version = |name: &&str| Version {
        name: name.to_string(),
        endpoints: vec![
            "127.0.0.1"
                .parse()
                .map(|ip| EndpointAddress::Ip(ip, 3001))
                .unwrap(),
        ],
        tags: Default::default(),
    };
    Service {
        name: name.into(),
        stable: 0,
        versions: versions.iter().map(version).collect(),
        protocol: Protocol::Http1,
        balance: Balance::default(),
        pool: Pool {
            max_per_endpoint: NonZeroUsize::MIN,
            idle: Duration::from_secs(4),
            connect: Duration::from_secs(1),
        },
        health: Health::default(),
    }
}

pub(crate) fn route(name: &str, matches: RouteMatch, rules: Vec<Rule>) -> Route {
    let forward = Forward {
        service: 0,
        rules,
        timeouts: RouteTimeouts {
            request: None,
            each_try: None,
            stream_idle: None,
        },
        retry: None,
        rewrite: Rewrite::default(),
    };
    answering(name, matches, Action::Forward(forward))
}

pub(crate) fn answering(name: &str, matches: RouteMatch, action: Action) -> Route {
    let (request_headers, response_headers) = (HeaderEdits::default(), HeaderEdits::default());
    Route {
        name: name.into(),
        matches,
        action,
        request_headers,
        response_headers,
    }
}

/// A match on hosts (a leading `*.` is any depth) and a path.
pub(crate) fn matching(hosts: &[&str], path: Option<PathMatch>) -> RouteMatch {
    let host = |host: &&str| match host.strip_prefix('*') {
        Some(suffix) => HostPattern::Suffix(suffix.into()),
        None => HostPattern::Exact(host.to_string()),
    };
    RouteMatch {
        listener: None,
        hosts: hosts.iter().map(host).collect(),
        path,
    }
}

pub(crate) fn prefix(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Prefix(path.trim_end_matches('/').into()))
}

pub(crate) fn exact(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Exact(path.into()))
}

pub(crate) fn regex(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Regex(path.parse().unwrap()))
}

/// To version number `version`, when.
pub(crate) fn to(version: usize, when: impl Into<Option<When>>) -> Rule {
    Rule {
        name: format!("to-{version}"),
        when: when.into(),
        target: Target::To(version),
    }
}

/// A split by weights in percent.
pub(crate) fn split(by: SplitBy, percent: &[u32]) -> Rule {
    let weights = percent
        .iter()
        .map(|p| Share::from_parts(p * 1000).unwrap())
        .collect();
    let split = Split {
        by,
        salt: "app.everyone".into(),
        weights,
    };
    Rule {
        name: "everyone".into(),
        when: None,
        target: Target::Split(split),
    }
}

pub(crate) fn header(name: &str, value: &str) -> When {
    When::Header(name.into(), TextMatch::Exact(value.into()))
}

pub(crate) fn users(list: &[&str]) -> When {
    When::User(std::sync::Arc::new(
        list.iter().map(ToString::to_string).collect(),
    ))
}

pub(crate) fn table(config: &Config) -> Table {
    Table::compile(config, None)
}

/// A request, owned, with setters that read as sentences.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) listener: usize,
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) client: std::net::IpAddr,
}

pub(crate) fn get(host: &str, target: &str) -> Request {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_string())),
        None => (target, None),
    };
    Request {
        listener: TRUSTING,
        method: Method::GET,
        host: host.into(),
        path: path.into(),
        query,
        headers: HeaderMap::new(),
        client: [203, 0, 113, 7].into(),
    }
}

impl Request {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
        self
    }

    pub(crate) fn on(mut self, listener: usize) -> Self {
        self.listener = listener;
        self
    }

    pub(crate) fn from(mut self, client: &str) -> Self {
        self.client = client.parse().unwrap();
        self
    }

    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            listener: self.listener,
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: self.client,
            certificate: None,
        }
    }

    pub(crate) fn decide(&self, table: &Table) -> Decision {
        self.decide_by_chance(table, 0)
    }

    /// Every number that is drawn is this one.
    pub(crate) fn decide_by_chance(&self, table: &Table, number: u64) -> Decision {
        table.decide(&self.caller(), &[] as &[Lot], &mut || number)
    }

    pub(crate) fn choice(&self, table: &Table) -> Choice {
        match self.decide(table) {
            Decision::Forward(choice) => choice,
            other => panic!(
                "{} {} was not forwarded but {other:?}",
                self.host, self.path
            ),
        }
    }

    /// The route's name.
    pub(crate) fn route(&self, config: &Config, table: &Table) -> Option<String> {
        match self.decide(table) {
            Decision::Forward(Choice { route, .. }) | Decision::Answer { route } => {
                Some(config.routes[route].name.clone())
            }
            Decision::NotFound => None,
        }
    }
}
