//! The one writer: everything that changes what the proxy does passes through here, one change after the other.
//!
//! [`controller`] takes edits, signals and orders and publishes snapshots; [`changes`] says in words what an edit
//! changed; [`compile`] makes a snapshot of a file; [`standing`] is how things stand, for whoever asks;
//! [`status`] is what runs; [`question`] is "where would this request go?"; [`admin`] is the HTTP API.

pub mod admin;
pub mod changes;
pub mod compile;
pub mod controller;
pub mod question;
pub mod standing;
pub mod status;
