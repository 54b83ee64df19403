//! What a handshake agreed on, and who showed which certificate in it: read once for all requests of the connection.

use std::net::IpAddr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, SupportedCipherSuite};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::serving::{ALPN_H2, ALPN_HTTP1};
use super::tls::Tls;

/// What a caller's handshake agreed on.
#[derive(Debug)]
pub struct Session {
    /// The version of TLS: `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite, as the registry of IANA has it.
    pub cipher: &'static str,
    /// The server name that the caller asked for.
    pub server_name: Option<Box<str>>,
    /// The protocol: `h2`, `http/1.1`, or nothing where the caller named none.
    pub alpn: Option<&'static str>,
    /// It goes on with an earlier session.
    pub resumed: bool,
    /// The caller's certificate, where it showed one: an authority of the listener vouches for it.
    pub certificate: Option<ClientCertificate>,
}

impl Session {
    /// What the handshake of `stream` agreed on.
    pub fn of(stream: &Tls) -> Self {
        let agreed = stream.session();
        let certificate = agreed.peer_certificates().and_then(<[_]>::first);
        Self {
            version: match agreed.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            },
            cipher: agreed.negotiated_cipher_suite().map_or("", suite),
            server_name: stream.server_name().map(Into::into),
            alpn: match agreed.alpn_protocol() {
                Some(ALPN_H2) => Some("h2"),
                Some(ALPN_HTTP1) => Some("http/1.1"),
                _ => None,
            },
            resumed: agreed.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: certificate.and_then(|der| ClientCertificate::read(der)),
        }
    }
}

impl Session {
    /// Whether it goes on with an earlier session whose certificate has ended since: only whole handshakes look at that.
    pub fn is_outlived(&self) -> bool {
        let ended = |certificate: &ClientCertificate| {
            certificate.not_after < jiff::Timestamp::now().as_second()
        };
        self.resumed && self.certificate.as_ref().is_some_and(ended)
    }
}

/// A caller's certificate, as far as anybody asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject: `CN=alice, O=Example`.
    pub subject: String,
    /// Its DNS names, lower case.
    pub dns: Vec<String>,
    /// Its URIs, such as SPIFFE IDs.
    pub uri: Vec<String>,
    /// Its e-mail addresses.
    pub email: Vec<String>,
    /// Its IP addresses.
    pub ip: Vec<String>,
    /// The SHA-256 of its DER, in lower-case hexadecimal.
    pub fingerprint: String,
    /// When it ends, in Unix time.
    pub not_after: i64,
}

impl ClientCertificate {
    /// Reads one. `None` where it is none: rustls has looked at it before, so this does not happen.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut read = Self {
            subject: certificate.subject().to_string(),
            fingerprint: fingerprint(der),
            not_after: certificate.validity().not_after.timestamp(),
            ..Self::default()
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => read.dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => read.uri.push((*uri).to_owned()),
                GeneralName::RFC822Name(email) => read.email.push((*email).to_owned()),
                GeneralName::IPAddress(bytes) => read.ip.extend(address(bytes)),
                _ => {}
            }
        }
        Some(read)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(ip.to_string())
}

fn fingerprint(der: &[u8]) -> String {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        return String::new();
    };
    let hash = suite.common.hash_provider.hash(der);
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The registered name of a suite.
fn suite(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
