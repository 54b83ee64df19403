//! The admin API: what the process tells and takes over HTTP, on control's runtime.
//!
//! [`server`] meets the network, and [`seats`] bounds who stays; [`auth`] decides who may ask; [`api`] answers;
//! [`openapi`] describes the answers; [`trouble`] is how it says no.

pub mod api;
pub mod auth;
pub mod openapi;
mod rollouts;
pub mod seats;
pub mod server;
pub mod trouble;
