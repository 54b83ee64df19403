use std::collections::BTreeMap;

use super::letter;
use super::world::{BETWEEN, Script, World, moves};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames that the proxy may send without being told that it may send longer ones.
const FRAME_MOST: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// An HTTP/2 connection through the whole proxy. What stands before the first 0x1d says what the caller sends, after its
/// preface; what stands between the others are the version's answers, as in `exchange`.
///
/// The caller's part is read as a list of choices, one letter each, with its arguments; see [`Frames::next`]. Whatever is
/// not one of the letters is sent as it is.
pub(super) fn run(input: &[u8]) {
    let mut parts = input.split(|b| *b == BETWEEN);
    let frames = Frames::of(parts.next().unwrap_or_default());
    let mut caller = Vec::new();
    for piece in &frames.pieces {
        // Waiting is a choice of its own: in a frame the marks are bytes like any other.
        match piece {
            Piece::Sent(bytes) => caller.push(super::world::Move::Say(bytes)),
            Piece::Mark(mark) => caller.extend(moves(mark)),
        }
    }
    let script = Script {
        caller,
        answers: parts.collect(),
        http2: true,
    };
    let seen = World::with(|world| world.play(&script));
    // A version that closes a kept connection instead of answering is asked again over a new one.
    assert!(
        seen.requests.len() <= 2 * frames.heads,
        "{} requests of {} heads",
        seen.requests.len(),
        frames.heads
    );
    for (_, request) in &seen.requests {
        letter::is_for_a_version(request, "192.0.2.7");
        if frames.is_marked {
            is_of_one_stream(letter::target(request), &request.body);
        }
    }
    reads_as_frames(&seen.answers);
}

/// Every marked head asks for `/` and its stream's letter, and every marked body is made of that letter.
fn is_of_one_stream(target: &[u8], body: &[u8]) {
    let Some(letter) = target.get(1) else {
        return;
    };
    assert!(
        body.iter().all(|b| b == letter),
        "{:?} has the body {:?}",
        String::from_utf8_lossy(target),
        String::from_utf8_lossy(body)
    );
}

/// What the caller sends.
#[derive(Default)]
struct Frames {
    pieces: Vec<Piece>,
    /// Frames that may begin a request.
    heads: usize,
    /// Every head and body is marked.
    is_marked: bool,
}

enum Piece {
    Sent(Vec<u8>),
    Mark([u8; 1]),
}

impl Frames {
    fn of(mut choices: &[u8]) -> Self {
        let mut frames = Self {
            is_marked: true,
            ..Self::default()
        };
        frames.pieces.push(Piece::Sent(PREFACE.to_vec()));
        frames.frame(SETTINGS, 0, 0, &[]);
        while let Some((choice, rest)) = choices.split_first() {
            choices = frames.next(*choice, rest);
        }
        frames
    }

    /// One choice; what is left of the others.
    fn next<'a>(&mut self, choice: u8, rest: &'a [u8]) -> &'a [u8] {
        let take = |count: usize| rest.split_at(count.min(rest.len()));
        let number = |at: usize| rest.get(at).copied().unwrap_or_default();
        let stream = u32::from(number(0) % 16);
        match choice {
            // A request without a body, or with one that follows.
            b'g' | b'p' => {
                let (method, end) = if choice == b'g' {
                    ("GET", END_STREAM)
                } else {
                    ("POST", 0)
                };
                let block = request(method, stream, number(1));
                self.heads += 1;
                self.frame(HEADERS, END_HEADERS | end, stream, &block);
                take(2).1
            }
            // A piece of a body, which may be the last.
            b'd' | b'e' => {
                let body = vec![mark(stream); usize::from(number(1))];
                let flags = if choice == b'e' { END_STREAM } else { 0 };
                self.frame(DATA, flags, stream, &body);
                take(2).1
            }
            // A head with fields as they stand in the input, up to a zero: name, `=`, value, line feed.
            b'h' => {
                let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
                let fields = rest.get(1..end).unwrap_or_default();
                let mut block = Vec::new();
                for line in fields.split(|b| *b == b'\n') {
                    let equals = line
                        .iter()
                        .skip(1)
                        .position(|b| *b == b'=')
                        .map(|at| at + 1);
                    let (name, value) = line.split_at(equals.unwrap_or(line.len()));
                    literal(&mut block, name, value.get(1..).unwrap_or_default());
                }
                self.heads += 1;
                self.is_marked = false;
                self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
                take(end + 1).1
            }
            // Any frame: type, flags, stream, length, payload. It may hold any field block, and any nonsense.
            b'f' => {
                let length = usize::from(number(3));
                let (kind, flags) = (number(0) % 12, number(1));
                let (payload, left) = take(4).1.split_at(length.min(take(4).1.len()));
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.heads += 1;
                    self.is_marked = false;
                }
                if kind == DATA {
                    self.is_marked = false;
                }
                self.frame(kind, flags, u32::from(number(2) % 16), payload);
                left
            }
            b'r' => {
                self.frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
                take(1).1
            }
            // One setting.
            b's' => {
                let value = [0, number(0) % 8, 0, number(1), number(2), number(3)];
                self.frame(SETTINGS, 0, 0, &value);
                take(4).1
            }
            b'w' => {
                self.frame(WINDOW_UPDATE, 0, stream, &[0, 0, number(1), number(2)]);
                take(3).1
            }
            b'i' => {
                self.frame(PING, 0, 0, b"tidegate");
                rest
            }
            b'a' => {
                self.frame(SETTINGS, 1, 0, &[]);
                rest
            }
            b'b' => {
                self.frame(GOAWAY, 0, 0, &[0, 0, 0, number(0), 0, 0, 0, 0]);
                take(1).1
            }
            0x1e | 0x1f => {
                self.pieces.push(Piece::Mark([choice]));
                rest
            }
            other => {
                // What comes now may be anything: whoever reads it as frames may find heads in it.
                self.heads += 64;
                self.is_marked = false;
                self.pieces.push(Piece::Sent(vec![other]));
                rest
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.pieces.push(Piece::Sent(frame));
    }
}

/// By which what belongs to a stream is known.
fn mark(stream: u32) -> u8 {
    b'a' + u8::try_from(stream % 26).unwrap_or(0)
}

/// A request's field block: `extra` chooses a field that says something else about it.
fn request(method: &str, stream: u32, extra: u8) -> Vec<u8> {
    let mut block = Vec::new();
    let path = format!("/{}", char::from(mark(stream)));
    literal(&mut block, b":method", method.as_bytes());
    literal(&mut block, b":scheme", b"http");
    literal(&mut block, b":authority", b"t");
    literal(&mut block, b":path", path.as_bytes());
    let fields: [(&str, &str); 16] = [
        ("accept", "*/*"),
        ("content-length", "0"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("te", "trailers"),
        ("te", "gzip"),
        ("host", "t"),
        ("host", "u"),
        ("cookie", "a=b"),
        ("x-tidegate-x", "1"),
        ("x_tidegate_x", "1"),
        ("x-user-id", "somebody"),
        ("x-region", "SE"),
        ("expect", "100-continue"),
        ("upgrade", "websocket"),
    ];
    for (at, (name, value)) in fields.iter().enumerate() {
        // One of them, or a few beside each other.
        if at == usize::from(extra & 15) || (extra >= 128 && at % 3 == usize::from(extra >> 4 & 3))
        {
            literal(&mut block, name.as_bytes(), value.as_bytes());
        }
    }
    block
}

/// A field as RFC 7541 §6.2.2 writes it: not indexed, not compressed.
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap_or(0));
        } else {
            block.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap_or(0));
        }
        block.extend_from_slice(text);
    }
}

/// What a caller got is frames: settings first, each no longer than allowed, nothing for a stream that has ended, field
/// blocks in one piece.
fn reads_as_frames(mut stream: &[u8]) {
    let mut ended: BTreeMap<u32, bool> = BTreeMap::new();
    let mut block_of = None;
    let mut is_first = true;
    while let Some((head, rest)) = stream.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        assert!(length <= FRAME_MOST, "a frame of {length}");
        assert!(!is_first || kind == SETTINGS, "{kind} before SETTINGS");
        is_first = false;
        match block_of {
            Some(open) => assert_eq!((kind, of), (CONTINUATION, open), "within a field block"),
            None => assert_ne!(kind, CONTINUATION, "nothing to continue"),
        }
        if matches!(kind, DATA | HEADERS | RST_STREAM) {
            // A stream that the caller must not open may be refused by a reset.
            assert!(of % 2 == 1 || kind == RST_STREAM, "the stream {of}");
            let over = ended.get(&of).copied().unwrap_or(false);
            assert!(
                !over || kind == RST_STREAM,
                "{kind} on {of}, which has ended"
            );
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            block_of = (flags & END_HEADERS == 0).then_some(of);
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 || kind == RST_STREAM {
            ended.insert(of, true);
        }
        let Some(behind) = rest.get(length..) else {
            return;
        };
        stream = behind;
    }
}
