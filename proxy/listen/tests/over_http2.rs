#![allow(
    clippy::large_futures,
    reason = "a test holds one connection, and its buffer"
)]
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bed::{Bed, OK, read_until, run, say, version};
use crate::record::{FailureKind, Reason};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const WHOLE: u8 = END_STREAM | END_HEADERS;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A caller that writes its frames by hand.
struct Raw {
    stream: TcpStream,
    seen: Vec<u8>,
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error that it tells.
    fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(code))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field block: `method` on `path`, then more lines.
fn block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    let mut block = Vec::new();
    for (name, value) in fixed.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte tells the length");
            block.push(text.len() as u8);
            block.extend(text.bytes());
        }
    }
    block
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block("GET", "/app", &[]))
}

impl Raw {
    async fn open(bed: &Bed) -> Self {
        Self::with(bed, &[]).await
    }

    /// With settings of its own.
    async fn with(bed: &Bed, settings: &[u8]) -> Self {
        let mut raw = Self {
            stream: bed.caller().await,
            seen: Vec::new(),
        };
        raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.say(&frame(SETTINGS, 0, 0, settings)).await;
        raw
    }

    /// Does not mind a reader who is gone.
    async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.seen.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let frame = Frame {
                        kind: head[3],
                        flags: head[4],
                        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                        payload: payload.to_vec(),
                    };
                    self.seen.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut piece = [0; 16384];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.seen.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// The next frame of this kind.
    async fn wait_for(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("no frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Why the connection ends.
    async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = frame.code();
            }
        }
        code
    }

    /// The connection still answers.
    async fn is_well(&mut self) {
        self.say(&frame(PING, 0, 0, b"are you?")).await;
        loop {
            let pong = self.wait_for(PING).await;
            if pong.payload == b"are you?" {
                return;
            }
        }
    }
}

/// A version that answers each request at once, and counts them.
async fn counting(count: Rc<Cell<usize>>) -> std::net::SocketAddr {
    version(move |_, mut stream| {
        let count = count.clone();
        async move {
            loop {
                let seen = read_until(&mut stream, "\r\n\r\n").await;
                if seen.is_empty() {
                    return;
                }
                count.set(count.get() + 1);
                say(&mut stream, OK).await;
            }
        }
    })
    .await
}

async fn bed(listener: &str) -> (Bed, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    let endpoint = counting(count.clone()).await;
    (Bed::before(endpoint, listener, "", "").await, count)
}

/// A flood: how it ends, and that it is counted.
async fn floods(bed: &Bed, raw: &mut Raw, bytes: impl Fn(u32) -> Vec<u8>) {
    // As many as anybody would need to be noticed, in pieces, so that what comes back is not missed.
    for piece in 0..50 {
        let frames: Vec<u8> = (0..200).flat_map(|n| bytes(piece * 200 + n)).collect();
        if raw.stream.write_all(&frames).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let code = raw.end().await;
    // What was said to a peer that goes on writing may be lost with the connection; that it ended is not.
    assert!(
        matches!(code, Some(ENHANCE_YOUR_CALM) | None),
        "ended with {code:?}"
    );
    assert_eq!(refusals(bed, Reason::Flood), 1);
}

fn refusals(bed: &Bed, reason: Reason) -> u64 {
    let listeners = bed.ledger.listeners();
    listeners
        .iter()
        .map(|l| l.refusals.0[reason as usize])
        .sum()
}

#[test]
fn a_request_is_answered_and_a_hundred_at_once() {
    run(async {
        let (bed, count) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        let all: Vec<u8> = (0..100).flat_map(|n| get(2 * n + 1)).collect();
        raw.say(&all).await;
        let mut ended = 0;
        while ended < 100 {
            let frame = raw.next().await.expect("an answer");
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            ended += usize::from(frame.kind == DATA && frame.flags & END_STREAM != 0);
        }
        assert_eq!(count.get(), 100);
        raw.is_well().await;
    });
}

#[test]
fn ds_04_rapid_reset_ends_the_connection_and_reaches_no_version() {
    run(async {
        let (bed, count) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        let cancel = 8u32.to_be_bytes();
        floods(&bed, &mut raw, |n| {
            let mut both = get(2 * n + 1);
            both.extend(frame(RST_STREAM, 0, 2 * n + 1, &cancel));
            both
        })
        .await;
        assert!(count.get() <= 250, "{} requests reached it", count.get());
        assert_eq!(bed.failures(FailureKind::Reset), 0);
    });
}

#[test]
fn ds_05_who_has_us_reset_streams_is_stopped() {
    // Each breaks its stream by what the protocol makes an error of a stream.
    let too_much = 0x7fff_ffffu32.to_be_bytes();
    let breaks: [&dyn Fn(u32) -> Vec<u8>; 4] = [
        &|id| frame(WINDOW_UPDATE, 0, id, &[0; 4]),
        &|id| frame(WINDOW_UPDATE, 0, id, &too_much),
        &|id| frame(DATA, 0, id, b"after the end"),
        &|id| frame(PRIORITY, 0, id, &[0; 4]),
    ];
    for breaks in breaks {
        run(async {
            let (bed, count) = bed("").await;
            let mut raw = Raw::open(&bed).await;
            floods(&bed, &mut raw, |n| {
                let mut both = get(2 * n + 1);
                both.extend(breaks(2 * n + 1));
                both
            })
            .await;
            assert!(count.get() <= 250, "{} requests reached it", count.get());
        });
    }
}

#[test]
fn ds_06_a_head_without_end_is_cut_off() {
    for fragment in [&b""[..], &[0x82; 10], &[0x82; 4000]] {
        run(async {
            let (bed, count) = bed("").await;
            let mut raw = Raw::open(&bed).await;
            raw.say(&frame(HEADERS, END_STREAM, 1, &[])).await;
            floods(&bed, &mut raw, |_| frame(CONTINUATION, 0, 1, fragment)).await;
            assert_eq!(count.get(), 0);
        });
    }
}

#[test]
fn ds_07_ds_08_floods_of_what_is_cheap_to_send_are_stopped() {
    let one = 1u32.to_be_bytes();
    let floods_of: [&dyn Fn(u32) -> Vec<u8>; 7] = [
        &|_| frame(PING, 0, 0, &[0; 8]),
        &|_| frame(SETTINGS, 0, 0, &[]),
        &|_| frame(SETTINGS, 1, 0, &[]),
        &|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        &|_| frame(WINDOW_UPDATE, 0, 0, &one),
        &|_| frame(99, 0, 0, b"not known"),
        &|_| frame(DATA, 0, 1, &[]),
    ];
    for bytes in floods_of {
        run(async {
            let (bed, _) = bed("").await;
            let mut raw = Raw::open(&bed).await;
            let open = frame(HEADERS, END_HEADERS, 1, &block("POST", "/app", &[]));
            raw.say(&open).await;
            floods(&bed, &mut raw, bytes).await;
        });
    }
}

/// A request with one field of 3 000 bytes for the table, and so many times the same.
fn bomb(times: usize) -> Vec<u8> {
    let mut bomb = block("GET", "/app", &[]);
    bomb.extend([0x40, 1, b'x', 0x7f]);
    bomb.extend([0xb9, 0x16]); // 127 + 57 + 22 * 128 = 3000
    bomb.extend([b'y'; 3000]);
    bomb.extend(vec![0xbe; times]);
    bomb
}

#[test]
fn ds_09_a_small_block_with_a_large_meaning_is_431() {
    run(async {
        let (bed, count) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        for stream in 0..50 {
            raw.say(&frame(HEADERS, WHOLE, 2 * stream + 1, &bomb(12)))
                .await;
            let answer = raw.wait_for(HEADERS).await;
            assert!(answer.payload.windows(3).any(|w| w == b"431"), "{answer:?}");
        }
        assert_eq!(count.get(), 0);
        assert_eq!(refusals(&bed, Reason::HeaderTooLarge), 50);
        raw.is_well().await;
    });
}

#[test]
fn ds_09_a_small_block_with_a_huge_meaning_ends_its_connection() {
    run(async {
        let (bed, count) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        raw.say(&frame(HEADERS, WHOLE, 1, &bomb(5000))).await;
        assert_eq!(raw.end().await, Some(ENHANCE_YOUR_CALM));
        assert_eq!(count.get(), 0);
        assert_eq!(refusals(&bed, Reason::Flood), 1);
    });
}

#[test]
fn ds_09_an_answer_that_nobody_takes_is_taken_away_and_others_go_on() {
    run(async {
        let (bed, _) = bed(", timeouts: { idle: 400ms }").await;
        // Every stream's window is closed.
        let mut raw = Raw::with(&bed, &[0, 4, 0, 0, 0, 0]).await;
        raw.say(&get(1)).await;
        raw.wait_for(HEADERS).await;
        // The other one has not waited as long when this one's time is over.
        tokio::time::sleep(Duration::from_millis(200)).await;
        raw.say(&frame(HEADERS, END_HEADERS, 3, &block("POST", "/app", &[])))
            .await;
        let taken = raw.wait_for(RST_STREAM).await;
        assert_eq!((taken.stream, taken.code()), (1, Some(CANCEL)));
        raw.is_well().await;
    });
}

/// Before a version that takes requests and says nothing.
async fn silent_bed(listener: &str) -> Bed {
    let endpoint = version(|_, stream| async move {
        let _open = stream;
        std::future::pending().await
    });
    Bed::before(endpoint.await, listener, "", "").await
}

#[test]
fn a_window_cannot_be_larger_than_can_be() {
    run(async {
        let bed = silent_bed("").await;
        let most = 0x7fff_ffffu32.to_be_bytes();
        let mut raw = Raw::open(&bed).await;
        raw.say(&get(1)).await;
        raw.say(&frame(WINDOW_UPDATE, 0, 1, &most)).await;
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Some(FLOW_CONTROL_ERROR)));
        raw.say(&frame(WINDOW_UPDATE, 0, 0, &most)).await;
        assert_eq!(raw.end().await, Some(FLOW_CONTROL_ERROR));
        assert_eq!(refusals(&bed, Reason::Malformed), 1);
    });
}

#[test]
fn more_of_a_body_than_there_is_room_for_is_an_error() {
    run(async {
        let bed = silent_bed("").await;
        let mut raw = Raw::open(&bed).await;
        let open = block("POST", "/app", &[]);
        raw.say(&frame(HEADERS, END_HEADERS, 1, &open)).await;
        // More than sockets take for a version that does not read.
        for _ in 0..1500 {
            raw.say(&frame(DATA, 0, 1, &[b'x'; 16384])).await;
        }
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Some(FLOW_CONTROL_ERROR)));
    });
}

#[test]
fn what_is_no_http_2_is_told_so() {
    let cases: [(&str, Vec<u8>, u32); 8] = [
        ("DATA before all", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        ("an even number", get(2), PROTOCOL_ERROR),
        ("a promise", frame(5, 4, 1, &[0; 4]), PROTOCOL_ERROR),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, 4, 1, &[]),
            PROTOCOL_ERROR,
        ),
        (
            "something between the parts of a head",
            [frame(HEADERS, 1, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a block that is corrupt",
            frame(HEADERS, WHOLE, 1, &[0x80]),
            9,
        ),
        ("half a ping", frame(PING, 0, 0, &[0; 4]), 6),
        (
            "a frame that is too long",
            frame(HEADERS, WHOLE, 1, &[0x82; 16385]),
            6,
        ),
    ];
    for (what, bytes, code) in cases {
        run(async {
            let (bed, _) = bed("").await;
            let mut raw = Raw::open(&bed).await;
            raw.say(&bytes).await;
            assert_eq!(raw.end().await, Some(code), "{what}");
            assert_eq!(refusals(&bed, Reason::Malformed), 1, "{what}");
        });
    }
}

#[test]
fn a_stream_that_is_over_is_over() {
    run(async {
        let (bed, _) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        raw.say(&get(1)).await;
        raw.wait_for(DATA).await;
        raw.say(&frame(DATA, 0, 1, b"more")).await;
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!(reset.code(), Some(STREAM_CLOSED));
        raw.say(&get(5)).await;
        raw.wait_for(DATA).await;
        raw.say(&get(3)).await;
        assert_eq!(raw.end().await, Some(PROTOCOL_ERROR), "3 was left out");
        let mut raw = Raw::open(&bed).await;
        raw.say(&get(1)).await;
        raw.wait_for(DATA).await;
        raw.say(&get(1)).await;
        assert_eq!(raw.end().await, Some(STREAM_CLOSED));
    });
}

#[test]
fn h2_09_a_length_that_is_a_lie_is_never_a_whole_request() {
    run(async {
        let whole = Rc::new(Cell::new(false));
        let seen = whole.clone();
        let endpoint = version(move |_, mut stream| {
            let seen = seen.clone();
            async move {
                let got = read_until(&mut stream, "hello").await;
                seen.set(got.contains("hello"));
            }
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let mut raw = Raw::open(&bed).await;
        let head = block("POST", "/app", &[("content-length", "5")]);
        raw.say(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        raw.say(&frame(DATA, 0, 1, b"hello")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!whole.get(), "its last byte waits for its end");
        raw.say(&frame(DATA, END_STREAM, 1, b"GET /smuggled")).await;
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!(reset.code(), Some(PROTOCOL_ERROR));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!whole.get());
    });
}

#[test]
fn a_request_over_the_bound_is_refused_unseen_and_may_be_asked_again() {
    run(async {
        let bed = silent_bed(", limits: { h2_streams: 2 }").await;
        let mut raw = Raw::open(&bed).await;
        for stream in [1, 3, 5] {
            raw.say(&get(stream)).await;
        }
        let refused = raw.wait_for(RST_STREAM).await;
        assert_eq!((refused.stream, refused.code()), (5, Some(REFUSED_STREAM)));
        raw.say(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await;
        raw.say(&frame(HEADERS, WHOLE, 7, &block("GET", "/hello", &[])))
            .await;
        assert_eq!(raw.wait_for(HEADERS).await.stream, 7);
    });
}

#[test]
fn an_answer_that_comes_early_ends_the_request() {
    run(async {
        let (bed, _) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        let open = block("POST", "/hello", &[]);
        raw.say(&frame(HEADERS, END_HEADERS, 1, &open)).await;
        let answer = raw.wait_for(DATA).await;
        assert_eq!(answer.payload, b"hello");
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Some(0)));
        for _ in 0..100 {
            raw.say(&frame(DATA, 0, 1, &[b'x'; 10_000])).await;
        }
        raw.say(&frame(HEADERS, WHOLE, 1, &[0x82])).await;
        raw.is_well().await;
    });
}

#[test]
fn a_malformed_request_is_counted_and_hurts_no_other() {
    run(async {
        let (bed, count) = bed("").await;
        let mut raw = Raw::open(&bed).await;
        let bad = block("GET", "/app", &[("connection", "close")]);
        raw.say(&frame(HEADERS, WHOLE, 1, &bad)).await;
        let reset = raw.wait_for(RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Some(PROTOCOL_ERROR)));
        assert_eq!(refusals(&bed, Reason::Malformed), 1);
        raw.say(&get(3)).await;
        assert_eq!(raw.wait_for(DATA).await.payload, b"ok");
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn answers_take_turns() {
    run(async {
        let large = "x".repeat(200_000);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{large}");
        let endpoint = version(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                    say(&mut stream, &answer).await;
                }
            }
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let settings = [0, 4, 0x7f, 0xff, 0xff, 0xff];
        let mut raw = Raw::with(&bed, &settings).await;
        raw.say(&frame(WINDOW_UPDATE, 0, 0, &0x1000_0000u32.to_be_bytes()))
            .await;
        for stream in [1, 3, 5] {
            raw.say(&get(stream)).await;
        }
        let (mut bytes, mut turns, mut last) = ([0; 3], 0, 0);
        while bytes.iter().any(|b| *b < large.len()) {
            let data = raw.wait_for(DATA).await;
            bytes[data.stream as usize / 2] += data.payload.len();
            turns += usize::from(data.stream != last);
            last = data.stream;
        }
        assert_eq!(bytes, [large.len(); 3]);
        assert!(turns > 5, "{turns} turns");
    });
}
