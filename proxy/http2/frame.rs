//! Heads of frames (RFC 9113 §4.1), and the frames that we send. Nothing here keeps anything.

/// What a connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD: usize = 9;
/// The longest payload that we take, and that we send: everyone takes it (RFC 9113 §4.2).
pub const PAYLOAD_MOST: usize = 16 * 1024;
/// The largest number of a stream, and the largest window.
pub const MOST: u32 = 0x7fff_ffff;

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A part of a body.
    Data,
    /// A head, or trailers.
    Headers,
    /// Deprecated; read and forgotten.
    Priority,
    /// A stream is given up.
    Reset,
    /// What a side asks of the other.
    Settings,
    /// Never sent by a caller.
    PushPromise,
    /// Are you there?
    Ping,
    /// The connection ends.
    GoAway,
    /// More room.
    WindowUpdate,
    /// The rest of a head.
    Continuation,
    /// Something that is not spoken here.
    Unknown,
}

/// `END_STREAM` of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// `ACK` of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// `END_HEADERS`.
pub const END_HEADERS: u8 = 0x4;
/// `PADDED` of DATA and HEADERS.
pub const PADDED: u8 = 0x8;
/// `PRIORITY` of HEADERS.
pub const PRIORITY: u8 = 0x20;

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong.
    NoError = 0x0,
    /// What came is not HTTP/2, or not HTTP.
    Protocol = 0x1,
    /// We failed.
    Internal = 0x2,
    /// More came than there was room for.
    FlowControl = 0x3,
    /// A frame on a stream that was closed.
    StreamClosed = 0x5,
    /// A frame of a wrong size.
    FrameSize = 0x6,
    /// Not begun: may be asked again.
    RefusedStream = 0x7,
    /// No longer wanted.
    Cancel = 0x8,
    /// The state of the compression is lost.
    Compression = 0x9,
    /// Too much of what costs.
    EnhanceYourCalm = 0xb,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of its payload.
    pub length: usize,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// The head at the beginning of `bytes`, if it is whole.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: Kind::from(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MOST,
        })
    }

    /// Whether it has a flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl From<u8> for Kind {
    fn from(kind: u8) -> Self {
        match kind {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// The payload without its padding; `None` where there is more padding than payload.
pub fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    let length = rest.len().checked_sub(usize::from(*padding))?;
    rest.get(..length)
}

/// The number that `bytes` begins with, without the bit that is reserved.
pub fn number(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |b| u32::from_be_bytes(*b) & MOST)
}

/// Writes a frame's head.
#[inline]
pub fn head(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, length: usize) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind as u8, flags, s0, s1, s2, s3]);
}

/// Writes RST_STREAM.
pub fn reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    head(out, Kind::Reset, 0, stream, 4);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes WINDOW_UPDATE.
pub fn window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    head(out, Kind::WindowUpdate, 0, stream, 4);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Writes PING.
pub fn ping(out: &mut Vec<u8>, flags: u8, opaque: [u8; 8]) {
    head(out, Kind::Ping, flags, 0, 8);
    out.extend_from_slice(&opaque);
}

/// Writes GOAWAY: nothing of a stream above `last` was or will be looked at.
pub fn go_away(out: &mut Vec<u8>, last: u32, code: Code) {
    head(out, Kind::GoAway, 0, 0, 8);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes a field block with `write`, as HEADERS and, where it is long, CONTINUATION.
pub fn field_block(out: &mut Vec<u8>, stream: u32, end: bool, write: impl FnOnce(&mut Vec<u8>)) {
    let end = if end { END_STREAM } else { 0 };
    let start = out.len();
    head(out, Kind::Headers, end | END_HEADERS, stream, 0);
    write(out);
    let length = out.len() - start - HEAD;
    if length <= PAYLOAD_MOST {
        out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        return;
    }
    let block = out.split_off(start + HEAD);
    out.truncate(start);
    let mut pieces = block.chunks(PAYLOAD_MOST).enumerate().peekable();
    while let Some((n, piece)) = pieces.next() {
        let last = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        let (kind, flags) = match n {
            0 => (Kind::Headers, end | last),
            _ => (Kind::Continuation, last),
        };
        head(out, kind, flags, stream, piece.len());
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut out = Vec::new();
        head(&mut out, Kind::Continuation, END_HEADERS, 5, 70_000);
        let read = Head::parse(&out).expect("nine bytes");
        assert_eq!(
            (read.kind, read.flags, read.stream, read.length),
            (Kind::Continuation, END_HEADERS, 5, 70_000)
        );
        assert_eq!(Head::parse(&out[..8]), None);
        out[5] |= 0x80;
        assert_eq!(
            Head::parse(&out).map(|h| h.stream),
            Some(5),
            "the first bit is reserved"
        );
    }

    #[test]
    fn padding_is_never_more_than_there_is() {
        let padded = Head {
            length: 0,
            kind: Kind::Data,
            flags: PADDED,
            stream: 1,
        };
        assert_eq!(unpadded(padded, &[2, b'a', b'b', 0, 0]), Some(&b"ab"[..]));
        assert_eq!(unpadded(padded, &[2, 0, 0]), Some(&b""[..]));
        assert_eq!(unpadded(padded, &[3, 0, 0]), None);
        assert_eq!(unpadded(padded, &[]), None);
    }

    #[test]
    fn a_long_block_is_continued() {
        let mut out = Vec::new();
        let long = vec![7; 2 * PAYLOAD_MOST + 1];
        field_block(&mut out, 3, true, |out| out.extend_from_slice(&long));
        let (mut rest, mut kinds, mut whole) = (&out[..], Vec::new(), Vec::new());
        while let Some(head) = Head::parse(rest) {
            assert_eq!(head.stream, 3);
            kinds.push((head.kind, head.flags));
            whole.extend_from_slice(&rest[HEAD..HEAD + head.length]);
            rest = &rest[HEAD + head.length..];
        }
        assert_eq!(whole, long);
        assert_eq!(
            kinds,
            [
                (Kind::Headers, END_STREAM),
                (Kind::Continuation, 0),
                (Kind::Continuation, END_HEADERS)
            ]
        );
    }
}
