//! How an endpoint is spoken to under TLS. It belongs to one endpoint, and no other shares its sessions: one that would
//! be reached with other settings is another endpoint.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "taken where a handshake fails, where one succeeds after that, and where somebody asks"
)]
use std::sync::{Mutex, PoisonError};

use tidegate_config as config;
use tidegate_config::tls::ServiceTls;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::transport::dialer::{Dialer, Offer};
use crate::transport::fault::Fault;
use crate::transport::tls::Tls;

/// What is needed for handshakes with one endpoint.
#[derive(Debug)]
pub struct Secure {
    settings: ServiceTls,
    name: ServerName<'static>,
    dialer: Dialer,
    /// For what only HTTP/1.1 can do, where the endpoint may choose.
    http1: Option<Dialer>,
    /// Whether the last handshake failed.
    fails: AtomicBool,
    #[expect(
        clippy::disallowed_types,
        reason = "taken where a handshake fails, where one succeeds after that, and where somebody asks"
    )]
    fault: Mutex<Option<Fault>>,
}

impl Secure {
    /// For an endpoint of the service at `address`. `None` where nobody could tell who is there: on a unix socket.
    pub fn new(
        settings: &ServiceTls,
        dialer: &Dialer,
        service: &config::Service,
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
            name: name.unwrap_or_else(|| ServerName::from(*ip)),
            http1: either.then(|| dialer.offering(Offer::Http1)),
            dialer,
            fails: AtomicBool::new(false),
            fault: Default::default(),
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
        let done = dialer.handshake(stream, self.name.clone()).await;
        match &done {
            Ok(_) => self.succeeded(),
            Err(fault) => self.failed(fault),
        }
        done
    }

    /// The last handshake failed so, on either side; `None` where it did not.
    pub fn fault(&self) -> Option<Fault> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    /// A handshake failed.
    pub(super) fn failed(&self, fault: &Fault) {
        let mut last = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(fault.clone());
        self.fails.store(true, Ordering::Relaxed);
    }

    fn succeeded(&self) {
        if self.fails.load(Ordering::Relaxed) {
            let mut last = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            *last = None;
            self.fails.store(false, Ordering::Relaxed);
        }
    }

    /// Whom the endpoint must prove to be.
    pub fn name(&self) -> Cow<'_, str> {
        self.name.to_str()
    }
}
