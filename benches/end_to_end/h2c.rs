//! The client's half of an HTTP/2 connection by prior knowledge: just enough of RFC 9113 to ask and to count.

use std::time::Instant;

use crate::load::Round;

/// The preface; SETTINGS that open every stream's window as far as it goes; the connection's window likewise.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00";
/// After so many bytes of bodies the connection's window is opened again by as many.
const REFILL: usize = 1 << 30;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection and its streams.
pub(crate) struct Session {
    /// Streams that wait for their answer, and since when.
    under_way: Vec<(u32, Instant)>,
    next_stream: u32,
    /// A frame that has not arrived whole.
    pending: Vec<u8>,
    body_bytes: usize,
}

impl Session {
    /// Opens the connection.
    pub(crate) fn new(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(OPENING);
        Self {
            under_way: Vec::new(),
            next_stream: 1,
            pending: Vec::new(),
            body_bytes: 0,
        }
    }

    /// Whether an answer is awaited.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// How many answers are awaited.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Since when the oldest of them is awaited.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.under_way.iter().map(|(_, began)| *began).min()
    }

    /// Writes the next request on a stream of its own, unless the round is over.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, round: &mut Round) {
        if let Some(began) = round.begin() {
            frame(
                out,
                HEADERS,
                END_STREAM | END_HEADERS,
                self.next_stream,
                round.blocks.next(),
            );
            self.under_way.push((self.next_stream, began));
            self.next_stream += 2;
        }
    }

    /// Takes what has arrived; each answer that ended is followed by the next request.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        round: &mut Round,
    ) -> Result<(), String> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = &pending[..];
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            rest = after;
            self.frame(head[3], head[4], stream, payload, out, round)?;
        }
        let taken = pending.len() - rest.len();
        pending.drain(..taken);
        self.pending = pending;
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        round: &mut Round,
    ) -> Result<(), String> {
        match kind {
            HEADERS if !has_status_200(payload) => {
                return Err(format!("stream {stream} was not answered with 200"));
            }
            DATA => self.count(payload.len(), out),
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            RST_STREAM => {
                return Err(format!(
                    "stream {stream} was reset with code {}",
                    code(payload)
                ));
            }
            GOAWAY if self.is_under_way() => {
                return Err(format!(
                    "the connection goes away with code {}",
                    code(payload)
                ));
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            let place = self.under_way.iter().position(|(id, _)| *id == stream);
            let place = place
                .ok_or_else(|| format!("an answer on stream {stream} that nobody asked for"))?;
            let (_, began) = self.under_way.swap_remove(place);
            round.finish(began);
            self.begin(out, round);
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.body_bytes += bytes;
        if self.body_bytes >= REFILL {
            self.body_bytes -= REFILL;
            frame(out, WINDOW_UPDATE, 0, 0, &(REFILL as u32).to_be_bytes());
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len())
        .expect("frames of the load are short")
        .to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// `:status: 200` is number 8 of the static table and comes first, but for changes of the dynamic table's size.
fn has_status_200(block: &[u8]) -> bool {
    let mut rest = block;
    while let [first, after @ ..] = rest {
        if first & 0xe0 != 0x20 {
            return *first == 0x88;
        }
        rest = after;
        if first & 0x1f == 0x1f {
            // The size goes on until a byte without the top bit.
            let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
            rest = rest.get(more + 1..).unwrap_or_default();
        }
    }
    false
}

/// The error code at a frame's end: RST_STREAM has nothing else, GOAWAY has the last stream before it.
fn code(payload: &[u8]) -> u32 {
    let at = if payload.len() >= 8 { 4 } else { 0 };
    payload.get(at..at + 4).map_or(0, |code| {
        u32::from_be_bytes([code[0], code[1], code[2], code[3]])
    })
}
