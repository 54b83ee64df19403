//! A value with its checksum, which covers what it belongs to: a value that was damaged, or that turns up under another
//! name, is no value.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const CHECKSUM: usize = size_of::<u64>();

/// The value as it is stored.
pub(super) fn frame(belongs_to: &[u8], value: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(CHECKSUM + value.len());
    framed.extend_from_slice(&checksum(belongs_to, value).to_le_bytes());
    framed.extend_from_slice(value);
    framed
}

/// The value that was framed; `None` where it is not whole.
pub(super) fn unframe<'a>(belongs_to: &[u8], framed: &'a [u8]) -> Option<&'a [u8]> {
    let (written, value) = framed.split_first_chunk::<CHECKSUM>()?;
    (u64::from_le_bytes(*written) == checksum(belongs_to, value)).then_some(value)
}

fn checksum(belongs_to: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(belongs_to))
}
