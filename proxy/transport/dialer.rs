//! The calling side of TLS: what its handshakes need, made ready once.

use std::sync::{Arc, LazyLock};

use tidegate_config::tls::{Authorities, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;

use super::fault::Fault;
use super::tls::Tls;

/// Tickets that are kept to take up sessions again.
const TICKETS: usize = 8;
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What is offered to be spoken behind TLS (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1. Who does not know of ALPN speaks it.
    Http1,
    /// HTTP/2, and nothing less.
    Http2,
    /// What the other end likes best of the two.
    Either,
}

impl Offer {
    fn protocols(self) -> Vec<Vec<u8>> {
        let offered: &[&[u8]] = match self {
            Self::Http1 => &[HTTP1],
            Self::Http2 => &[HTTP2],
            Self::Either => &[HTTP2, HTTP1],
        };
        offered.iter().map(|protocol| protocol.to_vec()).collect()
    }

    fn words(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Either => "HTTP/2 or HTTP/1.1",
        }
    }
}

/// Begins TLS with one other end. Clones share the sessions that can be taken up again.
#[derive(Debug, Clone)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    offer: Offer,
}

impl Dialer {
    /// The other end must be vouched for by `authorities`, and is shown `pair` where it asks.
    pub fn new(authorities: &Authorities, pair: Option<&KeyPair>, offer: Offer) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .with_root_certificates(Arc::clone(&authorities.roots));
        let mut config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let pair = SingleCertAndKey::from(Arc::clone(&pair.certified));
                config.with_client_cert_resolver(Arc::new(pair))
            }
        };
        config.alpn_protocols = offer.protocols();
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        Self {
            config: Arc::new(config),
            offer,
        }
    }

    /// The same for another end: it shares no session with this one.
    pub fn for_another(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        Self {
            config: Arc::new(config),
            ..*self
        }
    }

    /// The same with another offer.
    pub fn offering(&self, offer: Offer) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = offer.protocols();
        Self {
            config: Arc::new(config),
            offer,
        }
    }

    /// The whole handshake; whether HTTP/2 is spoken behind it.
    ///
    /// # Errors
    /// [`Fault`], where `name` did not prove to be at the other end, or does not speak what was offered.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
    ) -> Result<(Tls, bool), Fault> {
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|error| Fault::of(&error, self.offer.words()))?;
        let stream = Tls::new(stream);
        let http2 = stream.session().alpn_protocol() == Some(HTTP2);
        if self.offer == Offer::Http2 && !http2 {
            return Err(Fault::Protocol(self.offer.words()));
        }
        Ok((stream, http2))
    }
}
