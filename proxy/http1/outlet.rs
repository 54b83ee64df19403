//! Bytes on their way out: a buffer for heads and small pieces, and behind it at most one large piece that is not copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::encode;
use crate::transport::socket::Socket;

/// Pieces up to this size are copied behind what waits already, to leave with it in one packet.
const COPIED: usize = 16 * 1024;

/// A connection's write side.
#[derive(Debug, Default)]
pub struct Outlet {
    buffer: Vec<u8>,
    written: usize,
    piece: Bytes,
    /// What ends the piece: a chunk's line end.
    tail: &'static [u8],
}

impl Outlet {
    /// Where heads are written. Only while there is no piece behind it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_empty(), "a head would overtake a piece");
        &mut self.buffer
    }

    /// Whether another piece may be put in.
    pub fn has_room(&self) -> bool {
        self.piece.is_empty() && self.buffer.len() - self.written < COPIED
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.piece.is_empty()
    }

    /// Bytes that are not written yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.written + self.piece.len() + self.tail.len()
    }

    /// Puts a piece behind what waits. Only where there is no piece yet.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "pieces wait in the order they came");
        if piece.len() <= COPIED {
            self.buffer.extend_from_slice(&piece);
        } else {
            self.piece = piece;
        }
    }

    /// Puts a chunk behind what waits. Only where there is room; never an empty one, which would end the body.
    pub fn push_chunk(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        encode::chunk_head(&mut self.buffer, piece.len());
        if piece.len() <= COPIED {
            self.buffer.extend_from_slice(&piece);
            self.buffer.extend_from_slice(b"\r\n");
        } else {
            self.piece = piece;
            self.tail = b"\r\n";
        }
    }

    /// Writes until nothing is left.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let waiting = &self.buffer[self.written..];
            let n = match (waiting.is_empty(), self.piece.is_empty()) {
                (_, true) => ready!(Pin::new(&mut *socket).poll_write(cx, waiting))?,
                (true, false) if self.tail.is_empty() => {
                    ready!(Pin::new(&mut *socket).poll_write(cx, &self.piece))?
                }
                _ => {
                    let slices = [waiting, &self.piece, self.tail].map(IoSlice::new);
                    ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices))?
                }
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        // Of an encrypted stream: what it has taken may not have left.
        Pin::new(socket).poll_flush(cx)
    }

    fn advance(&mut self, n: usize) {
        let of_buffer = n.min(self.buffer.len() - self.written);
        self.written += of_buffer;
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
        }
        let had_piece = !self.piece.is_empty();
        let of_piece = (n - of_buffer).min(self.piece.len());
        self.piece.advance(of_piece);
        if had_piece && self.piece.is_empty() {
            // What is left of the tail is what waits next.
            let of_tail = n - of_buffer - of_piece;
            self.buffer
                .extend_from_slice(&std::mem::take(&mut self.tail)[of_tail..]);
        }
    }

    /// Gives up the buffer while there is nothing in it.
    pub fn rest(&mut self) {
        if self.is_empty() {
            spare::give(std::mem::take(&mut self.buffer));
        }
    }

    /// Gets a buffer back.
    pub fn wake(&mut self) {
        if self.buffer.capacity() == 0 {
            self.buffer = spare::take();
        }
    }
}

impl Drop for Outlet {
    /// The next connection needs a buffer too.
    fn drop(&mut self) {
        self.buffer.clear();
        spare::give(std::mem::take(&mut self.buffer));
    }
}

/// Buffers between two uses, as the inlet has them.
mod spare {
    use std::cell::RefCell;

    /// Buffers that a worker keeps.
    const KEPT: usize = 64;
    /// A buffer that has grown larger than this is not kept.
    const LARGEST: usize = 64 * 1024;

    thread_local! {
        static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> Vec<u8> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give(buffer: Vec<u8>) {
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
