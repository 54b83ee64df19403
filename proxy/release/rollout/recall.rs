//! A rollback that was written down faster than the rest.

use std::time::Duration;

use super::Rollout;
use crate::release::key::Key;
use crate::release::phase::Phase;
use crate::release::verdict::Reason;

impl Rollout {
    /// The rollout as it must be where a latch, which is written before anything else, says that this attempt of this plan
    /// was rolled back. A journal that is older than its latch is corrected; one that is newer (a retry, another plan) stays.
    #[must_use]
    pub fn recalled(&self, key: Key, attempt: u32, reason: Reason, now: Duration) -> Self {
        let mut next = self.clone();
        let knows = matches!(self.phase, Phase::RolledBack | Phase::Superseded);
        if attempt < self.attempt || attempt == self.attempt && knows {
            return next;
        }
        next.key = key;
        next.attempt = attempt;
        next.roll_back(reason, now);
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
}
