//! A connected byte stream, TCP, Unix or TLS over TCP, that writes what is small in one piece: for small messages one copy
//! and a plain `send` cost less than a vectored write; large ones keep the vectored write and are never copied.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Tls;

/// Messages up to this size are written in one piece.
const COALESCE_BYTES: usize = 16 * 1024;

/// A connected stream.
#[derive(Debug)]
pub enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// Over the network, encrypted. Boxed: plain connections, of which there may be many more, would pay for its size.
    Tls(Box<Tls>),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl From<Tls> for Socket {
    fn from(stream: Tls) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Socket {
    /// Ready when a read would find something: bytes, the end or an error. Asks the system nothing.
    ///
    /// # Errors
    /// Where the runtime is ending.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => s.poll_read_ready(cx),
            Self::Unix(s) => s.poll_read_ready(cx),
            Self::Tls(s) => s.poll_readable(cx),
        }
    }

    /// The stream, where it is a plain one of the network.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) | Self::Tls(_) => None,
        }
    }

    /// From now on closing it throws away what the other end has not taken, and tells it by a reset: who reads nothing
    /// would let the system hold it for minutes.
    pub fn forget(&self) {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
            Self::Unix(_) => return,
        };
        // It may be gone already.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// Its encrypted kind.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Its encrypted kind, to change.
    pub fn tls_mut(&mut self) -> Option<&mut Tls> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Whether an idle connection can be used: its other end has neither closed it nor said something unasked, as far as
    /// the runtime knows. It looks between two rounds of its tasks; what comes later is under way like all that no look
    /// can see, and another look at each use costs 2 % of a request. The runtime may also believe in bytes that were
    /// read already: then the system is asked.
    pub fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.poll_readable(&mut nobody).is_pending() || self.is_empty()
    }

    /// Has the connection end with a reset when this is dropped: an end in order would say that all was sent.
    pub fn reset_at_end(&self) {
        let stream = match self {
            Self::Tcp(s) => s,
            Self::Tls(s) => s.tcp(),
            // There, no end is a reset.
            Self::Unix(_) => return,
        };
        // Where it cannot be set the connection is gone already.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether something came and is unread. Closing now would throw it away, and with it what was sent last: the system
    /// tells the other end by a reset. An end or an error is nothing that could be thrown away. Asks the system.
    pub fn has_unread(&mut self) -> bool {
        let socket = match self {
            Self::Tcp(s) => SockRef::from(&*s),
            Self::Unix(s) => SockRef::from(&*s),
            Self::Tls(s) => return s.has_unread(),
        };
        let mut byte = [MaybeUninit::uninit()];
        socket.peek(&mut byte).is_ok_and(|peeked| peeked > 0)
    }

    /// Whether nothing is unread at this moment: no bytes, no end, no error. Asks the system.
    pub fn is_empty(&mut self) -> bool {
        let socket = match self {
            Self::Tcp(s) => SockRef::from(&*s),
            Self::Unix(s) => SockRef::from(&*s),
            Self::Tls(s) => return s.is_empty(),
        };
        let mut byte = [MaybeUninit::uninit()];
        let peeked = socket.peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(&mut **s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(&mut **s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        let total: usize = slices.iter().map(|s| s.len()).sum();
        if total <= COALESCE_BYTES {
            return with_scratch(|scratch| {
                scratch.clear();
                slices.iter().for_each(|s| scratch.extend_from_slice(s));
                self.poll_write(cx, scratch)
            });
        }
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(cx, slices),
            Self::Unix(s) => Pin::new(s).poll_write_vectored(cx, slices),
            Self::Tls(s) => Pin::new(&mut **s).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(s) => Pin::new(&mut **s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(&mut **s).poll_shutdown(cx),
        }
    }
}

/// One buffer a thread, lent for the length of a write.
fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_came_unasked_is_seen() {
        for says_something in [true, false] {
            let (near, mut far) = UnixStream::pair().expect("a pair");
            let mut near = Socket::from(near);
            assert!(near.is_quiet());
            if says_something {
                far.write_all(b"HTTP/1.1 200 OK").await.expect("written");
            } else {
                drop(far);
            }
            assert!(!near.is_empty(), "the system knows at once");
            poll_fn(|cx| near.poll_readable(cx)).await.expect("noticed");
            assert!(!near.is_quiet());
        }
    }

    #[tokio::test]
    async fn what_was_read_to_the_last_byte_is_quiet() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let mut near = Socket::from(near);
        far.write_all(b"all of it").await.expect("written");
        let mut exactly = [0; 9];
        near.read_exact(&mut exactly).await.expect("read");
        assert!(near.is_quiet());
    }
}
