//! `journal.redb`: its tables, a transaction, and how it is opened whatever state it is in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use redb::backends::InMemoryBackend;
use redb::{
    CommitError, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::directory::{Directory, OpenError, open_file};
use super::disk::Disk;
use super::entry::{Entry, HISTORY_AGE, HISTORY_ENTRIES};
use super::framed::{frame, unframe};
use super::keeping::Evidence;
use super::queue::{Batch, Fresh};
use super::steps::{Step, Steps};

const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FILE: &str = "journal.redb";
/// A file is begun under this name, and gets its own when it is whole.
const BEGUN: &str = "journal.redb.new";
const FORMAT_KEY: &str = "format";
/// What this program writes, and the only thing that it reads.
const FORMAT: u64 = 1;
/// What the store keeps in memory of its file.
const CACHE_BYTES: usize = 8 << 20;
/// So many files that could not be read are kept; older ones go.
const UNREADABLE_KEPT: usize = 4;
/// A file that is to be read in memory, since the disk has no room for its repair, is not longer.
const IN_MEMORY_BYTES: u64 = 512 << 20;

/// What the file remembers.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) states: Vec<(String, Vec<u8>)>,
    pub(super) evidence: HashMap<String, Evidence>,
    pub(super) history: Vec<Entry>,
    pub(super) empty: bool,
    pub(super) unreadable: Option<String>,
    next_event: HashMap<String, u64>,
}

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The system refused; the file is as it was, or can be repaired.
    #[error("{0}")]
    Refused(String),
    /// The file is not what was written.
    #[error("{0}")]
    Damaged(String),
}

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
    /// remembers was read in any case.
    pub(super) fn open(
        directory: Arc<Directory>,
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
            Kept {
                empty: true,
                ..Kept::default()
            }
        };
        store.next_event = std::mem::take(&mut kept.next_event);
        if store.database.is_none()
            && trouble.is_none()
            && let Err(error) = store.begin()
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
                }
            }
        }
        self.begin()
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        self.next_event.clear();
        let database = self.database.as_ref().expect("the store was just begun");
        guarded(|| {
            let transaction = database.begin_write()?;
            for (rollout, state) in durable {
                let mut states = transaction.open_table(STATES)?;
                states.insert(rollout.as_str(), framed("state", rollout, state).as_slice())?;
            }
            Ok(transaction.commit()?)
        })
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
    fn begin(&mut self) -> io::Result<()> {
        let begun = self.directory.file(BEGUN);
        match fs::remove_file(&begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open_file(&begun)?;
        let disk = Disk::new(file, self.steps.clone());
        let database = guarded(|| begin(disk)).map_err(io::Error::other)?;
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

    /// Keeps the newest few of the files set aside. Their names end in their time.
    fn forget_old_ones(&self) {
        let Ok(files) = fs::read_dir(self.directory.path()) else {
            return;
        };
        let prefix = format!("{FILE}.unreadable-");
        let is_aside = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        };
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let mut aside: Vec<_> = files.filter(|path| is_aside(path)).collect();
        aside.sort();
        for old in aside.iter().rev().skip(UNREADABLE_KEPT) {
            if let Err(error) = fs::remove_file(old) {
                tracing::warn!(%error, "{}: cannot be removed: {error}", old.display());
            }
        }
    }
}

/// Runs what trusts the file. The store is written for files that only it has written; others may make it panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure(error))) => Err(error),
        Err(_) => Err(StoreError::Damaged("its structure is broken".to_owned())),
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

fn begin(disk: Disk) -> Result<Database, Failure> {
    let database = builder().create_with_backend(disk)?;
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.open_table(STATES)?;
    transaction.open_table(SNAPSHOTS)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(HISTORY)?;
    transaction.commit()?;
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

fn read(database: &Database) -> Result<Kept, Failure> {
    let transaction = database.begin_read()?;
    let format = transaction.open_table(META)?.get(FORMAT_KEY)?;
    match format.map(|format| format.value()) {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(damaged(&format!(
                "it has format {other}, of another version of tidegate; this one reads {FORMAT}"
            )));
        }
        None => return Err(damaged("it does not say its format")),
    }
    let mut kept = Kept::default();
    for row in transaction.open_table(STATES)?.iter()? {
        let (rollout, state) = row?;
        let rollout = rollout.value();
        let state = unframed("state", rollout, state.value())?;
        kept.states.push((rollout.to_owned(), state));
    }
    for row in transaction.open_table(SNAPSHOTS)?.iter()? {
        let (rollout, snapshot) = row?;
        let rollout = rollout.value();
        let snapshot = unframed("snapshot", rollout, snapshot.value())?;
        let evidence = kept.evidence.entry(rollout.to_owned()).or_default();
        evidence.snapshot = Some(snapshot);
    }
    for row in transaction.open_table(EVENTS)?.iter()? {
        let (key, event) = row?;
        let (rollout, number) = key.value();
        let event = unframed("event", rollout, event.value())?;
        let evidence = kept.evidence.entry(rollout.to_owned()).or_default();
        evidence.events.push(event);
        kept.next_event.insert(rollout.to_owned(), number + 1);
    }
    for row in transaction.open_table(HISTORY)?.iter()? {
        let (_, entry) = row?;
        let entry = unframed("entry", "", entry.value())?;
        let entry = serde_json::from_slice(&entry)
            .map_err(|error| damaged(&format!("a line of history is none: {error}")))?;
        kept.history.push(entry);
    }
    Ok(kept)
}

fn transaction(
    database: &Database,
    batch: &Batch,
    next_event: &mut HashMap<String, u64>,
) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut states = transaction.open_table(STATES)?;
        for (rollout, state) in &batch.states {
            match &state.value {
                Some(state) => {
                    states.insert(rollout.as_str(), framed("state", rollout, state).as_slice())?;
                }
                None => {
                    states.remove(rollout.as_str())?;
                }
            }
        }
    }
    write_evidence(&transaction, &batch.evidence, next_event)?;
    write_history(&transaction, batch)?;
    Ok(transaction.commit()?)
}

fn write_evidence(
    transaction: &WriteTransaction,
    evidence: &BTreeMap<String, Fresh>,
    next_event: &mut HashMap<String, u64>,
) -> Result<(), Failure> {
    let mut snapshots = transaction.open_table(SNAPSHOTS)?;
    let mut events = transaction.open_table(EVENTS)?;
    for (rollout, fresh) in evidence {
        let rollout = rollout.as_str();
        if fresh.anew {
            events.retain_in((rollout, 0)..=(rollout, u64::MAX), |_, _| false)?;
            snapshots.remove(rollout)?;
        }
        if let Some(snapshot) = &fresh.snapshot {
            snapshots.insert(rollout, framed("snapshot", rollout, snapshot).as_slice())?;
        }
        // Numbers go on where a transaction fails: only their order counts.
        let next = next_event.entry(rollout.to_owned()).or_default();
        for event in &fresh.events {
            events.insert((rollout, *next), framed("event", rollout, event).as_slice())?;
            *next += 1;
        }
    }
    Ok(())
}

fn write_history(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Failure> {
    let Some(newest) = batch.history.iter().map(|(entry, _)| entry.at).max() else {
        return Ok(());
    };
    let mut history = transaction.open_table(HISTORY)?;
    for (entry, _) in &batch.history {
        let bytes = serde_json::to_vec(entry)
            .map_err(|error| Failure(StoreError::Refused(error.to_string())))?;
        history.insert(entry.seq, framed("entry", "", &bytes).as_slice())?;
    }
    let oldest = newest.checked_sub(HISTORY_AGE).unwrap_or(Timestamp::MIN);
    loop {
        let too_many = history.len()? > HISTORY_ENTRIES;
        let Some((seq, too_old)) = history
            .first()?
            .map(|(seq, entry)| (seq.value(), is_before(entry.value(), oldest)))
        else {
            break;
        };
        if !too_many && !too_old {
            break;
        }
        history.remove(seq)?;
    }
    Ok(())
}

fn is_before(entry: &[u8], oldest: Timestamp) -> bool {
    unframe(&owner("entry", ""), entry)
        .and_then(|entry| serde_json::from_slice::<Entry>(entry).ok())
        .is_some_and(|entry| entry.at < oldest)
}

fn owner(table: &str, rollout: &str) -> Vec<u8> {
    [table.as_bytes(), b"/", rollout.as_bytes()].concat()
}

fn framed(table: &str, rollout: &str, value: &[u8]) -> Vec<u8> {
    frame(&owner(table, rollout), value)
}

fn unframed(table: &str, rollout: &str, value: &[u8]) -> Result<Vec<u8>, Failure> {
    match unframe(&owner(table, rollout), value) {
        Some(value) => Ok(value.to_vec()),
        None => Err(damaged(&format!("{table} {rollout:?} is damaged"))),
    }
}

/// A [`StoreError`] on its way out of the store's own kinds of error.
struct Failure(StoreError);

fn damaged(why: &str) -> Failure {
    Failure(StoreError::Damaged(why.to_owned()))
}

fn refused(error: &impl Display) -> Failure {
    Failure(StoreError::Refused(error.to_string()))
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            // What is not there where the structure says it is: the file was cut.
            StorageError::Io(io) if io.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it ends too early")
            }
            StorageError::Io(io) if io.kind() == io::ErrorKind::InvalidData => refused_format(&io),
            StorageError::Corrupted(why) => damaged(&why),
            StorageError::Io(io) => refused(&io),
            other => refused(&other),
        }
    }
}

fn refused_format(io: &io::Error) -> Failure {
    damaged(&io.to_string())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        StorageError::Io(error).into()
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                damaged(&error.to_string())
            }
            other => refused(&other),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => damaged(&other.to_string()),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => refused(&other),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => refused(&other),
        }
    }
}
