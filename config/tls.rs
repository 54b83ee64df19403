//! Encryption: certificates that are shown, authorities that are believed. What is in here was read and checked; the
//! files are read again when they change, like the configuration itself.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use crate::{Config, HostPattern};

/// Before it ends a certificate is warned of for so long.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// `listeners[].tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// What is shown to callers, by the name that they ask for; at least one. Who asks for no name, or for one that none
    /// has, gets the first.
    pub certificates: Vec<ServerCertificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether callers show certificates.
    pub client_auth: ClientAuth,
}

/// `listeners[].tls.certificates[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// For which names; those of the certificate itself where the file gives none. A star is one label here.
    pub hosts: Vec<HostPattern>,
    /// The certificate and its key.
    pub pair: Arc<KeyPair>,
}

/// Whether a certificate that ends then is to be replaced now.
pub fn ends_soon(end: Timestamp, now: Timestamp) -> bool {
    end.duration_since(now) < SOON
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246; the default.
    #[default]
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

/// `listeners[].tls.client_auth`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Callers are not asked.
    #[default]
    None,
    /// Who shows one must show one of these authorities.
    Optional(Arc<Authorities>),
    /// Everybody must show one of these authorities.
    Required(Arc<Authorities>),
}

impl ClientAuth {
    /// The authorities, where callers are asked.
    pub fn authorities(&self) -> Option<&Arc<Authorities>> {
        match self {
            Self::None => None,
            Self::Optional(authorities) | Self::Required(authorities) => Some(authorities),
        }
    }
}

/// `services[].tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTls {
    /// Who vouches for the endpoints: the machine's own authorities where the file names none.
    pub authorities: Arc<Authorities>,
    /// The name that endpoints must have and that is asked for; their IP address where the file gives none.
    pub server_name: Option<ServerName<'static>>,
    /// What is shown to endpoints.
    pub client: Option<Arc<KeyPair>>,
}

/// A certificate with its chain, and its key. Equal where the bytes of the two files are.
pub struct KeyPair {
    /// The file of the chain.
    pub cert: PathBuf,
    /// The file of the key.
    pub(crate) key: PathBuf,
    /// The file of the OCSP answer, where the configuration names one.
    pub(crate) ocsp: Option<PathBuf>,
    /// Ready for handshakes; with a stapled OCSP answer where there is one.
    pub certified: Arc<CertifiedKey>,
    /// When the certificate ends.
    pub not_after: Timestamp,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// A hash of the bytes of all files.
    pub(crate) hash: u64,
}

impl KeyPair {
    /// The server names that it is for, as patterns. A star is one label, as certificates have it.
    pub(crate) fn hosts(&self) -> Vec<HostPattern> {
        let pattern = |name: &String| match name.strip_prefix('*') {
            Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
            None => HostPattern::Exact(name.clone()),
        };
        let names = self.names.iter();
        names
            .filter(|name| name.parse::<IpAddr>().is_err())
            .map(pattern)
            .collect()
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.cert == other.cert && self.hash == other.hash
    }
}

impl Eq for KeyPair {}

impl fmt::Debug for KeyPair {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("cert", &self.cert)
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The pairs of a configuration in force. When it is read again, a pair whose files are none at that moment stays as it was:
/// whoever renews it writes one file after the other.
#[derive(Debug, Clone, Default)]
pub struct Pairs(Vec<Arc<KeyPair>>);

impl Pairs {
    /// All that callers and endpoints are shown.
    pub fn of(config: &Config) -> Self {
        let tls = config.listeners.iter().filter_map(|l| l.tls.as_ref());
        let certificates = tls.flat_map(|tls| &tls.certificates);
        let shown = certificates.map(|certificate| &certificate.pair);
        let services = config.services.iter();
        let clients = services.filter_map(|service| service.tls.as_ref()?.client.as_ref());
        Self(shown.chain(clients).cloned().collect())
    }

    /// The one that was read of these files.
    pub(crate) fn of_files(&self, cert: &Path, key: &Path) -> Option<&Arc<KeyPair>> {
        let is_it = |pair: &&Arc<KeyPair>| pair.cert == cert && pair.key == key;
        self.0.iter().find(is_it)
    }
}

/// Certificate authorities that are believed. Equal where the bytes of the file are.
pub struct Authorities {
    /// The file; empty for those of the machine.
    pub path: PathBuf,
    /// Ready for handshakes; at least one.
    pub roots: Arc<RootCertStore>,
    /// When the first of them ends; never for those of the machine, which are not this file's affair.
    pub not_after: Timestamp,
    /// A hash of the file's bytes.
    pub(crate) hash: u64,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.hash == other.hash
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("path", &self.path)
            .field("count", &self.roots.len())
            .finish_non_exhaustive()
    }
}
