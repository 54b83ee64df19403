//! What a handshake agreed on, and who showed which certificate in it: read once for all requests of the connection.

use std::net::IpAddr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, SupportedCipherSuite};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate, X509Name};

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
    /// Its subject: `CN=alice, O=Example`. In a value a backslash stands before what could be read as something else
    /// (RFC 4514 §2.4).
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
            subject: subject(certificate.subject()),
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

/// A name as text that can be read in one way.
fn subject(name: &X509Name<'_>) -> String {
    let attribute = |attribute: &AttributeTypeAndValue<'_>| {
        let kind = attribute.attr_type();
        let kind =
            oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
        // What is no text is told in hexadecimal.
        match attribute.as_str() {
            Ok(value) => format!("{kind}={}", escaped(value)),
            Err(_) => {
                let bytes = attribute.as_slice().iter();
                format!(
                    "{kind}=#{}",
                    bytes.map(|b| format!("{b:02x}")).collect::<String>()
                )
            }
        }
    };
    let parts = name.iter_rdn().map(|rdn| {
        let attributes: Vec<_> = rdn.iter().map(attribute).collect();
        attributes.join(" + ")
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let at_edge = (at == 0 && matches!(c, '#' | ' ')) || (at == last && c == ' ');
        if c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("\\{byte:02x}"));
            }
            continue;
        }
        if at_edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            text.push('\\');
        }
        text.push(c);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_in_one_way() {
        let subject = |names: &[(rcgen::DnType, &str)]| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in names {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let key = rcgen::KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            ClientCertificate::read(certificate.der())
                .expect("it")
                .subject
        };
        use rcgen::DnType::{CommonName, OrganizationName};
        let honest = [(CommonName, "alice"), (OrganizationName, "Admins")];
        assert_eq!(subject(&honest), "CN=alice, O=Admins");
        let posing = [(CommonName, "alice, O=Admins")];
        assert_eq!(subject(&posing), r"CN=alice\, O\=Admins");
        assert_eq!(subject(&[(CommonName, "# a ")]), r"CN=\# a\ ");
        assert_eq!(subject(&[(CommonName, "a\nb\\")]), r"CN=a\0ab\\");
    }
}
