//! The thread that looks: at once when something failed, and ten times a second in any case.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::book::Releases;
use crate::record::Incident;

/// Every rollout is looked at so often, whatever happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Failures that are taken in one go before what follows from them is put in force.
const AT_ONCE: usize = 1024;

/// The thread. It ends when this is dropped, within one look.
#[derive(Debug)]
pub struct Judge {
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Judge {
    /// Starts it. `incidents` is the workers' queue.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(releases: Releases, incidents: Receiver<Incident>) -> io::Result<Self> {
        let leave = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&leave);
        let thread = thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || run(&releases, &incidents, &seen))?;
        Ok(Self {
            leave,
            thread: Some(thread),
        })
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

fn run(releases: &Releases, incidents: &Receiver<Incident>, leave: &AtomicBool) {
    let mut taken: Vec<Incident> = Vec::with_capacity(AT_ONCE);
    let mut next = Instant::now() + LOOK_EVERY;
    let mut told = false;
    while !leave.load(Ordering::Relaxed) {
        let wait = next.saturating_duration_since(Instant::now());
        match incidents.recv_timeout(wait) {
            Ok(first) => {
                taken.push(first);
                while taken.len() < AT_ONCE
                    && let Ok(more) = incidents.try_recv()
                {
                    taken.push(more);
                }
                unbroken(|| releases.stir(&taken), &mut told);
                taken.clear();
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Every worker is gone.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next {
            unbroken(|| releases.look(), &mut told);
            next = Instant::now() + LOOK_EVERY;
        }
    }
}

/// The judge goes on whatever happens. What is about one rollout is told with its name, where it happens; this is for the
/// rest, and told once.
fn unbroken(work: impl FnOnce(), told: &mut bool) {
    // The book is never half changed where it matters: a state is put in its place when it is whole.
    if catch_unwind(AssertUnwindSafe(work)).is_err() && !std::mem::replace(told, true) {
        tracing::error!(
            "a fault of tidegate: a look at the rollouts broke off; they are looked at again; please report what stands above"
        );
    }
}
