//! Where access-log lines go: a file that is open, and how much of a write it took.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tidegate_config::LogOutput;

use super::LogError;

/// A pipe whose reader takes nothing for so long is given up for the lines at hand.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a pipe that polls as writable takes without waiting: `PIPE_BUF`.
const PIPE_CHUNK: usize = 4096;

/// How often a pipe may poll as writable and then not be, because somebody else writes to it too.
const POLLS_MAX: usize = 8;

/// An open output.
#[derive(Debug)]
pub(super) struct Sink {
    name: String,
    file: File,
    /// A pipe, a terminal or a socket: a write may wait for whoever reads.
    may_block: bool,
}

impl Sink {
    pub(super) fn open(output: &LogOutput) -> Result<Self, LogError> {
        let (path, file) = match output {
            // A descriptor of our own: the one of the standard library buffers, and locks against everybody else.
            LogOutput::Stdout => (
                PathBuf::from("-"),
                io::stdout().as_fd().try_clone_to_owned().map(File::from),
            ),
            LogOutput::File(path) => (path.clone(), append(path)),
        };
        let name = match output {
            LogOutput::Stdout => "standard output".to_owned(),
            LogOutput::File(path) => path.display().to_string(),
        };
        file.and_then(|file| Self::new(name, file))
            .map_err(|source| LogError { path, source })
    }

    pub(super) fn new(name: String, file: File) -> io::Result<Self> {
        let may_block = !file.metadata()?.is_file();
        Ok(Self {
            name,
            file,
            may_block,
        })
    }

    /// For messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes as much as goes, and tells how much that was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_some(&bytes[done..]) {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(taken) => done += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.may_block {
            return self.file.write(bytes);
        }
        // Asked first, because standard output is usually set to wait, and must stay so: other programs share it.
        for _ in 0..POLLS_MAX {
            let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
            let patience = Timespec::try_from(PATIENCE).map_err(|_| io::ErrorKind::InvalidInput)?;
            if poll(&mut fds, Some(&patience))? == 0 {
                break;
            }
            match self.file.write(&bytes[..bytes.len().min(PIPE_CHUNK)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the pipe is full and nobody reads it",
        ))
    }
}

/// `O_NONBLOCK`, or opening a pipe that nobody reads would wait for a reader; a regular file does not mind.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}
