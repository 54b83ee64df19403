//! A line of history, as the admin API shows it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// So many entries are kept; older ones make room.
pub const HISTORY_ENTRIES: u64 = 1_000;
/// So long an entry is kept at most.
pub const HISTORY_AGE: Duration = Duration::from_hours(90 * 24);

/// One thing that happened to a rollout, and who did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the history: from [`next_seq`](super::Journal::next_seq), never given twice.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub rollout: String,
    /// Who did it: a person's name, or what part of the proxy.
    pub actor: String,
    /// The candidate's weight before, in percent.
    pub from: f64,
    /// Its weight after, in percent.
    pub to: f64,
    /// The phase after.
    pub phase: String,
    /// Why, in words.
    pub reason: String,
    /// The revision of the file that was in force.
    pub revision: u64,
    /// What else is worth keeping: the evidence at that moment, the stage, the version of this program.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}
