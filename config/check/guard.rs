//! Guards: what counts as a failure, thresholds, and comparison.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Check;
use super::order::{MOST_A_SECOND, reachable};
use super::plan::MOST_REQUESTS;
use crate::file::{self, CompareOrNot, DurationText};
use crate::names::nearest;
use crate::plan::{Compare, ErrorRate, Failures, Guard, Latency, MetricSource};
use crate::problem::quoted;
use crate::source::At;
use crate::units::{Share, show_duration};

/// Of the requests that ended in so long, where the file does not say.
const WINDOW: Duration = Duration::from_secs(30);
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);
const ERROR_REQUESTS: u64 = 50;
/// One in a hundred of fewer is no quantile.
const LATENCY_REQUESTS: u64 = 100;
/// The quantile of times where the file names none: 99 %.
const QUANTILE: u32 = 99_000;
const MOST_CONSECUTIVE: u32 = 1_000_000;
/// A candidate that is harmless is rolled back by a coin at the most.
const MOST_FALSE: Share = Share::HALF;

impl Check<'_> {
    /// `most` is the largest share of requests that the candidate will ever get.
    pub(super) fn guard(
        &mut self,
        at: &At<'_>,
        written: Option<&file::Guard>,
        most: Share,
    ) -> Guard {
        let none = file::Guard::default();
        let written = written.unwrap_or(&none);
        let guard = Guard {
            failures: self.failures(&at.key("failures"), written.failures.as_deref()),
            error_rate: written
                .error_rate
                .as_ref()
                .map(|rate| self.error_rate(&at.key("error_rate"), rate, most)),
            latency: written
                .latency
                .as_ref()
                .map(|latency| self.latency(&at.key("latency"), latency, most)),
            consecutive_failures: written.consecutive_failures.map(|count| {
                let at = at.key("consecutive_failures");
                self.count(&at, Some(count), 1, MOST_CONSECUTIVE).get()
            }),
            compare: self.compare(&at.key("compare"), written.compare.as_ref()),
            metrics: self.metrics(&at.key("metrics"), &written.metrics),
        };
        let is_idle = guard.error_rate.is_none()
            && guard.latency.is_none()
            && guard.consecutive_failures.is_none()
            && guard.compare.is_none()
            && guard.metrics.is_empty();
        for (index, metric) in guard.metrics.iter().enumerate() {
            if guard.compare.is_none() && metric.source == MetricSource::Pushed {
                let metrics = at.key("metrics");
                let metric = metrics.index(index);
                let message = "a metric that is pushed is compared with stable, and this guard says `compare: false`";
                let hint = "remove `compare: false`, or the metric";
                self.problems
                    .error(&metric.key("pushed"), "T314", message, hint);
            }
        }
        if is_idle {
            let message = "this guard watches no request: only a candidate without a healthy endpoint goes back by itself";
            let hint =
                "remove `compare: false`, or add `error_rate`, `latency` or `consecutive_failures`";
            self.problems
                .warning(&at.key("compare"), "T911", message, hint);
        }
        guard
    }

    fn failures(&mut self, at: &At<'_>, written: Option<&[String]>) -> Failures {
        let Some(words) = written else {
            return Failures::default();
        };
        if words.is_empty() {
            self.problems.error(
                at,
                "T204",
                "nothing counts as a failure",
                "write `[5xx, connect, timeout, reset]`, or leave the key out",
            );
        }
        self.no_entry_twice(at, words, str::to_owned);
        let mut failures = Failures {
            statuses: BTreeSet::new(),
            connect: false,
            timeout: false,
            reset: false,
            grpc: BTreeSet::new(),
        };
        for (index, word) in words.iter().enumerate() {
            if !add_failure(&mut failures, word) {
                const WORDS: [&str; 5] = ["5xx", "4xx", "connect", "timeout", "reset"];
                let message = format!("{} is no failure that is known", quoted(word));
                let hint = match nearest(word, WORDS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write `5xx`, `4xx`, `connect`, `timeout`, `reset`, a status such as \"503\", or \"grpc:0\" to \"grpc:16\"".to_owned(),
                };
                self.problems.error(&at.index(index), "T317", message, hint);
            }
        }
        failures
    }

    fn error_rate(&mut self, at: &At<'_>, written: &file::ErrorRate, most: Share) -> ErrorRate {
        let above = self.share_between(&at.key("above"), Some(&written.above), Share::HALF);
        let (window, min_requests) = self.sample(
            at,
            written.window.as_ref(),
            written.min_requests,
            ERROR_REQUESTS,
            most,
        );
        ErrorRate {
            above,
            window,
            min_requests,
        }
    }

    fn latency(&mut self, at: &At<'_>, written: &file::Latency, most: Share) -> Latency {
        let default = Share::from_parts(QUANTILE).unwrap_or(Share::HALF);
        let quantile = self.share_between(&at.key("quantile"), written.quantile.as_ref(), default);
        let (window, min_requests) = self.sample(
            at,
            written.window.as_ref(),
            written.min_requests,
            LATENCY_REQUESTS,
            most,
        );
        Latency {
            quantile,
            above: self.wait(&at.key("above"), Some(&written.above), Duration::ZERO),
            window,
            min_requests,
        }
    }

    /// A share that is neither nothing nor everything.
    fn share_between(
        &mut self,
        at: &At<'_>,
        text: Option<&file::ShareText>,
        default: Share,
    ) -> Share {
        let share = self.share(at, text, default);
        if share == Share::ZERO || share == Share::FULL {
            let message = format!("{share} is out of range");
            self.problems
                .error(at, "T302", message, "write a share above 0% and below 100%");
        }
        share
    }

    /// Over how long a threshold looks, and how many requests it wants to see.
    fn sample(
        &mut self,
        at: &At<'_>,
        window: Option<&DurationText>,
        min_requests: Option<u64>,
        default: u64,
        most: Share,
    ) -> (Duration, u64) {
        let bounds = (SHORTEST_WINDOW, LONGEST_WINDOW);
        let window = self.duration_within(&at.key("window"), window, WINDOW, bounds);
        let requests_at = at.key("min_requests");
        let requests = self.number(&requests_at, min_requests, default, (1, MOST_REQUESTS));
        // A weight of nothing is raised by hand before it means anything.
        if most > Share::ZERO && requests > reachable(most, window) {
            let message = format!(
                "this never fires: at {most} of {MOST_A_SECOND} requests a second the candidate does not get {requests} in {}",
                show_duration(window)
            );
            let hint = "lower `min_requests`, or look over a longer `window`";
            self.problems.warning(&requests_at, "T911", message, hint);
        }
        (window, requests)
    }

    /// A duration within bounds.
    pub(super) fn duration_within(
        &mut self,
        at: &At<'_>,
        text: Option<&DurationText>,
        default: Duration,
        (least, most): (Duration, Duration),
    ) -> Duration {
        let before = self.problems.count();
        let duration = self.duration(at, text, default);
        if self.problems.count() == before && !(least..=most).contains(&duration) {
            let message = format!("{} is out of range", show_duration(duration));
            let hint = format!(
                "write a duration from {} to {}",
                show_duration(least),
                show_duration(most)
            );
            self.problems.error(at, "T302", message, hint);
        }
        duration.clamp(least, most)
    }

    fn compare(&mut self, at: &At<'_>, written: Option<&CompareOrNot>) -> Option<Compare> {
        let default = Compare::default();
        let written = match written {
            None | Some(CompareOrNot::Switch(true)) => return Some(default),
            Some(CompareOrNot::Switch(false)) => return None,
            Some(CompareOrNot::Parts(parts)) => parts,
        };
        let false_at = at.key("false_rollback");
        let false_rollback = self.share(
            &false_at,
            written.false_rollback.as_ref(),
            default.false_rollback,
        );
        if false_rollback == Share::ZERO || false_rollback > MOST_FALSE {
            let message = format!("{false_rollback} is out of range");
            let hint = format!("write a share above 0%, at most {MOST_FALSE}; 0.1% is usual");
            self.problems.error(&false_at, "T302", message, hint);
        }
        let excess_at = at.key("min_excess");
        let min_excess = self.share(&excess_at, written.min_excess.as_ref(), default.min_excess);
        if min_excess == Share::FULL {
            let message = "no candidate is worse by 100 % of the requests";
            self.problems.error(
                &excess_at,
                "T302",
                message,
                "write a share below 100%; 0.1% is usual",
            );
        }
        Some(Compare {
            false_rollback,
            min_excess,
        })
    }
}

/// Whether the word is known.
fn add_failure(failures: &mut Failures, word: &str) -> bool {
    match word {
        "5xx" => failures.statuses.extend(500..600),
        "4xx" => failures.statuses.extend(400..500),
        "connect" => failures.connect = true,
        "timeout" => failures.timeout = true,
        "reset" => failures.reset = true,
        _ => {
            let (set, number, range) = match word.strip_prefix("grpc:") {
                Some(number) => (&mut failures.grpc, number, 0..=16),
                None => (&mut failures.statuses, word, 100..=599),
            };
            let is_number = number.bytes().all(|b| b.is_ascii_digit());
            match number.parse::<u16>() {
                Ok(number) if is_number && range.contains(&number) => {
                    set.insert(number);
                }
                _ => return false,
            }
        }
    }
    true
}
