//! One worker's connections to one endpoint. HTTP/1.1 connections are lent to one request at a time, the newest first;
//! HTTP/2 connections are shared up to the streams that the endpoint allows.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use tidegate_config as config;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::connect::{self, ConnectError, Place, Standing};
use super::http1::Http1;
use super::{Endpoint, Outbound, Version};
use crate::record::{VersionId, WorkerLedger};

/// Requests of one worker that may wait for a connection to one endpoint; more are turned away at once.
const WAITING: usize = 1024;
/// A place freed by another worker is noticed within this, by one of those who wait.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// All pools of one worker, by endpoint. They outlive snapshots: an edit that keeps an endpoint keeps its connections.
#[derive(Debug)]
pub struct Pools {
    ledger: WorkerLedger,
    by_endpoint: RefCell<HashMap<u64, Rc<Pool>>>,
    /// Of endpoints that are gone, as long as somebody uses them, and when that must end.
    leaving: RefCell<Vec<(Instant, Weak<Pool>)>>,
}

impl Pools {
    /// No pool yet.
    pub fn new(ledger: WorkerLedger) -> Self {
        Self {
            ledger,
            by_endpoint: RefCell::default(),
            leaving: RefCell::default(),
        }
    }

    /// The pool of an endpoint of `version`, made where there is none, with the version's settings from now on.
    pub fn pool(&self, version: &Version, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.entry(endpoint.id).or_insert_with(|| {
            Rc::new(Pool {
                endpoint: endpoint.clone(),
                version: version.id,
                ledger: self.ledger.clone(),
                settings: Cell::new(version.pool),
                closed: Cell::new(false),
                is_cut: Cell::new(false),
                cut: Arc::default(),
                in_flight: Cell::new(0),
                waiting: Cell::new(0),
                freed: Notify::new(),
                idle: RefCell::default(),
                shared: RefCell::default(),
                dialing: RefCell::default(),
            })
        });
        pool.settings.set(version.pool);
        pool.clone()
    }

    /// Forgets the pools of endpoints that are gone: idle connections close at once, busy ones after their request, and
    /// streams and tunnels over them at `end` whether they are through or not.
    pub fn retain(&self, keep: impl Fn(u64) -> bool, end: Instant) {
        let mut leaving = self.leaving.borrow_mut();
        self.by_endpoint.borrow_mut().retain(|id, pool| {
            let stays = keep(*id);
            if !stays {
                pool.close();
                leaving.push((end, Rc::downgrade(pool)));
            }
            stays
        });
    }

    /// Closes connections that nobody has used for `pool.idle`, and what has been leaving for long enough.
    pub fn sweep(&self, now: Instant) {
        self.by_endpoint
            .borrow()
            .values()
            .for_each(|pool| pool.sweep(now));
        self.leaving.borrow_mut().retain(|(end, pool)| {
            let Some(pool) = pool.upgrade() else {
                return false;
            };
            let stays = now < *end;
            if !stays {
                pool.cut();
            }
            stays
        });
    }
}

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct Pool {
    /// The machine.
    pub endpoint: Arc<Endpoint>,
    version: VersionId,
    ledger: WorkerLedger,
    settings: Cell<config::Pool>,
    /// The endpoint left the configuration: nothing is kept.
    closed: Cell<bool>,
    /// Nothing goes on over it any more.
    is_cut: Cell<bool>,
    /// Told when that begins.
    cut: Arc<Notify>,
    in_flight: Cell<usize>,
    waiting: Cell<usize>,
    /// A connection of this worker came back or ended.
    freed: Notify,
    /// Oldest in front.
    idle: RefCell<VecDeque<Unused>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    dialing: RefCell<Option<Rc<Dialing>>>,
}

#[derive(Debug)]
struct Unused {
    connection: Box<Http1>,
    since: Instant,
}

/// An HTTP/2 connection and its users.
#[derive(Debug)]
pub struct Shared {
    sender: http2::SendRequest<Outbound>,
    streams: Cell<usize>,
    standing: Rc<Standing>,
    /// When the last stream ended.
    since: Cell<Instant>,
    _place: Rc<Place>,
}

impl Shared {
    /// A handle to send one request with.
    pub(super) fn sender(&self) -> http2::SendRequest<Outbound> {
        self.sender.clone()
    }

    /// Whether it ended because the endpoint said what is no HTTP/2.
    pub(super) fn is_malformed(&self) -> bool {
        self.standing.is_malformed.get()
    }

    fn has_room(&self) -> bool {
        !self.sender.is_closed() && self.streams.get() < self.standing.allowed.get()
    }
}

impl Pool {
    /// Requests of this worker that are under way to the endpoint.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// A hold on the endpoint for one request, counted from now; it has no connection yet.
    pub fn lease(self: &Rc<Self>) -> Lease {
        self.in_flight.set(self.in_flight.get() + 1);
        Lease {
            pool: self.clone(),
            link: Link::None,
            reused: false,
        }
    }

    fn take_idle(&self) -> Option<Box<Http1>> {
        let mut idle = self.idle.borrow_mut();
        loop {
            // One that is not quiet has ended, or said something that nobody asked for.
            let newest = idle.pop_back()?.connection;
            if newest.is_quiet() {
                return Some(newest);
            }
        }
    }

    fn take_shared(&self) -> Option<Rc<Shared>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|s| !s.sender.is_closed());
        // The busiest with room, so that the others can go idle.
        let best = shared
            .iter()
            .filter(|s| s.has_room())
            .max_by_key(|s| s.streams.get())?;
        best.streams.set(best.streams.get() + 1);
        Some(best.clone())
    }

    fn give_back(&self, mut connection: Box<Http1>) {
        if !self.closed.get() {
            connection.rest();
            self.idle.borrow_mut().push_back(Unused {
                connection,
                since: Instant::now(),
            });
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    fn cut(&self) {
        self.is_cut.set(true);
        self.cut.notify_waiters();
    }

    fn sweep(&self, now: Instant) {
        let limit = self.settings.get().idle;
        let mut idle = self.idle.borrow_mut();
        while idle
            .front()
            .is_some_and(|u| now.saturating_duration_since(u.since) >= limit)
        {
            idle.pop_front();
        }
        idle.retain(|u| u.connection.is_quiet());
        let stays = |s: &Rc<Shared>| {
            s.streams.get() > 0 || now.saturating_duration_since(s.since.get()) < limit
        };
        self.shared
            .borrow_mut()
            .retain(|s| !s.sender.is_closed() && stays(s));
    }

    fn dialing(&self) -> Option<Rc<Dialing>> {
        self.dialing.borrow().clone()
    }

    /// A new shared connection with its first stream taken; `None` where an old one has got room meanwhile.
    async fn dial_h2c(&self) -> Result<Option<Rc<Shared>>, ConnectError> {
        let room = || self.shared.borrow().iter().any(|s| s.has_room());
        let Some(place) = self.place_or(room).await? else {
            return Ok(None);
        };
        let (sender, standing) = connect::h2c(&place, self.settings.get().connect).await?;
        let shared = Rc::new(Shared {
            sender,
            streams: Cell::new(1),
            standing,
            since: Cell::new(Instant::now()),
            _place: place,
        });
        if !self.closed.get() {
            self.shared.borrow_mut().push(shared.clone());
        }
        Ok(Some(shared))
    }

    /// A place for one more connection, or a connection that came free while waiting for one.
    async fn place_or(&self, free: impl Fn() -> bool) -> Result<Option<Rc<Place>>, ConnectError> {
        let settings = self.settings.get();
        let max = settings.max_per_endpoint.get();
        let take = || Place::take(&self.endpoint, max, &self.ledger, self.version).map(Rc::new);
        if let Some(place) = take() {
            return Ok(Some(place));
        }
        if self.waiting.get() >= WAITING {
            return Err(ConnectError::Overflow);
        }
        let _waits = Waiting::new(&self.waiting);
        let end = tokio::time::Instant::now() + settings.connect;
        while tokio::time::Instant::now() < end {
            // The more there are, the less often each asks: a thousand must not keep the worker busy with asking.
            let waiting = u32::try_from(self.waiting.get()).unwrap_or(u32::MAX);
            let again = tokio::time::Instant::now() + ASK_AGAIN * waiting;
            let _ = tokio::time::timeout_at(again.min(end), self.freed.notified()).await;
            if free() {
                return Ok(None);
            }
            if let Some(place) = take() {
                return Ok(Some(place));
            }
        }
        Err(ConnectError::Overflow)
    }
}

/// A connection that is being made, as those see it who wait for it.
#[derive(Debug, Default)]
struct Dialing {
    ended: Notify,
    failure: Cell<Option<ConnectError>>,
}

/// The making of a connection. Dropped, it wakes who waits: what it made is in the pool by then, or its failure told;
/// where its own request was given up, the next one makes another.
struct Dial(Rc<Dialing>, Rc<Pool>);

impl Dial {
    fn begin(pool: &Rc<Pool>) -> Self {
        let dialing = Rc::new(Dialing::default());
        *pool.dialing.borrow_mut() = Some(dialing.clone());
        Self(dialing, pool.clone())
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.1.dialing.borrow_mut().take();
        self.0.ended.notify_waiters();
    }
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One request's hold on an endpoint and, once connected, on a connection. Dropped before [`Lease::release`], an
/// HTTP/1.1 connection is closed: nobody knows what would come next on it.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Pool>,
    link: Link,
    reused: bool,
}

/// Waits for [`Lease::poll_cut`].
pub(super) type CutNotice = Pin<Box<OwnedNotified>>;

/// What a lease goes over.
#[derive(Debug)]
pub enum Link {
    /// Nothing yet.
    None,
    /// A connection of its own.
    Http1(Box<Http1>),
    /// A stream of a shared connection.
    H2c(Rc<Shared>),
}

impl Lease {
    /// The machine.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.pool.endpoint
    }

    /// Whether the connection has served another request before: its other end may have closed it meanwhile.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gets a connection: a warm one, else a new one. `fresh` refuses warm ones.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub async fn connect(&mut self, fresh: bool) -> Result<(), ConnectError> {
        match self.pool.endpoint.protocol {
            config::Protocol::Http1 => self.connect_http1(fresh).await,
            config::Protocol::H2c => self.connect_h2c().await,
        }
    }

    async fn connect_http1(&mut self, fresh: bool) -> Result<(), ConnectError> {
        let pool = self.pool.clone();
        if !fresh && self.reuse() {
            return Ok(());
        }
        let place = loop {
            match pool.place_or(|| !pool.idle.borrow().is_empty()).await? {
                Some(place) => break place,
                None if self.reuse() => return Ok(()),
                None => {}
            }
        };
        let connection = connect::http1(&place, pool.settings.get().connect).await?;
        self.link = Link::Http1(connection);
        self.reused = false;
        Ok(())
    }

    fn reuse(&mut self) -> bool {
        let Some(connection) = self.pool.take_idle() else {
            return false;
        };
        self.link = Link::Http1(connection);
        self.reused = true;
        true
    }

    async fn connect_h2c(&mut self) -> Result<(), ConnectError> {
        let pool = self.pool.clone();
        loop {
            if let Some(shared) = pool.take_shared() {
                self.link = Link::H2c(shared);
                self.reused = true;
                return Ok(());
            }
            // Who comes while a connection is being made waits for it, and shares it or its failure.
            if let Some(dial) = pool.dialing() {
                dial.ended.notified().await;
                match dial.failure.get() {
                    Some(failure) => return Err(failure),
                    None => continue,
                }
            }
            let dial = Dial::begin(&pool);
            let shared = match pool.dial_h2c().await {
                Ok(Some(shared)) => shared,
                Ok(None) => continue,
                Err(failure) => {
                    dial.0.failure.set(Some(failure));
                    return Err(failure);
                }
            };
            self.link = Link::H2c(shared);
            self.reused = false;
            return Ok(());
        }
    }

    /// Ready once the endpoint has left the configuration and what goes on over it has had its time.
    pub async fn cut(&self) {
        let told = self.pool.cut.notified();
        if !self.pool.is_cut.get() {
            told.await;
        }
    }

    /// The same for who polls: `told` is kept between the calls, and made at the first one.
    pub(super) fn poll_cut(&self, told: &mut Option<CutNotice>, cx: &mut Context<'_>) -> Poll<()> {
        if self.pool.is_cut.get() {
            return Poll::Ready(());
        }
        told.get_or_insert_with(|| Box::pin(self.pool.cut.clone().notified_owned()))
            .as_mut()
            .poll(cx)
    }

    /// What it goes over.
    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    pub(super) fn peek(&self) -> &Link {
        &self.link
    }

    /// The connection itself, for a tunnel; the endpoint stays counted as busy until the lease is dropped.
    pub fn take_connection(&mut self) -> Option<Box<Http1>> {
        match std::mem::replace(&mut self.link, Link::None) {
            Link::Http1(connection) => Some(connection),
            other => {
                self.link = other;
                None
            }
        }
    }

    /// The answer has ended well: the connection may serve the next request.
    pub fn release(mut self) {
        if let Link::Http1(connection) = &self.link
            && connection.is_reusable()
            && let Some(connection) = self.take_connection()
        {
            self.pool.give_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.set(self.pool.in_flight.get() - 1);
        if let Link::H2c(shared) = &self.link {
            shared.streams.set(shared.streams.get() - 1);
            shared.since.set(Instant::now());
        }
        if self.pool.waiting.get() > 0 {
            self.pool.freed.notify_one();
        }
    }
}
