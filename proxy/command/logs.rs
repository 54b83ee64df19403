//! Where the process's own log goes: standard error, one line an event, never in anybody's way.
//!
//! A worker that logs hands its line to a thread and goes on. A reader that stalls, a pipe that closed and a disk that
//! is full cost lines, which are counted and told once writing works again; they never cost a request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for the writing thread; more are dropped and counted.
const LINES_WAITING: usize = 4096;
/// The longest that the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long nothing is tried after a line could not be written: a full disk is not asked a thousand times a second.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// The log of this process, until it is dropped.
#[derive(Debug)]
pub struct Logs {
    lines: Lines,
    finished: Receiver<()>,
}

impl Logs {
    /// Sends everything that the process says to standard error. The level comes from `TIDEGATE_LOG`, default `info`.
    ///
    /// # Errors
    /// Where the system gives no thread for it.
    pub fn start(format: LogFormat) -> io::Result<Self> {
        let (sender, waiting) = sync_channel(LINES_WAITING);
        let (done, finished) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            sender,
            dropped: Arc::clone(&dropped),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_lines(&waiting, &dropped, &mut io::stderr());
                // Nobody may be waiting any more.
                let _ = done.send(());
            })?;
        let filter =
            EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(lines.clone())
            .with_target(false)
            // Its complaints would go to the same standard error, and panic where that is closed.
            .log_internal_errors(false);
        // A subscriber may stand already where several apps run in one test process: then that one serves.
        let _ = match format {
            LogFormat::Text => {
                let colour = super::output::colours(&io::stderr());
                tracing::subscriber::set_global_default(subscriber.with_ansi(colour).finish())
            }
            LogFormat::Json => tracing::subscriber::set_global_default(
                subscriber.json().flatten_event(true).finish(),
            ),
        };
        Ok(Self { lines, finished })
    }

    /// Says this between the events, as it is.
    pub fn say(&self, text: String) {
        self.lines.send(text.into_bytes());
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if self.lines.sender.try_send(Message::End).is_ok() {
            let _ = self.finished.recv_timeout(LAST_LINES);
        }
    }
}

enum Message {
    Line(Vec<u8>),
    End,
}

#[derive(Debug, Clone)]
struct Lines {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    fn send(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            bytes: Vec::with_capacity(160),
        }
    }
}

/// One event's text, sent when it is complete.
struct Line<'a> {
    lines: &'a Lines,
    bytes: Vec<u8>,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.lines.send(std::mem::take(&mut self.bytes));
        }
    }
}

fn write_lines(waiting: &Receiver<Message>, dropped: &AtomicU64, out: &mut dyn io::Write) {
    while let Ok(Message::Line(line)) = waiting.recv() {
        let lost = dropped.swap(0, Ordering::Relaxed);
        let written = if lost == 0 {
            out.write_all(&line)
        } else {
            writeln!(
                out,
                "{lost} log lines were lost: standard error took them too slowly or not at all"
            )
            .and_then(|()| out.write_all(&line))
        };
        if written.is_err() {
            dropped.fetch_add(lost + 1, Ordering::Relaxed);
            if rest_hears_the_end(waiting, dropped) {
                return;
            }
        }
    }
}

/// Lets lines go by for a moment; true when the end came meanwhile.
fn rest_hears_the_end(waiting: &Receiver<Message>, dropped: &AtomicU64) -> bool {
    let until = std::time::Instant::now() + PAUSE_AFTER_FAILURE;
    loop {
        match waiting.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
            Ok(Message::Line(_)) => {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Fails the first writes, then takes everything.
    struct FullThenFree {
        failures: u32,
        taken: Vec<u8>,
    }

    impl io::Write for FullThenFree {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many_once_it_is_free_again() {
        let (sender, waiting) = sync_channel(8);
        let dropped = AtomicU64::new(0);
        let mut disk = FullThenFree {
            failures: 1,
            taken: Vec::new(),
        };
        sender.send(Message::Line(b"lost\n".to_vec())).unwrap();
        let feeder = thread::spawn(move || {
            // The writer rests after the failure; a line that comes after the rest is written.
            thread::sleep(PAUSE_AFTER_FAILURE * 2);
            sender.send(Message::Line(b"kept\n".to_vec())).unwrap();
            sender.send(Message::End).unwrap();
        });
        write_lines(&waiting, &dropped, &mut disk);
        feeder.join().unwrap();
        let text = String::from_utf8(disk.taken).unwrap();
        assert!(text.starts_with("1 log lines were lost"), "{text}");
        assert!(text.ends_with("kept\n"), "{text}");
    }

    #[test]
    fn a_stalled_reader_never_holds_who_logs() {
        let (sender, waiting) = sync_channel(2);
        let lines = Lines {
            sender,
            dropped: Arc::default(),
        };
        for _ in 0..5 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        assert_eq!(
            lines.dropped.load(Ordering::Relaxed),
            3,
            "two wait, three are counted as lost"
        );
        drop(waiting);
    }
}
