//! The judgement of a rollout: what was seen, and what follows from it. No async, no clock, no I/O, no chance: `now` and
//! counts are arguments, so every judgement can be repeated from a record, and tested by moving time by hand.

pub mod evidence; // is the candidate worse than stable? Valid however often it is asked
