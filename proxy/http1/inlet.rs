//! Bytes that came and were not yet understood. An idle connection holds none of it: the buffer is made when there is
//! something to read and given up when it is empty.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};

use crate::transport::socket::Socket;

/// A first read: more than nearly every head.
const FIRST: usize = 4 * 1024;
/// Reads that fill their buffer are made larger, up to this: one large read is cheaper than many small ones.
pub const MOST: usize = 256 * 1024;

/// A connection's read side.
#[derive(Debug)]
pub struct Inlet {
    /// What came, in order.
    pub buffer: BytesMut,
    next: usize,
    closed: bool,
}

impl Default for Inlet {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            next: FIRST,
            closed: false,
        }
    }
}

impl Inlet {
    /// Whether the other end has said that nothing more comes.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads once; 0 is the end.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Ok(0));
        }
        if self.buffer.capacity() - self.buffer.len() < self.next {
            // Nothing is held for a connection that only waits.
            if self.buffer.is_empty() {
                ready!(socket.poll_readable(cx))?;
                if self.buffer.capacity() == 0 {
                    self.buffer = spare::take();
                }
            }
            self.buffer.reserve(self.next);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let n = ready!(pin!(socket.read_buf(&mut self.buffer)).poll(cx))?;
        if n == room {
            self.next = (self.next * 2).min(MOST);
        } else if n < self.next / 4 {
            self.next = (self.next / 2).max(FIRST);
        }
        self.closed = n == 0;
        Poll::Ready(Ok(n))
    }

    /// A head is next: a large read would copy what comes behind it, which may not need it.
    pub fn expect_head(&mut self) {
        self.next = FIRST;
    }

    /// Bytes as they are: first what came before.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_raw(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(socket).poll_read(cx, out);
        }
        let n = self.buffer.len().min(out.remaining());
        out.put_slice(&self.buffer.split_to(n));
        Poll::Ready(Ok(()))
    }

    /// Gives up the buffer while there is nothing in it.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            spare::give(std::mem::take(&mut self.buffer));
        }
    }
}

impl Drop for Inlet {
    /// The next connection needs a buffer too.
    fn drop(&mut self) {
        self.buffer.clear();
        self.rest();
    }
}

/// Buffers between two uses. A busy connection gets one back at once; an idle one has none.
mod spare {
    use std::cell::RefCell;

    use bytes::BytesMut;

    /// Buffers that a worker keeps.
    const KEPT: usize = 64;
    /// A buffer that has grown larger than this is not kept.
    const LARGEST: usize = 16 * 1024;

    thread_local! {
        static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> BytesMut {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give(buffer: BytesMut) {
        if buffer.capacity() > 0 && buffer.capacity() <= LARGEST {
            // The thread may be ending already.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < KEPT {
                    spare.push(buffer);
                }
            });
        }
    }
}
