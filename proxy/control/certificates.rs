//! The certificates that callers are shown, and when they end: told by the status, the metrics and once a day the log.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_config::Config;
use tidegate_config::tls::{KeyPair, ends_soon};

use crate::record::CertificateEnd;

/// Between two reminders of certificates that end soon.
pub const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Each with the name of its listener.
fn shown(config: &Config) -> impl Iterator<Item = (&str, &KeyPair)> {
    config.listeners.iter().flat_map(|listener| {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        certificates.map(|certificate| (listener.name.as_str(), &*certificate.pair))
    })
}

/// For the metrics.
pub fn ends(config: &Config) -> Vec<CertificateEnd> {
    let end = |(listener, pair): (&str, &KeyPair)| CertificateEnd {
        listener: listener.to_owned(),
        certificate: pair.cert.display().to_string(),
        not_after: pair.not_after.as_second(),
    };
    shown(config).map(end).collect()
}

/// For the status.
pub fn status(config: &Config) -> Vec<Value> {
    let told = |(listener, pair): (&str, &KeyPair)| {
        json!({
            "listener": listener,
            "file": pair.cert.display().to_string(),
            "names": pair.names,
            "not_after": pair.not_after.to_string(),
        })
    };
    shown(config).map(told).collect()
}

/// Tells the log of those that have ended or end soon.
pub fn remind(config: &Config, now: Timestamp) {
    for (listener, pair) in shown(config).filter(|(_, pair)| ends_soon(pair.not_after, now)) {
        let (file, end) = (pair.cert.display(), pair.not_after);
        if end <= now {
            tracing::error!(
                listener, %end,
                "the certificate {file} has ended: callers who look refuse it; replace the file, it is read again at once"
            );
        } else {
            tracing::warn!(
                listener, %end,
                "the certificate {file} ends soon; replace the file before, it is read again at once"
            );
        }
    }
}
