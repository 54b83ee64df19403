//! A rollout: from which version to which, by which steps, and what sends it back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;

use crate::tls::Authorities;
use crate::{Share, SplitBy, When};

/// A stage ends only after so many of the candidate's requests where the file does not say `min_requests`.
pub const MIN_REQUESTS: u64 = 50;

/// `rollouts[]`, or a split with a `guard`, which is a rollout of one weight that stays for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Unique among rollouts. A guarded split's is `<route>.<rule>`.
    pub name: String,
    /// Index into `Config::services`.
    pub service: usize,
    /// The version that is tried: an index into the service's versions, never that of stable. Where the service's stable
    /// has become the candidate of a written rollout, the rollout is superseded and this is stable's index.
    pub candidate: usize,
    /// What gives a request its slot.
    pub by: SplitBy,
    /// Of the first attempt; later ones append `#n`. Defaults to the name.
    pub salt: String,
    /// Whether another rollout or split has the same salt: then there is no comparison.
    pub shares_salt: bool,
    /// `fallback: stable`: stable answers idempotent requests that the candidate failed before its answer began.
    pub fallback: bool,
    /// Parts of the users that are judged apart as well; at most [`MAX_COHORTS`].
    pub cohorts: Vec<Cohort>,
    /// By which steps.
    pub plan: Plan,
    /// What sends it back.
    pub guard: Guard,
    /// What a guard that fires does.
    pub on_regression: OnRegression,
}

/// The most cohorts of one rollout.
pub const MAX_COHORTS: usize = 16;

impl Rollout {
    /// Whether the service's stable is the candidate already: there is nothing left to do.
    pub fn is_superseded(&self, stable: usize) -> bool {
        self.candidate == stable
    }
}

/// By which steps a rollout goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// A split with a guard: this weight, for ever.
    Split(Share),
    /// Stage by stage.
    Stages(Box<Stages>),
}

/// `rollouts[].stages` and what belongs to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Stages {
    /// At least one. Mirror stages come first; weights never fall.
    pub stages: Vec<Stage>,
    /// For so long the candidate is watched at its last weight. Default 0 s.
    pub bake: Duration,
    /// Not finished so long after the first weight above 0: rolled back.
    pub deadline: Option<Duration>,
    /// When weights may grow.
    pub windows: Windows,
    /// Who is asked before a stage.
    pub gates: Vec<Gate>,
}

/// `rollouts[].stages[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What the candidate gets.
    pub carries: Carries,
    /// At least for so long. Default 0 s.
    pub hold: Duration,
    /// And until so many of the candidate's requests ended. Default [`MIN_REQUESTS`]; 0 for a last stage without `hold`.
    pub min_requests: u64,
    /// Longer than this it does not wait for requests: it pauses. Counted from the stage's begin, pauses left out.
    pub max_hold: Option<Duration>,
    /// Whether somebody must approve before this stage is entered.
    pub approve: bool,
}

/// What the candidate gets in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// `weight`: this share of the users, above 0.
    Weight(Share),
    /// `weight: by_endpoints`: its part of the healthy endpoints of both versions, for a rolling replacement.
    ByEndpoints,
    /// `mirror`: nobody; copies of this share of the GET and HEAD requests, whose answers are thrown away.
    Mirror(Share),
}

/// `rollouts[].cohorts[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohort {
    /// Unique in the rollout.
    pub name: String,
    /// Who belongs to it.
    pub when: When,
}

/// What a guard that fires does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRegression {
    /// Everybody goes back to stable.
    #[default]
    Rollback,
    /// The weight stays, and somebody must decide.
    Pause,
    /// The weight stays and does not grow; it is told.
    Alert,
}

/// `rollouts[].windows`: growth needs an open one. Shrinking never asks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Windows {
    /// One of these must be open; empty is always.
    pub allow: Vec<Allow>,
    /// None of these may be.
    pub deny: Vec<Deny>,
}

/// `windows.allow[]`: a time of the day on some days of the week. Where `until` is not after `from` it ends the next day.
#[derive(Debug, Clone, PartialEq)]
pub struct Allow {
    /// The days on which it begins; never empty.
    pub days: BTreeSet<Day>,
    /// Its begin on the clocks of the zone.
    pub from: Time,
    /// Its end, excluded.
    pub until: Time,
    /// Whose clocks.
    pub zone: TimeZone,
}

/// `windows.deny[]`: from one moment to another on the clocks of a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Deny {
    /// What it is called in reasons.
    pub name: String,
    /// Its begin.
    pub from: DateTime,
    /// Its end, excluded; after `from`.
    pub until: DateTime,
    /// Whose clocks.
    pub zone: TimeZone,
}

/// A day of the week, Monday first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub Weekday);

impl PartialOrd for Day {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Day {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let number = |day: &Self| day.0.to_monday_zero_offset();
        number(self).cmp(&number(other))
    }
}

/// `rollouts[].gates[]`: 2xx is yes; anything else waits and is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Unique in the rollout.
    pub name: String,
    /// The stage that it stands before, from 1.
    pub before_stage: usize,
    /// Where it is asked, by GET: `http://…` or `https://…`.
    pub url: String,
    /// Who vouches for it, where it is asked by https.
    pub authorities: Option<Arc<Authorities>>,
    /// For so long an answer is waited for. Default 5 s.
    pub timeout: Duration,
}

/// `guard`.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// Which ends of a request are failures of its version.
    pub failures: Failures,
    /// The share of the candidate's requests that fail.
    pub error_rate: Option<ErrorRate>,
    /// A quantile of its times.
    pub latency: Option<Latency>,
    /// So many failures of the candidate one after the other.
    pub consecutive_failures: Option<u32>,
    /// Comparison with stable; `None` where the file says `compare: false`.
    pub compare: Option<Compare>,
    /// What the proxy does not see by itself.
    pub metrics: Vec<MetricGuard>,
}

/// `guard.failures`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// Statuses, 100 to 599, that are failures.
    pub statuses: BTreeSet<u16>,
    /// No connection to the version.
    pub connect: bool,
    /// No head of an answer in time, or a body that stood still.
    pub timeout: bool,
    /// The connection broke, or what came was no answer.
    pub reset: bool,
    /// Values of `grpc-status` that are failures.
    pub grpc: BTreeSet<u16>,
}

impl Default for Failures {
    /// 5xx, `connect`, `timeout`, `reset`, and of gRPC: unknown (2), deadline exceeded (4), internal (13), unavailable (14).
    fn default() -> Self {
        Self {
            statuses: (500..600).collect(),
            connect: true,
            timeout: true,
            reset: true,
            grpc: [2, 4, 13, 14].into(),
        }
    }
}

/// `guard.error_rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRate {
    /// More than this share.
    pub above: Share,
    /// Of the requests that ended in so long.
    pub window: Duration,
    /// Where there are so many.
    pub min_requests: u64,
}

/// `guard.latency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// This quantile of the times,
    pub quantile: Share,
    /// is above this,
    pub above: Duration,
    /// of the requests that ended in so long,
    pub window: Duration,
    /// where there are so many.
    pub min_requests: u64,
}

/// `guard.compare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// The probability that a harmless candidate is ever rolled back. Default 0.1 %.
    pub false_rollback: Share,
    /// The least difference in failing requests that is worth a rollback. Default 0.1 %.
    pub min_excess: Share,
}

impl Default for Compare {
    fn default() -> Self {
        let one_in_a_thousand = Share::from_parts(100).expect("0.1 % is a share");
        Self {
            false_rollback: one_in_a_thousand,
            min_excess: one_in_a_thousand,
        }
    }
}

/// `guard.metrics[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricGuard {
    /// Unique in the rollout.
    pub name: String,
    /// Where its values come from.
    pub source: MetricSource,
}

/// Where a metric's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricSource {
    /// `pushed: true`: told by `POST /api/v1/observations`, compared as failures are.
    Pushed,
    /// Asked for.
    Prometheus(PrometheusQuery),
}

/// `guard.metrics[].prometheus`, and what its value must not be.
#[derive(Debug, Clone, PartialEq)]
pub struct PrometheusQuery {
    /// The server: `http://HOST:PORT` or `https://HOST:PORT`, with a path where it has one.
    pub url: String,
    /// Who vouches for it, where it is asked by https.
    pub authorities: Option<Arc<Authorities>>,
    /// What is asked; must give one number.
    pub query: String,
    /// How often. Default 15 s.
    pub every: Duration,
    /// Bad are values
    pub bad: Bad,
    /// all the time for so long. Default 0 s: the first one.
    pub lasting: Duration,
}

/// Which values of a metric are bad. A share is written as its fraction: `98%` is 0.98.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bad {
    /// Larger ones.
    Above(f64),
    /// Smaller ones.
    Below(f64),
}
