//! TLS as clients speak it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, StreamOwned, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::certificates::{Authority, Pair};
use super::wire::{Answer, Reader};

const PATIENCE: Duration = Duration::from_secs(15);

/// How a client shakes hands.
#[derive(Clone)]
pub struct Tls {
    pub config: ClientConfig,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Tls {
    /// Believes this authority alone; TLS 1.2 and 1.3, no ALPN.
    pub fn believing(authority: &Authority) -> Self {
        Self::with(authority, None, rustls::ALL_VERSIONS)
    }

    /// Shows this certificate.
    pub fn showing(authority: &Authority, client: &Pair) -> Self {
        Self::with(authority, Some(client), rustls::ALL_VERSIONS)
    }

    pub fn with(
        authority: &Authority,
        client: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        // Debug builds are slow at the hybrid one.
        provider
            .kx_groups
            .retain(|group| group.name() == NamedGroup::X25519);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(authority.roots());
        let mut config = match client {
            Some(client) => builder
                .with_client_auth_cert(client.der().0, client.der().1)
                .expect("a client's certificate"),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Self {
            config,
            versions: versions.to_vec(),
        }
    }

    /// Offers other suites, without a certificate of its own.
    pub fn offering(
        &self,
        authority: &Authority,
        choose: impl FnOnce(&mut Vec<SupportedCipherSuite>),
    ) -> Self {
        let mut provider = (**self.config.crypto_provider()).clone();
        choose(&mut provider.cipher_suites);
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        Self {
            config,
            versions: self.versions.clone(),
        }
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// Keeps sessions, and tries them at the name that they were made at.
    pub fn resuming(mut self) -> Self {
        self.config.resumption = Resumption::in_memory_sessions(64);
        self
    }

    /// Keeps sessions, and tries them everywhere: at other names and other addresses.
    pub fn resuming_everywhere(mut self) -> Self {
        self.config.resumption = Resumption::store(Arc::new(Careless::default()));
        self
    }

    /// Connects and shakes hands.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsConn> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        self.over(stream, name)
    }

    /// Shakes hands over a connection.
    pub fn over(&self, mut stream: TcpStream, name: &str) -> io::Result<TlsConn> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut tls = self.begin(name);
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(TlsConn {
            reader: Reader::new(StreamOwned::new(tls, stream)),
            host: name.to_owned(),
        })
    }

    pub fn begin(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        ClientConnection::new(Arc::new(self.config.clone()), name).expect("a client")
    }
}

/// One encrypted connection.
pub struct TlsConn {
    pub reader: Reader<StreamOwned<ClientConnection, TcpStream>>,
    pub host: String,
}

impl TlsConn {
    pub fn session(&self) -> &ClientConnection {
        &self.reader.stream.conn
    }

    pub fn is_resumed(&self) -> bool {
        self.session().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that was shown, as DER.
    pub fn certificate(&self) -> Vec<u8> {
        let shown = self.session().peer_certificates().expect("a certificate");
        shown[0].to_vec()
    }

    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|h| h.starts_with("host:")) {
            head += &format!("host: {}\r\n", self.host);
        }
        for line in headers {
            head += &format!("{line}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes)?;
        self.reader.answer(method == "HEAD")
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.stream.write_all(bytes)?;
        self.reader.stream.flush()
    }

    #[track_caller]
    pub fn get(&mut self, target: &str, headers: &[&str]) -> Answer {
        self.try_request("GET", target, headers, b"")
            .unwrap_or_else(|e| panic!("no answer to GET {target}: {e} ({:?})", e.kind()))
    }

    /// What still comes, to the end: whether the end was told (close_notify).
    pub fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.stream.read_to_end(&mut rest).is_ok()
    }
}

/// Tries every session everywhere, as a hostile client would.
#[derive(Debug)]
struct Careless {
    inner: ClientSessionMemoryCache,
    one: Mutex<ServerName<'static>>,
}

impl Default for Careless {
    fn default() -> Self {
        Self {
            inner: ClientSessionMemoryCache::new(8),
            one: Mutex::new(ServerName::try_from("anywhere").expect("a name")),
        }
    }
}

impl Careless {
    fn name(&self) -> ServerName<'static> {
        self.one.lock().expect("nobody panics").clone()
    }
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.inner.set_kx_hint(self.name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.kx_hint(&self.name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.inner.set_tls12_session(self.name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.inner.tls12_session(&self.name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.inner.remove_tls12_session(&self.name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.inner.insert_tls13_ticket(self.name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.inner.take_tls13_ticket(&self.name())
    }
}
