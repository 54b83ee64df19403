//! Decisions of rollouts, written down so that anybody can recompute them: every failure of a candidate, and one request in a
//! thousand beside.
//!
//! - `record`: a decision as a line of JSON, and recomputed from it
//! - `writer`: the file in the state directory, bounded, written by a thread of its own

mod record;
mod writer;

pub use record::{Difference, NoUnit, Record, Unit};
pub use writer::{DECISIONS_WAITING, Decisions, FILE, FILE_BYTES, Line};
