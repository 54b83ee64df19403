//! What all tests say together: an alarm, a concern, or nothing.

use std::time::{Duration, Instant};

use tidegate_config as config;
use tidegate_config::plan::MetricSource;

use super::running::Running;
use crate::control::prometheus::{Queries, Standing};
use crate::release::evidence::{Finding, Metric};
use crate::release::{Cause, Verdict};

/// What the tests say.
#[derive(Debug, Default)]
pub(super) struct Ward {
    /// It should go back.
    pub alarm: Option<Verdict>,
    /// It should not grow.
    pub concern: Option<String>,
}

impl Running {
    /// Asks every test. Thresholds come first: they are what the operator wrote. Cohorts come last: what speaks against all
    /// speaks against them.
    pub(super) fn ward(&self, plan: &config::Rollout, queries: &Queries, now: Duration) -> Ward {
        let mut silent = None;
        let alarm = self
            .thresholds
            .verdict(now)
            .or_else(|| self.worse_than_stable())
            .or_else(|| self.worse_than_allowed())
            .or_else(|| self.worse_outcome())
            .or_else(|| self.bad_metric(plan, queries, &mut silent))
            .or_else(|| self.worse_in_a_cohort(plan));
        // What speaks against a cohort says nothing about the rest: what stands against growth stands still.
        let concern = match &alarm {
            Some(verdict) if verdict.cohort.is_none() => None,
            _ => self.suspicion().or(silent),
        };
        Ward { alarm, concern }
    }

    fn worse_than_stable(&self) -> Option<Verdict> {
        let evidence = self.evidence.as_ref()?;
        Metric::ALL.into_iter().find_map(|metric| {
            let Finding::Worse(reading) = evidence.finding(metric) else {
                return None;
            };
            let what = match metric {
                Metric::Errors => "the candidate fails more users than stable",
                Metric::Slow => "the candidate is slow for more users than stable",
                Metric::Connect => "the candidate accepts no connection for more users than stable",
            };
            Some(Verdict::new(
                Cause::Compare(metric),
                format!("{what}: {reading}"),
            ))
        })
    }

    fn worse_than_allowed(&self) -> Option<Verdict> {
        let absolute = self.evidence.as_ref()?.absolute();
        let allowed = absolute.allowed().filter(|_| absolute.has_found())?;
        let text = format!(
            "at 100 % more users fail than the {:.2} % that stable's own failures allow; evidence {:.0} (acts at {:.0})",
            allowed * 100.0,
            absolute.evidence(),
            absolute.threshold()
        );
        Some(Verdict::new(Cause::Absolute, text))
    }

    fn worse_outcome(&self) -> Option<Verdict> {
        self.pushed.iter().find_map(|(name, comparison)| {
            let Finding::Worse(reading) = comparison.finding() else {
                return None;
            };
            let text = format!("the candidate is worse than stable by {name}: {reading}");
            Some(Verdict::new(Cause::Business(name.clone()), text))
        })
    }

    /// What a metrics store says; where it says nothing, that stands against growth.
    fn bad_metric(
        &self,
        plan: &config::Rollout,
        queries: &Queries,
        silent: &mut Option<String>,
    ) -> Option<Verdict> {
        plan.guard.metrics.iter().find_map(|metric| {
            let MetricSource::Prometheus(query) = &metric.source else {
                return None;
            };
            let standing = queries.standing(&self.name, &metric.name, Instant::now())?;
            match standing {
                Standing::Bad { fires: true, .. } => {
                    let text = standing.sentence(&metric.name, query);
                    Some(Verdict::new(Cause::Business(metric.name.clone()), text))
                }
                Standing::Bad { .. } | Standing::NoData { .. } => {
                    silent.get_or_insert_with(|| standing.sentence(&metric.name, query));
                    None
                }
                Standing::Good { .. } => None,
            }
        })
    }

    fn worse_in_a_cohort(&self, plan: &config::Rollout) -> Option<Verdict> {
        let standing = (0..)
            .zip(&self.cohorts)
            .filter(|(at, _)| self.state.cohorts_back() & 1 << at == 0);
        standing.into_iter().find_map(|(at, (_, comparison))| {
            let Finding::Worse(reading) = comparison.finding() else {
                return None;
            };
            let name = &plan.cohorts.get(at)?.name;
            // How many requests a cohort has nobody counts.
            let text = format!(
                "in the cohort {name} the candidate fails more users than stable: {} users of it were hit on the candidate and {} \
                 on stable; evidence {:.0} (acts at {:.0})",
                reading.candidate_units, reading.stable_units, reading.evidence, reading.threshold
            );
            Some(Verdict::new(Cause::Compare(Metric::Errors), text).of_cohort(at))
        })
    }

    fn suspicion(&self) -> Option<String> {
        let evidence = self.evidence.as_ref()?;
        let metrics = Metric::ALL
            .into_iter()
            .map(|metric| (metric.as_str(), evidence.finding(metric)));
        let pushed = self
            .pushed
            .iter()
            .map(|(name, comparison)| (name.as_str(), comparison.finding()));
        metrics
            .chain(pushed)
            .find_map(|(name, finding)| match finding {
                Finding::Suspect(reading) => Some(format!(
                    "a suspicion by {name}, too little for a rollback yet: {reading}"
                )),
                _ => None,
            })
    }
}
