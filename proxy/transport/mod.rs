//! What bytes travel over: a connected stream, plain or encrypted, as both codecs and both sides use it.
//!
//! - [`socket`]: the stream
//! - [`tls`]: its encrypted kind

pub mod socket;
pub mod tls;
