//! Who is at the other end of a connection, and what is known of them once for all its requests.

use std::net::{IpAddr, SocketAddr};

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
        Self {
            address,
            listener,
            listener_id,
            http2,
            address_value: address_value(address.ip()),
            forwarded_value: forwarded_value(address.ip(), scheme(session.as_deref())),
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

/// `for=…;proto=http`, an IPv6 address quoted and in brackets (RFC 7239 §6).
fn forwarded_value(ip: IpAddr, scheme: &str) -> HeaderValue {
    let text = match ip {
        IpAddr::V4(ip) => format!("for={ip};proto={scheme}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={scheme}"),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
}

/// An address as a header's value.
pub fn address_value(ip: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
