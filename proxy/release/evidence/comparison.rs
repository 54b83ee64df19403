//! One metric of one rollout: stakes, epochs, the better flag, the fresh window, and what follows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Share;

use super::bits;
use super::capital::{BETTER, Capital, EVENTS_PAID, WORSE};
use super::event::{Arm, Event};
use super::fresh::Fresh;
use super::material::{Counts, Recent, material};
use super::reading::{Finding, Reading};
use super::units::{Mark, Units};

/// The mirrored process says that the candidate is better from here on.
const BETTER_LEVEL: f64 = 20.0;

/// The fresh window agrees from here on.
pub(super) const FRESH_LEVEL: f64 = 100.0;

/// How many user-minutes are looked at to tell whether first failures have run out.
const PAIRS: u32 = 64;

/// No epoch that ends by repeats is shorter.
const LEAST_EPOCH: Duration = Duration::from_secs(600);

/// The comparison of candidate and stable by one metric. Its memory is bounded: some hundred bytes, and up to 9 MB for at
/// most 262 144 units that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What all epochs together may spend.
    #[serde(with = "bits")]
    alpha: f64,
    /// Hundred-thousandths of requests.
    #[serde(with = "parts")]
    min_excess: Share,

    epoch: u32,
    epoch_since: Duration,
    worse: Capital<8>,
    better: Capital<5>,
    better_seen: bool,
    candidate_units: u64,
    units: Units,

    /// Units and minutes in which they failed, since the last look at whether first failures have run out …
    pairs: u32,
    /// … and how many of them were of units that had failed before.
    repeats: u32,

    fresh: Fresh,
    recent: Recent,

    /// What was found, for good.
    found: Option<Reading>,
}

impl Comparison {
    /// No evidence. `alpha` is the probability that a harmless candidate is ever found to be worse; where it is not above
    /// zero, nothing is ever found.
    #[must_use]
    pub fn new(alpha: f64, min_excess: Share, now: Duration) -> Self {
        Self {
            // A probability; whatever is none spends nothing.
            alpha: if alpha.is_nan() {
                0.0
            } else {
                alpha.clamp(0.0, 1.0)
            },
            min_excess,
            epoch: 1,
            epoch_since: now,
            worse: Capital::new(),
            better: Capital::new(),
            better_seen: false,
            candidate_units: 0,
            units: Units::default(),
            pairs: 0,
            repeats: 0,
            fresh: Fresh::new(now),
            recent: Recent::default(),
            found: None,
        }
    }

    /// A unit failed. What has been found stays found.
    pub fn event(&mut self, event: &Event) -> Finding {
        let (None, Some(weight)) = (&self.found, event.weight()) else {
            return self.finding();
        };
        self.fresh.end_if_old(event.at);
        let known = event.unit.and_then(|unit| self.units.find(unit));
        let minute = event.minute();

        if known.is_none_or(|mark| mark.minute != minute) {
            self.pairs += 1;
            self.repeats += u32::from(known.is_some());
        }
        if known.is_none_or(|mark| mark.fresh != self.fresh.id) {
            self.fresh.capital.step(&WORSE, weight, event.arm);
        }
        // The memory is emptied with each epoch: who is in it has failed in this one.
        if known.is_none() {
            self.worse.step(&WORSE, weight, event.arm);
            self.better.step(&BETTER, weight, event.arm);
            self.better_seen |= self.better.mean() >= BETTER_LEVEL;
            self.candidate_units += u64::from(event.arm == Arm::Candidate);
        }
        if let Some(unit) = event.unit {
            let fresh = self.fresh.id;
            self.units.keep(unit, Mark { fresh, minute });
        }

        // Decided before anything ends, so that the event that ends an epoch is heard.
        let finding = self.decide();
        self.fresh.end_if_due(event.at);
        self.end_epoch_if_due(event.at);
        finding
    }

    /// So many more requests ended, by assigned arm.
    pub fn count(&mut self, counts: &Counts) -> Finding {
        self.fresh.counts += *counts;
        self.recent.add(*counts, self.min_excess);
        self.decide()
    }

    /// What follows at present.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match self.reading() {
            found if self.found.is_some() => Finding::Worse(found),
            reading if reading.is_worse() => Finding::Suspect(reading),
            _ => Finding::Nothing,
        }
    }

    /// The numbers at present, or those of the moment in which the candidate was found to be worse.
    #[must_use]
    pub fn reading(&self) -> Reading {
        if let Some(found) = self.found {
            return found;
        }
        let (is_material, counts) = material(&self.fresh.counts, &self.recent, self.min_excess);
        Reading {
            epoch: self.epoch,
            candidate_units: self.candidate_units,
            stable_units: self.worse.steps().saturating_sub(self.candidate_units),
            evidence: self.worse.mean(),
            threshold: self.threshold(),
            better_seen: self.better_seen,
            fresh: self.fresh.capital.mean(),
            is_material,
            counts,
        }
    }

    /// The units that failed were lost: a new epoch begins.
    pub fn units_lost(&mut self, now: Duration) {
        self.begin_epoch(now);
    }

    /// `d(d+1)/α`.
    fn threshold(&self) -> f64 {
        let epoch = f64::from(self.epoch);
        // Without α the threshold is out of reach, and still a number that can be written down.
        (epoch * (epoch + 1.0) / self.alpha).min(f64::MAX)
    }

    fn decide(&mut self) -> Finding {
        if self.found.is_none() && self.worse.mean() >= self.threshold() {
            let reading = self.reading();
            self.found = reading.acts().then_some(reading);
        }
        self.finding()
    }

    /// Ends the epoch where first failures have run out, or memory or capital has. Nothing here may know about arms.
    fn end_epoch_if_due(&mut self, now: Duration) {
        self.epoch_since = self.epoch_since.min(now);
        let has_run_out = self.pairs >= PAIRS
            && self.repeats * 2 > self.pairs
            && now - self.epoch_since >= LEAST_EPOCH;
        if has_run_out || self.units.is_full() || self.worse.steps() >= EVENTS_PAID {
            self.begin_epoch(now);
        } else if self.pairs >= PAIRS {
            (self.pairs, self.repeats) = (0, 0);
        }
    }

    fn begin_epoch(&mut self, now: Duration) {
        self.epoch = self.epoch.saturating_add(1);
        self.epoch_since = now;
        self.worse = Capital::new();
        self.better = Capital::new();
        self.better_seen = false;
        self.candidate_units = 0;
        self.units = Units::default();
        (self.pairs, self.repeats) = (0, 0);
        self.fresh.restart(now);
    }
}

/// A share as a journal keeps it.
mod parts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tidegate_config::Share;

    pub(super) fn serialize<S: Serializer>(share: &Share, to: S) -> Result<S::Ok, S::Error> {
        share.parts().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Share, D::Error> {
        Share::from_parts(u32::deserialize(from)?)
            .ok_or_else(|| serde::de::Error::custom("a share is more than the whole"))
    }
}
