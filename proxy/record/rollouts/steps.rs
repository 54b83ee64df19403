//! Counts by time, in steps of 6 %: sixteen for each doubling, as the judge's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::record::tally::bump;

/// Steps for each doubling.
const STEPS: u64 = 16;
/// Up to five hours; what takes longer is in the last one.
pub(super) const COUNT: usize = 512;

/// Requests by time. One writer.
#[derive(Debug)]
pub(super) struct Steps([AtomicU64; COUNT]);

impl Default for Steps {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Steps {
    /// Counts one.
    pub(super) fn count(&self, micros: u64) {
        bump(&self.0[step_of(micros)], 1);
    }

    /// Adds the counts to a sum.
    pub(super) fn add_to(&self, sum: &mut [u64; COUNT]) {
        for (sum, count) in sum.iter_mut().zip(&self.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

/// The step of a time: microseconds one by one to 32, then [`STEPS`] a doubling.
fn step_of(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
    let step = (doubling + 1) * STEPS + (micros >> doubling) % STEPS;
    (step as usize).min(COUNT - 1)
}

/// The longest time of a step.
pub(super) fn end_of(step: usize) -> Duration {
    let step = step as u64;
    if step < STEPS {
        return Duration::from_micros(step);
    }
    let doubling = step / STEPS - 1;
    Duration::from_micros(((STEPS + step % STEPS + 1) << doubling) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_known_to_six_percent_up_to_five_hours() {
        let mut micros = 1.0_f64;
        while micros < 1.7e10 {
            let (time, step) = (micros as u64, step_of(micros as u64));
            let end = end_of(step).as_micros() as f64;
            assert!(
                end >= time as f64 && end <= time as f64 * 1.0625,
                "{time}: {end}"
            );
            assert_eq!(step_of(end as u64), step, "an end belongs to its own step");
            micros *= 1.01;
        }
        assert_eq!(step_of(u64::MAX), COUNT - 1);
    }
}
