//! Tidegate.

pub mod app;
pub mod command;
pub mod control;
pub mod exchange;
pub mod http1;
pub mod listen;
pub mod record;
pub mod route;
pub mod snapshot;
pub mod upstream;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, or `unknown`.
pub const COMMIT: &str = env!("TIDEGATE_COMMIT");
/// Version, commit and build profile in one line.
pub const VERSION_LINE: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("TIDEGATE_COMMIT"),
    ", ",
    env!("TIDEGATE_PROFILE"),
    " build)"
);
