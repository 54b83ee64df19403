//! Where the process's own log goes: standard error, one line an event, never in anybody's way.
//!
//! A worker that logs hands its line to a thread and goes on. A reader that stalls, a pipe that closed and a disk that
//! is full cost lines, which are counted and told once writing works again; they never cost a request.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::record::is_shown;

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
        let colour = format == LogFormat::Text && super::output::colours(&io::stderr());
        let lines = Lines {
            sender,
            colour,
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
    colour: bool,
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
            let line = std::mem::take(&mut self.bytes);
            self.lines.send(harmless(line, self.lines.colour));
        }
    }
}

/// The line as one line that shows what it holds: what would move a terminal's cursor, end the line or turn its reading
/// direction is written as an escape. In JSON only a text can hold such a character, and `\u1234` means it there too.
/// Colours are the formatter's own; it has escaped those that came with a value.
fn harmless(mut line: Vec<u8>, colour: bool) -> Vec<u8> {
    let ends = line.last() == Some(&b'\n');
    line.truncate(line.len() - usize::from(ends));
    let is_plain = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let mut out = if is_plain {
        line
    } else {
        let mut shown = String::with_capacity(line.len() + 16);
        let mut text = &*String::from_utf8_lossy(&line);
        while let Some(c) = text.chars().next() {
            let style = if colour { style(text) } else { 0 };
            let length = style.max(c.len_utf8());
            if style > 0 || is_shown(c) {
                shown.push_str(&text[..length]);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
            text = &text[length..];
        }
        shown.into_bytes()
    };
    out.extend(ends.then_some(b'\n'));
    out
}

/// The length of the colour change that a text begins with.
fn style(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let digits = rest
        .bytes()
        .take_while(|b| matches!(b, b'0'..=b'9' | b';'))
        .count();
    if rest.as_bytes().get(digits) == Some(&b'm') {
        digits + 3
    } else {
        0
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
    fn a_line_shows_what_it_holds_and_is_one() {
        for (said, shown) in [
            ("all plain\n", "all plain\n"),
            ("grün über\n", "grün über\n"),
            ("a\nb\n", "a\\u000ab\n"),
            ("a\rb\tc\n", "a\\u000db\\u0009c\n"),
            (
                "\x1b[31mred\x1b]0;title\x07\n",
                "\\u001b[31mred\\u001b]0;title\\u0007\n",
            ),
            ("user\u{202e}nimda\n", "user\\u202enimda\n"),
            ("\u{9b}31m \u{2028}\n", "\\u009b31m \\u2028\n"),
            ("\u{e0041}\n", "\\udb40\\udc41\n"),
        ] {
            let line = harmless(said.as_bytes().to_vec(), false);
            assert_eq!(String::from_utf8(line).unwrap(), shown);
        }
        let coloured = harmless(b"\x1b[2mtime\x1b[0m \x1b[2J\n".to_vec(), true);
        assert_eq!(coloured, b"\x1b[2mtime\x1b[0m \\u001b[2J\n");
        assert_eq!(harmless(b"\xff\n".to_vec(), false), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn a_stalled_reader_never_holds_who_logs() {
        let (sender, waiting) = sync_channel(2);
        let lines = Lines {
            sender,
            colour: false,
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
