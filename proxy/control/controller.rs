//! The one writer. Edits, signals and orders of the API are taken one after the other; what comes out is a snapshot in
//! force, or a list of problems and nothing changed.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_config::tls::Pairs;
use tidegate_config::{self as config, Config, Loaded, Problem, Severity, Watch};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::admin::api::{Api, file_state};
use super::admin::server::{Door, Server};
use super::certificates::{self, REMIND_EVERY};
use super::changes::Changes;
use super::compile::{compile, keep_database};
use super::fixed::Fixed;
use super::machine::{self, CannotBind};
use super::releases::Releases;
use super::standing::{FileState, Standing};
use crate::handover::Successor;
use crate::record::{AccessLog, Ledger, Metrics, OpenedLog};
use crate::snapshot::{Live, Snapshot};
use crate::upstream::probe::Probes;

/// Orders that may wait; who sends one more waits for a place.
pub const ORDERS_WAITING: usize = 16;

/// Something for the controller to do.
#[derive(Debug)]
pub enum Order {
    /// Read the file now; the answer is how it stands afterwards.
    ReadAgain(Option<oneshot::Sender<Arc<FileState>>>),
    /// Open the access log again: somebody has moved it away.
    ReopenLog,
    /// A new process wants to take over.
    HandOver(Box<Successor>),
}

/// What control needs of the floor above it: the sockets that take requests.
pub trait Doors {
    /// Addresses that are bound and take nothing yet.
    type Bound: Send;
    /// Binds what is not open yet; nothing changes.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    fn bind(&self, wanted: &[config::Listener]) -> Result<Self::Bound, Vec<CannotBind>>;
    /// Opens what was bound, once the snapshot that knows it is in force, and closes what is not wanted any more.
    fn listen(
        &mut self,
        wanted: &[config::Listener],
        bound: Self::Bound,
    ) -> impl Future<Output = ()>;
    /// The names and addresses that are open.
    fn addresses(&self) -> Vec<(String, SocketAddr)>;
}

/// The one writer.
pub struct Controller<D> {
    /// The file and all that it names.
    pub watch: Watch,
    /// The snapshot in force.
    pub live: Live,
    /// All rollouts; whoever puts a snapshot in force goes through them.
    pub releases: Releases,
    /// What is counted.
    pub ledger: Arc<Ledger>,
    /// What is told of it, and of edits.
    pub metrics: Arc<Metrics>,
    /// What everybody may know.
    pub standing: Arc<Standing>,
    /// The sockets.
    pub doors: D,
    /// Lines about requests.
    pub access_log: Arc<AccessLog>,
    /// Health checks.
    pub probes: Probes,
    /// What only a restart changes.
    pub fixed: Fixed,
    /// The API, for its extra address.
    pub api: Api,
    /// The extra address for probes, where there is one.
    pub probe_server: Option<Server>,
    /// The file in force.
    pub accepted: Accepted,
}

/// The file in force.
#[derive(Debug)]
pub struct Accepted {
    /// Of the file and all that it names.
    pub fingerprint: u64,
    /// What should be looked at all the same.
    pub warnings: Vec<Problem>,
}

/// All that can fail of an edit, done.
struct Prepared<B> {
    snapshot: Snapshot,
    bound: B,
    log: OpenedLog,
    probe_door: ProbeDoor,
}

enum ProbeDoor {
    None,
    Same,
    New(Door),
}

impl<D: Doors> Controller<D> {
    /// Takes edits and orders until nobody can send an order any more, or another process wants to take over: between two
    /// edits, and it can be run again. Dropped between two steps of an edit, it leaves the proxy either before it or after it.
    pub async fn run(&mut self, orders: &mut mpsc::Receiver<Order>) -> Option<Box<Successor>> {
        // What was true when the file was read was told then.
        let first = Instant::now() + REMIND_EVERY;
        let mut daily = tokio::time::interval_at(first, REMIND_EVERY);
        loop {
            let in_force = self.pairs();
            tokio::select! {
                _ = daily.tick() => {
                    certificates::remind(&self.live.current().config, Timestamp::now());
                }
                loaded = self.watch.next(&in_force) => self.take(loaded).await,
                order = orders.recv() => match order {
                    Some(Order::ReadAgain(answer)) => self.read_again(answer).await,
                    Some(Order::ReopenLog) => self.reopen_log().await,
                    Some(Order::HandOver(successor)) => return Some(successor),
                    None => return None,
                },
            }
        }
    }

    /// What stays where a pair's files are none.
    fn pairs(&self) -> Pairs {
        Pairs::of(&self.live.current().config)
    }

    async fn read_again(&mut self, answer: Option<oneshot::Sender<Arc<FileState>>>) {
        // What was refused is tried again too: what was wrong may have been the machine.
        let in_force = self.pairs();
        let loaded = self.watch.reload(&in_force).await;
        self.take(loaded).await;
        if let Some(answer) = answer {
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(self.standing.file());
        }
    }

    async fn reopen_log(&self) {
        let log = Arc::clone(&self.access_log);
        match tokio::task::spawn_blocking(move || log.reopen()).await {
            Ok(Ok(())) => tracing::info!("access log opened again"),
            Ok(Err(error)) => tracing::error!("{error}; lines go where they went"),
            Err(fault) => tracing::error!(
                "a fault of tidegate: the access log is not opened again: {fault}; lines go where they went"
            ),
        }
    }

    async fn take(&mut self, mut loaded: Loaded) {
        let Some(config) = loaded.config.take() else {
            return self.refuse(loaded.problems);
        };
        if loaded.fingerprint == self.accepted.fingerprint {
            return self.confirm();
        }
        match self.prepare(config).await {
            Ok(prepared) => {
                self.put_in_force(prepared, loaded.fingerprint, loaded.problems)
                    .await
            }
            Err(problems) => {
                let mut problems: Vec<Problem> = problems
                    .into_iter()
                    .map(|problem| loaded.place(problem))
                    .collect();
                // Compiling has made the names of this file known.
                self.ledger.retain(&self.live.current().config);
                problems.extend(loaded.problems);
                self.refuse(problems);
            }
        }
    }

    /// The file is (again) the one in force.
    fn confirm(&self) {
        let before = self.standing.file();
        if !before.ok {
            tracing::info!(
                revision = before.revision,
                "the file is the one in force again"
            );
        }
        let problems = self.accepted.warnings.clone();
        self.standing.set_file(FileState {
            ok: true,
            problems,
            ..(*before).clone()
        });
    }

    /// Nothing changes; everybody who looks is told why.
    fn refuse(&self, problems: Vec<Problem>) {
        let before = self.standing.file();
        let revision = before.revision;
        problems.iter().for_each(tell);
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        tracing::error!(
            revision,
            errors,
            "the edit is refused: revision {revision} stays in force"
        );
        self.standing.set_file(FileState {
            ok: false,
            problems,
            ..(*before).clone()
        });
        self.metrics.rejected();
        let file = self.standing.file();
        let mut told = file_state(&file, &self.standing);
        told["message"] = format!("refused: {errors} problems; nothing has changed").into();
        self.releases.tell_edit(told);
    }

    /// Does all that can fail, and changes nothing.
    async fn prepare(&self, config: Config) -> Result<Prepared<D::Bound>, Vec<Problem>> {
        let file = self.standing.path();
        let snapshot = self.compile(config).await?;
        let wanted = &snapshot.config;
        let mut problems = Vec::new();
        if !wanted.rollouts.is_empty() && !self.releases.can_remember() {
            problems.push(machine::cannot_remember(file, &wanted.rollouts[0].name));
        }
        let bound = self.doors.bind(&wanted.listeners);
        let bound = bound.map_err(|failures| {
            problems.extend(failures.iter().map(|failure| failure.problem(file, wanted)))
        });
        let probe_door = self
            .probe_door(wanted)
            .map_err(|problem| problems.push(*problem));
        let log = self.open_log(wanted).await;
        let log = log.map_err(|found| problems.extend(found));
        match (bound, probe_door, log) {
            (Ok(bound), Ok(probe_door), Ok(log)) if problems.is_empty() => Ok(Prepared {
                snapshot,
                bound,
                log,
                probe_door,
            }),
            _ => Err(problems),
        }
    }

    /// Compiles beside the control thread: a large file must not hold up a health check or a scrape.
    async fn compile(&self, mut config: Config) -> Result<Snapshot, Vec<Problem>> {
        let (ledger, old, file) = (
            Arc::clone(&self.ledger),
            self.live.current(),
            self.standing.path().to_owned(),
        );
        self.beside(move || {
            keep_database(&mut config, &old.config);
            let config = Arc::new(config);
            let regions =
                machine::open_regions(&config, &file).map_err(|problem| vec![*problem])?;
            Ok(compile(
                config,
                regions,
                old.revision + 1,
                Some(&old),
                &ledger,
            ))
        })
        .await
    }

    /// Opens the log beside the control thread: its disk may be another machine's.
    async fn open_log(&self, wanted: &Arc<Config>) -> Result<OpenedLog, Vec<Problem>> {
        let (log, wanted) = (Arc::clone(&self.access_log), Arc::clone(wanted));
        let file = self.standing.path().to_owned();
        self.beside(move || {
            log.open(wanted.access_log.as_ref())
                .map_err(|error| vec![machine::cannot_open_log(&file, &error)])
        })
        .await
    }

    /// Does a part of an edit on another thread. A panic there refuses the edit.
    async fn beside<T: Send + 'static>(
        &self,
        part: impl FnOnce() -> Result<T, Vec<Problem>> + Send + 'static,
    ) -> Result<T, Vec<Problem>> {
        tokio::task::spawn_blocking(part)
            .await
            .unwrap_or_else(|error| {
                let fault = error
                    .try_into_panic()
                    .unwrap_or_else(|error| Box::new(error.to_string()));
                Err(vec![Problem::of_fault(
                    self.standing.path().to_owned(),
                    &*fault,
                )])
            })
    }

    fn probe_door(&self, wanted: &Config) -> Result<ProbeDoor, Box<Problem>> {
        let before = self.live.current().config.admin.probes;
        match wanted.admin.probes {
            None => Ok(ProbeDoor::None),
            same if same == before => Ok(ProbeDoor::Same),
            Some(address) => Door::bind(address).map(ProbeDoor::New).map_err(|error| {
                Box::new(machine::cannot_bind_probes(
                    self.standing.path(),
                    address,
                    &error,
                ))
            }),
        }
    }

    /// The edit itself. Nothing here fails.
    async fn put_in_force(
        &mut self,
        prepared: Prepared<D::Bound>,
        fingerprint: u64,
        warnings: Vec<Problem>,
    ) {
        let Prepared {
            snapshot,
            bound,
            log,
            probe_door,
        } = prepared;
        let (config, revision) = (Arc::clone(&snapshot.config), snapshot.revision);
        let changes = Changes::between(&self.live.current().config, &config);
        self.access_log.switch(log);
        self.probes.follow(snapshot.services.iter().flatten());
        self.releases.put_in_force(snapshot);
        // After the snapshot that knows the new listeners, so that none of their requests meets one that does not.
        self.doors.listen(&config.listeners, bound).await;
        match probe_door {
            ProbeDoor::Same => {}
            ProbeDoor::None => self.probe_server = None,
            ProbeDoor::New(door) => self.probe_server = Some(door.open(self.api.probe_router())),
        }
        self.standing.set_listeners(self.doors.addresses());
        self.ledger.retain(&config);
        self.metrics.reloaded(revision);
        let mut problems = self.fixed.warnings(&config, self.standing.path());
        problems.extend(warnings);
        problems.iter().for_each(tell);
        tracing::info!(revision, "revision {revision} in force: {changes}");
        self.accepted = Accepted {
            fingerprint,
            warnings: problems.clone(),
        };
        self.standing.set_file(FileState {
            ok: true,
            revision,
            loaded_at: Timestamp::now(),
            problems,
        });
        let mut told = file_state(&self.standing.file(), &self.standing);
        told["message"] = changes.to_string().into();
        self.releases.tell_edit(told);
    }
}

/// One log line for one problem, with its place.
pub fn tell(problem: &Problem) {
    let Problem {
        code,
        line,
        column,
        hint,
        ..
    } = problem;
    // Line 0 is no line: the file as a whole is meant.
    let (line, column) = match line {
        0 => (None, None),
        _ => (Some(line), Some(column)),
    };
    match problem.severity {
        Severity::Error => tracing::error!(code, line, column, hint, "{problem}"),
        Severity::Warning => tracing::warn!(code, line, column, hint, "{problem}"),
    }
}
