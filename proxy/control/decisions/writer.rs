//! The file of decisions. A thread of its own writes it, so that neither a request nor the judge waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};

use super::record::Record;

/// The file's name in the state directory. The one before it has `.1` at its end.
pub const FILE: &str = "decisions.jsonl";
/// At this size the file becomes the one before, and a new one is begun.
pub const FILE_BYTES: u64 = 16 << 20;
/// Decisions that wait to be written; what comes beyond that is not written, and counted.
pub const DECISIONS_WAITING: usize = 8_192;

/// A decision and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The decision.
    #[serde(flatten)]
    pub record: Record,
    /// The status that the version answered, or that the proxy did in its place.
    pub status: u16,
    /// Whether it is a failure by the rollout's guard.
    pub failed: bool,
    /// What went wrong, where it was not the status: `connect`, `reset`, `timeout` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether stable answered in the candidate's place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// From the request's head to the end of its answer, in milliseconds.
    pub took_ms: f64,
}

/// Takes decisions down; a clone writes to the same file. The last one that goes lets what waits be written.
#[derive(Debug, Clone)]
pub struct Decisions {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Decisions {
    /// Writes into this directory from now on.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(DECISIONS_WAITING);
        let path = dir.join(FILE);
        thread::Builder::new()
            .name("decisions".to_owned())
            .spawn(move || {
                Writer {
                    path,
                    file: None,
                    failed: false,
                }
                .run(&waiting)
            })?;
        Ok(Self {
            lines,
            lost: Arc::default(),
        })
    }

    /// Takes one down, unless too many wait.
    pub fn take(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Decisions that were not taken.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

struct Writer {
    path: PathBuf,
    file: Option<(BufWriter<File>, u64)>,
    /// Said once, until it works again.
    failed: bool,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Line>) {
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            while let Some(line) = next {
                self.write(&line);
                next = waiting.try_recv().ok();
            }
            if let Some((file, _)) = &mut self.file {
                let flushed = file.flush();
                self.tell(flushed);
            }
        }
    }

    fn write(&mut self, line: &Line) {
        // Only what has reached the file shows that it works again.
        if let Err(error) = self.try_write(line) {
            self.tell(Err(error));
        }
    }

    fn try_write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if self
            .file
            .as_ref()
            .is_some_and(|(_, bytes)| *bytes + text.len() as u64 > FILE_BYTES)
        {
            self.turn()?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path)?;
            let bytes = file.metadata()?.len();
            self.file = Some((BufWriter::new(file), bytes));
        }
        if let Some((file, bytes)) = &mut self.file {
            file.write_all(&text)?;
            *bytes += text.len() as u64;
        }
        Ok(())
    }

    /// The file becomes the one before.
    fn turn(&mut self) -> io::Result<()> {
        if let Some((mut file, _)) = self.file.take() {
            file.flush()?;
        }
        fs::rename(&self.path, self.path.with_extension("jsonl.1"))
    }

    fn tell(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.failed = false,
            Err(error) => {
                // What was buffered is lost; the next line begins with the file anew.
                self.file = None;
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(%error, "decisions cannot be written to {}; they are left out until that works again", self.path.display());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::time::{Duration, Instant};

    use super::super::Unit;
    use super::*;

    fn line(slot: u32) -> Line {
        Line {
            record: Record {
                at: "2026-01-02T03:04:05Z".parse().unwrap(),
                revision: 1,
                rollout: "shop-v2".to_owned(),
                attempt: 1,
                salt: Some("shop-v2".to_owned()),
                unit: Some(Unit(u64::from(slot) << 40)),
                slot: Some(slot),
                candidate_weight: 5000,
                version: "v2".to_owned(),
                candidate: "v2".to_owned(),
                stable: "v1".to_owned(),
            },
            status: 500,
            failed: true,
            kind: None,
            fallback: true,
            took_ms: 1.5,
        }
    }

    #[test]
    fn what_is_taken_stands_in_the_file_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let decisions = Decisions::start(dir.path()).unwrap();
        for slot in 0..100 {
            decisions.take(line(slot));
        }
        let path = dir.path().join(FILE);
        let read = || {
            let file = File::open(&path).ok()?;
            io::BufReader::new(file)
                .lines()
                .map(|l| serde_json::from_str::<Line>(&l.ok()?).ok())
                .collect::<Option<Vec<_>>>()
        };
        let until = Instant::now() + Duration::from_secs(10);
        while read().is_none_or(|lines| lines.len() < 100) && Instant::now() < until {
            thread::yield_now();
        }
        let wanted: Vec<_> = (0..100).map(line).collect();
        assert_eq!(read(), Some(wanted));
        assert_eq!(decisions.lost(), 0);
    }

    #[test]
    fn the_file_is_bounded_and_the_one_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut writer = Writer {
            path: path.clone(),
            file: None,
            failed: false,
        };
        let each = serde_json::to_vec(&line(1)).unwrap().len() as u64 + 1;
        fs::write(&path, vec![b'\n'; (FILE_BYTES - each) as usize]).unwrap();
        writer.write(&line(1));
        writer.write(&line(2));
        writer.turn().unwrap();
        assert_eq!(
            fs::metadata(path.with_extension("jsonl.1")).unwrap().len(),
            each,
            "the second line alone: {each}"
        );
    }
}
