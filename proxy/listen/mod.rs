//! How bytes come in.
//!
//! - [`workers`]: control's end: threads, the set of open listeners, leaving
//! - [`worker`]: one thread: its runtime, its gate, its orders
//! - [`listener`]: one socket of one worker: accept, bounds, back off
//! - [`connection`]: one connection: which protocol, then requests until it ends
//! - [`http1`]: the requests of a connection that speaks HTTP/1.1, one after the other
//! - [`delivery`]: an answer over one stream of HTTP/2, which is taken away from a caller that makes no room for it
//! - [`presence`]: that a connection is here: counted, and bounded
//! - [`pulse`]: what a connection is doing, and since when, for whoever must end the ones that do nothing
//! - [`stream`]: a caller's socket, which tells the pulse what it sees

pub mod connection;
pub mod delivery;
pub mod http1;
pub mod listener;
pub mod presence;
pub mod pulse;
pub mod stream;
pub mod worker;
pub mod workers;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use workers::{BindFailure, Workers};
