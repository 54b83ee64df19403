//! One socket of one worker: accept, keep the bounds, and go on when the process has run out of file descriptors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{self, Connection, Encrypted, Terms};
use super::presence::{Crowd, Presence};
use super::pulse::Door;
use super::queue::{self, LAST_HANDSHAKES};
use super::reading::Reading;
use super::worker::Worker;
use crate::descriptors::{self, Use};
use crate::exchange::Peer;
use crate::record::{ListenerId, Reason};
use crate::snapshot::ListenerKey;
use crate::transport::serving::Serving;

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
    /// How snapshots know the listener.
    pub key: ListenerKey,
    /// What it is counted under.
    pub id: ListenerId,
    /// Who is connected, over all workers.
    pub crowd: Arc<Crowd>,
    /// Who came through it looks at this.
    pub door: Rc<Door>,
    /// Tells when and how it is to close.
    pub close: watch::Receiver<Closing>,
}

/// What becomes of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// It stays open.
    #[default]
    Not,
    /// It closes: its queue is served first, and who came through it finishes and goes.
    Ends,
    /// Another process has it, and its queue: this one only lets go of it. Who came through it is told to go by whoever
    /// ends this process.
    HandedOver,
}

impl Listener {
    /// Accepts on `socket` until told to close; then closes it and serves what the kernel had accepted by then.
    pub async fn run(self, socket: TcpListener) {
        let mut trouble = Trouble::default();
        let mut close = self.close.clone();
        let mut closing = pin!(close.wait_for(|close| *close != Closing::Not));
        let mut waiting: Option<(TcpStream, SocketAddr)> = None;
        'open: loop {
            let accepted = match waiting.take() {
                Some((stream, address)) => Ok((lowered(stream), address)),
                None => tokio::select! {
                    accepted = socket.accept() => accepted,
                    _ = &mut closing => break,
                },
            };
            let error = match accepted {
                // One may wait with a descriptor that is control's, the rest of the queue without.
                Ok((stream, address)) if Use::Requests.is_denied(&stream) => {
                    if Use::Waiting.is_denied(&stream) {
                        let ledger = self.worker.gate.ledger();
                        ledger.refuse(self.id, Reason::Connections);
                    } else {
                        waiting = Some((stream, address));
                    }
                    io::Error::from(Errno::MFILE)
                }
                Ok((stream, address)) => {
                    trouble.is_over();
                    self.admit(stream, address);
                    continue;
                }
                Err(error) if is_of_one_caller(&error) => continue,
                Err(error) => error,
            };
            loop {
                tokio::select! {
                    () = tokio::time::sleep(trouble.back_off(&error, &self.key)) => {}
                    _ = &mut closing => break 'open,
                }
                let lowest = descriptors::lowered(&socket);
                if lowest.is_ok_and(|lowest| !Use::Requests.is_denied(&lowest)) {
                    break;
                }
            }
        }
        if let Some((stream, address)) = waiting {
            self.admit(stream, address);
        }
        if *self.close.borrow() == Closing::HandedOver {
            return;
        }
        match queue::let_nobody_begin(&socket) {
            Ok(()) => self.last_handshakes(&socket).await,
            Err(error) => tracing::debug!(%error, "a caller may be lost while a socket closes"),
        }
        for (stream, address) in queue::close_and_take(socket) {
            match TcpStream::from_std(stream) {
                Ok(stream) => self.admit(stream, address),
                Err(error) => tracing::debug!(%error, "a caller is lost with its queue"),
            }
        }
        let drain = self.worker.gate.viewer().view();
        let drain = drain.snapshot.config.runtime.drain.max;
        self.door.close(Instant::now() + drain);
        self.worker.pulses.rouse();
    }

    /// Lets in who has begun to come.
    async fn last_handshakes(&self, socket: &TcpListener) {
        let mut over = pin!(tokio::time::sleep(LAST_HANDSHAKES));
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) if Use::Requests.is_denied(&stream) => return,
                    Ok((stream, address)) => self.admit(stream, address),
                    Err(error) if is_of_one_caller(&error) => {}
                    Err(_) => return,
                },
                () = &mut over => return,
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        // Also where an edit has removed the listener: the kernel has let the caller in.
        let Some((view, at)) = self.worker.gate.viewer().view_of(&self.key) else {
            return;
        };
        let terms = Terms::from(&view.snapshot.config.listeners[at]);
        let serving = view.snapshot.listeners[at].serving.clone();
        let ledger = self.worker.gate.ledger();
        match self
            .crowd
            .enter(address.ip().to_canonical(), &terms.limits, ledger, self.id)
        {
            Ok(presence) => self.serve(stream, address, (terms, serving), presence),
            Err(reason) => self.turn_away(stream, serving.is_none(), reason),
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        (terms, serving): (Terms, Option<Arc<Serving>>),
        presence: Presence,
    ) {
        let worker = &self.worker;
        let pulse = worker.pulses.add(terms.timeouts, &self.door);
        let ledger = worker.gate.ledger().clone();
        pulse.watch_reading(Reading::new(terms.limits.min_rate, ledger, self.id));
        let connection = Connection {
            gate: worker.gate.clone(),
            terms,
            pulse,
            leaving: worker.leaving.clone(),
            tls: serving.map(|serving| Encrypted {
                serving,
                handshakes: worker.handshakes.clone(),
                listener: self.id,
            }),
        };
        let (key, id) = (self.key.clone(), self.id);
        let serving = connection.serve(stream, move |http2, session| {
            Peer::new(address, key, id, http2, session, Box::new(presence))
        });
        // Boxed: the runtime moves a task about several times at its beginning and end, and this one is 8 KB.
        tokio::task::spawn_local(Box::pin(serving));
    }

    fn turn_away(&self, stream: TcpStream, can_be_told: bool, reason: Reason) {
        self.worker.gate.ledger().refuse(self.id, reason);
        let telling = self.worker.telling.clone();
        // A handshake would cost more than to let the caller in.
        if !can_be_told || telling.get() >= TOLD_AT_ONCE {
            return;
        }
        telling.set(telling.get() + 1);
        tokio::task::spawn_local(async move {
            connection::say(stream, reason).await;
            telling.set(telling.get() - 1);
        });
    }
}

/// A time in which nobody new can be let in.
#[derive(Debug, Default)]
struct Trouble {
    failures: usize,
    said: Option<Instant>,
}

impl Trouble {
    /// One more failure: tells of it, not too often, and says how long to wait.
    fn back_off(&mut self, error: &io::Error, key: &ListenerKey) -> Duration {
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::error!(
                address = %key.address(), %error,
                "cannot accept connections; those that are open go on, new ones wait; raise the limit of open files or \
                 lower limits.connections"
            );
        }
        let wait = BACK_OFF[self.failures.min(BACK_OFF.len() - 1)];
        self.failures += 1;
        wait
    }

    fn is_over(&mut self) {
        self.failures = 0;
    }
}

/// The same connection by the lowest descriptor that is free now, or by its old one.
fn lowered(stream: TcpStream) -> TcpStream {
    let lower = descriptors::lowered(&stream).ok();
    let lower = lower.filter(|lower| lower.as_raw_fd() < stream.as_raw_fd());
    lower
        .and_then(|lower| TcpStream::from_std(lower.into()).ok())
        .unwrap_or(stream)
}

/// The next caller may have better luck: nothing is wrong here (accept(2)).
pub(super) fn is_of_one_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}
