//! The composition root: everything is made here and handed to whoever needs it. Read it downwards, it is the life of
//! the process: file, first snapshot, workers, addresses, journal, rollouts, ready, serve, leave.
//!
//! - `start`: what a process begins with, also what another one hands over
//! - `succession`: another process takes over from this one
//! - `upgrade`: a signal starts that other process
//! - `leaving`: the end

mod leaving;
mod start;
mod succession;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_config::{self as config, Problem, Watch};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::control::admin::api::{Api, Parts};
use crate::control::admin::server::{Door, Server};
use crate::control::compile::compile;
use crate::control::controller::{Accepted, Controller, Doors, ORDERS_WAITING, Order};
use crate::control::fixed::Fixed;
use crate::control::journal::OpenError;
use crate::control::machine::{self, CannotBind};
use crate::control::releases::{self, Judge, Releases};
use crate::control::standing::{FileState, Phase, Standing};
use crate::handover::{NoHandover, Successor, notify};
use crate::listen::{BindFailure, Workers, workers};
use crate::record::{AccessLog, Ledger, Metrics};
use crate::snapshot::Live;
use crate::upstream::probe::Probes;
use succession::Porter;
use upgrade::Upgrade;

pub use upgrade::Again;

/// The longest that the end waits for the journal.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The longest that the end waits for the access log's last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the process is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file.
    pub config: PathBuf,
    /// Where rollouts are remembered, whatever the file says.
    pub state_dir: Option<PathBuf>,
    /// Another process runs, and this one takes over from it.
    pub take_over: bool,
    /// How the next one is started that takes over from this one; `None` where a signal does not do that.
    pub again: Option<Again>,
}

/// Something that the world outside wants of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Leave, in good order; a second one: at once.
    Leave,
    /// Read the file again.
    Reload,
    /// Open the access log again.
    ReopenLog,
    /// Start the program again: the new process takes over.
    Upgrade,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every request was answered.
    Clean,
    /// So many connections were cut: the deadline passed.
    Cut(usize),
    /// A second signal came.
    AtOnce,
    /// A worker fell; the others drained.
    Broken,
}

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("the file has problems")]
    Problems(Vec<Problem>),
    /// An address or a file that it names cannot be had.
    #[error("an address cannot be bound, or a log not opened")]
    Machine(Vec<Problem>),
    /// Rollouts have nowhere to be remembered.
    #[error(
        "{0}; the file guards {1}, and what is rolled back must stay so: give a directory that can be written, by --state-dir or \
         runtime.state_dir"
    )]
    State(#[source] OpenError, String),
    /// The process that runs already does not hand over.
    #[error("{0}")]
    NoHandover(#[from] NoHandover),
    /// The system gives no threads.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] io::Error),
}

/// The process.
#[derive(Debug)]
pub struct App;

/// A process whose every address is bound. It answers from now on.
pub struct Bound {
    /// Where each listener is bound, by name.
    pub addresses: Vec<(String, SocketAddr)>,
    /// Where the admin API is bound.
    pub admin_address: SocketAddr,
    /// Where probes are answered, where the file names an extra address.
    pub probes_address: Option<SocketAddr>,
    controller: Controller<WorkerDoors>,
    judge: Judge,
    orders: mpsc::Sender<Order>,
    waiting: mpsc::Receiver<Order>,
    fallen: watch::Receiver<bool>,
    admin: Server,
    state_dir: PathBuf,
    porter: Option<Porter>,
    upgrade: Upgrade,
}

impl App {
    /// Starts everything, up to the last listener. Must be called within a runtime: control's own, which no worker shares.
    ///
    /// First all that can be done beside a running process, then what that one hands over, where there is one; then all
    /// that can still fail; last what cannot. Until then a process that hands over can still go on.
    ///
    /// # Errors
    /// Where the process cannot do what the file says; then nothing is left behind.
    pub async fn bind(options: Options) -> Result<Bound, StartError> {
        let file = options.config.clone();
        let (config, read) = start::load(&file)?;
        let state_dir = start::state_dir(&options, &config);
        let count = config.runtime.workers.unwrap_or_else(start::cores).get();
        let ledger = Ledger::new(count);
        let metrics = Arc::new(Metrics::new(Arc::clone(&ledger), 1));
        let not_ours = |problem| StartError::Machine(vec![read.place(problem)]);
        let regions = machine::open_regions(&config, &file)
            .map_err(|problem| StartError::Problems(vec![read.place(*problem)]))?;
        let live = Live::new(compile(Arc::clone(&config), regions, 1, None, &ledger));
        let access_log =
            Arc::new(AccessLog::start(metrics.log_dropped()).map_err(StartError::Threads)?);
        let opened = access_log.reconfigure(config.access_log.as_ref());
        opened.map_err(|error| not_ours(machine::cannot_open_log(&file, &error)))?;
        let workers =
            Workers::start(count, &live, &ledger, &access_log).map_err(StartError::Threads)?;
        let fallen = workers.fallen();

        let (predecessor, mut heritage) = start::meet(options.take_over, &state_dir).await?.unzip();
        let (admin_door, probe_door) = start::bind_admin(&config, &file, &mut heritage)
            .map_err(|problem| not_ours(*problem))?;
        let (bell, mut inherited) = heritage
            .map(|heritage| (heritage.bell, heritage.listeners))
            .unzip();
        let handed_over = inherited.get_or_insert_default();
        let came: usize = handed_over.iter().map(|known| known.sockets.len()).sum();
        let places: Vec<_> = handed_over.iter().map(|known| known.place).collect();
        let (mut doors, bound) =
            start::bind_listeners(workers, &config, &file, &read, handed_over).await?;
        // What the file does not name is closed here, before anybody else closes it.
        let left: Vec<_> = std::mem::take(handed_over);
        let sockets = came - left.iter().map(|known| known.sockets.len()).sum::<usize>();
        let left: Vec<_> = left.into_iter().map(|known| known.place).collect();
        // Weights are those of the journal before anybody can ask for a page.
        let (journal, mut restored, decisions) = start::open_journal(&state_dir, &config)?;
        let bell = start::doorbell(bell, journal.is_some(), &state_dir);
        let predecessor = match predecessor {
            None => None,
            Some(predecessor) => {
                let taken = places.into_iter().filter(|place| !left.contains(place));
                Some(start::succeed(predecessor, taken.collect(), &mut restored).await?)
            }
        };

        let releases = Releases::open(
            releases::Parts {
                live: live.clone(),
                ledger: Arc::clone(&ledger),
                metrics: Arc::clone(&metrics),
                journal,
                decisions,
                runtime: Handle::current(),
            },
            restored,
        );
        let incidents = ledger.incidents().expect("the ledger is new");
        let judge = Judge::start(releases.clone(), incidents).map_err(StartError::Threads)?;
        let first = FileState {
            ok: true,
            revision: 1,
            loaded_at: Timestamp::now(),
            problems: read.problems.clone(),
        };
        let standing = Arc::new(Standing::new(&file, first));
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING);
        let (admin_address, probes_address) =
            (admin_door.address(), probe_door.as_ref().map(Door::address));
        let api = Api::new(Parts {
            live: live.clone(),
            ledger: Arc::clone(&ledger),
            metrics: Arc::clone(&metrics),
            standing: Arc::clone(&standing),
            releases: releases.clone(),
            orders: orders.clone(),
            bound: admin_address,
            workers: count,
        });
        // It answers already: readiness says "starting" until the listeners are open.
        let admin = admin_door.open(api.router());
        tracing::info!(address = %admin_address, "admin listening");
        let probe_server = probe_door.map(|door| door.open(api.probe_router()));
        doors.listen(&config.listeners, bound).await;
        let addresses = doors.addresses();
        standing.set_listeners(addresses.clone());
        let mut probes = Probes::default();
        probes.follow(live.current().services.iter().flatten());
        standing.enter(Phase::Serving);
        tracing::info!(
            revision = 1,
            workers = count,
            "revision 1 in force: every listener is bound"
        );
        if let Some(predecessor) = predecessor {
            let pid = predecessor.pid();
            tracing::info!(
                predecessor = pid,
                sockets,
                "took over {sockets} sockets from process {pid} (tidegate {})",
                predecessor.version()
            );
            start::serve_after(predecessor, releases.clone());
        }
        notify::ready();
        let porter = bell.map(|bell| Porter::new(bell, &orders));
        let controller = Controller {
            watch: Watch::start(&file, &read),
            live,
            releases,
            ledger,
            metrics,
            standing,
            doors,
            access_log,
            probes,
            fixed: Fixed::of(&config),
            api,
            probe_server,
            accepted: Accepted {
                fingerprint: read.fingerprint,
                warnings: read.problems,
            },
        };
        Ok(Bound {
            addresses,
            admin_address,
            probes_address,
            controller,
            judge,
            orders,
            waiting,
            fallen,
            admin,
            state_dir,
            porter,
            upgrade: Upgrade::new(options.again),
        })
    }
}

impl Bound {
    /// Serves until a signal says to leave, another process has taken over, or a worker falls; then drains. A fallen worker
    /// is not replaced: what broke it is unknown, and whoever started the process starts a whole one.
    pub async fn serve(mut self, mut signals: mpsc::Receiver<Signal>) -> End {
        while let Some(successor) = self.work(&mut signals).await {
            if let Some(heir) = self.hand_over(successor).await {
                return self.drain_behind(heir, signals).await;
            }
            // What was edited meanwhile. Where so many orders wait one of them reads the file.
            let _ = self.orders.try_send(Order::ReadAgain(None));
        }
        self.drain(signals).await
    }

    /// Works until it is to leave, or another process wants to take over.
    async fn work(&mut self, signals: &mut mpsc::Receiver<Signal>) -> Option<Box<Successor>> {
        let mut fallen = self.fallen.clone();
        // Control stops with this function, between two steps: an edit could open a listener that is about to close.
        let mut control = pin!(self.controller.run(&mut self.waiting));
        loop {
            let order = tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => Order::ReadAgain(None),
                    Some(Signal::ReopenLog) => Order::ReopenLog,
                    Some(Signal::Upgrade) => {
                        self.upgrade.begin();
                        continue;
                    }
                    Some(Signal::Leave) | None => return None,
                },
                successor = &mut control => return successor,
                _ = fallen.wait_for(|fallen| *fallen) => return None,
            };
            // Where so many orders wait the file is about to be read anyway; leaving must not wait behind them.
            if self.orders.try_send(order).is_err() {
                tracing::warn!(
                    "control is busy with {ORDERS_WAITING} orders; this signal is not taken"
                );
            }
        }
    }
}

/// The workers, as control sees them.
struct WorkerDoors(Workers);

impl Doors for WorkerDoors {
    type Bound = Vec<workers::Bound>;

    fn bind(&self, wanted: &[config::Listener]) -> Result<Self::Bound, Vec<CannotBind>> {
        self.0
            .bind(wanted)
            .map_err(|failures| failures.into_iter().map(CannotBind::from).collect())
    }

    async fn listen(&mut self, wanted: &[config::Listener], bound: Self::Bound) {
        self.0.listen(wanted, bound).await;
    }

    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.0.addresses()
    }
}

impl From<BindFailure> for CannotBind {
    fn from(failure: BindFailure) -> Self {
        Self {
            listener: failure.listener,
            address: failure.address,
            source: failure.source,
        }
    }
}

#[cfg(test)]
mod tests;
