//! All that the proxy knows at one moment, and the one pointer to it.
//!
//! A [`Snapshot`] is immutable and complete: rules, versions, listeners of one revision. Control builds a new one and
//! [`Live::publish`]es it; each worker notices at its next request, by one relaxed load, and takes it as its [`View`]: the
//! same snapshot with this worker's own connection pools beside it.

pub mod edits;
mod in_force;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use tidegate_config::{self as config, Config};

use crate::record::RouteId;
use crate::route::Table;
use crate::transport::serving::Serving;
use crate::upstream::{Balancer, Pools, Version};
use edits::Edits;
pub use in_force::InForce;

/// All that the proxy knows at one moment. A clone shares everything: a shift is a clone with other [`InForce`]s.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts edits, from 1. A shift is none.
    pub revision: u64,
    /// What the operator wrote.
    pub config: Arc<Config>,
    /// Which version answers whom.
    pub table: Arc<Table>,
    /// The versions of each service, both in the order of the configuration.
    pub services: Arc<[Vec<Arc<Version>>]>,
    /// What the request path needs of each route beside the table.
    pub routes: Arc<[Route]>,
    /// What the request path needs of each listener beside the table.
    pub listeners: Arc<[Listener]>,
    /// Where each rollout stands, in the order of `config.rollouts`.
    pub rollouts: Arc<[InForce]>,
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

/// What is removed from the requests of a listener, and what it shows callers.
#[derive(Debug)]
pub struct Listener {
    /// Headers that callers may set although their names are the proxy's own (`x-tidegate-*`).
    pub trusted: Vec<http::HeaderName>,
    /// Headers that are removed by name: routing headers that are not trusted here.
    pub stripped: Arc<[http::HeaderName]>,
    /// What its TLS handshakes go by; `None` is no TLS.
    pub serving: Option<Arc<Serving>>,
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
    /// The same but for where the rollouts stand: one for each of `config.rollouts`.
    #[must_use]
    pub fn with_rollouts(&self, rollouts: impl Into<Arc<[InForce]>>) -> Self {
        Self {
            rollouts: rollouts.into(),
            ..self.clone()
        }
    }

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
    balancers: Rc<[Vec<Rc<Balancer>>]>,
}

impl View {
    /// This worker's connections to a version, both by index.
    pub fn balancer(&self, service: usize, version: usize) -> &Rc<Balancer> {
        &self.balancers[service][version]
    }

    fn new(snapshot: Arc<Snapshot>, old: Option<&Self>, pools: &Pools) -> Self {
        // After a shift the versions are the very same, and so is all that belongs to them.
        if let Some(old) = old.filter(|old| Arc::ptr_eq(&old.snapshot.services, &snapshot.services))
        {
            return Self {
                snapshot,
                balancers: old.balancers.clone(),
            };
        }
        let known = old.map(|old| {
            let versions = old.snapshot.services.iter().flatten().map(Arc::as_ptr);
            let balancers = old.balancers.iter().flatten();
            versions.zip(balancers).collect::<HashMap<_, _>>()
        });
        let kept = |version: &Arc<Version>| {
            let balancer = known.as_ref()?.get(&Arc::as_ptr(version))?;
            Some(Rc::clone(balancer))
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
    parting: RefCell<Vec<Parting>>,
    pools: Rc<Pools>,
}

/// A listener that an edit has removed: who came in by it is served as of the last view that knew it.
#[derive(Debug)]
struct Parting {
    key: ListenerKey,
    view: Rc<View>,
    until: Instant,
}

impl Viewer {
    /// A window on `live` with this worker's pools.
    pub fn new(live: &Live, pools: Rc<Pools>) -> Self {
        let view = View::new(live.current(), None, &pools);
        Self {
            cache: RefCell::new(Cache::new(live.0.clone())),
            view: RefCell::new(Rc::new(view)),
            parting: RefCell::default(),
            pools,
        }
    }

    /// The view in force: one relaxed load where nothing has changed.
    pub fn view(&self) -> Rc<View> {
        let mut cache = self.cache.borrow_mut();
        let current = cache.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(current, &view.snapshot) {
            let next = Rc::new(View::new(current.clone(), Some(&view), &self.pools));
            let is_shift = Arc::ptr_eq(&view.snapshot.config, &next.snapshot.config);
            if !is_shift {
                let stay = next.snapshot.endpoints();
                let end = Instant::now() + next.snapshot.config.runtime.drain.max;
                self.pools.retain(|endpoint| stay.contains(&endpoint), end);
                self.part(&view, &next.snapshot, end);
            }
            *view = next;
        }
        view.clone()
    }

    /// What a request is answered by that came in by the listener `key`, and the listener's index in it: the view in
    /// force or, where an edit has removed the listener, the last that knew it. `None` once its drain is over.
    pub fn view_of(&self, key: &ListenerKey) -> Option<(Rc<View>, usize)> {
        let view = self.view();
        if let Some(at) = view.snapshot.listener_of(key) {
            return Some((view, at));
        }
        let parting = self.parting.borrow();
        let last = &parting.iter().find(|p| p.key == *key)?.view;
        let at = last.snapshot.listener_of(key)?;
        Some((last.clone(), at))
    }

    /// Lets go of views that served removed listeners whose drain is over.
    pub fn sweep(&self, now: Instant) {
        self.parting.borrow_mut().retain(|p| p.until > now);
    }

    fn part(&self, old: &Rc<View>, next: &Snapshot, until: Instant) {
        let mut parting = self.parting.borrow_mut();
        parting.retain(|p| next.listener_of(&p.key).is_none());
        let keys = old.snapshot.config.listeners.iter().map(ListenerKey::of);
        let gone = keys.filter(|key| next.listener_of(key).is_none());
        parting.extend(gone.map(|key| Parting {
            key,
            view: old.clone(),
            until,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::Ledger;

    /// A snapshot that knows only listeners.
    fn of(revision: u64, listeners: &[&str]) -> Snapshot {
        let listeners = listeners
            .iter()
            .map(|at| format!("{{ name: 'on {at}', address: '{at}' }}"));
        let text = format!(
            "version: 1\nlisteners: [{}]\nroutes: [{{ name: r, respond: {{ status: 200 }} }}]\n",
            listeners.collect::<Vec<_>>().join(", ")
        );
        let loaded = config::parse(text.as_bytes(), "test.yaml", Path::new("."));
        let config = Arc::new(
            loaded
                .config
                .unwrap_or_else(|| panic!("{:?}", loaded.problems)),
        );
        Snapshot {
            revision,
            table: Arc::new(Table::compile(&config, None)),
            services: Arc::default(),
            routes: Arc::default(),
            listeners: Arc::default(),
            rollouts: Arc::default(),
            config,
        }
    }

    #[test]
    fn a_removed_listener_is_served_by_the_last_view_that_knew_it_until_its_drain_is_over() {
        let (one, two) = ("127.0.0.1:80", "127.0.0.2:80");
        let live = Live::new(of(1, &[one, two]));
        let ledger = Ledger::new(1);
        let viewer = Viewer::new(&live, Rc::new(Pools::new(ledger.worker(0))));
        let key = ListenerKey::of(&live.current().config.listeners[1]);
        let seen = || {
            viewer
                .view_of(&key)
                .map(|(v, at)| (v.snapshot.revision, at))
        };
        assert_eq!(seen(), Some((1, 1)));
        live.publish(of(2, &[two]));
        assert_eq!(seen(), Some((2, 0)), "it is there, in another place");
        for revision in [3, 4] {
            live.publish(of(revision, &[one]));
            assert_eq!(seen(), Some((2, 0)), "gone: as it was");
        }
        let now = Instant::now();
        viewer.sweep(now);
        assert_eq!(seen(), Some((2, 0)));
        viewer.sweep(now + live.current().config.runtime.drain.max);
        assert_eq!(seen(), None);
        live.publish(of(5, &[one, two]));
        assert_eq!(seen(), Some((5, 1)), "back again");
    }

    #[test]
    fn a_shift_shares_all_but_where_the_rollouts_stand() {
        let live = Live::new(of(1, &["127.0.0.1:80"]));
        let ledger = Ledger::new(1);
        let viewer = Viewer::new(&live, Rc::new(Pools::new(ledger.worker(0))));
        let before = viewer.view();
        live.publish(before.snapshot.with_rollouts([]));
        let after = viewer.view();
        assert!(!Arc::ptr_eq(&before.snapshot, &after.snapshot));
        assert!(Arc::ptr_eq(&before.snapshot.table, &after.snapshot.table));
        assert!(Rc::ptr_eq(&before.balancers, &after.balancers));
        assert_eq!(after.snapshot.revision, 1, "a shift is no edit");
    }
}
