//! The file of latches. A slot belongs to one rollout and has two pages. They are written in turn, so that a torn write
//! damages only what was older; the one with the higher number counts. Both were written once before a weight was
//! applied: to write them again, a disk needs no room.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::{Directory, OpenError, open_file};
use super::framed::{frame, unframe};
use super::steps::{Step, Steps};

/// So many rollouts can have a latch at a time.
pub const LATCH_SLOTS: usize = 8_192;
/// The unit in which disks and page caches write: two pages of a slot never share one.
const PAGE: usize = 4_096;
const SLOT: usize = 2 * PAGE;
/// The file grows by so many slots.
const GROWTH: usize = 16;
/// What stands before the content: checksum, number, length.
const HEAD: usize = 8 + 8 + 4;
const ROOM: usize = PAGE - HEAD;
/// So many bytes of a reason have room, however long name and key are.
const REASON_BYTES: usize = 512;

/// That a rollout was rolled back. It stands for itself: it needs nothing else from the journal to be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// Which rollout.
    pub rollout: String,
    /// What was rolled back: the plan and its candidate.
    pub key: String,
    /// Which attempt of it.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Why, in words; cut where it is too long for its slot.
    pub reason: String,
}

/// What a page says.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Page {
    /// The slot is kept for this rollout.
    Kept { rollout: String },
    /// The rollout was rolled back.
    Latched(Latch),
    /// The slot is free again.
    Free,
}

impl Page {
    fn rollout(&self) -> Option<&str> {
        match self {
            Self::Kept { rollout } | Self::Latched(Latch { rollout, .. }) => Some(rollout),
            Self::Free => None,
        }
    }
}

/// Where a slot stands: the number of its newest page, and which of the two that is.
#[derive(Debug, Clone, Copy)]
struct Newest {
    number: u64,
    half: usize,
}

/// What the file said when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) latches: Vec<Latch>,
    pub(super) doubtful: Vec<String>,
    pub(super) unreadable: usize,
    pub(super) slots: usize,
}

/// Why a slot cannot be had or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("all {LATCH_SLOTS} places for latches are taken")]
    NoneFree,
    #[error("the rollout's name and plan are too long for a latch ({0} bytes, {ROOM} have room)")]
    TooLong(usize),
    #[error("latches: {0}")]
    Io(#[from] io::Error),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Slots {
    file: File,
    steps: Steps,
    slots: Vec<Newest>,
    by_rollout: HashMap<String, usize>,
    free: BTreeSet<usize>,
    /// Written since the last sync: slots and what they will be once it succeeds.
    unsynced: HashMap<usize, (Newest, Page)>,
}

impl Slots {
    /// Opens the file and reads every slot.
    pub(super) fn open(directory: &Directory, steps: Steps) -> Result<(Self, Found), OpenError> {
        let failed = |source| directory.failed("its latches cannot be read", source);
        let file = open_file(&directory.file("latches")).map_err(failed)?;
        let length = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
        let mut slots = Self {
            file,
            steps,
            slots: Vec::new(),
            by_rollout: HashMap::new(),
            free: BTreeSet::new(),
            unsynced: HashMap::new(),
        };
        let mut found = Found::default();
        let mut bytes = [0; SLOT];
        // A piece of a slot at the end was never handed out.
        for index in 0..(length / SLOT).min(LATCH_SLOTS) {
            match slots.file.read_exact_at(&mut bytes, offset(index, 0)) {
                Ok(()) => slots.take_in(index, &bytes, &mut found),
                // A sector that the disk cannot read must not hide the other latches.
                Err(error) => {
                    tracing::error!(slot = index, %error, "latches: a slot cannot be read: {error}");
                    slots.slots.push(Newest { number: 0, half: 0 });
                    found.unreadable += 1;
                }
            }
        }
        found.slots = slots.slots.len();
        Ok((slots, found))
    }

    fn take_in(&mut self, index: usize, bytes: &[u8; SLOT], found: &mut Found) {
        let halves = [&bytes[..PAGE], &bytes[PAGE..]];
        let read = [0, 1].map(|half| decode(halves[half], index, half));
        let damaged =
            [0, 1].map(|half| read[half].is_none() && halves[half].iter().any(|b| *b != 0));
        let newest = match &read {
            [Some((a, _)), Some((b, _))] => Some(usize::from(b > a)),
            [Some(_), None] => Some(0),
            [None, Some(_)] => Some(1),
            [None, None] => None,
        };
        let Some(half) = newest else {
            self.slots.push(Newest { number: 0, half: 1 });
            // A slot whose second page is blank was never latched: its making was cut short.
            if damaged[1] {
                found.unreadable += 1;
            } else {
                self.free.insert(index);
            }
            return;
        };
        let (number, page) = read[half].clone().expect("the newest page was read");
        self.slots.push(Newest { number, half });
        let Some(rollout) = page.rollout().map(str::to_owned) else {
            self.free.insert(index);
            return;
        };
        if damaged[1 - half] {
            found.doubtful.push(rollout.clone());
        }
        if let Page::Latched(latch) = page {
            found.latches.push(latch);
        }
        self.by_rollout.insert(rollout, index);
    }

    /// Keeps a slot for a rollout with this key; one that it has already is kept on. Durable after [`sync`](Self::sync).
    pub(super) fn reserve(&mut self, rollout: &str, key: &str) -> Result<(), SlotError> {
        fits(rollout, key)?;
        if self.by_rollout.contains_key(rollout) {
            return Ok(());
        }
        let index = self.free_slot()?;
        let rollout = rollout.to_owned();
        self.write(index, Page::Kept { rollout })
    }

    /// Writes a latch into its rollout's slot; durable after [`sync`](Self::sync).
    pub(super) fn latch(&mut self, latch: &Latch) -> Result<(), SlotError> {
        let index = match self.by_rollout.get(&latch.rollout) {
            Some(index) => *index,
            None => {
                fits(&latch.rollout, &latch.key)?;
                self.free_slot()?
            }
        };
        self.write(index, Page::Latched(fitting(latch)?))
    }

    /// Gives a rollout's slot back, with the latch in it.
    pub(super) fn free(&mut self, rollout: &str) -> Result<(), SlotError> {
        match self.by_rollout.get(rollout) {
            Some(index) => self.write(*index, Page::Free),
            None => Ok(()),
        }
    }

    /// Sees to it that another slot can be had.
    pub(super) fn make_room(&mut self) -> Result<(), SlotError> {
        if self.free.is_empty() && self.slots.len() < LATCH_SLOTS {
            self.grow()?;
        }
        Ok(())
    }

    /// Whether this rollout's slot was written since the last sync: it cannot be again before the next one.
    pub(super) fn is_unsynced(&self, rollout: &str) -> bool {
        self.unsynced
            .values()
            .any(|(_, page)| page.rollout() == Some(rollout))
            || self
                .by_rollout
                .get(rollout)
                .is_some_and(|index| self.unsynced.contains_key(index))
    }

    /// Makes durable what was written. Where that fails nothing counts as written: the system forgets what it could
    /// not write, so it must be written again.
    pub(super) fn sync(&mut self) -> Result<(), SlotError> {
        let written = std::mem::take(&mut self.unsynced);
        if written.is_empty() {
            return Ok(());
        }
        self.steps.take(Step::LatchSync);
        self.file.sync_data()?;
        for (index, (newest, page)) in written {
            self.slots[index] = newest;
            self.by_rollout.retain(|_, kept| *kept != index);
            match page.rollout() {
                Some(rollout) => {
                    self.free.remove(&index);
                    self.by_rollout.insert(rollout.to_owned(), index);
                }
                None => {
                    self.free.insert(index);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, index: usize, page: Page) -> Result<(), SlotError> {
        let newest = self.slots[index];
        let next = Newest {
            number: newest.number + 1,
            half: 1 - newest.half,
        };
        let bytes = encode(&page, next.number, index, next.half)?;
        self.steps.take(match page {
            Page::Latched(_) => Step::LatchWrite,
            Page::Kept { .. } | Page::Free => Step::Reserve,
        });
        self.file.write_all_at(&bytes, offset(index, next.half))?;
        self.unsynced.insert(index, (next, page));
        Ok(())
    }

    fn free_slot(&mut self) -> Result<usize, SlotError> {
        let unused = |slots: &Self| {
            let mut free = slots.free.iter().copied();
            free.find(|index| !slots.unsynced.contains_key(index))
        };
        if let Some(index) = unused(self) {
            return Ok(index);
        }
        self.grow()?;
        unused(self).ok_or(SlotError::NoneFree)
    }

    /// Adds blank slots. They are written, not only promised: a disk may promise what it has no room for.
    fn grow(&mut self) -> Result<(), SlotError> {
        let from = self.slots.len();
        let to = (from + GROWTH).min(LATCH_SLOTS);
        if to == from {
            return Err(SlotError::NoneFree);
        }
        let blank = vec![0; (to - from) * SLOT];
        let grown = self
            .file
            .write_all_at(&blank, offset(from, 0))
            // The new length is made durable as well.
            .and_then(|()| self.file.sync_all());
        if let Err(error) = grown {
            // What is left of it would be room that nobody uses. Where this fails too it is written over later.
            let _ = self.file.set_len(offset(from, 0));
            return Err(error.into());
        }
        self.free.extend(from..to);
        self.slots.resize(to, Newest { number: 0, half: 1 });
        Ok(())
    }
}

fn offset(index: usize, half: usize) -> u64 {
    (index * SLOT + half * PAGE) as u64
}

/// A page belongs to its place: one that turns up elsewhere is damaged.
fn place(index: usize, half: usize) -> [u8; 8] {
    offset(index, half).to_le_bytes()
}

fn encode(page: &Page, number: u64, index: usize, half: usize) -> Result<Vec<u8>, SlotError> {
    let content = serde_json::to_vec(page).map_err(io::Error::from)?;
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    if content.len() > ROOM {
        return Err(SlotError::TooLong(content.len()));
    }
    let mut plain = Vec::with_capacity(PAGE);
    plain.extend_from_slice(&number.to_le_bytes());
    plain.extend_from_slice(&length.to_le_bytes());
    plain.extend_from_slice(&content);
    plain.resize(PAGE - 8, 0);
    Ok(frame(&place(index, half), &plain))
}

fn decode(bytes: &[u8], index: usize, half: usize) -> Option<(u64, Page)> {
    let plain = unframe(&place(index, half), bytes)?;
    let (number, rest) = plain.split_first_chunk::<8>()?;
    let (length, content) = rest.split_first_chunk::<4>()?;
    let content = content.get(..u32::from_le_bytes(*length) as usize)?;
    let page = serde_json::from_slice(content).ok()?;
    Some((u64::from_le_bytes(*number), page))
}

/// Whether a latch of this rollout will have room, with a reason.
fn fits(rollout: &str, key: &str) -> Result<(), SlotError> {
    let longest = Page::Latched(Latch {
        rollout: rollout.to_owned(),
        key: key.to_owned(),
        attempt: u32::MAX,
        at: Timestamp::MIN,
        reason: "x".repeat(REASON_BYTES),
    });
    let length = serde_json::to_vec(&longest).map_err(io::Error::from)?.len();
    if length > ROOM {
        return Err(SlotError::TooLong(length));
    }
    Ok(())
}

/// The latch, with as much of its reason as has room. Some characters are longer in JSON than in memory, so the right
/// length is found by trying.
fn fitting(latch: &Latch) -> Result<Latch, SlotError> {
    let cut = |keep: usize| {
        let keep = latch.reason.floor_char_boundary(keep);
        Latch {
            reason: latch.reason[..keep].to_owned(),
            ..latch.clone()
        }
    };
    let length = |latch: Latch| -> Result<usize, SlotError> {
        let page = serde_json::to_vec(&Page::Latched(latch)).map_err(io::Error::from)?;
        Ok(page.len())
    };
    let shortest = length(cut(0))?;
    if shortest > ROOM {
        return Err(SlotError::TooLong(shortest));
    }
    let (mut fits, mut beyond) = (0, latch.reason.len().min(ROOM) + 1);
    while beyond - fits > 1 {
        let middle = usize::midpoint(fits, beyond);
        if length(cut(middle))? <= ROOM {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(cut(fits))
}
