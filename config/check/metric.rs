//! Metrics of a guard: what the proxy does not see by itself.

use std::time::Duration;

use super::Check;
use super::names::Unique;
use crate::file::{self, Bound};
use crate::plan::{Bad, MetricGuard, MetricSource, PrometheusQuery};
use crate::source::At;
use crate::units::Share;

const MOST_METRICS: usize = 16;
/// How often a value is asked for where the file does not say.
const EVERY: Duration = Duration::from_secs(15);
const SHORTEST_EVERY: Duration = Duration::from_secs(1);
const LONGEST_EVERY: Duration = Duration::from_secs(3600);
const LONGEST_QUERY: usize = 8192;

impl Check<'_> {
    pub(super) fn metrics(&mut self, at: &At<'_>, written: &[file::Metric]) -> Vec<MetricGuard> {
        self.at_most(at, written.len(), MOST_METRICS, "metrics");
        let mut names = Unique::new("metric of this guard");
        let mut metrics = Vec::with_capacity(written.len());
        for (index, metric) in written.iter().enumerate() {
            let at = at.index(index);
            names.name(&at.key("name"), &metric.name, self.problems);
            metrics.push(MetricGuard {
                name: metric.name.clone(),
                source: self.metric_source(&at, metric),
            });
        }
        metrics
    }

    fn metric_source(&mut self, at: &At<'_>, written: &file::Metric) -> MetricSource {
        let count =
            usize::from(written.pushed.is_some()) + usize::from(written.prometheus.is_some());
        if count != 1 {
            let message = format!(
                "a metric has exactly one of `pushed` and `prometheus`, this one has {count}"
            );
            self.problems.error(
                at,
                "T108",
                message,
                "write `pushed: true`, or `prometheus: { url: …, query: … }`",
            );
        }
        if written.pushed == Some(false) {
            self.problems.error(
                &at.key("pushed"),
                "T108",
                "`pushed: false` is no source",
                "remove the entry",
            );
        }
        match &written.prometheus {
            Some(prometheus) => MetricSource::Prometheus(self.prometheus(at, written, prometheus)),
            None => {
                self.only_asked(at, written);
                MetricSource::Pushed
            }
        }
    }

    /// Tells the keys that mean something only where a value is asked for.
    fn only_asked(&mut self, at: &At<'_>, written: &file::Metric) {
        for (key, is_given) in [
            ("below", written.below.is_some()),
            ("above", written.above.is_some()),
            ("for", written.lasting.is_some()),
            ("on_no_data", written.on_no_data.is_some()),
        ] {
            if is_given {
                let message = format!("`{key}` has no effect here: only `prometheus` gives values");
                self.problems.key_error(
                    &at.key(key),
                    "T108",
                    message,
                    "remove it; what is pushed is compared with stable",
                );
            }
        }
    }

    fn prometheus(
        &mut self,
        at: &At<'_>,
        metric: &file::Metric,
        written: &file::Prometheus,
    ) -> PrometheusQuery {
        // The only answer to silence that there is; a second one will not compile until it is told apart here.
        let file::Hold::Hold = metric.on_no_data.unwrap_or(file::Hold::Hold);
        let bad = match (&metric.above, &metric.below) {
            (Some(above), None) => Bad::Above(self.bound(&at.key("above"), above)),
            (None, Some(below)) => Bad::Below(self.bound(&at.key("below"), below)),
            (above, _) => {
                let count = if above.is_some() { 2 } else { 0 };
                let message = format!(
                    "a metric that is asked for has exactly one of `above` and `below`, this one has {count}"
                );
                self.problems.error(
                    at,
                    "T108",
                    message,
                    "write which values are bad: `below: 98%`",
                );
                Bad::Above(0.0)
            }
        };
        let lasting = self.duration(&at.key("for"), metric.lasting.as_ref(), Duration::ZERO);
        let at = at.key("prometheus");
        let query_at = at.key("query");
        let query = written.query.trim();
        if query.is_empty() || query.len() > LONGEST_QUERY {
            let message = format!(
                "a query has 1 to {LONGEST_QUERY} bytes, this one has {}",
                query.len()
            );
            self.problems
                .error(&query_at, "T302", message, "write what gives one number");
        }
        let url = self.url(&at.key("url"), &written.url);
        if url.contains('?') {
            self.problems.error(
                &at.key("url"),
                "T304",
                "the address of the server has a query",
                "write the server alone; what is asked stands in `query`",
            );
        }
        let bounds = (SHORTEST_EVERY, LONGEST_EVERY);
        PrometheusQuery {
            url,
            authorities: self.url_authorities(&at, "url", &written.url, written.ca.as_ref()),
            query: query.to_owned(),
            every: self.duration_within(&at.key("every"), written.every.as_ref(), EVERY, bounds),
            bad,
            lasting,
        }
    }

    fn bound(&mut self, at: &At<'_>, written: &Bound) -> f64 {
        match written {
            Bound::Number(number) if number.is_finite() => *number,
            Bound::Number(_) => {
                self.problems.error(
                    at,
                    "T302",
                    "no value lies beyond this",
                    "write a number that values are compared with",
                );
                0.0
            }
            Bound::Share(text) => {
                f64::from(self.share_read(at, text).unwrap_or(Share::FULL).parts())
                    / f64::from(Share::FULL.parts())
            }
        }
    }
}
