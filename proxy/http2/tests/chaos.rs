//! Whatever frames come in whatever order: nothing breaks but the connection, and what is held stays within its bounds.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::Response;
use http_body::Body as _;
use proptest::prelude::*;
use tokio::net::UnixStream;

use crate::http1::inlet::Inlet;
use crate::http1::wire::Signs;
use crate::http2::body::StreamBody;
use crate::http2::frame::{self, Code, PREFACE};
use crate::http2::settings::Bounds;
use crate::http2::wire::Wire;

const BOUNDS: Bounds = Bounds {
    streams: 4,
    bytes: 1000,
    lines: 10,
};

/// A frame, by its parts; what is asked most is likely to be right.
type Parts = (u8, u8, u32, Vec<u8>);

fn a_frame() -> impl Strategy<Value = Parts> {
    let block = vec![0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let post = vec![0x83, 0x86, 0x84, 0x41, 1, b'a'];
    let id = || (0u32..12).prop_map(|n| 2 * n + 1);
    prop_oneof![
        4 => (Just(1), Just(5), id(), Just(block)),
        4 => (Just(1), Just(4), id(), Just(post)),
        2 => (Just(0), 0u8..2, id(), prop::collection::vec(any::<u8>(), 0..40)),
        1 => (Just(3), Just(0), id(), Just(vec![0, 0, 0, 8])),
        1 => (Just(8), Just(0), prop_oneof![Just(0), id()], prop::collection::vec(any::<u8>(), 4)),
        1 => (0u8..11, any::<u8>(), 0u32..20, prop::collection::vec(any::<u8>(), 0..40)),
    ]
}

/// What is done about a stream that has something to do.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Leave,
    Answer,
    AnswerInPieces,
    GiveUp,
    ReadAndAnswer,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop::sample::select(vec![
        Deed::Leave,
        Deed::Answer,
        Deed::AnswerInPieces,
        Deed::GiveUp,
        Deed::ReadAndAnswer,
    ])
}

/// Works on a stream that was opened as a deed says.
fn work(wire: &Rc<Wire>, slot: usize, deed: Deed) {
    let mut nobody = Context::from_waker(Waker::noop());
    let (ok, _) = Response::new(()).into_parts();
    let mut body = StreamBody::new(wire.clone(), slot);
    match deed {
        // Its place stays taken.
        Deed::Leave => {}
        Deed::Answer => wire.put_head(slot, &ok, None, true),
        Deed::AnswerInPieces => {
            wire.put_head(slot, &ok, Some(5), false);
            if wire.window(slot) >= 5 {
                let _ = wire.put_data(slot, b"hello", false, true);
            } else {
                wire.give_up(slot, Code::Internal);
            }
        }
        Deed::GiveUp => wire.give_up(slot, Code::Cancel),
        Deed::ReadAndAnswer => {
            while Pin::new(&mut body).poll_frame(&mut nobody).is_ready() && !body.is_end_stream() {}
            wire.put_head(slot, &ok, None, true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_frames_break_it(frames in prop::collection::vec((a_frame(), deed()), 0..60), cut in 1usize..200) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (near, _far) = UnixStream::pair().expect("a pair");
            let wire = Rc::new(Wire::new(near.into(), Inlet::default(), Rc::new(Signs::default()), BOUNDS));
            let mut bytes = PREFACE.to_vec();
            frame::head(&mut bytes, frame::Kind::Settings, 0, 0, 0);
            for ((kind, flags, stream, payload), _) in &frames {
                bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
                bytes.extend_from_slice(&[*kind, *flags]);
                bytes.extend_from_slice(&stream.to_be_bytes());
                bytes.extend_from_slice(payload);
            }
            let mut deeds = frames.iter().map(|(_, deed)| *deed).cycle();
            let mut nobody = Context::from_waker(Waker::noop());
            for piece in bytes.chunks(cut) {
                wire.feed(piece);
                while let Poll::Ready(read) = wire.poll_read(&mut nobody) {
                    while let Some(slot) = wire.take_cancelled() {
                        wire.free(slot);
                    }
                    let _ = wire.take_malformed();
                    if read.is_err() {
                        return;
                    }
                    let mut from = 0;
                    while let Some(slot) = wire.ready().next(from..usize::MAX) {
                        from = slot + 1;
                        if let (Some(_), Some(deed)) = (wire.open(slot), deeds.next()) {
                            work(&wire, slot, deed);
                        }
                    }
                    assert!(wire.streams() <= BOUNDS.streams);
                    let _ = wire.poll_flush(&mut nobody);
                }
            }
        });
    }
}
