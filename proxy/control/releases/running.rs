//! One rollout at work: where it stands, what is known of it, and what is under way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_config::plan::{Compare, MetricSource, Plan};
use tidegate_config::{self as config, Share};

use super::memory::{Note, Notes, Terms};
use crate::control::journal::Entry;
use crate::record::{Arm, RolloutCounts, RolloutId, RolloutTimes, SlowBound};
use crate::release::evidence::{Budget, Comparison, Evidence};
use crate::release::{Opening, Rollout, Thresholds, Verdict, opening};
use crate::snapshot::InForce;

/// Failing users of a window that are told apart; above that many their share is known well enough.
const FAILING_MAX: usize = 65_536;

/// One rollout at work.
#[derive(Debug)]
pub(super) struct Running {
    /// Its name in the file.
    pub name: String,
    /// Its number in the ledger.
    pub id: RolloutId,
    /// Where it stands.
    pub state: Rollout,
    /// Where it stood when that was last announced: what everybody outside may rely on.
    pub shown: Rollout,
    /// A growth that is being written down.
    pub pending: Option<Pending>,
    /// What will be announced once it is written down, oldest first.
    pub telling: VecDeque<Telling>,
    /// What the evidence is about.
    pub terms: Terms,
    /// The comparison; `None` where there is to be none.
    pub evidence: Option<Evidence>,
    /// Outcomes that are told from outside, by the metric's name.
    pub pushed: Vec<(String, Comparison)>,
    /// Cohorts by name, in the order of the file.
    pub cohorts: Vec<(String, Comparison)>,
    /// Comparisons beside the main one that this attempt has had so far.
    pub apart: usize,
    /// The largest weight that this process has seen of it: what is told late may be about that.
    pub most: Share,
    /// The limits that the operator wrote.
    pub thresholds: Thresholds,
    /// Which time is slow, for the workers.
    pub pace: Arc<SlowBound>,
    /// The counters as they were read last,
    pub read: RolloutCounts,
    /// and when this attempt began.
    pub begun: RolloutCounts,
    /// The candidate's requests that ended since the last look.
    pub requests: u64,
    /// The times as they were read last, and when.
    pub times: Option<(RolloutTimes, Instant)>,
    /// The users of the open window.
    pub users: UserWindow,
    /// What is to be written down of the evidence.
    pub notes: Notes,
    /// The windows at present, and until when that holds.
    pub opening: Option<(Opening, Option<Timestamp>)>,
    /// A guard that fires and does not move the weight, as it was told.
    pub alarmed: Option<Verdict>,
    /// A look at it, or a failure of it, met a fault of the program, which was told.
    pub faulty: bool,
    /// The state as it was given to the journal last, and when.
    pub saved: Option<Rollout>,
    pub saved_at: Instant,
}

/// A growth that is being written down: it is applied when it is durable.
#[derive(Debug)]
pub(super) struct Pending {
    /// Which one: an answer to another is too late.
    pub ticket: u64,
    /// What will be announced.
    pub entry: Entry,
    /// What follows; `None` after a failed write,
    pub grown: Option<Rollout>,
    /// which is tried again then,
    pub again: Option<Instant>,
    /// and why it failed, as it was told.
    pub trouble: Option<String>,
}

/// A change that is in force and not announced yet.
#[derive(Debug)]
pub(super) struct Telling {
    /// Which one.
    pub ticket: u64,
    /// What is announced,
    pub entry: Entry,
    /// and how the rollout stands with it.
    pub shown: Rollout,
    /// Since when it waits.
    pub since: Instant,
}

/// The open window in which users are counted: how many there are the workers know, who failed stands here.
#[derive(Debug, Default)]
pub(super) struct UserWindow {
    /// Its number, as the workers know it; 0 before the first.
    pub number: u32,
    /// Its begin.
    pub since: Duration,
    failing: [Failing; 2],
}

/// The users of one arm who failed.
#[derive(Debug, Default)]
struct Failing {
    users: HashSet<u64>,
    /// Requests without a user, and users beyond the bound.
    others: u64,
}

impl UserWindow {
    /// The next one, in which nobody was seen yet.
    pub(super) fn begin(number: u32, since: Duration) -> Self {
        Self {
            number,
            since,
            failing: Default::default(),
        }
    }

    /// Somebody failed.
    pub(super) fn add(&mut self, arm: Arm, unit: Option<u64>) {
        let failing = &mut self.failing[arm as usize];
        match unit {
            Some(unit) if failing.users.len() < FAILING_MAX => {
                failing.users.insert(unit);
            }
            Some(unit) if failing.users.contains(&unit) => {}
            _ => failing.others += 1,
        }
    }

    /// How many have failed.
    pub(super) fn failing(&self, arm: Arm) -> u64 {
        let failing = &self.failing[arm as usize];
        failing.users.len() as u64 + failing.others
    }
}

/// How a rollout is compared with stable, if it is.
pub(super) fn compared(plan: &config::Rollout) -> Option<Compare> {
    plan.guard.compare.filter(|_| !plan.shares_salt)
}

/// The metrics that are told from outside.
fn pushed(plan: &config::Rollout) -> impl Iterator<Item = &str> {
    let metrics = plan.guard.metrics.iter();
    metrics
        .filter(|metric| metric.source == MetricSource::Pushed)
        .map(|metric| metric.name.as_str())
}

impl Running {
    /// A rollout with no evidence yet. `read` are its counters at present.
    pub(super) fn new(
        plan: &config::Rollout,
        id: RolloutId,
        pace: Arc<SlowBound>,
        state: Rollout,
        read: RolloutCounts,
        terms: Terms,
        now: Duration,
    ) -> Self {
        let mut running = Self {
            name: plan.name.clone(),
            id,
            shown: state.clone(),
            state,
            pending: None,
            telling: VecDeque::new(),
            terms: Terms::default(),
            evidence: None,
            pushed: Vec::new(),
            cohorts: Vec::new(),
            apart: 0,
            most: Share::ZERO,
            thresholds: Thresholds::new(&plan.guard),
            pace,
            begun: read,
            read,
            requests: 0,
            times: None,
            users: UserWindow::default(),
            notes: Notes::default(),
            opening: None,
            alarmed: None,
            faulty: false,
            saved: None,
            saved_at: Instant::now(),
        };
        running.begin_evidence(plan, terms, now);
        running
    }

    /// Begins with no evidence: what was known is about something else.
    pub(super) fn begin_evidence(&mut self, plan: &config::Rollout, terms: Terms, now: Duration) {
        self.pace.set_attempt(terms.attempt);
        self.terms = terms;
        let compare = compared(plan);
        self.evidence = compare.map(|compare| {
            Evidence::new(Budget::new(compare.false_rollback), compare.min_excess, now)
        });
        self.pushed.clear();
        self.cohorts.clear();
        self.apart = 0;
        self.fit_apart(plan, now);
        self.thresholds = Thresholds::new(&plan.guard);
        self.pace.set(None);
        self.begun = self.read;
        self.users = UserWindow::default();
        self.notes = Notes::begun_anew();
        self.alarmed = None;
    }

    /// Has one comparison for each metric that is told from outside and for each cohort of the plan. Those that are there
    /// already stay: an edit of their list is no reason to forget what was seen.
    pub(super) fn fit_apart(&mut self, plan: &config::Rollout, now: Duration) {
        let Some(compare) = compared(plan) else {
            self.pushed.clear();
            self.cohorts.clear();
            return;
        };
        let made = &mut self.apart;
        let mut fit = |known: &mut Vec<(String, Comparison)>, names: Vec<String>| {
            let fitted = names.into_iter().map(|name| {
                if let Some(at) = known.iter().position(|(known, _)| *known == name) {
                    return known.swap_remove(at);
                }
                *made += 1;
                // The k-th of an attempt has 1/(k(k+1)) of what is kept for all of them: however many come, that is enough.
                let part = made.saturating_mul(*made + 1);
                let alpha = Budget::new(compare.false_rollback).cohort(part);
                // How many requests a cohort has nobody counts, and outcomes may be told only where they are bad: so no
                // least difference is asked for. That makes a rollback no more probable than α allows.
                (name, Comparison::new(alpha, Share::ZERO, now))
            });
            *known = fitted.collect();
        };
        fit(&mut self.pushed, pushed(plan).map(str::to_owned).collect());
        let cohorts = plan.cohorts.iter().map(|cohort| cohort.name.clone());
        fit(&mut self.cohorts, cohorts.collect());
        self.notes.ask_for_snapshot();
    }

    /// Who failed before is not known any more: every comparison begins a new epoch.
    pub(super) fn units_lost(&mut self, now: Duration) {
        if let Some(evidence) = &mut self.evidence {
            evidence.units_lost(now);
        }
        for (_, comparison) in self.pushed.iter_mut().chain(&mut self.cohorts) {
            comparison.units_lost(now);
        }
    }

    /// The plan is another one, the evidence the same.
    pub(super) fn go_over_to(&mut self, old: &config::Rollout, new: &config::Rollout) {
        if old.guard != new.guard {
            self.thresholds = Thresholds::new(&new.guard);
        }
        self.opening = None;
    }

    /// A cohort goes back, and the rest is judged without what that one has met: else the suspicion that it left would
    /// stand against the rest for ever. A new epoch is valid whatever ended the one before; its threshold is the price.
    pub(super) fn go_on_without_cohort(&mut self, now: Duration) {
        if let Some(evidence) = &mut self.evidence {
            evidence.units_lost(now);
            self.notes.ask_for_snapshot();
        }
    }

    /// Takes a note in, and keeps it for the journal.
    pub(super) fn take_note(&mut self, note: Note) {
        super::memory::apply(self, &note);
        self.notes.keep(note);
    }

    /// Whether weights may grow at this time of the day. The calendar is asked again when its answer ends.
    pub(super) fn opening(&mut self, plan: &config::Rollout, now: Timestamp) -> &Opening {
        let holds = |until: &Option<Timestamp>| until.is_none_or(|until| now < until);
        if !self.opening.as_ref().is_some_and(|(_, until)| holds(until)) {
            let seen = match &plan.plan {
                Plan::Split(_) => Opening::ALWAYS,
                Plan::Stages(stages) => opening(&stages.windows, now),
            };
            let until = match &seen {
                Opening::Open { closes } => *closes,
                Opening::Closed { opens, .. } => *opens,
            };
            self.opening = Some((seen, until));
        }
        &self.opening.as_ref().expect("it was just asked").0
    }

    /// What the request path has to know.
    pub(super) fn in_force(&self, plan: &config::Rollout) -> InForce {
        InForce::new(
            plan,
            self.state.attempt(),
            self.state.weight(),
            self.state.mirror(),
            self.state.cohorts_back(),
            self.id,
            Arc::clone(&self.pace),
        )
    }
}
