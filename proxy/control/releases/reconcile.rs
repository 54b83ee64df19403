//! The file and the rollouts: an edit keeps those whose plan is the same, and a start finds them where they stood.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config as config;

use super::book::{Actor, Book, Shared, now};
use super::memory::{self, Terms};
use super::running::Running;
use crate::control::journal::{Evidence, Latch, Restored};
use crate::release::{Key, Phase, Reason, Rollout};
use crate::snapshot::Snapshot;

/// Rollouts that have left the file are remembered, the newest so many.
const PARTED_MAX: usize = 1000;

/// What is known of rollouts that are not in the file, or were not yet.
#[derive(Debug)]
pub(super) struct Recalled {
    states: BTreeMap<String, Rollout>,
    evidence: HashMap<String, Evidence>,
    latches: BTreeMap<String, Latch>,
    doubtful: Vec<String>,
    /// The journal could not be read at the start: why.
    unreadable: Option<String>,
    /// Nothing was there at the start.
    empty: bool,
}

impl Recalled {
    /// What the journal says.
    pub(super) fn new(restored: Restored) -> Self {
        let parsed = restored.states.into_iter().filter_map(|(name, bytes)| {
            let state = serde_json::from_slice::<Rollout>(&bytes);
            let told = |error| {
                tracing::error!(rollout = name, "{name}: its state cannot be read: {error}")
            };
            let state = state.map_err(told).ok()?;
            Some((name, state))
        });
        let mut latches = BTreeMap::<String, Latch>::new();
        for latch in restored.latches {
            let newer = |known: &Latch| known.attempt > latch.attempt;
            if !latches.get(&latch.rollout).is_some_and(newer) {
                latches.insert(latch.rollout.clone(), latch);
            }
        }
        Self {
            states: parsed.collect(),
            evidence: restored.evidence,
            latches,
            doubtful: restored.doubtful,
            unreadable: restored.unreadable,
            empty: restored.empty,
        }
    }

    /// Where a rollout stood before it came into the file; `None` for one that nobody knows.
    fn state(&mut self, name: &str, key: Key, now: Duration) -> Option<Rollout> {
        let state = self.states.remove(name);
        let latch = self.latches.remove(name);
        let doubtful = self.doubtful.iter().any(|doubtful| doubtful == name);
        let remembered = |latch: &Latch| {
            let reason = Reason {
                cause: None,
                text: latch.reason.clone().into(),
            };
            (latch.key.parse().unwrap_or(key), latch.attempt, reason)
        };
        match (state, latch) {
            (state, Some(latch)) => {
                let (key, attempt, reason) = remembered(&latch);
                let state = state.unwrap_or_else(|| Rollout::new(key, now));
                Some(state.recalled(key, attempt, reason, now))
            }
            (Some(state), None) if doubtful && state.weight() > config::Share::ZERO => {
                let text = "its place for a rollback is damaged: it may have been rolled back";
                let reason = Reason {
                    cause: None,
                    text: text.into(),
                };
                Some(state.recalled(state.key(), state.attempt(), reason, now))
            }
            (state, None) => state.or_else(|| {
                let why = self.unreadable.as_ref()?;
                Some(
                    Rollout::new(key, now)
                        .unsure(&format!("the journal cannot be read ({why})"), now),
                )
            }),
        }
    }
}

impl Shared {
    /// Puts a snapshot in force with the rollouts of its file, each at the weight that it has.
    pub(super) fn reconcile(&self, book: &mut Book, snapshot: Snapshot) {
        let moment = now();
        let config = Arc::clone(&snapshot.config);
        self.warn_of_forgetting(book, &config);
        let old_config = std::mem::replace(&mut book.config, Arc::clone(&config));
        book.revision = snapshot.revision;
        let mut old: HashMap<String, Running> = book
            .running
            .drain(..)
            .map(|running| (running.name.clone(), running))
            .collect();
        let mut changed = Vec::new();
        for (at, plan) in config.rollouts.iter().enumerate() {
            let (running, before) = match old.remove(&plan.name) {
                Some(running) => {
                    let was = old_config.rollouts.iter().find(|old| old.name == plan.name);
                    self.edit(running, was, plan, &config, moment)
                }
                None => self.begin(book, plan, &config, moment),
            };
            book.running.push(running);
            changed.extend(before.map(|before| (at, before)));
        }
        let plans = book.running.iter().zip(&config.rollouts);
        book.in_force = plans
            .map(|(running, plan)| running.in_force(plan))
            .collect();
        self.live
            .publish(snapshot.with_rollouts(book.in_force.clone()));
        for running in old.into_values() {
            self.part(book, running, moment);
        }
        for (at, (before, called_off)) in changed {
            self.news(book, at, &before, called_off, &Actor::file());
        }
        for at in 0..book.running.len() {
            self.look_at(book, at, Duration::ZERO);
        }
    }

    /// A rollout that stays in the file. The second is how it stood, where that has changed, and the number of a growth that
    /// was called off.
    fn edit(
        &self,
        mut running: Running,
        was: Option<&config::Rollout>,
        plan: &config::Rollout,
        config: &config::Config,
        moment: Duration,
    ) -> (Running, Option<(Rollout, Option<u64>)>) {
        if let Some(was) = was {
            running.go_over_to(was, plan);
        }
        let next = follow(&running.state, plan, config, moment);
        let terms = Terms::of(plan, &config.services[plan.service], next.attempt());
        if terms != running.terms {
            running.read_into(&self.ledger, moment);
            running.begin_evidence(plan, terms, moment);
        }
        let before = std::mem::replace(&mut running.state, next);
        let stands = running.state.stands_as(&before);
        let called_off = if stands {
            None
        } else {
            running.pending.take().map(|pending| pending.entry.seq)
        };
        let changed = !stands;
        (running, changed.then_some((before, called_off)))
    }

    /// A rollout that comes into the file.
    fn begin(
        &self,
        book: &mut Book,
        plan: &config::Rollout,
        config: &config::Config,
        moment: Duration,
    ) -> (Running, Option<(Rollout, Option<u64>)>) {
        let key = key(plan, config);
        let recalled = book.recalled.state(&plan.name, key, moment);
        let is_known = recalled.is_some();
        let before = recalled.unwrap_or_else(|| Rollout::new(key, moment));
        let state = follow(&before, plan, config, moment);
        if is_known {
            tracing::info!(
                rollout = plan.name,
                "{}: goes on where it stood: {} at {}; {}",
                plan.name,
                state.phase(),
                state.weight(),
                state.reason()
            );
        }
        let id = self.ledger.rollout(&plan.name);
        let terms = Terms::of(plan, &config.services[plan.service], state.attempt());
        let counts = self.ledger.rollout_counts(id);
        let pace = self.ledger.slow_bound(id);
        let mut running = Running::new(plan, id, pace, state, counts, terms, moment);
        let remembered = book.recalled.evidence.remove(&plan.name);
        if !remembered.is_some_and(|evidence| memory::restore(&mut running, &evidence))
            && is_known
            && running.state.started().is_some()
            && let Some(evidence) = &mut running.evidence
        {
            // Who failed before is not known any more.
            evidence.units_lost(moment);
        }
        let changed = is_known && !running.state.stands_as(&before);
        (running, changed.then_some((before, None)))
    }

    /// A rollout that has left the file: nobody is on its candidate any more. It is remembered, so that it does not begin
    /// again when it comes back.
    fn part(&self, book: &mut Book, running: Running, moment: Duration) {
        let before = running.state.clone();
        let state = before.removed(moment);
        if !state.stands_as(&before) {
            let called_off = running.pending.as_ref().map(|pending| pending.entry.seq);
            // It is told with a place of its own in the book, for this moment alone.
            let at = book.running.len();
            book.running.push(Running {
                state,
                pending: None,
                ..running
            });
            self.tell_parting(book, at, &before, called_off);
            let running = book.running.pop().expect("it was just put there");
            book.recalled.states.insert(running.name, running.state);
        } else {
            book.recalled.states.insert(running.name, before);
        }
        while book.recalled.states.len() > PARTED_MAX {
            let oldest = book
                .recalled
                .states
                .iter()
                .min_by_key(|(_, state)| state.since());
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            book.recalled.states.remove(&name);
            if let Some(journal) = &self.journal {
                // Where the journal is closed the process is on its way out.
                let _ = journal.forget(&name);
            }
        }
    }

    fn warn_of_forgetting(&self, book: &mut Book, config: &config::Config) {
        if std::mem::take(&mut book.recalled.empty) && !config.rollouts.is_empty() {
            tracing::warn!(
                "NOTHING IS REMEMBERED: the state directory is empty. Fine at the first start; if it was emptied, what was rolled \
                 back before begins again: `tidegate rollout rollback NAME` stops it"
            );
        }
        if let Some(why) = &book.recalled.unreadable {
            tracing::error!(
                "the journal cannot be read ({why}): rollouts stay where nobody is on the candidate until somebody resumes them"
            );
        }
    }
}

/// What a rollout is remembered by.
fn key(plan: &config::Rollout, config: &config::Config) -> Key {
    let candidate = &config.services[plan.service].versions[plan.candidate];
    let tags = candidate
        .tags
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Key::new(plan, &candidate.name, tags)
}

/// The state under a file that may have changed.
fn follow(
    state: &Rollout,
    plan: &config::Rollout,
    config: &config::Config,
    moment: Duration,
) -> Rollout {
    if plan.is_superseded(config.services[plan.service].stable) {
        return match state.phase() {
            Phase::Superseded => state.clone(),
            _ => state.superseded(moment),
        };
    }
    state.edited(plan, key(plan, config), moment)
}
