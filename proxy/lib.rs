//! Tidegate.

pub mod control;
pub mod exchange;
pub mod http1;
pub mod listen;
pub mod record;
pub mod route;
pub mod snapshot;
pub mod upstream;
