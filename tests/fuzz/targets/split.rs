use tidegate_config::Share;
use tidegate_config::units::PARTS;

use crate::record::Arm;
use crate::route::Lot;
use crate::route::slot::{Salt, hash, slot, spread};
use crate::route::split::Bounds;

/// Shares, stickiness, and that whoever is on a version stays there while its weight grows.
///
/// The input: how many versions stand beside stable, stable's place, two bytes for each weight, one for each raise; the
/// rest is a salt and a key, with a zero between them.
pub(super) fn run(input: &[u8]) {
    let Some((&[others, place], rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let others = usize::from(others % 6);
    let stable = usize::from(place) % (others + 1);
    let Some((numbers, names)) = rest.split_at_checked(3 * others) else {
        return;
    };
    let (weights, raises) = numbers.split_at(2 * others);
    let small = shares(weights, stable);
    let large = raised(&small, raises, stable);
    let (before, after) = (bounds(&small, stable), bounds(&large, stable));
    has_its_share(&small, &before);
    for slot in edges(&small).chain(edges(&large)) {
        let (was, is) = (before.version(slot), after.version(slot));
        if others <= 2 {
            assert!(
                was == stable || is == was,
                "slot {slot} moved from {was} to {is}"
            );
        } else {
            assert!(
                was == stable || is != stable,
                "slot {slot} went back to stable"
            );
        }
    }
    let mut names = names.splitn(2, |b| *b == 0);
    let salt = String::from_utf8_lossy(names.next().unwrap_or_default()).into_owned();
    is_sticky(&salt, names.next().unwrap_or_default(), &before);
}

/// Weights that add up to 100 %, and stable's among them.
fn shares(weights: &[u8], stable: usize) -> Vec<u32> {
    let mut left = PARTS;
    let mut parts: Vec<u32> = Vec::new();
    for pair in weights.chunks_exact(2) {
        // 0 and 65535 are the ends: nothing, and all that is left.
        let share = u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        let part = u32::try_from(u64::from(left) * share / 65_535).expect("less than all");
        left -= part;
        parts.push(part);
    }
    parts.insert(stable, left);
    parts
}

/// Others, of which none but stable's is smaller.
fn raised(small: &[u32], raises: &[u8], stable: usize) -> Vec<u32> {
    let mut large = small.to_vec();
    let others = (0..small.len()).filter(|version| *version != stable);
    for (version, raise) in others.zip(raises) {
        let more = large[stable] * u32::from(*raise) / 255;
        large[version] += more;
        large[stable] -= more;
    }
    large
}

fn bounds(parts: &[u32], stable: usize) -> Bounds {
    let shares: Vec<Share> = parts
        .iter()
        .map(|parts| Share::from_parts(*parts).expect("a share"))
        .collect();
    Bounds::new(&shares, stable)
}

/// Counted by looking for the ends, as each version has one run of slots.
fn has_its_share(parts: &[u32], bounds: &Bounds) {
    let mut count = vec![0; parts.len()];
    let mut from = 0;
    while from < PARTS {
        let version = bounds.version(from);
        let (mut has, mut lacks) = (from, PARTS);
        while lacks - has > 1 {
            let middle = has + (lacks - has) / 2;
            if bounds.version(middle) == version {
                has = middle;
            } else {
                lacks = middle;
            }
        }
        count[version] += lacks - from;
        from = lacks;
    }
    assert_eq!(
        count, parts,
        "every version has exactly its share, in one run"
    );
}

/// Slots on both sides of every end.
fn edges(parts: &[u32]) -> impl Iterator<Item = u32> {
    let sums = |parts: Vec<u32>| {
        parts.into_iter().scan(0, |end, parts| {
            *end += parts;
            Some(*end)
        })
    };
    let forward = sums(parts.to_vec());
    let backward = sums(parts.iter().rev().copied().collect()).map(|end| PARTS - end);
    let ends: Vec<u32> = forward.chain(backward).chain([0, PARTS]).collect();
    ends.into_iter()
        .flat_map(|end| [end.saturating_sub(1), end, end + 1])
        .map(|slot| slot.min(PARTS - 1))
}

/// A key has one slot under one salt, now and always; a rollout that grows takes nobody back.
fn is_sticky(salt: &str, key: &[u8], bounds: &Bounds) {
    let place = slot(key, Salt::new(salt));
    assert!(place < PARTS);
    assert_eq!(place, slot(key, Salt::new(salt)));
    assert_eq!(place, spread(hash(key, Salt::new(salt))));
    for (version, needed) in bounds.thresholds(place) {
        assert!(
            needed.is_none_or(|needed| needed > Share::ZERO),
            "version {version}"
        );
    }
    let is_on = |weight: u32| {
        let share = Share::from_parts(weight).expect("a share");
        Lot::new(salt, 1, share, 0).arm(place) == Arm::Candidate
    };
    assert!(
        !is_on(place) && is_on(place + 1),
        "at its own slot and not before"
    );
    assert!(is_on(PARTS), "everybody");
}
