//! What is known of rollouts that are not in the file, or were not yet: what the journal said at the start, and those that
//! have left the file since.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidegate_config as config;

use crate::control::journal::{Evidence, Latch, Restored};
use crate::release::{Key, Reason, Rollout};

/// What is known of rollouts that are not in the file, or were not yet.
#[derive(Debug)]
pub(super) struct Recalled {
    pub states: BTreeMap<String, Rollout>,
    /// States that are there and make no sense, and why.
    unread: BTreeMap<String, String>,
    pub evidence: HashMap<String, Evidence>,
    latches: BTreeMap<String, Latch>,
    doubtful: Vec<String>,
    /// Latches of which not even the rollout is known.
    pub lost_latches: usize,
    /// The journal could not be read at the start: why.
    pub unreadable: Option<String>,
    /// Nothing was there at the start.
    pub empty: bool,
    /// No file was met yet.
    pub first: bool,
}

impl Recalled {
    /// What the journal says.
    pub(super) fn new(restored: Restored) -> Self {
        let (mut states, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for (name, bytes) in restored.states {
            match serde_json::from_slice::<Rollout>(&bytes) {
                Ok(state) => {
                    states.insert(name, state);
                }
                Err(error) => {
                    tracing::error!(rollout = name, "{name}: its state cannot be read: {error}");
                    unread.insert(name, error.to_string());
                }
            }
        }
        let mut latches = BTreeMap::<String, Latch>::new();
        for latch in restored.latches {
            let newer = |known: &Latch| known.attempt > latch.attempt;
            if !latches.get(&latch.rollout).is_some_and(newer) {
                latches.insert(latch.rollout.clone(), latch);
            }
        }
        Self {
            states,
            unread,
            evidence: restored.evidence,
            latches,
            doubtful: restored.doubtful,
            lost_latches: restored.latches_unreadable,
            unreadable: restored.unreadable,
            empty: restored.empty,
            first: true,
        }
    }

    /// Where a rollout stood before it came into the file; `None` for one that nobody knows.
    pub(super) fn state(&mut self, name: &str, key: Key, now: Duration) -> Option<Known> {
        let written = self.states.remove(name);
        let unread = self.unread.remove(name);
        let latch = self.latches.remove(name);
        let doubtful = self.doubtful.iter().any(|doubtful| doubtful == name);
        let plain = |text: &str| Reason {
            cause: None,
            text: text.to_owned().into(),
        };
        let was = written.clone().unwrap_or_else(|| Rollout::new(key, now));
        let state = match (&written, latch) {
            (_, Some(latch)) => {
                let key = latch.key.parse().unwrap_or(key);
                was.recalled(key, latch.attempt, plain(&latch.reason), now)
            }
            (Some(state), None) if doubtful && carries(state) => {
                let text = "its place for a rollback is damaged: it may have been rolled back";
                state.recalled(state.key(), state.attempt(), plain(text), now)
            }
            (Some(state), None) => state.clone(),
            (None, None) => {
                let why = match (&self.unreadable, unread) {
                    (Some(why), _) => format!("the journal cannot be read ({why})"),
                    (None, Some(why)) => format!("its state in the journal cannot be read ({why})"),
                    (None, None) => return None,
                };
                was.unsure(&why, now)
            }
        };
        Some(Known { was, state })
    }
}

/// What the journal says of a rollout, and what follows from that and its latch.
pub(super) struct Known {
    /// As the journal says.
    pub was: Rollout,
    /// As it must be.
    pub state: Rollout,
}

fn carries(state: &Rollout) -> bool {
    state.weight() > config::Share::ZERO || state.mirror() > config::Share::ZERO
}
