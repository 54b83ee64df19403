//! Certificates, keys and authorities: read, understood, and held against one another.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use xxhash_rust::xxh3::Xxh3;

use super::Check;
use crate::problem::quoted;
use crate::source::At;
use crate::tls::{Authorities, KeyPair, ends_soon};

/// The largest file of certificates: every public authority together has a quarter of this.
const MAX_CERTIFICATES: u64 = 1 << 20;
/// The largest file of a key or an OCSP answer.
const MAX_KEY: u64 = 64 << 10;

/// The files of a certificate, each with the place that names it.
pub(super) struct PairFiles<'a> {
    pub(super) cert: (&'a At<'a>, &'a Path),
    pub(super) key: (&'a At<'a>, &'a Path),
    pub(super) ocsp: Option<(&'a At<'a>, &'a Path)>,
}

impl Check<'_> {
    /// A certificate and its key, which must be each other's. `None` where a problem was told.
    pub(super) fn key_pair(&mut self, files: &PairFiles<'_>) -> Option<Arc<KeyPair>> {
        let cert_bytes = self.bytes(files.cert.0, files.cert.1, MAX_CERTIFICATES);
        let key_bytes = self.bytes(files.key.0, files.key.1, MAX_KEY);
        let ocsp = match files.ocsp {
            Some((at, path)) => Some(self.bytes(at, path, MAX_KEY)?),
            None => None,
        };
        let (cert_bytes, key_bytes) = (cert_bytes?, key_bytes?);
        self.secret_file(files.key.0, files.key.1);
        let chain = self.chain(files.cert, &cert_bytes)?;
        let (not_after, names) = self.end_and_names(files.cert, &chain[0])?;
        let key = self.private_key(files.key, &key_bytes)?;
        let mut certified = CertifiedKey::new(chain, key);
        if let Err(error) = certified.keys_match() {
            let (cert, key) = (shown(files.cert.1), shown(files.key.1));
            tracing::debug!(%error, "a certificate and a key do not match");
            self.problems.error(
                files.key.0,
                "T404",
                format!("the key {key} is not the key of the certificate {cert}"),
                "write both files of one pair; until then all stays as it was, other edits too",
            );
            return None;
        }
        let mut hash = Xxh3::new();
        for bytes in [&cert_bytes, &key_bytes].into_iter().chain(&ocsp) {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        certified.ocsp = match (ocsp, files.ocsp) {
            (Some(answer), Some(place)) => self.ocsp(place, answer),
            _ => None,
        };
        Some(Arc::new(KeyPair {
            cert: files.cert.1.to_owned(),
            certified: Arc::new(certified),
            not_after,
            names,
            hash: hash.digest(),
        }))
    }

    /// An OCSP answer to staple. Without one the handshake is as good, so what is none is a warning.
    fn ocsp(&mut self, (at, path): (&At<'_>, &Path), answer: Vec<u8>) -> Option<Vec<u8>> {
        if is_ocsp_answer(&answer) {
            return Some(answer);
        }
        let message = format!(
            "{} is no OCSP answer that says anything: none is stapled",
            shown(path)
        );
        let hint =
            "fetch it anew as DER: `openssl ocsp -issuer CA -cert CERT -url URL -respout FILE`";
        self.problems.warning(at, "T407", message, hint);
        None
    }

    /// Authorities that vouch for others. `None` where a problem was told.
    pub(super) fn authorities(&mut self, at: &At<'_>, path: &Path) -> Option<Arc<Authorities>> {
        let bytes = self.bytes(at, path, MAX_CERTIFICATES)?;
        self.trust_file(at, path);
        let chain = self.chain((at, path), &bytes)?;
        let mut roots = RootCertStore::empty();
        let mut not_after = Timestamp::MAX;
        for certificate in chain {
            let (end, _) = self.end_and_names((at, path), &certificate)?;
            not_after = not_after.min(end);
            if let Err(error) = roots.add(certificate) {
                let message = format!("{} holds what is no authority: {error}", shown(path));
                let hint = "name a PEM file with the certificates of authorities";
                self.problems.error(at, "T402", message, hint);
                return None;
            }
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

    /// The certificates of a PEM file, at least one.
    fn chain(
        &mut self,
        (at, path): (&At<'_>, &Path),
        bytes: &[u8],
    ) -> Option<Vec<CertificateDer<'static>>> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        let message = match read {
            Ok(chain) if !chain.is_empty() => return Some(chain),
            Ok(_) => format!("{} holds no certificate", shown(path)),
            Err(error) => format!("{} is no PEM file: {}", shown(path), told(&error)),
        };
        let hint = "name a PEM file, which begins with `-----BEGIN CERTIFICATE-----`";
        self.problems.error(at, "T402", message, hint);
        None
    }

    fn private_key(
        &mut self,
        (at, path): (&At<'_>, &Path),
        bytes: &[u8],
    ) -> Option<Arc<dyn rustls::sign::SigningKey>> {
        let read = PrivateKeyDer::from_pem_slice(bytes);
        let loaded = match read {
            Ok(key) => aws_lc_rs::default_provider()
                .key_provider
                .load_private_key(key)
                .map_err(|error| format!("the key in {} cannot be used: {error}", shown(path))),
            Err(_) if is_encrypted(bytes) => {
                let message = format!("the key in {} is encrypted", shown(path));
                let hint = "nobody could be asked for its password at a restart; write it without one: \
                            openssl pkey -in KEY -out NEW, and chmod 600 NEW";
                self.problems.error(at, "T402", message, hint);
                return None;
            }
            Err(pem::Error::NoItemsFound) => Err(format!("{} holds no private key", shown(path))),
            Err(error) => Err(format!("{} is no PEM file: {}", shown(path), told(&error))),
        };
        let hint = "name a PEM file with one private key that is not encrypted: PKCS #8, PKCS #1 or SEC 1; RSA of 2048 bits \
                    or more, ECDSA P-256 or P-384, or Ed25519";
        loaded
            .map_err(|message| self.problems.error(at, "T402", message, hint))
            .ok()
    }

    /// When a certificate ends, and for whom it is. That it has ended or ends soon is a warning: the proxy must be able to
    /// start again with what it had.
    fn end_and_names(
        &mut self,
        (at, path): (&At<'_>, &Path),
        certificate: &CertificateDer<'_>,
    ) -> Option<(Timestamp, Vec<String>)> {
        let parsed = X509Certificate::from_der(certificate);
        let end = parsed.as_ref().ok().and_then(|(_, certificate)| {
            Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
        });
        let (Ok((_, certificate)), Some(end)) = (parsed, end) else {
            let message = format!("{} holds a certificate that cannot be read", shown(path));
            let hint = "ask its authority for another one";
            self.problems.error(at, "T402", message, hint);
            return None;
        };
        let now = Timestamp::now();
        let hint = "replace it: those who look will refuse it";
        if end <= now {
            let message = format!("the certificate in {} has ended at {end}", shown(path));
            self.problems.warning(at, "T405", message, hint);
        } else if ends_soon(end, now) {
            let message = format!("the certificate in {} ends at {end}", shown(path));
            let hint = "replace it before: those who look will refuse it then";
            self.problems.warning(at, "T410", message, hint);
        }
        Some((end, names(&certificate)))
    }
}

/// A successful `OCSPResponse` (RFC 6960 §4.2.1), as far as its frame goes: a sequence as long as the file that begins
/// with the status 0. Who made it, and for which certificate, callers look at.
fn is_ocsp_answer(der: &[u8]) -> bool {
    let Ok((rest, content)) = x509_parser::der_parser::asn1_rs::Sequence::from_der(der) else {
        return false;
    };
    rest.is_empty() && content.content.starts_with(&[0x0a, 1, 0])
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

fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
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
