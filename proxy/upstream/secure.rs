//! How an endpoint is spoken to under TLS. It belongs to one endpoint, and no other shares its sessions: one that would
//! be reached with other settings is another endpoint.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tidegate_config as config;
use tidegate_config::tls::ServiceTls;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::scarcity::is_due;
use crate::transport::dialer::{Dialer, Offer};
use crate::transport::fault::Fault;
use crate::transport::tls::Tls;

/// What is needed for handshakes with one endpoint.
#[derive(Debug)]
pub struct Secure {
    settings: ServiceTls,
    /// Service and version, for the log.
    whose: (String, String),
    name: ServerName<'static>,
    dialer: Dialer,
    /// For what only HTTP/1.1 can do, where the endpoint may choose.
    http1: Option<Dialer>,
    /// When the next line may be written.
    next_line: AtomicU64,
}

impl Secure {
    /// For the endpoint of a version at `address`. `None` where nobody could tell who is there: on a unix socket.
    pub fn new(
        settings: &ServiceTls,
        dialer: &Dialer,
        service: &config::Service,
        version: &config::Version,
        address: &config::EndpointAddress,
    ) -> Option<Self> {
        let config::EndpointAddress::Ip(ip, _) = address else {
            return None;
        };
        let name = settings.server_name.clone();
        let dialer = dialer.for_another();
        let either = service.protocol == config::Protocol::Auto;
        Some(Self {
            settings: settings.clone(),
            whose: (service.name.clone(), version.name.clone()),
            name: name.unwrap_or_else(|| ServerName::from(*ip)),
            http1: either.then(|| dialer.offering(Offer::Http1)),
            dialer,
            next_line: AtomicU64::new(0),
        })
    }

    /// What the handshakes of a service's endpoints have in common.
    pub fn dialer(settings: &ServiceTls, protocol: config::Protocol) -> Dialer {
        let offer = match protocol {
            config::Protocol::Http1 => Offer::Http1,
            config::Protocol::H2c | config::Protocol::H2 => Offer::Http2,
            config::Protocol::Auto => Offer::Either,
        };
        Dialer::new(&settings.authorities, settings.client.as_deref(), offer)
    }

    /// Whether these are its settings.
    pub fn is_by(&self, settings: &ServiceTls) -> bool {
        self.settings == *settings
    }

    /// The whole handshake; whether HTTP/2 is spoken behind it. `http1` says that it must not be.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn handshake(&self, stream: TcpStream, http1: bool) -> Result<(Tls, bool), Fault> {
        let dialer = self.http1.as_ref().filter(|_| http1);
        let dialer = dialer.unwrap_or(&self.dialer);
        dialer.handshake(stream, self.name.clone()).await
    }

    /// Tells the operator of a failed handshake, unless that was done a moment ago.
    pub fn tell(&self, endpoint: &config::EndpointAddress, fault: &Fault) {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        if is_due(&self.next_line, BEGAN.elapsed()) {
            let (service, version) = &self.whose;
            let name = self.name.to_str();
            tracing::warn!(
                service, version, %endpoint, name = &*name, reason = fault.word(),
                "no TLS with an endpoint: {fault}"
            );
        } else {
            tracing::debug!(%endpoint, "no TLS with an endpoint: {fault}");
        }
    }
}
