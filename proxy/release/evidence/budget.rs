//! How much of α, the probability that a harmless candidate is ever rolled back, each test may spend. The parts add up to
//! α, and a union bound holds whatever the tests have to do with each other.

use serde::{Deserialize, Serialize};
use tidegate_config::Share;

/// What is compared, each by evidence of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Failures that the version is to blame for, of any kind.
    Errors,
    /// Requests that took longer than [`super::Pace`] allows, or were given up by their client after that.
    Slow,
    /// Connections that the version did not accept.
    Connect,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Slow, Self::Connect];

    /// The label of metrics and the word in reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Connect => "connect",
        }
    }
}

/// α of one rollout, and its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    alpha: f64,
}

impl Budget {
    /// α as the file writes it (`false_rollback`). Nothing at all means that no test ever acts.
    #[must_use]
    pub fn new(false_rollback: Share) -> Self {
        Self {
            alpha: f64::from(false_rollback.parts()) / f64::from(Share::FULL.parts()),
        }
    }

    /// The part of a metric, over all its epochs.
    #[must_use]
    pub fn of(&self, metric: Metric) -> f64 {
        self.alpha
            * match metric {
                Metric::Errors => 0.5,
                Metric::Slow => 0.2,
                Metric::Connect => 0.1,
            }
    }

    /// The part of the test at 100 %.
    #[must_use]
    pub fn absolute(&self) -> f64 {
        self.alpha * 0.1
    }

    /// The part of each of so many cohorts that are judged one by one.
    #[must_use]
    pub fn cohort(&self, cohorts: usize) -> f64 {
        self.alpha * 0.1 / cohorts.max(1) as f64
    }
}

impl Default for Budget {
    /// One harmless rollout in a thousand.
    fn default() -> Self {
        Self { alpha: 0.001 }
    }
}
