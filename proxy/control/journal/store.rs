//! `journal.redb`: how it is opened whatever state it is in, begun, set aside, and opened again after a failure.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use super::batch::Batch;
use super::directory::{Directory, OpenError, open_file};
use super::disk::Disk;
use super::failure::{Failure, StoreError, damaged, guarded};
use super::steps::{Step, Steps};
use super::tables::{Kept, make, read, transaction};

const FILE: &str = "journal.redb";
/// A file is begun under this name, and gets its own when it is whole.
const BEGUN: &str = "journal.redb.new";
/// What the store keeps in memory of its file.
const CACHE_BYTES: usize = 8 << 20;
/// So many files that could not be read are kept; older ones go.
const UNREADABLE_KEPT: usize = 4;
/// A file that is to be read in memory, since the disk has no room for its repair, is not longer.
const IN_MEMORY_BYTES: u64 = 512 << 20;

/// The open file. After a failure it is closed, and opened again by the next transaction.
#[derive(Debug)]
pub(super) struct Store {
    directory: Arc<Directory>,
    steps: Steps,
    database: Option<Database>,
    /// The number of each rollout's next event.
    next_event: HashMap<String, u64>,
}

impl Store {
    /// Opens the file, or begins one, and reads it. The last of the three says why it cannot be written to now; what it
    /// remembers was read in any case. `used`: the directory was used before, so that a file must be there.
    pub(super) fn open(
        directory: Arc<Directory>,
        used: bool,
        steps: Steps,
    ) -> Result<(Self, Kept, Option<String>), OpenError> {
        let mut store = Self {
            directory,
            steps,
            database: None,
            next_event: HashMap::new(),
        };
        let path = store.directory.file(FILE);
        let exists = path.try_exists().map_err(|source| {
            store
                .directory
                .failed("journal.redb cannot be found", source)
        })?;
        let mut trouble = None;
        let mut kept = if exists {
            match store.open_and_read() {
                Ok(kept) => kept,
                Err(StoreError::Refused(why)) => {
                    trouble = Some(why);
                    // A repair writes. Where that is refused it is done on a copy in memory: what was remembered counts
                    // most when the disk is full.
                    read_in_memory(&path).or_else(|why| store.set_aside(&why))?
                }
                Err(StoreError::Damaged(why)) => store.set_aside(&why)?,
            }
        } else {
            let lost = used || !store.set_aside_before().is_empty();
            Kept {
                empty: !lost,
                unreadable: lost.then(|| "journal.redb is missing".to_owned()),
                ..Kept::default()
            }
        };
        store.next_event = std::mem::take(&mut kept.next_event);
        if store.database.is_none()
            && trouble.is_none()
            && let Err(error) = store.begin(&HashMap::new(), kept.unreadable.is_some())
        {
            // In a directory that was never used nothing is lost yet by not starting.
            if kept.empty {
                return Err(store
                    .directory
                    .failed("journal.redb cannot be begun", error));
            }
            trouble = Some(error.to_string());
        }
        Ok((store, kept, trouble))
    }

    /// Writes a batch, whole or not at all; opens the file first if a failure closed it. `durable` is what the disk is
    /// known to have: a file that turned out to be damaged is replaced and begins with it.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        durable: &HashMap<String, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let written = self.reopen(durable).and_then(|()| {
            if batch.is_empty() {
                return Ok(());
            }
            self.steps.take(Step::Begin);
            let database = self.database.as_ref().expect("the store was just opened");
            let next_event = &mut self.next_event;
            guarded(|| transaction(database, batch, next_event))
        });
        if written.is_err() {
            self.close();
        }
        written
    }

    fn reopen(&mut self, durable: &HashMap<String, Vec<u8>>) -> Result<(), StoreError> {
        if self.database.is_some() {
            return Ok(());
        }
        self.steps.take(Step::Reopen);
        let mut lost = false;
        if self.directory.file(FILE).exists() {
            match self.open_and_read() {
                Ok(kept) => {
                    self.next_event = kept.next_event;
                    return Ok(());
                }
                Err(StoreError::Refused(why)) => return Err(StoreError::Refused(why)),
                Err(StoreError::Damaged(why)) => {
                    let refused = |error: OpenError| StoreError::Refused(error.to_string());
                    self.set_aside(&why).map_err(refused)?;
                    lost = true;
                }
            }
        }
        // The states are all known: nothing that counts was lost with the file.
        self.begin(durable, lost && durable.is_empty())
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        self.next_event.clear();
        Ok(())
    }

    /// Closes the file. What it says in its last moment does not matter any more.
    pub(super) fn close(&mut self) {
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    fn open_and_read(&mut self) -> Result<Kept, StoreError> {
        let file = open_file(&self.directory.file(FILE))
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        let disk = Disk::new(file, self.steps.clone());
        let (database, kept) = guarded(|| open_and_read(disk))?;
        self.database = Some(database);
        Ok(kept)
    }

    /// Begins a new file. It gets its name when it is whole: one that a crash cut short is never met.
    fn begin(&mut self, states: &HashMap<String, Vec<u8>>, lost: bool) -> io::Result<()> {
        let begun = self.directory.file(BEGUN);
        match fs::remove_file(&begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open_file(&begun)?;
        let disk = Disk::new(file, self.steps.clone());
        let database = guarded(|| begin(disk, states, lost)).map_err(io::Error::other)?;
        fs::rename(&begun, self.directory.file(FILE))?;
        self.directory.sync()?;
        self.database = Some(database);
        Ok(())
    }

    /// Gives a file that cannot be read another name, and says where it is.
    fn set_aside(&mut self, why: &str) -> Result<Kept, OpenError> {
        self.close();
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let aside = self.directory.file(&format!("{FILE}.unreadable-{now}"));
        fs::rename(self.directory.file(FILE), &aside)
            .and_then(|()| self.directory.sync())
            .map_err(|source| {
                self.directory
                    .failed("journal.redb cannot be set aside", source)
            })?;
        let told = format!(
            "journal.redb cannot be read ({why}); it is kept as {}",
            aside.display()
        );
        tracing::error!("{told}");
        self.forget_old_ones();
        Ok(Kept {
            unreadable: Some(told),
            ..Kept::default()
        })
    }

    /// The files that were set aside, oldest first: their names end in their time.
    fn set_aside_before(&self) -> Vec<PathBuf> {
        let prefix = format!("{FILE}.unreadable-");
        let is_aside = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        };
        let Ok(files) = fs::read_dir(self.directory.path()) else {
            return Vec::new();
        };
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let mut aside: Vec<_> = files.filter(|path| is_aside(path)).collect();
        aside.sort();
        aside
    }

    /// Keeps the newest few of the files set aside.
    fn forget_old_ones(&self) {
        for old in self.set_aside_before().iter().rev().skip(UNREADABLE_KEPT) {
            if let Err(error) = fs::remove_file(old) {
                tracing::warn!(%error, "{}: cannot be removed: {error}", old.display());
            }
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // Every page is checked, not only after a crash: a journal is small, and is opened once.
    builder.set_check_integrity_on_open(true);
    builder
}

fn open_and_read(backend: impl StorageBackend) -> Result<(Database, Kept), Failure> {
    if backend.len()? == 0 {
        return Err(damaged("it is empty"));
    }
    let database = builder().create_with_backend(backend)?;
    let kept = read(&database)?;
    Ok((database, kept))
}

fn begin(disk: Disk, states: &HashMap<String, Vec<u8>>, lost: bool) -> Result<Database, Failure> {
    let database = builder().create_with_backend(disk)?;
    make(&database, states, lost)?;
    Ok(database)
}

/// What the file remembers, read from a copy: nothing is written to the disk.
fn read_in_memory(path: &Path) -> Result<Kept, String> {
    let copy = || -> io::Result<InMemoryBackend> {
        let length = fs::metadata(path)?.len();
        if length > IN_MEMORY_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = fs::read(path)?;
        let memory = InMemoryBackend::new();
        memory.set_len(bytes.len() as u64)?;
        memory.write(0, &bytes)?;
        Ok(memory)
    };
    let memory = copy().map_err(|error| error.to_string())?;
    guarded(|| open_and_read(memory))
        .map(|(_, kept)| kept)
        .map_err(|error| error.to_string())
}
