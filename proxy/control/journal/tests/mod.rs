//! Promises of the journal.

mod child;
mod full;
mod keeping;
mod killed;
mod power;
mod queueing;
mod torn;

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Map;
use tempfile::TempDir;

use super::*;

/// Long enough for a busy machine; nothing waits so long where all is well.
const SOON: Duration = Duration::from_secs(30);

fn open(dir: &Path) -> (Journal, Restored) {
    Journal::open(dir).expect("the journal opens")
}

/// A directory in memory where there is one, for tests that make nothing durable against a loss of power: they open the
/// journal hundreds of times.
fn light_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn close(journal: &Journal) {
    assert!(journal.close(SOON), "the journal closes in time");
}

type Answer = Receiver<Result<(), WriteError>>;

/// Something to be told, and where to hear of it.
fn answer() -> (Done, Answer) {
    let (tell, told) = sync_channel(1);
    (
        Box::new(move |answer| tell.send(answer).unwrap_or(())),
        told,
    )
}

fn heard(told: &Answer) -> Result<(), WriteError> {
    told.recv_timeout(SOON).expect("whoever waits is told")
}

/// Writes, and waits until it is durable or not.
fn write(journal: &Journal, write: Write) -> Result<(), WriteError> {
    let (done, told) = answer();
    journal.write(write, done).expect("there is room");
    heard(&told)
}

fn latch(journal: &Journal, latch: Latch) -> Result<(), WriteError> {
    let (done, told) = answer();
    journal.latch(latch, done).expect("there is room");
    heard(&told)
}

fn reserve(journal: &Journal, rollout: &str) -> Result<(), WriteError> {
    let (done, told) = answer();
    journal
        .reserve(rollout, "key", done)
        .expect("there is room");
    heard(&told)
}

fn kept(states: &[(&str, &str)]) -> Write {
    let states = states.iter();
    Write {
        states: states
            .map(|(rollout, state)| ((*rollout).to_owned(), state.as_bytes().to_vec()))
            .collect(),
        evidence: Vec::new(),
        history: Vec::new(),
        if_failed: IfFailed::Keep,
    }
}

fn growth(states: &[(&str, &str)]) -> Write {
    let if_failed = IfFailed::Drop;
    Write {
        if_failed,
        ..kept(states)
    }
}

fn entry(seq: u64, at: Timestamp) -> Entry {
    Entry {
        seq,
        at,
        rollout: "shop".to_owned(),
        actor: "engine".to_owned(),
        from: 5.0,
        to: 0.5,
        phase: "rolled_back".to_owned(),
        reason: "candidate 7.4 % errors".to_owned(),
        revision: 3,
        more: Map::from_iter([("stage".to_owned(), 2.into())]),
    }
}

fn rolled_back(rollout: &str, attempt: u32) -> Latch {
    Latch {
        rollout: rollout.to_owned(),
        key: format!("{rollout} v2"),
        attempt,
        at: Timestamp::UNIX_EPOCH,
        reason: format!("attempt {attempt} was bad"),
    }
}

fn states(restored: &Restored) -> Vec<(&str, &str)> {
    let states = restored.states.iter();
    states
        .map(|(rollout, state)| (rollout.as_str(), str::from_utf8(state).unwrap()))
        .collect()
}

/// Waits for something that the journal's threads bring about.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
