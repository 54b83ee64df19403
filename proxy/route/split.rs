//! Which version has which slots.
//!
//! With one or two versions besides stable, raising a weight never takes a slot from a version: the first (in the
//! order of the service's `versions`) has the slots from 0 up, the second those from the top down, stable what is left
//! between them. Three or more are stacked in the order of `versions` from 0; then a weight that grows may push users
//! on to the next version, but nobody goes back to stable while no weight falls.
//!
//! The versions that the service lists are counted, also those without a weight here: so no edit of weights, not even
//! the first step up from 0 %, changes who is where in this order.

use tidegate_config::Share;
use tidegate_config::units::PARTS;

/// The slots of every version, for a split's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Ascending: the first slot that is not the version's any more, and the version. The last bound is `PARTS`.
    cuts: Box<[(u32, usize)]>,
    weights: Box<[Share]>,
    stable: usize,
}

impl Bounds {
    /// Lays out weights, one for each version, that add up to 100 %.
    pub fn new(weights: &[Share], stable: usize) -> Self {
        let others: Vec<usize> = (0..weights.len())
            .filter(|version| *version != stable)
            .collect();
        let mut cuts = Vec::with_capacity(weights.len());
        let mut end = 0;
        let mut lay = |version: usize, parts: u32| {
            end += parts;
            cuts.push((end, version));
        };
        match others[..] {
            [first, second] => {
                lay(first, weights[first].parts());
                lay(stable, weights[stable].parts());
                lay(second, weights[second].parts());
            }
            _ => {
                for version in others {
                    lay(version, weights[version].parts());
                }
                lay(stable, weights[stable].parts());
            }
        }
        cuts.dedup_by_key(|(end, _)| *end);
        cuts.retain(|(end, _)| *end > 0);
        Self {
            cuts: cuts.into(),
            weights: weights.into(),
            stable,
        }
    }

    /// The version that a slot belongs to.
    pub fn version(&self, slot: u32) -> usize {
        self.cuts
            .iter()
            .find(|(end, _)| slot < *end)
            .map_or(self.stable, |(_, version)| *version)
    }

    /// The weight of a version in this split.
    pub fn weight(&self, version: usize) -> Share {
        self.weights.get(version).copied().unwrap_or_default()
    }

    /// For each version besides stable: the smallest weight with which it has the slot, the others' weights being as
    /// they are. `None` where no weight would do.
    pub fn thresholds(&self, slot: u32) -> impl Iterator<Item = (usize, Option<Share>)> {
        let others = (0..self.weights.len()).filter(|version| *version != self.stable);
        let count = self.weights.len() - 1;
        let mut below = 0;
        others.enumerate().map(move |(place, version)| {
            let parts = match (count, place) {
                (2, 0) => Some(slot + 1),
                (2, _) => Some(PARTS - slot),
                _ => {
                    let parts = (slot + 1).checked_sub(below).filter(|parts| *parts > 0);
                    below += self.weights[version].parts();
                    parts
                }
            };
            (version, parts.and_then(Share::from_parts))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(parts: &[u32]) -> Vec<Share> {
        parts
            .iter()
            .map(|p| Share::from_parts(*p).unwrap())
            .collect()
    }

    fn all(bounds: &Bounds) -> Vec<usize> {
        (0..PARTS).map(|slot| bounds.version(slot)).collect()
    }

    /// Weights of so many versions besides stable, and stable's place among them.
    fn weights(others: usize) -> impl Strategy<Value = (Vec<u32>, usize)> {
        let cuts = proptest::collection::vec(prop_oneof![Just(0), Just(PARTS), 0..=PARTS], others);
        (cuts, 0..=others).prop_map(|(mut cuts, stable)| {
            cuts.sort_unstable();
            let mut before = 0;
            let mut parts: Vec<u32> = cuts
                .iter()
                .map(|cut| cut - std::mem::replace(&mut before, *cut))
                .collect();
            parts.insert(stable, PARTS - before);
            (parts, stable)
        })
    }

    /// Weights, and others of which none but stable's is smaller.
    fn raised(others: usize) -> impl Strategy<Value = (Vec<u32>, Vec<u32>, usize)> {
        (
            weights(others),
            proptest::collection::vec(0u32..=100, others + 1),
        )
            .prop_map(|((small, stable), raise)| {
                let mut large = small.clone();
                for version in 0..small.len() {
                    if version != stable {
                        let more = large[stable] / 100 * raise[version] / 4;
                        large[version] += more;
                        large[stable] -= more;
                    }
                }
                (small, large, stable)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_version_has_exactly_its_share((parts, stable) in (0usize..6).prop_flat_map(weights)) {
            let mut count = vec![0; parts.len()];
            for version in all(&Bounds::new(&shares(&parts), stable)) {
                count[version] += 1;
            }
            prop_assert_eq!(count, parts);
        }

        #[test]
        fn raising_one_or_two_versions_never_takes_a_slot_from_them(
            (small, large, stable) in (1usize..=2).prop_flat_map(raised)
        ) {
            let before = all(&Bounds::new(&shares(&small), stable));
            let after = all(&Bounds::new(&shares(&large), stable));
            for slot in 0..PARTS as usize {
                prop_assert!(before[slot] == stable || after[slot] == before[slot], "slot {} moved", slot);
            }
        }

        #[test]
        fn with_three_or_more_nobody_goes_back_to_stable_while_no_weight_falls(
            (small, large, stable) in (3usize..6).prop_flat_map(raised)
        ) {
            let before = all(&Bounds::new(&shares(&small), stable));
            let after = all(&Bounds::new(&shares(&large), stable));
            for slot in 0..PARTS as usize {
                prop_assert!(before[slot] == stable || after[slot] != stable, "slot {} went back", slot);
            }
        }

        #[test]
        fn a_threshold_is_the_smallest_weight_that_has_the_slot(
            (parts, stable) in (1usize..5).prop_flat_map(weights), slot in 0..PARTS
        ) {
            for (version, needed) in Bounds::new(&shares(&parts), stable).thresholds(slot) {
                let with = |weight: u32| {
                    let mut parts = parts.clone();
                    parts[stable] = (parts[stable] + parts[version]).checked_sub(weight)?;
                    parts[version] = weight;
                    Some(Bounds::new(&shares(&parts), stable).version(slot) == version)
                };
                let Some(needed) = needed else {
                    prop_assert!(parts[version] == 0 || with(parts[version]) == Some(false));
                    continue;
                };
                prop_assert!(with(needed.parts()) != Some(false), "{} has too little at {}", version, needed);
                prop_assert!(with(needed.parts() - 1) != Some(true), "{} has it already below {}", version, needed);
            }
        }
    }

    #[test]
    fn the_first_grows_from_below_and_the_second_from_above() {
        let bounds = Bounds::new(&shares(&[10_000, 70_000, 20_000]), 1);
        assert_eq!(
            [0, 9_999, 10_000, 79_999, 80_000, 99_999].map(|slot| bounds.version(slot)),
            [0, 0, 1, 1, 2, 2]
        );
    }

    #[test]
    fn stable_alone_has_every_slot() {
        let bounds = Bounds::new(&shares(&[PARTS]), 0);
        assert_eq!((bounds.version(0), bounds.version(PARTS - 1)), (0, 0));
    }
}
