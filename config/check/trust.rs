//! Who is believed by the proxy when it calls others, and what it shows them.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use xxhash_rust::xxh3::Xxh3;

use super::Check;
use super::pair::PairFiles;
use crate::file::{self, PathText, UrlText};
use crate::problem::quoted;
use crate::read::{Part, joined};
use crate::source::At;
use crate::tls::{Authorities, KeyPair, ServiceTls};

impl Check<'_> {
    /// `services[].tls`. `None` where there is none, or a problem was told.
    pub(super) fn service_tls(
        &mut self,
        at: &At<'_>,
        service: &file::Service,
        part: &Part,
    ) -> Option<ServiceTls> {
        let written = service.tls.as_ref()?;
        self.no_sockets(at, service);
        let at = at.key("tls");
        let server_name = match &written.server_name {
            Some(name) => Some(self.server_name(&at.key("server_name"), name)?),
            None => None,
        };
        let client = self.client_pair(&at, written, part);
        let authorities = match &written.ca {
            Some(PathText(path)) => self.authorities(&at.key("ca"), &joined(&part.folder, path)),
            None => self.machine_authorities(&at),
        };
        Some(ServiceTls {
            authorities: authorities?,
            server_name,
            client,
        })
    }

    /// A unix socket is this machine's own: there is nobody to hide from, and nothing to be called by.
    fn no_sockets(&mut self, at: &At<'_>, service: &file::Service) {
        let versions_at = at.key("versions");
        for (index, version) in service.versions.iter().enumerate() {
            let at = versions_at.index(index);
            let at = at.key("endpoints");
            for (index, endpoint) in version.endpoints.iter().enumerate() {
                if endpoint.starts_with("unix:") {
                    let message = format!("{} is not spoken to by TLS", quoted(endpoint));
                    let hint = "name an IP address and a port, or move what listens there to a service without `tls`";
                    self.problems.error(&at.index(index), "T314", message, hint);
                }
            }
        }
    }

    fn server_name(&mut self, at: &At<'_>, name: &str) -> Option<ServerName<'static>> {
        let read = ServerName::try_from(name.to_owned()).ok();
        if read.is_none() {
            let hint = "write the name in the endpoints' certificate, such as `checkout.internal`, without port and `*`";
            let message = format!("{} is no server name", quoted(name));
            self.problems.error(at, "T311", message, hint);
        }
        read
    }

    /// What is shown to endpoints: both files or none.
    fn client_pair(
        &mut self,
        at: &At<'_>,
        written: &file::ServiceTls,
        part: &Part,
    ) -> Option<Arc<KeyPair>> {
        let (cert, key) = match (&written.cert, &written.key) {
            (None, None) => return None,
            (Some(PathText(cert)), Some(PathText(key))) => (cert, key),
            (cert, _) => {
                let (given, missing) = match cert {
                    Some(_) => ("cert", "key"),
                    None => ("key", "cert"),
                };
                let message = format!("`{given}` is given without `{missing}`");
                let hint = format!("name both files of the certificate, or remove `{given}`");
                self.problems
                    .key_error(&at.key(given), "T108", message, hint);
                return None;
            }
        };
        let (cert, key) = (joined(&part.folder, cert), joined(&part.folder, key));
        self.key_pair(&PairFiles {
            cert: (&at.key("cert"), &cert),
            key: (&at.key("key"), &key),
            ocsp: None,
        })
    }

    /// Who vouches for whom a URL names: nobody is needed for plain http. `at` is what holds `key` and `ca`.
    pub(super) fn url_authorities(
        &mut self,
        at: &At<'_>,
        key: &str,
        UrlText(url): &UrlText,
        ca: Option<&PathText>,
    ) -> Option<Arc<Authorities>> {
        let is_secure = url.starts_with("https://");
        match ca {
            Some(PathText(path)) if is_secure => {
                let path = joined(&self.folder_of(at), path);
                self.authorities(&at.key("ca"), &path)
            }
            Some(_) => {
                let message = format!("`ca` has no effect here: `{key}` is asked in plain");
                let hint = "write `https://`, or remove `ca`";
                self.problems
                    .key_error(&at.key("ca"), "T108", message, hint);
                None
            }
            None if is_secure => self.machine_authorities(&at.key(key)),
            None => None,
        }
    }

    /// Where relative paths of the file begin that holds this.
    fn folder_of(&self, at: &At<'_>) -> PathBuf {
        let holds_it = |part: &&Part| std::ptr::eq(&part.source, at.source());
        let part = self.parts.iter().find(holds_it);
        part.map(|part| part.folder.clone()).unwrap_or_default()
    }

    /// The authorities that the machine believes, read once for a file.
    fn machine_authorities(&mut self, at: &At<'_>) -> Option<Arc<Authorities>> {
        let machine = self.machine.get_or_insert_with(of_machine).clone();
        if machine.is_none() {
            let message =
                "this machine has no certificate authorities, so nobody could be believed";
            let hint = "name them by `ca`, or install the package ca-certificates; into an image without files, copy \
                        /etc/ssl/certs/ca-certificates.crt";
            self.problems.error(at, "T409", message, hint);
        }
        machine
    }
}

/// What is installed where OpenSSL would look, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.
fn of_machine() -> Option<Arc<Authorities>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "authorities of the machine that cannot be read");
    }
    let mut certificates = found.certs;
    // A folder is listed in any order.
    certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    certificates.dedup();
    let mut hash = Xxh3::new();
    certificates.iter().for_each(|c| hash.update(c));
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    (added > 0).then(|| {
        Arc::new(Authorities {
            path: PathBuf::new(),
            roots: Arc::new(roots),
            not_after: Timestamp::MAX,
            hash: hash.digest(),
        })
    })
}
