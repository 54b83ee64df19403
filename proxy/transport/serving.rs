//! The serving side of TLS: what a listener's handshakes go by, made once for each of its revisions.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tidegate_config as config;
use tidegate_config::tls::{Authorities, ClientAuth, ListenerTls, TlsVersion};

use super::certificates::Certificates;

/// HTTP/2 as handshakes name it.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 as handshakes name it.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Session tickets after a handshake. A resumed one brings the next; browsers that open several connections at once are
/// given one for each of them.
const TICKETS: usize = 1;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What a listener's handshakes go by.
#[derive(Debug)]
pub struct Serving {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Which certificate is shown to whom.
    pub certificates: Arc<Certificates>,
    /// What is spoken where a handshake names no protocol: HTTP/2 alone, else HTTP/1.1.
    pub only_h2: bool,
    /// Callers are asked for certificates.
    pub asks: bool,
    written: ListenerTls,
    spoken: [bool; 2],
}

impl Serving {
    /// Makes it anew where it differs from `old`, which is the listener's so far. Session tickets stay good through every
    /// change but one of whom callers must be: somebody who was let in under other rules is asked again.
    ///
    /// `None` where the listener has no TLS.
    pub fn compile(listener: &config::Listener, old: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let written = listener.tls.as_ref()?;
        let spoken = [listener.h2, listener.http1];
        if let Some(old) = old.filter(|old| old.written == *written && old.spoken == spoken) {
            return Some(Arc::clone(old));
        }
        let certificates = Arc::new(Certificates::new(&written.certificates));
        let mut config = rules(written, Arc::clone(&certificates));
        let names = [ALPN_H2, ALPN_HTTP1].into_iter().zip(spoken);
        config.alpn_protocols = names
            .filter(|(_, spoken)| *spoken)
            .map(|(name, _)| name.to_vec())
            .collect();
        // Ours is the order of strength.
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        // All that is needed to go on with a session is in its ticket: nothing is kept for callers that never return.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match old.filter(|old| old.written.client_auth == written.client_auth) {
            Some(old) => config.ticketer = Arc::clone(&old.config.ticketer),
            None => match aws_lc_rs::Ticketer::new() {
                Ok(ticketer) => config.ticketer = ticketer,
                Err(error) => tracing::error!(
                    %error, listener = listener.name,
                    "no keys for session tickets; every connection does a whole handshake until the listener's next edit"
                ),
            },
        }
        Some(Arc::new(Self {
            config: Arc::new(config),
            certificates,
            only_h2: listener.h2 && !listener.http1,
            asks: written.client_auth != ClientAuth::None,
            written: written.clone(),
            spoken,
        }))
    }
}

fn rules(written: &ListenerTls, certificates: Arc<Certificates>) -> ServerConfig {
    const ALL: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    let versions = match written.min_version {
        TlsVersion::Tls12 => ALL,
        TlsVersion::Tls13 => &ALL[..1],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)
        .expect("the provider has suites for both versions");
    let verifier = |authorities: &Arc<Authorities>| {
        WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&authorities.roots),
            Arc::clone(&PROVIDER),
        )
    };
    const CHECKED: &str = "there is at least one authority, and no list of revoked certificates";
    match &written.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(authorities) => builder.with_client_cert_verifier(
            verifier(authorities)
                .allow_unauthenticated()
                .build()
                .expect(CHECKED),
        ),
        ClientAuth::Required(authorities) => {
            builder.with_client_cert_verifier(verifier(authorities).build().expect(CHECKED))
        }
    }
    .with_cert_resolver(certificates)
}
