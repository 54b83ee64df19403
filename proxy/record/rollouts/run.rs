//! Failures of the candidate one after the other, over all workers: the one count that they share. Read by every success
//! of a candidate, written by its failures and by the first success after them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The run of one rollout's candidate. The upper half is the attempt that it belongs to, so that what an earlier attempt
/// left behind is not held against the next.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Run(AtomicU64);

impl Run {
    /// A failure of this attempt; how many in a row that makes. 0 for a late one of an earlier attempt.
    pub(crate) fn failed(&self, attempt: u32) -> u32 {
        let longer = |held: u64| {
            let (of, length) = (attempt_of(held), length_of(held));
            match of.cmp(&attempt) {
                std::cmp::Ordering::Greater => None,
                std::cmp::Ordering::Equal => Some(packed(attempt, length.saturating_add(1))),
                std::cmp::Ordering::Less => Some(packed(attempt, 1)),
            }
        };
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer)
        {
            Ok(before) if attempt_of(before) == attempt => length_of(before).saturating_add(1),
            Ok(_) => 1,
            Err(_) => 0,
        }
    }

    /// A success of this attempt ends the run.
    pub(crate) fn succeeded(&self, attempt: u32) {
        let held = self.0.load(Ordering::Relaxed);
        if length_of(held) != 0 && attempt_of(held) <= attempt {
            self.0.store(packed(attempt, 0), Ordering::Relaxed);
        }
    }

    /// Its length, where it is of this attempt.
    pub(crate) fn length(&self, attempt: u32) -> u32 {
        let held = self.0.load(Ordering::Relaxed);
        if attempt_of(held) == attempt {
            length_of(held)
        } else {
            0
        }
    }
}

fn packed(attempt: u32, length: u32) -> u64 {
    u64::from(attempt) << 32 | u64::from(length)
}

fn attempt_of(held: u64) -> u32 {
    (held >> 32) as u32
}

fn length_of(held: u64) -> u32 {
    held as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_a_run_and_another_attempt_begins_its_own() {
        let run = Run::default();
        assert_eq!([run.failed(1), run.failed(1), run.failed(1)], [1, 2, 3]);
        run.succeeded(1);
        assert_eq!((run.length(1), run.failed(1)), (0, 1));
        assert_eq!(run.failed(2), 1, "nothing is left of the first attempt");
        assert_eq!(run.failed(1), 0, "a late failure of the first");
        run.succeeded(1);
        assert_eq!(run.failed(2), 2, "a late success of the first ends nothing");
        assert_eq!((run.length(1), run.length(2)), (0, 2));
    }
}
