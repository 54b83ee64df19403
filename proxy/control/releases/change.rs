//! From one state of a rollout to the next, in the order that makes a crash harmless: what shrinks is published first and
//! written down after; what grows is written down first, told, and published last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_config::Share;

use super::book::{Actor, Book, Shared, now};
use super::memory::{self, Note};
use super::running::{Pending, Running, Telling};
use super::told::History;
use crate::control::journal::{Done, Entry, IfFailed, Journal, Latch, Write, WriteError};
use crate::release::{Phase, Rollout};

/// After a growth could not be written down, so long until the next try.
const WRITE_AGAIN: Duration = Duration::from_secs(2);
/// What is not written down by then is announced all the same, and said to be unwritten.
const TELL_AFTER: Duration = Duration::from_secs(1);

impl Shared {
    /// Gives the rollout at `at` its next state.
    pub(super) fn take(&self, book: &mut Book, at: usize, next: Rollout, actor: &Actor) {
        let ramps = next.phase() == Phase::Ramping;
        let running = &mut book.running[at];
        let before = std::mem::replace(&mut running.state, next);
        if running.state.cohorts_back() & !before.cohorts_back() != 0 {
            running.go_on_without_cohort(now());
        }
        // What is true whether the growth can be written down or not must not wait for it.
        if ramps && beside_the_ramp(&before) == beside_the_ramp(&running.state) {
            return self.grow(book, at, actor);
        }
        let called_off = running.pending.take().map(|pending| pending.entry.seq);
        if called_off.is_none() && running.state.stands_as(&before) {
            return; // time held and requests seen are written down by the way
        }
        if moves(&before, &running.state) {
            self.publish_one(book, at);
        }
        self.news(book, at, &before, called_off, actor);
        if ramps {
            self.grow(book, at, &Actor::engine());
        }
    }

    /// A change is in force: writes it down and tells it. A growth that was called off may stand in the journal already
    /// (`called_off`): this entry takes its place there.
    pub(super) fn news(
        &self,
        book: &mut Book,
        at: usize,
        before: &Rollout,
        called_off: Option<u64>,
        actor: &Actor,
    ) {
        let ticket = book.next_ticket();
        let entry = self.entry(book, at, before, called_off, actor);
        let running = &mut book.running[at];
        running.telling.push_back(Telling {
            ticket,
            entry: entry.clone(),
            shown: running.state.clone(),
            since: Instant::now(),
        });
        running.saved = Some(running.state.clone());
        self.write_down(running, entry, ticket);
    }

    /// The latch into its place, then the journal; whoever listens is told when the first of them is durable.
    pub(super) fn write_down(&self, running: &mut Running, entry: Entry, ticket: u64) {
        let Some(journal) = self.own.journal() else {
            return;
        };
        let latch = (running.state.phase() == Phase::RolledBack).then(|| Latch {
            rollout: running.name.clone(),
            key: running.state.key().to_string(),
            attempt: running.state.attempt(),
            at: entry.at,
            reason: entry.reason.clone(),
        });
        let state = running.state.clone();
        let write = write(running, &state, entry, IfFailed::Keep);
        let (first, second) = match latch {
            Some(latch) => {
                let told = self.done(&running.name, ticket);
                // Where too many wait the journal still takes what is to be kept; the announcement comes by itself.
                (
                    journal.latch(latch, told),
                    journal.write(write, Box::new(|_| ())),
                )
            }
            None => (
                journal.write(write, self.done(&running.name, ticket)),
                Ok(()),
            ),
        };
        for refused in [first.err(), second.err()].into_iter().flatten() {
            running.notes.ask_for_snapshot();
            tracing::error!(
                rollout = running.name,
                "{}: the journal does not take it: {refused}",
                running.name
            );
        }
    }

    /// What is called when the change of this ticket is durable, or cannot be.
    fn done(&self, name: &str, ticket: u64) -> Done {
        let (shared, name) = (self.me.clone(), name.to_owned());
        Box::new(move |result| {
            if let Some(shared) = shared.upgrade() {
                shared.written(&name, ticket, result.err().as_ref());
            }
        })
    }

    fn written(&self, name: &str, ticket: u64, error: Option<&WriteError>) {
        let mut book = self.book();
        let Book {
            running,
            parting,
            history,
            ..
        } = &mut *book;
        let mut all = running.iter_mut().chain(parting.iter_mut());
        // Where nobody has this ticket any more, it was told already.
        let found = all.find_map(|one| {
            let last = (one.name == name).then(|| {
                one.telling
                    .iter()
                    .position(|telling| telling.ticket == ticket)
            })??;
            Some((one, last))
        });
        if let Some((one, last)) = found {
            for telling in one.telling.drain(..=last).collect::<Vec<_>>() {
                self.announce(one, history, telling, error.map(ToString::to_string));
            }
        }
        parting.retain(|one| !one.telling.is_empty());
    }

    /// Announces what has waited for the disk for too long: it is in force, and people should know.
    pub(super) fn tell_late(&self, running: &mut Running, history: &mut History) {
        while let Some(one) = running
            .telling
            .pop_front_if(|one| one.since.elapsed() > TELL_AFTER)
        {
            let why = format!("the disk has not answered for {} s", TELL_AFTER.as_secs());
            self.announce(running, history, one, Some(why));
        }
    }

    /// The same for those who have left the file.
    pub(super) fn tell_late_of_parted(&self, book: &mut Book) {
        let Book {
            parting, history, ..
        } = book;
        for one in parting.iter_mut() {
            self.tell_late(one, history);
        }
        parting.retain(|one| !one.telling.is_empty());
    }

    /// Writes a growth down; it is applied when that is durable.
    fn grow(&self, book: &mut Book, at: usize, actor: &Actor) {
        let Some(journal) = self.own.journal() else {
            return;
        };
        let moment = now();
        let config = Arc::clone(&book.config);
        let running = &mut book.running[at];
        let before = running.state.clone();
        let grown = before.ramped(&config.rollouts[at], moment);
        let failed = match &running.pending {
            Some(pending) if pending.again.is_some_and(|again| Instant::now() < again) => return,
            Some(Pending { grown: Some(_), .. }) => return,
            Some(failed) => Some((failed.entry.seq, failed.trouble.clone())),
            None => None,
        };
        let (seq, trouble) = failed.unzip();
        let ticket = book.next_ticket();
        // The entry is about what will be.
        book.running[at].state = grown.clone();
        let entry = self.entry(book, at, &before, seq, actor);
        let running = &mut book.running[at];
        running.state = before;
        let (name, key) = (running.name.clone(), grown.key().to_string());
        running.pending = Some(Pending {
            ticket,
            entry,
            grown: Some(grown),
            again: None,
            trouble: trouble.flatten(),
        });
        // The place for the latch comes first: whoever goes back may find the disk full.
        let (shared, told) = (self.me.clone(), name.clone());
        let place_kept = move |result: Result<(), WriteError>| {
            if let Some(shared) = shared.upgrade() {
                shared.place_kept(&told, ticket, result);
            }
        };
        if let Err(refused) = journal.reserve(&name, &key, Box::new(place_kept)) {
            self.not_grown(book, at, &refused.to_string());
        }
    }

    /// The latch has its place, or cannot have one. Only under the lock is it known whether the growth is wanted still:
    /// one that was called off meanwhile must not be written after what took its place.
    fn place_kept(&self, name: &str, ticket: u64, result: Result<(), WriteError>) {
        let mut book = self.book();
        let Some((at, grown)) = wanted(&book, name, ticket) else {
            return;
        };
        let Some(journal) = self.own.journal() else {
            return;
        };
        if let Err(error) = result {
            return self.not_grown(&mut book, at, &error.to_string());
        }
        let running = &mut book.running[at];
        let Some(entry) = running
            .pending
            .as_ref()
            .map(|pending| pending.entry.clone())
        else {
            return;
        };
        let write = write(running, &grown, entry, IfFailed::Drop);
        let (shared, told) = (self.me.clone(), name.to_owned());
        let done = move |result: Result<(), WriteError>| {
            if let Some(shared) = shared.upgrade() {
                shared.grown(&told, ticket, result.err().map(|error| error.to_string()));
            }
        };
        if let Err(refused) = journal.write(write, Box::new(done)) {
            // The evidence was not taken with it.
            running.notes.ask_for_snapshot();
            self.not_grown(&mut book, at, &refused.to_string());
        }
    }

    /// A growth is written down, or cannot be.
    fn grown(&self, name: &str, ticket: u64, error: Option<String>) {
        let mut book = self.book();
        let book = &mut *book;
        if error.is_none()
            && let Some((at, _)) = wanted(book, name, ticket)
        {
            // What has come since the last look belongs to the stage before, and a guard may be due.
            self.look_at(book, at, Duration::ZERO);
        }
        let Some((at, written)) = wanted(book, name, ticket) else {
            return;
        };
        if let Some(error) = error {
            return self.not_grown(book, at, &error);
        }
        let config = Arc::clone(&book.config);
        let running = &mut book.running[at];
        let next = running.state.ramped(&config.rollouts[at], now());
        if !next.stands_as(&written) {
            // Another step is wanted by now: the next look writes that one down, in the place of this one.
            if let Some(pending) = &mut running.pending {
                pending.grown = None;
            }
            return;
        }
        let Some(Pending { entry, .. }) = running.pending.take() else {
            return;
        };
        let before = std::mem::replace(&mut running.state, next);
        if running.state.weight() > before.weight() {
            running.take_note(Note::Grew(now()));
        }
        running.saved = Some(written);
        running.telling.push_back(Telling {
            ticket,
            entry,
            shown: running.state.clone(),
            since: Instant::now(),
        });
        // What came before and waits for an answer still is told before, or it would seem to come after.
        while let Some(telling) = running.telling.pop_front() {
            self.announce(running, &mut book.history, telling, None);
        }
        self.publish_one(book, at);
    }

    fn not_grown(&self, book: &mut Book, at: usize, error: &str) {
        let running = &mut book.running[at];
        let Some(pending) = &mut running.pending else {
            return;
        };
        pending.grown = None;
        pending.again = Some(Instant::now() + WRITE_AGAIN);
        let text = format!(
            "the weight stays at {}: a larger one must be written down first, and the journal cannot be written ({error}); \
             it is tried again",
            running.state.weight()
        );
        if pending.trouble.replace(text.clone()).is_none() {
            let name = running.name.clone();
            let line = format!("{name}: {text}");
            tracing::error!(rollout = name, "{line}");
            book.history.alert(&name, &line);
        }
    }

    /// Says what has happened, to everybody.
    pub(super) fn announce(
        &self,
        running: &mut Running,
        history: &mut History,
        telling: Telling,
        unwritten: Option<String>,
    ) {
        let Telling { entry, shown, .. } = telling;
        let name = entry.rollout.clone();
        let mut line = format!("{name}: {}; {}", entry.reason, movement(&entry));
        if let Some(why) = unwritten {
            line = format!("{line}; NOT WRITTEN DOWN YET: {why}");
        }
        let was = std::mem::replace(&mut running.shown, shown).phase();
        let shown = &running.shown;
        match shown.phase() {
            Phase::RolledBack => {
                tracing::warn!(rollout = name, "{line}");
                // A start that finds a latch has no cause of its own: that one was counted when it happened.
                if was != Phase::RolledBack
                    && let Some(cause) = &shown.reason().cause
                {
                    self.metrics.rolled_back(&name, cause.as_str());
                }
                history.alert(&name, &line);
            }
            Phase::Paused => {
                tracing::warn!(rollout = name, "{line}");
                history.alert(&name, &line);
            }
            _ => tracing::info!(rollout = name, "{line}"),
        }
        history.announce(entry);
    }

    /// Puts the weight of the rollout at `at` in force: one atomic store that needs nothing else to succeed.
    fn publish_one(&self, book: &mut Book, at: usize) {
        let in_force = book.running[at].in_force(&book.config.rollouts[at]);
        book.in_force[at] = in_force;
        self.live
            .publish(self.live.current().with_rollouts(book.in_force.clone()));
    }

    /// The entry of a change from `before` to the present state. `seq`: the number of one that it takes the place of.
    pub(super) fn entry(
        &self,
        book: &Book,
        at: usize,
        before: &Rollout,
        seq: Option<u64>,
        actor: &Actor,
    ) -> Entry {
        let running = &book.running[at];
        let seq = seq.or_else(|| self.own.journal().as_ref().map(Journal::next_seq));
        let mut more = Map::new();
        more.insert("stage".to_owned(), running.state.stage().into());
        more.insert("attempt".to_owned(), running.state.attempt().into());
        if running.state.mirror() > Share::ZERO {
            more.insert("mirror".to_owned(), json!(running.state.mirror().percent()));
        }
        if let Some(approved) = running.state.approved() {
            more.insert("approved".to_owned(), approved.into());
        }
        let back = running.state.cohorts_back();
        if back > 0
            && let Some(plan) = book.config.rollouts.get(at)
        {
            let cohorts = (0..).zip(&plan.cohorts);
            let back = cohorts.filter(|(bit, _): &(u32, _)| back & 1 << bit != 0);
            let names: Vec<&str> = back.map(|(_, cohort)| cohort.name.as_str()).collect();
            more.insert("cohorts_back".to_owned(), json!(names));
        }
        if let Some(cause) = &running.state.reason().cause {
            more.insert("cause".to_owned(), Value::from(cause.as_str()));
        }
        more.insert("proxy".to_owned(), Value::from(crate::VERSION));
        Entry {
            seq: seq.unwrap_or_default(),
            at: Timestamp::now(),
            rollout: running.name.clone(),
            actor: actor.name.clone(),
            from: before.weight().percent(),
            to: running.state.weight().percent(),
            phase: running.state.phase().as_str().to_owned(),
            reason: running.state.reason().to_string(),
            revision: book.revision,
            more,
        }
    }
}

/// A growth that is being written down, where it is this one still: its rollout's place, and what follows.
fn wanted(book: &Book, name: &str, ticket: u64) -> Option<(usize, Rollout)> {
    let at = book.position(name)?;
    let pending = book.running[at].pending.as_ref()?;
    let grown = pending
        .grown
        .as_ref()
        .filter(|_| pending.ticket == ticket)?;
    Some((at, grown.clone()))
}

/// What makes a state durable, evidence and all.
fn write(running: &mut Running, state: &Rollout, entry: Entry, if_failed: IfFailed) -> Write {
    let state = serde_json::to_vec(state).expect("a state is plain values");
    running.notes.taken();
    Write {
        states: vec![(running.name.clone(), state)],
        // Where it is too much, the state must not wait for it.
        evidence: memory::snapshot(running)
            .map(|evidence| (running.name.clone(), evidence))
            .into_iter()
            .collect(),
        history: vec![entry],
        if_failed,
    }
}

/// What a history tells of a rollout, but for the step that it is about to take.
fn beside_the_ramp(state: &Rollout) -> impl PartialEq + use<> {
    (
        (state.key(), state.attempt(), state.weight(), state.mirror()),
        (state.cohorts_back(), state.approved()),
    )
}

/// Whether the request path has to know.
fn moves(before: &Rollout, after: &Rollout) -> bool {
    let seen = |state: &Rollout| {
        (
            state.weight(),
            state.mirror(),
            state.attempt(),
            state.cohorts_back(),
        )
    };
    seen(before) != seen(after)
}

/// `weight 10 % → 0 %, rolled back`.
fn movement(entry: &Entry) -> String {
    let phase = entry.phase.replace('_', " ");
    if entry.from == entry.to {
        format!("weight {} %, {phase}", entry.to)
    } else {
        format!("weight {} % → {} %, {phase}", entry.from, entry.to)
    }
}
