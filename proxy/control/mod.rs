//! The one writer: it turns edits into snapshots.

pub mod compile;
