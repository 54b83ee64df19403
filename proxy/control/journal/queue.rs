//! What waits to be written to `journal.redb`. Everything in it has a bound: of a rollout's states only the newest waits,
//! of its events only so many.

use std::collections::HashMap;
#[expect(
    clippy::disallowed_types,
    reason = "control's own: what the judge and the API remember, never a request"
)]
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::asked::{
    Done, EVENT_BYTES_WAITING, EVENTS_KEPT, EVENTS_WAITING, IfFailed, ROLLOUTS_KEPT, Refused,
    VALUE_BYTES, WRITES_WAITING, Write, WriteError,
};
use super::batch::{Batch, Fresh, State, Ticket, Value};

#[derive(Default)]
struct Waiting {
    batch: Batch,
    numbers: u64,
    /// Events by rollout since its last snapshot, written or not.
    kept: HashMap<String, usize>,
    /// Events that are not durable, with what is being written just now.
    events: usize,
    event_bytes: usize,
    lost: u64,
    closing: bool,
    ended: bool,
}

/// The queue between whoever remembers and the clerk.
#[expect(
    clippy::disallowed_types,
    reason = "control's own: what the judge and the API remember, never a request"
)]
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

impl Queue {
    /// A queue that knows how many events the disk has of each rollout.
    pub(super) fn new(kept: HashMap<String, usize>) -> Self {
        let queue = Self::default();
        queue.waiting().kept = kept;
        queue
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, write: Write, done: Done) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        let values = write.states.iter().chain(&write.evidence);
        waiting.admit(values.map(|(rollout, value)| (rollout.as_str(), value.len())))?;
        let full = waiting.batch.tickets.len() >= WRITES_WAITING;
        if full && write.if_failed == IfFailed::Drop {
            return Err(Refused::Full);
        }
        let mut states = Vec::with_capacity(write.states.len());
        for (rollout, value) in write.states {
            let number = waiting.put(&rollout, Some(value), write.if_failed);
            states.push((rollout, number));
        }
        for (rollout, snapshot) in write.evidence {
            waiting.snapshot(&rollout, Some(snapshot));
        }
        for entry in write.history {
            waiting.batch.history.push((entry, write.if_failed));
        }
        waiting.batch.bound_history();
        let answer = if full {
            Err(Refused::Full)
        } else {
            let if_failed = write.if_failed;
            let ticket = Ticket {
                states,
                if_failed,
                done,
            };
            waiting.batch.tickets.push(ticket);
            Ok(())
        };
        self.bell.notify_all();
        answer
    }

    /// Takes events; how many it did not take.
    pub(super) fn evidence(&self, rollout: &str, events: Vec<Vec<u8>>) -> u64 {
        let mut waiting = self.waiting();
        let mut lost = 0;
        for event in events {
            if !waiting.event(rollout, event) {
                lost += 1;
            }
        }
        waiting.lost += lost;
        self.bell.notify_all();
        lost
    }

    pub(super) fn snapshot(&self, rollout: &str, snapshot: Vec<u8>) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        waiting.admit(std::iter::once((rollout, snapshot.len())))?;
        waiting.snapshot(rollout, Some(snapshot));
        self.bell.notify_all();
        Ok(())
    }

    pub(super) fn forget(&self, rollout: &str) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        waiting.admit(std::iter::empty())?;
        waiting.put(rollout, None, IfFailed::Keep);
        waiting.snapshot(rollout, None);
        self.bell.notify_all();
        Ok(())
    }

    /// Events that were not taken since the start.
    pub(super) fn lost(&self) -> u64 {
        self.waiting().lost
    }

    /// Rollouts whose newest state is not durable.
    pub(super) fn states(&self) -> usize {
        self.waiting().batch.states.len()
    }

    /// Waits for something to write; `None` at the end. States are written at once; evidence not before `evidence_at`,
    /// nothing but answers before `not_before`.
    pub(super) fn next(&self, evidence_at: Instant, not_before: Option<Instant>) -> Option<Turn> {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let held = not_before.is_some_and(|at| now < at);
            let batch = &waiting.batch;
            if waiting.closing && (batch.is_empty() && not_before.is_none() || held) {
                return None;
            }
            if held && !batch.tickets.is_empty() {
                return Some(Turn::Refuse(waiting.withdraw()));
            }
            let urgent =
                !batch.tickets.is_empty() || !batch.states.is_empty() || !batch.history.is_empty();
            // After a failure a turn is taken without work too: to learn whether the disk is well again.
            let due = urgent
                || waiting.closing
                || not_before.is_some()
                || !batch.evidence.is_empty() && evidence_at <= now;
            if due && !held {
                return Some(Turn::Write(std::mem::take(&mut waiting.batch)));
            }
            let until = match not_before {
                Some(at) => Some(at),
                None if !batch.evidence.is_empty() => Some(evidence_at),
                None => None,
            };
            waiting = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let woken = self.bell.wait_timeout(waiting, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.bell.wait(waiting);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// The batch is durable: its events wait no longer.
    pub(super) fn written(&self, batch: &Batch) {
        let mut waiting = self.waiting();
        for fresh in batch.evidence.values() {
            waiting.events -= fresh.events.len();
            waiting.event_bytes -= fresh.events.iter().map(Vec::len).sum::<usize>();
        }
    }

    /// The batch could not be written: what must not be lost waits again, unless something newer does. `durable` says what
    /// the disk had before, for states that are dropped: whether they reached it is not known, and they must not stay.
    pub(super) fn put_back(&self, batch: Batch, durable: &HashMap<String, Vec<u8>>) {
        let mut waiting = self.waiting();
        for (rollout, state) in batch.states {
            let value = match (state.if_failed, state.instead) {
                (IfFailed::Keep, _) => state.value,
                (IfFailed::Drop, Some(instead)) => instead,
                (IfFailed::Drop, None) => durable.get(&rollout).cloned(),
            };
            match waiting.batch.states.get_mut(&rollout) {
                Some(newer) if newer.if_failed == IfFailed::Keep => {}
                Some(newer) => {
                    newer.instead.get_or_insert(value);
                }
                None => {
                    waiting.put(&rollout, value, IfFailed::Keep);
                }
            }
        }
        for (rollout, older) in batch.evidence {
            waiting.evidence_back(rollout, older);
        }
        let mut history = batch.history;
        history.retain(|(_, if_failed)| *if_failed == IfFailed::Keep);
        history.append(&mut waiting.batch.history);
        waiting.batch.history = history;
        waiting.batch.bound_history();
    }

    pub(super) fn close(&self) {
        self.waiting().closing = true;
        self.bell.notify_all();
    }

    /// The clerk has gone: whoever still waits is told.
    pub(super) fn end(&self) {
        let mut left = {
            let mut waiting = self.waiting();
            waiting.closing = true;
            std::mem::take(&mut waiting.batch)
        };
        left.tell(&Err(WriteError::Closed));
        self.waiting().ended = true;
        self.bell.notify_all();
    }

    /// Waits for the clerk to go; whether it has.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        let mut waiting = self.waiting();
        while !waiting.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// What the clerk is to do next.
pub(super) enum Turn {
    /// Write this.
    Write(Batch),
    /// Tell these that the disk fails: it is too early to try again.
    Refuse(Batch),
}

impl Waiting {
    fn admit<'a>(&self, values: impl Iterator<Item = (&'a str, usize)>) -> Result<(), Refused> {
        if self.closing {
            return Err(Refused::Closed);
        }
        for (rollout, length) in values {
            if length > VALUE_BYTES {
                return Err(Refused::TooLarge);
            }
            if self.batch.states.len() >= ROLLOUTS_KEPT && !self.batch.states.contains_key(rollout)
            {
                return Err(Refused::Full);
            }
        }
        Ok(())
    }

    /// A rollout's newest state; the number that it gets.
    fn put(&mut self, rollout: &str, value: Value, if_failed: IfFailed) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        let older = self.batch.states.remove(rollout);
        let instead = match (if_failed, older) {
            (IfFailed::Keep, _) | (_, None) => None,
            (IfFailed::Drop, Some(older)) => match older.if_failed {
                IfFailed::Keep => Some(older.value),
                IfFailed::Drop => older.instead,
            },
        };
        let state = State {
            value,
            if_failed,
            instead,
            number,
        };
        self.batch.states.insert(rollout.to_owned(), state);
        number
    }

    fn event(&mut self, rollout: &str, event: Vec<u8>) -> bool {
        let kept = self.kept.get(rollout).copied().unwrap_or_default();
        if self.closing
            || kept >= EVENTS_KEPT
            || self.events >= EVENTS_WAITING
            || self.event_bytes + event.len() > EVENT_BYTES_WAITING
            || self.kept.len() >= ROLLOUTS_KEPT && !self.kept.contains_key(rollout)
        {
            return false;
        }
        self.kept.insert(rollout.to_owned(), kept + 1);
        self.events += 1;
        self.event_bytes += event.len();
        let fresh = self.batch.evidence.entry(rollout.to_owned()).or_default();
        fresh.events.push(event);
        true
    }

    /// The whole evidence of a rollout, or that it has none any more.
    fn snapshot(&mut self, rollout: &str, snapshot: Option<Vec<u8>>) {
        let fresh = self.batch.evidence.entry(rollout.to_owned()).or_default();
        let events = std::mem::take(&mut fresh.events);
        (fresh.anew, fresh.snapshot) = (true, snapshot);
        self.kept.remove(rollout);
        self.no_longer(&events);
    }

    fn evidence_back(&mut self, rollout: String, older: Fresh) {
        let newer = self.batch.evidence.entry(rollout).or_default();
        if newer.anew {
            // Everything older is in the newer snapshot.
            self.no_longer(&older.events);
            return;
        }
        let since = std::mem::take(&mut newer.events);
        *newer = older;
        newer.events.extend(since);
    }

    fn no_longer(&mut self, events: &[Vec<u8>]) {
        self.events -= events.len();
        self.event_bytes -= events.iter().map(Vec::len).sum::<usize>();
    }

    /// Takes those who wait out of the queue, with the states and the history that are dropped with them; what is to be
    /// kept stays.
    fn withdraw(&mut self) -> Batch {
        let withdrawn = self.batch.take_tickets();
        let states = std::mem::take(&mut self.batch.states);
        for (rollout, mut state) in states {
            if state.if_failed == IfFailed::Drop {
                match state.instead.take() {
                    Some(value) => {
                        state = State {
                            value,
                            if_failed: IfFailed::Keep,
                            ..state
                        };
                    }
                    // It never came near the disk: there is nothing to restore.
                    None => continue,
                }
            }
            self.batch.states.insert(rollout, state);
        }
        self.batch
            .history
            .retain(|(_, if_failed)| *if_failed == IfFailed::Keep);
        withdrawn
    }
}
