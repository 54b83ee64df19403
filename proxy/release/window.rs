//! Exact counts of the last so many seconds: a ring of slots, never a decaying average. What is older than the span is
//! gone; what is younger than the span less one slot is there.

use std::ops::AddAssign;
use std::time::Duration;

/// A span is cut into so many slots …
const SLOTS: u32 = 64;
/// … unless they would be shorter than this.
const LEAST_SLOT: Duration = Duration::from_millis(100);

/// Requests of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Those that ended.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that took longer than `latency.above`.
    pub over: u64,
}

impl AddAssign for Counted {
    fn add_assign(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.failures = self.failures.saturating_add(more.failures);
        self.over = self.over.saturating_add(more.over);
    }
}

/// Counts of the last span. Time that goes back goes on from where it was: nothing is counted twice, and nothing stays
/// longer than its span.
#[derive(Debug, Clone)]
pub struct Window {
    slot: Duration,
    ring: Box<[Counted]>,
    /// The number of the newest slot since the beginning of time; it stands at this number modulo the ring.
    newest: u64,
    /// The latest time that was seen, on the window's own clock …
    latest: Duration,
    /// … which is so far ahead of the one outside.
    ahead: Duration,
}

impl Window {
    /// Nothing counted. A span shorter than a slot is one slot.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        let slot = (span / SLOTS).max(LEAST_SLOT);
        // Rounded down, so that nothing that is older than the span is ever in the ring; the newest slot is always there.
        let slots = (span.as_nanos() / slot.as_nanos()).clamp(1, SLOTS.into()) as usize;
        Self {
            slot,
            ring: vec![Counted::default(); slots].into(),
            newest: 0,
            latest: Duration::ZERO,
            ahead: Duration::ZERO,
        }
    }

    /// So many more ended now.
    pub fn count(&mut self, now: Duration, more: Counted) {
        self.go_to(now);
        let at = self.place(self.newest);
        self.ring[at] += more;
    }

    /// All of the last span.
    #[must_use]
    pub fn sum(&self, now: Duration) -> Counted {
        let now = now.saturating_add(self.ahead).max(self.latest);
        let passed = self.number(now) - self.newest;
        let slots = self.ring.len() as u64;
        let mut sum = Counted::default();
        for back in 0..slots.saturating_sub(passed).min(self.newest + 1) {
            sum += self.ring[self.place(self.newest - back)];
        }
        sum
    }

    fn go_to(&mut self, now: Duration) {
        let own = now.saturating_add(self.ahead);
        if own < self.latest {
            self.ahead = self.latest.saturating_sub(now);
        }
        self.latest = self.latest.max(own);
        let number = self.number(self.latest);
        let passed = number - self.newest;
        for n in 0..passed.min(self.ring.len() as u64) {
            let at = self.place(number - n);
            self.ring[at] = Counted::default();
        }
        self.newest = number;
    }

    fn number(&self, time: Duration) -> u64 {
        (time.as_nanos() / self.slot.as_nanos()) as u64
    }

    fn place(&self, number: u64) -> usize {
        (number % self.ring.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn counted(requests: u64) -> Counted {
        Counted {
            requests,
            failures: requests / 2,
            over: requests / 3,
        }
    }

    proptest! {
        /// Against a plain list: nothing older than the span, everything younger than the span less a slot.
        #[test]
        fn what_is_older_than_the_span_is_gone_and_what_is_younger_is_there(
            span in 50_u64..90_000,
            steps in prop::collection::vec((0_u64..4000, 0_u64..50), 1..200),
        ) {
            let mut window = Window::new(millis(span));
            let slot = (span as f64 / 64.0).max(100.0);
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut now = 1_700_000_000_000;
            for (passed, requests) in steps {
                now += passed;
                window.count(millis(now), counted(requests));
                list.push((now, requests));
                let younger = |age: f64| -> u64 {
                    list.iter().filter(|(at, _)| ((now - at) as f64) < age).map(|(_, n)| n).sum()
                };
                let sum = window.sum(millis(now)).requests;
                prop_assert!(sum <= younger((span as f64).max(slot)), "nothing is older");
                // The number of slots is rounded down, and the newest has only begun.
                prop_assert!(sum >= younger(span as f64 - 2.0 * slot), "nothing is lost");
            }
        }

        #[test]
        fn time_that_goes_back_loses_nothing_and_keeps_nothing_longer(
            span in 1000_u64..60_000,
            steps in prop::collection::vec((-50_000_i64..50_000, 0_u64..50), 1..100),
        ) {
            let mut window = Window::new(millis(span));
            let mut now = 1_700_000_000_000_i64;
            for (passed, requests) in steps {
                now += passed;
                let before = window.sum(millis(now as u64)).requests;
                window.count(millis(now as u64), counted(requests));
                prop_assert_eq!(window.sum(millis(now as u64)).requests, before + requests);
            }
            prop_assert_eq!(window.sum(millis(now as u64 + span)), Counted::default());
        }
    }

    #[test]
    fn a_clock_that_is_set_back_by_a_day_does_not_keep_old_failures_for_a_day() {
        let mut window = Window::new(millis(30_000));
        let day = millis(86_400_000);
        window.count(day * 2, counted(100));
        window.count(day, counted(0));
        assert_eq!(window.sum(day).requests, 100);
        assert_eq!(window.sum(day + millis(29_000)).requests, 100);
        assert_eq!(window.sum(day + millis(30_000)).requests, 0);
    }

    #[test]
    fn all_that_was_counted_comes_back_exactly() {
        let mut window = Window::new(millis(10_000));
        for n in 0..100 {
            window.count(millis(n * 90), counted(7));
        }
        let sum = window.sum(millis(9000));
        assert_eq!((sum.requests, sum.failures, sum.over), (700, 300, 200));
    }
}
