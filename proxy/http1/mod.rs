//! HTTP/1.1 on the wire (RFC 9112), for both sides: what callers send and what versions answer.
//!
//! Our own because it is measured to be: framing by a general library costs more than all the rest of a request. It does
//! less than a library (nothing is optional, nothing is configurable but bounds) and it is stricter: what can be read
//! in two ways is refused.
//!
//! - [`head`]: heads of requests and answers, from bytes to `http` types
//! - [`heads`]: those of requests, one after the other, however they come
//! - [`framing`]: how long a body is, and its decoder; [`chunked`] is the hard half of it
//! - [`encode`]: heads and chunks, from `http` types to bytes
//! - [`inlet`]: bytes that came and were not yet understood
//! - [`outlet`]: bytes on their way out
//! - [`relay`]: long bodies from socket to socket
//! - [`wire`]: a caller's connection, shared by whoever reads its requests and whoever reads a request's body

pub mod chunked;
pub mod encode;
pub mod framing;
pub mod head;
pub mod heads;
pub mod inlet;
pub mod outlet;
pub mod relay;
pub mod wire;

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "tests, which fuzzers share")]
pub(crate) mod tests;
