//! A user's slot: the fixed place among 100 000 that a key has under a salt.
//!
//! The function is published, so that anybody can compute offline who belongs to a cohort:
//!
//! ```text
//! import xxhash                                        # Python; any implementation of XXH3 (64 bits) will do
//!
//! def slot(key: bytes, salt: bytes) -> int:
//!     seed = xxhash.xxh3_64_intdigest(salt)            # seed 0
//!     return (xxhash.xxh3_64_intdigest(key, seed=seed) * 100_000) >> 64
//!
//! def on_candidate(key, salt, percent):                # one version besides stable
//!     return slot(key, salt) < percent * 1000
//! ```
//!
//! A key is the bytes of the user's ID as it is sent, without the white space around it; a salt is the text in the
//! file, by default `<route>.<rule>`. A client's address is a key as text: `203.0.113.7`, and an IPv6 address by the
//! network that one subscriber has, `2001:db8:1:2::/64`.
//!
//! Test vectors; the key and the salt stand between the ticks, as UTF-8:
//!
//! | key | salt | slot |
//! |-----|------|------|
//! | `` | `` | 25462 |
//! | `` | `app.everyone` | 5006 |
//! | `42` | `` | 87044 |
//! | `42` | `app.everyone` | 83904 |
//! | `42` | `app.everyone#2` | 72936 |
//! | `user-1` | `app.everyone` | 1536 |
//! | `user-2` | `app.everyone` | 64048 |
//! | `alice@example.com` | `shop.1` | 83341 |
//! | `Zoë` | `shop.1` | 8333 |
//! | `用户-7` | `shop.1` | 61727 |
//! | `7f9c2ba4e88f827d616045507605853e` | `checkout.everyone` | 5272 |
//! | `203.0.113.7` | `checkout.everyone` | 30551 |
//! | `2001:db8:1:2::/64` | `checkout.everyone` | 86167 |
//! | `a key that is a good deal longer than two hundred and forty bytes, so that the hash takes its path for long inputs: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789` | `long` | 79599 |

use tidegate_config::units::PARTS;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What keeps two splits apart: the same user has unrelated slots under two salts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(u64);

impl Salt {
    /// Hashes the text once, so that a request pays for its key alone.
    pub fn new(text: &str) -> Self {
        Self(xxh3_64(text.as_bytes()))
    }
}

/// The slot of a key, from 0 to 99 999.
pub fn slot(key: &[u8], salt: Salt) -> u32 {
    spread(hash(key, salt))
}

/// What a key's slot is made of: even over all 64 bits, and different under every salt.
pub fn hash(key: &[u8], salt: Salt) -> u64 {
    xxh3_64_with_seed(key, salt.0)
}

/// The slot of a number that is even over all 64 bits: a hash, or chance.
pub fn spread(number: u64) -> u32 {
    // The upper half of the product is below PARTS; a remainder would favour low slots, and is slower.
    ((u128::from(number) * u128::from(PARTS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        let mut seen = 0;
        for line in include_str!("slot.rs").lines() {
            let Some(row) = line.strip_prefix("//! | `") else {
                continue;
            };
            let cells: Vec<&str> = row
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            let (key, salt, wanted) = (cells[0], cells[1], cells[2]);
            assert_eq!(
                slot(key.as_bytes(), Salt::new(salt)).to_string(),
                wanted,
                "slot({key:?}, {salt:?}) differs from the published one"
            );
            seen += 1;
        }
        assert!(seen >= 12, "the table of vectors was not found");
    }

    #[test]
    fn the_ends_of_chance_are_the_ends_of_the_slots() {
        assert_eq!(spread(0), 0);
        assert_eq!(spread(u64::MAX), PARTS - 1);
    }

    #[test]
    fn a_hundred_thousand_users_fall_evenly_into_twenty_shares() {
        let mut shares = [0u32; 20];
        for user in 0..100_000 {
            shares[slot(format!("user-{user}").as_bytes(), Salt::new("app.everyone")) as usize
                / 5_000] += 1;
        }
        // Five standard deviations of a binomial count with 5 000 expected.
        assert!(
            shares.iter().all(|n| (4_650..=5_350).contains(n)),
            "{shares:?}"
        );
    }
}
