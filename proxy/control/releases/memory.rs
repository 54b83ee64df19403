//! What the journal keeps of a rollout's evidence: a snapshot of it now and then, and all that came since, in order. Fed
//! again in the same order it gives the same evidence, bit by bit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config as config;

use super::running::Running;
use crate::control::journal;
use crate::release::evidence::{Comparison, Counts, Event, Evidence, Metric};

/// So many notes are kept before the next snapshot.
const NOTES_MAX: u32 = 10_000;

/// What evidence is about. With other terms it begins anew: what was seen before is about something else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) attempt: u32,
    stable: String,
    candidate: String,
    /// What counts as a failure, how small a difference counts, and how often chance may win.
    rules: String,
}

/// Something that came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Note {
    /// Requests ended.
    #[serde(rename = "c")]
    Count(Metric, Counts),
    /// A unit failed.
    #[serde(rename = "e")]
    Event(Metric, Event),
    /// A user's outcome was told from outside: a failure by that metric.
    #[serde(rename = "p")]
    Pushed(String, Event),
    /// Outcomes that were told from outside.
    #[serde(rename = "q")]
    PushedCount(String, Counts),
    /// A unit failed in a cohort.
    #[serde(rename = "k")]
    Cohort(usize, Event),
    /// The weight grew.
    #[serde(rename = "g")]
    Grew(Duration),
}

/// The evidence as a whole.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    terms: Terms,
    evidence: Option<Evidence>,
    pushed: Vec<(String, Comparison)>,
    cohorts: Vec<(String, Comparison)>,
    apart: usize,
}

/// What is to be written down.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Since the last time.
    pub new: Vec<Note>,
    /// Written since the last snapshot.
    since: u32,
    /// The next time a snapshot is due, whatever the number of notes.
    due: bool,
}

impl Notes {
    /// Of evidence that has just begun: a snapshot first.
    pub(super) fn begun_anew() -> Self {
        Self {
            due: true,
            ..Self::default()
        }
    }

    /// Whether there is something to write.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && !self.due
    }

    /// Keeps a note. Where too many wait, the next write is all of it.
    pub(super) fn keep(&mut self, note: Note) {
        if self.new.len() >= NOTES_MAX as usize {
            self.new.clear();
            self.due = true;
        }
        self.new.push(note);
    }

    /// All of it is being written elsewhere.
    pub(super) fn taken(&mut self) {
        *self = Self::default();
    }

    /// The next write is a snapshot.
    pub(super) fn ask_for_snapshot(&mut self) {
        self.due = true;
    }

    /// Whether a snapshot is to be written now; else the notes are, and are taken for written.
    pub(super) fn turn(&mut self) -> Written {
        if self.due || self.since >= NOTES_MAX {
            *self = Self::default();
            return Written::Snapshot;
        }
        self.since += self.new.len() as u32;
        Written::Notes(
            self.new
                .drain(..)
                .filter_map(|note| serde_json::to_vec(&note).ok())
                .collect(),
        )
    }
}

/// What is written of the evidence.
pub(super) enum Written {
    /// All of it, in the place of what was there.
    Snapshot,
    /// These, after what is there.
    Notes(Vec<Vec<u8>>),
}

impl Terms {
    /// The terms of a rollout's attempt.
    pub(super) fn of(plan: &config::Rollout, service: &config::Service, attempt: u32) -> Self {
        let name = |version: usize| service.versions[version].name.clone();
        Self {
            attempt,
            stable: name(service.stable),
            candidate: name(plan.candidate),
            rules: format!(
                "{:?} {:?} {:?} {}",
                plan.by, plan.guard.failures, plan.guard.compare, plan.shares_salt
            ),
        }
    }
}

/// The bytes of a snapshot; `None` where the journal would not take so many.
pub(super) fn snapshot(running: &Running) -> Option<Vec<u8>> {
    let snapshot = Snapshot {
        terms: running.terms.clone(),
        evidence: running.evidence.clone(),
        pushed: running.pushed.clone(),
        cohorts: running.cohorts.clone(),
        apart: running.apart,
    };
    let bytes = serde_json::to_vec(&snapshot).unwrap_or_default();
    (bytes.len() <= journal::VALUE_BYTES).then_some(bytes)
}

/// Says that the evidence of a rollout is not written down.
pub(super) fn tell_too_much(rollout: &str) {
    tracing::warn!(
        rollout,
        "{rollout}: so many users have failed that its evidence has no room in the journal: after a restart it begins a new epoch"
    );
}

/// Gives a rollout the evidence that was written down, where it is about the same. `false` where it is not: the rollout goes
/// on with what it has.
pub(super) fn restore(running: &mut Running, kept: &journal::Evidence) -> bool {
    let snapshot = kept
        .snapshot
        .as_deref()
        .map(serde_json::from_slice::<Snapshot>);
    let Some(Ok(snapshot)) = snapshot else {
        return false;
    };
    if snapshot.terms != running.terms || snapshot.evidence.is_some() != running.evidence.is_some()
    {
        return false;
    }
    running.evidence = snapshot.evidence;
    running.pushed = snapshot.pushed;
    running.cohorts = snapshot.cohorts;
    running.apart = snapshot.apart;
    running.notes = Notes::default();
    for note in &kept.events {
        let Ok(note) = serde_json::from_slice(note) else {
            break; // what comes after a gap would not be the same evidence
        };
        apply(running, &note);
    }
    running.notes.ask_for_snapshot();
    true
}

/// Feeds a note to the tests.
pub(super) fn apply(running: &mut Running, note: &Note) {
    match note {
        Note::Count(metric, counts) => {
            if let Some(evidence) = &mut running.evidence {
                evidence.count(*metric, counts);
            }
        }
        Note::Event(metric, event) => {
            if let Some(evidence) = &mut running.evidence {
                evidence.event(*metric, event);
            }
        }
        Note::Pushed(metric, event) => {
            if let Some((_, comparison)) =
                running.pushed.iter_mut().find(|(name, _)| name == metric)
            {
                comparison.event(event);
            }
        }
        Note::PushedCount(metric, counts) => {
            if let Some((_, comparison)) =
                running.pushed.iter_mut().find(|(name, _)| name == metric)
            {
                comparison.count(counts);
            }
        }
        Note::Cohort(at, event) => {
            if let Some((_, comparison)) = running.cohorts.get_mut(*at) {
                comparison.event(event);
            }
        }
        Note::Grew(at) => {
            if let Some(evidence) = &mut running.evidence {
                evidence.grew(*at);
            }
        }
    }
}
