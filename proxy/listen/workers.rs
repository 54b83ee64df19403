//! Control's end of the workers: their threads, the set of open listeners, and how they leave.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tidegate_config as config;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::listener::Closing;
use super::presence::Crowd;
use super::worker::{Command, Start, Worker};
use crate::descriptors;
use crate::exchange::entry::Log;
use crate::handover::Inherited;
use crate::record::{AccessLog, Ledger, ListenerId};
use crate::snapshot::{ListenerKey, Live};

/// Connections that the kernel may hold for a worker that has not accepted them.
pub const BACKLOG: i32 = 4096;
/// What the system keeps of an answer that it cannot send yet, for each connection. By default it may be megabytes: a
/// crowd that reads nothing would fill the machine's memory outside of the process, and nobody could tell a caller that
/// reads slowly from one that does not. What is on its way does not count, so it slows nobody down.
pub const UNSENT: u32 = 128 * 1024;
/// Orders that a worker may not have followed yet.
const COMMANDS: usize = 256;
/// How long the workers may take to end once there is nothing left to do.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether the last connection is gone.
const LOOK: Duration = Duration::from_millis(20);

/// The workers and what they listen on.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Thread>,
    ledger: Arc<Ledger>,
    open: Vec<Open>,
    /// Those that were closed may still have connections.
    closed: Vec<Arc<Crowd>>,
    cut: watch::Sender<bool>,
    fallen: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<Command>,
    handle: JoinHandle<()>,
}

/// An address that is listened on.
#[derive(Debug)]
struct Open {
    name: String,
    id: ListenerId,
    key: ListenerKey,
    bound: SocketAddr,
    crowd: Arc<Crowd>,
    close: watch::Sender<Closing>,
    /// Its sockets once more, for a process that takes over. They go first when it closes: a socket ends with its last
    /// descriptor.
    /// `None` where no descriptor was left to keep them.
    lent: Option<Vec<OwnedFd>>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?} cannot bind {address}: {source}")]
pub struct BindFailure {
    /// The listener's name.
    pub listener: String,
    /// What was wanted.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// An address that was bound and is not listened on yet.
#[derive(Debug)]
pub struct Bound {
    name: String,
    key: ListenerKey,
    bound: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
}

/// A listener's sockets, for a process that takes over.
#[derive(Debug)]
pub struct Lent<'w> {
    /// Its name.
    pub name: &'w str,
    /// Its address as the file says it.
    pub asked: SocketAddr,
    /// The sockets of all workers.
    pub sockets: &'w [OwnedFd],
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// Where the system gives no thread or no event queue.
    pub fn start(
        count: usize,
        live: &Live,
        ledger: &Arc<Ledger>,
        log: &AccessLog,
    ) -> io::Result<Self> {
        let (cut, _) = watch::channel(false);
        let (falls, fallen) = watch::channel(false);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (commands, orders) = mpsc::channel(COMMANDS);
            let (live, ledger, pen, cut) =
                (live.clone(), ledger.clone(), log.pen(), cut.subscribe());
            let falls = falls.clone();
            let runtime = move || {
                let mut end = UntoldEnd {
                    worker: index,
                    falls,
                    is_told: false,
                };
                let built = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match built {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        tracing::error!(worker = index, %error, "a worker has no event queue");
                        return;
                    }
                };
                let log = Log::new(pen);
                runtime.block_on(Worker::run(Start {
                    live,
                    ledger: ledger.worker(index),
                    log,
                    commands: orders,
                    cut,
                }));
                end.was_told();
            };
            let handle = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(runtime)?;
            threads.push(Thread { commands, handle });
        }
        Ok(Self {
            threads,
            ledger: ledger.clone(),
            open: Vec::new(),
            closed: Vec::new(),
            cut,
            fallen,
        })
    }

    /// Becomes true when a worker has ended that nobody told to.
    pub fn fallen(&self) -> watch::Receiver<bool> {
        self.fallen.clone()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Binds the addresses of `wanted` that are not open yet. Nothing changes until [`Workers::listen`].
    ///
    /// # Errors
    /// Every address that cannot be had.
    pub fn bind(&self, wanted: &[config::Listener]) -> Result<Vec<Bound>, Vec<BindFailure>> {
        self.bind_beside(wanted, &mut Vec::new())
    }

    /// The same, with what another process has handed over: what is wanted of that is taken out of it.
    ///
    /// # Errors
    /// Every address that cannot be had.
    pub fn bind_beside(
        &self,
        wanted: &[config::Listener],
        inherited: &mut Vec<Inherited>,
    ) -> Result<Vec<Bound>, Vec<BindFailure>> {
        let mut bound = Vec::new();
        let mut failures = Vec::new();
        for listener in wanted
            .iter()
            .filter(|l| !self.open.iter().any(|o| o.key.is_of(l)))
        {
            let taken = self.open.iter().map(|o| o.bound);
            let beside = taken
                .chain(bound.iter().map(|b: &Bound| b.bound))
                .any(|ours| ours.port() == listener.address.port());
            let known = inherited.iter().position(|known| is_of(known, listener));
            let sockets = known.map(|at| inherited.swap_remove(at).sockets);
            match bind_all(listener, self.threads.len(), beside, sockets) {
                Ok(new) => bound.push(new),
                Err(source) => failures.push(BindFailure {
                    listener: listener.name.clone(),
                    address: listener.address,
                    source,
                }),
            }
        }
        if failures.is_empty() {
            Ok(bound)
        } else {
            Err(failures)
        }
    }

    /// Listens on what was bound and closes what is not wanted any more: queues are served, connections drain.
    /// Call it when the snapshot that knows the new listeners is in force.
    pub async fn listen(&mut self, wanted: &[config::Listener], bound: Vec<Bound>) {
        for open in &mut self.open {
            let renamed = wanted
                .iter()
                .find(|l| open.key.is_of(l) && l.name != open.name);
            // Before a new listener may ask for the number of the old name.
            if let Some(listener) = renamed {
                open.name.clone_from(&listener.name);
                self.ledger.rename_listener(open.id, &open.name);
            }
        }
        for new in bound {
            let (close, closes) = watch::channel(Closing::Not);
            let crowd = Arc::new(Crowd::default());
            let id = self.ledger.listener(&new.name);
            let lent = new.sockets.iter().map(descriptors::lowered);
            let lent = lent.collect::<io::Result<Vec<_>>>().ok();
            // A process that took over may have more sockets than workers.
            for (thread, socket) in self.threads.iter().cycle().zip(new.sockets) {
                let command = Command::Listen {
                    socket,
                    key: new.key.clone(),
                    id,
                    crowd: crowd.clone(),
                    close: closes.clone(),
                };
                // A worker that has stopped takes no orders: the process is leaving.
                let _ = thread.commands.send(command).await;
            }
            tracing::info!(listener = new.name, address = %new.bound, "listening");
            self.open.push(Open {
                name: new.name,
                id,
                key: new.key.clone(),
                bound: new.bound,
                crowd,
                close,
                lent,
            });
        }
        let (stay, go): (Vec<_>, Vec<_>) = self
            .open
            .drain(..)
            .partition(|o| wanted.iter().any(|l| o.key.is_of(l)));
        self.open = stay;
        for gone in go {
            tracing::info!(listener = gone.name, address = %gone.bound, "no longer listening");
            drop(gone.lent);
            gone.close.send_replace(Closing::Ends);
            self.closed.push(gone.crowd);
        }
        self.closed.retain(|crowd| Arc::strong_count(crowd) > 1);
    }

    /// What is listened on, for a process that takes over, in the order of [`Workers::addresses`]; `None` where no
    /// descriptors were left to keep for that.
    pub fn lend(&self) -> Option<Vec<Lent<'_>>> {
        let lent = self.open.iter().map(|open| {
            Some(Lent {
                name: &open.name,
                asked: open.key.address(),
                sockets: open.lent.as_deref()?,
            })
        });
        lent.collect()
    }

    /// Another process listens now on those of these places: this one lets go of them, and their queues stay. The others
    /// close as ever. Nobody who is connected is told to go yet.
    pub async fn hand_over(&mut self, taken: &[usize]) {
        let mut stay = Vec::new();
        for (place, open) in self.open.drain(..).enumerate() {
            if taken.contains(&place) {
                drop(open.lent);
                open.close.send_replace(Closing::HandedOver);
                self.closed.push(open.crowd);
            } else {
                stay.push(open);
            }
        }
        self.open = stay;
        self.listen(&[], Vec::new()).await;
    }

    /// The names and the addresses that are listened on, with the ports that were given.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open
            .iter()
            .map(|o| (o.name.clone(), o.bound))
            .collect()
    }

    /// Open connections of all listeners, also of those that were closed.
    pub fn connections(&self) -> usize {
        self.open
            .iter()
            .map(|o| &o.crowd)
            .chain(&self.closed)
            .map(|crowd| crowd.open())
            .sum()
    }

    /// Leaving begins: still accepting, but every answer asks its caller to close the connection.
    pub async fn leave(&self) {
        self.tell(|| Command::Leave).await;
    }

    /// No new connections; idle ones close, busy ones after their request.
    pub async fn close(&mut self) {
        self.listen(&[], Vec::new()).await;
        self.close_idle().await;
    }

    /// Idle connections close, busy ones after their request.
    pub async fn close_idle(&self) {
        self.tell(|| Command::CloseIdle).await;
    }

    /// Waits until the last connection is gone, for as long as `patience`; how many are left.
    pub async fn drained(&self, patience: Duration) -> usize {
        let end = tokio::time::Instant::now() + patience;
        while self.is_anybody_there() && tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        self.connections()
    }

    /// Whether a connection is open, or a listener that was closed still serves its queue: both hold on to the crowd.
    fn is_anybody_there(&self) -> bool {
        self.connections() > 0 || self.closed.iter().any(|crowd| Arc::strong_count(crowd) > 1)
    }

    /// Ends everything that is left and the workers with it.
    pub async fn stop(self) {
        self.cut.send_replace(true);
        self.tell(|| Command::Stop).await;
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads
                .into_iter()
                .map(|t| t.handle.join())
                .collect::<Vec<_>>()
        });
        match tokio::time::timeout(STOP_WITHIN, joined).await {
            Ok(Ok(ends)) if ends.iter().any(Result::is_err) => {
                tracing::error!("a worker had panicked");
            }
            Ok(_) => {}
            Err(_) => {
                tracing::error!("a worker has not ended within {STOP_WITHIN:?}; leaving without it")
            }
        }
    }

    async fn tell(&self, command: impl Fn() -> Command) {
        for thread in &self.threads {
            let _ = thread.commands.send(command()).await;
        }
    }
}

/// Tells, unless it is defused, that a worker's thread is gone: by a panic, or because it could not begin. Its
/// connections are lost and its share of the work falls to the others: the process must not go on as if nothing was.
struct UntoldEnd {
    worker: usize,
    falls: watch::Sender<bool>,
    is_told: bool,
}

impl UntoldEnd {
    /// It was told to end.
    fn was_told(&mut self) {
        self.is_told = true;
    }
}

impl Drop for UntoldEnd {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        tracing::error!(
            worker = self.worker,
            "worker {} has ended by itself: a fault of tidegate",
            self.worker
        );
        self.falls.send_replace(true);
    }
}

/// Whether these sockets are this listener's: its address is the same; where the system chose the port, its name too.
fn is_of(known: &Inherited, listener: &config::Listener) -> bool {
    known.asked == listener.address && (listener.address.port() != 0 || known.name == listener.name)
}

/// A socket for each worker on one address; the kernel spreads connections over them. `beside`: a listener of ours has
/// the port already, on another address. `inherited`: those that another process has handed over; all of them stay, for
/// each has a queue of its own, and further ones join them where there are more workers.
fn bind_all(
    listener: &config::Listener,
    workers: usize,
    beside: bool,
    inherited: Option<Vec<OwnedFd>>,
) -> io::Result<Bound> {
    let inherited = inherited.into_iter().flatten();
    let mut sockets: Vec<_> = inherited.map(std::net::TcpListener::from).collect();
    // Without SO_REUSEPORT first: another process on this address must be an error, not a partner. Beside a socket of
    // ours that would find ourselves: one address and all addresses overlap.
    let address = match (sockets.first(), beside) {
        (Some(first), _) => first.local_addr()?,
        (None, true) => listener.address,
        (None, false) => bind_one(listener.address, false)?.local_addr()?,
    };
    for socket in &sockets {
        socket.set_nonblocking(true)?;
        // The program that opened it may be an older one.
        SockRef::from(socket).set_tcp_nodelay(true)?;
    }
    while sockets.len() < workers {
        sockets.push(bind_one(address, true)?);
    }
    Ok(Bound {
        name: listener.name.clone(),
        key: ListenerKey::of(listener),
        bound: address,
        sockets,
    })
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != std::net::Ipv6Addr::UNSPECIFIED)?;
    }
    // Accepted connections inherit both.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(work: impl FnOnce(UntoldEnd) + Send + 'static) -> bool {
        let (falls, fallen) = watch::channel(false);
        let end = UntoldEnd {
            worker: 0,
            falls,
            is_told: false,
        };
        let _ = std::thread::spawn(move || work(end)).join();
        *fallen.borrow()
    }

    #[test]
    fn a_worker_that_falls_is_noticed_and_one_that_was_told_to_end_is_not() {
        assert!(ended(|_end| panic!("a fault")));
        assert!(ended(drop), "one that could not begin has fallen too");
        assert!(!ended(|mut end| end.was_told()));
    }
}
