//! Certificates for tests: authorities, and what they sign. Keys are ECDSA P-256 where not said otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType, SignatureAlgorithm,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority. Its certificate is self-signed and holds for long.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Since 1975, up to 4096.
    Now,
    /// It ended long ago.
    NoMore,
    /// It begins in a far future.
    NotYet,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names and addresses, for either side, that holds now.
    pub fn signs(&self, names: &[&str]) -> Pair {
        self.signs_for(names, Holds::Now)
    }

    /// The same with its own time.
    pub fn signs_for(&self, names: &[&str], holds: Holds) -> Pair {
        self.sign(params(names, holds), &PKCS_ECDSA_P256_SHA256)
    }

    /// The same as [`Self::signs`], edited.
    pub fn signs_with(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = params(names, Holds::Now);
        edit(&mut params);
        self.sign(params, &PKCS_ECDSA_P256_SHA256)
    }

    /// The same with an RSA key.
    pub fn signs_rsa(&self, names: &[&str]) -> Pair {
        self.sign(params(names, Holds::Now), &PKCS_RSA_SHA256)
    }

    /// A client's, with a URI beside its DNS name.
    pub fn signs_client(&self, dns: &str, uri: &str) -> Pair {
        self.signs_with(&[dns], |params| {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().expect("a URI")));
        })
    }

    fn sign(&self, params: CertificateParams, kind: &'static SignatureAlgorithm) -> Pair {
        let key = KeyPair::generate_for(kind).expect("a key");
        let signed = params.signed_by(&key, &self.issuer);
        Pair {
            cert: signed.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    /// Ready to be believed.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        Arc::new(roots)
    }

    /// Writes its certificate beside the file of a test.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.pem())
    }
}

impl Pair {
    /// A certificate that nobody but itself vouches for.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key");
        let signed = params(names, Holds::Now).self_signed(&key);
        Self {
            cert: signed.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `NAME.crt` and `NAME.key` beside the file of a test, each renamed into place.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        (
            write(folder, &format!("{name}.crt"), &self.cert),
            write(folder, &format!("{name}.key"), &self.key),
        )
    }

    /// The certificates, and the key.
    pub fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain: Result<_, _> = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (chain.expect("certificates"), key.expect("a key"))
    }

    /// A server that shows it and speaks these protocols; `clients` is who vouches for callers, who must then show a
    /// certificate.
    pub fn server(&self, protocols: &[&str], clients: Option<&Authority>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(authority.roots(), provider)
                    .build()
                    .expect("authorities"),
            ),
        };
        let (chain, key) = self.der();
        let mut config = builder.with_single_cert(chain, key).expect("a pair");
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }
}

fn params(names: &[&str], holds: Holds) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).expect("names");
    let name = names.first().cloned().unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    match holds {
        Holds::Now => {}
        Holds::NoMore => params.not_after = date_time_ymd(2001, 1, 1),
        Holds::NotYet => params.not_before = date_time_ymd(3001, 1, 1),
    }
    params
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    replace(&path, text);
    path
}

/// Replaces a file by an atomic rename; nobody else may read it.
pub fn replace(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("the folder can be written");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    std::fs::rename(&beside, path).expect("a rename inside a folder");
}
