//! The rules that can match a request, found without trying all.
//!
//! Many rules need one of a few exact values to be in the request: a header's, a cookie's, a user's, a country. Such a
//! rule is filed under the hashes of these values. A request is then asked for its own values, each is hashed, and
//! only rules filed under one of them, and rules that could not be filed, are checked, in the order written. A hash
//! that fits by accident costs a check and nothing else, for every rule found is still checked whole.
//!
//! Rules are not filed, so checked each time (some ten nanoseconds apiece), where all that they ask for is a prefix, a
//! part or an expression of a text, presence or absence, or something under `not`.

use std::collections::HashMap;
use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::condition::{Asked, Condition, Places};
use super::fast_map::{FastMap, seeded};
use super::matcher::Text;
use super::path::{PathRule, prefixes};
use super::region::Code;
use super::{cookie, query};

/// With fewer rules trying all is faster than asking for values.
const WORTHWHILE: usize = 8;

/// Lists of rules that are merged for one request. A request whose values hit more has all rules checked: it carries
/// dozens of values that rules ask for.
const CURSORS: usize = 32;

/// The rules of one route, by the values that they need.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: u32,
    /// Rules that are checked for every request, ascending. All of them, where an index is not worthwhile.
    unfiled: Vec<u32>,
    /// By the hash of a value under its place's seed: rules, ascending, as a piece of `lists`.
    filed: FastMap<u64, (u32, u32)>,
    lists: Vec<u32>,
    places: Asking,
}

/// Where values are looked for: only where some rule is filed.
#[derive(Debug, Default)]
struct Asking {
    /// Each with the seed of its values.
    headers: Vec<(HeaderName, u64)>,
    headers_by_name: FastMap<Box<[u8]>, u64>,
    cookies: FastMap<Box<[u8]>, u64>,
    queries: Vec<(Box<[u8]>, u64)>,
    queries_by_name: FastMap<Box<[u8]>, u64>,
    user: bool,
    method: bool,
    region: bool,
    exact_path: bool,
    longest_prefix: Option<usize>,
    /// IPv4 or not, and the length of the prefix.
    networks: Vec<(bool, u8)>,
}

/// A place of a request that values stand in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Header(HeaderName),
    Cookie(Box<str>),
    Query(Box<str>),
    User,
    Method,
    Country,
    Subdivision,
    Continent,
    ExactPath,
    PathPrefix(usize),
    Network(bool, u8),
}

impl Place {
    /// Keeps values of different places apart.
    fn seed(&self) -> u64 {
        match self {
            Self::Header(name) => seeded(1, name.as_str().as_bytes()),
            Self::Cookie(name) => seeded(2, name.as_bytes()),
            Self::Query(name) => seeded(3, name.as_bytes()),
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

/// A rule can match only where one of these values is in the request.
type Need = Vec<(Place, u64)>;

impl Index {
    /// Files rules by what they need; `None` is a rule without conditions.
    pub(super) fn new<'a>(rules: impl Iterator<Item = Option<&'a Condition>>) -> Self {
        let needs: Vec<Vec<Need>> = rules
            .map(|condition| condition.map_or_else(Vec::new, needs))
            .collect();
        let mut index = Self {
            rules: needs.len() as u32,
            ..Self::default()
        };
        if needs.len() <= WORTHWHILE {
            index.unfiled = (0..index.rules).collect();
            return index;
        }
        // How many rules could be filed under a value: of what a rule needs, the rarest finds it best.
        let mut crowds: HashMap<u64, u32> = HashMap::new();
        for (_, hash) in needs.iter().flatten().flatten() {
            *crowds.entry(*hash).or_default() += 1;
        }
        let crowd = |need: &Need| need.iter().map(|(_, hash)| crowds[hash]).max().unwrap_or(0);
        let mut filed: HashMap<u64, Vec<u32>> = HashMap::new();
        for (rule, needs) in (0u32..).zip(&needs) {
            let Some(need) = needs.iter().min_by_key(|need| (crowd(need), need.len())) else {
                index.unfiled.push(rule);
                continue;
            };
            for (place, hash) in need {
                let list = filed.entry(*hash).or_default();
                if list.last() != Some(&rule) {
                    list.push(rule);
                }
                index.places.add(place);
            }
        }
        for (hash, list) in filed {
            index
                .filed
                .insert(hash, (index.lists.len() as u32, list.len() as u32));
            index.lists.extend(list);
        }
        index
    }

    /// The first rule that fits, of those that can; `fits` is asked in the order written.
    pub(super) fn first<'a>(
        &self,
        asked: &mut Asked<'a>,
        mut fits: impl FnMut(&mut Asked<'a>, usize) -> bool,
    ) -> Option<usize> {
        if self.filed.is_empty() {
            return self
                .unfiled
                .iter()
                .map(|rule| *rule as usize)
                .find(|rule| fits(asked, *rule));
        }
        let mut cursors = Cursors {
            lists: [&[]; CURSORS],
            used: 0,
            too_many: false,
        };
        cursors.add(&self.unfiled);
        self.places.ask(asked, &mut |hash| {
            if let Some((start, length)) = self.filed.get(&hash) {
                cursors.add(&self.lists[*start as usize..][..*length as usize]);
            }
        });
        if cursors.too_many {
            return (0..self.rules as usize).find(|rule| fits(asked, *rule));
        }
        std::iter::from_fn(|| cursors.next())
            .map(|rule| rule as usize)
            .find(|rule| fits(asked, *rule))
    }
}

/// Ascending lists, merged.
struct Cursors<'a> {
    lists: [&'a [u32]; CURSORS],
    used: usize,
    too_many: bool,
}

impl<'a> Cursors<'a> {
    fn add(&mut self, list: &'a [u32]) {
        // A value that is sent twice finds the same list twice.
        let known = self.lists[..self.used]
            .iter()
            .any(|other| std::ptr::eq(*other, list));
        if list.is_empty() || known {
            return;
        }
        match self.lists.get_mut(self.used) {
            Some(place) => *place = list,
            None => self.too_many = true,
        }
        self.used = (self.used + 1).min(CURSORS);
    }

    fn next(&mut self) -> Option<u32> {
        let lists = &mut self.lists[..self.used];
        let next = *lists.iter().filter_map(|list| list.first()).min()?;
        for list in lists {
            if list.first() == Some(&next) {
                *list = &list[1..];
            }
        }
        Some(next)
    }
}

impl Asking {
    fn add(&mut self, place: &Place) {
        let seed = place.seed();
        match place {
            Place::Header(name) => {
                if self
                    .headers_by_name
                    .insert(name.as_str().as_bytes().into(), seed)
                    .is_none()
                {
                    self.headers.push((name.clone(), seed));
                }
            }
            Place::Cookie(name) => {
                self.cookies.insert(name.as_bytes().into(), seed);
            }
            Place::Query(name) => {
                if self
                    .queries_by_name
                    .insert(name.as_bytes().into(), seed)
                    .is_none()
                {
                    self.queries.push((name.as_bytes().into(), seed));
                }
            }
            Place::User => self.user = true,
            Place::Method => self.method = true,
            Place::Country | Place::Subdivision | Place::Continent => self.region = true,
            Place::ExactPath => self.exact_path = true,
            Place::PathPrefix(length) => {
                self.longest_prefix = self.longest_prefix.max(Some(*length))
            }
            Place::Network(v4, length) => {
                if !self.networks.contains(&(*v4, *length)) {
                    self.networks.push((*v4, *length));
                }
            }
        }
    }

    /// Hands over the hash of every value of the request that stands where rules look.
    fn ask(&self, asked: &mut Asked<'_>, found: &mut impl FnMut(u64)) {
        self.ask_headers(asked, found);
        self.ask_query(asked, found);
        if !self.cookies.is_empty() {
            for (name, value) in cookie::pairs(asked.caller.headers) {
                if let Some(seed) = self.cookies.get(name) {
                    found(seeded(*seed, value));
                }
            }
        }
        if self.method {
            found(seeded(
                Place::Method.seed(),
                asked.caller.method.as_str().as_bytes(),
            ));
        }
        if self.exact_path {
            found(seeded(
                Place::ExactPath.seed(),
                asked.caller.path.as_bytes(),
            ));
        }
        if let Some(longest) = self.longest_prefix {
            let seed = Place::PathPrefix(0).seed();
            prefixes(asked.caller.path, longest)
                .for_each(|prefix| found(seeded(seed, prefix.as_bytes())));
        }
        self.ask_client(asked, found);
    }

    fn ask_headers(&self, asked: &Asked<'_>, found: &mut impl FnMut(u64)) {
        let headers = asked.caller.headers;
        if self.headers.len() <= headers.keys_len() {
            for (name, seed) in &self.headers {
                headers
                    .get_all(name)
                    .iter()
                    .for_each(|value| found(seeded(*seed, value.as_bytes())));
            }
            return;
        }
        // Rules look at more headers than the request has: ask which of its own they look at.
        for (name, value) in headers {
            if let Some(seed) = self.headers_by_name.get(name.as_str().as_bytes()) {
                found(seeded(*seed, value.as_bytes()));
            }
        }
    }

    fn ask_query(&self, asked: &Asked<'_>, found: &mut impl FnMut(u64)) {
        // For one or two names comparing is cheaper than hashing every name that is sent.
        const FEW: usize = 2;
        if self.queries.is_empty() {
            return;
        }
        for (name, value) in query::pairs(asked.caller.query) {
            let seed = if self.queries.len() <= FEW {
                self.queries
                    .iter()
                    .find(|(wanted, _)| query::equals(name, wanted))
                    .map(|(_, seed)| *seed)
            } else if name.len() <= query::STACK {
                query::with_decoded(name, |name| self.queries_by_name.get(name).copied())
            } else {
                None
            };
            // Longer values are not filed.
            if let Some(seed) = seed.filter(|_| value.len() <= query::STACK) {
                query::with_decoded(value, |value| found(seeded(seed, value)));
            }
        }
    }

    fn ask_client(&self, asked: &mut Asked<'_>, found: &mut impl FnMut(u64)) {
        if self.user
            && let Some(user) = asked.user()
        {
            found(seeded(Place::User.seed(), user.key.as_bytes()));
        }
        if self.region {
            let region = asked.region();
            let codes = [region.country, region.subdivision, region.continent];
            for (place, code) in [Place::Country, Place::Subdivision, Place::Continent]
                .iter()
                .zip(codes)
            {
                if let Some(code) = code {
                    found(seeded(place.seed(), code.as_bytes()));
                }
            }
        }
        let client = asked.caller.client.to_canonical();
        for (v4, length) in self
            .networks
            .iter()
            .filter(|(v4, _)| *v4 == client.is_ipv4())
        {
            if let Ok(network) = IpNet::new(client, *length) {
                found(network_hash(&Place::Network(*v4, *length), &network));
            }
        }
    }
}

/// All that a condition needs, each of which is enough to file it by; none where it may hold whatever is sent.
fn needs(condition: &Condition) -> Vec<Need> {
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
        Condition::Not(_) => Vec::new(),
        Condition::Header(name, Text::Exact(value)) => {
            one(Place::Header(name.clone()), &mut std::iter::once(&**value))
        }
        Condition::Cookie(name, Text::Exact(value)) => {
            one(Place::Cookie(name.clone()), &mut std::iter::once(&**value))
        }
        // Every byte may be sent as three, and what is sent is looked at on the stack only. A long name likewise.
        Condition::Query(name, Text::Exact(value))
            if value.len().max(name.len()) <= query::STACK / 3 =>
        {
            one(Place::Query(name.clone()), &mut std::iter::once(&**value))
        }
        Condition::Header(..) | Condition::Cookie(..) | Condition::Query(..) => Vec::new(),
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

fn network_hash(place: &Place, network: &IpNet) -> u64 {
    match network.network() {
        IpAddr::V4(address) => seeded(place.seed(), &address.octets()),
        IpAddr::V6(address) => seeded(place.seed(), &address.octets()),
    }
}
