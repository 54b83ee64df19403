//! What is cheap to send and costly to take is paid for. Every frame that does no work costs points; work that is done
//! earns some, so that who is served much may also change their mind much; and time gives back the rest.
//!
//! No clock is read until the points run out: a connection that behaves pays a subtraction.

use std::time::Instant;

/// What a connection begins with, and the most that it can have.
pub const MOST: u32 = 1000;
/// What comes back in a second.
pub const EACH_SECOND: u32 = 100;

/// What a frame costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Cost {
    /// PING, PRIORITY, WINDOW_UPDATE, a frame that is not known, or one that came too late.
    Trifle = 1,
    /// CONTINUATION, or a body's frame with next to nothing in it, in either direction.
    Sliver = 2,
    /// A request that is given up before it was answered, or one over the bound on streams.
    Waste = 5,
    /// SETTINGS: every stream is looked at. A frame that says nothing at all. A stream that the caller broke by breaking
    /// the protocol.
    Fault = 10,
}

/// What is earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Earned {
    /// A whole frame of an answer's body: its reader may say that there is room again, for stream and connection, and
    /// measure the way by a ping.
    Frame = 3,
    /// A request that was answered.
    Answer = 6,
}

/// There is nothing left to pay with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

/// One connection's points.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    /// Time is counted from here.
    since: Instant,
}

impl Budget {
    /// All of it, at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            since: now,
        }
    }

    /// Pays.
    ///
    /// # Errors
    /// Where it cannot.
    #[inline]
    pub fn pay(&mut self, cost: Cost) -> Result<(), Spent> {
        self.pay_at(cost, Instant::now)
    }

    /// Pays; the clock is asked only where it matters.
    ///
    /// # Errors
    /// Where it cannot.
    #[inline]
    pub fn pay_at(&mut self, cost: Cost, now: impl FnOnce() -> Instant) -> Result<(), Spent> {
        let cost = cost as u32;
        if self.left < cost {
            self.refill(now());
        }
        self.left = self.left.checked_sub(cost).ok_or(Spent)?;
        Ok(())
    }

    /// Earns.
    #[inline]
    pub fn earn(&mut self, earned: Earned) {
        self.left = (self.left + earned as u32).min(MOST);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_millis();
        let back = passed * u128::from(EACH_SECOND) / 1000;
        let back = u32::try_from(back).unwrap_or(MOST).min(MOST);
        if back > 0 {
            // What is too little to count is not lost.
            self.since = now;
            self.left = (self.left + back).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many of these are taken within a time, each a moment after the other.
    fn taken(cost: Cost, each: Duration, lasts: Duration) -> u32 {
        let start = Instant::now();
        let (mut budget, mut taken) = (Budget::new(start), 0);
        while each * taken < lasts && budget.pay_at(cost, || start + each * taken).is_ok() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_flood_is_soon_over() {
        let second = Duration::from_secs(1);
        assert!(taken(Cost::Trifle, Duration::from_micros(10), second) < 1200);
        assert!(taken(Cost::Waste, Duration::from_micros(10), second) < 240);
        assert!(taken(Cost::Fault, Duration::from_micros(10), second) < 120);
    }

    #[test]
    fn who_does_it_now_and_then_may_do_it_for_ever() {
        let (day, tick) = (Duration::from_secs(86_400), Duration::from_millis(11));
        assert!(u128::from(taken(Cost::Trifle, tick, day)) >= day.as_millis() / 11);
        let tick = Duration::from_millis(60);
        assert!(u128::from(taken(Cost::Waste, tick, day)) >= day.as_millis() / 60);
    }

    #[test]
    fn who_is_served_may_give_up_as_often() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..10_000 {
            budget.earn(Earned::Answer);
            assert_eq!(budget.pay_at(Cost::Waste, || now), Ok(()));
        }
    }
}
