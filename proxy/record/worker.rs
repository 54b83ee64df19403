//! The end of the ledger that a worker writes: its own cells, found without a lock and counted without sharing.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "taken at the first use of a series and at a scrape, never to count"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::ids::OTHER;
use crate::record::rollouts::{RolloutCell, Rollouts};
use crate::record::tally::{Tally, bump, shift};
use crate::record::{
    Assignment, Ended, Handshake, ListenerId, Measure, Outcome, Reason, RolloutId, RouteId,
    VersionId,
};

/// Series that one worker tells apart; what comes later is counted under `(other)`. Reached only where a service
/// answers with hundreds of different statuses on thousands of routes.
const SERIES_MAX: usize = 100_000;

/// Which listener, route and version an exchange belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Series {
    /// Where it came in.
    pub listener: ListenerId,
    /// What it matched.
    pub route: RouteId,
    /// Where it was sent: the version that was chosen, also where another one answered in its place.
    pub version: VersionId,
}

/// A series and a status, packed: the labels of one line of `tidegate_requests_total`. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey(u64);

impl SeriesKey {
    fn new(series: Series, status: u16) -> Self {
        // Statuses have three digits; anything else would be a mistake of ours, and must not become a label.
        let status = status.clamp(100, 999);
        Self(
            u64::from(series.listener.0) << 48
                | u64::from(series.route.0) << 32
                | u64::from(series.version.0) << 16
                | u64::from(status),
        )
    }

    pub(crate) fn series(self) -> Series {
        let part = |shift: u32| (self.0 >> shift) as u16;
        Series {
            listener: ListenerId(part(48)),
            route: RouteId(part(32)),
            version: VersionId(part(16)),
        }
    }

    pub(crate) fn status(self) -> u16 {
        self.0 as u16
    }
}

/// A counter on a cache line of its own: the next one on the heap may belong to another worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Count(pub(crate) AtomicU64);

/// One worker's counts of one listener.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Door {
    pub(crate) connections: AtomicI64,
    pub(crate) refusals: [AtomicU64; Reason::COUNT],
    pub(crate) handshakes: [AtomicU64; Handshake::ALL.len()],
}

impl Default for Door {
    fn default() -> Self {
        Self {
            connections: AtomicI64::new(0),
            refusals: std::array::from_fn(|_| AtomicU64::new(0)),
            handshakes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Every cell of one worker: where control finds them.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    lent: AtomicBool,
    pub(crate) rollouts: Arc<Rollouts>,
    #[expect(
        clippy::disallowed_types,
        reason = "taken at the first use of a series and at a scrape, never to count"
    )]
    cells: Mutex<Cells>,
}

/// The cells of a shard, by what they count.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub(crate) requests: HashMap<SeriesKey, Arc<Count>>,
    pub(crate) versions: HashMap<VersionId, Arc<Tally>>,
    pub(crate) listeners: HashMap<ListenerId, Arc<Door>>,
    pub(crate) rollouts: HashMap<RolloutId, Arc<RolloutCell>>,
}

impl Shard {
    /// With what it has in common with the others.
    pub(crate) fn new(rollouts: Arc<Rollouts>) -> Self {
        Self {
            rollouts,
            ..Self::default()
        }
    }

    pub(crate) fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one worker counts with. It stays on its thread; a clone is another handle to the same cells.
///
/// Every call is a look-up in tables of this worker alone and a load and a store for each number: no lock, no
/// read-modify-write, and no allocation after the first use of a series.
#[derive(Clone)]
pub struct WorkerLedger(Rc<Desk>);

struct Desk {
    shard: Arc<Shard>,
    requests: RefCell<Found>,
    /// By version id.
    versions: RefCell<Vec<Option<Arc<Tally>>>>,
    /// By listener id.
    listeners: RefCell<Vec<Option<Arc<Door>>>>,
    /// By rollout id.
    rollouts: RefCell<Vec<Option<Arc<RolloutCell>>>>,
    full_said: Cell<bool>,
}

impl WorkerLedger {
    /// Takes a shard; `None` if somebody has it, since two writers would lose counts.
    pub(crate) fn take(shard: &Arc<Shard>) -> Option<Self> {
        if shard.lent.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(Self(Rc::new(Desk {
            shard: Arc::clone(shard),
            requests: RefCell::new(Found::new()),
            versions: RefCell::default(),
            listeners: RefCell::default(),
            rollouts: RefCell::default(),
            full_said: Cell::new(false),
        })))
    }

    /// Counts an exchange that has ended: the request, its duration, and its failure if the version is to blame.
    pub fn settle(&self, series: Series, outcome: &Outcome) {
        self.settle_request(series, outcome.status);
        self.settle_version(series.version, outcome);
    }

    /// Counts the request alone, by the status that its caller saw.
    pub(crate) fn settle_request(&self, series: Series, status: u16) {
        let mut key = SeriesKey::new(series, status);
        let mut requests = self.0.requests.borrow_mut();
        if requests.len >= SERIES_MAX && requests.find(key).is_err() {
            key = self.one_too_many(key);
        }
        let count = requests
            .find(key)
            .unwrap_or_else(|found| found.keep(key, self.first_request(key)));
        bump(&count.0, 1);
    }

    /// Counts what a version did: its time, and its failure if it is to blame.
    pub(crate) fn settle_version(&self, version: VersionId, outcome: &Outcome) {
        if version != VersionId::NONE {
            self.with_tally(version, |tally| tally.settle(outcome));
        }
    }

    /// Counts a refusal. A refused request that was read far enough to be answered is settled as well.
    pub fn refuse(&self, listener: ListenerId, reason: Reason) {
        self.with_door(listener, |door| bump(&door.refusals[reason as usize], 1));
    }

    /// Counts a TLS handshake that has ended.
    pub fn shook(&self, listener: ListenerId, how: Handshake) {
        self.with_door(listener, |door| bump(&door.handshakes[how as usize], 1));
    }

    /// Counts connections of callers: +1 when one is accepted, -1 when it is closed, on the same worker.
    pub fn connections(&self, listener: ListenerId, delta: i64) {
        self.with_door(listener, |door| shift(&door.connections, delta));
    }

    /// Counts connections to a version's endpoints, likewise.
    pub fn upstream_connections(&self, version: VersionId, delta: i64) {
        self.with_tally(version, |tally| shift(&tally.connections, delta));
    }

    /// Counts a request of this version that another version answers in its place.
    pub fn fallback(&self, version: VersionId) {
        self.with_tally(version, |tally| bump(&tally.fallbacks, 1));
    }

    /// Counts a request of a rollout that has ended, and tells the judge of it where he should know.
    pub fn weigh(&self, assignment: &Assignment, measure: &Measure, ended: &Ended) {
        let queue = &self.0.shard.rollouts.queue;
        self.with_rollout(assignment.rollout, |cell| {
            cell.weigh(assignment, measure, ended, || fastrand::u64(..), queue);
        });
    }

    /// Counts a copy that a candidate was sent, and of which nobody saw the answer.
    pub fn weigh_mirrored(&self, id: RolloutId, attempt: u32, measure: &Measure, ended: &Ended) {
        self.with_rollout(id, |cell| cell.weigh_mirrored(attempt, measure, ended));
    }

    #[cold]
    fn first_request(&self, key: SeriesKey) -> Arc<Count> {
        Arc::clone(self.0.shard.cells().requests.entry(key).or_default())
    }

    #[cold]
    fn one_too_many(&self, key: SeriesKey) -> SeriesKey {
        if !self.0.full_said.replace(true) {
            tracing::warn!(
                max = SERIES_MAX,
                "more combinations of listener, route, version and status than metrics can tell apart ({SERIES_MAX}); \
                 new ones are counted together as {OTHER}"
            );
        }
        let other = Series {
            listener: ListenerId::OTHER,
            route: RouteId::OTHER,
            version: VersionId::OTHER,
        };
        SeriesKey::new(other, key.status())
    }

    fn with_tally(&self, id: VersionId, count: impl FnOnce(&Tally)) {
        with_cell(&self.0.versions, id.0, count, || {
            Arc::clone(self.0.shard.cells().versions.entry(id).or_default())
        });
    }

    fn with_rollout(&self, id: RolloutId, count: impl FnOnce(&RolloutCell)) {
        let shard = &self.0.shard;
        with_cell(&self.0.rollouts, id.0, count, || {
            let new = || Arc::new(RolloutCell::new(shard.rollouts.get(id)));
            Arc::clone(shard.cells().rollouts.entry(id).or_insert_with(new))
        });
    }

    fn with_door(&self, id: ListenerId, count: impl FnOnce(&Door)) {
        with_cell(&self.0.listeners, id.0, count, || {
            Arc::clone(self.0.shard.cells().listeners.entry(id).or_default())
        });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shard.lent.store(false, Ordering::Release);
    }
}

impl fmt::Debug for WorkerLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLedger").finish_non_exhaustive()
    }
}

/// The cell at an index; made and registered at its first use.
fn with_cell<T>(
    cells: &RefCell<Vec<Option<Arc<T>>>>,
    at: u16,
    count: impl FnOnce(&T),
    first: impl FnOnce() -> Arc<T>,
) {
    let at = usize::from(at);
    if let Some(Some(cell)) = cells.borrow().get(at) {
        return count(cell);
    }
    let cell = first();
    count(&cell);
    let mut cells = cells.borrow_mut();
    if cells.len() <= at {
        cells.resize(at + 1, None);
    }
    cells[at] = Some(cell);
}

/// The request counters that this worker has used: open addressing over the packed key, at most half full.
struct Found {
    slots: Vec<Option<(SeriesKey, Arc<Count>)>>,
    len: usize,
}

impl Found {
    fn new() -> Self {
        Self {
            slots: vec![None; 64],
            len: 0,
        }
    }

    /// Where the key is, or is to be.
    fn at(&self, key: SeriesKey) -> usize {
        let mask = self.slots.len() - 1;
        // Fibonacci hashing: the product spreads every part of the key to the top bits, and only to those.
        let spread = key.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut at = (spread >> (64 - self.slots.len().trailing_zeros())) as usize;
        while self.slots[at]
            .as_ref()
            .is_some_and(|(held, _)| *held != key)
        {
            at = (at + 1) & mask;
        }
        at
    }

    fn find(&mut self, key: SeriesKey) -> Result<&Count, &mut Self> {
        let at = self.at(key);
        if self.slots[at].is_none() {
            return Err(self);
        }
        Ok(self.slots[at]
            .as_ref()
            .map(|(_, count)| &**count)
            .expect("the slot was just seen taken"))
    }

    fn keep(&mut self, key: SeriesKey, count: Arc<Count>) -> &Count {
        if (self.len + 1) * 2 > self.slots.len() {
            let bigger = vec![None; self.slots.len() * 2];
            for (key, count) in std::mem::replace(&mut self.slots, bigger)
                .into_iter()
                .flatten()
            {
                let at = self.at(key);
                self.slots[at] = Some((key, count));
            }
        }
        self.len += 1;
        let at = self.at(key);
        &self.slots[at].insert((key, count)).1
    }
}
