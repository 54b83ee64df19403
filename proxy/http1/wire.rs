//! A caller's connection: read by the loop that waits for its requests, and by whoever reads the body of the request that
//! is under way. All on one thread, never at the same time.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::framing::{BodyError, Decoder, Piece};
use super::head::{Bounds, HeadError, RequestHead};
use super::heads::Heads;
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::relay::{Carried, CarryError, Relay, Waits};
use crate::transport::socket::Socket;

/// What a caller may send ahead of the answer to what it sent before.
const AHEAD: usize = 64 * 1024;

/// Chunks smaller than this are gathered up to it: a version of HTTP/2 takes thousands of tiny frames for an attack, and
/// ends the connection, which is not this caller's alone.
const GATHERED: usize = 4 * 1024;

/// What the socket of a connection has seen, for whoever watches over its time.
#[derive(Debug, Default)]
pub struct Signs {
    /// Bytes came since it was last cleared.
    pub bytes: Cell<bool>,
    /// The caller will send no more.
    pub closed: Cell<bool>,
    /// The caller does not take what is written.
    pub stuck: Cell<bool>,
    /// The caller took something since it was last cleared: it may be slow, but it is there.
    pub taken: Cell<bool>,
    /// Bytes that the system took for the caller, all in all.
    pub sent: Cell<u64>,
}

impl Signs {
    /// So many more bytes were taken for the caller.
    pub fn took(&self, bytes: usize) {
        self.taken.set(true);
        self.sent.set(self.sent.get() + bytes as u64);
    }
}

/// A caller's connection.
#[derive(Debug)]
pub struct Wire {
    inner: RefCell<Inner>,
    signs: Rc<Signs>,
}

#[derive(Debug)]
struct Inner {
    socket: Socket,
    inlet: Inlet,
    heads: Heads,
    outlet: Outlet,
    body: Decoder,
    /// The caller waits for a word before it sends its body.
    expects_continue: bool,
    /// The answer has begun: nothing else may be written, and only whoever writes the answer may write.
    answering: bool,
    /// The connection's end will be the answer's: until the answer is whole, only a reset tells that it is not.
    ends_answer: bool,
    /// Counts requests. A body that outlives its exchange, in the hands of a task of HTTP/2, must read nothing more: what
    /// comes is not its own.
    turn: u64,
    /// Who reads the body, where that is another task than the connection's.
    body_reader: Option<Waker>,
    /// The connection's own task, while another one reads the body.
    watcher: Option<Waker>,
}

/// Why no request comes.
#[derive(Debug)]
pub enum NoRequest {
    /// The caller is done.
    Closed,
    /// The connection broke.
    Broken,
    /// What came is no request.
    Head(HeadError),
}

impl Wire {
    /// A connection over `socket`, of which `inlet` has read the beginning.
    pub fn new(socket: Socket, inlet: Inlet, signs: Rc<Signs>) -> Self {
        let inner = Inner {
            socket,
            inlet,
            heads: Heads::default(),
            outlet: Outlet::default(),
            body: Decoder::Done,
            expects_continue: false,
            answering: false,
            ends_answer: false,
            turn: 0,
            body_reader: None,
            watcher: None,
        };
        Self {
            inner: RefCell::new(inner),
            signs,
        }
    }

    /// The next request's head. The one before must be answered and its body read.
    pub fn poll_head(
        &self,
        cx: &mut Context<'_>,
        bounds: Bounds,
    ) -> Poll<Result<RequestHead, NoRequest>> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            if !inner.inlet.buffer.is_empty() {
                self.signs.bytes.set(true);
                match inner.heads.next(&mut inner.inlet.buffer, bounds) {
                    Ok(Some(head)) => {
                        inner.body = head.body.clone();
                        inner.expects_continue = head.expects_continue;
                        inner.answering = false;
                        inner.turn += 1;
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(NoRequest::Head(error))),
                }
            }
            let Poll::Ready(filled) = inner.inlet.poll_fill(&mut inner.socket, cx) else {
                inner.inlet.rest();
                return Poll::Pending;
            };
            match filled {
                Ok(0) if inner.inlet.buffer.is_empty() => {
                    return Poll::Ready(Err(NoRequest::Closed));
                }
                Ok(0) => return Poll::Ready(Err(NoRequest::Head(HeadError::Malformed))),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(NoRequest::Broken)),
            }
        }
    }

    /// Watches the caller while its answer is being made: ready only when the connection broke. What it sends ahead is
    /// kept, up to a bound.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        if !inner.body.is_done() {
            // Whoever reads the body sees it, and says when there is nothing left to see.
            remember(&mut inner.watcher, cx);
            return Poll::Pending;
        }
        while !inner.inlet.is_closed() && inner.inlet.buffer.len() < AHEAD {
            match ready!(inner.inlet.poll_fill(&mut inner.socket, cx)) {
                Ok(0) => self.signs.closed.set(true),
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether the request's body has been read to its end.
    pub fn is_body_done(&self) -> bool {
        self.inner.borrow().body.is_done()
    }

    /// Whether nothing has come of a next request.
    pub fn is_idle(&self) -> bool {
        self.inner.borrow().inlet.buffer.is_empty()
    }

    /// Whether the caller has sent something that was not read.
    pub fn has_unread(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        !inner.inlet.buffer.is_empty() || inner.socket.has_unread()
    }

    /// Whether the caller waits for a word that it will not get: its body will never come.
    pub fn awaits_continue(&self) -> bool {
        self.inner.borrow().expects_continue
    }

    /// The answer begins.
    pub fn begin_answer(&self) {
        self.inner.borrow_mut().answering = true;
    }

    /// Whether the connection's end is going to be the end of an answer that is not whole yet. Should it end before it is,
    /// it ends with a reset.
    pub fn ends_answer(&self, ends: bool) {
        self.inner.borrow_mut().ends_answer = ends;
    }

    /// The exchange is over: what is left of the request's body is nobody's but the connection's. A body that somebody
    /// still holds breaks off.
    pub fn detach_body(&self) {
        let reader = {
            let inner = &mut *self.inner.borrow_mut();
            inner.turn += 1;
            inner.watcher = None;
            inner.body_reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Writes with `write` what goes out next.
    pub fn put<T>(&self, write: impl FnOnce(&mut Outlet) -> T) -> T {
        write(&mut self.inner.borrow_mut().outlet)
    }

    /// Sends all that was put.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        let before = inner.outlet.waiting();
        let flushed = inner.outlet.poll_flush(&mut inner.socket, cx);
        self.signs.stuck.set(flushed.is_pending());
        let left = inner.outlet.waiting();
        if left != before {
            self.signs.took(before - left);
        }
        flushed
    }

    /// Whether bytes may go from a version's socket to this one's as they are: nothing has to be encrypted.
    pub fn can_carry(&self) -> bool {
        self.inner.borrow().socket.tcp().is_some()
    }

    /// Takes bytes from a version's socket as they are, at most `left`. All that was put must be flushed. Only where it
    /// [can](Self::can_carry).
    ///
    /// # Errors
    /// [`CarryError`].
    pub fn poll_carry(
        &self,
        relay: &mut Relay,
        from: &TcpStream,
        left: u64,
        waits: &mut Waits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Carried, CarryError>> {
        let inner = self.inner.borrow();
        let Some(to) = inner.socket.tcp() else {
            return Poll::Ready(Ok(Carried::End));
        };
        let carried = relay.poll_carry(from, to, left, waits, cx);
        self.signs
            .stuck
            .set(carried.is_pending() && *waits == Waits::ForRoom);
        if let Poll::Ready(Ok(Carried::Bytes(bytes))) = carried {
            self.signs.took(bytes);
        }
        carried
    }

    /// When it is dropped, what the caller has not taken is thrown away with it.
    pub fn forget(&self) {
        self.inner.borrow().socket.forget();
    }

    /// Gives up what an idle connection does not need.
    pub fn rest(&self) {
        self.inner.borrow_mut().outlet.rest();
    }

    /// The next piece of the request's body.
    pub fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let inner = &mut *self.inner.borrow_mut();
        let polled = inner.poll_body(&self.signs, cx);
        if polled.is_pending() {
            remember(&mut inner.body_reader, cx);
            return Poll::Pending;
        }
        if inner.body.is_done() || !matches!(polled, Poll::Ready(Ok(_))) {
            inner.body_reader = None;
            // From now on the connection's own task watches the caller.
            if let Some(watcher) = inner.watcher.take()
                && !watcher.will_wake(cx.waker())
            {
                watcher.wake();
            }
        }
        polled
    }

    /// Bytes as they are, for a tunnel: first what was read ahead.
    pub fn poll_raw_read(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        inner.inlet.poll_raw(&mut inner.socket, cx, out)
    }

    /// Bytes as they are, for a tunnel: what was put before must be flushed.
    pub fn poll_raw_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner.borrow_mut().socket).poll_write(cx, bytes)
    }

    /// Sends what was written to the end.
    pub fn poll_raw_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner.borrow_mut().socket).poll_flush(cx)
    }

    /// Says of an encrypted connection that it ends here and was not cut off, where that can be written at once. A plain
    /// one says so by being closed.
    pub fn tell_end(&self) {
        let socket = &mut self.inner.borrow_mut().socket;
        if socket.tls().is_some() {
            let mut nobody = Context::from_waker(Waker::noop());
            let _ = Pin::new(socket).poll_shutdown(&mut nobody);
        }
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
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ends_answer {
            self.socket.reset_at_end();
        }
    }
}

impl Inner {
    fn poll_body(&mut self, signs: &Signs, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        loop {
            let closed = self.inlet.is_closed();
            match self.body.decode(&mut self.inlet.buffer, closed)? {
                Piece::More => {}
                piece => {
                    self.expects_continue = false;
                    return Poll::Ready(Ok(piece));
                }
            }
            if self.expects_continue {
                // The caller was answered before it was told to go on: its body will not come.
                if self.answering {
                    return Poll::Pending;
                }
                self.outlet
                    .buffer()
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.expects_continue = false;
            }
            // Once there is an answer, whoever writes it flushes: the socket wakes only one task that waits for room.
            if !self.answering {
                match self.outlet.poll_flush(&mut self.socket, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::Broken)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match ready!(self.inlet.poll_fill(&mut self.socket, cx)) {
                Ok(0) => signs.closed.set(true),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(BodyError::Broken)),
            }
        }
    }
}

/// Keeps who is to be woken; a clone only where it is somebody else than before.
fn remember(kept: &mut Option<Waker>, cx: &Context<'_>) {
    if !kept.as_ref().is_some_and(|k| k.will_wake(cx.waker())) {
        *kept = Some(cx.waker().clone());
    }
}

/// The body of the request under way on a wire.
#[derive(Debug)]
pub struct WireBody {
    wire: Rc<Wire>,
    turn: u64,
    known: Option<u64>,
    /// What came behind the data that went first.
    held: Option<Result<Piece, BodyError>>,
    done: bool,
}

impl WireBody {
    /// The body of the request whose head was just read.
    pub fn new(wire: Rc<Wire>) -> Self {
        let (turn, known, done) = {
            let inner = wire.inner.borrow();
            (inner.turn, inner.body.known(), inner.body.is_done())
        };
        Self {
            wire,
            turn,
            known,
            held: None,
            done,
        }
    }

    /// The next piece; small chunks that are here already are one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(held);
        }
        let first = match ready!(self.wire.poll_body(cx)) {
            Ok(Piece::Data(data)) if self.known.is_none() && data.len() < GATHERED => data,
            other => return Poll::Ready(other),
        };
        let mut more = BytesMut::new();
        while first.len().max(more.len()) < GATHERED {
            match self.wire.poll_body(cx) {
                Poll::Ready(Ok(Piece::Data(data))) if more.is_empty() => {
                    more.reserve(GATHERED);
                    more.extend_from_slice(&first);
                    more.extend_from_slice(&data);
                }
                Poll::Ready(Ok(Piece::Data(data))) => more.extend_from_slice(&data),
                Poll::Ready(behind) => {
                    self.held = Some(behind);
                    break;
                }
                Poll::Pending => break,
            }
        }
        let data = if more.is_empty() {
            first
        } else {
            more.freeze()
        };
        Poll::Ready(Ok(Piece::Data(data)))
    }

    /// Whether nothing follows this piece.
    fn ends_with(&self, piece: &Result<Piece, BodyError>) -> bool {
        match (&self.held, piece) {
            (_, Err(_) | Ok(Piece::Trailers(_) | Piece::End | Piece::More)) => true,
            (Some(held), _) => matches!(held, Ok(Piece::End)),
            (None, _) => self.wire.is_body_done(),
        }
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.wire.inner.borrow().turn != self.turn {
            self.done = true;
            return Poll::Ready(Some(Err(BodyError::Broken)));
        }
        let piece = ready!(self.poll_piece(cx));
        self.done = self.ends_with(&piece);
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => {
                self.known = self.known.map(|known| known - data.len() as u64);
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.known
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
