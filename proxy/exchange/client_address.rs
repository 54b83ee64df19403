//! Where a request comes from: the peer, unless the peer is a trusted proxy that says otherwise. The rightmost address
//! that is no trusted proxy is the client's: everything left of it is a stranger's word (RFC 7239 §8.1).

use std::net::IpAddr;

use http::HeaderMap;
use tidegate_config::{AddressHeader, ClientAddress};

/// Whether the peer's word about clients counts.
pub fn is_trusted(peer: IpAddr, rules: &ClientAddress) -> bool {
    rules.trusted_proxies.iter().any(|net| net.contains(&peer))
}

/// The client's address.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, rules: &ClientAddress) -> IpAddr {
    let Some(source) = rules.from else {
        return peer;
    };
    if !is_trusted(peer, rules) {
        return peer;
    }
    let mut client = peer;
    let name = match source {
        AddressHeader::XForwardedFor => "x-forwarded-for",
        AddressHeader::Forwarded => "forwarded",
    };
    for line in headers.get_all(name).iter().rev() {
        let Ok(line) = line.to_str() else {
            return client;
        };
        for element in line.rsplit(',') {
            let node = match source {
                AddressHeader::XForwardedFor => Some(element.trim()),
                AddressHeader::Forwarded => forwarded_for(element),
            };
            // An address that cannot be read ends the trust: what is left of it cannot be known.
            let Some(address) = node.and_then(parse_node) else {
                return client;
            };
            client = address;
            if !is_trusted(address, rules) {
                return client;
            }
        }
    }
    client
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for")
            .then(|| value.trim_matches('"'))
    })
}

/// An address, with or without brackets and port.
fn parse_node(node: &str) -> Option<IpAddr> {
    let parsed = node
        .parse::<IpAddr>()
        .ok()
        .or_else(|| node.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    let parsed = parsed.or_else(|| node.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    parsed.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(from: AddressHeader) -> ClientAddress {
        ClientAddress {
            from: Some(from),
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        }
    }

    fn seen(peer: &str, name: &'static str, lines: &[&str], from: AddressHeader) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().expect("a value"));
        }
        client_address(peer.parse().expect("an address"), &headers, &rules(from)).to_string()
    }

    #[test]
    fn the_rightmost_stranger_is_the_client() {
        use AddressHeader::{Forwarded, XForwardedFor};
        for (peer, name, lines, from, client) in [
            (
                "192.0.2.1",
                "x-forwarded-for",
                &["1.2.3.4"][..],
                XForwardedFor,
                "192.0.2.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &["6.6.6.6, 1.2.3.4, 10.9.9.9"],
                XForwardedFor,
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &["6.6.6.6", "1.2.3.4"],
                XForwardedFor,
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &["6.6.6.6, junk, 10.9.9.9"],
                XForwardedFor,
                "10.9.9.9",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &["10.1.1.1, 10.2.2.2"],
                XForwardedFor,
                "10.1.1.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &[],
                XForwardedFor,
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                &["::ffff:1.2.3.4"],
                XForwardedFor,
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "forwarded",
                &["for=6.6.6.6, for=\"[2001:db8::1]:99\";proto=http"],
                Forwarded,
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                "forwarded",
                &["for=_hidden"],
                Forwarded,
                "10.0.0.1",
            ),
        ] {
            assert_eq!(seen(peer, name, lines, from), client, "{peer} {lines:?}");
        }
    }
}
