//! What the workers have in common of a rollout, found by its number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "taken at the first use of a rollout and by control, never to count"
)]
use std::sync::{Mutex, PoisonError};

use super::queue::Queue;
use super::run::Run;
use super::slow::SlowBound;
use crate::record::RolloutId;

/// What the workers have in common of one rollout.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) slow: Arc<SlowBound>,
    pub(crate) run: Run,
    window: AtomicU32,
}

impl Shared {
    /// The window in which users are counted, from 1.
    pub(crate) fn window(&self) -> u32 {
        self.window.load(Ordering::Relaxed).wrapping_add(1)
    }

    /// Begins the next window; the one that has ended.
    pub(crate) fn turn(&self) -> u32 {
        self.window.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// What the workers have in common of all rollouts.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    #[expect(
        clippy::disallowed_types,
        reason = "taken at the first use of a rollout and by control, never to count"
    )]
    all: Mutex<HashMap<RolloutId, Arc<Shared>>>,
    pub(crate) queue: Queue,
}

impl Rollouts {
    /// Of this one; made at its first use, for the life of the process.
    pub(crate) fn get(&self, id: RolloutId) -> Arc<Shared> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(id).or_default())
    }
}
