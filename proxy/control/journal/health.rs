//! Does the disk take what it is given?

use std::fmt::Display;
#[expect(
    clippy::disallowed_types,
    reason = "control's own: taken when the disk was tried, never by a request"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// How the journal stands with its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Everything that was given is written, or about to be.
    #[default]
    Fine,
    /// The disk refuses; what must not be lost waits in memory and is tried again.
    Failing {
        /// Since when.
        since: Timestamp,
        /// What the system said last.
        why: String,
        /// Rollouts whose newest state is in memory alone.
        states: usize,
        /// Rollbacks that are remembered in memory alone: the worst of it.
        latches: usize,
    },
}

impl Health {
    /// Whether all is well.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Fine)
    }
}

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Store,
    Latches,
}

#[derive(Debug)]
struct Trouble {
    since: Timestamp,
    why: String,
    waiting: usize,
}

/// How both files stand; the threads write it, everybody reads it. What changes is told in the log, once.
#[expect(
    clippy::disallowed_types,
    reason = "control's own: taken when the disk was tried, never by a request"
)]
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<[Option<Trouble>; 2]>);

impl Standing {
    fn parts(&self) -> MutexGuard<'_, [Option<Trouble>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file was tried: what went wrong, and how much waits for it.
    pub(super) fn set(&self, part: Part, trouble: Option<impl Display>, waiting: usize) {
        let mut parts = self.parts();
        let stands = &mut parts[part as usize];
        let Some(trouble) = trouble else {
            if let Some(ended) = stands.take() {
                tracing::info!(since = %ended.since, "journal: the disk takes {} again", what(part));
            }
            return;
        };
        let why = trouble.to_string();
        let since = stands
            .as_ref()
            .map_or_else(Timestamp::now, |known| known.since);
        if stands.as_ref().is_none_or(|known| known.why != why) {
            tracing::error!(
                waiting,
                "journal: {} cannot be written: {why}; {}",
                what(part),
                consequence(part)
            );
        }
        *stands = Some(Trouble {
            since,
            why,
            waiting,
        });
    }

    pub(super) fn health(&self) -> Health {
        let parts = self.parts();
        let waiting = |part: Part| {
            parts[part as usize]
                .as_ref()
                .map_or(0, |known| known.waiting)
        };
        // The latches come first: they are what must not be lost.
        let worst = [Part::Latches, Part::Store].map(|part| parts[part as usize].as_ref());
        let Some(known) = worst.iter().flatten().next() else {
            return Health::Fine;
        };
        Health::Failing {
            since: worst
                .iter()
                .flatten()
                .map(|known| known.since)
                .min()
                .unwrap_or(known.since),
            why: known.why.clone(),
            states: waiting(Part::Store),
            latches: waiting(Part::Latches),
        }
    }
}

fn what(part: Part) -> &'static str {
    match part {
        Part::Store => "the state of rollouts",
        Part::Latches => "latches",
    }
}

fn consequence(part: Part) -> &'static str {
    match part {
        Part::Store => "no candidate grows until it can; rollbacks work and are remembered",
        Part::Latches => "rollbacks work, but a restart may not know of them; no rollout begins",
    }
}
