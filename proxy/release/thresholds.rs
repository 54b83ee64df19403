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
    /// The quantile of times, where somebody knows it.
    quantile: Option<Duration>,
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
            quantile: None,
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

    /// The guarded quantile of the candidate's times, from a histogram. It is told, and decides nothing.
    pub fn quantile(&mut self, seen: Option<Duration>) {
        self.quantile = seen;
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
            .then(|| Verdict::new(Cause::Latency, self.slow_text(guard, seen)))
    }

    fn slow_text(&self, guard: &Latency, seen: Counted) -> String {
        let quantile = guard.quantile.to_string();
        let quantile = quantile.trim_end_matches('%');
        // A histogram is only known by its steps, and may contradict the exact counts that decided.
        let at = match self.quantile.filter(|at| *at > guard.above) {
            Some(at) => format!("p{quantile} {}", time(at)),
            None => format!("p{quantile} above {}", time(guard.above)),
        };
        format!(
            "candidate {at}: {} of {} requests in {} took longer than the allowed {}",
            part(seen.over, seen.requests),
            count(seen.requests),
            time(guard.window),
            time(guard.above)
        )
    }
}

/// Whether `of` is more than so many hundred-thousandths of `all`.
fn is_above(of: u64, all: u64, parts: u32) -> bool {
    u128::from(of) * u128::from(PARTS) > u128::from(parts) * u128::from(all)
}
