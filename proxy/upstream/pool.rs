//! One worker's connections to one endpoint. HTTP/1.1 connections are lent to one request at a time, the newest first;
//! HTTP/2 connections are shared up to the streams that the endpoint allows.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use tidegate_config as config;
use tokio::sync::Notify;

use super::connect::{self, ConnectError, Opened, Place, Standing};
use super::http1::Http1;
use super::{Endpoint, Outbound, Version};
use crate::record::{VersionId, WorkerLedger};

mod lease;
#[cfg(test)]
mod tests;

pub(super) use lease::CutNotice;
pub use lease::{Lease, Link};

/// Requests of one worker that may wait for a connection to one endpoint; more are turned away at once.
const WAITING: usize = 1024;
/// A place freed by another worker is noticed within this, by one of those who wait.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// A worker that waits for places itself gives one up where a connection of the others has so many times as many
/// waiting for it: equals would only take them from one another, at the price of a new connection each time.
const UNFAIR: usize = 2;

/// Told when a request waits for a place that an idle connection of another worker may hold.
static WANTED: Notify = Notify::const_new();

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
                chose_http1: Cell::new(false),
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

    /// Somebody waits for a place: [`Pools::yield_up`] may free one. Who is not told in time finds out at the next sweep.
    pub async fn wanted(&self) {
        WANTED.notified().await;
    }

    /// Closes idle connections whose places other workers wait for.
    pub fn yield_up(&self) {
        self.by_endpoint
            .borrow()
            .values()
            .for_each(|pool| pool.yield_up());
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
    /// Where the endpoint may choose what is spoken: it chose HTTP/1.1 at the last connection.
    chose_http1: Cell<bool>,
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
    pub(super) standing: Rc<Standing>,
    /// When the last stream ended.
    since: Cell<Instant>,
    _place: Rc<Place>,
}

impl Shared {
    /// A handle to send one request with.
    pub(super) fn sender(&self) -> http2::SendRequest<Outbound> {
        self.sender.clone()
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
            let mut newest = idle.pop_back()?.connection;
            if newest.is_quiet() {
                return Some(newest);
            }
        }
    }

    fn take_shared(&self, except: Option<&Weak<Shared>>) -> Option<Rc<Shared>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|s| !s.sender.is_closed());
        let may = |s: &Rc<Shared>| except.is_none_or(|a| a.as_ptr() != Rc::as_ptr(s));
        // The busiest with room, so that the others can go idle.
        let best = shared
            .iter()
            .filter(|s| s.has_room() && may(s))
            .max_by_key(|s| s.streams.get())?;
        best.streams.set(best.streams.get() + 1);
        Some(best.clone())
    }

    fn give_back(&self, mut connection: Box<Http1>) {
        if !self.closed.get() && !self.is_owed(false) {
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
        idle.retain_mut(|u| u.connection.is_quiet());
        drop(idle);
        let stays = |s: &Rc<Shared>| {
            s.streams.get() > 0 || now.saturating_duration_since(s.since.get()) < limit
        };
        self.shared
            .borrow_mut()
            .retain(|s| !s.sender.is_closed() && stays(s));
        self.yield_up();
    }

    /// Whether a place that this worker could give, or could take, is due to another one. Of those who wait, there is
    /// always one that owes nothing: nobody waits for a place that all leave to one another.
    fn is_owed(&self, taking: bool) -> bool {
        let wanted = self.endpoint.wanted();
        if wanted == 0 {
            return false; // as nearly always
        }
        let (here, held) = (self.waiting.get(), self.held());
        let elsewhere = wanted.saturating_sub(here);
        let all = self.endpoint.connections();
        let others_free = self.max().saturating_sub(all + usize::from(taking));
        elsewhere > others_free && elsewhere * held > UNFAIR * here * all.saturating_sub(held)
    }

    fn max(&self) -> usize {
        self.settings.get().max_per_endpoint.get()
    }

    /// Connections of this worker.
    fn held(&self) -> usize {
        match self.endpoint.protocol {
            config::Protocol::Http1 => {
                let busy = self.in_flight.get().saturating_sub(self.waiting.get());
                busy + self.idle.borrow().len()
            }
            config::Protocol::H2c | config::Protocol::H2 => self.shared.borrow().len(),
            config::Protocol::Auto => {
                let shared = self.shared.borrow();
                let streams: usize = shared.iter().map(|s| s.streams.get()).sum();
                let others = self.waiting.get() + streams;
                let busy = self.in_flight.get().saturating_sub(others);
                busy + self.idle.borrow().len() + shared.len()
            }
        }
    }

    /// Closes idle connections as long as others wait for their places.
    fn yield_up(&self) {
        while self.is_owed(false) && self.drop_idle() {}
    }

    /// Closes the connection that has been idle for longest, if there is one; whether its place is free now. A shared one
    /// gives it back a little later: once its task has ended.
    fn drop_idle(&self) -> bool {
        let unused = |s: &Rc<Shared>| s.streams.get() == 0;
        let oldest = self.idle.borrow_mut().pop_front();
        if oldest.is_none() {
            let mut shared = self.shared.borrow_mut();
            let at = shared.iter().position(unused);
            at.map(|at| shared.swap_remove(at));
        }
        oldest.is_some()
    }

    fn dialing(&self) -> Option<Rc<Dialing>> {
        self.dialing.borrow().clone()
    }

    /// A new shared connection with its first stream taken; `None` where an old one has got room meanwhile.
    async fn dial_http2(&self) -> Result<Option<Rc<Shared>>, ConnectError> {
        let room = || self.shared.borrow().iter().any(|s| s.has_room());
        let Some(place) = self.place_or(self.patience(), room).await? else {
            return Ok(None);
        };
        let (sender, standing) = connect::http2(&place, self.settings.get().connect).await?;
        Ok(Some(self.share(sender, standing, place)))
    }

    /// A new connection of the kind that the endpoint chooses, for one request; `None` where an old one can be had
    /// meanwhile.
    async fn dial_either(&self, end: tokio::time::Instant) -> Result<Option<Link>, ConnectError> {
        let free = || {
            let room = self.shared.borrow().iter().any(|s| s.has_room());
            room || !self.idle.borrow().is_empty()
        };
        let Some(place) = self.place_or(end, free).await? else {
            return Ok(None);
        };
        let opened = connect::either(&place, self.settings.get().connect).await?;
        self.chose_http1.set(matches!(opened, Opened::Http1(_)));
        Ok(Some(match opened {
            Opened::Http1(connection) => Link::Http1(connection),
            Opened::Http2(sender, standing) => Link::Http2(self.share(sender, standing, place)),
        }))
    }

    /// Makes a connection that others may use too, its first stream taken.
    fn share(
        &self,
        sender: http2::SendRequest<Outbound>,
        standing: Rc<Standing>,
        place: Rc<Place>,
    ) -> Rc<Shared> {
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
        shared
    }

    /// A place for one more connection by `end`; `None` where `free` says that there is a connection to be had instead.
    async fn place_or(
        &self,
        end: tokio::time::Instant,
        free: impl Fn() -> bool,
    ) -> Result<Option<Rc<Place>>, ConnectError> {
        let take =
            || Place::take(&self.endpoint, self.max(), &self.ledger, self.version).map(Rc::new);
        if self.endpoint.wanted() == 0
            && let Some(place) = take()
        {
            return Ok(Some(place));
        }
        if self.waiting.get() >= WAITING {
            return Err(ConnectError::Overflow);
        }
        let _waits = Waiting::new(self);
        // A hundred that begin to wait at once need not all tell.
        let mut tells = self.waiting.get() == 1;
        loop {
            if free() {
                return Ok(None);
            }
            if !self.is_owed(true)
                && let Some(place) = take()
            {
                // Where one has come free there may be more.
                if self.waiting.get() > 1 {
                    self.freed.notify_one();
                }
                return Ok(Some(place));
            }
            let now = tokio::time::Instant::now();
            if now >= end {
                return Err(ConnectError::Overflow);
            }
            if tells {
                WANTED.notify_waiters();
            }
            // The more there are, the less often each asks: a thousand must not keep the worker busy with asking.
            let waiting = u32::try_from(self.waiting.get()).unwrap_or(u32::MAX);
            let again = (now + ASK_AGAIN * waiting).min(end);
            tells = tokio::time::timeout_at(again, self.freed.notified())
                .await
                .is_err();
        }
    }

    /// Until when a request that comes now waits for a place.
    fn patience(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.settings.get().connect
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

/// Counts who waits for a place, here and for all workers, for as long as it lives.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        pool.endpoint.want();
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.endpoint.unwant();
    }
}
