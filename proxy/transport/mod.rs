//! What bytes travel over: a connected stream, plain or encrypted, as both codecs and both sides use it.
//!
//! - [`socket`]: the stream
//! - [`tls`]: its encrypted kind
//! - [`serving`]: what a listener's handshakes go by
//! - [`certificates`]: which certificate is shown to whom
//! - [`session`]: what a handshake agreed on

pub mod certificates;
pub mod serving;
pub mod session;
pub mod socket;
pub mod tls;
