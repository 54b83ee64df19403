//! How slowly a caller may go. A caller that is waited for uses up its patience; what it moves meanwhile wins some of it
//! back, so that it runs out where the caller is slower than its bound on average.

use std::num::NonZeroU64;
use std::time::Duration;

/// Before its rate counts, a caller may take so long: to begin, and over all that it is slower later. As long as a head may
/// take by default: a telephone between two cells is silent for some seconds, and an attacker that is cut off comes again,
/// which costs more than to let it wait.
pub const GRACE: Duration = Duration::from_secs(10);

/// What is left of the patience with one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    rate: NonZeroU64,
    left: Duration,
    most: Duration,
}

impl Pace {
    /// Patience with whoever moves `rate` bytes a second: at first [`GRACE`], and as long as `unseen` bytes take, which
    /// may move without our seeing it. Who is faster gathers more of it, up to `most`.
    pub fn new(rate: NonZeroU64, unseen: u64, most: Duration) -> Self {
        let left = GRACE + time_of(unseen, rate);
        Self {
            rate,
            left,
            most: most.max(left),
        }
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// It was waited for so long.
    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// So many bytes were moved.
    pub fn moved(&mut self, bytes: u64) {
        self.left = (self.left + time_of(bytes, self.rate)).min(self.most);
    }

    /// So many bytes were moved while it was waited for so long. What was moved counts first: else who trickles would win
    /// back a little of what is long used up, each time.
    pub fn moved_within(&mut self, bytes: u64, time: Duration) {
        self.moved(bytes);
        self.waited(time);
    }

    /// Whether nothing is left of it.
    pub fn is_lost(&self) -> bool {
        self.left.is_zero()
    }
}

/// How long so many bytes take at this rate; bounded, so that sums of it are times.
fn time_of(bytes: u64, rate: NonZeroU64) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let nanos = u128::from(bytes) * NANOS / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(unseen: u64) -> Pace {
        let rate = NonZeroU64::new(240).expect("more than nothing");
        Pace::new(rate, unseen, Duration::from_secs(30))
    }

    /// After how many seconds at `rate` bytes a second it is lost, if it is within an hour.
    fn lost_after(mut pace: Pace, rate: u64) -> Option<u32> {
        (1..3600).find(|_| {
            pace.moved_within(rate, SECOND);
            pace.is_lost()
        })
    }

    #[test]
    fn who_is_slower_than_the_bound_loses_it_and_who_is_not_never_does() {
        assert_eq!(lost_after(pace(0), 0), Some(10));
        assert_eq!(lost_after(pace(0), 1), Some(11));
        assert_eq!(lost_after(pace(0), 120), Some(20));
        assert_eq!(lost_after(pace(0), 240), None);
        assert_eq!(lost_after(pace(0), 100_000), None);
        assert_eq!(lost_after(pace(2400), 0), Some(20));
    }

    #[test]
    fn who_was_fast_may_rest_but_not_for_ever() {
        let mut fast = pace(0);
        fast.moved(1 << 40);
        assert_eq!(fast.left(), Duration::from_secs(30));
        assert_eq!(lost_after(fast, 0), Some(30));
        let mut odd = pace(u64::MAX);
        odd.moved(u64::MAX);
        assert!(!odd.is_lost());
    }
}
