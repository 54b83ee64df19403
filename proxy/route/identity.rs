//! Who the user is: the first source that answers. A key is the raw value without the white space around it.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use tidegate_config::{self as config, CertificatePart};

use super::caller::{Caller, Lines, lines, parts};
use super::chance::AssignedId;
use super::cookie;

/// Where the key of a slot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// No slot was asked for: the rule names its version, or none matched.
    Nothing,
    /// The source with this number in `identity.user`.
    User(usize),
    /// The source with this number gave the visitor an ID just now.
    Assigned(usize),
    /// The header that the split names.
    Header,
    /// The cookie that the split names.
    Cookie,
    /// The client's address, as the split says.
    ClientAddress,
    /// Chance: the split says so, or nobody said who it is.
    Random,
}

/// A user's key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    Sent(&'a [u8]),
    Address(AddressText),
    Assigned(AssignedId),
}

impl Key<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) => bytes,
            Self::Address(text) => text.as_bytes(),
            Self::Assigned(id) => id.as_bytes(),
        }
    }
}

/// A user: the key, and who said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct User<'a> {
    pub(super) key: Key<'a>,
    pub(super) source: KeySource,
}

/// `identity.user`, compiled.
#[derive(Debug)]
pub(super) struct Identity {
    sources: Box<[Source]>,
    /// By listener: do its callers come from outside?
    edge: Box<[bool]>,
}

#[derive(Debug)]
enum Source {
    /// By listener: may its callers send it?
    Header(HeaderName, Box<[bool]>),
    Cookie(Box<str>),
    AssignCookie(Box<str>),
    ClientAddress,
    Certificate(CertificatePart),
    /// A header whose name no request can carry.
    Never,
}

impl Identity {
    pub(super) fn compile(config: &config::Config) -> Self {
        let source = |written: &config::UserSource| match written {
            config::UserSource::Header(name) => {
                let trusted = config
                    .listeners
                    .iter()
                    .map(|l| l.trusted_headers.iter().any(|t| t == name))
                    .collect();
                HeaderName::from_bytes(name.as_bytes())
                    .map_or(Source::Never, |name| Source::Header(name, trusted))
            }
            config::UserSource::Cookie(name) => Source::Cookie(name.as_str().into()),
            config::UserSource::AssignCookie(name) => Source::AssignCookie(name.as_str().into()),
            config::UserSource::ClientAddress => Source::ClientAddress,
            config::UserSource::ClientCertificate(part) => Source::Certificate(*part),
        };
        let edge = config
            .listeners
            .iter()
            .map(|l| l.profile == config::Profile::Edge)
            .collect();
        Self {
            sources: config.identity.iter().map(source).collect(),
            edge,
        }
    }

    /// The user, or `None` where nobody says who it is.
    pub(super) fn user<'a>(
        &self,
        caller: &Caller<'a>,
        chance: &mut dyn FnMut() -> u64,
    ) -> Option<User<'a>> {
        self.sources
            .iter()
            .enumerate()
            .find_map(|(number, source)| {
                let user = |key| User {
                    key,
                    source: KeySource::User(number),
                };
                match source {
                    Source::Header(name, trusted) if is(trusted, caller.listener) => {
                        // On edge a request whose lines differ was refused before; elsewhere nobody knows who it is.
                        match lines(caller.headers, name) {
                            Lines::Agree(value) => Some(user(Key::Sent(value))),
                            Lines::Silent | Lines::Differ => None,
                        }
                    }
                    Source::Header(..) | Source::Never => None,
                    Source::Cookie(name) => cookie::answer(caller.headers, name.as_bytes())
                        .map(Key::Sent)
                        .map(user),
                    Source::AssignCookie(name) => {
                        Some(match cookie::answer(caller.headers, name.as_bytes()) {
                            Some(sent) => user(Key::Sent(sent)),
                            None => {
                                let id = AssignedId::draw(chance);
                                User {
                                    key: Key::Assigned(id),
                                    source: KeySource::Assigned(number),
                                }
                            }
                        })
                    }
                    Source::ClientAddress => {
                        Some(user(Key::Address(AddressText::new(caller.client))))
                    }
                    Source::Certificate(part) => parts(caller.certificate, *part)
                        .find(|part| !part.is_empty())
                        .map(|part| user(Key::Sent(part.as_bytes()))),
                }
            })
    }

    /// The identity header of which a caller from outside sent two lines that differ.
    pub(super) fn conflict(&self, listener: usize, headers: &HeaderMap) -> Option<&HeaderName> {
        if !is(&self.edge, listener) {
            return None;
        }
        self.sources.iter().find_map(|source| match source {
            Source::Header(name, trusted) if is(trusted, listener) => {
                matches!(lines(headers, name), Lines::Differ).then_some(name)
            }
            _ => None,
        })
    }

    /// The name of the cookie that carries an assigned ID.
    pub(super) fn assigned_cookie(&self) -> Option<&str> {
        self.sources.iter().find_map(|source| match source {
            Source::AssignCookie(name) => Some(&**name),
            _ => None,
        })
    }

    /// A source in words.
    pub(super) fn describe(&self, number: usize) -> String {
        match self.sources.get(number) {
            Some(Source::Header(name, _)) => format!("header {name}"),
            Some(Source::Cookie(name) | Source::AssignCookie(name)) => format!("cookie {name}"),
            Some(Source::ClientAddress) => "client address".into(),
            Some(Source::Certificate(part)) => part.described().into(),
            Some(Source::Never) | None => "nobody".into(),
        }
    }
}

fn is(by_listener: &[bool], listener: usize) -> bool {
    by_listener.get(listener).copied().unwrap_or(false)
}

/// A client's address as a key: IPv4 as it is written, also where it came mapped into IPv6; of IPv6 the /64 that one
/// subscriber has, in the canonical form of RFC 5952 with its length: `2001:db8:1:2::/64`.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressText {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl AddressText {
    const LONGEST: usize = "ffff:ffff:ffff:ffff::/64".len();

    pub(super) fn new(client: IpAddr) -> Self {
        let mut bytes = [0; Self::LONGEST];
        let mut rest = &mut bytes[..];
        let written = match client.to_canonical() {
            IpAddr::V4(address) => write!(rest, "{address}"),
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
                write!(rest, "{network}/64")
            }
        };
        written.expect("LONGEST is the longest address");
        let length = (Self::LONGEST - rest.len()) as u8;
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_address_is_canonical_text() {
        for (client, text) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
            ("2001:0DB8:0001:0002::", "2001:db8:1:2::/64"),
            ("2001:db8::1", "2001:db8::/64"),
            ("::1", "::/64"),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff::/64",
            ),
            ("255.255.255.255", "255.255.255.255"),
        ] {
            let key = AddressText::new(client.parse().unwrap());
            assert_eq!(std::str::from_utf8(key.as_bytes()), Ok(text), "{client}");
        }
    }
}
