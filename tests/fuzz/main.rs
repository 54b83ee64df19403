//! Feeds one target, which the environment names, with what libFuzzer makes up. `tests/fuzz/run` builds and starts it.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TIDEGATE_FUZZ").unwrap_or_default();
    let found = tidegate::fuzz::TARGETS
        .iter()
        .find(|(target, _)| *target == name);
    let (_, run) = found.unwrap_or_else(|| panic!("TIDEGATE_FUZZ names no target: {name:?}"));
    *run
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
