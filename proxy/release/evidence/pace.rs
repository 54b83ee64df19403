//! Which time is slow: the 0.99 quantile of *all* requests of the rule, both arms together, in the last closed window; it
//! stays while the next window runs. A bound from stable alone would depend on who is on stable: a slow heavy user would
//! raise his own bound there, and not on the candidate. Where no window has closed yet, nothing is slow.
//!
//! A candidate that is slow raises this bound too, but then nearly all that is above it is the candidate's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A window lasts at least so long …
const LEAST_AGE: Duration = Duration::from_secs(10);
/// … and until it has so many requests.
const LEAST_REQUESTS: u64 = 1000;

/// Steps of time for each doubling: a time is known to 6 %.
const STEPS: u64 = 16;

/// The slow bound and the window that will give the next one. Bounded by the number of steps, about a thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    bound: Option<Duration>,
    since: Duration,
    requests: u64,
    /// Requests by step of time.
    steps: BTreeMap<u16, u64>,
}

impl Pace {
    /// Nothing is slow yet.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            bound: None,
            since: now,
            requests: 0,
            steps: BTreeMap::new(),
        }
    }

    /// Above this a request is slow.
    #[must_use]
    pub fn bound(&self) -> Option<Duration> {
        self.bound
    }

    /// Whether a request that took so long, or was given up after so long, is slow.
    #[must_use]
    pub fn is_slow(&self, time: Duration) -> bool {
        self.bound.is_some_and(|bound| time > bound)
    }

    /// So many requests of the rule, on either arm, took so long (or, by the upper ends of somebody's buckets, at most so
    /// long) since the last call. Failures that came fast are left out.
    pub fn count(&mut self, now: Duration, times: impl IntoIterator<Item = (Duration, u64)>) {
        for (time, requests) in times {
            self.requests = self.requests.saturating_add(requests);
            let step = self.steps.entry(step_of(time)).or_default();
            *step = step.saturating_add(requests);
        }
        self.since = self.since.min(now);
        if now - self.since >= LEAST_AGE && self.requests >= LEAST_REQUESTS {
            *self = Self {
                bound: self.quantile().or(self.bound),
                ..Self::new(now)
            };
        }
    }

    /// The upper end of the step that 99 % of the requests do not exceed.
    fn quantile(&self) -> Option<Duration> {
        let most_above = self.requests / 100;
        let mut above = self.requests;
        self.steps.iter().find_map(|(step, requests)| {
            above = above.saturating_sub(*requests);
            (above <= most_above).then(|| end_of(*step))
        })
    }
}

/// The step of a time: microseconds one by one to 32, then [`STEPS`] a doubling.
fn step_of(time: Duration) -> u16 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros < STEPS {
        return micros as u16;
    }
    let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
    // At most 61 · 16.
    ((doubling + 1) * STEPS + (micros >> doubling) % STEPS) as u16
}

/// The longest time of a step.
fn end_of(step: u16) -> Duration {
    let step = u64::from(step);
    if step < STEPS {
        return Duration::from_micros(step);
    }
    let doubling = (step / STEPS - 1).min(59);
    let end = (u128::from(STEPS + step % STEPS) + 1) << doubling;
    Duration::from_micros(u64::try_from(end - 1).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_known_to_six_percent() {
        let mut micros = 1.0_f64;
        while micros < 1e13 {
            let time = Duration::from_micros(micros as u64);
            let end = end_of(step_of(time));
            assert!(end >= time, "{time:?} lies above its step's end {end:?}");
            assert!(
                end.as_secs_f64() <= time.as_secs_f64() * 1.0625,
                "{time:?} became {end:?}"
            );
            micros *= 1.01;
        }
        assert_eq!(
            end_of(step_of(Duration::MAX)),
            Duration::from_micros(u64::MAX)
        );
        assert!(end_of(u16::MAX) > Duration::ZERO);
    }

    #[test]
    fn one_request_in_a_hundred_is_slow() {
        let mut pace = Pace::new(Duration::ZERO);
        let times = (1..=10_000).map(|n| (Duration::from_micros(n * 100), 1));
        assert!(
            !pace.is_slow(Duration::MAX),
            "nothing is slow before a window has closed"
        );
        pace.count(Duration::from_secs(9), times);
        assert_eq!(pace.bound(), None, "the window is too short");
        pace.count(Duration::from_secs(10), []);
        let bound = pace.bound().expect("a bound").as_secs_f64();
        assert!((0.990..=1.052).contains(&bound), "{bound}");
        pace.count(Duration::from_secs(25), [(Duration::from_secs(5), 999)]);
        assert_eq!(
            pace.bound().unwrap().as_secs_f64(),
            bound,
            "too few requests to move it"
        );
        pace.count(Duration::from_secs(26), [(Duration::from_secs(5), 1)]);
        assert!(pace.bound().unwrap() >= Duration::from_secs(5));
    }
}
