//! Who is asking: all of a request that decides where it goes, borrowed from it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method};
use tidegate_config::CertificatePart;

use crate::transport::session::ClientCertificate;

/// What a request says about itself. What the listener does not let its callers say is already gone.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Index into `Config::listeners`.
    pub listener: usize,
    /// The request's method.
    pub method: &'a Method,
    /// Without a port, in any case; IPv6 without brackets or with, as the routes are written.
    pub host: &'a str,
    /// Normalised: what is matched is what is forwarded.
    pub path: &'a str,
    /// What follows the first `?`, as sent.
    pub query: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The client's address, after trusted proxies had their say.
    pub client: IpAddr,
    /// The certificate that the caller showed; an authority of its listener vouches for it.
    pub certificate: Option<&'a ClientCertificate>,
}

/// What a certificate has of one kind.
pub(super) fn parts(
    certificate: Option<&ClientCertificate>,
    part: CertificatePart,
) -> impl Iterator<Item = &str> {
    let list = certificate.map_or(&[][..], |of| match part {
        CertificatePart::Dns => &of.dns,
        CertificatePart::Uri => &of.uri,
        CertificatePart::Email => &of.email,
        CertificatePart::Ip => &of.ip,
        CertificatePart::Subject => std::slice::from_ref(&of.subject),
        CertificatePart::Fingerprint => std::slice::from_ref(&of.fingerprint),
    });
    list.iter().map(String::as_str)
}

/// What the lines of one header say together.
pub(super) enum Lines<'a> {
    /// There is none, or nothing but white space in them.
    Silent,
    /// All that say something say this; outer white space is gone.
    Agree(&'a [u8]),
    /// Two of them differ.
    Differ,
}

/// Reads a header of which only one line makes sense.
pub(super) fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Lines<'a> {
    let mut said = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes().trim_ascii())
        .filter(|v| !v.is_empty());
    match said.next() {
        None => Lines::Silent,
        Some(first) if said.all(|other| other == first) => Lines::Agree(first),
        Some(_) => Lines::Differ,
    }
}
