//! A caller's socket as hyper's HTTP/2 uses it, which leaves signs of what it sees.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::wire::Signs;
use crate::transport::socket::Socket;

/// A caller's socket.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    signs: Rc<Signs>,
    begun: Rc<Cell<bool>>,
}

impl Stream {
    /// Watches `socket` and leaves `signs`. `begun` becomes true with the first request: until then all that comes is a
    /// first head on its way; later it may as well be a ping, and the connection is held to its idle bound alone.
    pub fn new(socket: Socket, signs: Rc<Signs>, begun: Rc<Cell<bool>>) -> Self {
        Self {
            socket,
            signs,
            begun,
        }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.signs.stuck.set(result.is_pending());
        match result {
            Poll::Ready(Ok(bytes)) => self.signs.took(bytes),
            Poll::Ready(Err(_)) => self.signs.taken.set(true),
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                self.signs.bytes.set(!self.begun.get());
            } else if buf.remaining() > 0 {
                self.signs.closed.set(true);
            }
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
