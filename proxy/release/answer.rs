//! What the gates before a stage have said.

/// What the gates before a stage have said, all of them together. An answer speaks of one stage and is worth nothing
/// before another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answer {
    /// Nobody has been asked yet.
    #[default]
    Unasked,
    /// All of them said yes.
    Go {
        /// Before which stage, from 1.
        stage: usize,
    },
    /// One of them did not, or could not be asked.
    Wait {
        /// Before which stage, from 1.
        stage: usize,
        /// `gate "e2e" answered 503`.
        why: String,
    },
}
