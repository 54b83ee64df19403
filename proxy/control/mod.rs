//! The one writer: everything that changes what the proxy does passes through here, one change after the other.
//!
//! - [`controller`]: takes edits and orders, publishes snapshots
//! - [`compile`]: a file made into a snapshot
//! - [`changes`]: what an edit changes, in words
//! - [`certificates`]: when what callers are shown ends
//! - [`journal`]: what rollouts remember across restarts
//! - [`fixed`]: what only a restart changes
//! - [`machine`]: what is wrong with the machine rather than with the file
//! - [`standing`]: how things stand, for whoever asks
//! - [`status`]: what runs
//! - [`question`]: where would this request go?
//! - [`fetch`]: one question to somebody else over HTTP
//! - [`gates`]: who must say yes before a stage
//! - [`prometheus`]: what only a metrics store knows
//! - [`decisions`]: a decision as it is written down, and recomputed
//! - [`admin`]: the HTTP API

pub mod admin;
pub mod certificates;
pub mod changes;
pub mod compile;
pub mod controller;
pub mod decisions;
pub mod fetch;
pub mod fixed;
pub mod gates;
pub mod journal;
pub mod machine;
pub mod prometheus;
pub mod question;
pub mod releases;
pub mod standing;
pub mod status;
