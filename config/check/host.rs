//! Hosts: names and addresses, as they are compared and sent.

use super::Check;
use crate::HostPattern;
use crate::problem::quoted;
use crate::source::At;

const LONGEST_HOST: usize = 253;

impl Check<'_> {
    /// What a host must be.
    pub(super) fn host_pattern(&mut self, at: &At<'_>, text: &str) -> HostPattern {
        let (is_suffix, name) = match text.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, text),
        };
        let hint = match name {
            "*" | "" if !is_suffix => Some("leave `hosts` out for every host"),
            n if n.contains('*') => {
                Some("a star stands for whole labels at the beginning: `*.example.com`")
            }
            n => wrong_host(n),
        };
        if let Some(hint) = hint {
            self.problems
                .error(at, "T311", format!("{} is no host", quoted(text)), hint);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // One address has one text, the one that clients send (RFC 5952).
        let ip = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        let name = match ip.and_then(|ip| ip.parse::<std::net::Ipv6Addr>().ok()) {
            Some(ip) => format!("[{ip}]"),
            None => name,
        };
        if is_suffix {
            HostPattern::Suffix(format!(".{name}"))
        } else {
            HostPattern::Exact(name)
        }
    }

    /// A host that is sent, with a port where that is allowed.
    pub(super) fn authority(&mut self, at: &At<'_>, text: &str, may_have_port: bool) {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port))
                if !port.contains(']') && (host.ends_with(']') || !host.contains(':')) =>
            {
                (host, Some(port))
            }
            _ => (text, None),
        };
        let hint = match port {
            Some(_) if !may_have_port => Some("write the port as `port:`"),
            Some(port) if !port.parse::<u16>().is_ok_and(|p| p > 0) => {
                Some("a port is a number from 1 to 65535")
            }
            _ => wrong_host(host),
        };
        if let Some(hint) = hint {
            self.problems
                .error(at, "T311", format!("{} is no host", quoted(text)), hint);
        }
    }
}

/// What to write instead of a host without a port, if it is none.
fn wrong_host(host: &str) -> Option<&'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let is_ip = inner
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        return if is_ip {
            None
        } else {
            Some("write an IPv6 address like `[::1]`, without a port")
        };
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.len() > LONGEST_HOST {
        Some("write a name of 1 to 253 characters")
    } else if name.contains("://") || name.contains('/') {
        Some("write the name alone, without scheme and path")
    } else if name.contains(':') {
        Some("leave the port out: it does not count")
    } else if !name.is_ascii() {
        Some("write the name as it is sent, in punycode: `xn--…`")
    } else if !name.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    }) {
        Some("use letters, digits, `-` and dots between labels")
    } else {
        None
    }
}
