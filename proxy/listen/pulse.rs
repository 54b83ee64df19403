//! What a connection is doing, and since when. The connection and its socket note it with plain stores; a
//! [sweep](super::pulses) of the worker, a few times a second, ends what has lasted too long. So no request sets a timer for
//! its head or its idleness.

use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use tidegate_config::ListenerTimeouts;

use super::reading::Reading;
use crate::http1::wire::Signs;
use crate::record::Reason;

/// How long a caller that has closed its sending side may wait for more of its answer. It may be a careful half-close, or
/// somebody who is gone: only time tells them apart, and the version's work is wasted on the latter.
const HALF_CLOSED: Duration = Duration::from_secs(2);

/// How long a connection that was told to leave may stay with nothing under way: an HTTP/2 caller must hear of it, and a
/// request may be on its way over a connection that has just been opened.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection rests when nothing has been under way for so long.
const RESTS_AFTER: Duration = Duration::from_secs(2);

/// A silent HTTP/2 connection is asked whether anybody is there,
const ASK_AFTER: Duration = Duration::from_secs(20);
/// and has so long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The socket that connections came through, as long as they are here.
#[derive(Debug, Default)]
pub struct Door {
    /// Once it is closed: until when who came through it may stay.
    closed: Cell<Option<Instant>>,
}

impl Door {
    /// Nobody comes in any more; who is in finishes what is under way, until `end`.
    pub fn close(&self, end: Instant) {
        self.closed.set(Some(end));
    }
}

/// One connection's state.
#[derive(Debug)]
pub struct Pulse {
    clock: Rc<Clock>,
    door: Rc<Door>,
    timeouts: ListenerTimeouts,
    signs: Rc<Signs>,
    requests: Cell<usize>,
    /// Since when nothing has been under way, as the sweeps saw it.
    idle: Cell<Option<Instant>>,
    /// Since when a request's head has been coming, as the sweeps saw it.
    head: Cell<Option<Instant>>,
    /// Since when nothing could be written, likewise.
    stuck: Cell<Option<Instant>>,
    /// Since when the caller has closed its sending side, likewise.
    closed: Cell<Option<Instant>>,
    order: Cell<Option<Order>>,
    /// When it was told to leave.
    told: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
    /// There has been a request.
    begun: Cell<bool>,
    /// It was told to end for its slowness.
    cut: Cell<bool>,
    /// What is asked of those who read.
    reading: OnceCell<Reading>,
    /// What HTTP/2 adds.
    http2: Http2,
}

/// What is watched of a connection that speaks HTTP/2.
#[derive(Debug, Default)]
struct Http2 {
    /// It is one, and lives.
    lives: Cell<bool>,
    /// It wants to look at its windows with every sweep.
    watches: Cell<bool>,
    /// Something came since it was last cleared.
    heard: Cell<bool>,
    /// Since when nothing has come, as the sweeps saw it.
    silent: Cell<Option<Instant>>,
    /// It was asked whether anybody is there.
    asked: Cell<bool>,
}

impl Http2 {
    /// What its silence calls for.
    fn due(&self, now: Instant, taken: bool) -> Option<Order> {
        if self.heard.take() || taken || self.silent.get().is_none() {
            self.silent.set(Some(now));
            self.asked.set(false);
            return None;
        }
        let silent = self.silent.get().unwrap_or(now);
        let lasts = now.saturating_duration_since(silent);
        if lasts >= ASK_AFTER + ANSWER_WITHIN {
            return Some(Order::Abort);
        }
        let ask = lasts >= ASK_AFTER && !self.asked.replace(lasts >= ASK_AFTER);
        ask.then_some(Order::Ping)
    }
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// End when nothing is under way, and take nothing new.
    Leave,
    /// Look after the windows of answers. HTTP/2's alone.
    Look,
    /// Ask whether anybody is there. HTTP/2's alone.
    Ping,
    /// A head took too long: say so and end.
    SlowHead,
    /// End now.
    Abort,
    /// End now, and throw away what the caller has not taken.
    Forget,
}

impl Order {
    /// Whether the connection ends by it, now or soon.
    pub fn ends(self) -> bool {
        !matches!(self, Self::Look | Self::Ping)
    }
}

/// The worker's idea of now, as fine as the sweep.
#[derive(Debug)]
pub struct Clock(Cell<Instant>);

impl Clock {
    /// From `now` on.
    pub fn new(now: Instant) -> Self {
        Self(Cell::new(now))
    }

    /// Now, roughly.
    pub fn now(&self) -> Instant {
        self.0.get()
    }

    /// It is later.
    pub fn set(&self, now: Instant) {
        self.0.set(now);
    }
}

impl Pulse {
    /// Of a connection that came through `door`.
    pub fn new(clock: Rc<Clock>, timeouts: ListenerTimeouts, door: Rc<Door>) -> Self {
        Self {
            clock,
            door,
            timeouts,
            signs: Rc::default(),
            requests: Cell::new(0),
            idle: Cell::new(None),
            head: Cell::new(None),
            stuck: Cell::new(None),
            closed: Cell::new(None),
            order: Cell::new(None),
            told: Cell::new(None),
            waker: RefCell::new(None),
            begun: Cell::new(false),
            cut: Cell::new(false),
            reading: OnceCell::new(),
            http2: Http2::default(),
        }
    }

    /// What is asked of the caller as a reader. Once, when the connection is new.
    pub fn watch_reading(&self, reading: Reading) {
        let _ = self.reading.set(reading);
    }

    /// How many bytes a second of an answer must be taken.
    pub fn reading_rate(&self) -> Option<NonZeroU64> {
        self.reading.get().and_then(Reading::rate)
    }

    /// Answers are not taken, so many.
    pub fn count(&self, reason: Reason, times: usize) {
        if self.cut.get() {
            return; // and counted, but it has not gone yet
        }
        if let Some(reading) = self.reading.get() {
            for _ in 0..times {
                reading.refuse(reason);
            }
        }
    }

    /// For the connection's socket.
    pub fn signs(&self) -> Rc<Signs> {
        self.signs.clone()
    }

    /// A request's head is whole; it is under way until the guard is dropped.
    pub fn request(self: &Rc<Self>) -> UnderWay {
        self.signs.bytes.set(false);
        self.begun.set(true);
        self.head.set(None);
        self.idle.set(None);
        self.requests.set(self.requests.get() + 1);
        UnderWay(self.clone())
    }

    /// Now, as the sweeps see it.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether anything is under way.
    pub fn is_busy(&self) -> bool {
        self.requests.get() > 0
    }

    /// It speaks HTTP/2: where nothing comes for long, somebody is to be there all the same.
    pub fn asks_whether_anybody_is_there(&self) {
        self.http2.lives.set(true);
    }

    /// Something came over HTTP/2.
    pub fn heard(&self) {
        self.http2.heard.set(true);
    }

    /// Whether it wants to look at its windows with every sweep.
    pub fn watches(&self, watches: bool) {
        self.http2.watches.set(watches);
    }

    /// It speaks HTTP/2 no longer: what is left is its end.
    pub fn parts(&self) {
        self.http2.lives.set(false);
        self.http2.watches.set(false);
    }

    /// Whether it was told to leave.
    pub fn is_leaving(&self) -> bool {
        self.told.get().is_some()
    }

    /// The order to follow, once.
    pub fn take_order(&self) -> Option<Order> {
        self.order.take()
    }

    /// Notes who is to be woken when there is an order.
    pub fn wake_with(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|k| k.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Gives an order.
    pub fn order(&self, order: Order) {
        // Another look follows, another order does not.
        if order != Order::Look || self.order.get().is_none() {
            self.order.set(Some(order));
        }
        if matches!(order, Order::Leave | Order::SlowHead) && self.told.get().is_none() {
            self.told.set(Some(self.clock.now()));
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Until when it is enough to look now and then, for nothing is under way and nothing was for a while; `None` where
    /// something is, or it was told to go. To be asked after [`due`](Self::due), which notes what there is.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        let idle = self.idle.get()?;
        let is_quiet = self.told.get().is_none()
            && !self.signs.stuck.get()
            && !self.http2.watches.get()
            && now.saturating_duration_since(idle) >= RESTS_AFTER;
        let end = match self.head.get() {
            Some(head) => head + self.timeouts.header,
            None if self.begun.get() => idle + self.timeouts.idle,
            None => idle + self.timeouts.header,
        };
        // A head may begin at any time.
        is_quiet.then(|| end.min(now + self.timeouts.header))
    }

    /// What must end by `now`.
    pub fn due(&self, now: Instant) -> Option<Order> {
        let lasted =
            |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let busy = self.is_busy();
        let idle = (!busy).then(|| self.idle.get().unwrap_or(now));
        self.idle.set(idle);
        if let Some(end) = self.door.closed.get() {
            if now >= end {
                return Some(Order::Abort);
            }
            if self.told.get().is_none() {
                return Some(Order::Leave);
            }
        }
        // A slow caller's socket is full whenever it is looked at: only one that takes nothing at all is stuck. And who
        // takes its answer is there, even if it will send no more.
        let taken = self.signs.taken.take();
        if taken {
            self.stuck.set(None);
            self.closed.set(None);
        }
        note(&self.stuck, &self.signs.stuck, now);
        note(&self.closed, &self.signs.closed, now);
        let takes_nothing = self.stuck.get();
        let takes_nothing = takes_nothing.is_some_and(|since| lasted(since, self.timeouts.idle));
        let takes_little = self.reading.get();
        let takes_little = takes_little.is_some_and(|reading| reading.is_slow(&self.signs, now));
        if takes_nothing || takes_little {
            self.count(Reason::SlowReader, 1);
            self.cut.set(true);
            return Some(Order::Forget);
        }
        let lives = self.http2.lives.get();
        let silence = lives.then(|| self.http2.due(now, taken)).flatten();
        if silence == Some(Order::Abort) {
            return silence;
        }
        let slow_head = || {
            note(&self.head, &self.signs.bytes, now);
            let since = self.head.get();
            since.is_some_and(|since| lasted(since, self.timeouts.header))
        };
        let look = || self.http2.watches.get().then_some(Order::Look);
        let Some(idle) = idle else {
            // Over HTTP/2 one head holds up all other streams.
            if lives && slow_head() {
                return Some(Order::SlowHead);
            }
            if let Some(look) = silence.or_else(look) {
                return Some(look);
            }
            // What comes now may be the next request's head: its time begins when this one has ended.
            return self
                .closed
                .get()
                .filter(|since| lasted(*since, HALF_CLOSED))
                .map(|_| Order::Abort);
        };
        if let Some(told) = self.told.get() {
            return lasted(told.max(idle), LAST_WORDS).then_some(Order::Abort);
        }
        if slow_head() {
            return Some(Order::SlowHead);
        }
        // Who has never asked anything has not even begun a head.
        let unheard = !self.begun.get() && self.head.get().is_none();
        if unheard && lasted(idle, self.timeouts.header) {
            if lives {
                return Some(Order::Leave);
            }
            // There is nobody to tell, and nothing to finish.
            self.count(Reason::SlowRequest, 1);
            self.cut.set(true);
            return Some(Order::Abort);
        }
        if self.head.get().is_none() && lasted(idle, self.timeouts.idle) {
            return Some(Order::Leave);
        }
        silence.or_else(look)
    }
}

/// Notes since when a sign has been there.
fn note(since: &Cell<Option<Instant>>, sign: &Cell<bool>, now: Instant) {
    match (sign.get(), since.get()) {
        (true, None) => since.set(Some(now)),
        (false, Some(_)) => since.set(None),
        _ => {}
    }
}

/// A request under way on a connection.
#[derive(Debug)]
pub struct UnderWay(Rc<Pulse>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let pulse = &self.0;
        pulse.requests.set(pulse.requests.get() - 1);
    }
}
