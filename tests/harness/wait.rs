//! Waiting for something that becomes true: polled, bounded, and telling what was awaited.

use std::time::{Duration, Instant};

/// Asks until the answer is `Ok`; past the bound it fails with the last reason.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(reason) if start.elapsed() > within => {
                panic!("not within {within:?}: {what}; last seen: {reason}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// [`eventually`] for a plain condition, within ten seconds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, Duration::from_secs(10), || {
        if holds() {
            Ok(())
        } else {
            Err("it does not hold".into())
        }
    });
}
