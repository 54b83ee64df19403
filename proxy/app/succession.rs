//! Another process takes over: this one's part. It goes on serving until the new one does; whatever goes wrong before
//! that, it has the journal again, and all is as it was.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

use super::{Bound, LAST_WORDS, WorkerDoors};
use crate::control::admin::server::Server;
use crate::control::controller::Order;
use crate::control::journal::{Journal, OpenError};
use crate::control::releases::Releases;
use crate::handover::messages::{self, Parts};
use crate::handover::{Doorbell, Successor, notify};

/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a process that does not take over after all may keep the state directory; then it is ended.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);
/// How long going on may wait for the state directory.
const TAKE_BACK_WITHIN: Duration = Duration::from_secs(3);
/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// Between two tries when that did not help.
const TRY_LATER: Duration = Duration::from_secs(1);

/// Answers the doorbell.
#[derive(Debug)]
pub(super) struct Porter {
    bell: Doorbell,
    answering: Option<AbortHandle>,
}

/// Who has taken over.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) successor: Box<Successor>,
    /// The listeners that it has, by their place.
    pub(super) taken: Vec<usize>,
}

/// All that changes hands.
struct Estate {
    parts: Parts,
    descriptors: Vec<OwnedFd>,
}

/// Why it does not.
enum Failed {
    /// It has got nothing yet.
    Early(String),
    /// It has everything, and is not the one who decides.
    Late(String),
    /// It was told that it decides.
    Crowned(String),
}

impl Porter {
    /// Answers from now on. Must be called within a runtime.
    pub(super) fn new(bell: Doorbell, orders: &mpsc::Sender<Order>) -> Self {
        let mut porter = Self {
            bell,
            answering: None,
        };
        porter.answer(orders);
        porter
    }

    fn answer(&mut self, orders: &mpsc::Sender<Order>) {
        match self.bell.socket().and_then(UnixListener::from_std) {
            Ok(bell) => {
                self.answering = Some(tokio::spawn(answer(bell, orders.clone())).abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "no other process can take over from this one: {error}");
            }
        }
    }

    /// Who rings now is answered by whoever answers next.
    fn rest(&mut self) {
        if let Some(answering) = self.answering.take() {
            answering.abort();
        }
    }

    /// Nobody follows.
    pub(super) fn leave(mut self, dir: &Path) {
        self.rest();
        self.bell.take_down(dir);
    }
}

async fn answer(bell: UnixListener, orders: mpsc::Sender<Order>) {
    loop {
        let rung = bell
            .accept()
            .await
            .and_then(|(stream, _)| stream.into_std());
        let stream = match rung {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "who wants to take over cannot be answered: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        match spawn_blocking(move || Successor::greet(stream)).await {
            // Where control is gone this process is on its way out, and the other one sees that.
            Ok(Ok(successor)) => {
                if orders
                    .send(Order::HandOver(Box::new(successor)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Ok(Err(unwelcome)) => tracing::warn!("nothing is handed over: {unwelcome}"),
            Err(fault) => tracing::error!("a fault of tidegate at the doorbell: {fault}"),
        }
    }
}

impl Bound {
    /// Hands over to `successor`. `None` where that fails: then all is as it was.
    pub(super) async fn hand_over(&mut self, successor: Box<Successor>) -> Option<Heir> {
        let (pid, began) = (successor.pid(), Instant::now());
        tracing::info!(
            successor = pid,
            "process {pid} (tidegate {}) wants to take over: edits wait, weights may only shrink",
            successor.version()
        );
        if let Some(porter) = &mut self.porter {
            porter.rest();
        }
        let releases = self.controller.releases.clone();
        let (successor, tried) = match self.estate() {
            Ok(estate) => spawn_blocking(move || {
                let tried = give(&releases, &successor, estate);
                (Some(successor), tried)
            })
            .await
            .unwrap_or_else(|fault| {
                let why = format!("a fault of tidegate: {fault}");
                (None, Err(Failed::Crowned(why)))
            }),
            Err(why) => (Some(successor), Err(Failed::Early(why))),
        };
        match (successor, tried) {
            (Some(successor), Ok(taken)) => {
                self.controller.releases.hand_over();
                self.upgrade.is_done();
                notify::follows(pid);
                tracing::info!(
                    successor = pid,
                    took_ms = began.elapsed().as_millis(),
                    "handed over to process {pid}: draining"
                );
                Some(Heir { successor, taken })
            }
            (successor, Ok(_)) => self.go_on(successor, pid, "nothing came of it").await,
            (successor, Err(failed)) => {
                let why = match &failed {
                    Failed::Early(why) | Failed::Late(why) | Failed::Crowned(why) => why,
                };
                if let Some(successor) = &successor {
                    match failed {
                        Failed::Early(_) => successor.turn_away(why),
                        Failed::Late(_) => successor.disown(why),
                        // It may take itself for the one who decides.
                        Failed::Crowned(_) => successor.end(),
                    }
                }
                self.go_on(successor, pid, why).await
            }
        }
    }

    fn estate(&self) -> Result<Estate, String> {
        let none_left = || {
            "no file descriptor was left to keep its sockets by: raise the limit of open files, and restart".to_owned()
        };
        let porter = self.porter.as_ref().ok_or("it has no state directory")?;
        if !self.controller.releases.holds_journal() {
            return Err("it has not got its own journal back yet".to_owned());
        }
        let WorkerDoors(workers) = &self.controller.doors;
        let lent = workers.lend().ok_or_else(none_left)?;
        let (admin, admin_socket) = self.admin.lend().ok_or_else(none_left)?;
        let probes = self.controller.probe_server.as_ref();
        let probes = match probes.map(Server::lend) {
            Some(None) => return Err(none_left()),
            Some(lent) => lent,
            None => None,
        };
        let mut sockets = vec![porter.bell.as_fd(), admin_socket];
        sockets.extend(probes.map(|(_, socket)| socket));
        for listener in &lent {
            sockets.extend(listener.sockets.iter().map(OwnedFd::as_fd));
        }
        let descriptors = sockets.iter().map(|socket| socket.try_clone_to_owned());
        let descriptors = descriptors.collect::<io::Result<Vec<_>>>();
        Ok(Estate {
            parts: Parts {
                pid: std::process::id(),
                version: crate::VERSION.to_owned(),
                admin: messages::Door { asked: admin },
                probes: probes.map(|(asked, _)| messages::Door { asked }),
                listeners: lent
                    .iter()
                    .map(|listener| messages::Listener {
                        name: listener.name.to_owned(),
                        asked: listener.asked,
                        sockets: listener.sockets.len(),
                    })
                    .collect(),
            },
            descriptors: descriptors.map_err(|error| error.to_string())?,
        })
    }

    /// All is as it was, as soon as the journal is here again.
    async fn go_on(
        &mut self,
        successor: Option<Box<Successor>>,
        pid: u32,
        why: &str,
    ) -> Option<Heir> {
        tracing::error!(
            successor = pid,
            "process {pid} does not take over: {why}; this one goes on as before"
        );
        let releases = self.controller.releases.clone();
        releases.thaw();
        if !releases.holds_journal() {
            let dir = self.state_dir.clone();
            let began = Instant::now();
            let mut is_ended = false;
            loop {
                match reopen(&releases, &dir).await {
                    Ok(()) => break,
                    Err(error) if began.elapsed() >= TAKE_BACK_WITHIN => {
                        tracing::error!(
                            "{error}; it is tried again every {TRY_LATER:?}; until then weights may only shrink, and what is \
                             rolled back is not remembered"
                        );
                        tokio::spawn(async move {
                            while reopen(&releases, &dir).await.is_err() {
                                sleep(TRY_LATER).await;
                            }
                            tracing::info!("the journal is here again");
                        });
                        break;
                    }
                    Err(_) => {}
                }
                if let Some(successor) = &successor
                    && began.elapsed() >= LET_GO_WITHIN
                    && !std::mem::replace(&mut is_ended, true)
                {
                    tracing::warn!(
                        successor = pid,
                        "process {pid} keeps the state directory and does not end: it is ended"
                    );
                    successor.end();
                }
                sleep(TRY_AGAIN).await;
            }
        }
        if let Some(porter) = &mut self.porter {
            porter.answer(&self.orders);
        }
        None
    }
}

/// The steps that wait for the disk and for the other process.
fn give(releases: &Releases, successor: &Successor, estate: Estate) -> Result<Vec<usize>, Failed> {
    if !releases.lend(LAST_WORDS) {
        let why = format!("the journal could not be closed within {LAST_WORDS:?}");
        return Err(Failed::Early(why));
    }
    let Estate { parts, descriptors } = estate;
    let borrowed: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
    let taken = successor
        .provide(parts, &borrowed)
        .map_err(|broken| Failed::Late(broken.to_string()))?;
    // What the new one does not want must have no other owner when it is closed here.
    drop(borrowed);
    drop(descriptors);
    let states = releases.freeze(successor.pid());
    match successor.crown(states) {
        Ok(()) => Ok(taken),
        Err(broken) => Err(Failed::Crowned(broken.to_string())),
    }
}

async fn reopen(releases: &Releases, dir: &Path) -> Result<(), OpenError> {
    let dir_ = dir.to_owned();
    let opened = spawn_blocking(move || Journal::open(&dir_)).await;
    let opened = opened.unwrap_or_else(|fault| {
        Err(OpenError::Io {
            dir: dir.to_owned(),
            doing: "a fault of tidegate while it was opened",
            source: io::Error::other(fault),
        })
    });
    let (journal, restored) = opened?;
    releases.take_back(journal, restored);
    Ok(())
}
