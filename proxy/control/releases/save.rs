//! What goes into the journal by the way: time held, requests seen, notes about evidence. Changes are written when they
//! happen.

use std::time::{Duration, Instant};

use tidegate_config::plan::Plan;
use tidegate_config::{self as config};

use super::book::{Book, Shared};
use super::memory::{self, Written};
use super::running::Running;
use crate::control::journal::{IfFailed, Journal, Write};
use crate::release::Phase;

/// Notes about evidence wait so long at most before they are given to the journal.
const NOTE_EVERY: Duration = Duration::from_millis(200);
/// How much of the time held may be lost with a kill: this part of what the stage holds …
const LOSS: u32 = 100;
/// … but never less than this, or a disk would be kept busy by nothing,
const LEAST_LOSS: Duration = Duration::from_millis(200);
/// and never more.
const MOST_LOSS: Duration = Duration::from_secs(10);

impl Shared {
    /// Gives the journal what has gathered: `everything`, or what is due.
    pub(super) fn save(&self, book: &mut Book, everything: bool) {
        let Some(journal) = self.own.journal() else {
            return;
        };
        if everything || book.noted.elapsed() >= NOTE_EVERY {
            book.noted = Instant::now();
            book.running
                .iter_mut()
                .for_each(|running| note(&journal, running));
        }
        let mut states = Vec::new();
        for (running, plan) in book.running.iter_mut().zip(&book.config.rollouts) {
            if is_due(running, plan, everything) {
                let state = serde_json::to_vec(&running.state).expect("a state is plain values");
                states.push((running.name.clone(), state));
                running.saved = Some(running.state.clone());
                running.saved_at = Instant::now();
            }
        }
        if !states.is_empty() {
            let write = Write {
                states,
                evidence: Vec::new(),
                history: Vec::new(),
                if_failed: IfFailed::Keep,
            };
            // The journal says itself how it stands with the disk, and keeps what it could not write.
            let _ = journal.write(write, Box::new(|_| ()));
        }
    }
}

/// Notes about evidence, or all of it.
fn note(journal: &Journal, running: &mut Running) {
    if running.notes.is_empty() {
        return;
    }
    match running.notes.turn() {
        Written::Snapshot => {
            let Some(evidence) = memory::snapshot(running) else {
                return memory::tell_too_much(&running.name);
            };
            if let Err(refused) = journal.snapshot(&running.name, evidence) {
                tracing::warn!(
                    rollout = running.name,
                    "the evidence is not written down: {refused}"
                );
                running.notes.ask_for_snapshot();
            }
        }
        Written::Notes(notes) => {
            if journal.evidence(&running.name, notes) > 0 {
                // What was not taken would be a gap: all of it, then.
                running.notes.ask_for_snapshot();
            }
        }
    }
}

/// Whether a state that has gone on without news should be written down.
fn is_due(running: &Running, plan: &config::Rollout, everything: bool) -> bool {
    // While a growth is being written down the journal has the state that follows.
    if running
        .pending
        .as_ref()
        .is_some_and(|pending| pending.grown.is_some())
    {
        return false;
    }
    let Some(saved) = &running.saved else {
        return running.state.phase() != Phase::Pending || everything;
    };
    if saved == &running.state {
        return false;
    }
    let Plan::Stages(stages) = &plan.plan else {
        return everything; // nothing of it counts
    };
    let stage = running
        .state
        .stage()
        .checked_sub(1)
        .and_then(|at| stages.stages.get(at));
    let span = match running.state.phase() {
        Phase::Holding => {
            stage.map_or(Duration::ZERO, |stage| stage.max_hold.unwrap_or(stage.hold))
        }
        Phase::Baking => stages.bake,
        _ => return everything || !saved.stands_as(&running.state),
    };
    let loss = (span / LOSS).clamp(LEAST_LOSS, MOST_LOSS);
    let gone = |now: Duration, then: Duration| now.saturating_sub(then) >= loss;
    everything
        || gone(running.state.held(), saved.held())
        || gone(running.state.baked(), saved.baked())
        || running.saved_at.elapsed() >= loss
}
