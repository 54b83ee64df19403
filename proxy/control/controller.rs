//! The one writer. Edits, signals and orders of the API come in by one queue and are taken one after the other; what
//! comes out is a snapshot in force, or a list of problems and nothing changed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_config::{self as config, Config, Loaded, Problem, Severity};
use tokio::sync::{mpsc, oneshot};

use super::admin::api::Api;
use super::admin::server::{Door, Server};
use super::changes::Changes;
use super::compile::compile;
use super::standing::{FileState, Standing};
use crate::record::{AccessLog, Ledger, LogError, Metrics};
use crate::route::Regions;
use crate::snapshot::{Live, Snapshot};
use crate::upstream::probe::Probes;

/// Orders that may wait; who sends one more waits for a place.
pub const ORDERS_WAITING: usize = 16;

/// Something for the controller to do.
#[derive(Debug)]
pub enum Order {
    /// The watch saw the file change and has read it.
    Edited(Box<Loaded>),
    /// Somebody wants the file read now; the answer is how it stands afterwards.
    ReadAgain(Option<oneshot::Sender<Arc<FileState>>>),
    /// Open the access log again: somebody has moved it away.
    ReopenLog,
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

/// An address that the system does not give.
#[derive(Debug, thiserror::Error)]
#[error("listener \"{listener}\" cannot bind {address}: {source}")]
pub struct CannotBind {
    /// The listener's name.
    pub listener: String,
    /// Where it should listen.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// The one writer.
pub struct Controller<D> {
    /// The snapshot in force.
    pub live: Live,
    /// What is counted.
    pub ledger: Arc<Ledger>,
    /// What is told of it, and of edits.
    pub metrics: Arc<Metrics>,
    /// What everybody may know.
    pub standing: Arc<Standing>,
    /// The sockets.
    pub doors: D,
    /// Lines about requests.
    pub access_log: AccessLog,
    /// Health checks.
    pub probes: Probes,
    /// What only a restart changes, as it was at the start.
    pub fixed: Fixed,
    /// The API, for its extra address.
    pub api: Api,
    /// The extra address for probes, where there is one.
    pub probe_server: Option<Server>,
    /// Fingerprint of what is in force, and the warnings about it.
    pub accepted: Accepted,
    /// Fingerprint of the last file that was refused, so that it is told once.
    pub refused: Option<u64>,
}

/// What is in force.
#[derive(Debug)]
pub struct Accepted {
    /// Of the file and all that it names.
    pub fingerprint: u64,
    /// What should be looked at all the same.
    pub warnings: Vec<Problem>,
}

/// What only a restart changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    workers: Option<std::num::NonZeroUsize>,
    admin: SocketAddr,
}

impl Fixed {
    /// As the process starts.
    pub const fn of(config: &Config) -> Self {
        Self {
            workers: config.runtime.workers,
            admin: config.admin.address,
        }
    }

    /// A warning for each thing that this file wants otherwise.
    fn differing(&self, wanted: &Config, file: &std::path::Path) -> Vec<Problem> {
        let auto = |workers: Option<std::num::NonZeroUsize>| {
            workers.map_or("auto".to_owned(), |n| n.to_string())
        };
        let mut found = Vec::new();
        if self.workers != wanted.runtime.workers {
            let (was, is) = (auto(self.workers), auto(wanted.runtime.workers));
            found.push(("runtime.workers", was, is));
        }
        if self.admin != wanted.admin.address {
            found.push((
                "admin.address",
                self.admin.to_string(),
                wanted.admin.address.to_string(),
            ));
        }
        let warn = |(path, was, is): (&str, String, String)| Problem {
            severity: Severity::Warning,
            path: path.to_owned(),
            ..problem(
                "T910",
                file.to_owned(),
                format!("{path} needs a restart: {was} stays in force, {is} is what the file says"),
                "restart tidegate, or put the old value back; the rest of the file is in force",
            )
        };
        found.into_iter().map(warn).collect()
    }
}

impl<D: Doors> Controller<D> {
    /// Takes orders until nobody can send one any more. Dropped between two steps of an edit, it leaves the proxy
    /// either before it or after it.
    pub async fn run(&mut self, orders: &mut mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Edited(loaded) => self.on_edit(*loaded).await,
                Order::ReadAgain(answer) => {
                    self.read_again().await;
                    if let Some(answer) = answer {
                        // Whoever asked may have gone meanwhile.
                        let _ = answer.send(self.standing.file());
                    }
                }
                Order::ReopenLog => self.reopen_log(),
            }
        }
    }

    /// The watch tells only changes, but a change may lead to bytes that were judged before.
    async fn on_edit(&mut self, loaded: Loaded) {
        if self.refused != Some(loaded.fingerprint) {
            self.take(loaded).await;
        }
    }

    /// Somebody asked: a file that was refused is tried again, because what was wrong may have been the machine.
    async fn read_again(&mut self) {
        let path = self.standing.path().to_owned();
        let read = tokio::task::spawn_blocking({
            let path = path.clone();
            move || config::load(&path)
        });
        match read
            .await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        {
            Ok(loaded) => self.take(loaded).await,
            Err(error) => self.refuse(None, vec![unreadable(path, &error)]),
        }
    }

    async fn take(&mut self, loaded: Loaded) {
        let Loaded {
            config,
            problems,
            fingerprint,
            ..
        } = loaded;
        let Some(config) = config else {
            return self.refuse(Some(fingerprint), problems);
        };
        if fingerprint == self.accepted.fingerprint {
            return self.confirm();
        }
        match self.put_in_force(config, fingerprint, &problems).await {
            Ok(()) => {}
            Err(mut failures) => {
                // Compiling has made the names of this file known.
                self.ledger.retain(&self.live.current().config);
                failures.extend(problems);
                self.refuse(Some(fingerprint), failures);
            }
        }
    }

    /// The file is (again) the one in force.
    fn confirm(&mut self) {
        self.refused = None;
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
    fn refuse(&mut self, fingerprint: Option<u64>, problems: Vec<Problem>) {
        let before = self.standing.file();
        let revision = before.revision;
        for problem in &problems {
            tell(problem);
        }
        let errors = problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count();
        tracing::error!(
            revision,
            errors,
            "the edit was refused: revision {revision} stays in force"
        );
        self.refused = fingerprint;
        self.standing.set_file(FileState {
            ok: false,
            problems,
            ..(*before).clone()
        });
        self.metrics.rejected();
    }

    /// All or nothing: whatever can fail comes before the snapshot is published.
    async fn put_in_force(
        &mut self,
        config: Config,
        fingerprint: u64,
        warnings: &[Problem],
    ) -> Result<(), Vec<Problem>> {
        let file = self.standing.path().to_owned();
        let old = self.live.current();
        let next = self.compile(Arc::new(config), &old).await?;
        let probe_door = self
            .probe_door(&next.config)
            .map_err(|problem| vec![*problem])?;
        let log = self.access_log.open(next.config.access_log.as_ref());
        let log = log.map_err(|error| vec![cannot_open_log(file.clone(), &error)])?;
        let bound = self
            .doors
            .bind(&next.config.listeners)
            .map_err(|failures| {
                failures
                    .iter()
                    .map(|failure| cannot_bind(file.clone(), failure))
                    .collect::<Vec<_>>()
            })?;
        // From here on nothing fails.
        self.access_log.switch(log);
        match probe_door {
            ProbeDoor::Same => {}
            ProbeDoor::None => self.probe_server = None,
            ProbeDoor::New(door) => self.probe_server = Some(door.open(self.api.probe_router())),
        }
        let changes = Changes::between(&old.config, &next.config);
        let (config, revision) = (Arc::clone(&next.config), next.revision);
        self.probes.follow(next.services.iter().flatten());
        self.live.publish(next);
        self.doors.listen(&config.listeners, bound).await;
        self.standing.set_listeners(self.doors.addresses());
        let mut problems = self.fixed.differing(&config, &file);
        problems.extend_from_slice(warnings);
        problems.iter().for_each(tell);
        tracing::info!(revision, "revision {revision} in force: {changes}");
        self.ledger.retain(&config);
        self.metrics.reloaded(revision);
        self.refused = None;
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
        Ok(())
    }

    /// Compiles beside the control thread: a large file must not hold up a probe or a scrape.
    async fn compile(
        &self,
        config: Arc<Config>,
        old: &Arc<Snapshot>,
    ) -> Result<Snapshot, Vec<Problem>> {
        let (ledger, old, file) = (
            Arc::clone(&self.ledger),
            Arc::clone(old),
            self.standing.path().to_owned(),
        );
        let compiled = tokio::task::spawn_blocking(move || {
            let regions = open_regions(&config, &file).map_err(|problem| vec![*problem])?;
            Ok(compile(
                config,
                regions,
                old.revision + 1,
                Some(&old),
                &ledger,
            ))
        });
        compiled
            .await
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    fn probe_door(&self, wanted: &Config) -> Result<ProbeDoor, Box<Problem>> {
        match (wanted.admin.probes, self.live.current().config.admin.probes) {
            (None, _) => Ok(ProbeDoor::None),
            (Some(address), Some(before)) if address == before => Ok(ProbeDoor::Same),
            (Some(address), _) => Door::bind(address).map(ProbeDoor::New).map_err(|error| {
                Box::new(cannot_bind_probes(
                    self.standing.path().to_owned(),
                    address,
                    &error,
                ))
            }),
        }
    }

    fn reopen_log(&mut self) {
        match self.access_log.reopen() {
            Ok(()) => tracing::info!("access log opened again"),
            Err(error) => {
                tracing::error!(%error, "access log cannot be opened again; lines go where they went")
            }
        }
    }
}

enum ProbeDoor {
    None,
    Same,
    New(Door),
}

/// Opens the database that regions are found in.
///
/// # Errors
/// A problem where it is none.
pub fn open_regions(
    config: &Config,
    file: &std::path::Path,
) -> Result<Option<Regions>, Box<Problem>> {
    let Some(database) = config.geo.as_ref().and_then(|geo| geo.database.as_ref()) else {
        return Ok(None);
    };
    Regions::open(database).map(Some).map_err(|error| {
        let path = database.path.display();
        let hint = "put a MaxMind City or Country database there (.mmdb)";
        let what = format!("geo.database: {path} cannot be used: {error}");
        Box::new(Problem {
            path: "geo.database".to_owned(),
            ..problem("T902", file.to_owned(), what, hint)
        })
    })
}

/// The problem of a listener that cannot be bound.
pub fn cannot_bind(file: PathBuf, failure: &CannotBind) -> Problem {
    let hint = match failure.source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has it (see `ss -ltnp`): stop that, or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address (see `ip addr`)",
        _ => "choose another address",
    };
    problem("T901", file, failure.to_string(), hint)
}

/// The problem of an extra address that cannot be bound.
pub fn cannot_bind_probes(file: PathBuf, address: SocketAddr, error: &io::Error) -> Problem {
    let what = format!("admin.probes cannot bind {address}: {error}");
    Problem {
        path: "admin.probes".to_owned(),
        ..problem("T904", file, what, "choose another address or remove it")
    }
}

/// The problem of an access log that cannot be opened.
pub fn cannot_open_log(file: PathBuf, error: &LogError) -> Problem {
    let hint = "make the folder writable for the user that tidegate runs as, or name another file";
    Problem {
        path: "access_log.output".to_owned(),
        ..problem("T903", file, error.to_string(), hint)
    }
}

/// The problem of a file that cannot be read.
pub fn unreadable(file: PathBuf, error: &io::Error) -> Problem {
    let what = format!("cannot be read: {error}");
    problem(
        "T900",
        file,
        what,
        "put it back, or make it readable for the user that tidegate runs as",
    )
}

/// An error about the file as a whole.
fn problem(code: &'static str, file: PathBuf, message: String, hint: &str) -> Problem {
    Problem {
        code,
        severity: Severity::Error,
        file,
        line: 0,
        column: 0,
        path: String::new(),
        message,
        hint: hint.to_owned(),
        source_line: String::new(),
        width: 1,
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
    match problem.severity {
        Severity::Error => tracing::error!(code, line, column, hint, "{problem}"),
        Severity::Warning => tracing::warn!(code, line, column, hint, "{problem}"),
    }
}
