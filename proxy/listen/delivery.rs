//! An answer over one stream of HTTP/2. hyper asks for the next piece when the caller has made room for the last one
//! (RFC 9113 §5.2) and not before: a caller that makes none would hold the answer, and the version's connection under
//! it, without end. So the sweep takes the answer away; the caller's other streams go on.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pulse::{Pulse, UnderWay, note};
use crate::exchange::Answer;
use crate::exchange::answer::AnswerError;

/// What hyper gets at once, a frame of HTTP/2: a caller that reads slowly makes room for so much in less than its bound.
const PIECE: usize = 16 * 1024;

/// The answers that are on their way over one connection.
#[derive(Debug, Default)]
pub struct Deliveries(RefCell<Vec<Rc<Delivery>>>);

/// One of them.
#[derive(Debug)]
struct Delivery {
    /// `None` once it was taken away.
    parcel: RefCell<Option<Parcel>>,
    /// The caller has to make room before anything is asked for.
    waits: Cell<bool>,
    /// Since when, as the sweeps saw it.
    since: Cell<Option<Instant>>,
    /// Its place in the list.
    at: Cell<usize>,
}

#[derive(Debug)]
struct Parcel {
    answer: Answer,
    /// Of the answer's last frame, what was not handed out.
    rest: Bytes,
    _under_way: UnderWay,
}

impl Deliveries {
    fn add(&self, answer: Answer, under_way: UnderWay) -> Rc<Delivery> {
        let mut all = self.0.borrow_mut();
        let delivery = Rc::new(Delivery {
            parcel: RefCell::new(Some(Parcel {
                answer,
                rest: Bytes::new(),
                _under_way: under_way,
            })),
            // Until it is asked for the first time.
            waits: Cell::new(true),
            since: Cell::new(None),
            at: Cell::new(all.len()),
        });
        all.push(delivery.clone());
        delivery
    }

    fn remove(&self, delivery: &Delivery) {
        let (mut all, at) = (self.0.borrow_mut(), delivery.at.get());
        all.swap_remove(at);
        if let Some(moved) = all.get(at) {
            moved.at.set(at);
        }
    }

    /// Takes away the answers for which there has been no room for `limit`; whether there were any. Where the socket is
    /// full the whole connection is slow, and no stream is to blame for not getting its turn.
    pub fn take_stuck(&self, now: Instant, limit: Duration, socket_full: bool) -> bool {
        let mut taken = Vec::new();
        for delivery in &*self.0.borrow() {
            if socket_full {
                delivery.since.set(None);
                continue;
            }
            note(&delivery.since, &delivery.waits, now);
            let since = delivery.since.get();
            if since.is_some_and(|since| now.saturating_duration_since(since) >= limit) {
                taken.extend(delivery.parcel.take());
            }
        }
        !taken.is_empty()
    }
}

/// An answer's body as hyper sees it. It keeps its request under way.
#[derive(Debug)]
pub struct Delivered {
    delivery: Rc<Delivery>,
    pulse: Rc<Pulse>,
}

impl Delivered {
    /// The body of `answer` over the connection of `pulse`.
    pub fn new(answer: Answer, pulse: Rc<Pulse>, under_way: UnderWay) -> Self {
        Self {
            delivery: pulse.deliveries.add(answer, under_way),
            pulse,
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        self.pulse.deliveries.remove(&self.delivery);
    }
}

impl Parcel {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl Body for Delivered {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let delivery = &self.delivery;
        let polled = match &mut *delivery.parcel.borrow_mut() {
            Some(parcel) => parcel.poll_piece(cx),
            None => Poll::Ready(Some(Err(AnswerError::untaken()))),
        };
        let data = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref(),
            _ => None,
        };
        delivery.waits.set(data.is_some_and(|d| !d.is_empty()));
        delivery.since.set(None);
        polled
    }

    fn is_end_stream(&self) -> bool {
        let parcel = self.delivery.parcel.borrow();
        let parcel = parcel.as_ref();
        parcel.is_some_and(|p| p.rest.is_empty() && p.answer.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let parcel = self.delivery.parcel.borrow();
        let Some(parcel) = parcel.as_ref() else {
            return SizeHint::default();
        };
        let (rest, left) = (parcel.rest.len() as u64, parcel.answer.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(left.lower() + rest);
        if let Some(upper) = left.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::listen::pulse::{Order, Pulses};
    use tidegate_config::ListenerTimeouts;

    const TIMEOUTS: ListenerTimeouts = ListenerTimeouts {
        handshake: Duration::from_secs(5),
        header: Duration::from_secs(10),
        body_idle: Duration::from_secs(30),
        idle: Duration::from_secs(60),
    };

    /// A connection, and the time, moved by hand.
    struct Scene {
        pulses: Pulses,
        pulse: Rc<Pulse>,
        start: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let start = Instant::now();
            let pulses = Pulses::new(start);
            let pulse = pulses.add(TIMEOUTS, &Rc::default());
            Self {
                pulses,
                pulse,
                start,
            }
        }

        fn answer(&self, length: usize) -> Delivered {
            let answer = Answer::Whole(vec![0; length].into());
            Delivered::new(answer, self.pulse.clone(), self.pulse.request())
        }

        /// What the connection is told after so many seconds, when it has answered a ping meanwhile.
        fn after(&self, seconds: u64) -> Option<Order> {
            self.pulse.signs().taken.set(true);
            self.pulses.sweep(self.start + Duration::from_secs(seconds));
            self.pulse.take_order()
        }
    }

    /// The length of the next piece; `None` where the answer was taken away.
    fn next(delivered: &mut Delivered) -> Option<usize> {
        let mut nobody = Context::from_waker(Waker::noop());
        match Pin::new(delivered).poll_frame(&mut nobody) {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map(Bytes::len),
            Poll::Ready(Some(Err(_))) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_caller_that_makes_no_room_is_cut_off_whatever_else_it_says() {
        for asked_for in [false, true] {
            let scene = Scene::new();
            let mut answer = scene.answer(100_000);
            if asked_for {
                assert_eq!(next(&mut answer), Some(PIECE));
            }
            assert_eq!(scene.after(1), None);
            assert_eq!(scene.after(60), None);
            assert_eq!(scene.after(61), Some(Order::Abort));
        }
    }

    #[test]
    fn an_answer_that_nobody_takes_ends_alone() {
        let scene = Scene::new();
        let (mut forgotten, mut read) = (scene.answer(100_000), scene.answer(10_000_000));
        assert_eq!(next(&mut forgotten), Some(PIECE));
        for second in (1..=121).step_by(30) {
            assert_eq!(next(&mut read), Some(PIECE));
            assert_eq!(scene.after(second), None);
        }
        assert_eq!(next(&mut forgotten), None, "it breaks off");
        assert_eq!(next(&mut read), Some(PIECE));
    }

    #[test]
    fn a_caller_that_takes_a_piece_now_and_then_is_served_to_the_end() {
        let scene = Scene::new();
        let mut answer = scene.answer(10 * PIECE + 1);
        for piece in 1..=10 {
            assert_eq!(next(&mut answer), Some(PIECE));
            assert!(!answer.is_end_stream());
            assert_eq!(scene.after(59 * piece), None);
        }
        assert_eq!(next(&mut answer), Some(1));
        assert!(answer.is_end_stream());
    }

    #[test]
    fn a_stream_is_not_to_blame_for_a_slow_connection() {
        let scene = Scene::new();
        let mut answer = scene.answer(100_000);
        assert_eq!(next(&mut answer), Some(PIECE));
        scene.pulse.signs().stuck.set(true);
        for second in (1..600).step_by(30) {
            assert_eq!(scene.after(second), None);
        }
        assert_eq!(next(&mut answer), Some(PIECE));
    }
}
