//! About how many different users there were: a HyperLogLog of 1 024 registers (Flajolet et al. 2007), with linear counting
//! where they are few. Two such sketches become one by the larger register of each, so a user who met two workers counts
//! once. The standard error is 3.3 % (1.04/√1024); up to a few hundred users it is below that.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

use crate::record::Arm;

const BITS: u32 = 10;
/// Registers of a sketch.
pub(super) const REGISTERS: usize = 1 << BITS;
/// The window that is filled and the one before it.
const KEPT: usize = 2;

/// One worker's users of one rollout by arm, in this window and the last. One writer.
#[derive(Debug)]
pub(super) struct Units([Window; KEPT]);

#[derive(Debug)]
struct Window {
    /// Which window this is; 0 while it is none.
    number: AtomicU32,
    arms: [[AtomicU8; REGISTERS]; 2],
}

/// The largest of each register, over workers.
pub(super) struct Union([u8; REGISTERS]);

impl Default for Units {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Window {
            number: AtomicU32::new(0),
            arms: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU8::new(0))),
        }))
    }
}

impl Units {
    /// A user was seen in this window. `unit` is a hash of the key, or for a request without one a random number.
    pub(super) fn see(&self, window: u32, arm: Arm, unit: u64) {
        let held = &self.0[window as usize % KEPT];
        if held.number.load(Ordering::Relaxed) != window {
            held.begin(window);
        }
        let (register, rank) = place(unit);
        let register = &held.arms[arm as usize][register];
        if register.load(Ordering::Relaxed) < rank {
            register.store(rank, Ordering::Relaxed);
        }
    }

    /// Adds the users of a window to a union; none where this worker saw nobody in it, or has begun a later one.
    pub(super) fn add_to(&self, window: u32, arm: Arm, union: &mut Union) {
        let held = &self.0[window as usize % KEPT];
        if held.number.load(Ordering::Acquire) != window {
            return;
        }
        let mut seen = union.0;
        for (sum, register) in seen.iter_mut().zip(&held.arms[arm as usize]) {
            *sum = (*sum).max(register.load(Ordering::Relaxed));
        }
        // Its worker may have begun a later window meanwhile: then what was read is of both.
        fence(Ordering::Acquire);
        if held.number.load(Ordering::Relaxed) == window {
            union.0 = seen;
        }
    }
}

impl Window {
    #[cold]
    fn begin(&self, window: u32) {
        self.number.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        for register in self.arms.iter().flatten() {
            register.store(0, Ordering::Relaxed);
        }
        self.number.store(window, Ordering::Release);
    }
}

impl Default for Union {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

impl Union {
    /// About how many.
    pub(super) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let alpha = 0.7213 / (1.0 + 1.079 / registers);
        let raw = alpha * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        let about = if raw <= 2.5 * registers && empty > 0 {
            registers * (registers / empty as f64).ln()
        } else {
            raw
        };
        about.round() as u64
    }
}

/// The register of a unit, and its rank there.
fn place(unit: u64) -> (usize, u8) {
    // Mixed again (the finish of splitmix64): the arm is chosen by the upper bits, so those of a candidate's users are far
    // from even.
    let mut mixed = unit ^ (unit >> 30);
    mixed = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let register = mixed as usize & (REGISTERS - 1);
    let rest = mixed >> BITS | 1 << (64 - BITS);
    (register, rest.trailing_zeros() as u8 + 1)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn hash(user: u64) -> u64 {
        xxh3_64(&user.to_le_bytes())
    }

    fn estimate(all: &[&Units], window: u32, arm: Arm) -> u64 {
        let mut union = Union::default();
        all.iter()
            .for_each(|units| units.add_to(window, arm, &mut union));
        union.estimate()
    }

    #[test]
    fn users_are_known_to_ten_percent_however_often_and_wherever_they_come() {
        for count in [0, 1, 5, 20, 100, 500, 2_000, 10_000, 200_000_u64] {
            let workers = [Units::default(), Units::default()];
            for user in 0..count {
                for turn in 0..3 {
                    workers[turn % 2].see(1, Arm::Candidate, hash(user));
                }
            }
            let both = [&workers[0], &workers[1]];
            let about = estimate(&both, 1, Arm::Candidate);
            let allowed = (count as f64 * 0.1).max(1.0);
            assert!(about.abs_diff(count) as f64 <= allowed, "{count}: {about}");
            assert_eq!(estimate(&both, 1, Arm::Stable), 0);
        }
    }

    #[test]
    fn the_few_users_of_a_small_weight_are_counted_as_well_as_any() {
        let units = Units::default();
        let small = (0..400_000).map(hash).filter(|unit| unit >> 57 == 0);
        let count = small
            .inspect(|unit| units.see(1, Arm::Candidate, *unit))
            .count() as u64;
        let about = estimate(&[&units], 1, Arm::Candidate);
        assert!(
            count > 2_500 && about.abs_diff(count) * 10 < count,
            "{count}: {about}"
        );
    }

    #[test]
    fn a_window_is_readable_until_the_next_but_one_begins() {
        let units = Units::default();
        for window in 1..6 {
            (0..50).for_each(|user| units.see(window, Arm::Stable, hash(user + u64::from(window))));
            let of = |window| estimate(&[&units], window, Arm::Stable);
            assert!((48..=52).contains(&of(window)), "{}", of(window));
            if window > 1 {
                assert!((48..=52).contains(&of(window - 1)));
            }
            assert_eq!(of(window.wrapping_sub(2)), 0, "forgotten");
            assert_eq!(of(window + 1), 0, "nobody yet");
        }
    }
}
