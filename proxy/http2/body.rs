//! A request's body, in the hands of whoever forwards it. What is read makes room for more.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::wire::{Piece, Wire};
use crate::http1::framing::BodyError;

/// The body of a stream's request.
#[derive(Debug)]
pub struct StreamBody {
    wire: Rc<Wire>,
    slot: usize,
    id: u32,
    known: Option<u64>,
    done: bool,
}

impl StreamBody {
    /// The body of the request that was opened in this place.
    pub fn new(wire: Rc<Wire>, slot: usize) -> Self {
        let (id, known, done) = wire.body(slot);
        Self {
            wire,
            slot,
            id,
            known,
            done,
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let piece = ready!(self.wire.poll_body(self.slot, self.id, cx));
        Poll::Ready(match piece {
            Ok(Piece::Data { data, last }) => {
                self.done = last;
                self.known = self.known.map(|k| k.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::Trailers(trailers)) => {
                self.done = true;
                Some(Ok(Frame::trailers(trailers)))
            }
            Ok(Piece::End) => {
                self.done = true;
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        if self.done {
            return SizeHint::with_exact(0);
        }
        self.known
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if !self.done {
            self.wire.forget_body(self.slot, self.id);
        }
    }
}
