//! The thread of the latches, and what waits for it. It has no other work, so that a rollback is remembered within
//! milliseconds, whatever the rest of the journal does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "control's own: taken for a rollback, never by a request"
)]
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::asked::{Done, Refused, WRITES_WAITING, WriteError, tell};
use super::directory::Directory;
use super::health::{Part, Standing};
use super::slots::{LATCH_SLOTS, Latch, SlotError, Slots};
use super::steps::{Step, Steps};

/// After a failure the first new try comes so soon; each further one after twice the time,
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// but at most this.
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// A request for a slot.
struct Reservation {
    rollout: String,
    key: String,
    done: Done,
}

#[derive(Default)]
struct Waiting {
    /// By rollout: a newer latch takes the place of an older one, and answers for it.
    latches: BTreeMap<String, (Latch, Vec<Done>)>,
    reservations: VecDeque<Reservation>,
    /// Rollouts whose state is being forgotten; their slot goes after it.
    leaving: BTreeSet<String>,
    /// Rollouts whose slot may go now.
    left: BTreeSet<String>,
    asked: usize,
    closing: bool,
    ended: bool,
}

/// What the threads share.
#[derive(Default)]
#[expect(
    clippy::disallowed_types,
    reason = "control's own: taken for a rollback, never by a request"
)]
pub(super) struct LatchQueue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

impl LatchQueue {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reserve(&self, rollout: &str, key: &str, done: Done) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        waiting.admit()?;
        waiting.leaving.remove(rollout);
        waiting.left.remove(rollout);
        let (rollout, key) = (rollout.to_owned(), key.to_owned());
        waiting
            .reservations
            .push_back(Reservation { rollout, key, done });
        self.bell.notify_all();
        Ok(())
    }

    pub(super) fn latch(&self, latch: Latch, done: Done) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        waiting.admit()?;
        waiting.leaving.remove(&latch.rollout);
        waiting.left.remove(&latch.rollout);
        match waiting.latches.get_mut(&latch.rollout) {
            Some((waits, dones)) => {
                *waits = latch;
                dones.push(done);
            }
            None => {
                waiting
                    .latches
                    .insert(latch.rollout.clone(), (latch, vec![done]));
            }
        }
        self.bell.notify_all();
        Ok(())
    }

    /// The rollout is being forgotten: from now on nothing but a new reservation or latch keeps its slot.
    pub(super) fn leave(&self, rollout: &str) {
        self.waiting().leaving.insert(rollout.to_owned());
    }

    /// Its state is gone from the disk: now the latch may go.
    pub(super) fn left(&self, rollout: &str) {
        let mut waiting = self.waiting();
        if waiting.leaving.remove(rollout) {
            waiting.left.insert(rollout.to_owned());
            self.bell.notify_all();
        }
    }

    pub(super) fn close(&self) {
        self.waiting().closing = true;
        self.bell.notify_all();
    }

    /// Waits for the thread to end; whether it has.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        let mut waiting = self.waiting();
        while !waiting.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self
                .bell
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Waiting {
    fn admit(&mut self) -> Result<(), Refused> {
        if self.closing {
            return Err(Refused::Closed);
        }
        if self.asked >= WRITES_WAITING + LATCH_SLOTS {
            return Err(Refused::Full);
        }
        self.asked += 1;
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.latches.is_empty() && self.reservations.is_empty() && self.left.is_empty()
    }
}

/// The thread: what it writes with, and what it still owes.
pub(super) struct LatchThread {
    pub(super) queue: Arc<LatchQueue>,
    pub(super) slots: Slots,
    pub(super) standing: Arc<Standing>,
    pub(super) steps: Steps,
    /// Kept, so that no other process comes in while this one may still write.
    pub(super) directory: Arc<Directory>,
}

impl LatchThread {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // Latches that the disk refused. Whoever asked was told; they are tried until they are written.
        let mut owed: BTreeMap<String, Latch> = BTreeMap::new();
        let mut wait = RETRY_FIRST;
        let mut retry_at = None;
        while let Some(work) = self.next(retry_at) {
            for latch in work.latches.values() {
                owed.remove(&latch.0.rollout);
            }
            let tries = std::mem::take(&mut owed)
                .into_values()
                .map(|latch| (latch, Vec::new()))
                .chain(work.latches.into_values());
            let mut trouble = None;
            for (latch, dones) in tries {
                match self.write_latch(&latch, dones) {
                    Ok(()) => {}
                    // It will not become shorter. Its reservation said so before a weight was applied.
                    Err(error @ SlotError::TooLong(_)) => {
                        tracing::error!(rollout = latch.rollout, "{}: {error}", latch.rollout);
                    }
                    Err(error) => {
                        trouble = Some(error);
                        owed.insert(latch.rollout.clone(), latch);
                    }
                }
            }
            if let Err(error) = self.reserve(work.reservations) {
                trouble.get_or_insert(error);
            }
            for rollout in work.left {
                if let Err(error) = self.slots.free(&rollout).and_then(|()| self.slots.sync()) {
                    // It keeps its slot, and its latch: too careful, never the reverse.
                    tracing::warn!(%rollout, %error, "{rollout}: its latch stays, though it was forgotten: {error}");
                }
            }
            // A refused reservation is not owed to anybody; whether the next one will be is worth knowing.
            if trouble.is_none() && retry_at.is_some() {
                trouble = self.slots.make_room().err();
            }
            if trouble.is_some() {
                retry_at = Some(Instant::now() + wait);
                wait = (wait * 2).min(RETRY_LONGEST);
            } else {
                (wait, retry_at) = (RETRY_FIRST, None);
            }
            self.standing.set(Part::Latches, trouble, owed.len());
        }
        drop((self.slots, self.directory));
        self.queue.waiting().ended = true;
        self.queue.bell.notify_all();
    }

    /// Waits for work, or for the time to try again; `None` at the end.
    fn next(&self, retry_at: Option<Instant>) -> Option<Waiting> {
        let mut waiting = self.queue.waiting();
        loop {
            let now = Instant::now();
            if !waiting.is_idle() || retry_at.is_some_and(|at| at <= now) {
                let (closing, leaving) = (waiting.closing, std::mem::take(&mut waiting.leaving));
                let kept = Waiting {
                    closing,
                    leaving,
                    ..Waiting::default()
                };
                return Some(std::mem::replace(&mut *waiting, kept));
            }
            if waiting.closing {
                return None;
            }
            let left = retry_at.map_or(Duration::MAX, |at| at - now);
            waiting = if left == Duration::MAX {
                let woken = self.queue.bell.wait(waiting);
                woken.unwrap_or_else(PoisonError::into_inner)
            } else {
                let woken = self.queue.bell.wait_timeout(waiting, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// One latch, with a sync of its own: several that come at once are rare, and the first should not wait.
    fn write_latch(&mut self, latch: &Latch, dones: Vec<Done>) -> Result<(), SlotError> {
        let written = self.slots.latch(latch).and_then(|()| self.slots.sync());
        if written.is_ok() {
            self.steps.take(Step::LatchDurable);
        }
        let answer = written.as_ref().copied().map_err(refusal);
        for done in dones {
            tell(done, answer.clone());
        }
        if answer.is_ok() {
            self.steps.take(Step::LatchTold);
        }
        written
    }

    /// All reservations with one sync: at a start there may be a thousand.
    fn reserve(&mut self, reservations: VecDeque<Reservation>) -> Result<(), SlotError> {
        let mut answers = Vec::new();
        let mut trouble = None;
        for Reservation { rollout, key, done } in reservations {
            // Asked for twice in one breath: one slot.
            let reserved = if self.slots.is_unsynced(&rollout) {
                Ok(())
            } else {
                self.slots.reserve(&rollout, &key)
            };
            answers.push((done, reserved.as_ref().copied().map_err(refusal)));
            if let Err(error @ SlotError::Io(_)) = reserved {
                trouble = Some(error);
            }
        }
        let synced = self.slots.sync();
        let failed = synced.as_ref().err().map(refusal);
        for (done, answer) in answers {
            tell(done, answer.and(failed.clone().map_or(Ok(()), Err)));
        }
        trouble.map_or(synced, Err)
    }
}

fn refusal(error: &SlotError) -> WriteError {
    match error {
        SlotError::TooLong(_) => WriteError::TooLong(error.to_string()),
        SlotError::NoneFree | SlotError::Io(_) => WriteError::Disk(error.to_string()),
    }
}
