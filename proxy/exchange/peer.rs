//! Who is at the other end of a connection, and what is known of them once for all its requests.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::HeaderValue;

use crate::record::ListenerId;
use crate::snapshot::ListenerKey;
use crate::transport::session::{ClientCertificate, Session};

/// The other end of a connection that was accepted.
#[derive(Debug)]
pub struct Peer {
    /// Its address; an IPv4-mapped one as IPv4.
    pub address: SocketAddr,
    /// Its listener: how snapshots know it.
    pub listener: ListenerKey,
    /// What the connection's refusals are counted under.
    pub listener_id: ListenerId,
    /// It speaks HTTP/2.
    pub http2: bool,
    /// What its TLS handshake agreed on; `None` is no TLS.
    pub session: Option<Box<Session>>,
    /// Its address as a header's value; most requests of a connection carry this very value.
    pub address_value: HeaderValue,
    /// The same as an element of `Forwarded`.
    pub forwarded_value: HeaderValue,
    /// Counts the connection for as long as anything of it is left, tunnels too.
    _presence: Box<dyn std::fmt::Debug>,
}

impl Peer {
    /// A peer at `address`; `presence` is kept until the last of the connection is gone.
    pub fn new(
        address: SocketAddr,
        listener: ListenerKey,
        listener_id: ListenerId,
        http2: bool,
        session: Option<Box<Session>>,
        presence: Box<dyn std::fmt::Debug>,
    ) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let (address_value, forwarded_value) = told(address.ip(), scheme(session.as_deref()));
        Self {
            address,
            listener,
            listener_id,
            http2,
            address_value,
            forwarded_value,
            session,
            _presence: presence,
        }
    }

    /// The certificate that it showed.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.session.as_ref()?.certificate.as_ref()
    }

    /// What its connection is encrypted by decides the scheme of its requests.
    pub fn is_encrypted(&self) -> bool {
        self.session.is_some()
    }
}

fn scheme(session: Option<&Session>) -> &'static str {
    if session.is_some() { "https" } else { "http" }
}

/// The longest element: an IPv6 address is up to 39 letters.
const ELEMENT: usize = 64;

/// An address as a header's value and, in the same memory, as an element of `Forwarded`: `for=…;proto=http`, an IPv6 address
/// quoted and in brackets (RFC 7239 §6).
fn told(ip: IpAddr, scheme: &str) -> (HeaderValue, HeaderValue) {
    let (before, after) = match ip {
        IpAddr::V4(_) => ("for=", ""),
        IpAddr::V6(_) => ("for=\"[", "]\""),
    };
    let mut text = String::with_capacity(ELEMENT);
    text.push_str(before);
    let _ = write!(text, "{ip}"); // a String takes everything
    let end = text.len();
    text.push_str(after);
    text.push_str(";proto=");
    text.push_str(scheme);
    let element = Bytes::from(text);
    let value = |bytes| {
        HeaderValue::from_maybe_shared(bytes)
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    };
    (value(element.slice(before.len()..end)), value(element))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_plain_and_as_an_element() {
        for (ip, scheme, plain, element) in [
            ("192.0.2.1", "http", "192.0.2.1", "for=192.0.2.1;proto=http"),
            (
                "2001:db8::1",
                "https",
                "2001:db8::1",
                "for=\"[2001:db8::1]\";proto=https",
            ),
        ] {
            let (value, forwarded) = told(ip.parse().expect("an address"), scheme);
            assert_eq!(
                (value, forwarded.as_bytes()),
                (HeaderValue::from_static(plain), element.as_bytes())
            );
        }
    }
}
