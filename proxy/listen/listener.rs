//! One socket of one worker: accept, keep the bounds, and go on when the process has run out of file descriptors.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{self, Connection};
use super::presence::{Crowd, Presence};
use super::worker::Worker;
use crate::exchange::Peer;
use crate::record::{ListenerId, Reason};
use crate::snapshot::ListenerKey;

/// Waits after a failed accept: short at first, so that one freed descriptor is used at once.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
];
/// Between two lines in the log about accepts that fail.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Callers over a bound that are told so at one time; the rest are closed without a word.
const TOLD_AT_ONCE: usize = 64;

/// One socket of one worker.
pub struct Listener {
    /// Its worker.
    pub worker: Rc<Worker>,
    /// The socket.
    pub socket: TcpListener,
    /// How snapshots know the listener.
    pub key: ListenerKey,
    /// What it is counted under.
    pub id: ListenerId,
    /// Who is connected, over all workers.
    pub crowd: Arc<Crowd>,
    /// Becomes true when it is to close.
    pub close: watch::Receiver<bool>,
}

impl Listener {
    /// Accepts until told to close; then serves what the kernel has already accepted, and closes.
    pub async fn run(self) {
        let mut close = self.close.clone();
        let mut failures = 0;
        let mut said: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.socket.accept() => accepted,
                _ = close.wait_for(|close| *close) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    failures = 0;
                    self.admit(stream, address);
                }
                Err(error) if is_of_one_caller(&error) => {}
                Err(error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                        said = Some(Instant::now());
                        tracing::error!(
                            address = %self.key.address(), %error,
                            "cannot accept connections; those that are open go on, new ones wait; raise the limit of \
                             open files or lower limits.connections"
                        );
                    }
                    tokio::time::sleep(BACK_OFF[failures.min(BACK_OFF.len() - 1)]).await;
                    failures += 1;
                }
            }
        }
        self.serve_queue().await;
    }

    async fn serve_queue(&self) {
        while let Ok(Ok((stream, address))) =
            tokio::time::timeout(Duration::ZERO, self.socket.accept()).await
        {
            self.admit(stream, address);
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let view = self.worker.gate.viewer().view();
        // Gone by an edit, and this socket has not been told yet.
        let Some(at) = view.snapshot.listener_of(&self.key) else {
            return;
        };
        let listener = view.snapshot.config.listeners[at].clone();
        let ledger = self.worker.gate.ledger();
        match self.crowd.enter(
            address.ip().to_canonical(),
            &listener.limits,
            ledger,
            self.id,
        ) {
            Ok(presence) => self.serve(stream, address, listener, presence),
            Err(reason) => self.turn_away(stream, reason),
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        listener: tidegate_config::Listener,
        presence: Presence,
    ) {
        if stream.set_nodelay(true).is_err() {
            return; // already closed by the caller
        }
        let worker = &self.worker;
        let pulse = worker.pulses.add(listener.timeouts);
        let connection = Connection {
            gate: worker.gate.clone(),
            listener,
            pulse,
            leaving: worker.leaving.clone(),
        };
        let (key, id) = (self.key.clone(), self.id);
        tokio::task::spawn_local(connection.serve(stream, move |http2| {
            Peer::new(address, key, id, http2, Box::new(presence))
        }));
    }

    fn turn_away(&self, stream: TcpStream, reason: Reason) {
        self.worker.gate.ledger().refuse(self.id, reason);
        let telling = self.worker.telling.clone();
        if telling.get() >= TOLD_AT_ONCE {
            return;
        }
        telling.set(telling.get() + 1);
        tokio::task::spawn_local(async move {
            connection::say(stream, reason).await;
            telling.set(telling.get() - 1);
        });
    }
}

/// The next caller may have better luck: nothing is wrong here (accept(2)).
fn is_of_one_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkUnreachable | TimedOut
    )
}
