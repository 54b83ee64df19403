//! How fast a caller takes its answers, as the sweeps see it over a whole connection.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::workers::UNSENT;
use crate::http1::wire::Signs;
use crate::record::{ListenerId, Reason, WorkerLedger};
use crate::upstream::pace::Pace;

/// How fast answers must be read, and where it is counted that one was not.
#[derive(Debug)]
pub struct Reading {
    rate: Option<NonZeroU64>,
    pace: Cell<Option<Pace>>,
    /// When it was last looked at, and how much had been taken by then.
    seen: Cell<(Instant, u64)>,
    ledger: WorkerLedger,
    listener: ListenerId,
}

impl Reading {
    /// At least `rate` bytes a second of what waits.
    pub fn new(rate: Option<NonZeroU64>, ledger: WorkerLedger, listener: ListenerId) -> Self {
        // Nobody is blamed for what the system does not show.
        let pace = rate.map(|rate| Pace::new(rate, u64::from(UNSENT), Duration::ZERO));
        Self {
            rate,
            pace: Cell::new(pace),
            seen: Cell::new((Instant::now(), 0)),
            ledger,
            listener,
        }
    }

    /// Whether the caller has taken too little while something waited for it.
    pub(super) fn is_slow(&self, signs: &Signs, now: Instant) -> bool {
        let Some(mut pace) = self.pace.get() else {
            return false;
        };
        let sent = signs.sent.get();
        let (then, before) = self.seen.replace((now, sent));
        let waited = signs
            .stuck
            .get()
            .then(|| now.saturating_duration_since(then));
        pace.moved_within(sent - before, waited.unwrap_or_default());
        self.pace.set(Some(pace));
        pace.is_lost()
    }

    /// How many bytes a second must be taken.
    pub(super) fn rate(&self) -> Option<NonZeroU64> {
        self.rate
    }

    /// Counts that the listener turned somebody away.
    pub(super) fn refuse(&self, reason: Reason) {
        self.ledger.refuse(self.listener, reason);
    }
}
