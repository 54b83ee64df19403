//! The counts of one version: what a worker adds up, and what comes out when control adds up the workers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::record::{Blame, FailureKind, Outcome};
use crate::transport::fault::Fault;

/// Upper bounds of the duration histogram, with the words that Prometheus knows them by.
///
/// The usual ladder of 1, 2.5, 5, with half a millisecond below (a local service answers in less than one) and 30 s
/// above (the default request timeout is 15 s, and a retry or a stream may take longer).
pub const BOUNDS: [(Duration, &str); 15] = [
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_millis(2500), "2.5"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(10), "10"),
    (Duration::from_secs(30), "30"),
];

const BUCKETS: usize = BOUNDS.len() + 1;
const KINDS: usize = FailureKind::ALL.len();
const FAULTS: usize = Fault::WORDS.len();

/// Adds to a counter that only this thread writes: a load and a store, where `fetch_add` would lock the line.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

/// Moves a gauge that only this thread writes.
pub(crate) fn shift(gauge: &AtomicI64, by: i64) {
    gauge.store(
        gauge.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

/// One worker's counts of one version, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Tally {
    /// Requests by duration, not cumulative. Their sum is the number of requests, so that is not counted apart.
    buckets: [AtomicU64; BUCKETS],
    /// Microseconds: 64 bits of nanoseconds would overflow in weeks where ten thousand requests wait at a time.
    micros: AtomicU64,
    /// Failures that are the version's fault.
    failures: [AtomicU64; KINDS],
    pub(crate) fallbacks: AtomicU64,
    /// Handshakes of TLS with its endpoints that failed, by [`Fault::kind`].
    pub(crate) handshakes: [AtomicU64; FAULTS],
    pub(crate) connections: AtomicI64,
}

impl Tally {
    /// Counts one exchange. Only the worker that owns this tally may call it.
    pub(crate) fn settle(&self, outcome: &Outcome) {
        let bucket = BOUNDS
            .iter()
            .take_while(|(bound, _)| outcome.duration > *bound)
            .count();
        bump(&self.buckets[bucket], 1);
        bump(
            &self.micros,
            u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
        );
        if let Some(failure) = outcome
            .failure
            .filter(|failure| failure.blame == Blame::Version)
        {
            let count = &self.failures[failure.kind as usize];
            // Released after the request was counted, see `add_to`.
            count.store(
                count.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Release,
            );
        }
    }

    /// Adds these counts to a sum; from any thread.
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        // Failures before requests: whoever reads in the middle of a settle may miss a failure for a moment, but never
        // sees more failures than requests.
        for (sum, count) in totals.by_kind.iter_mut().zip(&self.failures) {
            *sum += count.load(Ordering::Acquire);
        }
        for (sum, count) in totals.buckets.iter_mut().zip(&self.buckets) {
            *sum += count.load(Ordering::Relaxed);
        }
        totals.micros = totals
            .micros
            .wrapping_add(self.micros.load(Ordering::Relaxed));
        for (sum, count) in totals.handshakes.iter_mut().zip(&self.handshakes) {
            *sum += count.load(Ordering::Relaxed);
        }
        totals.fallbacks += self.fallbacks.load(Ordering::Relaxed);
        totals.connections += self.connections.load(Ordering::Relaxed);
    }
}

/// The counts of one version since the start of the process, over all workers. Exact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) micros: u64,
    pub(crate) by_kind: [u64; KINDS],
    /// Requests of this version that another version answered in its place.
    pub fallbacks: u64,
    /// Handshakes of TLS with its endpoints that failed, in the order of [`Fault::WORDS`].
    pub handshakes: [u64; FAULTS],
    /// Open connections to its endpoints.
    pub connections: i64,
}

impl Totals {
    /// Exchanges that were routed to it and have ended, whoever was to blame for how.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Exchanges that it failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    /// Exchanges that it failed in this way.
    #[must_use]
    pub fn failures_of(&self, kind: FailureKind) -> u64 {
        self.by_kind[kind as usize]
    }

    /// The time that all its exchanges took together.
    #[must_use]
    pub fn duration_sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// Exchanges by duration: at `i` those above bound `i - 1` and not above bound `i` of [`BOUNDS`]; the last is
    /// above all bounds.
    #[must_use]
    pub fn durations(&self) -> &[u64] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(duration: Duration) -> Totals {
        let tally = Tally::default();
        tally.settle(&Outcome::answered(200, duration));
        let mut totals = Totals::default();
        tally.add_to(&mut totals);
        totals
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for (i, (bound, word)) in BOUNDS.iter().enumerate() {
            assert_eq!(after(*bound).buckets[i], 1, "exactly {word} s");
            assert_eq!(
                after(*bound + Duration::from_nanos(1)).buckets[i + 1],
                1,
                "just above {word} s"
            );
        }
    }

    #[test]
    fn the_words_of_the_bounds_are_their_seconds_and_rise() {
        for (bound, word) in BOUNDS {
            assert_eq!(word.parse::<f64>().unwrap(), bound.as_secs_f64());
        }
        assert!(BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn only_the_versions_own_failures_count_against_it() {
        let tally = Tally::default();
        for kind in FailureKind::ALL {
            tally.settle(&Outcome {
                status: 500,
                failure: Some(kind.failure()),
                duration: Duration::ZERO,
            });
        }
        let mut totals = Totals::default();
        tally.add_to(&mut totals);
        assert_eq!(totals.requests(), FailureKind::ALL.len() as u64);
        assert_eq!(totals.failures(), 10);
        assert_eq!(totals.failures_of(FailureKind::Aborted), 0);
        assert_eq!(totals.failures_of(FailureKind::Truncated), 1);
    }
}
