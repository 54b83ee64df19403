//! What keeps watch at 100 %, where there is nothing to compare with: a bet on the share of users who fail.
//!
//! Window t has `X_t` = distinct users with a failure / distinct users. The hypothesis is `E[X_t | past] ≤ p0`, with
//! `p0 = max(0.5 %, 2 × the highest ten-minute share of stable in this rollout)`, frozen on reaching 100 %. For the stakes
//! f = 0.05, 0.2, 0.8
//!
//! ```text
//! M_t(f) = (M_{t−1}(f) + γ_t) · (1 + (f/p0)·(X_t − p0))           act when their mean reaches 1/α
//! ```
//!
//! with the γ of the comparison. The factor is linear in `X_t`, so its mean is at most 1 under the hypothesis however the
//! failures inside a window hang together, and it is at least 1 − f > 0; Ville's inequality does the rest.
//!
//! It judges the world and not the candidate: a shared outage looks the same. It takes some windows, so thresholds are
//! faster and come first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bits;
use super::capital::Capital;

/// The stakes.
const STAKES: [f64; 3] = [0.05, 0.2, 0.8];

/// A window lasts at least so long …
pub const LEAST_AGE: Duration = Duration::from_secs(10);
/// … and until it has so many users …
pub const LEAST_USERS: u64 = 20;
/// … but if it has not by then, it is dropped.
pub const MOST_AGE: Duration = Duration::from_secs(600);

/// Stable's share is taken over windows of this length.
pub const STABLE_WINDOW: Duration = Duration::from_secs(600);

/// A share of failing users that is always allowed.
const LEAST_ALLOWED: f64 = 0.005;

/// Distinct users of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Users {
    /// Who made a request.
    pub active: u64,
    /// Who had a failure.
    pub failing: u64,
}

impl Users {
    fn share(&self) -> f64 {
        (self.failing as f64 / self.active.max(1) as f64).min(1.0)
    }
}

/// What became of the window that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// It goes on: keep counting its users.
    Open,
    /// It is over: begin with no users. It counted, unless too few came.
    Over,
}

/// The test at 100 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absolute {
    #[serde(with = "bits")]
    alpha: f64,
    /// The highest share of stable.
    #[serde(with = "bits")]
    stable: f64,
    /// Since the weight reached 100 %.
    watch: Option<Watch>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Watch {
    /// p0.
    #[serde(with = "bits")]
    allowed: f64,
    capital: Capital<3>,
    /// When the open window began.
    since: Duration,
    /// Reached once, for good.
    found: bool,
}

impl Absolute {
    /// Not watching yet.
    #[must_use]
    pub(super) fn new(alpha: f64) -> Self {
        Self {
            alpha,
            stable: 0.0,
            watch: None,
        }
    }

    /// A window of [`STABLE_WINDOW`] of stable is over. Windows with few users say nothing, and after the weight reached
    /// 100 % none does.
    pub fn stable(&mut self, users: Users) {
        if users.active >= LEAST_USERS && self.watch.is_none() {
            self.stable = self.stable.max(users.share());
        }
    }

    /// The weight is 100 %. What is allowed stays as it is from the first time on.
    pub fn watch(&mut self, now: Duration) {
        let allowed = LEAST_ALLOWED.max(2.0 * self.stable);
        let watch = self.watch.get_or_insert_with(|| Watch {
            allowed,
            capital: Capital::new(),
            since: now,
            found: false,
        });
        watch.since = now;
    }

    /// The users of the open window so far. To be called about once a second while the weight is 100 %.
    pub fn look(&mut self, now: Duration, users: Users) -> Window {
        let Some(watch) = &mut self.watch else {
            return Window::Over;
        };
        watch.since = watch.since.min(now);
        let age = now - watch.since;
        let is_enough = age >= LEAST_AGE && users.active >= LEAST_USERS;
        if !is_enough && age < MOST_AGE {
            return Window::Open;
        }
        watch.since = now;
        if is_enough {
            let excess = (users.share() - watch.allowed) / watch.allowed;
            watch.capital.bet(|k| 1.0 + STAKES[k] * excess);
            watch.found |= watch.capital.mean() * self.alpha >= 1.0;
        }
        Window::Over
    }

    /// Whether more users fail than is allowed; for good, once it was so.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.found)
    }

    /// The share of failing users that is allowed, p0; known once the weight has reached 100 %. At 1 and above, where
    /// half of stable's users failed, nothing can be found.
    #[must_use]
    pub fn allowed(&self) -> Option<f64> {
        self.watch.as_ref().map(|watch| watch.allowed)
    }

    /// The mean of the stakes.
    #[must_use]
    pub fn evidence(&self) -> f64 {
        self.watch.as_ref().map_or(0.0, |w| w.capital.mean())
    }

    /// Where the evidence acts.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        (1.0 / self.alpha).min(f64::MAX)
    }
}
