//! How bytes come in.
//!
//! - [`workers`]: control's end: threads, the set of open listeners, leaving
//! - [`worker`]: one thread: its runtime, its gate, its orders
//! - [`listener`]: one socket of one worker: accept, bounds, back off
//! - [`connection`]: one connection: which protocol, then requests until it ends
//! - [`handshake`]: TLS: how an encrypted connection begins
//! - [`http1`]: the requests of a connection that speaks HTTP/1.1, one after the other
//! - [`http2`]: a connection that speaks HTTP/2; [`session`] is its streams, all in its one task
//! - `sending`: an answer over one of its streams
//! - `queue`: whom the kernel has let in, also where a socket closes
//! - [`presence`]: that a connection is here: counted, and bounded
//! - [`reading`]: how fast its caller takes answers
//! - [`pulse`]: what a connection is doing, and since when; [`pulses`] are those of a worker, swept to end the ones that do
//!   nothing

pub mod connection;
pub mod handshake;
pub mod http1;
pub mod http2;
pub mod listener;
pub mod presence;
pub mod pulse;
pub mod pulses;
mod queue;
pub mod reading;
pub(crate) mod sending;
pub mod session;
pub mod worker;
pub mod workers;

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "tests, which fuzzers share")]
pub(crate) mod tests;

pub use workers::{BindFailure, Workers};
