//! The load's core, as the attacker leaves it: whoever answers faster than the load can ask would otherwise be charged for
//! what the attacker takes of that core, and whoever is slower would not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The sleep between two pieces of work: about the period of the attacker's quota.
const SLEEP: Duration = Duration::from_millis(5);

/// A thread that takes a share of the core that it was started on.
pub(super) struct Ballast {
    over: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Ballast {
    /// Takes so much of a core from now on.
    pub(super) fn take(share: f64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || weigh(share, &until));
        Self { over, thread }
    }

    /// Ends it; tells what it had of the core.
    pub(super) fn end(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only counts")
    }
}

/// Takes its share until it is over; tells what it had.
fn weigh(share: f64, over: &AtomicBool) -> f64 {
    let (from, had) = (Instant::now(), own_time());
    while !over.load(Ordering::Relaxed) {
        let due = from.elapsed().mul_f64(share);
        while own_time() - had < due && !over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        std::thread::sleep(SLEEP);
    }
    (own_time() - had).div_duration_f64(from.elapsed())
}

/// What this thread has had of its core.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
