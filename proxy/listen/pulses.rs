//! The pulses of all connections of a worker, and the sweep over them: a part at a time, so that a request waits for no more
//! than a few that end, and over those that rest only now and then.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tidegate_config::ListenerTimeouts;

use super::pulse::{Clock, Door, Order, Pulse};

/// Every connection is looked at about so often, unless it rests: bounds of listeners are kept to about this.
pub const SWEEP: Duration = Duration::from_millis(250);
/// A connection that rests is looked at so often: what begins there is noticed later by up to this and a sweep.
const REST: Duration = Duration::from_secs(1);
/// Connections looked at in one go.
const PART: usize = 1024;
/// Connections told to end in one go: each of them then has work to do before the next request has its turn.
const ENDED_AT_ONCE: usize = 16;
/// At least, between two goes.
const BREATH: Duration = Duration::from_millis(1);

/// The pulses of all connections of a worker.
#[derive(Debug)]
pub struct Pulses {
    clock: Rc<Clock>,
    all: RefCell<Vec<Watched>>,
}

/// A pulse, and when to look at it again. Most of many are idle: to know that of one its memory need not be touched.
#[derive(Debug)]
struct Watched {
    pulse: Weak<Pulse>,
    again: Instant,
}

impl Pulses {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self {
            clock: Rc::new(Clock::new(now)),
            all: RefCell::default(),
        }
    }

    /// A new connection's, which came through `door`.
    pub fn add(&self, timeouts: ListenerTimeouts, door: &Rc<Door>) -> Rc<Pulse> {
        let pulse = Rc::new(Pulse::new(self.clock.clone(), timeouts, door.clone()));
        self.all.borrow_mut().push(Watched {
            pulse: Rc::downgrade(&pulse),
            again: self.clock.now(),
        });
        pulse
    }

    /// Moves the clock and ends what is due, again and again: all connections in the time of a sweep, evenly where they are
    /// many.
    pub async fn sweep_for_ever(&self) -> Infallible {
        let mut began = Instant::now();
        let mut at = 0;
        loop {
            let now = Instant::now();
            let next = self.sweep_part(now, at);
            let done = next.map_or(1.0, |at| at as f64 / self.all.borrow().len() as f64);
            let pause = (began + SWEEP.mul_f64(done)).saturating_duration_since(now);
            tokio::time::sleep(pause.max(BREATH)).await;
            at = next.unwrap_or(0);
            if next.is_none() {
                began = Instant::now();
            }
        }
    }

    /// Moves the clock and ends what is due, once and all at once.
    #[cfg(any(test, fuzzing))]
    pub fn sweep(&self, now: Instant) {
        let mut next = self.sweep_part(now, 0);
        while let Some(at) = next {
            next = self.sweep_part(now, at);
        }
    }

    /// Gives every connection the same order; all at once, for nobody new comes in any more.
    pub fn order(&self, order: Order) {
        self.rouse();
        for pulse in self.all.borrow().iter().filter_map(|w| w.pulse.upgrade()) {
            pulse.order(order);
        }
    }

    /// Those that rest are looked at with the next sweep: something has become of a door.
    pub fn rouse(&self) {
        let now = self.clock.now();
        for watched in &mut *self.all.borrow_mut() {
            watched.again = now;
        }
    }

    /// Looks at some, from the one at `at` on; tells where to go on, if those were not the last.
    fn sweep_part(&self, now: Instant, mut at: usize) -> Option<usize> {
        self.clock.set(now);
        let mut all = self.all.borrow_mut();
        let (mut looked, mut ended) = (0, 0);
        while at < all.len() && looked < PART && ended < ENDED_AT_ONCE {
            looked += 1;
            if all[at].again > now {
                at += 1;
                continue;
            }
            let Some(pulse) = all[at].pulse.upgrade() else {
                // The last one takes its place, and is looked at in its turn.
                all.swap_remove(at);
                continue;
            };
            if let Some(order) = pulse.due(now) {
                pulse.order(order);
                ended += usize::from(order.ends());
            }
            let rests = pulse.rests_until(now);
            all[at].again = rests.map_or(now, |end| end.min(now + REST));
            at += 1;
        }
        (at < all.len()).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const TIMEOUTS: ListenerTimeouts = ListenerTimeouts {
        handshake: Duration::from_secs(5),
        header: Duration::from_secs(10),
        body_idle: Duration::from_secs(30),
        idle: Duration::from_secs(60),
    };

    #[test]
    fn whoever_waits_for_requests_is_looked_at_now_and_then_and_at_once_when_its_door_closes() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let (pulses, door) = (Pulses::new(start), Rc::new(Door::default()));
        let pulse = pulses.add(TIMEOUTS, &door);
        drop(pulse.request());
        pulses.sweep(after(0));
        pulses.sweep(after(2000));
        assert_eq!(pulses.all.borrow()[0].again, after(3000));
        pulse.signs().bytes.set(true);
        pulses.sweep(after(2900));
        pulses.sweep(after(3000));
        pulses.sweep(after(12_900));
        assert_eq!(
            pulse.take_order(),
            None,
            "a head is coming, since 3 s as far as is known"
        );
        pulses.sweep(after(13_000));
        assert_eq!(pulse.take_order(), Some(Order::SlowHead));

        let pulse = pulses.add(TIMEOUTS, &door);
        drop(pulse.request());
        pulses.sweep(after(20_000));
        pulses.sweep(after(22_000));
        door.close(after(60_000));
        pulses.rouse();
        pulses.sweep(after(22_100));
        assert_eq!(pulse.take_order(), Some(Order::Leave));
    }

    #[test]
    fn whoever_rests_leaves_on_time() {
        let start = Instant::now();
        let pulses = Pulses::new(start);
        let (silent, served) = (
            pulses.add(TIMEOUTS, &Rc::default()),
            pulses.add(TIMEOUTS, &Rc::default()),
        );
        drop(served.request());
        for quarter in 0..4 * 60 {
            let at = quarter * SWEEP;
            pulses.sweep(start + at);
            let orders = (silent.take_order(), served.take_order());
            let ended = at >= TIMEOUTS.header;
            assert_eq!(orders, (ended.then_some(Order::Abort), None), "{at:?}");
        }
        pulses.sweep(start + TIMEOUTS.idle);
        assert_eq!(served.take_order(), Some(Order::Leave));
    }

    #[test]
    fn whoever_has_something_to_do_is_looked_at_with_every_sweep() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let busy: [(_, fn(&Pulse)); 3] = [
            ("takes nothing", |pulse| pulse.signs().stuck.set(true)),
            ("waits for windows", |pulse| pulse.watches(true)),
            ("was told to leave", |pulse| pulse.order(Order::Leave)),
        ];
        for (what, begin) in busy {
            let pulses = Pulses::new(start);
            let pulse = pulses.add(TIMEOUTS, &Rc::default());
            drop(pulse.request());
            pulses.sweep(after(0));
            begin(&pulse);
            pulses.sweep(after(2000));
            assert_eq!(pulses.all.borrow()[0].again, after(2000), "{what}");
        }
    }

    #[test]
    fn what_begins_on_a_connection_that_rests_is_bounded_all_the_same() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let pulses = Pulses::new(start);
        let pulse = pulses.add(TIMEOUTS, &Rc::default());
        drop(pulse.request());
        pulses.sweep(after(0));
        pulses.sweep(after(2000));
        let _request = pulse.request();
        pulse.signs().closed.set(true);
        for quarter in 9..20 {
            pulses.sweep(after(quarter * 250));
            assert_eq!(pulse.take_order(), None);
        }
        // Seen at 3 s, and given two.
        pulses.sweep(after(5000));
        assert_eq!(pulse.take_order(), Some(Order::Abort));
    }

    #[test]
    fn whoever_rests_over_http_2_is_asked_whether_anybody_is_there() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let pulses = Pulses::new(start);
        let pulse = pulses.add(TIMEOUTS, &Rc::default());
        pulse.asks_whether_anybody_is_there();
        drop(pulse.request());
        let mut orders = Vec::new();
        for quarter in 0..=4 * 42 {
            pulses.sweep(after(quarter * 250));
            orders.extend(pulse.take_order().map(|order| (quarter / 4, order)));
        }
        assert_eq!(orders[..2], [(20, Order::Ping), (40, Order::Abort)]);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn however_many_look_after_their_windows_they_do_so_once_a_sweep() {
        let pulses = Pulses::new(Instant::now());
        let many = (0..2 * ENDED_AT_ONCE).map(|_| pulses.add(TIMEOUTS, &Rc::default()));
        let many: Vec<_> = many.collect();
        for pulse in &many {
            pulse.watches(true);
        }
        let told = Cell::new(0);
        let count = async {
            loop {
                told.set(
                    told.get()
                        + many
                            .iter()
                            .filter(|pulse| pulse.take_order().is_some())
                            .count(),
                );
                tokio::time::sleep(BREATH).await;
            }
        };
        let second = tokio::time::sleep(4 * SWEEP);
        tokio::select! {
            never = pulses.sweep_for_ever() => match never {},
            () = count => {}
            () = second => {}
        }
        let sweeps = told.get() / many.len();
        assert!((3..=5).contains(&sweeps), "{sweeps} in a second");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn those_whose_time_is_over_are_told_a_few_at_a_time_and_all_of_them(
            rounds in prop::collection::vec((0..3 * PART, 0..100_usize), 1..4)
        ) {
            let start = Instant::now();
            let pulses = Pulses::new(start);
            let mut here = Vec::new();
            for (come, go) in rounds {
                here.extend((0..come).map(|_| pulses.add(TIMEOUTS, &Rc::default())));
                pulses.sweep(start);
                here.retain({
                    let mut number = 0;
                    move |_| { number += 1; number % 100 >= go }
                });
            }
            let (end, mut next, mut told) = (start + TIMEOUTS.header, Some(0), 0);
            while let Some(at) = next {
                next = pulses.sweep_part(end, at);
                let now = here.iter().filter(|pulse| pulse.take_order().is_some()).count();
                prop_assert!(now <= ENDED_AT_ONCE);
                told += now;
            }
            prop_assert_eq!(told, here.len());
            prop_assert_eq!(pulses.all.borrow().len(), here.len(), "who is gone is forgotten");
        }
    }
}
