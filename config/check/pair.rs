//! A certificate and its key, which must be each other's.
//!
//! They are two files, and whoever renews them writes one after the other. While a proxy runs, a pair that is none at
//! this moment therefore holds up nobody but itself: the one that is in force stays, and the rest of the edit is taken.
//! At a start nothing is in force, and the same is an error.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::FromDer as _;
use xxhash_rust::xxh3::Xxh3;

use super::Check;
use super::flaw::{Flaw, shown};
use super::tls::{MAX_CERTIFICATES, chain, end_and_names, private_key};
use crate::source::At;
use crate::tls::{KeyPair, ends_soon};

/// The largest file of a key or an OCSP answer.
const MAX_KEY: u64 = 64 << 10;

/// The files of a certificate, each with the place that names it.
pub(super) struct PairFiles<'a> {
    pub(super) cert: (&'a At<'a>, &'a Path),
    pub(super) key: (&'a At<'a>, &'a Path),
    pub(super) ocsp: Option<(&'a At<'a>, &'a Path)>,
}

/// What is wrong with the files, each with its place; at least one.
type Flaws<'a> = Vec<(&'a At<'a>, Flaw)>;

impl Check<'_> {
    /// The pair that the files hold, or else the one in force. `None` where a problem was told.
    pub(super) fn key_pair(&mut self, files: &PairFiles<'_>) -> Option<Arc<KeyPair>> {
        let read = self.pair_read(files);
        // Whoever may write the key may write any key: nothing waits for that.
        self.secret_file(files.key.0, files.key.1);
        let flaws = match read {
            Ok(pair) => {
                let which = format!("the certificate in {}", shown(&pair.cert));
                self.tell_end(files.cert.0, &which, pair.not_after);
                return Some(Arc::new(pair));
            }
            Err(flaws) => flaws,
        };
        let Some(old) = self.pair_that_stays(files, &flaws) else {
            for (at, flaw) in flaws {
                self.problems.error(at, flaw.code, flaw.message, flaw.hint);
            }
            return None;
        };
        for (at, flaw) in flaws {
            let message = format!(
                "{}: the old pair stays in force until its files are one pair",
                flaw.message
            );
            let hint = format!(
                "{}; meanwhile a restart or an upgrade of this process would fail",
                flaw.hint
            );
            self.problems.warning(at, "T411", message, hint);
        }
        let which = format!(
            "the old certificate of {}, which stays in force,",
            shown(&old.cert)
        );
        self.tell_end(files.cert.0, &which, old.not_after);
        Some(old)
    }

    /// What the files hold. All of them are read whatever the first ones are, so that each is noticed when it changes.
    fn pair_read<'a>(&mut self, files: &PairFiles<'a>) -> Result<KeyPair, Flaws<'a>> {
        let cert = self.read(files.cert.1, MAX_CERTIFICATES).and_then(|bytes| {
            let chain = chain(files.cert.1, &bytes)?;
            let (not_after, names) = end_and_names(files.cert.1, &chain[0])?;
            Ok((bytes, chain, not_after, names))
        });
        let key = self
            .read(files.key.1, MAX_KEY)
            .and_then(|bytes| Ok((private_key(files.key.1, &bytes)?, bytes)));
        let ocsp = files.ocsp.map(|(_, path)| self.read(path, MAX_KEY));
        let mut flaws = Vec::new();
        let ocsp = or_flaw(
            ocsp.transpose(),
            files.ocsp.map_or(files.cert.0, |o| o.0),
            &mut flaws,
        );
        let cert = or_flaw(cert, files.cert.0, &mut flaws);
        let key = or_flaw(key, files.key.0, &mut flaws);
        let (Some((cert_bytes, chain, not_after, names)), Some((key, key_bytes)), Some(ocsp)) =
            (cert, key, ocsp)
        else {
            return Err(flaws);
        };
        let mut certified = CertifiedKey::new(chain, key);
        if let Err(error) = certified.keys_match() {
            tracing::debug!(%error, "a certificate and a key do not match");
            return Err(vec![(files.key.0, no_pair(files))]);
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
        Ok(KeyPair {
            cert: files.cert.1.to_owned(),
            key: files.key.1.to_owned(),
            ocsp: files.ocsp.map(|(_, path)| path.to_owned()),
            certified: Arc::new(certified),
            not_after,
            names,
            hash: hash.digest(),
        })
    }

    /// The pair in force that these files were read as before.
    fn pair_that_stays(&self, files: &PairFiles<'_>, flaws: &Flaws<'_>) -> Option<Arc<KeyPair>> {
        // Where descriptors are short nothing is known of the files, and nobody has changed them.
        if self.reader.starved() {
            return None;
        }
        let old = self.in_force.of_files(files.cert.1, files.key.1)?;
        let is_named_anew = |(at, path): (&At<'_>, &Path)| {
            old.ocsp.as_deref() != Some(path) && flaws.iter().any(|(of, _)| std::ptr::eq(*of, at))
        };
        // A new name that leads nowhere is a mistake of the edit.
        (!files.ocsp.is_some_and(is_named_anew)).then(|| Arc::clone(old))
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

    /// Warns of a certificate that has ended or ends soon, and only that: the proxy must be able to start again with what
    /// it had.
    pub(super) fn tell_end(&mut self, at: &At<'_>, which: &str, end: Timestamp) {
        let now = Timestamp::now();
        if end <= now {
            let hint = "replace it: those who look will refuse it";
            let message = format!("{which} has ended at {end}");
            self.problems.warning(at, "T405", message, hint);
        } else if ends_soon(end, now) {
            let hint = "replace it before: those who look will refuse it then";
            let message = format!("{which} ends at {end}");
            self.problems.warning(at, "T410", message, hint);
        }
    }
}

fn or_flaw<'a, T>(read: Result<T, Flaw>, at: &'a At<'a>, flaws: &mut Flaws<'a>) -> Option<T> {
    read.map_err(|flaw| flaws.push((at, flaw))).ok()
}

fn no_pair(files: &PairFiles<'_>) -> Flaw {
    let (cert, key) = (shown(files.cert.1), shown(files.key.1));
    Flaw {
        code: "T404",
        message: format!("the key {key} is not the key of the certificate {cert}"),
        hint: "write both files of one pair",
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
