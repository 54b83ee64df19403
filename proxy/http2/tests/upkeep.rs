//! What is said beside requests.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::net::UnixStream;

use crate::http1::inlet::Inlet;
use crate::http1::wire::Signs;
use crate::http2::frame::{self, Code, Kind, PREFACE};
use crate::http2::settings::Bounds;
use crate::http2::state::LEAVING;
use crate::http2::wire::{End, Wire};

const BOUNDS: Bounds = Bounds {
    streams: 4,
    bytes: 1000,
    lines: 10,
};
/// `GET / HTTP/2` at a.
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// Runs `talk` with a connection that has begun.
fn begun(talk: impl FnOnce(&Wire)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let wire = Wire::new(
            near.into(),
            Inlet::default(),
            Rc::new(Signs::default()),
            BOUNDS,
        );
        let mut bytes = PREFACE.to_vec();
        frame::head(&mut bytes, Kind::Settings, 0, 0, 0);
        heard(&wire, &bytes).expect("a beginning");
        talk(&wire);
    });
}

/// Has the caller say this.
fn heard(wire: &Wire, bytes: &[u8]) -> Result<(), End> {
    let mut nobody = Context::from_waker(Waker::noop());
    wire.feed(bytes);
    while let Poll::Ready(read) = wire.poll_read(&mut nobody) {
        read?;
        let _ = wire.poll_flush(&mut nobody);
    }
    Ok(())
}

fn said(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::head(&mut bytes, kind, flags, stream, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn what_is_wrong_about_a_stream_that_has_not_begun_ends_the_connection() {
    for (payload, code) in [
        (&[0; 4][..], Code::FrameSize),
        (&[0, 0, 0, 7, 1], Code::Protocol),
    ] {
        begun(|wire| {
            let end = heard(wire, &said(Kind::Priority, 0, 7, payload));
            assert!(matches!(end, Err(End::Wrong(c)) if c == code), "{end:?}");
        });
    }
    begun(|wire| heard(wire, &said(Kind::Priority, 0, 7, &[0, 0, 0, 1, 1])).expect("advice"));
}

#[test]
fn heads_behind_the_last_request_cost_their_caller_something() {
    begun(|wire| {
        wire.leave();
        heard(wire, &said(Kind::Ping, frame::ACK, 0, &LEAVING)).expect("an answer");
        let whole = frame::END_STREAM | frame::END_HEADERS;
        let heads: Vec<u8> = (0..1000)
            .flat_map(|n| said(Kind::Headers, whole, 2 * n + 1, &GET))
            .collect();
        let end = heard(wire, &heads);
        assert!(matches!(end, Err(End::Flood)), "{end:?}");
        assert_eq!(wire.streams(), 0);
    });
}
