//! What the judge tells the workers: the time above which a request is slow, and which attempt is judged.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Stands for "nothing is slow".
const NONE: u64 = u64::MAX;

/// The slow bound in force, and the attempt that it is for. Read by every request of a rollout that ends, written every few
/// seconds: a cache line of its own that all workers share.
#[derive(Debug)]
#[repr(align(64))]
pub struct SlowBound {
    micros: AtomicU64,
    /// 0 where no judge has said it.
    attempt: AtomicU32,
}

impl Default for SlowBound {
    fn default() -> Self {
        Self {
            micros: AtomicU64::new(NONE),
            attempt: AtomicU32::new(0),
        }
    }
}

impl SlowBound {
    /// Requests that take longer are slow from now on; `None`: none is.
    pub fn set(&self, bound: Option<Duration>) {
        let micros = bound.map_or(NONE, |bound| {
            u64::try_from(bound.as_micros()).unwrap_or(NONE)
        });
        self.micros.store(micros, Ordering::Relaxed);
    }

    /// From now on this attempt is judged. Requests of another one say nothing about it: those that end late are not
    /// counted. Said before anybody is routed by it.
    pub fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// Whether a request of this attempt is counted.
    pub(crate) fn is_judged(&self, attempt: u32) -> bool {
        let judged = self.attempt.load(Ordering::Relaxed);
        judged == attempt || judged == 0
    }

    /// The bound in force.
    pub fn get(&self) -> Option<Duration> {
        let micros = self.micros.load(Ordering::Relaxed);
        (micros != NONE).then(|| Duration::from_micros(micros))
    }

    /// Whether so many microseconds are slow.
    pub(crate) fn is_below(&self, micros: u64) -> bool {
        micros > self.micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_there_is_a_bound_nothing_is_slow() {
        let bound = SlowBound::default();
        assert!(!bound.is_below(u64::MAX));
        bound.set(Some(Duration::from_millis(5)));
        assert_eq!(bound.get(), Some(Duration::from_millis(5)));
        assert!(!bound.is_below(5_000), "the bound itself is not above it");
        assert!(bound.is_below(5_001));
        bound.set(None);
        assert!(!bound.is_below(u64::MAX));
    }
}
