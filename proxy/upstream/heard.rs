//! The socket of a connection over HTTP/2, which hears what who reads through HTTP/2 is not told: why an endpoint refuses
//! whom it was shown, and what it speaks instead.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::complaints::NoHttp;
use super::connect::{Place, Standing};
use crate::transport::fault::Fault;
use crate::transport::socket::Socket;

/// A connection's socket, and who is told of what comes over it.
#[derive(Debug)]
pub(super) struct Heard {
    socket: Socket,
    place: Rc<Place>,
    standing: Rc<Standing>,
    /// Something has come.
    has_begun: bool,
}

impl Heard {
    /// Nothing has come yet.
    pub(super) fn new(socket: Socket, place: Rc<Place>, standing: Rc<Standing>) -> Self {
        Self {
            socket,
            place,
            standing,
            has_begun: false,
        }
    }

    /// What comes first is looked at once: an alert of TLS is shorter than a frame, and would end here as a connection that
    /// broke off.
    #[cold]
    fn begin(&mut self, said: &[u8]) {
        self.has_begun = true;
        if let Some(why) = NoHttp::in_place_of_http2(said, self.place.is_secure()) {
            self.standing.is_malformed.set(true);
            self.place.no_http(&why);
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        match &read {
            Poll::Ready(Err(error)) => self.hear(error),
            Poll::Ready(Ok(())) if !self.has_begun => self.begin(&buf.filled()[before..]),
            _ => {}
        }
        read
    }
}

impl Heard {
    fn hear(&self, error: &io::Error) {
        if let Some(fault) = Fault::behind_handshake(error)
            && !self.standing.is_refused.replace(true)
        {
            self.place.no_tls(&fault);
        }
    }

    /// Whoever refuses closes the connection with it, and so does who understands nothing; a write may find that first, and
    /// the reason is still to be read. The runtime may not have seen yet that there is something; the write fails once it
    /// has.
    fn wrote<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &written else {
            return written;
        };
        if is_end(error) && (self.socket.tls().is_some() || !self.has_begun) {
            // Nobody else reads it any more: the connection ends here.
            let mut last = [0; 64];
            let read = Pin::new(&mut *self).poll_read(cx, &mut ReadBuf::new(&mut last));
            if read.is_pending() {
                return Poll::Pending;
            }
        }
        written
    }
}

/// The other end is gone: what is to be read from it, its end at least, is here or under way to the runtime.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.socket).poll_flush(cx);
        self.wrote(written, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::sync::{Arc, mpsc};
    use std::task::Waker;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
    use tidegate_config as config;
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::record::Ledger;
    use crate::transport::tls::Tls;
    use crate::upstream::Endpoint;

    /// A server that wants a certificate, and a client that has none.
    fn strangers() -> (ServerConfig, ClientConfig) {
        let names = vec!["127.0.0.1".to_owned()];
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("an authority");
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder(Arc::clone(&roots)).build();
        let key = signing_key.serialize_der().try_into().expect("a key");
        let server = ServerConfig::builder()
            .with_client_cert_verifier(clients.expect("a verifier"))
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a pair");
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (server, client)
    }

    /// Does its part of the handshake, and refuses who called once it is told to, by an alert and a reset.
    fn refuses(listener: &TcpListener, server: ServerConfig, go: &mpsc::Receiver<()>) {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut session = ServerConnection::new(Arc::new(server)).expect("a session");
        while !session.wants_write() {
            session.read_tls(&mut stream).expect("a hello");
            session.process_new_packets().expect("a good one");
        }
        while session.wants_write() {
            session.write_tls(&mut stream).expect("an answer");
        }
        go.recv().expect("the test goes on");
        while session.process_new_packets().is_ok() {
            session.read_tls(&mut stream).expect("no certificate");
        }
        while session.wants_write() {
            session.write_tls(&mut stream).expect("an alert");
        }
        stream.flush().expect("it is sent");
        let socket = socket2::SockRef::from(&stream);
        socket
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a reset");
    }

    #[tokio::test]
    async fn a_refusal_is_heard_though_a_write_finds_the_end_before_the_runtime_does() {
        let (server, client) = strangers();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, go) = mpsc::sync_channel(1);
        let refusing = std::thread::spawn(move || refuses(&listener, server, &go));
        let stream = TcpStream::connect(address).await.expect("a connection");
        let stream = TlsConnector::from(Arc::new(client))
            .connect(address.ip().into(), stream)
            .await
            .expect("this side is through");
        let ledger = Ledger::new(1);
        let told = config::EndpointAddress::Ip(address.ip(), address.port());
        let endpoint = Arc::new(Endpoint::new(told, config::Protocol::H2));
        let version = ledger.version("app", "v1");
        let place = Place::take(&endpoint, 1, &ledger.worker(0), version).expect("a place");
        let standing = Rc::new(Standing {
            allowed: Cell::new(1),
            is_malformed: Cell::new(false),
            is_refused: Cell::new(false),
        });
        let mut heard = Heard::new(Tls::new(stream).into(), Rc::new(place), standing.clone());
        let mut nobody = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut heard).poll_read(&mut nobody, &mut ReadBuf::new(&mut [0]));
        assert!(read.is_pending(), "nothing has come yet: {read:?}");
        // From here to the write the runtime does not look at its sockets.
        tell.send(()).expect("it listens");
        refusing.join().expect("no panic");
        let socket = heard.socket.tls().expect("TLS").tcp();
        let (mut ends, bound) = (
            [PollFd::new(socket, PollFlags::empty())],
            Timespec {
                tv_sec: 10,
                tv_nsec: 0,
            },
        );
        assert_eq!(poll(&mut ends, Some(&bound)), Ok(1), "the reset arrives");
        let written = poll_fn(|cx| Pin::new(&mut heard).poll_write(cx, b"PRI *")).await;
        assert!(written.is_err(), "{written:?}");
        assert!(standing.is_refused.get());
    }
}
