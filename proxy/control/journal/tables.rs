//! The tables of `journal.redb`: what is in them, and how a batch gets there.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use super::batch::{Batch, Fresh};
use super::entry::{Entry, HISTORY_AGE, HISTORY_ENTRIES};
use super::failure::{Failure, StoreError, damaged};
use super::framed::{frame, unframe};
use super::keeping::Evidence;

const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT_KEY: &str = "format";
/// There while nothing was written since a file was lost.
const LOST_KEY: &str = "lost";
/// What this program writes, and the only thing that it reads.
const FORMAT: u64 = 1;
/// What the file remembers.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) states: Vec<(String, Vec<u8>)>,
    pub(super) evidence: HashMap<String, Evidence>,
    pub(super) history: Vec<Entry>,
    pub(super) empty: bool,
    pub(super) unreadable: Option<String>,
    pub(super) next_event: HashMap<String, u64>,
}

/// Makes every table of a new file, with the states that are still known. `lost`: it takes the place of a file that could
/// not be read, and says so until states are written to it: whoever was to hear of it may have been killed first.
pub(super) fn make(
    database: &Database,
    states: &HashMap<String, Vec<u8>>,
    lost: bool,
) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        if lost {
            meta.insert(LOST_KEY, 1)?;
        }
        let mut table = transaction.open_table(STATES)?;
        for (rollout, state) in states {
            table.insert(rollout.as_str(), framed("state", rollout, state).as_slice())?;
        }
    }
    transaction.open_table(SNAPSHOTS)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(HISTORY)?;
    Ok(transaction.commit()?)
}

/// All that the file remembers.
pub(super) fn read(database: &Database) -> Result<Kept, Failure> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let format = meta.get(FORMAT_KEY)?;
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
    if meta.get(LOST_KEY)?.is_some() {
        let told = "journal.redb was lost or set aside earlier, and nothing was written since";
        kept.unreadable = Some(told.to_owned());
    }
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

/// Writes a batch, whole or not at all. `next_event` is the number of each rollout's next event.
pub(super) fn transaction(
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
    if !batch.states.is_empty() {
        transaction.open_table(META)?.remove(LOST_KEY)?;
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
