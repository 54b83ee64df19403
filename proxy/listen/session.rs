//! The streams of a connection that speaks HTTP/2, as its one task works on them: a stream's request is a future in a
//! place of its own, with a waker of its own; its answer is asked for more only while there is a window for it and room on
//! the way out, one frame a stream in turn.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::header::{self, HeaderMap};
use http::{Method, Response, request};
use http_body::Body as _;

use super::connection::Connection;
use super::pulse::{Order, UnderWay};
use super::pulses::SWEEP;
use super::sending::Sending;
use crate::exchange::{Answer, Peer, refusal};
use crate::http1::head::recycle;
use crate::http2::body::StreamBody;
use crate::http2::frame::{Code, PAYLOAD_MOST};
use crate::http2::streams::TooLarge;
use crate::http2::wire::{End, Wire};
use crate::record::Reason;
use crate::upstream::Inbound;

/// Rounds through all that is to do before other connections have their turn.
const ROUNDS: usize = 8;

/// How a connection ended.
pub(super) enum Outcome {
    /// By what came over it, or did not.
    Ended(End),
    /// It was told to.
    Aborted,
    /// A head took too long.
    TooSlow,
}

/// A connection's streams.
pub(super) struct Session<'a, P, F> {
    connection: &'a Connection,
    peer: &'a Rc<Peer>,
    wire: &'a Rc<Wire>,
    pass: P,
    /// As many as there ever were streams at a time.
    places: Vec<Place<F>>,
    /// Memory of requests that are answered, for those that come.
    spare: Vec<Pin<Box<Option<F>>>>,
    /// Places that wait for room on the way out.
    parked: Vec<usize>,
    /// Whose turn it is.
    next: usize,
    /// How many wait for a window.
    blocked: usize,
    /// When windows were last looked after.
    looked: Instant,
    /// There has been a request.
    begun: bool,
}

/// One stream's place.
struct Place<F> {
    waker: Waker,
    stage: Stage<F>,
    under_way: Option<UnderWay>,
}

/// How far a stream is.
enum Stage<F> {
    Free,
    /// The gate has its request.
    Asking {
        passing: Pin<Box<Option<F>>>,
        is_head: bool,
    },
    /// There is an answer, and no room for it.
    Answered(Box<Response<Answer>>, bool),
    /// The answer's body is on its way.
    Sending(Sending),
}

impl<'a, P, F> Session<'a, P, F>
where
    P: Fn(request::Parts, Inbound) -> F,
    F: Future<Output = Response<Answer>>,
{
    /// None yet. `pass` begins with a request.
    pub(super) fn new(
        connection: &'a Connection,
        peer: &'a Rc<Peer>,
        wire: &'a Rc<Wire>,
        pass: P,
    ) -> Self {
        Self {
            connection,
            peer,
            wire,
            pass,
            places: Vec::new(),
            spare: Vec::new(),
            parked: Vec::new(),
            next: 0,
            blocked: 0,
            looked: connection.pulse.now(),
            begun: false,
        }
    }

    /// Works until there is nothing to do; ready at the connection's end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let pulse = &self.connection.pulse;
        pulse.wake_with(cx.waker());
        let ready = self.wire.ready().clone();
        ready.begin(cx.waker());
        match pulse.take_order() {
            Some(Order::Leave) => self.wire.leave(),
            Some(Order::Look) if self.wire.streams() == 0 => self.rest(),
            Some(Order::Look) | None => {}
            Some(Order::Ping) => self.wire.ping(),
            Some(Order::SlowHead) => return Poll::Ready(Outcome::TooSlow),
            Some(Order::Abort) => return Poll::Ready(Outcome::Aborted),
            Some(Order::Forget) => {
                self.wire.forget();
                return Poll::Ready(Outcome::Aborted);
            }
        }
        if self.blocked > 0 && self.take_untaken() {
            return Poll::Ready(Outcome::Aborted);
        }
        for _ in 0..ROUNDS {
            let again = match self.round(cx) {
                Ok(again) => again,
                Err(end) => return Poll::Ready(Outcome::Ended(end)),
            };
            if again {
                continue;
            }
            let can_rest = self.wire.streams() == 0 && !self.places.is_empty();
            pulse.watches(self.blocked > 0 || can_rest);
            if ready.end() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        ready.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, works and writes once; whether there is more to do at once.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let read = match self.wire.poll_read(cx) {
            Poll::Ready(read) => {
                self.connection.pulse.heard();
                self.after_reading();
                read?;
                true
            }
            Poll::Pending => false,
        };
        self.work()?;
        // What `Connection: close` is to an answer of HTTP/1.1.
        if self.begun && self.connection.leaving.get() {
            self.wire.leave();
        }
        let was_clogged = self.wire.is_clogged();
        let flushed = self.wire.poll_flush(cx)?.is_ready();
        if flushed && self.wire.is_done() {
            return Err(End::Done);
        }
        let has_room = self.wire.has_room();
        if has_room {
            for slot in self.parked.drain(..) {
                self.wire.ready().set(slot);
            }
        }
        Ok(read || (was_clogged && flushed) || self.wire.ready().any())
    }

    fn after_reading(&mut self) {
        while let Some(slot) = self.wire.take_cancelled() {
            self.let_go(slot);
            self.wire.free(slot);
        }
        for _ in 0..self.wire.take_malformed() {
            self.connection.gate.refuse(self.peer, Reason::Malformed);
        }
    }

    /// Looks at every stream that has something to do.
    fn work(&mut self) -> Result<(), End> {
        let first = self.next;
        self.work_from(first, usize::MAX)?;
        self.work_from(0, first)?;
        // Where there was no room for all, those who got none come first.
        self.next = self.parked.first().copied().unwrap_or(0);
        Ok(())
    }

    /// Looks at those of the places `from..to` that have something to do.
    fn work_from(&mut self, mut from: usize, to: usize) -> Result<(), End> {
        while let Some(slot) = self.wire.ready().next(from..to) {
            self.step(slot)?;
            from = slot + 1;
        }
        Ok(())
    }

    fn step(&mut self, slot: usize) -> Result<(), End> {
        if self.places.len() <= slot {
            for slot in self.places.len()..=slot {
                self.places.push(Place {
                    waker: self.wire.ready().waker(slot),
                    stage: Stage::Free,
                    under_way: None,
                });
            }
        }
        match std::mem::replace(&mut self.places[slot].stage, Stage::Free) {
            Stage::Free => self.begin(slot),
            Stage::Asking { passing, is_head } => self.ask(slot, passing, is_head),
            Stage::Answered(response, is_head) => self.answer(slot, *response, is_head),
            Stage::Sending(sending) => self.send(slot, sending),
        }
    }

    /// A request has come.
    fn begin(&mut self, slot: usize) -> Result<(), End> {
        let Some(opening) = self.wire.open(slot) else {
            return Ok(());
        };
        self.begun = true;
        self.places[slot].under_way = Some(self.connection.pulse.request());
        let head = match opening {
            Ok(head) => head,
            Err(TooLarge) => {
                self.connection
                    .gate
                    .refuse(self.peer, Reason::HeaderTooLarge);
                return self.answer(slot, refusal::answer(Reason::HeaderTooLarge), false);
            }
        };
        let is_head = head.parts.method == Method::HEAD;
        let body = Inbound::Http2(StreamBody::new(self.wire.clone(), slot));
        let request = (self.pass)(head.parts, body);
        let passing = match self.spare.pop() {
            Some(mut passing) => {
                passing.set(Some(request));
                passing
            }
            None => Box::pin(Some(request)),
        };
        self.ask(slot, passing, is_head)
    }

    fn ask(
        &mut self,
        slot: usize,
        mut passing: Pin<Box<Option<F>>>,
        is_head: bool,
    ) -> Result<(), End> {
        let mut cx = Context::from_waker(&self.places[slot].waker);
        let polled = match passing.as_mut().as_pin_mut() {
            Some(request) => request.poll(&mut cx),
            None => return Ok(()), // never: it was set
        };
        let Poll::Ready(response) = polled else {
            self.places[slot].stage = Stage::Asking { passing, is_head };
            return Ok(());
        };
        passing.set(None);
        self.spare.push(passing);
        self.answer(slot, response, is_head)
    }

    fn answer(
        &mut self,
        slot: usize,
        response: Response<Answer>,
        is_head: bool,
    ) -> Result<(), End> {
        if !self.wire.has_room() {
            self.places[slot].stage = Stage::Answered(Box::new(response), is_head);
            self.park(slot);
            return Ok(());
        }
        let (parts, answer) = response.into_parts();
        let told = parts.headers.contains_key(header::CONTENT_LENGTH);
        let bodiless = is_head || matches!(parts.status.as_u16(), 204 | 304);
        let length = match answer.size_hint().exact() {
            _ if told || bodiless => None,
            length => length,
        };
        let ends = answer.is_end_stream();
        self.wire.put_head(slot, &parts, length, ends);
        recycle(parts.headers);
        if ends {
            self.places[slot].under_way = None;
            return Ok(());
        }
        self.send(slot, Sending::new(answer))
    }

    /// Sends one frame of an answer's body, if there is one and it may be sent.
    fn send(&mut self, slot: usize, mut sending: Sending) -> Result<(), End> {
        let mut cx = Context::from_waker(&self.places[slot].waker);
        if !self.wire.has_room() {
            // A caller may read nothing before all of its request is taken.
            sending.answer.poll_upload(&mut cx);
            self.park(slot);
            return self.keep(slot, sending);
        }
        let window = self.wire.window(slot);
        if window == 0 && !sending.rest.is_empty() {
            sending.answer.poll_upload(&mut cx);
            sending.block(&mut self.blocked, true);
            return self.keep(slot, sending);
        }
        sending.block(&mut self.blocked, false);
        // Also where there is no window: an end and trailers need none.
        if sending.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut sending.answer).poll_frame(&mut cx) else {
                return self.keep(slot, sending);
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => sending.rest = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return self.end(slot, Some(trailers));
                    }
                },
                // What the caller has is not whole, and must not look so.
                Some(Err(_)) => {
                    self.let_go(slot);
                    self.wire.give_up(slot, Code::Internal);
                    return Ok(());
                }
                None => return self.end(slot, None),
            }
        }
        if window == 0 && !sending.rest.is_empty() {
            sending.block(&mut self.blocked, true);
            return self.keep(slot, sending);
        }
        let most = window.min(PAYLOAD_MOST);
        let piece = sending.rest.split_to(sending.rest.len().min(most));
        let ends = sending.rest.is_empty() && sending.answer.is_end_stream();
        if piece.is_empty() && !ends {
            self.wire.ready().set(slot);
            return self.keep(slot, sending);
        }
        let cut = !sending.rest.is_empty();
        self.wire.put_data(slot, &piece, cut, ends)?;
        sending.sent += piece.len() as u64;
        if ends {
            self.places[slot].under_way = None;
            return Ok(());
        }
        self.wire.ready().set(slot);
        self.keep(slot, sending)
    }

    fn end(&mut self, slot: usize, trailers: Option<HeaderMap>) -> Result<(), End> {
        match trailers {
            Some(trailers) => self.wire.put_trailers(slot, &trailers),
            None => self.wire.put_data(slot, b"", false, true)?,
        }
        self.places[slot].under_way = None;
        Ok(())
    }

    fn park(&mut self, slot: usize) {
        if !self.parked.contains(&slot) {
            self.parked.push(slot);
        }
    }

    fn keep(&mut self, slot: usize, sending: Sending) -> Result<(), End> {
        self.places[slot].stage = Stage::Sending(sending);
        Ok(())
    }

    /// Nobody works on a stream any more.
    fn let_go(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot) else {
            return;
        };
        match std::mem::replace(&mut place.stage, Stage::Free) {
            Stage::Asking { mut passing, .. } => {
                passing.set(None);
                self.spare.push(passing);
            }
            Stage::Sending(mut sending) => sending.block(&mut self.blocked, false),
            Stage::Free | Stage::Answered(..) => {}
        }
        self.places[slot].under_way = None;
        self.parked.retain(|parked| *parked != slot);
    }

    /// Takes away the answers for which the caller makes no room, or too little; whether nothing else is under way. Where
    /// the socket is full the whole connection is slow, and no stream is to blame.
    fn take_untaken(&mut self) -> bool {
        let pulse = &self.connection.pulse;
        let now = pulse.now();
        if self.looked == now {
            return false;
        }
        let looked = std::mem::replace(&mut self.looked, now);
        let is_full = pulse.signs().stuck.get();
        // Streams that wait share the connection: each needs its part of the rate. Nobody has looked while none waited.
        let waiting = u32::try_from(self.blocked.max(1)).unwrap_or(u32::MAX);
        let time = now.saturating_duration_since(looked).min(2 * SWEEP) / waiting;
        let (silence, rate) = (self.connection.terms.timeouts.idle, pulse.reading_rate());
        let mut untaken = Vec::new();
        for (slot, place) in self.places.iter_mut().enumerate() {
            let Stage::Sending(sending) = &mut place.stage else {
                continue;
            };
            if is_full {
                if let Some(since) = &mut sending.blocked {
                    *since = None;
                }
                continue;
            }
            if sending.is_untaken(now, time, silence, rate) {
                untaken.push(slot);
            }
        }
        for slot in &untaken {
            self.let_go(*slot);
            self.wire.give_up(*slot, Code::Cancel);
        }
        pulse.count(Reason::SlowReader, untaken.len());
        !untaken.is_empty() && !pulse.is_busy()
    }

    /// Gives up what an idle connection does not need.
    fn rest(&mut self) {
        self.spare = Vec::new();
        self.places = Vec::new();
        self.wire.rest();
    }
}
