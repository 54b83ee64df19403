//! One unit that failed: all that the evidence may know of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;

/// The version that a unit was assigned to, whoever answered in the end. Events of further versions are not fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// What was there before.
    Stable,
    /// What is being tried.
    Candidate,
}

/// A request that failed, or was slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// A hash of the user's key; `None` where the request is its own unit.
    pub unit: Option<u64>,
    /// Where its slot had put it.
    pub arm: Arm,
    /// The candidate's share in the snapshot that routed it.
    pub candidate: Share,
    /// Stable's share in the same snapshot. With more versions the two do not make a whole.
    pub stable: Share,
    /// When it ended.
    pub at: Duration,
}

impl Event {
    /// W, the probability that the unit is on the candidate, given that it is on one of the two; `None` where there is
    /// nothing to compare.
    pub(super) fn weight(&self) -> Option<f64> {
        let (candidate, stable) = (self.candidate.parts(), self.stable.parts());
        (candidate > 0 && stable > 0)
            .then(|| f64::from(candidate) / (f64::from(candidate) + f64::from(stable)))
    }

    /// The minute in which it ended.
    pub(super) fn minute(&self) -> u32 {
        // Only compared for equality; it wraps after 8 000 years.
        (self.at.as_secs() / 60) as u32
    }
}

/// An event as a journal writes it; a share is its hundred-thousandths.
#[derive(Serialize, Deserialize)]
struct Written {
    unit: Option<u64>,
    arm: Arm,
    candidate: u32,
    stable: u32,
    at: Duration,
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Written {
            unit: self.unit,
            arm: self.arm,
            candidate: self.candidate.parts(),
            stable: self.stable.parts(),
            at: self.at,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        let share = |parts| {
            Share::from_parts(parts)
                .ok_or_else(|| serde::de::Error::custom("a share is more than the whole"))
        };
        Ok(Self {
            unit: written.unit,
            arm: written.arm,
            candidate: share(written.candidate)?,
            stable: share(written.stable)?,
            at: written.at,
        })
    }
}
