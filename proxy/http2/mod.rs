//! HTTP/2 on the wire (RFC 9113), toward callers; toward versions it is hyper's.
//!
//! Our own for the reasons that HTTP/1.1 is: framing by a general library costs more than all the rest of a request, and
//! what a stranger may have us hold or do for them must have bounds that are stated here:
//!
//! - [`wire`]: a caller's connection, all of whose streams live in one task; [`wire::most_held`] is what it may hold
//! - [`frame`]: heads of frames, and the frames that we send
//! - [`hpack`]: field blocks (RFC 7541)
//! - [`field`], [`head`]: from fields to a request that has one meaning, or to the reason why it is none
//! - [`settings`]: what each side asks of the other
//! - [`flow`]: windows, ours and theirs
//! - [`streams`]: what is open, and what each stream holds
//! - `state`: all that is known of a connection; `incoming`: what each frame of a caller does to it
//! - [`budget`]: what is cheap to send and costly to take is paid for
//! - [`body`]: a request's body, read by whoever forwards it
//! - [`outlet`]: bytes on their way out
//! - [`ready`]: which streams have something to do

pub mod body;
pub mod budget;
pub mod field;
pub mod flow;
pub mod frame;
pub mod head;
pub mod hpack;
mod incoming;
pub mod outlet;
pub mod ready;
pub mod settings;
mod state;
pub mod streams;
pub mod wire;

#[cfg(test)]
mod tests;
