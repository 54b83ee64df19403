//! Single values: quantities, numbers, addresses, patterns, and the names that HTTP knows.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::Check;
use crate::file::{AddressText, DurationOrNone, DurationText, NetworkText, ShareText, SizeText};
use crate::problem::quoted;
use crate::source::At;
use crate::units::{self, Share};

/// The most memory that one compiled regular expression may take, in bytes. A pattern of a thousand plain words fits.
const MAX_REGEX: usize = 1 << 20;

/// What stands in for an address that is wrong.
const NO_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Check<'_> {
    /// A duration that may be nothing.
    pub(super) fn duration(
        &mut self,
        at: &At<'_>,
        text: Option<&DurationText>,
        default: Duration,
    ) -> Duration {
        text.map_or(default, |text| self.read_duration(at, &text.0))
    }

    /// A duration of at least a millisecond.
    pub(super) fn wait(
        &mut self,
        at: &At<'_>,
        text: Option<&DurationText>,
        default: Duration,
    ) -> Duration {
        let duration = self.duration(at, text, default);
        self.not_zero(at, duration);
        duration
    }

    /// A duration, or `none`.
    pub(super) fn wait_or_none(
        &mut self,
        at: &At<'_>,
        text: Option<&DurationOrNone>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some(text) = text else { return default };
        if text.0 == "none" {
            return None;
        }
        let duration = self.read_duration(at, &text.0);
        if duration.is_zero() {
            self.problems.error(
                at,
                "T302",
                "nothing can be done in no time",
                "write `none` for no bound",
            );
        }
        Some(duration)
    }

    fn read_duration(&mut self, at: &At<'_>, text: &str) -> Duration {
        units::duration(text).unwrap_or_else(|error| {
            self.wrong_unit(at, text, &error);
            Duration::from_secs(1)
        })
    }

    fn not_zero(&mut self, at: &At<'_>, duration: Duration) {
        if duration.is_zero() {
            self.problems.error(
                at,
                "T302",
                "nothing can be done in no time",
                "write at least `1ms`",
            );
        }
    }

    fn wrong_unit(&mut self, at: &At<'_>, text: &str, error: &units::UnitError) {
        let message = format!("expected {}, found {}", error.expected, quoted(text));
        self.problems.error(
            at,
            "T301",
            message,
            format!("write it like `{}`", error.example),
        );
    }

    pub(super) fn size(&mut self, at: &At<'_>, text: &SizeText) -> u64 {
        units::size(&text.0).unwrap_or_else(|error| {
            self.wrong_unit(at, &text.0, &error);
            1 << 10
        })
    }

    /// A size within bounds.
    pub(super) fn size_within(
        &mut self,
        at: &At<'_>,
        text: Option<&SizeText>,
        default: u64,
        (least, most): (u64, u64),
    ) -> u64 {
        let Some(text) = text else { return default };
        let before = self.problems.count();
        let size = self.size(at, text);
        if self.problems.count() == before && !(least..=most).contains(&size) {
            let message = format!("{} is out of range", quoted(&text.0));
            let hint = format!(
                "write a size from {} to {}",
                units::show_size(least),
                units::show_size(most)
            );
            self.problems.error(at, "T302", message, hint);
        }
        size.clamp(least, most)
    }

    /// `None` where it cannot be read.
    pub(super) fn share_read(&mut self, at: &At<'_>, text: &ShareText) -> Option<Share> {
        text.0
            .parse()
            .map_err(|error| self.wrong_unit(at, &text.0, &error))
            .ok()
    }

    pub(super) fn share(&mut self, at: &At<'_>, text: Option<&ShareText>, default: Share) -> Share {
        text.and_then(|text| self.share_read(at, text))
            .unwrap_or(default)
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        at: &At<'_>,
        value: Option<u64>,
        default: u64,
        (least, most): (u64, u64),
    ) -> u64 {
        let Some(value) = value else { return default };
        if !(least..=most).contains(&value) {
            let hint = format!("write a number from {least} to {most}");
            self.problems
                .error(at, "T302", format!("{value} is out of range"), hint);
        }
        value.clamp(least, most)
    }

    /// A count from 1 on.
    pub(super) fn count(
        &mut self,
        at: &At<'_>,
        value: Option<u64>,
        default: u32,
        most: u32,
    ) -> NonZeroU32 {
        let value = self.number(at, value, default.into(), (1, most.into()));
        u32::try_from(value)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN)
    }

    /// A count from 1 on that bounds memory.
    pub(super) fn amount(
        &mut self,
        at: &At<'_>,
        value: Option<u64>,
        default: u32,
        most: u32,
    ) -> NonZeroUsize {
        self.count(at, value, default, most)
            .try_into()
            .unwrap_or(NonZeroUsize::MIN)
    }

    /// An address to listen on.
    pub(super) fn address(&mut self, at: &At<'_>, text: &AddressText) -> SocketAddr {
        text.0.parse().unwrap_or_else(|_| {
            let port = text.0.rsplit_once(':').map_or("8080", |(_, port)| port);
            let hint = match text.0.as_str() {
                t if t.parse::<u16>().is_ok() => {
                    format!("write `127.0.0.1:{t}`, or `0.0.0.0:{t}` for every interface")
                }
                t if t.starts_with(':') || t.starts_with('*') => {
                    format!("write `0.0.0.0:{port}` for every interface")
                }
                t if t.starts_with("localhost") => {
                    format!("write `127.0.0.1:{port}`: a name may mean several addresses")
                }
                t if t.parse::<std::net::IpAddr>().is_ok() => {
                    "add the port, `[::]:8080` or `0.0.0.0:8080`".to_owned()
                }
                _ => "write it like `0.0.0.0:8080` or `[::]:8080`".to_owned(),
            };
            let message = format!(
                "expected an IP address and a port, found {}",
                quoted(&text.0)
            );
            self.problems.error(at, "T304", message, hint);
            NO_ADDRESS
        })
    }

    /// Networks, or single addresses.
    pub(super) fn networks(&mut self, at: &At<'_>, texts: &[NetworkText]) -> Vec<IpNet> {
        let mut networks = Vec::with_capacity(texts.len());
        for (index, NetworkText(text)) in texts.iter().enumerate() {
            let network = text
                .parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
            match network {
                Some(network) => networks.push(network.trunc()),
                None => {
                    let message = format!(
                        "expected a network or an IP address, found {}",
                        quoted(text)
                    );
                    self.problems.error(
                        &at.index(index),
                        "T305",
                        message,
                        "write it like `10.0.0.0/8` or `fd00::/8`",
                    );
                }
            }
        }
        networks
    }

    /// A regular expression; one that matches everything where it is wrong.
    pub(super) fn regex(&mut self, at: &At<'_>, pattern: &str) -> Option<Regex> {
        let error = match RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX)
            .dfa_size_limit(MAX_REGEX)
            .build()
        {
            Ok(regex) => return Some(regex),
            Err(error) => error,
        };
        let (message, hint) = match error {
            regex::Error::CompiledTooBig(_) => (
                format!("the regular expression takes more than {MAX_REGEX} bytes of memory"),
                "make it shorter, above all its counted repetitions",
            ),
            // The crate's own text draws the pattern over several lines; its last one says what is wrong.
            error => {
                let text = error.to_string();
                let what = text
                    .lines()
                    .next_back()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                (
                    format!("this is no regular expression: {what}"),
                    "look-around and back-references are not supported; escape `.`, `(`, `[` … with `\\`",
                )
            }
        };
        self.problems.error(at, "T306", message, hint);
        None
    }

    /// A header's name, in lower case.
    pub(super) fn header_name(&mut self, at: &At<'_>, name: &str) -> String {
        if !is_token(name) {
            let message = format!("{} cannot be a header's name", quoted(name));
            self.problems
                .error(at, "T307", message, "use letters, digits and `-`");
        }
        name.to_ascii_lowercase()
    }

    /// A cookie's name.
    pub(super) fn cookie_name(&mut self, at: &At<'_>, name: &str) -> String {
        if !is_token(name) {
            let message = format!("{} cannot be a cookie's name", quoted(name));
            self.problems
                .error(at, "T308", message, "use letters, digits, `-` and `_`");
        }
        name.to_owned()
    }

    /// Names of headers, in lower case, each once.
    pub(super) fn header_names(&mut self, at: &At<'_>, names: &[String]) -> Vec<String> {
        self.no_entry_twice(at, names, str::to_ascii_lowercase);
        names
            .iter()
            .enumerate()
            .map(|(index, name)| self.header_name(&at.index(index), name))
            .collect()
    }

    /// A path of a request, as it is compared and sent: its normal form, without a query.
    pub(super) fn request_path(&mut self, at: &At<'_>, path: &str) -> String {
        let (message, hint) = if !path.starts_with('/') {
            (
                format!("the path {} does not begin with `/`", quoted(path)),
                format!("write `/{}`", path.chars().take(40).collect::<String>()),
            )
        } else if path.contains(['?', '#']) {
            (
                format!("the path {} has a query", quoted(path)),
                "write the path alone; use `when: { query: … }` for the rest".to_owned(),
            )
        } else if path.split('/').any(is_dots) {
            (
                format!(
                    "the path {} has `.` or `..`, which no normalised path has",
                    quoted(path)
                ),
                "write the path without them".to_owned(),
            )
        } else if path.contains("//") {
            (
                format!(
                    "the path {} has a run of slashes, which no normalised path has",
                    quoted(path)
                ),
                "write one slash".to_owned(),
            )
        } else if path.chars().any(|c| c.is_control() || c == ' ') {
            (
                format!("the path {} has characters that no path has", quoted(path)),
                "write them as %20 and the like".to_owned(),
            )
        } else {
            match crate::normalise(path, true) {
                Ok(normal) => return normal.into_owned(),
                Err(_) => (
                    format!(
                        "the path {} has a backslash or a broken escape",
                        quoted(path)
                    ),
                    "write `%` and two hexadecimal digits, `%25` for the sign itself".to_owned(),
                ),
            }
        };
        self.problems.error(at, "T311", message, hint);
        path.to_owned()
    }
}

/// A token of HTTP: names of headers, cookies and methods.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// What may stand in a header's value.
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}
/// `.` or `..`, however it is spelt.
fn is_dots(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    matches!(plain.as_str(), "." | "..")
}
