//! Is the candidate worse than stable? A comparison that may be looked at after every request: a harmless candidate is
//! rolled back with probability at most α over the whole life of its rollout, whatever the traffic does meanwhile.
//!
//! # What is compared
//!
//! An event is the *first* failure of a user. Slots are random, so if failing does not depend on the version, an event
//! falls on the candidate with probability exactly W, the candidate's share of candidate and stable where the request
//! was routed: however ill the service is, however uneven its users are, whatever weights came before.
//!
//! For each relative risk ψ of a grid, event i with weight `W_i` and arm `a_i` (1 on the candidate) multiplies a stake:
//!
//! ```text
//! M_i(ψ) = (M_{i−1}(ψ) + γ_i) · ψ^a_i / (1 + W_i(ψ − 1))     M_0 = 0
//! E_i    = mean of M_i(ψ) over the grid                       ρ_i = 1 − Σ_{j≤i} γ_j
//! ```
//!
//! **Claim.** `T_i = E_i + ρ_i` is a non-negative martingale with `T_0 = 1` under the hypothesis "all that would happen to
//! every user (requests, outcomes, times: Z) does not depend on the arms". 1. The unit of event i is new in its epoch, so
//! its slot is independent of `F_{i−1} = σ(Z, a_1 … a_{i−1})` and `P(a_i = 1 | F_{i−1}) = W_i`. 2. The factor has the mean
//! `(W_i ψ + 1 − W_i)/(1 + W_i(ψ − 1)) = 1`; it is below 1 where `P(a_i = 1) < W_i`, so a better candidate, or a W that is
//! overstated, is on the safe side. 3. `E[M_i + ρ_i | F_{i−1}] = M_{i−1} + γ_i + ρ_{i−1} − γ_i`. 4. `Σ γ ≤ 1`, so
//! `T ≥ E ≥ 0`. 5. Ville's inequality: `P(∃i: E_i ≥ c) ≤ 1/c`. ∎
//!
//! The γ are fresh capital: a mixture over the moments at which the candidate may have broken. Without them a product that
//! sank in a good day would need hundreds of users to come back; with them a start at event i costs `ln i + 3.4` nats.
//!
//! # What keeps it honest
//!
//! - **Epochs.** First failures run out. When most users who fail have failed before, a new epoch begins with no stake and
//!   no memory of users. The rule never looks at arms. Epoch d acts at `E ≥ d(d+1)/α`; `Σ α/(d(d+1)) = α`, and a union
//!   bound asks for no independence.
//! - **Metrics** (errors, slow, connect) are martingales only in their own histories, so they are never averaged: each has
//!   a part of α and a threshold of its own ([`budget`]).
//! - **Better, then equal.** If stable used to hurt users and the candidate did not, those whom stable hurt have failed
//!   already, and an outage of both falls mostly on the candidate. "No worse, but different" is not the hypothesis above,
//!   so no bound covers it. Whoever was seen to be better (a mirrored process) is judged by a fresh window as well.
//! - **Small differences** are no reason: the excess in requests must be material too ([`material`]).
//!
//! Both last conditions can only make a rollback rarer, so the bound stands.
//!
//! # What is an event, and what is not
//!
//! The arm is the one that was *assigned* (slot < W), never the one that served in the end; the weight is that of the
//! snapshot that routed the request. Not fed, on either arm: forced requests, health checks, mirrored requests, other
//! rules, other versions of a split, failures that the caller or the gate is to blame for. Where nothing can be compared
//! (W = 0, or no share of stable) an event is skipped whole. A request without a user is a unit of its own.
//!
//! # What is reset, and when
//!
//! Never by a weight, up or down, a stage, a pause, a resume. All of it by a new attempt, a new candidate or stable, or
//! another definition of failure: make a new [`Evidence`]. After a restart the state goes on as it was journalled, events
//! since then replayed in order; if the users were lost, [`Evidence::units_lost`] begins a new epoch: the old stakes with
//! an empty memory would not be valid.
//!
//! # Where it cannot speak
//!
//! At a weight of 100 % ([`absolute`] keeps watch there); under a salt that another rollout shares, for users whom that one
//! harmed sit in the same slots: such a rollout must not be compared; where the versions have different timeouts, for at
//! the end of a shared outage the failures of the slower one trail behind; and with few users ([`users_needed`]).
//!
//! # Sources
//!
//! Ville, *Étude critique de la notion de collectif* (1939), for the inequality. Lindon and Malek, *Anytime-valid inference
//! for multinomial count data* (arXiv 2011.03567), and Turner, Ly and Grünwald, *Generic E-variables for exact sequential
//! k-sample tests* (arXiv 2106.02693), for the family. Shin, Ramdas and Rinaldo, *E-detectors* (arXiv 2203.03532), for
//! stakes that begin at every moment. Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*
//! (arXiv 2010.09686), for the absolute test.

pub mod absolute; // what keeps watch where there is nothing to compare with
mod bits; // numbers that come back from a journal bit by bit
pub mod budget; // how much of α each test may spend
mod capital; // the stakes of one process
mod comparison; // one metric of one rollout
mod event; // one unit that failed
mod fresh; // the window that must agree
pub mod material; // is the difference worth a rollback?
pub mod outlook; // what a comparison can be expected to need
pub mod pace; // which time is slow
mod reading; // what a test says, in numbers
mod units; // who has failed already

#[cfg(test)]
mod tests;

pub use absolute::Absolute;
pub use budget::{Budget, Metric};
pub use comparison::Comparison;
pub use event::{Arm, Event};
pub use material::{Counts, Served};
pub use pace::Pace;
pub use reading::{Finding, Reading};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;

/// For so long after a growth nothing is slow, on either arm: caches are cold.
pub const WARM_UP: Duration = Duration::from_secs(30);

/// All evidence about one attempt of one rollout. `now` is the time since any fixed moment that outlives the process,
/// such as the Unix epoch; time that goes back does no harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    errors: Comparison,
    slow: Comparison,
    connect: Comparison,
    pace: Pace,
    absolute: Absolute,
    /// The last growth of the weight.
    grown: Option<Duration>,
}

impl Evidence {
    /// No evidence yet. `min_excess` is the least difference, in shares of requests, that is worth a rollback.
    #[must_use]
    pub fn new(budget: Budget, min_excess: Share, now: Duration) -> Self {
        let comparison = |metric| Comparison::new(budget.of(metric), min_excess, now);
        Self {
            errors: comparison(Metric::Errors),
            slow: comparison(Metric::Slow),
            connect: comparison(Metric::Connect),
            pace: Pace::new(now),
            absolute: Absolute::new(budget.absolute()),
            grown: None,
        }
    }

    /// A unit failed in the sense of the metric. A refused connection is fed twice: as an error and as a connect. Counts
    /// come first ([`Self::count`]), so that this failure is among them.
    pub fn event(&mut self, metric: Metric, event: &Event) -> Finding {
        if metric == Metric::Slow && self.is_warming_up(event.at) {
            return self.slow.finding();
        }
        self.of_mut(metric).event(event)
    }

    /// So many more requests ended since the last call, by assigned arm. To be called on every look at the counters, while
    /// there is traffic several times a second.
    pub fn count(&mut self, metric: Metric, counts: &Counts) -> Finding {
        self.of_mut(metric).count(counts)
    }

    /// The weight grows now.
    pub fn grew(&mut self, now: Duration) {
        self.grown = Some(now);
    }

    /// What the metric says at present.
    #[must_use]
    pub fn finding(&self, metric: Metric) -> Finding {
        self.of(metric).finding()
    }

    /// The numbers of the metric at present.
    #[must_use]
    pub fn reading(&self, metric: Metric) -> Reading {
        self.of(metric).reading()
    }

    /// The comparison of a metric.
    #[must_use]
    pub fn of(&self, metric: Metric) -> &Comparison {
        match metric {
            Metric::Errors => &self.errors,
            Metric::Slow => &self.slow,
            Metric::Connect => &self.connect,
        }
    }

    /// Which time is slow.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Takes the times of requests in.
    pub fn pace_mut(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// The test at 100 %.
    #[must_use]
    pub fn absolute(&self) -> &Absolute {
        &self.absolute
    }

    /// Takes windows of users in.
    pub fn absolute_mut(&mut self) -> &mut Absolute {
        &mut self.absolute
    }

    /// The users who failed were lost with a journal: every metric begins a new epoch, at the price of its threshold.
    pub fn units_lost(&mut self, now: Duration) {
        for metric in Metric::ALL {
            self.of_mut(metric).units_lost(now);
        }
    }

    fn of_mut(&mut self, metric: Metric) -> &mut Comparison {
        match metric {
            Metric::Errors => &mut self.errors,
            Metric::Slow => &mut self.slow,
            Metric::Connect => &mut self.connect,
        }
    }

    fn is_warming_up(&self, at: Duration) -> bool {
        self.grown
            .is_some_and(|grown| at >= grown && at - grown < WARM_UP)
    }
}

/// From how many distinct active users on a comparison can be expected to see anything: ten of them on the candidate.
/// `None` where no number would do.
#[must_use]
pub fn users_needed(weight: Share) -> Option<u64> {
    let parts = u64::from(weight.parts());
    (parts > 0).then(|| (10 * u64::from(Share::FULL.parts())).div_ceil(parts))
}
