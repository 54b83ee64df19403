//! A stream under TLS, either side of it, once the handshake is done.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::CommonState;

/// An encrypted stream. What was written may wait in here until it is flushed.
#[derive(Debug)]
pub struct Tls(TlsStream<TcpStream>);

impl Tls {
    /// A stream whose handshake is done.
    pub fn new(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self(stream.into())
    }

    /// What the handshake agreed on: protocol, certificates, server name.
    pub fn session(&self) -> &CommonState {
        self.0.get_ref().1
    }

    /// The server name that the caller asked for, where this is the serving side and it asked for one.
    pub fn server_name(&self) -> Option<&str> {
        match &self.0 {
            TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            TlsStream::Client(_) => None,
        }
    }

    /// The stream underneath.
    pub fn tcp(&self) -> &TcpStream {
        self.0.get_ref().0
    }

    /// Announces that nothing more comes from this side, as far as there is room for it at this moment. Only where the other
    /// side knows by other means that it has everything: what was cut short must not look whole.
    pub fn say_goodbye(&mut self) {
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut nobody);
    }

    /// Ready when a read may find something: what was decrypted already, bytes, the end or an error.
    ///
    /// # Errors
    /// Where the runtime is ending.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session().wants_read() {
            self.tcp().poll_read_ready(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Whether nothing is unread at this moment: no bytes, no end, no error. What TLS says for itself (session tickets,
    /// key updates) is taken in and is nothing. A byte that is found here is lost: ask only where it would be a fault.
    pub fn is_empty(&mut self) -> bool {
        self.read_byte().is_pending()
    }

    /// Whether something came and is unread, an end or an error aside. A byte that is found here is lost likewise.
    pub fn has_unread(&mut self) -> bool {
        matches!(self.read_byte(), Poll::Ready(Ok(1)))
    }

    fn read_byte(&mut self) -> Poll<io::Result<usize>> {
        let mut nobody = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        let polled = Pin::new(&mut self.0).poll_read(&mut nobody, &mut read);
        polled.map_ok(|()| read.filled().len())
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
