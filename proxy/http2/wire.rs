//! A caller's connection: its socket, what came over it and what is to go. All its streams are worked on in one task, which
//! calls here; whoever forwards a request's body reads it here too, mostly in that same task.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, response};
use tokio::io::AsyncWrite as _;

use super::budget::{Cost, Earned};
use super::flow::CONNECTION_WINDOW;
use super::frame::{self, Code, HEAD, Kind, MOST, PAYLOAD_MOST};
use super::hpack::encoder;
use super::hpack::table::TABLE_MOST;
use super::incoming::BLOCK_SLACK;
use super::outlet::{FULL, REPLIES_MOST};
use super::ready::Ready;
use super::settings::Bounds;
use super::state::{ANYBODY, Inner, LEAVING, Leaving};
use super::streams::Opening;
use crate::http1::encode::now;
use crate::http1::framing::BodyError;
use crate::http1::inlet::{self, Inlet};
use crate::http1::wire::Signs;
use crate::transport::socket::Socket;

pub use super::state::End;

/// A frame of a body shorter than this, where the caller's window makes it so, is a burden rather than a service.
const SLIVER: usize = 256;

/// Bytes that a caller can have a connection hold: what was read and not understood, heads and bodies of its requests, and
/// what waits to be sent; of each answer, what its version's last read brought.
pub const fn most_held(bounds: Bounds) -> usize {
    let block = bounds.bytes + BLOCK_SLACK;
    // A head's fields, each with what the map needs for it; the same again for trailers.
    let request = 2 * (bounds.bytes + bounds.lines * 128) + 1024;
    // Buffers double as they grow.
    let bodies = 2 * CONNECTION_WINDOW as usize;
    let out = 2 * (FULL + PAYLOAD_MOST + REPLIES_MOST);
    let stream = request + inlet::MOST;
    inlet::MOST + 2 * block + 2 * TABLE_MOST + bodies + out + bounds.streams * stream
}

/// A caller's connection.
#[derive(Debug)]
pub struct Wire {
    inner: RefCell<Inner>,
    ready: Arc<Ready>,
    signs: Rc<Signs>,
}

/// What was found of a body.
#[derive(Debug)]
pub enum Piece {
    /// A part.
    Data {
        /// These bytes.
        data: Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// The fields behind it; nothing follows.
    Trailers(HeaderMap),
    /// Nothing follows.
    End,
}

impl Wire {
    /// A connection over `socket`, of which `inlet` has read the beginning. Says our settings with the first flush.
    pub fn new(socket: Socket, inlet: Inlet, signs: Rc<Signs>, bounds: Bounds) -> Self {
        let ready = Ready::new(bounds.streams);
        signs.bytes.set(true); // what every connection begins with is on its way
        let inner = Inner::new(socket, inlet, bounds, ready.clone());
        Self {
            inner: RefCell::new(inner),
            ready,
            signs,
        }
    }

    /// Which streams have something to do.
    pub fn ready(&self) -> &Arc<Ready> {
        &self.ready
    }

    /// Reads once, and takes the frames that are whole. Ready where there was something, pending where there is nothing.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let inner = &mut *self.inner.borrow_mut();
        // The places that are being taken away come first: they may be needed.
        if !inner.cancelled.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // What stands in the buffer is whole where the last look was cut short.
        let mut taken = inner.take_frames()?;
        if taken == 0 && !inner.outlet.is_clogged() {
            let Poll::Ready(filled) = inner.inlet.poll_fill(&mut inner.socket, cx) else {
                inner.inlet.rest();
                return Poll::Pending;
            };
            match filled {
                Ok(0) => return Poll::Ready(Err(End::Closed)),
                Ok(read) => taken = read,
                Err(error) => return Poll::Ready(Err(End::Broken(error))),
            }
            inner.take_frames()?;
        }
        self.signs.bytes.set(inner.is_in_head());
        if taken == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// A place whose stream is over before it was answered. Whoever works on it lets go, and [frees](Self::free) it.
    pub fn take_cancelled(&self) -> Option<usize> {
        self.inner.borrow_mut().cancelled.pop()
    }

    /// Frees the place of a stream that was over before it was answered.
    pub fn free(&self, slot: usize) {
        let inner = &mut *self.inner.borrow_mut();
        inner.ready.clear(slot);
        inner.streams.free(slot);
    }

    /// How many requests were none since this was asked last.
    pub fn take_malformed(&self) -> usize {
        std::mem::take(&mut self.inner.borrow_mut().malformed)
    }

    /// What a new stream begins with.
    pub fn open(&self, slot: usize) -> Option<Opening> {
        let inner = &mut *self.inner.borrow_mut();
        let opening = inner.streams.take_opening(slot);
        if opening.is_some() {
            inner.streams.at(slot).started = true;
        }
        opening
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.inner.borrow().streams.count()
    }

    /// Whether there is room for a frame of an answer.
    pub fn has_room(&self) -> bool {
        self.inner.borrow().outlet.has_room()
    }

    /// Whether frames wait for room for what they ask.
    pub fn is_clogged(&self) -> bool {
        self.inner.borrow().outlet.is_clogged()
    }

    /// How much of a stream's answer may be sent now.
    pub fn window(&self, slot: usize) -> usize {
        let inner = &mut *self.inner.borrow_mut();
        let stream = inner.streams.at(slot).room;
        inner.room.bytes().min(stream.bytes())
    }

    /// Puts an answer's head. `length` is its body's where the head does not say it; `ends` says that there is no body.
    pub fn put_head(&self, slot: usize, parts: &response::Parts, length: Option<u64>, ends: bool) {
        let inner = &mut *self.inner.borrow_mut();
        let stream = inner.streams.at(slot);
        let id = stream.id;
        stream.expects = false;
        frame::field_block(inner.outlet.buffer(), id, ends, |out| {
            encoder::answer(out, parts, length, now);
        });
        if ends {
            inner.answered(slot);
        }
    }

    /// Puts a piece of an answer's body, for which there must be a window and which must fit a frame.
    ///
    /// # Errors
    /// Where the caller has us send slivers.
    pub fn put_data(&self, slot: usize, data: &[u8], cut: bool, ends: bool) -> Result<(), End> {
        let inner = &mut *self.inner.borrow_mut();
        let stream = inner.streams.at(slot);
        stream.room.sent(data.len());
        inner.room.sent(data.len());
        let flags = if ends { frame::END_STREAM } else { 0 };
        let out = inner.outlet.buffer();
        out.reserve(HEAD + data.len());
        frame::head(out, Kind::Data, flags, stream.id, data.len());
        out.extend_from_slice(data);
        if cut && data.len() < SLIVER {
            inner.budget.pay(Cost::Sliver).map_err(|_| End::Flood)?;
        } else if !data.is_empty() {
            inner.budget.earn(Earned::Frame);
        }
        if ends {
            inner.answered(slot);
        }
        Ok(())
    }

    /// Puts the fields behind an answer's body, which end it.
    pub fn put_trailers(&self, slot: usize, trailers: &HeaderMap) {
        let inner = &mut *self.inner.borrow_mut();
        let id = inner.streams.at(slot).id;
        frame::field_block(inner.outlet.buffer(), id, true, |out| {
            encoder::fields(out, trailers);
        });
        inner.answered(slot);
    }

    /// Gives a stream up that somebody works on, who lets go of it now.
    pub fn give_up(&self, slot: usize, code: Code) {
        let inner = &mut *self.inner.borrow_mut();
        let id = inner.streams.at(slot).id;
        if id != 0 {
            inner.reset(id, code);
        }
    }

    /// Sends all that was put.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let inner = &mut *self.inner.borrow_mut();
        let mut taken = 0;
        let flushed = inner.outlet.poll_flush(&mut inner.socket, cx, &mut taken);
        self.signs.stuck.set(flushed.is_pending());
        if taken > 0 {
            self.signs.took(taken);
        }
        flushed.map_err(End::Broken)
    }

    /// Whether nothing is left to do, after one of the two sides said that it leaves.
    pub fn is_done(&self) -> bool {
        let inner = self.inner.borrow();
        (inner.parting || inner.leaving == Leaving::Said)
            && inner.streams.count() == 0
            && inner.cancelled.is_empty()
    }

    /// Says that we leave. What the caller has asked until it hears of it is answered (RFC 9113 §6.8).
    pub fn leave(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.leaving == Leaving::No {
            inner.leaving = Leaving::Asked;
            let out = inner.outlet.buffer();
            frame::go_away(out, MOST, Code::NoError);
            frame::ping(out, 0, LEAVING);
        }
    }

    /// Asks whether anybody is there.
    pub fn ping(&self) {
        let inner = &mut *self.inner.borrow_mut();
        frame::ping(inner.outlet.buffer(), 0, ANYBODY);
    }

    /// Says why the connection ends.
    pub fn say_end(&self, code: Code) {
        let inner = &mut *self.inner.borrow_mut();
        let last = inner.streams.last();
        frame::go_away(inner.outlet.buffer(), last, code);
    }

    /// Gives up what an idle connection does not need.
    pub fn rest(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.outlet.rest();
        inner.decoder.rest();
        inner.streams.rest();
    }

    /// When it is dropped, what the caller has not taken is thrown away with it.
    pub fn forget(&self) {
        self.inner.borrow().socket.forget();
    }

    /// Says that nothing more will be sent.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner.borrow_mut().socket).poll_shutdown(cx)
    }

    /// Reads what still comes and forgets it: `Ok(0)` is the end.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        inner.inlet.buffer.clear();
        inner.inlet.poll_fill(&mut inner.socket, cx)
    }

    /// Bytes as if the caller had sent them.
    #[cfg(test)]
    pub(super) fn feed(&self, bytes: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        inner.inlet.buffer.extend_from_slice(bytes);
    }

    /// Number and length of a request's body, where that is known, and whether there is none.
    pub(super) fn body(&self, slot: usize) -> (u32, Option<u64>, bool) {
        let inner = &mut *self.inner.borrow_mut();
        let stream = inner.streams.at(slot);
        let here = stream.body.len() as u64;
        let known = match stream.left {
            // One that says that it is empty is so only once nothing can follow.
            Some(0) if here == 0 && !stream.ended => None,
            Some(left) => Some(here + left),
            None if stream.ended && stream.trailers.is_none() => Some(here),
            None => None,
        };
        (stream.id, known, stream.is_read())
    }

    /// The next piece of a request's body.
    pub(super) fn poll_body(
        &self,
        slot: usize,
        id: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Piece, BodyError>> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(stream) = inner.streams.get(slot, id) else {
            return Poll::Ready(Err(BodyError::Broken));
        };
        let readable = stream.readable();
        if readable > 0 {
            let data = stream.body.split_to(readable).freeze();
            let last = stream.is_read();
            if inner.body_read(slot, readable) {
                self.ready.wake();
            }
            return Poll::Ready(Ok(Piece::Data { data, last }));
        }
        if let Some(trailers) = stream.trailers.take() {
            return Poll::Ready(Ok(Piece::Trailers(trailers)));
        }
        if stream.ended {
            return Poll::Ready(Ok(Piece::End));
        }
        if !stream
            .reader
            .as_ref()
            .is_some_and(|r| r.will_wake(cx.waker()))
        {
            stream.reader = Some(cx.waker().clone());
        }
        if std::mem::take(&mut stream.expects) {
            frame::field_block(inner.outlet.buffer(), id, false, encoder::continue_head);
            self.ready.wake();
        }
        Poll::Pending
    }

    /// Nobody will read the rest of a request's body.
    pub(super) fn forget_body(&self, slot: usize, id: u32) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(stream) = inner.streams.get(slot, id) else {
            return;
        };
        stream.wanted = false;
        stream.reader = None;
        stream.trailers = None;
        let held = std::mem::take(&mut stream.body).len();
        if inner.give_back(held) {
            self.ready.wake();
        }
    }
}

/// Waits until all that was put has left, the other side has heard that nothing more comes, and has said its last.
///
/// # Errors
/// The socket's.
pub fn poll_linger(wire: &Wire, said: &mut bool, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
    if !*said {
        ready!(wire.poll_flush(cx))?;
        ready!(wire.poll_shutdown(cx)).map_err(End::Broken)?;
        *said = true;
    }
    while ready!(wire.poll_discard(cx)).map_err(End::Broken)? > 0 {}
    Poll::Ready(Ok(()))
}
