//! One request and its answer.
//!
//! - [`gate`]: the whole walk, on one screen; [`passage`] is what its steps share
//! - [`screen`]: what a request must be before it is routed; [`survey`] serves it
//! - [`peer`]: who is at the other end; [`client_address`]: whom they speak for
//! - [`headers`], [`target`]: what becomes of headers and targets on the way through; [`identity`] gives a cookie
//! - [`errand`]: on the way to a version, by [`attempt`]: tries, retries and their [`budget`]; [`fault`] tells whose a
//!   failure was
//! - [`fallback`]: stable in the candidate's place; [`mirror`]: copies for the candidate
//! - [`exit`]: from the head of a version's answer to the caller's
//! - [`answer`]: an answer's body, which carries the [`account`] of the exchange to its last byte
//! - [`upgrade`]: connections that go on as something else
//! - [`refusal`], [`local`]: answers that the proxy gives itself
//! - [`entry`]: the exchange's line in the access log

pub mod account;
pub mod answer;
pub mod attempt;
pub mod budget;
pub mod client_address;
pub mod entry;
pub mod errand;
pub mod exit;
pub mod fallback;
pub mod fault;
pub mod gate;
pub mod headers;
pub mod identity;
pub mod local;
pub mod mirror;
pub mod passage;
pub mod peer;
pub mod refusal;
pub mod screen;
pub mod survey;
pub mod target;
pub mod upgrade;

pub use answer::Answer;
pub use gate::Gate;
pub use peer::Peer;
