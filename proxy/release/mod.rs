//! The judgement of a rollout: what was seen, and what follows from it. No async, no clock, no I/O, no chance: `now` and
//! counts are arguments, so every judgement can be repeated from a record, and tested by moving time by hand.

mod answer; // what the gates before a stage have said
mod calendar; // when weights may grow
pub mod evidence; // is the candidate worse than stable? Valid however often it is asked
mod forecast; // how long a plan will take, and what it will see
mod key; // what a rollback is remembered by
mod order; // what an operator may ask
mod phase; // where a rollout stands
pub(crate) mod rollout; // the walk from pending to succeeded, and every way back
mod share; // a share as a journal keeps it
mod thresholds; // what operators know: error rate, latency, failures in a row, no endpoint
mod verdict; // what speaks against a candidate
mod window; // exact counts of the last so many seconds
pub mod words; // numbers as reasons write them

pub use answer::Answer;
pub use calendar::{Opening, opening};
pub use forecast::{Detection, Expected, Forecast, forecast};
pub use key::{BadKey, Key};
pub use order::{Forbidden, Order};
pub use phase::Phase;
pub use rollout::{Look, MAX_LATCHES, Ramp, Rollout};
pub use thresholds::Thresholds;
pub use verdict::{Cause, MAX_WORDS, Reason, Verdict};
pub use window::{Counted, Window};
