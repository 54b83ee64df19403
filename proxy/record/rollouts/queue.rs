//! How the judge is told: a bounded queue from all workers. Telling it takes no lock but to wake a judge who sleeps,
//! allocates nothing and never waits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Incident;

/// Incidents that wait for the judge. He needs about a microsecond for each, so this many are behind only where he is
/// stuck for a while, or where everything fails at hundreds of thousands a second. Their places are there from the start, a few
/// megabytes: more would be paid for by every process that has nothing to judge.
pub const INCIDENTS_MAX: usize = 16_384;

/// The workers' end of the queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// `None` until somebody wants to listen: its places are made all at once, and take some megabytes.
    sender: OnceLock<SyncSender<Incident>>,
    dropped: AtomicU64,
}

impl Queue {
    /// The judge's end; `None` if somebody has it.
    pub(crate) fn open(&self) -> Option<Receiver<Incident>> {
        let (sender, receiver) = sync_channel(INCIDENTS_MAX);
        self.sender.set(sender).ok().map(|()| receiver)
    }

    /// Tells the judge. Where there is no room, the newest is dropped, whatever it says: a choice by version would turn
    /// into evidence.
    pub(crate) fn tell(&self, incident: Incident) {
        let told = self.sender.get().map(|sender| sender.try_send(incident));
        if !matches!(told, Some(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Incidents that found no room or no judge.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
