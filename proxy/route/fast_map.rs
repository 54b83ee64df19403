//! A hash map for keys that the operator wrote, looked up with what strangers send.
//!
//! The hash is XXH3 without a secret: a stranger can aim at a bucket, but not fill it, for only the file adds keys.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(super) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Xxh3>>;

/// Hashes bytes; a number is taken as a hash already.
#[derive(Default, Clone, Copy)]
pub(super) struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    // The length that a slice writes before its bytes adds nothing: XXH3 hashes the length too.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash of a value under a seed of its own.
pub(super) fn seeded(seed: u64, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, seed)
}
