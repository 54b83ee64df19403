//! A decision as it is written down, a line of JSON each, and recomputed from nothing but that line: what went to the
//! candidate must have gone there by its slot and the weight in force.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_config::units::PARTS;

use crate::route::slot::spread;

/// One decision of a rollout. What a newer version writes beside it is read past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// The revision of the file that was in force.
    pub revision: u64,
    /// Whose decision.
    pub rollout: String,
    /// Its attempt, from 1.
    pub attempt: u32,
    /// The attempt's salt, `#n` included: with it whoever knows a key can compute its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Who asked; `None` where chance drew the slot.
    pub unit: Option<Unit>,
    /// The slot, from 0 to 99 999.
    pub slot: Option<u32>,
    /// The candidate's weight, in hundred-thousandths.
    pub candidate_weight: u32,
    /// The version that was chosen, before any fallback.
    pub version: String,
    /// The rollout's candidate.
    pub candidate: String,
    /// The service's stable.
    pub stable: String,
}

/// A key's hash under the salt: `xxh3_64(key, seed = xxh3_64(salt))`, written as 16 hexadecimal digits, for JSON's
/// numbers do not hold 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Unit(pub u64);

/// What is no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a unit is 16 hexadecimal digits")]
pub struct NoUnit;

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        format!("{:016x}", unit.0)
    }
}

impl TryFrom<String> for Unit {
    type Error = NoUnit;

    fn try_from(text: String) -> Result<Self, NoUnit> {
        // from_str_radix alone would take a sign.
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoUnit);
        }
        u64::from_str_radix(&text, 16).map(Self).map_err(|_| NoUnit)
    }
}

/// How a record contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The weight is no share.
    #[error("a weight of {0} hundred-thousandths is above 100 %")]
    Weight(u32),
    /// The slot is none.
    #[error("slot {0} is not below 100000")]
    NoSuchSlot(u32),
    /// The unit has another slot.
    #[error("unit {unit} has slot {recomputed}, recorded is {recorded}")]
    Slot {
        /// Whose.
        unit: String,
        /// As written.
        recorded: u32,
        /// As it is.
        recomputed: u32,
    },
    /// The slot belongs to the other version.
    #[error(
        "slot {slot} at a candidate weight of {weight} hundred-thousandths is {recomputed}, recorded is {recorded}"
    )]
    Version {
        /// The slot.
        slot: u32,
        /// The weight.
        weight: u32,
        /// As written.
        recorded: String,
        /// As it is.
        recomputed: String,
    },
    /// Nothing to recompute it from.
    #[error("neither a unit nor a slot is recorded")]
    NothingToGoBy,
}

impl Record {
    /// Decides again, from the record alone.
    ///
    /// # Errors
    /// Where that gives something else than what is recorded.
    pub fn recompute(&self) -> Result<(), Difference> {
        let weight = self.candidate_weight;
        if weight > PARTS {
            return Err(Difference::Weight(weight));
        }
        let slot = self.recomputed_slot()?;
        let recomputed = if slot < weight {
            &self.candidate
        } else {
            &self.stable
        };
        if *recomputed == self.version {
            return Ok(());
        }
        Err(Difference::Version {
            slot,
            weight,
            recorded: self.version.clone(),
            recomputed: recomputed.clone(),
        })
    }

    fn recomputed_slot(&self) -> Result<u32, Difference> {
        match (self.unit, self.slot) {
            (_, Some(recorded)) if recorded >= PARTS => Err(Difference::NoSuchSlot(recorded)),
            (Some(unit), Some(recorded)) if spread(unit.0) != recorded => Err(Difference::Slot {
                unit: unit.into(),
                recorded,
                recomputed: spread(unit.0),
            }),
            (Some(unit), _) => Ok(spread(unit.0)),
            // Drawn by chance: the draw cannot be repeated, what followed from it can.
            (None, Some(recorded)) => Ok(recorded),
            (None, None) => Err(Difference::NothingToGoBy),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(
        unit: Option<u64>,
        slot: Option<u32>,
        candidate_weight: u32,
        version: &str,
    ) -> Record {
        Record {
            at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
            revision: 7,
            rollout: "shop-v2".to_owned(),
            attempt: 1,
            salt: Some("shop-v2".to_owned()),
            unit: unit.map(Unit),
            slot,
            candidate_weight,
            version: version.to_owned(),
            candidate: "v2".to_owned(),
            stable: "v1".to_owned(),
        }
    }

    #[test]
    fn a_line_holds_a_decision_and_gives_it_back() {
        let written =
            serde_json::to_string(&record(Some(0x0123_4567_89ab_cdef), Some(444), 5000, "v2"))
                .unwrap();
        assert_eq!(
            written,
            "{\"at\":\"2026-01-02T03:04:05.678Z\",\"revision\":7,\"rollout\":\"shop-v2\",\"attempt\":1,\"salt\":\"shop-v2\",\
             \"unit\":\"0123456789abcdef\",\"slot\":444,\"candidate_weight\":5000,\"version\":\"v2\",\"candidate\":\"v2\",\"stable\":\"v1\"}"
        );
        let read: Record = serde_json::from_str(&written).unwrap();
        assert_eq!(read.unit, Some(Unit(0x0123_4567_89ab_cdef)));
        assert_eq!(read.recompute(), Ok(()));
    }

    #[test]
    fn what_a_newer_version_writes_beside_it_is_no_obstacle_and_a_salt_may_be_absent() {
        let line = "{\"at\":\"2026-01-02T03:04:05Z\",\"revision\":7,\"rollout\":\"a\",\"attempt\":2,\"unit\":null,\"slot\":5,\
                    \"candidate_weight\":5,\"version\":\"v1\",\"candidate\":\"v2\",\"stable\":\"v1\",\"error\":true}";
        let read: Record = serde_json::from_str(line).unwrap();
        assert_eq!(read.recompute(), Ok(()), "slot 5 is not below 5");
    }

    #[test]
    fn a_unit_is_sixteen_digits_and_nothing_else() {
        for wrong in [
            "",
            "1234",
            "0123456789abcdeg",
            "+123456789abcdef",
            "00123456789abcdef",
        ] {
            assert_eq!(Unit::try_from(wrong.to_owned()), Err(NoUnit), "{wrong:?}");
        }
    }

    #[test]
    fn every_way_of_contradicting_itself_is_told() {
        let low = 0;
        let told = |record: Record| record.recompute().unwrap_err().to_string();
        assert_eq!(
            told(record(Some(low), Some(0), 5000, "v1")),
            "slot 0 at a candidate weight of 5000 hundred-thousandths is v2, recorded is v1"
        );
        assert_eq!(
            told(record(Some(low), Some(1), 5000, "v2")),
            "unit 0000000000000000 has slot 0, recorded is 1"
        );
        assert_eq!(
            told(record(None, Some(PARTS), PARTS, "v2")),
            "slot 100000 is not below 100000"
        );
        assert_eq!(
            told(record(None, None, 5000, "v2")),
            "neither a unit nor a slot is recorded"
        );
        assert_eq!(
            told(record(Some(low), Some(0), PARTS + 1, "v2")),
            "a weight of 100001 hundred-thousandths is above 100 %"
        );
    }

    proptest! {
        #[test]
        fn a_decision_agrees_with_itself_and_with_no_other(unit: u64, weight in 0..=PARTS) {
            let slot = spread(unit);
            let (is, is_not) = if slot < weight { ("v2", "v1") } else { ("v1", "v2") };
            prop_assert_eq!(record(Some(unit), Some(slot), weight, is).recompute(), Ok(()));
            prop_assert_eq!(record(Some(unit), None, weight, is).recompute(), Ok(()));
            prop_assert_eq!(record(None, Some(slot), weight, is).recompute(), Ok(()));
            prop_assert!(record(Some(unit), Some(slot), weight, is_not).recompute().is_err());
        }
    }
}
