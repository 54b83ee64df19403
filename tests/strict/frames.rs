//! HTTP/2 written frame by frame, so that anything may stand anywhere; what comes back, frame by frame.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// How long a refusal or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HPACK literals without indexing and without Huffman: any byte may stand anywhere. Texts are Latin-1.
pub fn literals<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
            integer(&mut block, 0, 7, bytes.len());
            block.extend(bytes);
        }
    }
    block
}

/// An integer of HPACK with a prefix of so many bits (RFC 7541 §5.1).
pub fn integer(block: &mut Vec<u8>, first: u8, bits: u32, mut n: usize) {
    let most = (1 << bits) - 1;
    if n < most {
        block.push(first | n as u8);
        return;
    }
    block.push(first | most as u8);
    n -= most;
    while n >= 128 {
        block.push((n % 128 + 128) as u8);
        n /= 128;
    }
    block.push(n as u8);
}

/// The pseudo fields of a request.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "t"),
    ]
}

/// What became of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Heard {
    pub status: Option<u16>,
    /// The error of a RST_STREAM of its stream.
    pub reset: Option<u32>,
    /// The error of a GOAWAY.
    pub goaway: Option<u32>,
    /// The connection ended.
    pub closed: bool,
    pub body: Vec<u8>,
}

impl Heard {
    /// Refused in one of the ways that HTTP/2 knows, or with a status of the caller's fault.
    pub fn is_refused(&self) -> bool {
        let by_status = self
            .status
            .is_some_and(|status| (400..500).contains(&status) || status == 501);
        let by_frame = self.reset.is_some() || self.goaway.is_some_and(|code| code != 0);
        by_status || (self.status.is_none() && (by_frame || self.closed))
    }
}

/// A connection.
pub struct Frames {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    pub closed: bool,
}

impl Frames {
    /// With the preface and empty settings said.
    pub fn open(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    pub fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut frames = Self {
            stream,
            buffer: Vec::new(),
            closed: false,
        };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(&frame(SETTINGS, 0, 0, &payload));
        frames
    }

    /// Whether all of it was taken within half a second.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A request; `end` says that it has no body.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> bool {
        let block = literals(fields.iter().copied());
        self.block(stream, &block, end)
    }

    /// A header block, split where it is longer than a frame.
    pub fn block(&mut self, stream: u32, block: &[u8], end: bool) -> bool {
        let mut out = Vec::new();
        let mut pieces = block.chunks(16_384).enumerate().peekable();
        while let Some((n, piece)) = pieces.next() {
            let last = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            let (kind, flags) = if n == 0 {
                (HEADERS, last | u8::from(end))
            } else {
                (CONTINUATION, last)
            };
            out.extend(frame(kind, flags, stream, piece));
        }
        self.send(&out)
    }

    /// The next frame that is not about the connection's upkeep; settings and pings are answered.
    pub fn next(&mut self, within: Duration) -> Option<(u8, u8, u32, Vec<u8>)> {
        let start = Instant::now();
        loop {
            while let Some((kind, flags, stream, payload)) = self.take() {
                match kind {
                    SETTINGS | PING if flags & 1 == 0 => {
                        let answer: &[u8] = if kind == PING { &payload } else { b"" };
                        self.send(&frame(kind, 1, 0, answer));
                    }
                    SETTINGS | PING | WINDOW_UPDATE => {}
                    _ => return Some((kind, flags, stream, payload)),
                }
            }
            if self.closed || start.elapsed() > within {
                return None;
            }
            let mut piece = [0; 65_536];
            match self.stream.read(&mut piece) {
                Ok(0) => self.closed = true,
                Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.closed = true,
            }
        }
    }

    fn take(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.buffer.get(..9)?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        if self.buffer.len() < 9 + size {
            return None;
        }
        let payload = self.buffer.drain(..9 + size).skip(9).collect();
        Some((kind, flags, stream, payload))
    }

    /// What becomes of a request, to its end; the body is taken as fast as it comes.
    pub fn hear(&mut self, stream: u32) -> Heard {
        let (mut heard, start) = (Heard::default(), Instant::now());
        while start.elapsed() < PATIENCE {
            let Some((kind, flags, of, payload)) = self.next(Duration::from_millis(200)) else {
                if self.closed {
                    heard.closed = true;
                    return heard;
                }
                continue;
            };
            match kind {
                HEADERS if of == stream => {
                    let status = status(&payload).filter(|status| *status >= 200);
                    heard.status = heard.status.or(status);
                }
                DATA if of == stream => {
                    let room = (payload.len() as u32).to_be_bytes();
                    if !payload.is_empty() {
                        self.send(&frame(WINDOW_UPDATE, 0, 0, &room));
                        self.send(&frame(WINDOW_UPDATE, 0, stream, &room));
                    }
                    heard.body.extend(payload);
                }
                RST_STREAM if of == stream => {
                    heard.reset = Some(word(&payload, 0));
                    return heard;
                }
                GOAWAY => {
                    heard.goaway = Some(word(&payload, 4));
                    if heard.goaway != Some(0) {
                        return heard;
                    }
                }
                _ => {}
            }
            if of == stream && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return heard;
            }
        }
        heard
    }

    /// Whether the peer ends the connection, by GOAWAY with an error or by closing, within this time.
    pub fn is_ended_within(&mut self, within: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < within {
            match self.next(Duration::from_millis(100)) {
                Some((GOAWAY, _, _, payload)) if word(&payload, 4) != 0 => return true,
                None if self.closed => return true,
                _ => {}
            }
        }
        false
    }
}

fn word(payload: &[u8], at: usize) -> u32 {
    payload
        .get(at..at + 4)
        .map_or(u32::MAX, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// The `:status` of a connection's first header block: it is the first field of every answer.
pub fn status(block: &[u8]) -> Option<u16> {
    // A change of the table's size may stand before it.
    let mut block = block;
    while block.first().is_some_and(|b| b & 0xe0 == 0x20) {
        block = &block[1..];
    }
    let first = *block.first()?;
    if let 0x88..=0x8e = first {
        return Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]);
    }
    if !matches!(first, 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e) {
        return None;
    }
    let size = usize::from(block.get(1)? & 0x7f);
    let text = block.get(2..2 + size)?;
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    digits(text)
}

/// Three digits in the Huffman code of HPACK: 0, 1 and 2 have five bits, the others six.
fn digits(text: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let value = |n: usize| {
            bits.get(at..at + n)
                .map(|b| b.iter().fold(0_u16, |v, bit| v << 1 | u16::from(*bit)))
        };
        let five = value(5)?;
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            let six = value(6)?;
            at += 6;
            six.checked_sub(0b01_1001)? + 3
        };
        number = number * 10 + digit;
    }
    Some(number)
}
