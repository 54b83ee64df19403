//! The load's end of TLS: one certificate for all contenders, and a socket that may be encrypted.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Whom the certificate is for.
pub(crate) const NAME: &str = "bench.example";

/// ECDSA P-256, as most certificates of the web.
struct Pair {
    cert: String,
    key: String,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    Pair {
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
});

/// Writes `tls.crt`, `tls.key`, and both in one as `tls.pem`.
pub(crate) fn write_pair(folder: &Path) -> io::Result<()> {
    let Pair { cert, key } = &*PAIR;
    fs::write(folder.join("tls.crt"), cert)?;
    fs::write(folder.join("tls.pem"), format!("{cert}{key}"))?;
    let file = folder.join("tls.key");
    fs::write(&file, key)?;
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
}

/// A client that believes that certificate and speaks `protocol`.
fn config(protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(PAIR.cert.as_bytes()).expect("PEM");
    roots.add(der).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

static HTTP1: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| config("http/1.1"));
static HTTP2: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| config("h2"));

/// A client that believes the certificate and speaks HTTP/1.1.
pub(crate) fn http1() -> Arc<ClientConfig> {
    HTTP1.clone()
}

/// A socket of the load.
pub(crate) enum Wire {
    Plain(TcpStream),
    Encrypted(Box<ClientConnection>, TcpStream),
}

impl Wire {
    /// Encrypts what goes over `socket`; the handshake is done by reading and writing.
    pub(crate) fn encrypted(socket: TcpStream, http2: bool) -> Self {
        let config = if http2 { &HTTP2 } else { &HTTP1 };
        let name = ServerName::try_from(NAME).expect("a name");
        let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Self::Encrypted(Box::new(client), socket)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) | Self::Encrypted(_, socket) => socket,
        }
    }

    /// Whether a read that did not fill its buffer has emptied the socket.
    pub(crate) fn is_emptied_by_short_reads(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Sends what TLS has still to say.
    pub(crate) fn send_rest(&mut self) -> io::Result<()> {
        if let Self::Encrypted(client, socket) = self {
            while client.wants_write() {
                client.write_tls(socket)?;
            }
        }
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (client, socket) = match self {
            Self::Plain(socket) => return socket.read(buffer),
            Self::Encrypted(client, socket) => (client, socket),
        };
        loop {
            match client.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if client.read_tls(socket)? == 0 {
                return Ok(0);
            }
            client.process_new_packets().map_err(io::Error::other)?;
            while client.wants_write() {
                client.write_tls(socket)?;
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Encrypted(client, _) => {
                let written = client.writer().write(bytes)?;
                match self.send_rest() {
                    Err(error)
                        if !matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::NotConnected
                        ) =>
                    {
                        Err(error)
                    }
                    _ if written == 0 => Err(ErrorKind::WouldBlock.into()),
                    _ => Ok(written),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
