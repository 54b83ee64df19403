//! What may be asked of the journal's file, what comes of it, and how much of it may wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::entry::Entry;

/// So many writes wait for an answer at most.
pub const WRITES_WAITING: usize = 1_024;
/// So many events wait to be written at most, of all rollouts together,
pub const EVENTS_WAITING: usize = 65_536;
/// and so many bytes of them.
pub const EVENT_BYTES_WAITING: usize = 16 << 20;
/// So many events of one rollout are kept since its last snapshot.
pub const EVENTS_KEPT: usize = 65_536;
/// A single state or snapshot is not longer.
pub const VALUE_BYTES: usize = 32 << 20;
/// So many rollouts are remembered.
pub const ROLLOUTS_KEPT: usize = 8_192;
/// Evidence alone is written so often at most: what a kill -9 can lose of it.
pub(super) const EVIDENCE_EVERY: Duration = Duration::from_millis(150);

/// Told once when what was given is durable, or that it is not, on a thread of the journal: it should be short, and must
/// not wait for the journal.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// What becomes of a state that could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfFailed {
    /// It is dropped, and what was durable before it is restored: a growth, which is not applied then.
    Drop,
    /// It is tried again until it, or a newer one of the same rollout, is durable: everything that has happened already.
    Keep,
}

/// Something to be made durable at once: all of it or nothing.
#[derive(Debug, Clone)]
pub struct Write {
    /// Rollouts and what they are now.
    pub states: Vec<(String, Vec<u8>)>,
    /// Rollouts and the whole of their evidence, in place of all that was there. Never dropped: it is true in any case.
    pub evidence: Vec<(String, Vec<u8>)>,
    /// What is to be told of it.
    pub history: Vec<Entry>,
    /// What becomes of states and history if they cannot be written now.
    pub if_failed: IfFailed,
}

/// Why something is not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The disk refused it now.
    #[error("{0}")]
    Disk(String),
    /// The disk refused before, and it is not yet time to try again.
    #[error("the disk refused before: {0}")]
    Failing(String),
    /// A newer state of the same rollout took its place before it was written; only a growth is told so.
    #[error("a newer state of the rollout took its place")]
    Overtaken,
    /// A latch has no room for such a name and plan.
    #[error("{0}")]
    TooLong(String),
    /// The journal was closed first.
    #[error("the journal is closed")]
    Closed,
}

/// Why something was not even taken; whoever waits for it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits already. States that are to be kept were taken nevertheless.
    #[error("the journal is behind: too much waits to be written")]
    Full,
    /// A value is longer than [`VALUE_BYTES`].
    #[error("a value is too long for the journal")]
    TooLarge,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Tells somebody; a mistake of theirs does not end the journal.
pub(super) fn tell(done: Done, answer: Result<(), WriteError>) {
    if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
        tracing::error!("journal: whoever waited for a write broke when told of it");
    }
}
