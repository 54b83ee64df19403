//! The end of the process: what is under way ends in order, within its time. Either nobody follows, or another process
//! has taken over and this one only serves to their end those who are with it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidegate_config as config;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::succession::Heir;
use super::{Bound, End, LAST_LINES, LAST_WORDS, Signal, WorkerDoors};
use crate::control::controller::Controller;
use crate::control::releases::Releases;
use crate::control::standing::Phase;
use crate::handover::{Broken, Successor, notify};

/// The process that has taken over says what is in force, whether or not that changes, more often than this.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// Of the whole drain, one part of these is for idle connections to ask once more, and be told to go by the answer. To
/// close one earlier might cross a request on its way.
const ASK_ONCE_MORE: u32 = 2;

impl Bound {
    /// Leaves, and nobody follows.
    pub(super) async fn drain(mut self, mut signals: mpsc::Receiver<Signal>) -> End {
        notify::stopping();
        // Who rings now is told that nobody is here.
        if let Some(porter) = self.porter.take() {
            porter.leave(&self.state_dir);
        }
        let config::Drain { min, max } = self.begin_to_leave();
        let WorkerDoors(workers) = &mut self.controller.doors;
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
            () = another(&mut signals) => End::AtOnce,
        };
        self.end(end).await
    }

    /// Leaves behind a process that has taken over: it accepts, and this one serves those who are here. `drain.min` is for
    /// load balancers, who need not know of any of this.
    pub(super) async fn drain_behind(
        mut self,
        heir: Heir,
        mut signals: mpsc::Receiver<Signal>,
    ) -> End {
        // Whoever asks now asks the other one.
        self.admin.close();
        self.controller.probe_server = None;
        self.porter = None;
        let config::Drain { max, .. } = self.begin_to_leave();
        let WorkerDoors(workers) = &mut self.controller.doors;
        workers.hand_over(&heir.taken).await;
        workers.leave().await;
        let connections = workers.connections();
        tracing::info!(
            connections,
            "draining: process {} accepts; what is under way has {max:?}",
            heir.successor.pid()
        );
        let edited = Arc::new(Notify::new());
        follow(heir.successor, self.controller.releases.clone(), &edited);
        let once_more = max / ASK_ONCE_MORE;
        tokio::select! {
            _ = workers.drained(once_more) => {}
            // Their next request would be answered by the old file.
            () = edited.notified() => {}
            () = another(&mut signals) => {}
        }
        let leaving = async {
            workers.close_idle().await;
            workers.drained(max - once_more).await
        };
        let end = tokio::select! {
            cut = leaving => if cut == 0 { End::Clean } else { End::Cut(cut) },
            () = another(&mut signals) => End::AtOnce,
        };
        self.end(end).await
    }

    /// Whoever waits for a reload is told that there will be none; readiness says no.
    fn begin_to_leave(&mut self) -> config::Drain {
        self.waiting.close();
        while self.waiting.try_recv().is_ok() {}
        self.controller.standing.enter(Phase::Draining);
        self.controller.live.current().config.runtime.drain
    }

    async fn end(self, end: End) -> End {
        let Controller {
            access_log,
            releases,
            doors: WorkerDoors(workers),
            ..
        } = self.controller;
        let end = if *self.fallen.borrow() {
            End::Broken
        } else {
            end
        };
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

/// Keeps the weights of the last requests here as they are in the process that has taken over. It ends with one of the two.
fn follow(successor: Box<Successor>, releases: Releases, edited: &Arc<Notify>) {
    let edited = Arc::clone(edited);
    let following = move || {
        let mut known = None;
        loop {
            match successor.standing(HEARD_WITHIN) {
                Ok(standing) if known.as_ref() == Some(&standing) => {}
                Ok(standing) => {
                    releases.follow(&standing);
                    if standing.revision > 1 {
                        edited.notify_one();
                    }
                    known = Some(standing);
                }
                Err(Broken::Gone) => {
                    tracing::error!(
                        successor = successor.pid(),
                        "process {} has taken over and is gone: nobody accepts connections; start tidegate again",
                        successor.pid()
                    );
                    return;
                }
                Err(broken) => {
                    tracing::warn!(
                        successor = successor.pid(),
                        "process {} no longer says which weights are in force: {broken}; the last requests here keep the ones \
                         that it said last",
                        successor.pid()
                    );
                    return;
                }
            }
        }
    };
    let started = thread::Builder::new()
        .name("successor".to_owned())
        .spawn(following);
    if let Err(error) = started {
        tracing::error!(%error, "no thread to follow the new process: the last requests here keep their weights: {error}");
    }
}

/// Waits for another signal to leave; for ever where nobody can send one.
async fn another(signals: &mut mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        if signal == Signal::Leave {
            return;
        }
    }
    std::future::pending().await
}
