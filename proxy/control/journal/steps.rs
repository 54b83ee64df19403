//! The name of every step on the disk. A test may be told of each one as it is about to be taken, and end the process
//! there; nobody else can listen.

use std::fmt;
use std::sync::Arc;

/// A step that is about to be taken, or, where the name says so, was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A latch's slot is about to be made.
    Reserve,
    /// A latch is about to be written in place.
    LatchWrite,
    /// What was written to the latches is about to be made durable.
    LatchSync,
    /// It is durable; nobody has been told.
    LatchDurable,
    /// Whoever waited for it was told.
    LatchTold,
    /// A transaction is about to begin.
    Begin,
    /// The store is about to write bytes to its file.
    StoreWrite,
    /// The store is about to change its file's length.
    StoreGrow,
    /// The store is about to make its file durable.
    StoreSync,
    /// The transaction is durable; nobody has been told.
    Durable,
    /// Whoever waited for it was told.
    Told,
    /// The store is about to be opened again after a failure.
    Reopen,
}

type Listener = dyn Fn(Step) + Send + Sync;

/// Whoever wants to be told of steps: nobody, outside tests.
#[derive(Clone, Default)]
pub(crate) struct Steps(Option<Arc<Listener>>);

impl Steps {
    /// Has every step told to `listener`, on the thread that takes it.
    #[cfg(test)]
    pub(crate) fn told_to(listener: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(super) fn take(&self, step: Step) {
        if let Some(listener) = &self.0 {
            listener(step);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Steps").field(&self.0.is_some()).finish()
    }
}
