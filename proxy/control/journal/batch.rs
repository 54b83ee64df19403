//! All that is written in one transaction, and those who wait for it.

use std::collections::BTreeMap;

use super::asked::{Done, IfFailed, WriteError, tell};
use super::entry::{Entry, HISTORY_ENTRIES};

/// What is to stand on the disk: the state, or nothing.
pub(super) type Value = Option<Vec<u8>>;

/// The newest state of a rollout that is not durable yet.
#[derive(Debug)]
pub(super) struct State {
    pub(super) value: Value,
    pub(super) if_failed: IfFailed,
    /// What must become durable if this one is dropped.
    pub(super) instead: Option<Value>,
    pub(super) number: u64,
}

/// What is new in a rollout's evidence.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// What was on the disk goes.
    pub(super) anew: bool,
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) events: Vec<Vec<u8>>,
}

/// Somebody who waits.
pub(super) struct Ticket {
    pub(super) states: Vec<(String, u64)>,
    pub(super) if_failed: IfFailed,
    pub(super) done: Done,
}

/// All that was waiting at one moment: one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) states: BTreeMap<String, State>,
    pub(super) evidence: BTreeMap<String, Fresh>,
    pub(super) history: Vec<(Entry, IfFailed)>,
    pub(super) tickets: Vec<Ticket>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty() && self.evidence.is_empty() && self.history.is_empty()
    }

    /// Those who wait, apart from what they wait for.
    pub(super) fn take_tickets(&mut self) -> Self {
        Self {
            tickets: std::mem::take(&mut self.tickets),
            ..Self::default()
        }
    }

    /// Tells everybody who waited.
    pub(super) fn tell(&mut self, answer: &Result<(), WriteError>) {
        for ticket in std::mem::take(&mut self.tickets) {
            let overtaken = ticket.if_failed == IfFailed::Drop
                && ticket.states.iter().any(|(rollout, number)| {
                    self.states
                        .get(rollout)
                        .is_none_or(|state| state.number != *number)
                });
            let answer = match answer {
                Ok(()) if overtaken => Err(WriteError::Overtaken),
                answer => answer.clone(),
            };
            tell(ticket.done, answer);
        }
    }

    /// Of more lines than are kept only the newest wait.
    pub(super) fn bound_history(&mut self) {
        let most = HISTORY_ENTRIES as usize;
        if self.history.len() > most {
            self.history.drain(..self.history.len() - most);
        }
    }
}
