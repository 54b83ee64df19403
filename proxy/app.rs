//! The composition root: everything is made here and handed to whoever needs it. Read it downwards, it is the life of
//! the process: file, ledger, admin, first snapshot, workers, listeners, ready, serve, drain.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_config::{self as config, Config, Loaded, Problem, Watch};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::control::admin::api::{Api, Parts};
use crate::control::admin::server::{Door, Server};
use crate::control::compile::compile;
use crate::control::controller::{self, Accepted, Controller, Doors, ORDERS_WAITING, Order};
use crate::control::decisions::Decisions;
use crate::control::fixed::Fixed;
use crate::control::journal::{Journal, OpenError, Restored};
use crate::control::machine::{self, CannotBind};
use crate::control::releases::{self, Judge, Releases};
use crate::control::standing::{FileState, Phase, Standing};
use crate::listen::{BindFailure, Workers, workers};
use crate::record::{AccessLog, Ledger, Metrics};
use crate::snapshot::Live;
use crate::upstream::probe::Probes;

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
    _admin: Server,
}

impl App {
    /// Starts everything, up to the last listener. Must be called within a runtime: control's own, which no worker shares.
    ///
    /// # Errors
    /// Where the process cannot do what the file says; then nothing is left behind.
    pub async fn bind(options: Options) -> Result<Bound, StartError> {
        let (file, options_state) = (options.config, options.state_dir);
        let (config, read) = load(&file)?;
        let count = config.runtime.workers.unwrap_or_else(cores);
        let ledger = Ledger::new(count.get());
        let metrics = Arc::new(Metrics::new(Arc::clone(&ledger), 1));
        let not_ours = |problem| StartError::Machine(vec![read.place(problem)]);
        let (admin_door, probe_door) =
            bind_admin(&config, &file).map_err(|problem| not_ours(*problem))?;

        let regions = machine::open_regions(&config, &file)
            .map_err(|problem| StartError::Problems(vec![read.place(*problem)]))?;
        let live = Live::new(compile(Arc::clone(&config), regions, 1, None, &ledger));
        // Weights are those of the journal before anybody can ask for a page.
        let (journal, restored, decisions) = open_journal(&options_state, &file, &config)?;
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
        let access_log =
            Arc::new(AccessLog::start(metrics.log_dropped()).map_err(StartError::Threads)?);
        let opened = access_log.reconfigure(config.access_log.as_ref());
        opened.map_err(|error| not_ours(machine::cannot_open_log(&file, &error)))?;
        let workers = Workers::start(count.get(), &live, &ledger, &access_log)
            .map_err(StartError::Threads)?;

        let problems = read.problems.clone();
        let first = FileState {
            ok: true,
            revision: 1,
            loaded_at: Timestamp::now(),
            problems,
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
            workers: count.get(),
        });
        // It answers already: readiness says "starting" until the listeners are bound.
        let admin = admin_door.open(api.router());
        tracing::info!(address = %admin_address, "admin listening");
        let probe_server = probe_door.map(|door| door.open(api.probe_router()));

        let fallen = workers.fallen();
        let doors = open_listeners(workers, &config, &file, &read).await?;
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
            _admin: admin,
        })
    }
}

impl Bound {
    /// Serves until a signal says to leave, or a worker falls; then drains. A fallen worker is not replaced: what broke
    /// it is unknown, and whoever started the process starts a whole one.
    pub async fn serve(mut self, mut signals: mpsc::Receiver<Signal>) -> End {
        let mut fallen = self.fallen.clone();
        {
            let mut control = pin!(self.controller.run(&mut self.waiting));
            loop {
                let order = tokio::select! {
                    signal = signals.recv() => match signal {
                        Some(Signal::Reload) => Order::ReadAgain(None),
                        Some(Signal::ReopenLog) => Order::ReopenLog,
                        Some(Signal::Leave) | None => break,
                    },
                    () = &mut control => break,
                    _ = fallen.wait_for(|fallen| *fallen) => break,
                };
                // Where so many orders wait the file is about to be read anyway; leaving must not wait behind them.
                if self.orders.try_send(order).is_err() {
                    tracing::warn!(
                        "control is busy with {ORDERS_WAITING} orders; this signal is not taken"
                    );
                }
            }
            // Control stops here, between two steps: an edit could open a listener that is about to close.
        }
        self.drain(signals).await
    }

    async fn drain(self, mut signals: mpsc::Receiver<Signal>) -> End {
        let fallen = self.fallen;
        let Controller {
            live,
            standing,
            access_log,
            releases,
            doors: WorkerDoors(mut workers),
            ..
        } = self.controller;
        let config::Drain { min, max } = live.current().config.runtime.drain;
        // Whoever waits for a reload is told that there will be none.
        drop(self.waiting);
        standing.enter(Phase::Draining);
        let connections = workers.connections();
        if min.is_zero() {
            tracing::info!(
                connections,
                "draining: no longer accepting; what is under way has {max:?}"
            );
        } else {
            tracing::info!(
                connections,
                "draining: accepting for {min:?} more; what is under way has {max:?}"
            );
        }
        let leaving = async {
            workers.leave().await;
            sleep(min).await;
            workers.close().await;
            workers.drained(max.saturating_sub(min)).await
        };
        let end = tokio::select! {
            cut = leaving => if cut == 0 { End::Clean } else { End::Cut(cut) },
            () = second(&mut signals) => End::AtOnce,
        };
        let end = if *fallen.borrow() { End::Broken } else { end };
        match end {
            End::Clean => tracing::info!("drained: every request was answered"),
            End::Cut(cut) => tracing::warn!(
                cut,
                "the drain's deadline passed: {cut} connections are cut"
            ),
            End::AtOnce => tracing::warn!("a second signal: leaving at once"),
            End::Broken => {
                tracing::error!(
                    "leaving because a worker fell: start tidegate again, and report what it said"
                )
            }
        }
        workers.stop().await;
        // The last requests are judged too.
        drop(self.judge);
        releases.close(LAST_WORDS);
        if !access_log.flush(LAST_LINES) {
            tracing::warn!(
                "the access log's last lines could not be written within {LAST_LINES:?}"
            );
        }
        end
    }
}

/// Waits for another signal to leave; for ever where nobody can send one.
async fn second(signals: &mut mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        if signal == Signal::Leave {
            return;
        }
    }
    std::future::pending().await
}

/// The workers, as control sees them.
struct WorkerDoors(Workers);

impl Doors for WorkerDoors {
    type Bound = Vec<workers::Bound>;

    fn bind(&self, wanted: &[config::Listener]) -> Result<Self::Bound, Vec<CannotBind>> {
        let told = |failure: BindFailure| CannotBind {
            listener: failure.listener,
            address: failure.address,
            source: failure.source,
        };
        self.0
            .bind(wanted)
            .map_err(|failures| failures.into_iter().map(told).collect())
    }

    async fn listen(&mut self, wanted: &[config::Listener], bound: Self::Bound) {
        self.0.listen(wanted, bound).await;
    }

    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.0.addresses()
    }
}

/// The file, which must be right at the start, and what reading it found.
fn load(file: &Path) -> Result<(Arc<Config>, Loaded), StartError> {
    let mut loaded = config::load(file).map_err(|source| StartError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    let Some(config) = loaded.config.take() else {
        return Err(StartError::Problems(loaded.problems));
    };
    loaded.problems.iter().for_each(controller::tell);
    Ok((Arc::new(config), loaded))
}

/// The admin API's address, and the one for probes where the file names it.
fn bind_admin(config: &Config, file: &Path) -> Result<(Door, Option<Door>), Box<Problem>> {
    let address = config.admin.address;
    let admin = Door::bind(address)
        .map_err(|error| Box::new(machine::cannot_bind_admin(file, address, &error)))?;
    let probes = config.admin.probes.map(|address| {
        Door::bind(address)
            .map_err(|error| Box::new(machine::cannot_bind_probes(file, address, &error)))
    });
    Ok((admin, probes.transpose()?))
}

/// Where rollouts are remembered: `asked`, else what the file says, else `state` beside the file. Where nothing is guarded it
/// may be missing.
fn open_journal(
    asked: &Option<PathBuf>,
    file: &Path,
    config: &Config,
) -> Result<(Option<Journal>, Restored, Option<Decisions>), StartError> {
    let beside = || file.parent().unwrap_or(Path::new("")).join("state");
    let dir = asked
        .clone()
        .or_else(|| config.runtime.state_dir.clone())
        .unwrap_or_else(beside);
    match Journal::open(&dir) {
        Ok((journal, restored)) => {
            let decisions = Decisions::start(&dir).map_err(StartError::Threads)?;
            Ok((Some(journal), restored, Some(decisions)))
        }
        Err(error) if config.rollouts.is_empty() => {
            tracing::warn!("{error}; nothing is guarded, so nothing needs to be remembered yet");
            Ok((None, Restored::default(), None))
        }
        Err(error) => {
            let names = config.rollouts.iter().map(|rollout| rollout.name.as_str());
            Err(StartError::State(
                error,
                names.collect::<Vec<_>>().join(", "),
            ))
        }
    }
}

/// All listeners, or none and no workers.
async fn open_listeners(
    workers: Workers,
    config: &Config,
    file: &Path,
    read: &Loaded,
) -> Result<WorkerDoors, StartError> {
    let mut doors = WorkerDoors(workers);
    match doors.bind(&config.listeners) {
        Ok(bound) => {
            doors.listen(&config.listeners, bound).await;
            Ok(doors)
        }
        Err(failures) => {
            doors.0.stop().await;
            let placed = |failure: &CannotBind| read.place(failure.problem(file, config));
            Err(StartError::Machine(failures.iter().map(placed).collect()))
        }
    }
}

/// The cores that this process may use, by its affinity and its cgroup.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
