//! What a restart finds.

use std::time::Duration;

use super::Rollout;
use crate::release::phase::Phase;
use crate::release::verdict::{Cause, Reason};

impl Rollout {
    /// The rollout as a latch remembers it: rolled back, whatever the state that was found beside it says.
    #[must_use]
    pub fn latched(&self, words: &str, now: Duration) -> Self {
        let mut next = self.clone();
        if next.phase != Phase::RolledBack {
            let known = next.latches.iter().find(|latch| latch.key == next.key);
            let reason = known.map_or_else(
                || Reason {
                    cause: None,
                    text: words.to_owned().into(),
                },
                |latch| latch.reason.clone(),
            );
            next.roll_back(reason, now);
        }
        next
    }

    /// Nobody knows how far it was: it carries nothing, and an operator says whether it begins again.
    #[must_use]
    pub fn unsure(&self, why: &str, now: Duration) -> Self {
        let mut next = self.clone();
        let text = format!(
            "{why}; nobody is on the candidate: `resume` begins again, `rollback` leaves it"
        );
        next.pause(Reason::plain(text), now);
        next
    }

    /// The attempt that a latch remembers, where no state is found beside it.
    #[must_use]
    pub fn of_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt.max(1);
        self
    }

    /// What went against it, in the word of metrics.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.reason.cause.as_ref()
    }
}
