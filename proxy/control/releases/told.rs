//! What is announced: an event for whoever listens, an entry in the history.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::control::journal::{Entry, HISTORY_ENTRIES};
use crate::control::standing::rfc3339;

/// Events that a slow listener may be behind; older ones are lost to it, and it is told how many.
pub const EVENTS_KEPT: usize = 1024;

/// Something that happened, as `GET /api/v1/events` sends it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// `shift`, `edit` or `alert`.
    pub kind: &'static str,
    /// What there is to say.
    pub body: Value,
}

/// All that was announced, oldest first, and whoever listens.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    events: broadcast::Sender<Arc<Event>>,
}

impl History {
    /// Goes on after `entries`.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self {
            entries: entries.into(),
            events: broadcast::Sender::new(EVENTS_KEPT),
        }
    }

    /// Announces an entry: a change of a rollout.
    pub(super) fn announce(&mut self, entry: Entry) {
        self.send("shift", serde_json::to_value(&entry).unwrap_or_default());
        let at = self.entries.partition_point(|known| known.seq < entry.seq);
        self.entries.insert(at, entry);
        while self.entries.len() as u64 > HISTORY_ENTRIES {
            self.entries.pop_front();
        }
    }

    /// Something that somebody should look at.
    pub(super) fn alert(&self, rollout: &str, message: &str) {
        self.send(
            "alert",
            json!({ "at": rfc3339(Timestamp::now()), "rollout": rollout, "message": message }),
        );
    }

    /// An edit of the file, in force or refused.
    pub(super) fn edit(&self, body: Value) {
        self.send("edit", body);
    }

    /// What the journal knows is known here too.
    pub(super) fn learn(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let at = self.entries.partition_point(|known| known.seq < entry.seq);
            if self
                .entries
                .get(at)
                .is_none_or(|known| known.seq != entry.seq)
            {
                self.entries.insert(at, entry);
            }
        }
        while self.entries.len() as u64 > HISTORY_ENTRIES {
            self.entries.pop_front();
        }
    }

    /// Nothing more will be announced: who listens is told to ask elsewhere, by the end of the stream.
    pub(super) fn end(&mut self) {
        self.events = broadcast::Sender::new(1);
    }

    fn send(&self, kind: &'static str, body: Value) {
        // Where nobody listens nobody minds.
        let _ = self.events.send(Arc::new(Event { kind, body }));
    }

    /// Listens from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// The entries, of one rollout or of all, oldest first.
    pub(super) fn entries(&self, rollout: Option<&str>) -> Vec<Entry> {
        let wanted = |entry: &&Entry| rollout.is_none_or(|name| entry.rollout == name);
        self.entries.iter().filter(wanted).cloned().collect()
    }
}
