//! What the workers saw, brought to the tests: counts first, then the failures that are among them.

use std::time::{Duration, Instant};

use tidegate_config::Share;

use super::memory::Note;
use super::running::{Running, UserWindow};
use crate::record::{self, ArmCounts, Incident, Ledger};
use crate::release::Counted;
use crate::release::evidence::absolute::{STABLE_WINDOW, Users, Window};
use crate::release::evidence::{Arm, Counts, Event, Metric, Served};

/// The times of requests are added up so often: they are many numbers, and what is slow changes every ten seconds at most.
const TIMES_EVERY: Duration = Duration::from_secs(1);

impl Running {
    /// Reads the counters.
    pub(super) fn read_into(&mut self, ledger: &Ledger, now: Duration) {
        let counts = ledger.rollout_counts(self.id);
        let since = counts.since(&std::mem::replace(&mut self.read, counts));
        let (stable, candidate, mirrored) = (since.stable, since.candidate, since.mirrored);
        let counted = |of: ArmCounts| Counted {
            requests: of.requests,
            failures: of.failures,
            over: of.over,
        };
        let mut all = counted(candidate);
        all += counted(mirrored);
        self.thresholds.count(now, all);
        self.thresholds
            .run(ledger.rollout_run(self.id, self.state.attempt()));
        if self.evidence.is_some() && stable.requests + candidate.requests > 0 {
            let by_metric = [
                (Metric::Errors, stable.failures, candidate.failures),
                (Metric::Slow, stable.slow, candidate.slow),
                (Metric::Connect, stable.connect, candidate.connect),
            ];
            for (metric, of_stable, of_candidate) in by_metric {
                let served = |of: ArmCounts, bad| Served {
                    requests: of.requests,
                    bad,
                };
                let counts = Counts {
                    stable: served(stable, of_stable),
                    candidate: served(candidate, of_candidate),
                };
                self.take_note(Note::Count(metric, counts));
            }
        }
        self.requests += candidate.requests + mirrored.requests;
    }

    /// Takes in a failure, or a slow request. Its count must have been read.
    pub(super) fn hear(&mut self, incident: &Incident) {
        let assignment = &incident.assignment;
        // One of an earlier attempt is about other users; it ended late.
        if assignment.attempt != self.state.attempt() {
            return;
        }
        let arm = match assignment.arm {
            record::Arm::Stable => Arm::Stable,
            record::Arm::Candidate => Arm::Candidate,
        };
        if incident.error {
            self.users.add(assignment.arm, assignment.unit);
        }
        if self.evidence.is_none() {
            return;
        }
        // Who belongs to a cohort that is back is on stable whatever his slot: that says nothing about the versions.
        if assignment.cohorts & self.state.cohorts_back() != 0 {
            return;
        }
        let event = Event {
            unit: assignment.unit,
            arm,
            candidate: assignment.candidate,
            stable: assignment.stable,
            at: incident.at,
        };
        for (is, metric) in [
            (incident.connect, Metric::Connect),
            (incident.error, Metric::Errors),
            (incident.slow, Metric::Slow),
        ] {
            if is {
                self.take_note(Note::Event(metric, event));
            }
        }
        for cohort in 0..self.cohorts.len() {
            if incident.error && assignment.cohorts & 1 << cohort != 0 {
                self.take_note(Note::Cohort(cohort, event));
            }
        }
    }

    /// Adds up the times, and tells the workers which are slow.
    pub(super) fn read_times(&mut self, ledger: &Ledger, now: Duration) {
        if self
            .times
            .as_ref()
            .is_some_and(|(_, read)| read.elapsed() < TIMES_EVERY)
        {
            return;
        }
        let Some(evidence) = &mut self.evidence else {
            return;
        };
        let times = ledger.rollout_times(self.id);
        if let Some((before, _)) = &self.times {
            evidence.pace_mut().count(now, times.since(before).both());
            self.pace.set(evidence.pace().bound());
        }
        self.times = Some((times, Instant::now()));
    }

    /// Looks at the window of users: stable's as long as it has some, the candidate's at 100 %.
    pub(super) fn read_users(&mut self, ledger: &Ledger, now: Duration) {
        let Some(evidence) = &mut self.evidence else {
            return;
        };
        let users = |arm: record::Arm, window: &UserWindow| {
            let failing = window.failing(arm);
            // A sketch may miss a few.
            let active = ledger
                .rollout_units(self.id, arm, window.number)
                .max(failing);
            Users { active, failing }
        };
        let is_over = if self.users.number == 0 {
            true
        } else if self.state.weight() < Share::FULL {
            let is_over = now.saturating_sub(self.users.since) >= STABLE_WINDOW;
            if is_over {
                evidence
                    .absolute_mut()
                    .stable(users(record::Arm::Stable, &self.users));
            }
            is_over
        } else if evidence.absolute().allowed().is_none() {
            evidence.absolute_mut().watch(now);
            true
        } else {
            let seen = users(record::Arm::Candidate, &self.users);
            evidence.absolute_mut().look(now, seen) == Window::Over
        };
        if is_over {
            let next = ledger.turn_rollout_window(self.id).wrapping_add(1);
            self.users = UserWindow::begin(next, now);
            self.notes.ask_for_snapshot();
        }
    }
}
