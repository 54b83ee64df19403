//! `listeners[].tls`: certificates by server name, and who callers must be.

use std::collections::HashMap;
use std::path::PathBuf;

use rustls::SignatureAlgorithm;

use super::Check;
use super::pair::PairFiles;
use crate::HostPattern;
use crate::file::{self, ClientAuthMode, PathText};
use crate::problem::quoted;
use crate::read::{Part, joined};
use crate::source::At;
use crate::tls::{ClientAuth, KeyPair, ListenerTls, ServerCertificate, TlsVersion};

impl Check<'_> {
    /// What callers of a listener are shown. What it returns where a problem was told nobody sees.
    pub(super) fn listener_tls(
        &mut self,
        at: &At<'_>,
        written: &file::ListenerTls,
        part: &Part,
    ) -> ListenerTls {
        let certificates_at = at.key("certificates");
        if written.certificates.is_empty() {
            let hint = "add `- { cert: ./tls/shop.crt, key: ./tls/shop.key }`";
            self.problems.error(
                &certificates_at,
                "T204",
                "the listener has no certificate to show",
                hint,
            );
        }
        let mut certificates = Vec::new();
        let mut taken = HashMap::new();
        for (index, certificate) in written.certificates.iter().enumerate() {
            let at = certificates_at.index(index);
            let Some(certificate) = self.server_certificate(&at, certificate, part) else {
                continue;
            };
            self.shown_to_somebody(&at, &certificate, index, &mut taken);
            certificates.push(certificate);
        }
        ListenerTls {
            certificates,
            min_version: match written.min_version {
                None | Some(file::TlsVersion::Tls12) => TlsVersion::Tls12,
                Some(file::TlsVersion::Tls13) => TlsVersion::Tls13,
            },
            client_auth: self.client_auth(
                &at.key("client_auth"),
                written.client_auth.as_ref(),
                part,
            ),
        }
    }

    fn server_certificate(
        &mut self,
        at: &At<'_>,
        written: &file::ServerCertificate,
        part: &Part,
    ) -> Option<ServerCertificate> {
        let path = |PathText(path): &PathText| joined(&part.folder, path);
        let (cert, key) = (path(&written.cert), path(&written.key));
        let ocsp: Option<PathBuf> = written.ocsp.as_ref().map(path);
        let (cert_at, key_at, ocsp_at) = (at.key("cert"), at.key("key"), at.key("ocsp"));
        let pair = self.key_pair(&PairFiles {
            cert: (&cert_at, &cert),
            key: (&key_at, &key),
            ocsp: ocsp.as_deref().map(|ocsp| (&ocsp_at, ocsp)),
        });
        let hosts = match &written.hosts {
            Some(hosts) => {
                let at = at.key("hosts");
                self.not_empty(&at, hosts.len(), "hosts");
                self.no_entry_twice(&at, hosts, |host| {
                    host.trim_end_matches('.').to_ascii_lowercase()
                });
                let written = hosts.iter().enumerate();
                written
                    .map(|(index, host)| self.host_pattern(&at.index(index), host))
                    .collect()
            }
            None => pair.as_ref().map(|pair| pair.hosts()).unwrap_or_default(),
        };
        let pair = pair?;
        if let Some(texts) = &written.hosts {
            let at = at.key("hosts");
            for (index, (host, text)) in hosts.iter().zip(texts).enumerate() {
                if !covers(&pair, host) {
                    let message = format!(
                        "the certificate {} is not for {}: callers who look will leave",
                        quoted(&pair.cert.display().to_string()),
                        quoted(text)
                    );
                    let hint = match pair.names.as_slice() {
                        [] => "it names nobody: ask its authority for one with DNS names (subjectAltName)".to_owned(),
                        names => format!("it is for {}", shortened(names)),
                    };
                    self.problems
                        .warning(&at.index(index), "T408", message, hint);
                }
            }
        }
        Some(ServerCertificate { hosts, pair })
    }

    /// No two certificates of one kind are for one name; one that is for none is shown only where it is the first.
    fn shown_to_somebody(
        &mut self,
        at: &At<'_>,
        certificate: &ServerCertificate,
        index: usize,
        taken: &mut HashMap<(HostPattern, bool), (usize, String)>,
    ) {
        // With an RSA and an ECDSA certificate for one name, each caller gets the one that it understands.
        let is_rsa = certificate.pair.certified.key.algorithm() == SignatureAlgorithm::RSA;
        for host in &certificate.hosts {
            let place = at.told();
            if let Some((other, first)) = taken.get(&(host.clone(), is_rsa)) {
                // Twice in one list was told before.
                if *other == index {
                    continue;
                }
                let message = format!(
                    "{} has another certificate already, at {first}",
                    quoted(&host.to_string())
                );
                let hint = "leave the name in one of the two `hosts`; two are for one name only where one has an RSA key \
                            and the other has not";
                self.problems.error(at, "T202", message, hint);
                return;
            }
            taken.insert((host.clone(), is_rsa), (index, place));
        }
        if certificate.hosts.is_empty() && index > 0 {
            let message = format!(
                "the certificate {} names no host, so it is never shown",
                quoted(&certificate.pair.cert.display().to_string())
            );
            let hint =
                "add `hosts`, or put it first: the first is for callers that ask for no name";
            self.problems.warning(at, "T408", message, hint);
        }
    }

    fn client_auth(
        &mut self,
        at: &At<'_>,
        written: Option<&file::ClientAuth>,
        part: &Part,
    ) -> ClientAuth {
        let Some(written) = written else {
            return ClientAuth::None;
        };
        let ca = written.ca.as_ref().and_then(|PathText(path)| {
            self.authorities(&at.key("ca"), &joined(&part.folder, path))
        });
        match (written.mode, ca) {
            (ClientAuthMode::None, _) if written.ca.is_some() => {
                self.problems.error(
                    &at.key("ca"),
                    "T108",
                    "callers are not asked for a certificate, so there is nobody to vouch for them",
                    "write `mode: optional` or `mode: required`, or remove `ca`",
                );
                ClientAuth::None
            }
            (ClientAuthMode::None, _) => ClientAuth::None,
            (ClientAuthMode::Optional, Some(ca)) => ClientAuth::Optional(ca),
            (ClientAuthMode::Required, Some(ca)) => ClientAuth::Required(ca),
            (_, None) => {
                if written.ca.is_none() {
                    let hint =
                        "add `ca: ./tls/clients.crt`, the authorities that vouch for callers";
                    self.problems.error(
                        at,
                        "T108",
                        "callers are asked for a certificate, and nobody vouches for them",
                        hint,
                    );
                }
                ClientAuth::None
            }
        }
    }
}

/// Whether a certificate is for all that a pattern covers.
fn covers(pair: &KeyPair, host: &HostPattern) -> bool {
    let text = host.to_string();
    let of_any_label = text.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    pair.names
        .iter()
        .any(|name| *name == text || Some(name) == of_any_label.as_ref())
}

/// A list that may be long.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
