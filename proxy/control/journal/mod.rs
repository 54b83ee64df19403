//! What rollouts remember across restarts, kill -9, torn writes and a full disk.
//!
//! The state directory holds three files. `journal.redb` is the memory: states, evidence, history. `latches` is a file of
//! slots that are written in place, so that a rollback is remembered also where the disk has no room left. `lock` keeps
//! a second process out. Two threads do all the work on the disk, one for each of the first two files: a latch waits for
//! no commit.
//!
//! The journal does not know what a rollout is. States, events and snapshots are bytes to it, and come back as they went
//! in or not at all: each carries a checksum that covers its name.
//!
//! - `keeping`: the [`Journal`] itself, what a caller may ask of it
//! - `asked`: what may be asked, what comes of it, and the bounds; `batch`: what is written in one transaction
//! - `queue`: what waits to be written, bounded; the newest state of a rollout takes the place of older ones
//! - `clerk`: the thread that writes `journal.redb`, and tries again
//! - `store`: `journal.redb`: opening, whatever state it is in; `tables`: what is in it; `failure`: why it did not do
//!   something
//! - `disk`: the bytes under the store; space is taken before it is written to
//! - `framed`: a value with its checksum
//! - `latches`: the thread of the latches and what waits for it; `slots` is the file
//! - `directory`: the state directory and its lock
//! - `entry`: a line of history
//! - `health`: does the disk take what it is given?
//! - `steps`: the name of every step on the disk, for tests that stop there

mod asked;
mod batch;
mod clerk;
mod directory;
mod disk;
mod entry;
mod failure;
mod framed;
mod health;
mod keeping;
mod latches;
mod queue;
mod slots;
mod steps;
mod store;
mod tables;
#[cfg(test)]
mod tests;

pub use asked::{
    Done, EVENT_BYTES_WAITING, EVENTS_KEPT, EVENTS_WAITING, IfFailed, ROLLOUTS_KEPT, Refused,
    VALUE_BYTES, WRITES_WAITING, Write, WriteError,
};
pub use directory::OpenError;
pub use entry::{Entry, HISTORY_AGE, HISTORY_ENTRIES};
pub use health::Health;
pub use keeping::{Evidence, Journal, Restored};
pub use slots::{LATCH_SLOTS, Latch};
#[cfg(test)]
pub(crate) use steps::{Step, Steps};
