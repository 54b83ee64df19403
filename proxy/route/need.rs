//! What a condition needs to find in a request before it can hold.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::condition::{Condition, Places};
use super::fast_map::seeded;
use super::path::PathRule;
use super::region::Code;
use super::{matcher, query};

/// A rule can match only where one of these values is in the request.
pub(super) type Need = Vec<(Place, u64)>;

/// A place of a request that values stand in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Header(HeaderName, Part),
    Cookie(Box<str>, Part),
    Query(Box<str>, Part),
    User,
    Method,
    Country,
    Subdivision,
    Continent,
    ExactPath,
    PathPrefix(usize),
    Network(bool, u8),
}

/// How much of a text a rule is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Whole,
    Beginning(usize),
}

impl Part {
    /// Keeps a whole value apart from an equal beginning of a longer one.
    pub(super) fn seed(self, text: u64) -> u64 {
        match self {
            Self::Whole => text,
            Self::Beginning(_) => !text,
        }
    }
}

impl Place {
    /// Keeps values of different places apart.
    pub(super) fn seed(&self) -> u64 {
        match self {
            Self::Header(name, part) => part.seed(seeded(1, name.as_str().as_bytes())),
            Self::Cookie(name, part) => part.seed(seeded(2, name.as_bytes())),
            Self::Query(name, part) => part.seed(seeded(3, name.as_bytes())),
            Self::User => 4,
            Self::Method => 5,
            Self::Country => 6,
            Self::Subdivision => 7,
            Self::Continent => 8,
            Self::ExactPath => 9,
            Self::PathPrefix(_) => 10,
            Self::Network(true, length) => 11 + u64::from(*length),
            Self::Network(false, length) => 100 + u64::from(*length),
        }
    }
}

/// All that a condition needs, each of which is enough to file it by; none where it may hold whatever is sent.
pub(super) fn needs(condition: &Condition) -> Vec<Need> {
    let one = |place: Place, values: &mut dyn Iterator<Item = &[u8]>| {
        let seed = place.seed();
        vec![
            values
                .map(|value| (place.clone(), seeded(seed, value)))
                .collect(),
        ]
    };
    match condition {
        Condition::All(list) => list.iter().flat_map(needs).collect(),
        // One of them holds: what each needs, taken together.
        Condition::Any(list) => {
            let each: Option<Vec<Need>> = list
                .iter()
                .map(|c| needs(c).into_iter().min_by_key(Vec::len))
                .collect();
            each.map(|needs| needs.concat()).into_iter().collect()
        }
        Condition::Not(_) | Condition::Certificate(..) => Vec::new(),
        Condition::Header(name, text) => match needed_part(text) {
            Some((part, value)) => one(
                Place::Header(name.clone(), part),
                &mut std::iter::once(value),
            ),
            None => Vec::new(),
        },
        Condition::Cookie(name, text) => match needed_part(text) {
            Some((part, value)) => one(
                Place::Cookie(name.clone(), part),
                &mut std::iter::once(value),
            ),
            None => Vec::new(),
        },
        Condition::Query(name, text) => match needed_part(text) {
            // Every byte may be sent as three, and what is sent is looked at on the stack only. Names likewise.
            Some((part, value)) if value.len().max(name.len()) <= query::STACK / 3 => one(
                Place::Query(name.clone(), part),
                &mut std::iter::once(value),
            ),
            _ => Vec::new(),
        },
        Condition::Path(PathRule::Exact(path)) => {
            one(Place::ExactPath, &mut std::iter::once(path.as_bytes()))
        }
        Condition::Path(PathRule::Prefix(path)) if !path.is_empty() => one(
            Place::PathPrefix(path.len()),
            &mut std::iter::once(path.as_bytes()),
        ),
        Condition::Path(_) => Vec::new(),
        Condition::Method(methods) => one(
            Place::Method,
            &mut methods.iter().map(|m| m.as_str().as_bytes()),
        ),
        Condition::Region(places) => needs_of_places(places),
        Condition::Source(networks) => vec![networks.iter().map(needed_network).collect()],
        Condition::User(users) => one(Place::User, &mut users.iter().map(String::as_bytes)),
    }
}

/// What must be sent for a text to match; `None` where nothing need be.
fn needed_part(text: &matcher::Text) -> Option<(Part, &[u8])> {
    Some(match text {
        matcher::Text::Exact(value) => (Part::Whole, value),
        matcher::Text::Prefix(value) => (Part::Beginning(value.len()), value),
        matcher::Text::Contains(_) | matcher::Text::Regex(_) | matcher::Text::Present(true) => {
            (Part::Beginning(0), b"")
        }
        matcher::Text::Present(false) => return None,
    })
}

fn needs_of_places(places: &Places) -> Vec<Need> {
    let list = |place: Place, codes: &[Code]| -> Option<Need> {
        let seed = place.seed();
        let need = codes
            .iter()
            .map(|code| (place.clone(), seeded(seed, code.as_bytes())))
            .collect();
        (!codes.is_empty()).then_some(need)
    };
    let all = [
        list(Place::Subdivision, &places.subdivisions),
        list(Place::Country, &places.countries),
        list(Place::Continent, &places.continents),
    ];
    all.into_iter().flatten().collect()
}

fn needed_network(network: &IpNet) -> (Place, u64) {
    let place = Place::Network(network.addr().is_ipv4(), network.prefix_len());
    let hash = network_hash(&place, network);
    (place, hash)
}

pub(super) fn network_hash(place: &Place, network: &IpNet) -> u64 {
    match network.network() {
        IpAddr::V4(address) => seeded(place.seed(), &address.octets()),
        IpAddr::V6(address) => seeded(place.seed(), &address.octets()),
    }
}
