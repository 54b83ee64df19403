//! Waiting for something that becomes true: polled, bounded, and telling what was awaited.

use std::time::{Duration, Instant};

/// A bound as it would be on a machine of one's own: where more work waits than there are cores, by so much longer.
pub fn soon(bound: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load: f64 = load
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(1.0);
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    bound.mul_f64((load / cores).clamp(1.0, 10.0))
}

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
