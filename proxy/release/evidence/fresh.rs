//! The fresh window: the same stakes over the last events alone, with users counted anew. It is no test of its own, and
//! needs no bound: it can only refuse what the evidence asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capital::Capital;
use super::material::Counts;

/// A window lasts at least so long …
const LEAST_AGE: Duration = Duration::from_secs(60);
/// … and until it has so many events …
const LEAST_EVENTS: u64 = 128;
/// … but never longer than this.
const MOST_AGE: Duration = Duration::from_secs(3600);

/// The window that is open. Nothing about arms decides when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fresh {
    /// Tells its units from those of the windows before.
    pub(super) id: u32,
    since: Duration,
    /// Stakes since it began.
    pub(super) capital: Capital<8>,
    /// Requests since it began.
    pub(super) counts: Counts,
}

impl Fresh {
    /// The first window.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            id: 0,
            since: now,
            capital: Capital::new(),
            counts: Counts::default(),
        }
    }

    /// The next window begins.
    pub(super) fn restart(&mut self, now: Duration) {
        *self = Self {
            id: self.id.wrapping_add(1),
            ..Self::new(now)
        };
    }

    /// Ends the window if it has seen enough or is too old.
    pub(super) fn end_if_due(&mut self, now: Duration) {
        // A clock that was set back must not keep the window open for years.
        self.since = self.since.min(now);
        let age = now - self.since;
        if age >= MOST_AGE || age >= LEAST_AGE && self.capital.steps() >= LEAST_EVENTS {
            self.restart(now);
        }
    }

    /// Ends the window if it is too old. Before an event, so that a quiet day does not weigh on the first failure after it.
    pub(super) fn end_if_old(&mut self, now: Duration) {
        if now.saturating_sub(self.since) >= MOST_AGE {
            self.restart(now);
        }
    }
}
