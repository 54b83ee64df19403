//! Another process takes over, or does not after all.
//!
//! The journal has one owner. While it is between two of them ([`Releases::lend`]) this process still judges: what shrinks
//! is in force at once, as always, and will be written down by whoever has the journal next; what grows must be written
//! down first, so nothing grows. Then either the other one decides ([`Releases::freeze`], [`Releases::hand_over`]): it gets
//! every state from here, which is never older than the journal's. Or it does not ([`Releases::take_back`]): the journal is
//! opened again, and what shrank meanwhile is written down.

use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "control alone takes it; the request path reads the snapshot"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_config::Share;

use super::book::{Actor, Book, Releases, Shared, now};
use crate::control::journal::{Journal, Restored};
use crate::handover::messages;
use crate::release::{Reason, Rollout};
use crate::snapshot::InForce;

/// The journal, while it is this process's.
#[derive(Debug)]
pub(super) struct Own {
    #[expect(
        clippy::disallowed_types,
        reason = "control alone takes it; the request path reads the snapshot"
    )]
    journal: Mutex<Option<Journal>>,
    is_there: bool,
}

impl Own {
    /// This one, or none for ever.
    pub(super) fn new(journal: Option<Journal>) -> Self {
        let is_there = journal.is_some();
        #[expect(
            clippy::disallowed_types,
            reason = "control alone takes it; the request path reads the snapshot"
        )]
        let journal = Mutex::new(journal);
        Self { journal, is_there }
    }

    /// Whether there is one, here or lent.
    pub(super) const fn is_there(&self) -> bool {
        self.is_there
    }

    /// The journal, unless it is lent.
    pub(super) fn journal(&self) -> Option<Journal> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Releases {
    /// Writes down what is known and lets go of the state directory; whether that was done in time. It waits for the disk.
    /// Afterwards nothing grows here.
    pub fn lend(&self, within: Duration) -> bool {
        let journal = {
            let mut book = self.shared().book();
            self.shared().save(&mut book, true);
            self.shared().own.lock().take()
        };
        // Without the lock: what is written by now is announced by the journal's own threads.
        journal.is_none_or(|journal| journal.close(within))
    }

    /// Nothing moves here any more: `heir` decides from now on. Where every rollout stands.
    pub fn freeze(&self, heir: u32) -> Vec<messages::State> {
        let mut book = self.shared().book();
        book.heir = Some(heir);
        let states = book.running.iter().map(|running| messages::State {
            rollout: running.name.clone(),
            state: serde_json::to_string(&running.state).expect("a state is plain values"),
        });
        states.collect()
    }

    /// The heir accepts. Whoever waits for the announcement of a change, or listens to what happens, has to ask it.
    pub fn hand_over(&self) {
        let mut book = self.shared().book();
        book.running
            .iter_mut()
            .for_each(|running| running.telling.clear());
        book.parting.clear();
        book.history.end();
    }

    /// It does not after all: this process goes on deciding, with or without the journal.
    pub fn thaw(&self) {
        self.shared().book().heir = None;
    }

    /// Whether the journal is here, not lent.
    pub fn holds_journal(&self) -> bool {
        self.shared().own.journal().is_some()
    }

    /// The journal is this process's again, as `restored` says it stands; all goes on as if nothing had been.
    pub fn take_back(&self, journal: Journal, restored: Restored) {
        let shared = self.shared();
        let mut book = shared.book();
        book.heir = None;
        *shared.own.lock() = Some(journal);
        book.history.learn(restored.history.clone());
        for at in 0..book.running.len() {
            shared.take_back_one(&mut book, at, &restored);
        }
        shared.save(&mut book, true);
    }

    /// Puts in force what is in force in the heir, for the last requests here: what it takes back is taken back here too.
    pub fn follow(&self, standing: &messages::Standing) {
        let shared = self.shared();
        let mut book = shared.book();
        let in_force = book.running.iter().zip(&book.config.rollouts);
        let in_force = in_force.map(|(running, plan)| {
            let mut known = standing.rollouts.iter();
            let known = known.find(|known| known.rollout == running.name);
            let share = |parts: u32| Share::from_parts(parts).unwrap_or_default();
            // One that has left the file has nobody on its candidate.
            let (attempt, weight, mirror, back) =
                known.map_or((running.state.attempt(), 0, 0, 0), |known| {
                    (
                        known.attempt,
                        known.weight,
                        known.mirror,
                        known.cohorts_back,
                    )
                });
            let pace = Arc::clone(&running.pace);
            InForce::new(
                plan,
                attempt,
                share(weight),
                share(mirror),
                back,
                running.id,
                pace,
            )
        });
        book.in_force = in_force.collect();
        let current = shared.live.current();
        shared
            .live
            .publish(current.with_rollouts(book.in_force.clone()));
    }

    /// What is in force here, for a process that this one has taken over from.
    pub fn standing(&self) -> messages::Standing {
        let book = self.shared().book();
        let rollouts = book.running.iter().zip(&book.in_force);
        messages::Standing {
            revision: book.revision,
            rollouts: rollouts
                .map(|(running, in_force)| messages::InForce {
                    rollout: running.name.clone(),
                    attempt: in_force.attempt,
                    weight: in_force.candidate.parts(),
                    mirror: in_force.mirror.parts(),
                    cohorts_back: in_force.cohorts_back,
                })
                .collect(),
        }
    }
}

impl Shared {
    /// One rollout whose journal was lent.
    fn take_back_one(&self, book: &mut Book, at: usize, restored: &Restored) {
        let running = &mut book.running[at];
        let name = running.name.clone();
        running.notes.ask_for_snapshot();
        // A growth whose turn came while the journal was away: the next look begins it anew.
        if let Some(pending) = &mut running.pending
            && pending.grown.take().is_some()
        {
            pending.again = Some(Instant::now());
        }
        // The other process may have got so far that it sent everybody back. That counts, whoever decides now.
        let latches = restored
            .latches
            .iter()
            .filter(|latch| latch.rollout == name);
        let plain = |text: &str| Reason {
            cause: None,
            text: text.to_owned().into(),
        };
        let mut next = running.state.clone();
        for latch in latches {
            let key = latch.key.parse().unwrap_or_else(|_| next.key());
            next = next.recalled(key, latch.attempt, plain(&latch.reason), now());
        }
        let carries = next.weight() > Share::ZERO || next.mirror() > Share::ZERO;
        if carries && restored.doubtful.contains(&name) {
            let text = "its place for a rollback is damaged: it may have been rolled back";
            next = next.recalled(next.key(), next.attempt(), plain(text), now());
        }
        if !next.stands_as(&running.state) {
            self.take(book, at, next, &Actor::engine());
            return;
        }
        // What has changed meanwhile was told to nobody's disk.
        let telling = std::mem::take(&mut running.telling);
        for mut one in telling {
            if let Some(journal) = self.own.journal() {
                one.entry.seq = journal.next_seq();
            }
            let (entry, ticket) = (one.entry.clone(), one.ticket);
            let running = &mut book.running[at];
            running.telling.push_back(one);
            self.write_down(running, entry, ticket);
        }
        let running = &mut book.running[at];
        let mut kept = restored.states.iter();
        let kept = kept.find(|(rollout, _)| *rollout == name);
        let kept = kept.and_then(|(_, state)| serde_json::from_slice::<Rollout>(state).ok());
        match kept {
            Some(kept) if running.telling.is_empty() && !kept.stands_as(&running.state) => {
                self.news(book, at, &kept, None, &Actor::engine());
            }
            _ => running.saved = None,
        }
    }
}
