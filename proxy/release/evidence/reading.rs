//! What a comparison says, in numbers, for a reason that a tired operator understands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bits;
use super::material::Counts;

/// What follows from the evidence of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// Nothing that should change anything.
    Nothing,
    /// The candidate fails more, but the fresh window does not agree or the difference is not material: no growth, and a
    /// warning.
    Suspect(Reading),
    /// The candidate is worse: roll it back. It stays found, whatever comes after.
    Worse(Reading),
}

/// The numbers behind a finding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Units on the candidate whose first failure in this epoch was counted.
    pub candidate_units: u64,
    /// The same on stable.
    pub stable_units: u64,
    /// E.
    #[serde(with = "bits")]
    pub evidence: f64,
    /// Where E acts in this epoch.
    #[serde(with = "bits")]
    pub threshold: f64,
    /// Whether the candidate has been seen to be better in this epoch, so that the fresh window must agree.
    pub better_seen: bool,
    /// E over the fresh window.
    #[serde(with = "bits")]
    pub fresh: f64,
    /// Whether the difference is worth a rollback.
    pub is_material: bool,
    /// Requests of the span in which that was looked for.
    pub counts: Counts,
}

impl Reading {
    /// Whether E has reached its threshold, whatever the other conditions say.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.evidence >= self.threshold
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.is_worse()
            && (!self.better_seen || self.fresh >= super::comparison::FRESH_LEVEL)
            && self.is_material
    }

    /// How far the evidence has come: 0 at the start, 1 where it acts, in between as the logarithm goes.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.acts() {
            return 1.0;
        }
        // What is only suspected has not tripped, and must not look so.
        (self.evidence.max(1.0).ln() / self.threshold.ln()).clamp(0.0, 0.99)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (candidate, stable) = (self.counts.candidate, self.counts.stable);
        write!(
            f,
            "{} users were hit on the candidate and {} on stable (candidate {} of {} requests, stable {} of {}); evidence {} \
             (acts at {:.0})",
            self.candidate_units,
            self.stable_units,
            candidate.bad,
            candidate.requests,
            stable.bad,
            stable.requests,
            Size(self.evidence),
            self.threshold,
        )
    }
}

/// Evidence as people read it: whole, or by its magnitude where that is all there is to see.
struct Size(f64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1e9 {
            write!(f, "{:.0}", self.0)
        } else {
            write!(f, "{:.0e}", self.0)
        }
    }
}
