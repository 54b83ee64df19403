//! All that the proxy knows at one moment, and the one pointer to it.
//!
//! A [`Snapshot`] is immutable and complete: rules, versions, listeners of one revision. Control builds a new one and
//! [`Live::publish`]es it; each worker notices at its next request, by one relaxed load, and takes it as its [`View`]: the
//! same snapshot with this worker's own connection pools beside it.

pub mod edits;

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use tidegate_config::{self as config, Config};

use crate::record::RouteId;
use crate::route::Table;
use crate::upstream::{Balancer, Pools, Version};
use edits::Edits;

/// All that the proxy knows at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts published snapshots, from 1.
    pub revision: u64,
    /// What the operator wrote.
    pub config: Arc<Config>,
    /// Which version answers whom.
    pub table: Table,
    /// The versions of each service, both in the order of the configuration.
    pub services: Vec<Vec<Arc<Version>>>,
    /// What the request path needs of each route beside the table.
    pub routes: Vec<Route>,
    /// What the request path needs of each listener beside the table.
    pub listeners: Vec<Listener>,
}

/// What is done with the headers of a route's requests, and what it is counted under.
#[derive(Debug)]
pub struct Route {
    /// What it is counted under.
    pub id: RouteId,
    /// Edits of the request.
    pub request: Edits,
    /// Edits of the answer.
    pub response: Edits,
}

/// What is removed from the requests of a listener.
#[derive(Debug)]
pub struct Listener {
    /// Headers that callers may set although their names are the proxy's own (`x-tidegate-*`).
    pub trusted: Vec<http::HeaderName>,
    /// Headers that are removed by name: routing headers that are not trusted here.
    pub stripped: Arc<[http::HeaderName]>,
}

/// What makes a listener the same one after an edit: its address; where the system chooses the port, its name too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerKey {
    address: SocketAddr,
    name: Option<Arc<str>>,
}

impl ListenerKey {
    /// The key of a listener.
    pub fn of(listener: &config::Listener) -> Self {
        let name = (listener.address.port() == 0).then(|| listener.name.as_str().into());
        Self {
            address: listener.address,
            name,
        }
    }

    /// Whether it is this listener's.
    pub fn is_of(&self, listener: &config::Listener) -> bool {
        self.address == listener.address
            && self
                .name
                .as_deref()
                .is_none_or(|name| name == listener.name)
    }

    /// The address as configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Snapshot {
    /// The listener that a socket was opened for; `None` once an edit has removed it.
    pub fn listener_of(&self, key: &ListenerKey) -> Option<usize> {
        self.config.listeners.iter().position(|l| key.is_of(l))
    }

    /// Every endpoint's id.
    fn endpoints(&self) -> HashSet<u64> {
        self.services
            .iter()
            .flatten()
            .flat_map(|v| &v.endpoints)
            .map(|e| e.id)
            .collect()
    }
}

impl Listener {
    /// A name that is the proxy's own, or one that is stripped, with underscores for hyphens.
    pub fn is_reserved(&self, name: &str) -> bool {
        let plain = name.replace('_', "-");
        if plain.starts_with("x-tidegate-") {
            return !self.trusted.iter().any(|t| t.as_str() == name);
        }
        plain != name
            && (self.stripped.iter().any(|s| s.as_str() == plain)
                || plain.starts_with("x-forwarded-")
                || matches!(
                    plain.as_str(),
                    "transfer-encoding" | "content-length" | "x-real-ip"
                ))
    }
}

/// The one pointer between control and the request path.
#[derive(Debug, Clone)]
pub struct Live(Arc<ArcSwap<Snapshot>>);

impl Live {
    /// Begins with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// Puts `next` in force: the next request of every connection sees it. Only the controller calls this.
    pub fn publish(&self, next: Snapshot) {
        self.0.store(Arc::new(next));
    }

    /// The snapshot in force. Not for the request path, which has its [`Viewer`].
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

/// A snapshot as one worker sees it. A request holds it by a plain counter for as long as it lives.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    balancers: Vec<Vec<Rc<Balancer>>>,
}

impl View {
    /// This worker's connections to a version, both by index.
    pub fn balancer(&self, service: usize, version: usize) -> &Rc<Balancer> {
        &self.balancers[service][version]
    }

    fn new(snapshot: Arc<Snapshot>, old: Option<&Self>, pools: &Pools) -> Self {
        let kept = |version: &Arc<Version>| {
            let old = old?;
            let at = old.snapshot.services.iter().zip(&old.balancers);
            at.flat_map(|(versions, balancers)| versions.iter().zip(balancers))
                .find(|(known, _)| Arc::ptr_eq(known, version))
                .map(|(_, balancer)| balancer.clone())
        };
        let balancer =
            |v: &Arc<Version>| kept(v).unwrap_or_else(|| Rc::new(Balancer::new(v, pools)));
        let balancers = snapshot
            .services
            .iter()
            .map(|s| s.iter().map(balancer).collect())
            .collect();
        Self {
            snapshot,
            balancers,
        }
    }
}

/// A worker's window on [`Live`].
#[derive(Debug)]
pub struct Viewer {
    cache: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    pools: Rc<Pools>,
}

impl Viewer {
    /// A window on `live` with this worker's pools.
    pub fn new(live: &Live, pools: Rc<Pools>) -> Self {
        let view = View::new(live.current(), None, &pools);
        Self {
            cache: RefCell::new(Cache::new(live.0.clone())),
            view: RefCell::new(Rc::new(view)),
            pools,
        }
    }

    /// The view in force: one relaxed load where nothing has changed.
    pub fn view(&self) -> Rc<View> {
        let mut cache = self.cache.borrow_mut();
        let current = cache.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(current, &view.snapshot) {
            *view = Rc::new(View::new(current.clone(), Some(&view), &self.pools));
            let stay = view.snapshot.endpoints();
            let end = Instant::now() + view.snapshot.config.runtime.drain.max;
            self.pools.retain(|endpoint| stay.contains(&endpoint), end);
        }
        view.clone()
    }
}
