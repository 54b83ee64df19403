//! The access log: a JSON line a request, written by a thread of its own so that no request waits for a disk.
//!
//! A worker formats the line and hands it over with its [`LogPen`]; where the queue is full, the line is lost and
//! counted. Control holds the [`AccessLog`] and changes where lines go, at any moment, without losing those on the way.
//!
//! - `line`: what a line says
//! - `sink`: where lines go
//! - `writer`: the thread, and what it does when the disk is full or the reader is gone

mod line;
mod sink;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
#[expect(
    clippy::disallowed_types,
    reason = "taken when the output changes, and by the writer's thread"
)]
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_config as config;
use tidegate_config::LogOutput;

use crate::record::{Blame, FailureKind, Outcome};
pub use line::{Line, is_shown};
use sink::Sink;
use writer::{Message, Writer};

/// Lines that wait to be written. At 50 000 requests a second, a stall of a third of a second is bridged.
const QUEUE_LINES: usize = 16_384;

/// Bytes that wait to be written: long lines fill memory before they fill the queue.
const QUEUE_BYTES: usize = 16 << 20;

/// The end that control holds: it decides where lines go.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    /// What lines are written to now.
    #[expect(clippy::disallowed_types, reason = "taken when the output changes")]
    output: Mutex<Option<LogOutput>>,
}

/// An output that was opened and is not in use yet: nothing can fail any more.
#[derive(Debug)]
pub struct OpenedLog {
    output: Option<LogOutput>,
    /// `None` where the output is the one that is in use already.
    sink: Option<Option<Sink>>,
}

/// What the writer's thread and the others share.
#[derive(Debug)]
struct Shared {
    waiting_bytes: AtomicUsize,
    dropped: Arc<AtomicU64>,
    /// The output to go over to; the last one wins.
    #[expect(
        clippy::disallowed_types,
        reason = "taken when the output changes, and by the writer's thread"
    )]
    next: Mutex<Option<Option<Sink>>>,
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log {}: {source}", path.display())]
pub struct LogError {
    /// What was to be opened; `-` is standard output.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl AccessLog {
    /// Starts the writer's thread. Lines that are lost are counted in `dropped`. Nothing is written before the first
    /// [`switch`](Self::switch) or [`reconfigure`](Self::reconfigure).
    ///
    /// # Errors
    /// Where the thread cannot be started.
    #[expect(clippy::disallowed_types, reason = "taken when the output changes")]
    pub fn start(dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting_bytes: AtomicUsize::new(0),
            dropped,
            next: Mutex::new(None),
        });
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let writer = Writer::new(lines, Arc::clone(&shared));
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            queue,
            shared,
            output: Mutex::new(None),
        })
    }

    /// The end that a worker writes to.
    #[must_use]
    pub fn pen(&self) -> LogPen {
        LogPen {
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Opens what an edit asks for and leaves the present output in use, so that an edit that fails elsewhere changes
    /// nothing here.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending.
    pub fn open(&self, wanted: Option<&config::AccessLog>) -> Result<OpenedLog, LogError> {
        let output = wanted.map(|wanted| wanted.output.clone());
        if output == self.output(|now| now.clone()) {
            return Ok(OpenedLog { output, sink: None });
        }
        let sink = output.as_ref().map(Sink::open).transpose()?;
        Ok(OpenedLog {
            output,
            sink: Some(sink),
        })
    }

    /// Goes over to what was opened. Lines handed over from now on are written there.
    pub fn switch(&self, opened: OpenedLog) {
        self.output(|now| *now = opened.output);
        if let Some(sink) = opened.sink {
            self.hand_over(sink);
        }
    }

    /// Opens and goes over in one step.
    ///
    /// # Errors
    /// Where the file cannot be opened; the output so far stays in use.
    pub fn reconfigure(&self, wanted: Option<&config::AccessLog>) -> Result<(), LogError> {
        self.open(wanted).map(|opened| self.switch(opened))
    }

    /// Opens the file again, after somebody renamed it.
    ///
    /// # Errors
    /// Where it cannot be opened; the old file stays in use.
    pub fn reopen(&self) -> Result<(), LogError> {
        let Some(output) = self.output(|now| now.clone()) else {
            return Ok(());
        };
        self.hand_over(Some(Sink::open(&output)?));
        Ok(())
    }

    /// Waits until all that was handed over before is written or given up: the last thing before the process ends.
    /// `false` where it took too long.
    #[must_use]
    pub fn flush(&self, within: Duration) -> bool {
        const AGAIN: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + within;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.queue.try_send(message) {
                Ok(()) => {
                    return written
                        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                        .is_ok();
                }
                Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
                Err(_) => return false,
            }
            thread::sleep(AGAIN);
        }
    }

    fn hand_over(&self, sink: Option<Sink>) {
        self.shared.next(|next| *next = Some(sink));
        // A full queue means that the writer is busy and will look by itself.
        let _ = self.queue.try_send(Message::Wake);
    }

    fn output<T>(&self, with: impl FnOnce(&mut Option<LogOutput>) -> T) -> T {
        with(&mut self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn next<T>(&self, with: impl FnOnce(&mut Option<Option<Sink>>) -> T) -> T {
        with(&mut self.next.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lost(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The end that a worker writes to. It never waits.
#[derive(Debug, Clone)]
pub struct LogPen {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl LogPen {
    /// Whether the sample holds an exchange that ended so. `chance` is uniform over all 64 bits.
    #[must_use]
    pub fn wants(policy: &config::AccessLog, outcome: &Outcome, chance: u64) -> bool {
        let broken = outcome
            .failure
            .is_some_and(|f| f.blame == Blame::Version || f.kind == FailureKind::Aborted);
        let share = if broken || outcome.status >= 499 {
            policy.sample_failure
        } else {
            policy.sample_success
        };
        // The same spread as a slot's: a drawn number below the share's parts.
        let drawn = (u128::from(chance) * u128::from(config::units::PARTS)) >> 64;
        drawn < u128::from(share.parts())
    }

    /// Formats a line and hands it over; where the queue is full, the line is lost and counted.
    pub fn write(&self, policy: &config::AccessLog, line: &Line<'_>) {
        let text = line.to_json(policy);
        let bytes = text.len();
        let waiting = self
            .shared
            .waiting_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > QUEUE_BYTES || self.queue.try_send(Message::Line(text)).is_err() {
            self.shared
                .waiting_bytes
                .fetch_sub(bytes, Ordering::Relaxed);
            self.shared.lost(1);
        }
    }
}

#[cfg(test)]
mod tests;
