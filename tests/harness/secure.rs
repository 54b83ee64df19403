//! TLS in front of any backend: it ends here, and what is inside goes on in plain to where it would have gone. What
//! callers showed and agreed on is kept for the test.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// TLS on a port of its own; dropped, it closes everything.
pub struct Secure {
    pub address: SocketAddr,
    inside: Arc<Inside>,
}

/// What one caller showed and agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whom it asked for.
    pub name: Option<String>,
    pub protocol: String,
    /// Its certificate, DER.
    pub certificate: Option<Vec<u8>>,
    pub resumed: bool,
}

struct Inside {
    config: Mutex<Arc<ServerConfig>>,
    /// By protocol; "" for callers that agree on none.
    goes_to: BTreeMap<String, SocketAddr>,
    callers: Mutex<Vec<Caller>>,
    refused: AtomicUsize,
    says_goodbye: AtomicBool,
    stop: AtomicBool,
    open: Mutex<Vec<std::net::TcpStream>>,
}

impl Secure {
    /// Everything goes on to `backend`.
    pub fn before(backend: SocketAddr, config: ServerConfig) -> Self {
        Self::by_protocol(config, [("", backend)])
    }

    /// What agrees on a protocol goes on to its backend, and the rest to that of "".
    pub fn by_protocol<const N: usize>(
        config: ServerConfig,
        goes_to: [(&str, SocketAddr); N],
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        listener.set_nonblocking(true).expect("a socket");
        let inside = Arc::new(Inside {
            config: Mutex::new(Arc::new(config)),
            goes_to: goes_to.map(|(p, to)| (p.to_owned(), to)).into(),
            callers: Mutex::default(),
            refused: AtomicUsize::new(0),
            says_goodbye: AtomicBool::new(true),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let served = inside.clone();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                while let Ok((stream, _)) = listener.accept().await {
                    if served.stop.load(SeqCst) {
                        return;
                    }
                    tokio::spawn(connection(stream, served.clone()));
                }
            });
        });
        Self { address, inside }
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// From the next handshake on.
    pub fn turn(&self, config: ServerConfig) {
        *self.inside.config.lock().expect("no thread panicked") = Arc::new(config);
    }

    /// Ends connections without a close_notify from now on, as a cable that is cut does.
    pub fn ends_without_a_word(&self) {
        self.inside.says_goodbye.store(false, SeqCst);
    }

    /// Those whose handshake was done, in order.
    pub fn callers(&self) -> Vec<Caller> {
        self.inside
            .callers
            .lock()
            .expect("no thread panicked")
            .clone()
    }

    /// Handshakes that failed.
    pub fn refused(&self) -> usize {
        self.inside.refused.load(SeqCst)
    }

    /// Cuts every connection that is open.
    pub fn hang_up(&self) {
        let mut open = self.inside.open.lock().expect("no thread panicked");
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inside {
    fn note(&self, caller: Caller) {
        self.callers
            .lock()
            .expect("no thread panicked")
            .push(caller);
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.inside.stop.store(true, SeqCst);
        let wait = Duration::from_secs(1);
        let _ = std::net::TcpStream::connect_timeout(&self.address, wait);
        self.hang_up();
    }
}

async fn connection(stream: TcpStream, inside: Arc<Inside>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = stream.into_std() else {
        return;
    };
    if let (Ok(copy), Ok(last)) = (stream.try_clone(), stream.try_clone()) {
        inside.open.lock().expect("no thread panicked").push(copy);
        let stream = TcpStream::from_std(stream).expect("within a runtime");
        serve(stream, &inside).await;
        let _ = last.shutdown(Shutdown::Both);
    }
}

async fn serve(stream: TcpStream, inside: &Inside) {
    let config = inside.config.lock().expect("no thread panicked").clone();
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
        inside.refused.fetch_add(1, SeqCst);
        return;
    };
    let caller = caller(&stream);
    let to = inside.goes_to.get(&caller.protocol);
    let to = to.or_else(|| inside.goes_to.get("")).copied();
    inside.note(caller);
    let Some(to) = to else { return };
    let Ok(plain) = TcpStream::connect(to).await else {
        return;
    };
    let _ = plain.set_nodelay(true);
    let (secure_in, secure_out) = tokio::io::split(stream);
    let (plain_in, plain_out) = plain.into_split();
    let inward = carry(secure_in, plain_out, true);
    let says_goodbye = inside.says_goodbye.load(SeqCst);
    let outward = carry(plain_in, secure_out, says_goodbye);
    if says_goodbye {
        // Half-closed it stays where one of the two has ended; an error ends both.
        let _ = tokio::try_join!(inward, outward);
    } else {
        tokio::select! { _ = inward => {}, _ = outward => {} }
    }
}

fn caller(stream: &TlsStream<TcpStream>) -> Caller {
    let (_, session) = stream.get_ref();
    let protocol = session.alpn_protocol().unwrap_or_default();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Caller {
        name: session.server_name().map(ToOwned::to_owned),
        protocol: String::from_utf8_lossy(protocol).into_owned(),
        certificate: certificate.map(|certificate| certificate.to_vec()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// Carries bytes to their end, and tells the other end of it where it is to be told.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tells_the_end: bool,
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            break;
        }
        to.write_all(&piece[..n]).await?;
        to.flush().await?;
    }
    if tells_the_end {
        to.shutdown().await?;
    }
    Ok(())
}
