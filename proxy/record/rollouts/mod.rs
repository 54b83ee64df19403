//! What rollouts are judged by: where their requests end, each is counted, and those that matter are told to the judge.
//!
//! - `slow`: the time above which a request is slow

mod slow;

pub use slow::SlowBound;
