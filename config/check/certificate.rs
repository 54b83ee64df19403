//! Conditions on the certificate that a caller showed.

use super::Check;
use crate::file::{self, ClientAuthMode};
use crate::problem::quoted;
use crate::source::At;
use crate::{CertificatePart, TextMatch, When};

/// Hexadecimal digits of a SHA-256.
const FINGERPRINT: usize = 64;

/// Whether a listener of the file asks callers for certificates.
pub(super) fn are_asked_for(file: &file::File) -> bool {
    file.listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref()?.client_auth.as_ref())
        .any(|auth| auth.mode != ClientAuthMode::None)
}

impl Check<'_> {
    /// `when.client_certificate`: adds what must hold.
    pub(super) fn certificate_match(
        &mut self,
        at: &At<'_>,
        written: &file::CertificateMatch,
        all: &mut Vec<When>,
    ) {
        self.certificates_are_asked_for(at);
        if *written == file::CertificateMatch::default() {
            let hint = "write `{ present: true }`, or a part of it: `{ dns: { exact: alice.example.com } }`";
            self.problems.error(
                at,
                "T108",
                "nothing is wanted of the client's certificate",
                hint,
            );
        }
        if let Some(present) = written.present {
            // Every certificate has one.
            let text = TextMatch::Present(present);
            all.push(When::ClientCertificate(CertificatePart::Fingerprint, text));
        }
        let parts = [
            (CertificatePart::Dns, &written.dns),
            (CertificatePart::Uri, &written.uri),
            (CertificatePart::Email, &written.email),
            (CertificatePart::Ip, &written.ip),
            (CertificatePart::Subject, &written.subject),
            (CertificatePart::Fingerprint, &written.fingerprint),
        ];
        for (part, value) in parts {
            let Some(value) = value else { continue };
            if written.present == Some(false) {
                let message = format!("a certificate that is not there has no `{}`", part.as_str());
                let hint = "remove `present: false`, or put it into `not`";
                self.problems
                    .error(&at.key(part.as_str()), "T314", message, hint);
            }
            let text = self.certificate_text(&at.key(part.as_str()), part, value);
            all.push(When::ClientCertificate(part, text));
        }
    }

    fn certificate_text(
        &mut self,
        at: &At<'_>,
        part: CertificatePart,
        written: &file::ValueMatch,
    ) -> TextMatch {
        let mut text = self.value_match(at, written);
        match (part, &mut text) {
            (CertificatePart::Dns, TextMatch::Exact(name) | TextMatch::Prefix(name)) => {
                name.make_ascii_lowercase();
            }
            (CertificatePart::Fingerprint, TextMatch::Exact(print)) => {
                let digits: String = print.chars().filter(|c| *c != ':').collect();
                if digits.len() != FINGERPRINT || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    let message = format!("{} is no SHA-256", quoted(print));
                    let hint = "ask for it: `openssl x509 -in CERT -noout -fingerprint -sha256`";
                    self.problems.error(&at.key("exact"), "T302", message, hint);
                }
                *print = digits.to_ascii_lowercase();
            }
            _ => {}
        }
        text
    }

    /// Warns once where no listener asks callers for certificates.
    pub(super) fn certificates_are_asked_for(&mut self, at: &At<'_>) {
        if self.asks_for_certificates {
            return;
        }
        self.asks_for_certificates = true;
        self.problems.warning(
            at,
            "T912",
            "no listener asks its callers for a certificate, so there never is one",
            "add `tls.client_auth: { mode: optional, ca: ./tls/clients.crt }` to a listener",
        );
    }
}
