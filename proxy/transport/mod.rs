//! What bytes travel over: a connected stream, plain or encrypted, as both codecs and both sides use it.
//!
//! - [`socket`]: the stream
//! - [`tls`]: its encrypted kind
//! - [`dialer`]: how this side begins to encrypt
//! - [`fault`]: why that failed

pub mod dialer;
pub mod fault;
pub mod socket;
pub mod tls;
