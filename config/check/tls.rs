//! Certificates, keys and authorities: read and understood.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use xxhash_rust::xxh3::Xxh3;

use super::Check;
use super::flaw::{Flaw, shown};
use crate::source::At;
use crate::tls::Authorities;

/// The largest file of certificates: every public authority together has a quarter of this.
pub(super) const MAX_CERTIFICATES: u64 = 1 << 20;

impl Check<'_> {
    /// Authorities that vouch for others. `None` where a problem was told.
    pub(super) fn authorities(&mut self, at: &At<'_>, path: &Path) -> Option<Arc<Authorities>> {
        let bytes = self.bytes(at, path, MAX_CERTIFICATES)?;
        self.trust_file(at, path);
        let chain = chain(path, &bytes);
        let chain = self.or_refused(at, chain)?;
        let mut roots = RootCertStore::empty();
        let mut not_after = Timestamp::MAX;
        for certificate in chain {
            let read = end_and_names(path, &certificate);
            let (end, _) = self.or_refused(at, read)?;
            self.tell_end(at, &format!("the certificate in {}", shown(path)), end);
            not_after = not_after.min(end);
            let added = roots.add(certificate).map_err(|error| {
                let message = format!("{} holds what is no authority: {error}", shown(path));
                Flaw::wrong(
                    message,
                    "name a PEM file with the certificates of authorities",
                )
            });
            self.or_refused(at, added)?;
        }
        let mut hash = Xxh3::new();
        hash.update(&bytes);
        Some(Arc::new(Authorities {
            path: path.to_owned(),
            roots: Arc::new(roots),
            not_after,
            hash: hash.digest(),
        }))
    }
}

/// The certificates of a PEM file, at least one.
pub(super) fn chain(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let message = match read {
        Ok(chain) if !chain.is_empty() => return Ok(chain),
        Ok(_) => format!("{} holds no certificate", shown(path)),
        Err(error) => format!("{} is no PEM file: {}", shown(path), told(&error)),
    };
    let hint = "name a PEM file, which begins with `-----BEGIN CERTIFICATE-----`";
    Err(Flaw::wrong(message, hint))
}

/// The private key of a PEM file, ready to sign.
pub(super) fn private_key(path: &Path, bytes: &[u8]) -> Result<Arc<dyn SigningKey>, Flaw> {
    let loaded = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| format!("the key in {} cannot be used: {error}", shown(path))),
        Err(_) if is_encrypted(bytes) => {
            let message = format!("the key in {} is encrypted", shown(path));
            let hint = "nobody could be asked for its password at a restart; write it without one: \
                        openssl pkey -in KEY -out NEW, and chmod 600 NEW";
            return Err(Flaw::wrong(message, hint));
        }
        Err(pem::Error::NoItemsFound) => Err(format!("{} holds no private key", shown(path))),
        Err(error) => Err(format!("{} is no PEM file: {}", shown(path), told(&error))),
    };
    let hint = "name a PEM file with one private key that is not encrypted: PKCS #8, PKCS #1 or SEC 1; RSA of 2048 bits \
                or more, ECDSA P-256 or P-384, or Ed25519";
    loaded.map_err(|message| Flaw::wrong(message, hint))
}

/// When a certificate ends, and for whom it is.
pub(super) fn end_and_names(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Vec<String>), Flaw> {
    let parsed = X509Certificate::from_der(certificate).ok();
    let read = parsed.and_then(|(_, certificate)| {
        let end = certificate.validity().not_after.timestamp();
        Some((Timestamp::from_second(end).ok()?, names(&certificate)))
    });
    read.ok_or_else(|| {
        let message = format!("{} holds a certificate that cannot be read", shown(path));
        Flaw::wrong(message, "ask its authority for another one")
    })
}

/// The DNS names and IP addresses that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => <[u8; 16]>::try_from(bytes)
                .ok()
                .map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// What is wrong with a PEM file, without a byte of it: it may be half of a key.
fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end",
        pem::Error::IllegalSectionStart { .. } => "a section begins with a line that is none",
        pem::Error::Base64Decode(_) => "a section is no base64",
        pem::Error::NoItemsFound => "it holds nothing that is wanted here",
        _ => "it cannot be read",
    }
}

/// Whether a PEM file says that its key is: `BEGIN ENCRYPTED PRIVATE KEY`, or `Proc-Type: 4,ENCRYPTED` (RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    pem.windows(9).any(|part| part == b"ENCRYPTED")
}
