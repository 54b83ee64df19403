//! The book of all rollouts. Whoever wants something of a rollout comes here: the judge with what the workers saw, the
//! controller with an edit, the API with an order or a question.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
#[expect(
    clippy::disallowed_types,
    reason = "control alone takes it; the request path reads the snapshot"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidegate_config::Config;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use super::lent::Own;
use super::recalled::Recalled;
use super::running::Running;
use super::told::{Event, History};
use super::view;
use crate::control::decisions::Decisions;
use crate::control::gates::Gates;
use crate::control::journal::{Entry, Journal, Restored};
use crate::control::prometheus::Queries;
use crate::record::{Incident, Ledger, Metrics, RolloutState};
use crate::release::{Forbidden, Order};
use crate::snapshot::{InForce, Live, Snapshot};

/// A look counts at most so much of the time since the last one as held: a process that slept did not watch.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// All rollouts of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Releases(Arc<Shared>);

/// What the book works with.
#[derive(Debug)]
pub(super) struct Shared {
    #[expect(
        clippy::disallowed_types,
        reason = "control alone takes it; the request path reads the snapshot"
    )]
    book: Mutex<Book>,
    /// Itself, for what is told later.
    pub me: Weak<Self>,
    pub live: Live,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<Metrics>,
    /// Where it is remembered.
    pub own: Own,
    pub gates: Gates,
    pub queries: Queries,
    pub decisions: Option<Decisions>,
}

/// What is behind the lock.
#[derive(Debug)]
pub(super) struct Book {
    /// In force.
    pub config: Arc<Config>,
    pub revision: u64,
    /// The rollouts of the file, in its order.
    pub running: Vec<Running>,
    /// Those that have left the file, until that is told.
    pub parting: Vec<Running>,
    /// What the request path knows of each, in the same order.
    pub in_force: Vec<InForce>,
    /// What is known of rollouts that are not in the file, or were not yet.
    pub recalled: Recalled,
    pub history: History,
    /// Numbers what is under way.
    pub ticket: u64,
    pub looked: Instant,
    pub noted: Instant,
    /// The process that decides from now on: nothing moves here any more.
    pub heir: Option<u32>,
}

/// What the book is made of.
#[derive(Debug)]
pub struct Parts {
    /// The pointer to the snapshot in force.
    pub live: Live,
    /// What the workers count in.
    pub ledger: Arc<Ledger>,
    /// What is told of it.
    pub metrics: Arc<Metrics>,
    /// Where it is remembered; `None` where the state directory cannot be written, and nothing is guarded.
    pub journal: Option<Journal>,
    /// Where decisions are written down.
    pub decisions: Option<Decisions>,
    /// Control's runtime: gates and metrics stores are asked on it.
    pub runtime: Handle,
}

/// Who wants something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `engine`, `file`, or a person: the role of the token, or a name.
    pub name: String,
    /// In their own words.
    pub words: String,
}

impl Actor {
    /// The proxy itself.
    pub fn engine() -> Self {
        Self {
            name: "engine".to_owned(),
            words: String::new(),
        }
    }

    /// An edit of the file.
    pub fn file() -> Self {
        Self {
            name: "file".to_owned(),
            words: String::new(),
        }
    }
}

/// An order that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered(u64);

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum NotSo {
    /// No rollout has this name.
    #[error("there is no rollout {asked:?}; there is {}", told(there))]
    Unknown {
        /// As asked.
        asked: String,
        /// The names that there are.
        there: Vec<String>,
    },
    /// Not as it stands.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Not here any more.
    #[error("process {0} has taken over and decides from now on: ask again")]
    HandedOver(u32),
}

fn told(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The time since the Unix epoch.
pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Releases {
    /// Opens the book: every rollout of the snapshot in force is put where `restored` says that it stood, told, and then
    /// published. Nobody is on any candidate before.
    pub fn open(parts: Parts, restored: Restored) -> Self {
        let Parts {
            live,
            ledger,
            metrics,
            journal,
            decisions,
            runtime,
        } = parts;
        let first = live.current();
        let mut restored = restored;
        let history = History::new(std::mem::take(&mut restored.history));
        let book = Book {
            config: Arc::clone(&first.config),
            revision: first.revision,
            running: Vec::new(),
            parting: Vec::new(),
            in_force: Vec::new(),
            recalled: Recalled::new(restored),
            history,
            ticket: 0,
            looked: Instant::now(),
            noted: Instant::now(),
            heir: None,
        };
        #[expect(
            clippy::disallowed_types,
            reason = "control alone takes it; the request path reads the snapshot"
        )]
        let shared = Arc::new_cyclic(|me| Shared {
            book: Mutex::new(book),
            me: me.clone(),
            live,
            ledger,
            metrics,
            own: Own::new(journal),
            gates: Gates::new(runtime.clone()),
            queries: Queries::new(runtime),
            decisions,
        });
        shared.reconcile(&mut shared.book(), (*first).clone());
        Self(shared)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Whether rollouts can be remembered; without that there must be none.
    pub fn can_remember(&self) -> bool {
        self.0.own.is_there()
    }

    /// Puts an edit in force, with the weights that its rollouts have at this moment.
    pub fn put_in_force(&self, snapshot: Snapshot) {
        self.0.reconcile(&mut self.0.book(), snapshot);
    }

    /// Takes in what the workers could not wait to tell, and acts at once.
    pub(super) fn stir(&self, incidents: &[Incident]) {
        let mut book = self.0.book();
        if book.heir.is_none() {
            self.0.hear(&mut book, incidents);
        }
    }

    /// Looks at every rollout.
    pub(super) fn look(&self) {
        let mut book = self.0.book();
        if book.heir.is_some() {
            return;
        }
        let elapsed = book.looked.elapsed().min(LONGEST_LOOK);
        book.looked = Instant::now();
        for at in 0..book.running.len() {
            self.0.guarded(&mut book, at, |shared, book| {
                shared.look_at(book, at, elapsed);
            });
        }
        self.0.tell_late_of_parted(&mut book);
        self.0.ask_around(&book);
        self.0.save(&mut book, false);
    }

    /// Carries an order out, or says why not. What it has led to is to be seen when [`Self::is_told`] says so.
    ///
    /// # Errors
    /// Where there is no such rollout, or it cannot be done as it stands.
    pub fn order(&self, name: &str, order: Order, actor: &Actor) -> Result<Ordered, NotSo> {
        let mut book = self.0.book();
        if let Some(heir) = book.heir {
            return Err(NotSo::HandedOver(heir));
        }
        let at = position(&book, name)?;
        self.0.obey(&mut book, at, order, actor)?;
        Ok(Ordered(book.ticket))
    }

    /// Whether all that this order has led to was announced: it is on the disk by then, or the disk does not answer.
    pub fn is_told(&self, name: &str, ordered: &Ordered) -> bool {
        let book = self.0.book();
        let running = book.position(name).map(|at| &book.running[at]);
        running.is_none_or(|running| running.telling.iter().all(|one| one.ticket > ordered.0))
    }

    /// A rollout as the API shows it.
    ///
    /// # Errors
    /// Where there is no such rollout.
    pub fn view(&self, name: &str) -> Result<Value, NotSo> {
        let book = self.0.book();
        let at = position(&book, name)?;
        Ok(view::rollout(&self.0, &book, at))
    }

    /// Every rollout of the file, in its order.
    pub fn views(&self) -> Vec<Value> {
        let book = self.0.book();
        (0..book.running.len())
            .map(|at| view::rollout(&self.0, &book, at))
            .collect()
    }

    /// What metrics tell of every rollout.
    pub fn states(&self) -> Vec<RolloutState> {
        let book = self.0.book();
        book.running.iter().map(view::state).collect()
    }

    /// The history, of one rollout or of all, oldest first. A rollout may have left the file.
    pub fn history(&self, rollout: Option<&str>) -> Vec<Entry> {
        self.0.book().history.entries(rollout)
    }

    /// Everything that happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.book().history.listen()
    }

    /// Tells whoever listens of an edit.
    pub fn tell_edit(&self, body: Value) {
        self.0.book().history.edit(body);
    }

    /// Writes down what is known, and closes the journal.
    pub fn close(&self, within: Duration) {
        let mut book = self.0.book();
        self.0.save(&mut book, true);
        drop(book);
        if let Some(journal) = self.0.own.journal()
            && !journal.close(within)
        {
            tracing::warn!(
                "the journal could not be written to its end within {within:?}; at most the last second of time held is lost"
            );
        }
    }
}

fn position(book: &Book, name: &str) -> Result<usize, NotSo> {
    book.position(name).ok_or_else(|| NotSo::Unknown {
        asked: name.to_owned(),
        there: book
            .running
            .iter()
            .map(|running| running.name.clone())
            .collect(),
    })
}

impl Shared {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // A change is put into the book when it is whole; who panicked before has left the old state there.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something about the rollout at `at`. A fault of the program in it is told once, and holds up no other rollout.
    pub(super) fn guarded(&self, book: &mut Book, at: usize, work: impl FnOnce(&Self, &mut Book)) {
        // Nothing is half done afterwards that matters: a state is put in its place when it is whole.
        let Err(fault) = catch_unwind(AssertUnwindSafe(|| work(self, book))) else {
            return;
        };
        let Some(running) = book.running.get_mut(at) else {
            return;
        };
        if std::mem::replace(&mut running.faulty, true) {
            return;
        }
        let words = fault
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| fault.downcast_ref::<String>().cloned());
        let name = running.name.clone();
        let line = format!(
            "{name}: a fault of tidegate while it was judged: {}; it stays at {} and may not be guarded: `tidegate rollout \
             rollback {name}` takes everybody back; please report this",
            words.as_deref().unwrap_or("no words"),
            running.state.weight(),
        );
        tracing::error!(rollout = name, "{line}");
        book.history.alert(&name, &line);
    }
}

impl Book {
    /// The place of a rollout, by its name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.running.iter().position(|running| running.name == name)
    }

    /// A number that nothing else under way has.
    pub(super) fn next_ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }
}
