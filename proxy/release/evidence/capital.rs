//! The stakes of one process: one a relative risk, multiplied by every event, with a little fresh capital before each.

use serde::{Deserialize, Serialize};

use super::bits;
use super::event::Arm;

/// The relative risks that the candidate may have if it is worse. Equal weights.
pub(super) const WORSE: [f64; 8] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0];

/// The relative risks that the candidate may have if it is better.
pub(super) const BETTER: [f64; 5] = [2.0 / 3.0, 0.5, 1.0 / 3.0, 0.1, 0.0];

/// After so many events there is no fresh capital left.
pub(super) const EVENTS_PAID: u64 = 1_000_000;

/// The sum of 1/i for i up to [`EVENTS_PAID`].
const HARMONIC: f64 = 14.392_726_722_865_724;

/// No stake grows beyond this: far above any threshold, far below where a sum of stakes is no number any more.
const MOST: f64 = 1e300;

/// `M(ψ)` for a grid of N relative risks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Capital<const N: usize> {
    /// Events so far.
    steps: u64,
    #[serde(with = "bits::many")]
    stakes: [f64; N],
}

impl<const N: usize> Capital<N> {
    /// Nothing at stake.
    pub(super) const fn new() -> Self {
        Self {
            steps: 0,
            stakes: [0.0; N],
        }
    }

    /// Events so far.
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// The mean over the grid, E.
    pub(super) fn mean(&self) -> f64 {
        self.stakes.iter().sum::<f64>() / N as f64
    }

    /// One event: `M ← (M + γ)·ψ^a / (1 + W(ψ − 1))`, with 0 < W < 1.
    pub(super) fn step(&mut self, grid: &[f64; N], weight: f64, arm: Arm) {
        self.bet(|k| {
            let risk = grid[k];
            let seen = if arm == Arm::Candidate { risk } else { 1.0 };
            seen / (1.0 + weight * (risk - 1.0))
        });
    }

    /// One event by the factor that each stake is multiplied with.
    pub(super) fn bet(&mut self, factor: impl Fn(usize) -> f64) {
        self.steps = self.steps.saturating_add(1);
        let fresh = fresh_capital(self.steps);
        for (k, stake) in self.stakes.iter_mut().enumerate() {
            *stake = ((*stake + fresh) * factor(k)).min(MOST);
        }
    }
}

/// γ of event i, from 1: one half for a candidate that is bad from the start, the other spread over all later starts. The
/// sum over all events is exactly 1, and a start at event i costs `ln i + 3.4` nats.
pub(super) fn fresh_capital(i: u64) -> f64 {
    let first = if i == 1 { 0.5 } else { 0.0 };
    match i {
        0 => 0.0,
        1..=EVENTS_PAID => first + 0.5 / (HARMONIC * i as f64),
        _ => 0.0,
    }
}
