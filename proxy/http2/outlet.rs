//! Bytes on their way out: all frames of one turn leave by one write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;

use crate::transport::socket::Socket;

/// Nothing is taken of answers while so much waits.
pub const FULL: usize = 64 * 1024;
/// Nothing more is read of a caller that takes no answers to its questions: of what it did not ask for with a stream,
/// so much waits.
pub const REPLIES_MOST: usize = 16 * 1024;
/// What was written is cut off when it is longer than this.
const CUT: usize = 32 * 1024;
/// A buffer that has grown larger than this is not kept by an idle connection's worker.
const KEPT: usize = 32 * 1024;

/// A connection's write side.
#[derive(Debug, Default)]
pub struct Outlet {
    buffer: Vec<u8>,
    written: usize,
    /// Bytes of what was put unasked since all was written.
    replies: usize,
    /// What was handed over has not left: of an encrypted stream.
    unflushed: bool,
}

impl Outlet {
    /// Where frames of streams are written.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare::take();
        }
        &mut self.buffer
    }

    /// Writes an answer to a frame.
    pub fn reply(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer().len();
        write(&mut self.buffer);
        self.replies += self.buffer.len() - before;
    }

    /// Whether so many replies wait that no more questions are read.
    pub fn is_clogged(&self) -> bool {
        self.replies >= REPLIES_MOST
    }

    /// Whether there is room for a frame of an answer.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.waiting() < FULL
    }

    /// Bytes that are not written yet.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Writes until nothing is left; `taken` grows by what was taken.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        taken: &mut usize,
    ) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let waiting = &self.buffer[self.written..];
            let Poll::Ready(n) = Pin::new(&mut *socket).poll_write(cx, waiting)? else {
                if self.written > CUT {
                    self.buffer.drain(..self.written);
                    self.written = 0;
                }
                return Poll::Pending;
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *taken += n;
            self.unflushed = true;
            self.written += n;
        }
        self.buffer.clear();
        (self.written, self.replies) = (0, 0);
        if self.unflushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up the buffer while there is nothing in it.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            spare::give(std::mem::take(&mut self.buffer));
        }
    }
}

/// Buffers between two uses.
mod spare {
    use std::cell::RefCell;

    /// Buffers that a worker keeps.
    const MOST: usize = 64;

    thread_local! {
        static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> Vec<u8> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give(buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= super::KEPT {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < MOST {
                    spare.push(buffer);
                }
            });
        }
    }
}
