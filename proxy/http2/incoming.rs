//! What each frame of a caller does (RFC 9113 §5.1, §6). What breaks the protocol ends its stream, or the connection.

use super::budget::{Cost, Earned, Spent};
use super::flow::Overflow;
use super::frame::{self, ACK, Code, END_HEADERS, END_STREAM, Head, Kind, PRIORITY};
use super::head::{Block, Gathering, HeadError};
use super::hpack::decoder::Nobody;
use super::hpack::{DecodeError, Sink};
use super::state::{Inner, LEAVING, Leaving, OpenBlock};
use super::streams::{Place, TooLarge};

/// What a field block may have in bytes, packed and unpacked, beyond what its request's fields may have: somebody who is a
/// little over the bound is told so, and of somebody who is far over it nothing more is wanted.
pub(super) const BLOCK_SLACK: usize = 16 * 1024;

/// What a frame broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection.
    Connection(Code),
    /// Its stream.
    Stream(u32, Code),
    /// There is too much of what costs.
    Flood,
}

impl From<Spent> for Fault {
    fn from(_: Spent) -> Self {
        Self::Flood
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Corrupt(_) => Self::Connection(Code::Compression),
            DecodeError::TooMuch => Self::Flood,
        }
    }
}

const PROTOCOL: Fault = Fault::Connection(Code::Protocol);
const FRAME_SIZE: Fault = Fault::Connection(Code::FrameSize);

impl Inner {
    /// Takes one frame. Faults of streams end here.
    pub(super) fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if let Some(open) = &self.block
            && (head.kind != Kind::Continuation || head.stream != open.stream)
        {
            return Err(PROTOCOL);
        }
        let taken = match head.kind {
            Kind::Data => self.data(head, payload),
            Kind::Headers => self.headers(head, payload),
            Kind::Continuation => self.continuation(head, payload),
            Kind::Reset => self.reset_by_caller(head, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::Ping => self.ping(head, payload),
            Kind::WindowUpdate => self.window_update(head, payload),
            Kind::GoAway => self.go_away(head, payload),
            Kind::Priority => self.priority(head, payload),
            Kind::PushPromise => Err(PROTOCOL),
            Kind::Unknown => Ok(self.budget.pay(Cost::Trifle)?),
        };
        match taken {
            Err(Fault::Stream(id, code)) => {
                self.budget.pay(Cost::Fault)?;
                self.reset(id, code);
                Ok(())
            }
            taken => taken,
        }
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(PROTOCOL);
        }
        let data = frame::unpadded(head, payload).ok_or(PROTOCOL)?;
        self.allowance
            .came(payload.len())
            .map_err(|Overflow| Fault::Connection(Code::FlowControl))?;
        let slot = match self.streams.place(head.stream) {
            Place::Open(slot) => slot,
            Place::Idle | Place::Skipped => return Err(PROTOCOL),
            Place::GivenUp => {
                self.give_back(payload.len());
                self.budget.pay(Cost::Trifle)?;
                return Ok(());
            }
            Place::Closed => {
                self.give_back(payload.len());
                return Err(Fault::Stream(head.stream, Code::StreamClosed));
            }
        };
        let ends = head.has(END_STREAM);
        let stream = self.streams.at(slot);
        let fault = |code| Err(Fault::Stream(head.stream, code));
        let fits = if stream.ended {
            fault(Code::StreamClosed)
        } else if stream.allowance.came(payload.len()).is_err() {
            fault(Code::FlowControl)
        } else {
            match stream.left.map(|left| left.checked_sub(data.len() as u64)) {
                // More than it said, or less (RFC 9113 §8.1.1).
                Some(None) => fault(Code::Protocol),
                Some(Some(1..)) if ends => fault(Code::Protocol),
                left => {
                    stream.left = left.flatten();
                    Ok(())
                }
            }
        };
        if fits.is_err() {
            self.give_back(payload.len());
            return fits;
        }
        stream.ended = ends;
        stream.expects = false;
        let kept = if stream.wanted {
            stream.body.extend_from_slice(data);
            data.len()
        } else {
            0
        };
        if stream.readable() > 0 || ends {
            stream.wake_reader();
        }
        // Padding is read at once, and so is what nobody wants.
        let wanted = stream.wanted;
        let read = payload.len() - kept;
        if read > 0 && wanted {
            self.body_read(slot, read);
        } else {
            self.give_back(read);
        }
        if data.is_empty() && !ends {
            self.budget.pay(Cost::Waste)?;
        }
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut fragment = frame::unpadded(head, payload).ok_or(PROTOCOL)?;
        let mut depends_on_itself = false;
        if head.has(PRIORITY) {
            let (priority, rest) = fragment.split_at_checked(5).ok_or(FRAME_SIZE)?;
            depends_on_itself = frame::number(priority) == head.stream;
            fragment = rest;
        }
        let block = OpenBlock {
            stream: head.stream,
            ends: head.has(END_STREAM),
            depends_on_itself,
            bytes: Vec::new(),
        };
        if head.has(END_HEADERS) {
            return self.whole_block(&block, fragment);
        }
        self.block = Some(OpenBlock {
            bytes: fragment.to_vec(),
            ..block
        });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(open) = &mut self.block else {
            return Err(PROTOCOL);
        };
        let ends = head.has(END_HEADERS);
        self.budget.pay(if payload.is_empty() && !ends {
            Cost::Fault
        } else {
            Cost::Sliver
        })?;
        if open.bytes.len() + payload.len() > self.bounds.bytes + BLOCK_SLACK {
            return Err(Fault::Flood);
        }
        open.bytes.extend_from_slice(payload);
        if !ends {
            return Ok(());
        }
        let Some(block) = self.block.take() else {
            return Err(PROTOCOL);
        };
        self.whole_block(&block, &block.bytes)
    }

    fn whole_block(&mut self, block: &OpenBlock, bytes: &[u8]) -> Result<(), Fault> {
        match self.streams.place(block.stream) {
            Place::Idle => self.begin(block, bytes),
            Place::Open(slot) => self.trailers(block, slot, bytes),
            Place::GivenUp => {
                self.budget.pay(Cost::Trifle)?;
                self.decode(bytes, &mut Nobody)
            }
            Place::Closed => Err(Fault::Connection(Code::StreamClosed)),
            Place::Skipped => Err(PROTOCOL),
        }
    }

    fn decode(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), Fault> {
        let most = self.bounds.bytes + BLOCK_SLACK;
        Ok(self.decoder.decode(bytes, most, sink)?)
    }

    /// A request.
    fn begin(&mut self, block: &OpenBlock, bytes: &[u8]) -> Result<(), Fault> {
        let id = block.stream;
        self.streams.note(id);
        if self.leaving == Leaving::Said {
            // It was told which was the last one.
            self.budget.pay(Cost::Waste)?;
            self.streams.give_up(id);
            return self.decode(bytes, &mut Nobody);
        }
        if block.depends_on_itself {
            self.decode(bytes, &mut Nobody)?;
            return Err(Fault::Stream(id, Code::Protocol));
        }
        if !self.streams.have_room() {
            self.decode(bytes, &mut Nobody)?;
            self.budget.pay(Cost::Waste)?;
            self.reset(id, Code::RefusedStream);
            return Ok(());
        }
        let mut gathering = Gathering::new(Block::Head, self.bounds);
        self.decode(bytes, &mut gathering)?;
        let opening = match gathering.request(block.ends) {
            Ok(head) => Ok(head),
            Err(HeadError::TooLarge) => Err(TooLarge),
            Err(HeadError::Malformed) => {
                self.malformed += 1;
                return Err(Fault::Stream(id, Code::Protocol));
            }
        };
        let slot = self
            .streams
            .open(id, opening, self.theirs.window, block.ends);
        self.ready.set(slot);
        Ok(())
    }

    fn trailers(&mut self, block: &OpenBlock, slot: usize, bytes: &[u8]) -> Result<(), Fault> {
        let fault = |code| Err(Fault::Stream(block.stream, code));
        let mut gathering = Gathering::new(Block::Trailers, self.bounds);
        self.decode(bytes, &mut gathering)?;
        let stream = self.streams.at(slot);
        if stream.ended {
            return fault(Code::StreamClosed);
        }
        let short = stream.left.is_some_and(|left| left > 0);
        match gathering.trailers() {
            Ok(trailers) if block.ends && !short && !block.depends_on_itself => {
                stream.ended = true;
                stream.trailers = Some(trailers).filter(|t| stream.wanted && !t.is_empty());
                stream.wake_reader();
                Ok(())
            }
            Err(HeadError::TooLarge) => fault(Code::EnhanceYourCalm),
            _ => fault(Code::Protocol),
        }
    }

    fn reset_by_caller(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(FRAME_SIZE);
        }
        match self.streams.place(head.stream) {
            Place::Open(slot) => {
                self.budget.pay(Cost::Waste)?;
                self.cancel(slot);
            }
            Place::Idle | Place::Skipped => return Err(PROTOCOL),
            Place::GivenUp | Place::Closed => self.budget.pay(Cost::Trifle)?,
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if head.has(ACK) {
            if !payload.is_empty() {
                return Err(FRAME_SIZE);
            }
            return Ok(self.budget.pay(Cost::Trifle)?);
        }
        self.budget.pay(Cost::Fault)?;
        let before = self.theirs.window;
        self.theirs.take(payload).map_err(Fault::Connection)?;
        let by = i64::from(self.theirs.window) - i64::from(before);
        if by != 0 {
            for slot in self.streams.slots().collect::<Vec<_>>() {
                let changed = self.streams.at(slot).room.change(by);
                changed.map_err(|Overflow| Fault::Connection(Code::FlowControl))?;
                self.ready.set(slot);
            }
        }
        self.outlet
            .reply(|out| frame::head(out, Kind::Settings, ACK, 0, 0));
        Ok(())
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        let opaque = *payload
            .first_chunk::<8>()
            .filter(|_| payload.len() == 8)
            .ok_or(FRAME_SIZE)?;
        self.budget.pay(Cost::Trifle)?;
        if !head.has(ACK) {
            self.outlet.reply(|out| frame::ping(out, ACK, opaque));
        } else if opaque == LEAVING && self.leaving == Leaving::Asked {
            self.say_last();
        }
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(FRAME_SIZE);
        }
        self.budget.pay(Cost::Trifle)?;
        let more = i64::from(frame::number(payload));
        if head.stream == 0 {
            if more == 0 {
                return Err(PROTOCOL);
            }
            let was_shut = self.room.bytes() == 0;
            self.room
                .change(more)
                .map_err(|Overflow| Fault::Connection(Code::FlowControl))?;
            if was_shut {
                for slot in self.streams.slots() {
                    self.ready.set(slot);
                }
            }
            return Ok(());
        }
        match self.streams.place(head.stream) {
            Place::Open(slot) => {
                let room = &mut self.streams.at(slot).room;
                if more == 0 {
                    return Err(Fault::Stream(head.stream, Code::Protocol));
                }
                room.change(more)
                    .map_err(|Overflow| Fault::Stream(head.stream, Code::FlowControl))?;
                self.ready.set(slot);
                Ok(())
            }
            Place::Idle | Place::Skipped => Err(PROTOCOL),
            Place::GivenUp | Place::Closed => Ok(()),
        }
    }

    fn go_away(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if payload.len() < 8 {
            return Err(FRAME_SIZE);
        }
        self.budget.pay(Cost::Trifle)?;
        self.parting = true;
        Ok(())
    }

    fn priority(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(PROTOCOL);
        }
        self.budget.pay(Cost::Trifle)?;
        let code = if payload.len() != 5 {
            Code::FrameSize
        } else if frame::number(payload) == head.stream {
            Code::Protocol
        } else {
            return Ok(());
        };
        Err(match self.streams.place(head.stream) {
            // A stream that has not begun cannot be reset (RFC 9113 §6.4).
            Place::Idle | Place::Skipped => Fault::Connection(code),
            Place::Open(_) | Place::GivenUp | Place::Closed => Fault::Stream(head.stream, code),
        })
    }

    /// So much of all bodies was read, or thrown away.
    pub(super) fn give_back(&mut self, bytes: usize) -> bool {
        let Some(more) = self.allowance.read(bytes) else {
            return false;
        };
        let out = self.outlet.buffer();
        frame::window_update(out, 0, more);
        true
    }

    /// So much of a stream's body was read; whether there is something to send by that.
    pub(super) fn body_read(&mut self, slot: usize, bytes: usize) -> bool {
        let mut told = self.give_back(bytes);
        let stream = self.streams.at(slot);
        if !stream.ended
            && let Some(more) = stream.allowance.read(bytes)
        {
            let id = stream.id;
            frame::window_update(self.outlet.buffer(), id, more);
            told = true;
        }
        told
    }

    /// Ends a stream, and says so.
    pub(super) fn reset(&mut self, id: u32, code: Code) {
        self.outlet.reply(|out| frame::reset(out, id, code));
        if let Place::Open(slot) = self.streams.place(id) {
            // What the gate has heard of is counted there.
            let unheard = !self.streams.at(slot).started;
            self.malformed += usize::from(unheard && code == Code::Protocol);
            self.cancel(slot);
        }
        if self.streams.place(id) != Place::GivenUp {
            self.streams.give_up(id);
        }
    }

    /// A stream is over before it was answered.
    pub(super) fn cancel(&mut self, slot: usize) {
        let started = self.streams.at(slot).started;
        let held = self.streams.close(slot);
        self.give_back(held);
        if started {
            self.cancelled.push(slot);
        } else {
            // It came and went in one look: nobody has heard of it.
            self.ready.clear(slot);
            self.streams.free(slot);
        }
    }

    /// A stream was answered to its end.
    pub(super) fn answered(&mut self, slot: usize) {
        let stream = self.streams.at(slot);
        let (id, ended) = (stream.id, stream.ended);
        if !ended {
            // What is left of the request is not wanted (RFC 9113 §8.1).
            frame::reset(self.outlet.buffer(), id, Code::NoError);
            self.streams.give_up(id);
        }
        let held = self.streams.close(slot);
        self.give_back(held);
        self.streams.free(slot);
        self.budget.earn(Earned::Answer);
    }
}
