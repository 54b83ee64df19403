//! A request, asked for the values that rules are filed under.

use http::HeaderName;
use ipnet::IpNet;

use super::condition::Asked;
use super::fast_map::{FastMap, seeded};
use super::need::{Part, Place, network_hash};
use super::path::prefixes;
use super::{cookie, query};

/// Where values are looked for: only where some rule is filed.
#[derive(Debug, Default)]
pub(super) struct Asking {
    headers: Texts,
    cookies: Texts,
    queries: Texts,
    user: bool,
    method: bool,
    region: bool,
    exact_path: bool,
    longest_prefix: Option<usize>,
    /// IPv4 or not, and the length of the prefix.
    networks: Vec<(bool, u8)>,
}

/// The headers, cookies or query parameters that rules are filed under.
#[derive(Debug, Default)]
struct Texts {
    names: Vec<(Box<[u8]>, Text)>,
    /// Indexes into `names`.
    by_name: FastMap<Box<[u8]>, usize>,
}

/// What rules want to know of one header, cookie or parameter.
#[derive(Debug)]
struct Text {
    /// For `HeaderMap`; `None` for cookies and parameters.
    header: Option<HeaderName>,
    seed: u64,
    exact: bool,
    /// Lengths of beginnings that rules ask for; 0 where some ask whether it is sent at all.
    beginnings: Vec<usize>,
}

impl Asking {
    pub(super) fn add(&mut self, place: &Place) {
        match place {
            Place::Header(name, part) => {
                let text = self
                    .headers
                    .named(name.as_str().as_bytes(), part.seed(place.seed()));
                text.header = Some(name.clone());
                text.add(*part);
            }
            Place::Cookie(name, part) => {
                self.cookies
                    .named(name.as_bytes(), part.seed(place.seed()))
                    .add(*part);
            }
            Place::Query(name, part) => {
                self.queries
                    .named(name.as_bytes(), part.seed(place.seed()))
                    .add(*part);
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
    pub(super) fn ask(&self, asked: &mut Asked<'_>, found: &mut impl FnMut(u64)) {
        self.ask_headers(asked, found);
        self.ask_query(asked, found);
        if !self.cookies.names.is_empty() {
            for (name, value) in cookie::pairs(asked.caller.headers) {
                if let Some(text) = self.cookies.get(name) {
                    text.ask(value, found);
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
        if self.headers.names.len() <= headers.keys_len() {
            for (_, text) in &self.headers.names {
                let lines = text.header.iter().flat_map(|name| headers.get_all(name));
                lines.for_each(|value| text.ask(value.as_bytes(), found));
            }
            return;
        }
        // Rules look at more headers than the request has: ask which of its own they look at.
        for (name, value) in headers {
            if let Some(text) = self.headers.get(name.as_str().as_bytes()) {
                text.ask(value.as_bytes(), found);
            }
        }
    }

    fn ask_query(&self, asked: &Asked<'_>, found: &mut impl FnMut(u64)) {
        // For one or two names comparing is cheaper than hashing every name that is sent.
        const FEW: usize = 2;
        let names = &self.queries.names;
        if names.is_empty() {
            return;
        }
        for (name, value) in query::pairs(asked.caller.query) {
            let text = if names.len() <= FEW {
                let mut known = names.iter();
                known
                    .find(|(wanted, _)| query::equals(name, wanted))
                    .map(|(_, text)| text)
            } else if name.len() <= query::STACK {
                query::with_decoded(name, |name| self.queries.get(name))
            } else {
                None
            };
            // Whatever is filed shows in so many bytes.
            let value = &value[..value.len().min(query::STACK)];
            if let Some(text) = text {
                query::with_decoded(value, |value| text.ask(value, found));
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

impl Texts {
    fn named(&mut self, name: &[u8], seed: u64) -> &mut Text {
        let next = self.names.len();
        let place = *self.by_name.entry(name.into()).or_insert(next);
        if place == next {
            let text = Text {
                header: None,
                seed,
                exact: false,
                beginnings: Vec::new(),
            };
            self.names.push((name.into(), text));
        }
        &mut self.names[place].1
    }

    fn get(&self, name: &[u8]) -> Option<&Text> {
        self.by_name.get(name).map(|place| &self.names[*place].1)
    }
}

impl Text {
    fn add(&mut self, part: Part) {
        match part {
            Part::Whole => self.exact = true,
            Part::Beginning(length) if !self.beginnings.contains(&length) => {
                self.beginnings.push(length);
            }
            Part::Beginning(_) => {}
        }
    }

    fn ask(&self, value: &[u8], found: &mut impl FnMut(u64)) {
        if self.exact {
            found(seeded(self.seed, value));
        }
        let seed = Part::Beginning(0).seed(self.seed);
        for beginning in self
            .beginnings
            .iter()
            .filter_map(|length| value.get(..*length))
        {
            found(seeded(seed, beginning));
        }
    }
}
