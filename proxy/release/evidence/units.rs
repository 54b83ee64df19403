//! Who has failed already in this epoch, whichever version it was: one memory for both. A memory for each version would
//! make the growth of a weight look like a failing candidate, for the users it brings have not failed there yet.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most units that are remembered; then the epoch ends.
pub(super) const MOST_UNITS: usize = 262_144;

/// What is known of a unit that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The fresh window in which it was last counted.
    pub(super) fresh: u32,
    /// The minute in which it last failed.
    pub(super) minute: u32,
}

/// The units that failed in this epoch, by the hash of their key.
// The hash of the map has no secret of its own, so that the same events give the same state everywhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Units(HashMap<u64, Mark, BuildHasherDefault<DefaultHasher>>);

impl Units {
    /// What is known of a unit.
    pub(super) fn find(&self, unit: u64) -> Option<Mark> {
        self.0.get(&unit).copied()
    }

    /// Remembers a unit.
    pub(super) fn keep(&mut self, unit: u64, mark: Mark) {
        self.0.insert(unit, mark);
    }

    /// Whether no more can be remembered.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_UNITS
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(unit, m)| (unit, m.fresh, m.minute)))
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let units = Vec::<(u64, u32, u32)>::deserialize(from)?;
        if units.len() > MOST_UNITS {
            return Err(D::Error::custom("more units than are ever remembered"));
        }
        let marks = units.into_iter();
        Ok(Self(
            marks
                .map(|(unit, fresh, minute)| (unit, Mark { fresh, minute }))
                .collect(),
        ))
    }
}
