//! An answer's body on its way over one stream of HTTP/2, and how long its caller makes no room for it.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::exchange::Answer;
use crate::upstream::pace::Pace;

/// How far callers may be behind in telling that they have read: most do so when half of their window is used up.
const UNTOLD: u64 = 64 * 1024;

/// An answer's body on its way.
pub(super) struct Sending {
    pub(super) answer: Answer,
    /// Of its last piece, what was not sent.
    pub(super) rest: Bytes,
    /// It waits for a window, since when the sweeps saw it.
    pub(super) blocked: Option<Option<Instant>>,
    /// What was sent of it since the sweeps looked.
    pub(super) sent: u64,
    /// How slowly it may go, once they have.
    pace: Option<Pace>,
}

impl Sending {
    /// One whose head is on its way.
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            answer,
            rest: Bytes::new(),
            blocked: None,
            sent: 0,
            pace: None,
        }
    }

    /// Notes whether it waits for a window.
    pub(super) fn block(&mut self, all: &mut usize, blocked: bool) {
        match (&self.blocked, blocked) {
            (None, true) => {
                *all += 1;
                self.blocked = Some(None);
            }
            (Some(_), false) => {
                *all -= 1;
                self.blocked = None;
            }
            _ => {}
        }
    }

    /// Whether its caller makes too little room for it: none for `silence`, or less than `rate` bytes a second, after
    /// another `time`.
    pub(super) fn is_untaken(
        &mut self,
        now: Instant,
        time: Duration,
        silence: Duration,
        rate: Option<NonZeroU64>,
    ) -> bool {
        let sent = std::mem::take(&mut self.sent);
        let mut is_slow = false;
        if let Some(rate) = rate {
            let mut pace = self
                .pace
                .unwrap_or_else(|| Pace::new(rate, UNTOLD, Duration::ZERO));
            let waited = self.blocked.is_some().then_some(time);
            pace.moved_within(sent, waited.unwrap_or_default());
            self.pace = Some(pace);
            is_slow = pace.is_lost();
        }
        let Some(since) = &mut self.blocked else {
            return false;
        };
        is_slow || now.saturating_duration_since(*since.get_or_insert(now)) >= silence
    }
}
