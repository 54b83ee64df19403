//! The thread that writes `journal.redb`: all that waits in one transaction, and after a failure again, each time later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asked::{EVIDENCE_EVERY, WriteError};
use super::batch::Batch;
use super::health::{Part, Standing};
use super::latches::LatchQueue;
use super::queue::{Queue, Turn};
use super::steps::{Step, Steps};
use super::store::Store;

/// After a failure the first new try comes so soon; each further one after twice the time,
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// but at most this.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// A failure so soon after the last one is the same one: a full disk takes what is small between what is not.
const SAME_TROUBLE: Duration = Duration::from_secs(30);

/// A failure, and when the next try is due.
struct Failing {
    why: String,
    until: Instant,
}

/// Whoever writes.
pub(super) struct Clerk {
    queue: Arc<Queue>,
    store: Store,
    latches: Arc<LatchQueue>,
    standing: Arc<Standing>,
    steps: Steps,
    /// What the disk is known to have: what a failed growth goes back to.
    durable: HashMap<String, Vec<u8>>,
    failing: Option<Failing>,
    /// How long the next failure waits.
    wait: Duration,
    /// When the disk failed last.
    failed: Option<Instant>,
}

impl Clerk {
    /// A clerk who knows what the disk has, and whether it could be written to just now.
    pub(super) fn new(
        queue: Arc<Queue>,
        store: Store,
        latches: Arc<LatchQueue>,
        standing: Arc<Standing>,
        steps: Steps,
        durable: HashMap<String, Vec<u8>>,
        trouble: Option<String>,
    ) -> Self {
        let mut clerk = Self {
            queue,
            store,
            latches,
            standing,
            steps,
            durable,
            failing: None,
            wait: RETRY_FIRST,
            failed: None,
        };
        if let Some(why) = trouble {
            clerk.fail(why);
        }
        clerk
    }

    /// Works until the queue is closed and all is written that the disk takes.
    pub(super) fn run(mut self) {
        let mut evidence_at = Instant::now();
        loop {
            let not_before = self.failing.as_ref().map(|failing| failing.until);
            match self.queue.next(evidence_at, not_before) {
                None => break,
                Some(Turn::Write(batch)) => self.write(batch),
                Some(Turn::Refuse(mut batch)) => {
                    let why = self.failing.as_ref().map(|failing| failing.why.clone());
                    batch.tell(&Err(WriteError::Failing(why.unwrap_or_default())));
                }
            }
            evidence_at = Instant::now() + EVIDENCE_EVERY;
        }
        self.store.close();
        // The directory goes with it, before anybody hears that this is the end.
        let Self { queue, store, .. } = self;
        drop(store);
        queue.end();
    }

    fn write(&mut self, mut batch: Batch) {
        match self.store.write(&batch, &self.durable) {
            Ok(()) => {
                self.steps.take(Step::Durable);
                self.failing = None;
                self.standing.set(Part::Store, None::<&str>, 0);
                self.queue.written(&batch);
                self.remember(&batch);
                batch.tell(&Ok(()));
                self.steps.take(Step::Told);
            }
            Err(error) => {
                let why = error.to_string();
                let answer = Err(WriteError::Disk(why.clone()));
                // Told only when the queue has it again: whoever is told may write at once.
                let mut tickets = batch.take_tickets();
                self.queue.put_back(batch, &self.durable);
                self.fail(why);
                tickets.tell(&answer);
            }
        }
    }

    fn fail(&mut self, why: String) {
        let now = Instant::now();
        if self.failed.is_none_or(|failed| now - failed > SAME_TROUBLE) {
            self.wait = RETRY_FIRST;
        }
        self.standing
            .set(Part::Store, Some(&why), self.queue.states());
        let until = now + self.wait;
        self.failing = Some(Failing { why, until });
        self.wait = (self.wait * 2).min(RETRY_LONGEST);
        self.failed = Some(now);
    }

    fn remember(&mut self, batch: &Batch) {
        for (rollout, state) in &batch.states {
            match &state.value {
                Some(value) => {
                    self.durable.insert(rollout.clone(), value.clone());
                }
                None => {
                    self.durable.remove(rollout);
                    self.latches.left(rollout);
                }
            }
        }
    }
}
