//! Promises of the journal.
