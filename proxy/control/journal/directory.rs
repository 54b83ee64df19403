//! The state directory and its lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Nobody but the owner looks into the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Nobody but the owner reads its files.
const FILE_MODE: u32 = 0o600;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written to.
    #[error("state directory {}: cannot be written to: {source}; rollouts would forget what was rolled back", dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("state directory {}: in use by another tidegate{by}; give each its own --state-dir", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// ` (process 123)`, or nothing where that is unknown.
        by: String,
    },
    /// Anything else that the system refuses.
    #[error("state directory {}: {doing}: {source}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The state directory, held: no second process has it while this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held, never looked at: the lock goes with the descriptor, also at a kill -9.
    _lock: File,
}

impl Directory {
    /// Makes the directory where there is none, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(|source| told(path, "cannot be made", source))?;
        let mut lock = open_file(&path.join("lock"))
            .map_err(|source| told(path, "its lock cannot be opened", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    dir: path.to_owned(),
                    by: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(told(path, "its lock cannot be taken", source));
            }
        }
        // Only a word for whoever meets the lock: on a full disk it is missing, and the lock holds all the same.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes durable which files the directory has.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// A failure to do something in this directory.
    pub(super) fn failed(&self, doing: &'static str, source: io::Error) -> OpenError {
        told(&self.path, doing, source)
    }
}

/// Opens a file of the state directory for reading and writing; makes it where there is none.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

fn told(dir: &Path, doing: &'static str, source: io::Error) -> OpenError {
    use io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let dir = dir.to_owned();
    match source.kind() {
        PermissionDenied | ReadOnlyFilesystem | NotADirectory | AlreadyExists => {
            OpenError::NotWritable { dir, source }
        }
        _ => OpenError::Io { dir, doing, source },
    }
}

/// Who wrote the lock, as far as that can be read.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock
        .seek(SeekFrom::Start(0))
        .and_then(|_| lock.take(20).read_to_string(&mut text));
    match read {
        Ok(_) if text.parse::<u32>().is_ok() => format!(" (process {text})"),
        _ => String::new(),
    }
}
