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
        if ramps {
            // What it carries is as it was, or a little less.
            if before.weight() != running.state.weight() {
                self.publish_one(book, at);
            }
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
    fn write_down(&self, running: &mut Running, entry: Entry, ticket: u64) {
        let Some(journal) = &self.journal else {
            return;
        };
        let latch = (running.state.phase() == Phase::RolledBack).then(|| Latch {
            rollout: running.name.clone(),
            key: running.state.key().to_string(),
            attempt: running.state.attempt(),
            at: entry.at,
            reason: entry.reason.clone(),
        });
        let write = write(running, entry, IfFailed::Keep);
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
        let Some(at) = book.position(name) else {
            return;
        };
        let telling = &mut book.running[at].telling;
        let Some(last) = telling.iter().position(|one| one.ticket == ticket) else {
            return; // told already
        };
        let told: Vec<_> = telling.drain(..=last).collect();
        for one in told {
            self.announce(&mut book, at, one, error.map(ToString::to_string));
        }
    }

    /// Announces what has waited for the disk for too long: it is in force, and people should know.
    pub(super) fn tell_late(&self, book: &mut Book, at: usize) {
        while book.running[at]
            .telling
            .front()
            .is_some_and(|one| one.since.elapsed() > TELL_AFTER)
        {
            if let Some(one) = book.running[at].telling.pop_front() {
                let why = format!("the disk has not answered for {} s", TELL_AFTER.as_secs());
                self.announce(book, at, one, Some(why));
            }
        }
    }

    /// Writes a growth down; it is applied when that is durable.
    fn grow(&self, book: &mut Book, at: usize, actor: &Actor) {
        let Some(journal) = &self.journal else {
            return;
        };
        let moment = now();
        let config = Arc::clone(&book.config);
        let running = &mut book.running[at];
        let before = running.state.clone();
        let grown = before.ramped(&config.rollouts[at], moment);
        let seq = match &running.pending {
            Some(pending) if pending.again.is_some_and(|again| Instant::now() < again) => return,
            Some(Pending { grown: Some(_), .. }) => return,
            Some(failed) => Some((failed.entry.seq, failed.told)),
            None => None,
        };
        let (seq, told) = seq.unzip();
        let ticket = book.next_ticket();
        // The entry is about what will be.
        book.running[at].state = grown.clone();
        let entry = self.entry(book, at, &before, seq, actor);
        let running = &mut book.running[at];
        let write = write(running, entry.clone(), IfFailed::Drop);
        running.state = before;
        let (name, key) = (running.name.clone(), grown.key().to_string());
        running.pending = Some(Pending {
            ticket,
            entry,
            ramp: running.state.ramp().cloned(),
            grown: Some(grown),
            again: None,
            told: told.unwrap_or_default(),
        });
        // The place for the latch comes first: whoever goes back may find the disk full.
        let (shared, journal_again) = (self.me.clone(), journal.clone());
        let place_kept = move |result: Result<(), WriteError>| {
            if let Some(shared) = shared.upgrade() {
                shared.place_kept(&journal_again, ticket, write, result);
            }
        };
        if let Err(refused) = journal.reserve(&name, &key, Box::new(place_kept)) {
            self.not_grown(book, at, &refused.to_string());
        }
    }

    /// The latch has its place, or cannot have one.
    fn place_kept(
        &self,
        journal: &Journal,
        ticket: u64,
        write: Write,
        result: Result<(), WriteError>,
    ) {
        let Some((name, _)) = write.states.first().cloned() else {
            return;
        };
        let (shared, told) = (self.me.clone(), name.clone());
        let grown = move |result: Result<(), WriteError>| {
            if let Some(shared) = shared.upgrade() {
                shared.grown(&told, ticket, result.err().map(|error| error.to_string()));
            }
        };
        let failed = match result {
            Err(error) => Some(error.to_string()),
            Ok(()) => journal
                .write(write, Box::new(grown))
                .err()
                .map(|refused| refused.to_string()),
        };
        if failed.is_some() {
            self.grown(&name, ticket, failed);
        }
    }

    /// A growth is written down, or cannot be.
    fn grown(&self, name: &str, ticket: u64, error: Option<String>) {
        let mut book = self.book();
        let book = &mut *book;
        let Some(at) = book.position(name) else {
            return;
        };
        let running = &mut book.running[at];
        if running
            .pending
            .as_ref()
            .is_none_or(|pending| pending.ticket != ticket)
        {
            return; // called off meanwhile
        }
        if let Some(error) = error {
            return self.not_grown(book, at, &error);
        }
        let pending = running.pending.as_mut().expect("it was just seen");
        if pending.ramp.as_ref() != running.state.ramp() {
            // A smaller step is wanted by now: the next look writes that one down, in the place of this one.
            pending.grown = None;
            return;
        }
        let Some(Pending {
            grown: Some(grown),
            entry,
            ..
        }) = running.pending.take()
        else {
            return;
        };
        let before = std::mem::replace(&mut running.state, grown);
        if running.state.weight() > before.weight() {
            running.take_note(Note::Grew(now()));
        }
        running.saved = Some(running.state.clone());
        let telling = Telling {
            ticket,
            entry,
            shown: running.state.clone(),
            since: Instant::now(),
        };
        self.announce(book, at, telling, None);
        self.publish_one(book, at);
    }

    fn not_grown(&self, book: &mut Book, at: usize, error: &str) {
        let running = &mut book.running[at];
        let Some(pending) = &mut running.pending else {
            return;
        };
        pending.grown = None;
        pending.again = Some(Instant::now() + WRITE_AGAIN);
        if !std::mem::replace(&mut pending.told, true) {
            let name = running.name.clone();
            let text = format!(
                "{name}: the weight stays at {}: a larger one must be written down first, and the journal cannot be written ({error}); \
                 it is tried again",
                running.state.weight()
            );
            tracing::error!(rollout = name, "{text}");
            book.history.alert(&name, &text);
        }
    }

    /// A rollout leaves the file: this is the last that is told of it.
    pub(super) fn tell_parting(
        &self,
        book: &mut Book,
        at: usize,
        before: &Rollout,
        called_off: Option<u64>,
    ) {
        self.news(book, at, before, called_off, &Actor::file());
        while let Some(one) = book.running[at].telling.pop_front() {
            self.announce(book, at, one, None);
        }
    }

    /// Says what has happened, to everybody.
    pub(super) fn announce(
        &self,
        book: &mut Book,
        at: usize,
        telling: Telling,
        unwritten: Option<String>,
    ) {
        let Telling { entry, shown, .. } = telling;
        let name = entry.rollout.clone();
        let mut line = format!("{name}: {}; {}", entry.reason, movement(&entry));
        if let Some(why) = unwritten {
            line = format!("{line}; NOT WRITTEN DOWN YET: {why}");
        }
        let was = std::mem::replace(&mut book.running[at].shown, shown).phase();
        let shown = &book.running[at].shown;
        match shown.phase() {
            Phase::RolledBack => {
                tracing::warn!(rollout = name, "{line}");
                if was != Phase::RolledBack {
                    let cause = shown
                        .reason()
                        .cause
                        .as_ref()
                        .map_or("operator", |cause| cause.as_str());
                    self.metrics.rolled_back(&name, cause);
                }
                book.history.alert(&name, &line);
            }
            Phase::Paused => {
                tracing::warn!(rollout = name, "{line}");
                book.history.alert(&name, &line);
            }
            _ => tracing::info!(rollout = name, "{line}"),
        }
        book.history.announce(entry);
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
        let seq = seq.or_else(|| self.journal.as_ref().map(Journal::next_seq));
        let mut more = Map::new();
        more.insert("stage".to_owned(), running.state.stage().into());
        more.insert("attempt".to_owned(), running.state.attempt().into());
        if running.state.mirror() > Share::ZERO {
            more.insert("mirror".to_owned(), json!(running.state.mirror().percent()));
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

/// What makes the present state durable, evidence and all.
fn write(running: &mut Running, entry: Entry, if_failed: IfFailed) -> Write {
    let state = serde_json::to_vec(&running.state).expect("a state is plain values");
    running.notes.taken();
    Write {
        states: vec![(running.name.clone(), state)],
        evidence: vec![(running.name.clone(), memory::snapshot(running))],
        history: vec![entry],
        if_failed,
    }
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
