//! The journal itself: what a caller may ask of it. Nothing here waits for a disk but [`Journal::open`] and
//! [`Journal::close`].

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::asked::{Done, Refused, Write};
use super::clerk::Clerk;
use super::directory::{Directory, OpenError};
use super::entry::Entry;
use super::health::{Health, Standing};
use super::latches::{LatchQueue, LatchThread};
use super::queue::Queue;
use super::slots::{Latch, Slots};
use super::steps::Steps;
use super::store::Store;

/// What was remembered, as it stands on the disk.
#[derive(Debug, Default)]
pub struct Restored {
    /// Rollouts and their states.
    pub states: Vec<(String, Vec<u8>)>,
    /// Rollouts and their evidence.
    pub evidence: HashMap<String, Evidence>,
    /// What was rolled back, also where the state does not know of it yet: the newer one counts, by the attempt.
    pub latches: Vec<Latch>,
    /// Rollouts whose latch was damaged while it was written, or later: they may have been rolled back. If the state says
    /// nothing newer, treat them as if they were.
    pub doubtful: Vec<String>,
    /// Latches that cannot be read, and of which not even the rollout is known.
    pub latches_unreadable: usize,
    /// The history, oldest first.
    pub history: Vec<Entry>,
    /// Rollouts and their states as the process had them that handed over to this one: later than what the journal says.
    pub later: Vec<(String, String)>,
    /// Nothing was ever kept in this directory: the first start, or somebody emptied it.
    pub empty: bool,
    /// The states, evidence and history could not be read: why, and where the file is now. Latches were read all the same.
    /// It is told again at every start until a state is written.
    pub unreadable: Option<String>,
}

/// The evidence of one rollout.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The last snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The events after it, in order.
    pub events: Vec<Vec<u8>>,
}

/// The journal of rollouts; a clone is another handle to the same. The last handle that goes lets the journal write what
/// waits, without waiting for it: whoever wants to see the end asks [`close`](Self::close).
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    latches: Arc<LatchQueue>,
    standing: Arc<Standing>,
    next_seq: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        self.latches.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Takes the state directory, makes it where there is none, and reads what it remembers.
    ///
    /// A `journal.redb` that cannot be read is set aside under another name and a new one is begun; a disk without room
    /// is no reason to fail where the directory was used before.
    ///
    /// # Errors
    /// Where another process has the directory, or it cannot be written to.
    pub fn open(dir: &Path) -> Result<(Self, Restored), OpenError> {
        Self::open_with(dir, Steps::default())
    }

    /// As [`open`](Self::open); every step on the disk is told.
    pub(crate) fn open_with(dir: &Path, steps: Steps) -> Result<(Self, Restored), OpenError> {
        let directory = Arc::new(Directory::take(dir)?);
        let (slots, found) = Slots::open(&directory, steps.clone())?;
        let (store, kept, trouble) =
            Store::open(Arc::clone(&directory), found.slots > 0, steps.clone())?;
        let restored = Restored {
            empty: kept.empty && found.slots == 0,
            states: kept.states,
            evidence: kept.evidence,
            history: kept.history,
            unreadable: kept.unreadable,
            latches: found.latches,
            doubtful: found.doubtful,
            latches_unreadable: found.unreadable,
            later: Vec::new(),
        };
        let journal =
            Self::start(directory, slots, store, trouble, &restored, steps).map_err(|source| {
                OpenError::Io {
                    dir: dir.to_owned(),
                    doing: "no thread for the journal",
                    source,
                }
            })?;
        Ok((journal, restored))
    }

    fn start(
        directory: Arc<Directory>,
        slots: Slots,
        store: Store,
        trouble: Option<String>,
        restored: &Restored,
        steps: Steps,
    ) -> std::io::Result<Self> {
        let standing = Arc::new(Standing::default());
        let events = |evidence: &Evidence| evidence.events.len();
        let kept = restored.evidence.iter();
        let kept = kept.map(|(rollout, evidence)| (rollout.clone(), events(evidence)));
        let queue = Arc::new(Queue::new(kept.collect()));
        let latches = LatchQueue::new();
        let last = restored.history.iter().map(|entry| entry.seq).max();
        let inner = Inner {
            queue: Arc::clone(&queue),
            latches: Arc::clone(&latches),
            standing: Arc::clone(&standing),
            next_seq: AtomicU64::new(last.map_or(1, |last| last + 1)),
        };
        let clerk = Clerk::new(
            Arc::clone(&queue),
            store,
            Arc::clone(&latches),
            Arc::clone(&standing),
            steps.clone(),
            restored.states.iter().cloned().collect(),
            trouble,
        );
        let latch_thread = LatchThread {
            queue: latches,
            slots,
            standing,
            steps,
            directory,
        };
        // Where the second thread cannot be had, dropping `inner` ends the first.
        thread::Builder::new()
            .name("latches".to_owned())
            .spawn(move || latch_thread.run())?;
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || clerk.run())?;
        Ok(Self(Arc::new(inner)))
    }

    /// Keeps a place for a rollout's latch, so that a rollback needs no room on the disk. To be asked, and answered, before
    /// the first weight of an attempt is applied. Asking again for the same rollout costs nothing.
    ///
    /// # Errors
    /// Where too many wait; then `done` is not told.
    pub fn reserve(&self, rollout: &str, key: &str, done: Done) -> Result<(), Refused> {
        self.0.latches.reserve(rollout, key, done)
    }

    /// Remembers that a rollout was rolled back: in place, before everything else. Where the disk refuses, `done` is told,
    /// and the latch is tried again until it is written.
    ///
    /// # Errors
    /// Where too many wait; then `done` is not told.
    pub fn latch(&self, latch: Latch, done: Done) -> Result<(), Refused> {
        self.0.latches.latch(latch, done)
    }

    /// Makes states and history durable, in one transaction.
    ///
    /// # Errors
    /// Where too many wait; then `done` is not told, and only states with [`IfFailed::Keep`](super::IfFailed) were taken.
    pub fn write(&self, write: Write, done: Done) -> Result<(), Refused> {
        self.0.queue.write(write, done)
    }

    /// Adds to a rollout's evidence; durable within a fraction of a second, or with the next state. The answer is how many
    /// of the events, the last ones, were not taken, since too many wait or came since the last snapshot.
    #[must_use = "evidence that was not taken is lost units"]
    pub fn evidence(&self, rollout: &str, events: Vec<Vec<u8>>) -> u64 {
        self.0.queue.evidence(rollout, events)
    }

    /// The whole evidence of a rollout, in place of all events so far.
    ///
    /// # Errors
    /// Where it is too long, or too much waits.
    pub fn snapshot(&self, rollout: &str, evidence: Vec<u8>) -> Result<(), Refused> {
        self.0.queue.snapshot(rollout, evidence)
    }

    /// Forgets a rollout: state and evidence, and when these are gone, its latch. Its history stays.
    ///
    /// # Errors
    /// Where the journal is closed.
    pub fn forget(&self, rollout: &str) -> Result<(), Refused> {
        self.0.latches.leave(rollout);
        self.0.queue.forget(rollout)
    }

    /// How it stands with the disk.
    pub fn health(&self) -> Health {
        self.0.standing.health()
    }

    /// Events that were not taken since the start.
    pub fn lost(&self) -> u64 {
        self.0.queue.lost()
    }

    /// The number of the next line of history.
    pub fn next_seq(&self) -> u64 {
        self.0.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes what waits, takes nothing more, and lets go of the directory; whether that was done in time.
    pub fn close(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        self.0.queue.close();
        // The clerk may still give places of forgotten rollouts back.
        let written = self.0.queue.wait_for_end(until);
        self.0.latches.close();
        self.0.latches.wait_for_end(until) && written
    }
}
