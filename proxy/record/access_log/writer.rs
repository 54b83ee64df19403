//! The access log's thread: takes lines from the queue and writes them, whatever becomes of the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::Shared;
use super::sink::Sink;

/// Lines are written together up to so many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// A trouble that lasts is told again after so long, and one that comes and goes is not told more often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What goes through the queue.
#[derive(Debug)]
pub(super) enum Message {
    /// A line with its newline.
    Line(Vec<u8>),
    /// There is another output to go over to.
    Wake,
    /// Say so when all that came before is written.
    Flush(SyncSender<()>),
}

/// The thread's whole state.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Receiver<Message>,
    shared: Arc<Shared>,
    sink: Option<Sink>,
    /// Whole lines, but for the first one where `torn`.
    batch: Vec<u8>,
    /// The batch begins with the rest of a line whose beginning is written already: a disk was full in its middle.
    torn: bool,
    trouble: Trouble,
}

impl Writer {
    pub(super) fn new(queue: Receiver<Message>, shared: Arc<Shared>) -> Self {
        Self {
            queue,
            shared,
            sink: None,
            batch: Vec::new(),
            torn: false,
            trouble: Trouble::default(),
        }
    }

    /// Runs until nobody can send a line any more.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let flush = self.gather(first);
            if let Some(next) = self.shared.next(Option::take) {
                self.go_over(next);
            }
            self.write(Instant::now());
            if let Some(done) = flush {
                let _ = done.send(()); // whoever asked may have lost patience
            }
        }
    }

    /// Takes what waits, up to a batch's size or a flush.
    fn gather(&mut self, first: Message) -> Option<SyncSender<()>> {
        let mut message = Some(first);
        while let Some(now) = message {
            match now {
                Message::Line(line) => {
                    self.shared
                        .waiting_bytes
                        .fetch_sub(line.len(), Ordering::Relaxed);
                    self.batch.extend_from_slice(&line);
                }
                Message::Wake => {}
                Message::Flush(done) => return Some(done),
            }
            if self.batch.len() >= BATCH_BYTES {
                return None;
            }
            message = self.queue.try_recv().ok();
        }
        None
    }

    fn go_over(&mut self, next: Option<Sink>) {
        if self.torn {
            // The rest of a line means nothing to another file.
            let end = first_line(&self.batch);
            self.batch.drain(..end);
            self.torn = false;
            self.shared.lost(1);
        }
        self.sink = next;
    }

    fn write(&mut self, now: Instant) {
        let Some(sink) = &mut self.sink else {
            // Lines of requests that ended just when the log was turned off.
            self.batch.clear();
            return;
        };
        if self.batch.is_empty() {
            return;
        }
        let (written, result) = sink.write(&self.batch);
        match result {
            Ok(()) => {
                self.batch.clear();
                self.torn = false;
                self.trouble.over(sink.name());
            }
            Err(error) => {
                let lost = self.give_up_after(written);
                self.shared.lost(lost);
                let name = self.sink.as_ref().map_or("", Sink::name);
                self.trouble.met(name, &error, lost, now);
            }
        }
    }

    /// Keeps the rest of a line that was begun, so that the file stays readable when it can be written again, and
    /// gives up the lines after it. Returns how many those are.
    fn give_up_after(&mut self, written: usize) -> u64 {
        self.torn = match written.checked_sub(1) {
            Some(last) => self.batch[last] != b'\n',
            None => self.torn,
        };
        self.batch.drain(..written);
        let kept = if self.torn {
            first_line(&self.batch)
        } else {
            0
        };
        let lost = self.batch[kept..]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        self.batch.truncate(kept);
        lost as u64
    }
}

/// Where the first line ends, its newline included.
fn first_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |at| at + 1)
}

/// What was told about an output that does not work, so that a full disk is not filled with complaints about it.
#[derive(Debug, Default)]
struct Trouble {
    told: Option<Instant>,
    /// It was told that it began, and not yet that it is over.
    open: bool,
    lost: u64,
}

impl Trouble {
    fn met(&mut self, output: &str, error: &io::Error, lost: u64, now: Instant) {
        self.lost += lost;
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < TELL_EVERY)
        {
            return;
        }
        (self.told, self.open) = (Some(now), true);
        tracing::error!(
            output,
            %error,
            lost = self.lost,
            "cannot write the access log to {output}: {error}; lines are lost and counted, requests go on"
        );
    }

    fn over(&mut self, output: &str) {
        if self.open {
            tracing::info!(
                output,
                lost = self.lost,
                "the access log is written to {output} again; {} lines were lost",
                self.lost
            );
            self.open = false;
            self.lost = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(trouble: &mut Trouble, now: Instant) -> bool {
        let before = trouble.told;
        trouble.met(
            "a file",
            &io::Error::from(io::ErrorKind::StorageFull),
            1,
            now,
        );
        trouble.told != before
    }

    #[test]
    fn a_trouble_is_told_at_once_and_then_once_a_minute() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        let told: Vec<_> = (0..180)
            .filter(|s| met(&mut trouble, start + Duration::from_secs(*s)))
            .collect();
        assert_eq!(told, [0, 60, 120]);
    }

    #[test]
    fn a_trouble_that_comes_and_goes_is_not_told_each_time() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        assert!(met(&mut trouble, start));
        trouble.over("a file");
        assert!(!met(&mut trouble, start + Duration::from_secs(1)));
        assert!(
            !trouble.open,
            "its end was told, and the next one is not told before the minute is over"
        );
        assert!(met(&mut trouble, start + Duration::from_secs(61)));
        assert_eq!(trouble.lost, 2);
    }
}
