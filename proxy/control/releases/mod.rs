//! The judgement at work: the book of all rollouts, and the thread that keeps it.
//!
//! What a rollout is and what follows from what is pure ([`crate::release`]). Here the pure part meets the world: counts
//! and failures come up from the workers, the weights that follow go down through the one snapshot, and what happened is
//! remembered in the journal and told to whoever listens.
//!
//! ```text
//! judge      waits for a failure or for the next look, whichever is first; takes the book's lock
//!   feed     counts and failures → thresholds and evidence
//!   ward     what they say together: an alarm, a concern, or nothing
//!   book     the next state of the rollout → a shift, or none
//!     shrink: publish, then the latch, then the journal, then everybody is told
//!     growth: the journal, then everybody is told, then publish
//! ```
//!
//! The book has one lock, which nobody holds while waiting for anything: not for the disk, not for the network. Edits of the
//! file come through it too ([`Releases::put_in_force`]), so there is one writer of the snapshot.

mod book; // all rollouts, and who may ask for what
mod change; // from one state to the next, on the disk and in force
mod feed; // what the workers saw, brought to the tests
mod judge; // the thread that looks
mod lent; // another process takes over, or does not
mod look; // what is seen of a rollout, and what follows
mod memory; // what the journal keeps of a rollout
mod outcome; // business outcomes that are told from outside
mod recalled; // what is known of rollouts that are not in the file
mod reconcile; // an edit, or a start
mod running; // one rollout
mod save; // what goes into the journal by the way
mod told; // what is announced: log, events, history
mod view; // a rollout as the API shows it
mod ward; // what all tests say together

#[cfg(test)]
mod tests;

pub use book::{Actor, NotSo, Ordered, Parts, Releases};
pub use judge::Judge;
pub use outcome::{Observation, Unobserved};
pub use told::{EVENTS_KEPT, Event};
