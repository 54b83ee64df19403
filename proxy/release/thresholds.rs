//! What operators know: the share of failures, a quantile of times, failures in a row, no healthy endpoint. Exact counts,
//! exact comparisons.

use std::time::Duration;

use tidegate_config::plan::{ErrorRate, Guard, Latency};
use tidegate_config::units::PARTS;

use super::verdict::{Cause, Verdict};
use super::window::{Counted, Window};
use super::words::{count, part, percent, time};

/// The thresholds of one attempt of one rollout, and what they have seen.
#[derive(Debug, Clone)]
pub struct Thresholds {
    error_rate: Option<(ErrorRate, Window)>,
    latency: Option<(Latency, Window)>,
    consecutive_failures: Option<u32>,
    /// Failures in a row at present.
    run: u32,
    /// Whether anything guards at all: then an endpoint must be there.
    guards: bool,
    healthy: bool,
}

/// What thresholds have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// In the window of `error_rate`.
    pub errors: Counted,
    /// In the window of `latency`.
    pub latency: Counted,
    /// Failures in a row at present.
    pub run: u32,
}

impl Thresholds {
    /// Nothing seen.
    #[must_use]
    pub fn new(guard: &Guard) -> Self {
        let guards = guard.error_rate.is_some()
            || guard.latency.is_some()
            || guard.consecutive_failures.is_some()
            || guard.compare.is_some()
            || !guard.metrics.is_empty();
        Self {
            error_rate: guard.error_rate.map(|of| (of, Window::new(of.window))),
            latency: guard.latency.map(|of| (of, Window::new(of.window))),
            consecutive_failures: guard.consecutive_failures,
            run: 0,
            guards,
            healthy: true,
        }
    }

    /// So many more of the candidate's requests ended since the last call.
    pub fn count(&mut self, now: Duration, more: Counted) {
        if let Some((_, window)) = &mut self.error_rate {
            window.count(now, more);
        }
        if let Some((_, window)) = &mut self.latency {
            window.count(now, more);
        }
    }

    /// So many of the candidate's requests failed one after the other, up to now.
    pub fn run(&mut self, consecutive: u32) {
        self.run = consecutive;
    }

    /// Whether the candidate has a healthy endpoint.
    pub fn healthy(&mut self, healthy: bool) {
        self.healthy = healthy;
    }

    /// What they have seen, for whoever asks.
    #[must_use]
    pub fn seen(&self, now: Duration) -> Seen {
        Seen {
            errors: self
                .error_rate
                .as_ref()
                .map_or_else(Counted::default, |(_, window)| window.sum(now)),
            latency: self
                .latency
                .as_ref()
                .map_or_else(Counted::default, |(_, window)| window.sum(now)),
            run: self.run,
        }
    }

    /// What fires at present; where several do, the one that needs the fewest requests.
    #[must_use]
    pub fn verdict(&self, now: Duration) -> Option<Verdict> {
        self.no_endpoint()
            .or_else(|| self.too_many_in_a_row())
            .or_else(|| self.too_many_errors(now))
            .or_else(|| self.too_slow(now))
    }

    fn no_endpoint(&self) -> Option<Verdict> {
        (self.guards && !self.healthy)
            .then(|| Verdict::new(Cause::NoEndpoint, "candidate has no healthy endpoint"))
    }

    fn too_many_in_a_row(&self) -> Option<Verdict> {
        let allowed = self.consecutive_failures?;
        (self.run >= allowed.max(1)).then(|| {
            let text = format!(
                "candidate failed {} times in a row (guard at {})",
                count(self.run.into()),
                count(allowed.into())
            );
            Verdict::new(Cause::ConsecutiveFailures, text)
        })
    }

    fn too_many_errors(&self, now: Duration) -> Option<Verdict> {
        let (guard, window) = self.error_rate.as_ref()?;
        let seen = window.sum(now);
        let is_above = is_above(seen.failures, seen.requests, guard.above.parts());
        (seen.requests >= guard.min_requests && is_above).then(|| {
            let text = format!(
                "candidate {} errors of {} requests in {} (allowed {})",
                part(seen.failures, seen.requests),
                count(seen.requests),
                time(guard.window),
                percent(guard.above)
            );
            Verdict::new(Cause::ErrorRate, text)
        })
    }

    /// The quantile q is above a time where more than 1 − q of all requests are.
    fn too_slow(&self, now: Duration) -> Option<Verdict> {
        let (guard, window) = self.latency.as_ref()?;
        let seen = window.sum(now);
        let is_above = is_above(seen.over, seen.requests, PARTS - guard.quantile.parts());
        (seen.requests >= guard.min_requests && is_above)
            .then(|| Verdict::new(Cause::Latency, slow_text(guard, seen)))
    }
}

fn slow_text(guard: &Latency, seen: Counted) -> String {
    let quantile = guard.quantile.to_string();
    format!(
        "candidate p{} above {}: {} of {} requests in {} took longer than that",
        quantile.trim_end_matches('%'),
        time(guard.above),
        part(seen.over, seen.requests),
        count(seen.requests),
        time(guard.window),
    )
}

/// Whether `of` is more than so many hundred-thousandths of `all`.
fn is_above(of: u64, all: u64, parts: u32) -> bool {
    u128::from(of) * u128::from(PARTS) > u128::from(parts) * u128::from(all)
}

#[cfg(test)]
mod tests {
    use tidegate_config::Share;
    use tidegate_config::plan::{Compare, Failures};

    use super::*;

    fn guard() -> Guard {
        Guard {
            failures: Failures::default(),
            error_rate: Some(ErrorRate {
                above: Share::from_parts(5000).unwrap(),
                window: Duration::from_secs(30),
                min_requests: 50,
            }),
            latency: Some(Latency {
                quantile: Share::from_parts(99_000).unwrap(),
                above: Duration::from_millis(800),
                window: Duration::from_secs(30),
                min_requests: 100,
            }),
            consecutive_failures: Some(20),
            compare: None,
            metrics: Vec::new(),
        }
    }

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn after(requests: u64, failures: u64, over: u64) -> Thresholds {
        let mut thresholds = Thresholds::new(&guard());
        thresholds.count(
            NOW,
            Counted {
                requests,
                failures,
                over,
            },
        );
        thresholds
    }

    fn cause(thresholds: &Thresholds) -> Option<Cause> {
        thresholds.verdict(NOW).map(|verdict| verdict.cause)
    }

    #[test]
    fn an_error_rate_fires_strictly_above_its_share_and_with_enough_requests() {
        assert_eq!(cause(&after(49, 49, 0)), None, "too few requests");
        assert_eq!(cause(&after(50, 3, 0)), Some(Cause::ErrorRate));
        assert_eq!(cause(&after(1000, 50, 0)), None, "5 % is not above 5 %");
        assert_eq!(cause(&after(1000, 51, 0)), Some(Cause::ErrorRate));
        assert_eq!(
            cause(&after(u64::MAX, u64::MAX / 20, 0)),
            None,
            "no count is too large"
        );
        let verdict = after(1312, 97, 0).verdict(NOW).unwrap();
        assert_eq!(
            verdict.text,
            "candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)"
        );
    }

    #[test]
    fn old_failures_are_forgotten_with_their_window() {
        let thresholds = after(1000, 900, 0);
        assert!(thresholds.verdict(NOW + Duration::from_secs(29)).is_some());
        assert_eq!(thresholds.verdict(NOW + Duration::from_secs(30)), None);
    }

    #[test]
    fn a_quantile_is_too_slow_where_more_than_the_rest_is_slower() {
        assert_eq!(cause(&after(1000, 0, 10)), None);
        assert_eq!(cause(&after(99, 0, 99)), None, "too few requests");
        let slow = after(1312, 0, 42);
        let verdict = slow.verdict(NOW).unwrap();
        assert_eq!(verdict.cause, Cause::Latency);
        assert_eq!(
            verdict.text,
            "candidate p99 above 800 ms: 3.2 % of 1 312 requests in 30 s took longer than that"
        );
    }

    #[test]
    fn failures_in_a_row_fire_at_their_number_and_stop_with_a_success() {
        let mut thresholds = Thresholds::new(&guard());
        thresholds.run(19);
        assert_eq!(thresholds.verdict(NOW), None);
        thresholds.run(20);
        let verdict = thresholds.verdict(NOW).unwrap();
        assert_eq!(verdict.cause, Cause::ConsecutiveFailures);
        assert_eq!(
            verdict.text,
            "candidate failed 20 times in a row (guard at 20)"
        );
        thresholds.run(0);
        assert_eq!(thresholds.verdict(NOW), None);
    }

    #[test]
    fn a_candidate_without_a_healthy_endpoint_fires_whenever_anything_guards() {
        let none = Guard {
            error_rate: None,
            latency: None,
            consecutive_failures: None,
            ..guard()
        };
        let compares = Guard {
            compare: Some(Compare::default()),
            ..none.clone()
        };
        for (guard, fires) in [(guard(), true), (compares, true), (none, false)] {
            let mut thresholds = Thresholds::new(&guard);
            assert_eq!(thresholds.verdict(NOW), None);
            thresholds.healthy(false);
            assert_eq!(thresholds.verdict(NOW).is_some(), fires);
            thresholds.healthy(true);
            assert_eq!(thresholds.verdict(NOW), None);
        }
    }

    #[test]
    fn no_requests_are_no_failure() {
        let mut eager = guard();
        eager.error_rate.as_mut().unwrap().min_requests = 0;
        eager.latency.as_mut().unwrap().min_requests = 0;
        assert_eq!(Thresholds::new(&eager).verdict(NOW), None);
    }
}
