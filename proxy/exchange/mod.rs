//! One request and its answer.
//!
//! - [`gate`]: the whole walk, on one screen
//! - [`screen`]: what a request must be before it is routed; [`survey`] serves it
//! - [`peer`]: who is at the other end; [`client_address`]: whom they speak for
//! - [`headers`]: what becomes of headers on the way through
//! - [`attempt`]: tries, retries and their [`budget`]
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
pub mod gate;
pub mod headers;
pub mod local;
pub mod peer;
pub mod refusal;
pub mod screen;
pub mod survey;
pub mod upgrade;

pub use answer::Answer;
pub use gate::Gate;
pub use peer::Peer;
