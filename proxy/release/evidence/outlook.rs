//! What a comparison can be expected to need, before it has seen anything. By means alone (many users, each with one
//! request), so it promises nothing; it tells an operator whether a stage is long enough.

use std::time::Duration;

use tidegate_config::Share;

use super::capital::{WORSE, fresh_capital};
use super::comparison::Comparison;
use super::event::{Arm, Event};
use super::material::{Counts, Served};
use super::reading::Finding;

/// No break is followed further than this.
const MOST_HITS: u64 = 10_000;

/// How many users a candidate that fails every request hits until it is found to be worse, where nothing failed before and
/// stable is clean: the comparison itself is asked. `None` where it would not find it.
#[must_use]
pub fn hits_of_a_total_break(alpha: f64, min_excess: Share, weight: Share) -> Option<u64> {
    let stable = Share::from_parts(Share::FULL.parts() - weight.parts())?;
    let mut comparison = Comparison::new(alpha, min_excess, Duration::ZERO);
    let mut served = 0;
    for hit in 1..=MOST_HITS {
        let stable_then = hit * u64::from(stable.parts()) / u64::from(weight.parts().max(1));
        comparison.count(&Counts {
            stable: Served {
                requests: stable_then - served,
                bad: 0,
            },
            candidate: Served {
                requests: 1,
                bad: 1,
            },
        });
        served = stable_then;
        let found = comparison.event(&Event {
            unit: Some(hit),
            arm: Arm::Candidate,
            candidate: weight,
            stable,
            at: Duration::from_millis(hit),
        });
        if matches!(found, Finding::Worse(_)) {
            return Some(hit);
        }
    }
    None
}

/// How many users a candidate that fails so often (shares of requests) is expected to hit until it is found to be worse
/// than stable. `None` where the evidence would not grow.
///
/// ```text
/// hits = (ln 1/α + ln K + ln 1/γ₁) · W p_c / max_ψ [ W p_c ln ψ − (W p_c + (1 − W) p_s) · ln(1 + W(ψ − 1)) ]
/// ```
///
/// K is the number of relative risks ψ in the grid and γ₁ the first capital: one stake of K has to reach K/α alone.
#[must_use]
pub fn hits_expected(alpha: f64, weight: Share, stable: f64, candidate: f64) -> Option<f64> {
    let share = f64::from(weight.parts()) / f64::from(Share::FULL.parts());
    let on_candidate = share * candidate;
    let events = on_candidate + (1.0 - share) * stable;
    let growth = |risk: &f64| on_candidate * risk.ln() - events * (share * (risk - 1.0)).ln_1p();
    let fastest = WORSE.iter().map(growth).fold(0.0, f64::max);
    let needed = -alpha.ln() + (WORSE.len() as f64).ln() - fresh_capital(1).ln();
    // With no share of stable, or hardly any, what is left is rounding.
    (fastest > on_candidate * 1e-9).then(|| needed * on_candidate / fastest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(parts: u32) -> Share {
        Share::from_parts(parts).unwrap()
    }

    #[test]
    fn a_total_break_is_found_after_as_many_users_as_the_table_says() {
        let table = [
            (1000, 3),
            (5000, 4),
            (10_000, 5),
            (25_000, 8),
            (50_000, 15),
            (75_000, 35),
        ];
        for (weight, hits) in table {
            let found = hits_of_a_total_break(0.0005, share(100), share(weight));
            assert_eq!(found, Some(hits), "at {}", share(weight));
        }
        assert_eq!(hits_of_a_total_break(0.0005, share(100), Share::FULL), None);
        assert_eq!(hits_of_a_total_break(0.0005, share(100), Share::ZERO), None);
        assert_eq!(hits_of_a_total_break(0.0, share(100), share(5000)), None);
    }

    /// Means of 2 000 simulated runs each.
    #[test]
    fn a_moderate_regression_is_expected_after_about_as_many_users_as_were_simulated() {
        let table = [
            (0.005, 0.01, [56.0, 76.0, 119.0]),
            (0.005, 0.02, [18.0, 26.0, 41.0]),
            (0.001, 0.005, [15.0, 21.0, 34.0]),
        ];
        for (stable, candidate, hits) in table {
            for (weight, simulated) in [5000, 25_000, 50_000].into_iter().zip(hits) {
                let expected = hits_expected(0.0005, share(weight), stable, candidate).unwrap();
                let error = (expected / simulated - 1.0_f64).abs();
                assert!(
                    error < 0.15,
                    "{stable} → {candidate} at {weight}: {expected}, not {simulated}"
                );
            }
        }
        assert_eq!(
            hits_expected(0.0005, share(5000), 0.01, 0.01),
            None,
            "nothing is worse"
        );
        assert_eq!(hits_expected(0.0005, Share::FULL, 0.01, 0.02), None);
        assert_eq!(hits_expected(0.0005, Share::ZERO, 0.01, 0.02), None);
    }
}
