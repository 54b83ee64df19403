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

    /// Whoever refuses closes the connection with it, and a write may find that first: the reason is still to be read.
    fn wrote<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) && self.socket.tls().is_some() {
            let mut byte = [0];
            let read = Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut byte));
            if let Poll::Ready(Err(error)) = read {
                self.hear(&error);
            }
        }
        written
    }
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
