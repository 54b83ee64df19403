//! Is the difference worth a rollback? With enough users a comparison finds any difference; operators mind those above
//! `min_excess` (Δ), counted in requests.
//!
//! Two spans are looked at, and one is enough. The fresh window sees small differences surely. The last requests, between
//! ½/Δ and 1/Δ of the candidate, see a sudden break at once: over a quiet hour at high traffic the same break would take
//! hundreds of failures to reach a tenth of a percent point. In a span with k bad ones of n requests the candidate is
//! taken to have had only k − √k, so that one or two unlucky requests are no excess:
//!
//! ```text
//! material ⇔ (k_c − √k_c)/n_c − k_s/n_s ≥ Δ
//! ```
//!
//! Where stable is clean, three bad requests of the last 1/Δ are material, so this never asks for more users than the
//! evidence does. It is a filter and not a test: it bounds nothing, and can only make a rollback rarer.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;

/// Requests of one arm, and how many of them were bad in the sense of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Served {
    /// Requests that ended.
    pub requests: u64,
    /// Those that were bad.
    pub bad: u64,
}

impl Served {
    /// The share of bad ones; nothing of nothing.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.bad as f64 / self.requests.max(1) as f64
    }

    /// The share that is left when one standard deviation is given to luck.
    fn cautious_share(&self) -> f64 {
        let bad = self.bad as f64;
        (bad - bad.sqrt()) / self.requests.max(1) as f64
    }
}

impl AddAssign for Served {
    fn add_assign(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.bad = self.bad.saturating_add(more.bad);
    }
}

/// Requests of both arms in one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Those that were assigned to stable.
    pub stable: Served,
    /// Those that were assigned to the candidate.
    pub candidate: Served,
}

impl Counts {
    /// Whether the candidate is worse by at least so much.
    fn exceed(&self, min_excess: Share) -> bool {
        let least = f64::from(min_excess.parts()) / f64::from(Share::FULL.parts());
        min_excess == Share::ZERO
            || self.candidate.requests > 0
                && self.candidate.cautious_share() - self.stable.share() >= least
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.stable += more.stable;
        self.candidate += more.candidate;
    }
}

/// The last requests, in two slices: the one that is filling and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Recent {
    filling: Counts,
    before: Counts,
}

impl Recent {
    /// Takes requests in.
    pub(super) fn add(&mut self, counts: Counts, min_excess: Share) {
        self.filling += counts;
        // ½/Δ requests; a Δ of nothing needs no slices.
        let slice =
            u64::from(Share::FULL.parts()).div_ceil(2 * u64::from(min_excess.parts()).max(1));
        if self.filling.candidate.requests >= slice {
            self.before = std::mem::take(&mut self.filling);
        }
    }

    fn span(&self) -> Counts {
        let mut span = self.before;
        span += self.filling;
        span
    }
}

/// Whether one of the spans shows enough, and the span to tell of.
pub(super) fn material(fresh: &Counts, recent: &Recent, min_excess: Share) -> (bool, Counts) {
    let recent = recent.span();
    if fresh.exceed(min_excess) {
        (true, *fresh)
    } else {
        (recent.exceed(min_excess), recent)
    }
}
