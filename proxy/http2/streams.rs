//! What is open. A stream has a place of its own, which the next one takes over when it is gone; there are as many places
//! as there may be streams, and what a stream may hold is bounded.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::BytesMut;
use http::HeaderMap;

use super::flow::{Allowance, Room, STREAM_WINDOW};
use super::head::RequestHead;

/// Streams that we gave up and whose caller may not know it yet: what still comes of them means nothing. Older ones are
/// forgotten, and what comes of them is an error.
const GIVEN_UP_MOST: usize = 256;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// Its number; 0 where the place is free, or what was here is being taken away.
    pub id: u32,
    /// What it asks, until somebody begins with it.
    pub opening: Option<Opening>,
    /// Somebody has.
    pub started: bool,
    /// How much may be sent.
    pub room: Room,
    /// How much may come.
    pub allowance: Allowance,
    /// What came of the body and was not read.
    pub body: BytesMut,
    /// What came behind it.
    pub trailers: Option<HeaderMap>,
    /// Nothing more comes.
    pub ended: bool,
    /// Somebody will read the body.
    pub wanted: bool,
    /// The body comes only after it was asked for.
    pub expects: bool,
    /// What must still come of a body that said how long it is.
    pub left: Option<u64>,
    /// Who reads the body and waits for it.
    pub reader: Option<Waker>,
}

/// What a stream begins with: a request, or one whose head is over a bound.
pub type Opening = Result<RequestHead, TooLarge>;

/// A head is over a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Where a number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Open, here.
    Open(usize),
    /// Not begun.
    Idle,
    /// Given up by us: its caller may not know.
    GivenUp,
    /// It has been, and is over.
    Closed,
    /// Left out, and with that never to be.
    Skipped,
}

/// All streams of a connection.
#[derive(Debug)]
pub struct Streams {
    slots: Vec<Stream>,
    free: Vec<usize>,
    /// Number and place, by number: they only rise.
    open: Vec<(u32, usize)>,
    most: usize,
    /// The highest number there was.
    last: u32,
    /// The numbers that were left out last: above the first, below the second.
    gap: (u32, u32),
    given_up: VecDeque<u32>,
}

impl Streams {
    /// None, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            most,
            last: 0,
            gap: (0, 0),
            given_up: VecDeque::new(),
        }
    }

    /// Where a stream is.
    pub fn place(&self, id: u32) -> Place {
        if id > self.last {
            return Place::Idle;
        }
        match self.open.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => Place::Open(self.open[at].1),
            Err(_) if self.given_up.contains(&id) => Place::GivenUp,
            Err(_) if id.is_multiple_of(2) => Place::Idle,
            Err(_) if self.gap.0 < id && id < self.gap.1 => Place::Skipped,
            Err(_) => Place::Closed,
        }
    }

    /// Notes a number that a stream begins with, whatever becomes of it.
    pub fn note(&mut self, id: u32) {
        if id > self.last + 2 {
            self.gap = (self.last, id);
        }
        self.last = id;
    }

    /// The highest number there was.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Whether another one may be opened.
    pub fn have_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.most
    }

    /// Opens one. Only where there is room.
    pub fn open(&mut self, id: u32, opening: Opening, window: u32, ended: bool) -> usize {
        let head = opening.as_ref().ok();
        let left = head.and_then(|head| head.length);
        let expects = !ended && head.is_some_and(RequestHead::expects);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::nothing());
            self.slots.len() - 1
        });
        let stream = &mut self.slots[slot];
        stream.id = id;
        stream.opening = Some(opening);
        stream.room = Room::new(window);
        stream.ended = ended;
        stream.wanted = true;
        stream.expects = expects;
        stream.left = left;
        self.open.push((id, slot));
        slot
    }

    /// What a stream begins with. Whoever asks may have been woken for one that is long gone.
    pub fn take_opening(&mut self, slot: usize) -> Option<Opening> {
        self.slots.get_mut(slot)?.opening.take()
    }

    /// Takes a stream's number away. Its place stays taken until it is [freed](Self::free). What it held of its body is
    /// returned.
    pub fn close(&mut self, slot: usize) -> usize {
        let stream = &mut self.slots[slot];
        let id = std::mem::take(&mut stream.id);
        let held = stream.body.len();
        // Reset by hand: what is large is given up, and nothing is made anew.
        stream.opening = None;
        stream.body = BytesMut::new();
        stream.trailers = None;
        stream.wanted = false;
        stream.allowance = Allowance::new(STREAM_WINDOW);
        if let Some(reader) = stream.reader.take() {
            reader.wake();
        }
        if let Ok(at) = self.open.binary_search_by_key(&id, |(id, _)| *id) {
            self.open.remove(at);
        }
        held
    }

    /// Frees the place of a stream that was closed.
    pub fn free(&mut self, slot: usize) {
        self.slots[slot].started = false;
        self.free.push(slot);
    }

    /// We gave it up; its caller may not know.
    pub fn give_up(&mut self, id: u32) {
        if self.given_up.len() == GIVEN_UP_MOST {
            self.given_up.pop_front();
        }
        self.given_up.push_back(id);
    }

    /// The stream in a place.
    #[inline]
    pub fn at(&mut self, slot: usize) -> &mut Stream {
        &mut self.slots[slot]
    }

    /// The same, where it is still this one.
    #[inline]
    pub fn get(&mut self, slot: usize, id: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot).filter(|stream| stream.id == id)
    }

    /// Places of what is open.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        self.open.iter().map(|(_, slot)| *slot)
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Gives up what an idle connection does not need.
    pub fn rest(&mut self) {
        if self.free.len() == self.slots.len() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.open = Vec::new();
        }
    }
}

impl Stream {
    fn nothing() -> Self {
        Self {
            id: 0,
            opening: None,
            started: false,
            room: Room::new(0),
            allowance: Allowance::new(STREAM_WINDOW),
            body: BytesMut::new(),
            trailers: None,
            ended: false,
            wanted: false,
            expects: false,
            left: None,
            reader: None,
        }
    }

    /// Whoever waits for the body is to look.
    pub fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Bytes of the body that may be read. The last of a body that said how long it is stays until nothing can follow it:
    /// or a request would be whole for its version that is not for its caller.
    pub fn readable(&self) -> usize {
        let held_back = usize::from(self.left == Some(0) && !self.ended);
        self.body.len().saturating_sub(held_back)
    }

    /// Whether nothing of the body is left to read.
    pub fn is_read(&self) -> bool {
        self.ended && self.body.is_empty() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(streams: &mut Streams, id: u32) -> usize {
        streams.note(id);
        streams.open(id, Err(TooLarge), 10, false)
    }

    #[test]
    fn a_number_is_where_it_was_left() {
        let mut streams = Streams::new(3);
        assert_eq!(streams.place(1), Place::Idle);
        let one = open(&mut streams, 1);
        open(&mut streams, 7);
        assert_eq!(streams.place(1), Place::Open(one));
        assert_eq!(streams.place(3), Place::Skipped);
        assert_eq!(streams.place(2), Place::Idle);
        assert_eq!(streams.place(9), Place::Idle);
        streams.close(one);
        assert_eq!(streams.place(1), Place::Closed);
        streams.give_up(1);
        assert_eq!(streams.place(1), Place::GivenUp);
        assert_eq!(streams.count(), 1);
    }

    #[test]
    fn a_place_is_taken_until_it_is_free() {
        let mut streams = Streams::new(2);
        let (one, _) = (open(&mut streams, 1), open(&mut streams, 3));
        assert!(!streams.have_room());
        streams.close(one);
        assert!(!streams.have_room(), "whoever worked on it is not done");
        streams.free(one);
        assert_eq!(open(&mut streams, 5), one);
    }

    #[test]
    fn what_was_given_up_is_remembered_for_a_while() {
        let mut streams = Streams::new(1);
        for id in 0..1000 {
            streams.note(2 * id + 1);
            streams.give_up(2 * id + 1);
        }
        assert_eq!(streams.place(1999), Place::GivenUp);
        assert_eq!(streams.place(1), Place::Closed);
        assert_eq!(streams.given_up.len(), GIVEN_UP_MOST);
    }
}
