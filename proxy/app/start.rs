//! What a process begins with: the file, its addresses, the journal; and where another process runs already, what that
//! one hands over.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_config::{self as config, Config, Loaded, Problem};
use tokio::task::spawn_blocking;

use super::{Options, StartError, WorkerDoors};
use crate::control::admin::server::Door;
use crate::control::controller;
use crate::control::decisions::Decisions;
use crate::control::journal::{Journal, Restored};
use crate::control::machine::{self, CannotBind};
use crate::control::releases::Releases;
use crate::handover::{Doorbell, Heritage, Inherited, NoHandover, Predecessor};
use crate::listen::{Workers, workers};

/// The process that was taken over from hears so often at least what is in force.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// It is looked so often whether that has changed: a rollback reaches its last requests within this.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The file, which must be right at the start, and what reading it found.
pub(super) fn load(file: &Path) -> Result<(Arc<Config>, Loaded), StartError> {
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

/// Where rollouts are remembered: what was asked for, else what the file says, else `state` beside the file.
pub(super) fn state_dir(options: &Options, config: &Config) -> PathBuf {
    let asked = options.state_dir.clone();
    let beside = || {
        let folder = options.config.parent().unwrap_or(Path::new(""));
        folder.join("state")
    };
    asked
        .or_else(|| config.runtime.state_dir.clone())
        .unwrap_or_else(beside)
}

/// What the process that holds this state directory hands over; nothing where this one is to be the first.
pub(super) async fn meet(
    take_over: bool,
    dir: &Path,
) -> Result<Option<(Predecessor, Heritage)>, StartError> {
    if !take_over {
        return Ok(None);
    }
    let dir = dir.to_owned();
    beside(move || Predecessor::meet(&dir)).await.map(Some)
}

/// Says that all that can fail is done, and waits until this process decides. `restored` is what the journal says, and
/// becomes what the old process says.
pub(super) async fn succeed(
    predecessor: Predecessor,
    taken: Vec<usize>,
    restored: &mut Restored,
) -> Result<Predecessor, StartError> {
    let (predecessor, states) = beside(move || {
        let states = predecessor.ready(taken)?;
        Ok((predecessor, states))
    })
    .await?;
    let states = states.into_iter();
    restored.later = states.map(|state| (state.rollout, state.state)).collect();
    Ok(predecessor)
}

/// Says to the old process that this one accepts, and from then on what is in force, until it has ended.
pub(super) fn serve_after(predecessor: Predecessor, releases: Releases) {
    predecessor.serving();
    let telling = move || {
        let mut told = None;
        let mut at = Instant::now();
        loop {
            let standing = releases.standing();
            if told.as_ref() != Some(&standing) || at.elapsed() >= TELL_EVERY {
                if predecessor.follow(&standing).is_err() {
                    tracing::info!(
                        predecessor = predecessor.pid(),
                        "process {}, which handed over, has ended",
                        predecessor.pid()
                    );
                    return;
                }
                (told, at) = (Some(standing), Instant::now());
            }
            thread::sleep(LOOK_EVERY);
        }
    };
    let started = thread::Builder::new()
        .name("predecessor".to_owned())
        .spawn(telling);
    if let Err(error) = started {
        tracing::error!(%error, "no thread to tell the old process what is in force: its last requests keep the weights of now: {error}");
    }
}

async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NoHandover> + Send + 'static,
) -> Result<T, StartError> {
    let done = spawn_blocking(work).await;
    let done = done.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()));
    Ok(done?)
}

/// The admin API's address, and the one for probes where the file names it.
pub(super) fn bind_admin(
    config: &Config,
    file: &Path,
    heritage: &mut Option<Heritage>,
) -> Result<(Door, Option<Door>), Box<Problem>> {
    let bind = |address: SocketAddr, inherited: Option<(SocketAddr, OwnedFd)>| match inherited {
        Some((asked, socket)) if asked == address => Door::inherited(asked, socket),
        _ => Door::bind(address),
    };
    let (admin, probes) = heritage.as_mut().map_or((None, None), |heritage| {
        (heritage.admin.take(), heritage.probes.take())
    });
    let address = config.admin.address;
    let admin = bind(address, admin)
        .map_err(|error| Box::new(machine::cannot_bind_admin(file, address, &error)))?;
    let probes = config.admin.probes.map(|address| {
        bind(address, probes)
            .map_err(|error| Box::new(machine::cannot_bind_probes(file, address, &error)))
    });
    Ok((admin, probes.transpose()?))
}

/// All addresses of the file, or none and no workers. What is wanted of `inherited` is taken out of it.
pub(super) async fn bind_listeners(
    workers: Workers,
    config: &Config,
    file: &Path,
    read: &Loaded,
    inherited: &mut Vec<Inherited>,
) -> Result<(WorkerDoors, Vec<workers::Bound>), StartError> {
    match workers.bind_beside(&config.listeners, inherited) {
        Ok(bound) => Ok((WorkerDoors(workers), bound)),
        Err(failures) => {
            workers.stop().await;
            let placed = |failure: workers::BindFailure| {
                read.place(CannotBind::from(failure).problem(file, config))
            };
            Err(StartError::Machine(
                failures.into_iter().map(placed).collect(),
            ))
        }
    }
}

/// Opens the journal. Where nothing is guarded it may be missing.
pub(super) fn open_journal(
    dir: &Path,
    config: &Config,
) -> Result<(Option<Journal>, Restored, Option<Decisions>), StartError> {
    match Journal::open(dir) {
        Ok((journal, restored)) => {
            let decisions = Decisions::start(dir).map_err(StartError::Threads)?;
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

/// Where the next process rings: the one that was handed over, or a new one. Without a journal there is none, for then the
/// state directory may be another's.
pub(super) fn doorbell(inherited: Option<Doorbell>, holds: bool, dir: &Path) -> Option<Doorbell> {
    if inherited.is_some() || !holds {
        return inherited;
    }
    Doorbell::hang(dir)
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "no other process can take over from this one: no socket in {}: {error}; an upgrade needs a restart",
                dir.display()
            );
        })
        .ok()
}

/// The cores that this process may use, by its affinity and its cgroup.
pub(super) fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
