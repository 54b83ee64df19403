//! Where the client is: what a trusted header says, else what a MaxMind database knows of the client's address.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use maxminddb::Reader;
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use tidegate_config as config;

use super::caller::{Caller, Lines, lines};
use super::continent;

/// An opened database: a lookup borrows, and allocates nothing. Cheap to clone.
#[derive(Clone)]
pub struct Regions(Arc<Reader<Arc<[u8]>>>);

impl Regions {
    /// Opens a database, before a table is compiled with it.
    ///
    /// # Errors
    /// What is wrong with the file, for the operator.
    pub fn open(database: &config::Database) -> Result<Self, String> {
        let path = database.path.display();
        let reader = Reader::from_source(database.bytes.clone())
            .map_err(|error| format!("{path} is no MaxMind database (City or Country): {error}"))?;
        Ok(Self(Arc::new(reader)))
    }

    /// The region of an address; empty for one that the database does not know.
    fn find(&self, client: IpAddr) -> Region {
        // An IPv4 database refuses IPv6 addresses, a broken record does not decode: to a rule both are unknown.
        let found = self
            .0
            .lookup(client.to_canonical())
            .and_then(|found| found.decode::<Record<'_>>());
        let Ok(Some(record)) = found else {
            return Region::default();
        };
        let country = record.country.iso_code.and_then(Code::two);
        let subdivision = country
            .zip(record.subdivisions.0.iso_code)
            .and_then(|(c, s)| Code::joined(c, s));
        let continent = record
            .continent
            .code
            .and_then(Code::two)
            .or_else(|| country.and_then(continent_of));
        Region {
            country,
            subdivision,
            continent,
        }
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regions({})", self.0.metadata().database_type)
    }
}

/// An ISO code in upper case: `SE`, `EU`, `US-CA`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Code {
    bytes: [u8; 6],
    length: u8,
}

impl Code {
    /// Equal to no code that a client can have.
    pub(super) const NOWHERE: Self = Self {
        bytes: [0; 6],
        length: 0,
    };

    /// Two letters and nothing else.
    pub(super) fn two(text: &str) -> Option<Self> {
        let fits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
        fits.then(|| Self::upper(text.as_bytes()))
    }

    /// `CC-S` to `CC-SSS`.
    pub(super) fn subdivision(text: &str) -> Option<Self> {
        let (country, rest) = text.split_once('-')?;
        Self::joined(Self::two(country)?, rest)
    }

    fn joined(country: Self, rest: &str) -> Option<Self> {
        if !(1..=3).contains(&rest.len()) || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let mut bytes = [0; 6];
        bytes[..2].copy_from_slice(&country.bytes[..2]);
        bytes[2] = b'-';
        bytes[3..3 + rest.len()].copy_from_slice(rest.as_bytes());
        Some(Self::upper(&bytes[..3 + rest.len()]))
    }

    fn upper(text: &[u8]) -> Self {
        let mut bytes = [0; 6];
        bytes[..text.len()].copy_from_slice(text);
        bytes.make_ascii_uppercase();
        Self {
            bytes,
            length: text.len() as u8,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn continent_of(country: Code) -> Option<Code> {
    let code = continent::of([country.bytes[0], country.bytes[1]])?;
    Some(Code::upper(&code))
}

/// Where a client is, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Region {
    pub(super) country: Option<Code>,
    pub(super) subdivision: Option<Code>,
    pub(super) continent: Option<Code>,
}

impl Region {
    /// Reads `CC` or `CC-SUB`.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let country = Code::two(text.split_once('-').map_or(text, |(country, _)| country))?;
        let subdivision = match text.contains('-') {
            true => Some(Code::subdivision(text)?),
            false => None,
        };
        Some(Self {
            country: Some(country),
            subdivision,
            continent: continent_of(country),
        })
    }
}

/// Where regions come from, as the file says.
#[derive(Debug)]
pub(super) struct Geo {
    /// The header, and by listener whether its callers may send it.
    header: Option<(HeaderName, Box<[bool]>)>,
    database: Option<Regions>,
}

impl Geo {
    pub(super) fn compile(config: &config::Config, database: Option<Regions>) -> Self {
        let written = config.geo.as_ref();
        let header = written
            .and_then(|geo| geo.header.as_deref())
            .and_then(|name| {
                let trusted = config
                    .listeners
                    .iter()
                    .map(|l| l.trusted_headers.iter().any(|t| t == name));
                Some((
                    HeaderName::from_bytes(name.as_bytes()).ok()?,
                    trusted.collect(),
                ))
            });
        let database = database.filter(|_| written.is_some_and(|geo| geo.database.is_some()));
        Self { header, database }
    }

    pub(super) fn region(&self, caller: &Caller<'_>) -> Region {
        if let Some((name, trusted)) = &self.header
            && trusted.get(caller.listener).copied().unwrap_or(false)
            && let Lines::Agree(value) = lines(caller.headers, name)
            && let Some(region) = Region::parse(value)
        {
            return region;
        }
        self.database
            .as_ref()
            .map_or_else(Region::default, |database| database.find(caller.client))
    }
}

/// What we read of a City or Country record.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    country: Place<'a>,
    #[serde(borrow, default)]
    subdivisions: First<'a>,
    #[serde(borrow, default)]
    continent: Continent<'a>,
}

#[derive(Deserialize, Default)]
struct Place<'a> {
    #[serde(borrow, default)]
    iso_code: Option<&'a str>,
}

#[derive(Deserialize, Default)]
struct Continent<'a> {
    #[serde(borrow, default)]
    code: Option<&'a str>,
}

/// The first of a list, the largest subdivision; a `Vec` would allocate.
#[derive(Default)]
struct First<'a>(Place<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Firsts;
        impl<'de> Visitor<'de> for Firsts {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of subdivisions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<'de>, A::Error> {
                let first = list.next_element()?.unwrap_or_default();
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Firsts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_holds_a_country_or_a_subdivision() {
        let parsed = |text: &str| Region::parse(text.as_bytes());
        let california = parsed("us-ca").unwrap();
        assert_eq!(california.country.unwrap().to_string(), "US");
        assert_eq!(california.subdivision.unwrap().to_string(), "US-CA");
        assert_eq!(california.continent.unwrap().to_string(), "NA");
        assert_eq!(parsed("SE").unwrap().subdivision, None);
        for wrong in [
            "", "S", "SWE", "S1", "US-", "US-CALI", "US-C_", "-CA", "US-CA-1", "ÅS",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_is_no_database_is_told_with_its_name() {
        let file = config::Database {
            path: "geo/city.mmdb".into(),
            bytes: Arc::from(&b"not a database"[..]),
        };
        let error = Regions::open(&file).unwrap_err();
        assert!(
            error.starts_with("geo/city.mmdb is no MaxMind database"),
            "{error}"
        );
    }
}
