//! A `when` as it is checked, and the request as it is asked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, Method};
use ipnet::IpNet;
use tidegate_config::{CertificatePart, RegionMatch, When};

use super::caller::{Caller, parts};
use super::cookie;
use super::identity::{Identity, User};
use super::matcher::Text;
use super::path::PathRule;
use super::query;
use super::region::{Code, Geo, Region};

/// One request while it is routed: what costs something to find out is found out once.
pub(super) struct Asked<'a> {
    pub(super) caller: &'a Caller<'a>,
    identity: &'a Identity,
    geo: &'a Geo,
    chance: &'a mut dyn FnMut() -> u64,
    user: Option<Option<User<'a>>>,
    region: Option<Region>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        caller: &'a Caller<'a>,
        identity: &'a Identity,
        geo: &'a Geo,
        chance: &'a mut dyn FnMut() -> u64,
    ) -> Self {
        Self {
            caller,
            identity,
            geo,
            chance,
            user: None,
            region: None,
        }
    }

    pub(super) fn user(&mut self) -> Option<User<'a>> {
        *self
            .user
            .get_or_insert_with(|| self.identity.user(self.caller, self.chance))
    }

    pub(super) fn region(&mut self) -> Region {
        *self
            .region
            .get_or_insert_with(|| self.geo.region(self.caller))
    }

    pub(super) fn draw(&mut self) -> u64 {
        (self.chance)()
    }
}

/// A `when`, compiled.
#[derive(Debug)]
pub(super) enum Condition {
    All(Box<[Self]>),
    Any(Box<[Self]>),
    Not(Box<Self>),
    Header(HeaderName, Text),
    Cookie(Box<str>, Text),
    Query(Box<str>, Text),
    Path(PathRule),
    Method(Box<[Method]>),
    Region(Places),
    Source(Box<[IpNet]>),
    User(Arc<BTreeSet<String>>),
    Certificate(CertificatePart, Text),
}

/// `when.region`, compiled: every list that is not empty must hold the client's.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) countries: Box<[Code]>,
    pub(super) subdivisions: Box<[Code]>,
    pub(super) continents: Box<[Code]>,
}

impl Condition {
    pub(super) fn compile(written: &When) -> Self {
        let several = |list: &[When]| list.iter().map(Self::compile).collect();
        match written {
            When::All(list) => Self::All(several(list)),
            When::Any(list) => Self::Any(several(list)),
            When::Not(inner) => Self::Not(Box::new(Self::compile(inner))),
            When::Header(name, text) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Self::Header(name, Text::compile(text)),
                // No request can carry such a name.
                Err(_) if matches!(text, tidegate_config::TextMatch::Present(false)) => {
                    Self::All(Box::default())
                }
                Err(_) => Self::Any(Box::default()),
            },
            When::Cookie(name, text) => Self::Cookie(name.as_str().into(), Text::compile(text)),
            When::Query(name, text) => Self::Query(name.as_str().into(), Text::compile(text)),
            When::Path(path) => Self::Path(PathRule::compile(path)),
            When::Method(names) => Self::Method(
                names
                    .iter()
                    .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
                    .collect(),
            ),
            When::Region(places) => Self::Region(Places::compile(places)),
            When::Source(networks) => Self::Source(networks.iter().map(canonical).collect()),
            When::User(users) => Self::User(users.clone()),
            When::ClientCertificate(part, text) => Self::Certificate(*part, Text::compile(text)),
        }
    }

    pub(super) fn holds(&self, asked: &mut Asked<'_>) -> bool {
        match self {
            Self::All(list) => list.iter().all(|condition| condition.holds(asked)),
            Self::Any(list) => list.iter().any(|condition| condition.holds(asked)),
            Self::Not(inner) => !inner.holds(asked),
            Self::Header(name, text) => text.holds(
                asked
                    .caller
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.as_bytes()),
            ),
            Self::Cookie(name, text) => {
                text.holds(cookie::values(asked.caller.headers, name.as_bytes()))
            }
            Self::Query(name, text) => {
                text.holds_decoded(query::values(asked.caller.query, name.as_bytes()))
            }
            Self::Path(path) => path.covers(asked.caller.path),
            Self::Method(methods) => methods.contains(asked.caller.method),
            Self::Region(places) => places.hold(&asked.region()),
            Self::Source(networks) => within(networks, asked.caller.client),
            Self::User(users) => asked.user().is_some_and(|user| {
                std::str::from_utf8(user.key.as_bytes()).is_ok_and(|key| users.contains(key))
            }),
            Self::Certificate(part, text) => {
                text.holds(parts(asked.caller.certificate, *part).map(str::as_bytes))
            }
        }
    }

    /// Does it depend on who the user is?
    pub(super) fn asks_for_user(&self) -> bool {
        match self {
            Self::All(list) | Self::Any(list) => list.iter().any(Self::asks_for_user),
            Self::Not(inner) => inner.asks_for_user(),
            Self::User(_) => true,
            _ => false,
        }
    }
}

impl Places {
    fn compile(written: &RegionMatch) -> Self {
        // What is no code is kept as one that nobody has, so that its list does not become empty: "anywhere".
        let two = |list: &[String]| {
            list.iter()
                .map(|text| Code::two(text).unwrap_or(Code::NOWHERE))
                .collect()
        };
        let subdivisions = written
            .subdivision
            .iter()
            .map(|text| Code::subdivision(text).unwrap_or(Code::NOWHERE));
        Self {
            countries: two(&written.country),
            subdivisions: subdivisions.collect(),
            continents: two(&written.continent),
        }
    }

    fn hold(&self, region: &Region) -> bool {
        let one = |list: &[Code], code: Option<Code>| {
            list.is_empty() || code.is_some_and(|code| list.contains(&code))
        };
        one(&self.countries, region.country)
            && one(&self.subdivisions, region.subdivision)
            && one(&self.continents, region.continent)
    }
}

/// A network of IPv4 addresses mapped into IPv6 is one of IPv4 addresses, as the client's address is.
fn canonical(network: &IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let inner = network
        .prefix_len()
        .checked_sub(MAPPED)
        .zip(match network.addr().to_canonical() {
            IpAddr::V4(address) if network.addr().is_ipv6() => Some(address),
            _ => None,
        });
    let mapped = inner.and_then(|(length, address)| IpNet::new(address.into(), length).ok());
    mapped.unwrap_or(*network).trunc()
}

fn within(networks: &[IpNet], client: IpAddr) -> bool {
    let client = client.to_canonical();
    networks.iter().any(|network| network.contains(&client))
}
