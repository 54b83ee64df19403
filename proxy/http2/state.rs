//! All that is known of a connection, and how its bytes become frames.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Buf as _;

use super::budget::Budget;
use super::flow::{Allowance, CONNECTION_WINDOW, Room};
use super::frame::{self, Code, HEAD, Head, Kind, PAYLOAD_MOST, PREFACE};
use super::hpack;
use super::incoming::Fault;
use super::outlet::Outlet;
use super::ready::Ready;
use super::settings::{self, Bounds, Theirs};
use super::streams::Streams;
use crate::http1::inlet::Inlet;
use crate::transport::socket::Socket;

/// What a ping says that asks whether a caller has heard that we leave.
pub(super) const LEAVING: [u8; 8] = *b"leaving!";
/// What a ping says that asks whether anybody is there.
pub(super) const ANYBODY: [u8; 8] = *b"anybody?";
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) socket: Socket,
    pub(super) inlet: Inlet,
    begun: Begun,
    pub(super) outlet: Outlet,
    pub(super) decoder: hpack::Decoder,
    pub(super) bounds: Bounds,
    pub(super) theirs: Theirs,
    /// What may be sent of all bodies.
    pub(super) room: Room,
    /// What may come of all bodies.
    pub(super) allowance: Allowance,
    pub(super) streams: Streams,
    pub(super) budget: Budget,
    pub(super) ready: Arc<Ready>,
    /// A field block that goes on in the next frame.
    pub(super) block: Option<OpenBlock>,
    /// Places whose streams are over while somebody works on them.
    pub(super) cancelled: Vec<usize>,
    /// Requests that were none, since somebody asked.
    pub(super) malformed: usize,
    pub(super) leaving: Leaving,
    /// The caller will ask nothing more.
    pub(super) parting: bool,
}

/// A field block that is not whole.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream: u32,
    pub(super) ends: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Nothing,
    Preface,
    Settings,
}

/// How far our leaving is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The caller was told that we leave, and asked to say that it has heard.
    Asked,
    /// It was told which request was the last.
    Said,
}

/// Why a connection ends.
#[derive(Debug)]
pub enum End {
    /// The caller is done, or gone.
    Closed,
    /// All that was to be done is done, after one side said that it leaves.
    Done,
    /// The connection broke.
    Broken(io::Error),
    /// What came is no HTTP/2.
    Wrong(Code),
    /// Too much of what costs.
    Flood,
}

impl Inner {
    /// A connection over `socket`, which begins with our settings.
    pub(super) fn new(socket: Socket, inlet: Inlet, bounds: Bounds, ready: Arc<Ready>) -> Self {
        let mut outlet = Outlet::default();
        settings::ours(outlet.buffer(), bounds);
        Self {
            socket,
            inlet,
            begun: Begun::Nothing,
            outlet,
            decoder: hpack::Decoder::default(),
            bounds,
            theirs: Theirs::default(),
            room: Room::new(Theirs::default().window),
            allowance: Allowance::new(CONNECTION_WINDOW),
            streams: Streams::new(bounds.streams),
            budget: Budget::new(Instant::now()),
            ready,
            block: None,
            cancelled: Vec::new(),
            malformed: 0,
            leaving: Leaving::No,
            parting: false,
        }
    }

    /// Takes the frames that are whole; how many bytes they were.
    pub(super) fn take_frames(&mut self) -> Result<usize, End> {
        let mut buffer = std::mem::take(&mut self.inlet.buffer);
        let taken = self.take_from(&buffer);
        if let Ok(taken) = taken {
            buffer.advance(taken);
        }
        self.inlet.buffer = buffer;
        taken.map_err(|fault| match fault {
            Fault::Connection(code) => End::Wrong(code),
            Fault::Stream(_, code) => End::Wrong(code), // never: it ends in the stream
            Fault::Flood => End::Flood,
        })
    }

    fn take_from(&mut self, buffer: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        if self.begun == Begun::Nothing {
            let seen = buffer.len().min(PREFACE.len());
            if buffer[..seen] != PREFACE[..seen] {
                return Err(Fault::Connection(Code::Protocol));
            }
            if seen < PREFACE.len() {
                return Ok(0);
            }
            self.begun = Begun::Preface;
            at = seen;
        }
        // Places may be needed that are being taken away, and answers to questions have to leave.
        while self.cancelled.is_empty() && !self.outlet.is_clogged() {
            let rest = &buffer[at..];
            let Some(head) = Head::parse(rest) else {
                break;
            };
            if head.length > PAYLOAD_MOST {
                return Err(Fault::Connection(Code::FrameSize));
            }
            if self.begun == Begun::Preface {
                if head.kind != Kind::Settings || head.has(frame::ACK) {
                    return Err(Fault::Connection(Code::Protocol));
                }
                self.begun = Begun::Settings;
            }
            let Some(payload) = rest.get(HEAD..HEAD + head.length) else {
                break;
            };
            self.frame(head, payload)?;
            at += HEAD + head.length;
        }
        Ok(at)
    }

    /// Whether a head is on its way.
    pub(super) fn is_in_head(&self) -> bool {
        let partial = Head::parse(&self.inlet.buffer);
        self.block.is_some()
            // What a connection begins with is as long in coming as a head may be.
            || self.begun != Begun::Settings
            || partial.is_some_and(|head| head.kind == Kind::Headers)
    }

    /// Tells the caller which request was the last.
    pub(super) fn say_last(&mut self) {
        self.leaving = Leaving::Said;
        let last = self.streams.last();
        frame::go_away(self.outlet.buffer(), last, Code::NoError);
    }
}
