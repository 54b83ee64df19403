//! One machine that serves a version. Shared by all workers and by the health probes: what the request path reads of
//! it changes rarely, so the cache line stays shared; what changes with each request lives in the worker's [`Pool`].
//!
//! [`Pool`]: super::Pool

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate_config as config;

use super::complaints::{Complaints, NoHttp};
use super::secure::Secure;
use crate::transport::fault::Fault;

/// A machine, its health, and how many connections the process holds to it.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process; a worker finds its pool by it.
    pub id: u64,
    /// Where it listens.
    pub address: config::EndpointAddress,
    /// What it speaks. Another protocol is another endpoint: connections cannot be shared.
    pub protocol: config::Protocol,
    /// How it proves who it is, where it is spoken to by TLS. Other settings are another endpoint, likewise.
    pub secure: Option<Secure>,
    complaints: Complaints,
    /// The origin of `ejected_until`.
    born: Instant,
    /// The last word of the probes; where they have not spoken, whether it is trusted without.
    probed_healthy: AtomicBool,
    /// Whether a probe has spoken yet.
    was_probed: AtomicBool,
    /// Milliseconds since `born` until which it is ejected; 0 when it is not.
    ejected_until: AtomicU64,
    /// Failures in a row, as seen by all workers.
    failures: AtomicU32,
    connections: AtomicUsize,
    /// Requests of all workers that wait for a place among the connections.
    wanted: AtomicUsize,
}

impl Endpoint {
    /// An endpoint that is thought healthy until something says otherwise.
    pub fn new(address: config::EndpointAddress, protocol: config::Protocol) -> Self {
        Self::over(address, protocol, None, Complaints::default())
    }

    /// The same, over TLS where there is `secure`; the log hears of it by `complaints`.
    pub fn over(
        address: config::EndpointAddress,
        protocol: config::Protocol,
        secure: Option<Secure>,
        complaints: Complaints,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address,
            protocol,
            secure,
            complaints,
            born: Instant::now(),
            probed_healthy: AtomicBool::new(true),
            was_probed: AtomicBool::new(false),
            ejected_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    /// Whether connections to it can go on under these settings.
    pub fn is_reached_as(&self, service: &config::Service) -> bool {
        self.protocol == service.protocol
            && match (&self.secure, &service.tls) {
                (Some(secure), Some(settings)) => secure.is_by(settings),
                (None, None) => true,
                _ => false,
            }
    }

    /// Whether it may be chosen.
    pub fn is_healthy(&self, now: Instant) -> bool {
        self.probed_healthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    /// Whether traffic has taken it out for a while.
    pub fn is_ejected(&self, now: Instant) -> bool {
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.millis(now) < until,
        }
    }

    /// Whether it may be chosen until a probe speaks.
    pub fn trust(&self, healthy: bool) {
        self.probed_healthy.store(healthy, Ordering::Relaxed);
        self.was_probed.store(false, Ordering::Relaxed);
    }

    /// What the probes say now.
    pub fn set_probe(&self, healthy: bool) {
        self.probed_healthy.store(healthy, Ordering::Relaxed);
        self.was_probed.store(true, Ordering::Relaxed);
    }

    /// Whether a probe has spoken: until then, healthy is what is hoped.
    pub fn was_probed(&self) -> bool {
        self.was_probed.load(Ordering::Relaxed)
    }

    /// What the probes said last; true where nobody probes.
    pub fn probe(&self) -> bool {
        self.probed_healthy.load(Ordering::Relaxed)
    }

    /// It answered: the run of failures is over. Writes only where there was one.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It failed; the length of the run of failures so far.
    pub fn failed(&self) -> u32 {
        self.failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    /// Takes it out until `now + duration`; the run of failures begins anew after it.
    pub fn eject(&self, now: Instant, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(
            self.millis(now).saturating_add(millis).max(1),
            Ordering::Relaxed,
        );
    }

    /// Tells the operator of a handshake that failed, on either side, unless there was a line a moment ago.
    pub(super) fn no_tls(&self, fault: &Fault) {
        if let Some(secure) = &self.secure {
            secure.failed(fault);
            let name = secure.name();
            self.complaints.no_tls(&self.address, &name, fault);
        }
    }

    /// Tells the operator of an answer that is no HTTP, unless there was a line a moment ago.
    pub(super) fn no_http(&self, why: &NoHttp) {
        self.complaints.no_http(&self.address, why);
    }

    /// Connections that the process holds to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes a place among `max` connections, if there is one.
    pub(super) fn take_place(&self, max: usize) -> bool {
        let below = |open| if open < max { Some(open + 1) } else { None };
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .is_ok()
    }

    pub(super) fn leave_place(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests of all workers that wait for a place.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// One more waits for a place.
    pub(super) fn want(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// One fewer waits.
    pub(super) fn unwant(&self) {
        self.wanted.fetch_sub(1, Ordering::Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let address = config::EndpointAddress::Ip(std::net::Ipv4Addr::LOCALHOST.into(), 1);
        Endpoint::new(address, config::Protocol::Http1)
    }

    #[test]
    fn health_is_a_hope_until_a_probe_has_spoken() {
        let (endpoint, now) = (endpoint(), Instant::now());
        assert!(endpoint.is_healthy(now) && !endpoint.was_probed());
        endpoint.set_probe(true);
        assert!(endpoint.is_healthy(now) && endpoint.was_probed());
        endpoint.set_probe(false);
        endpoint.trust(true);
        assert!(
            endpoint.is_healthy(now) && !endpoint.was_probed(),
            "nobody asks it any more: what was said is forgotten"
        );
    }

    #[test]
    fn an_ejected_endpoint_comes_back_by_itself() {
        let (endpoint, now) = (endpoint(), Instant::now());
        assert_eq!((endpoint.failed(), endpoint.failed()), (1, 2));
        endpoint.eject(now, Duration::from_secs(10));
        assert!(!endpoint.is_healthy(now + Duration::from_secs(9)));
        assert!(endpoint.is_healthy(now + Duration::from_secs(11)));
        assert_eq!(endpoint.failed(), 1, "the run of failures begins anew");
    }

    #[test]
    fn a_success_ends_a_run_of_failures() {
        let endpoint = endpoint();
        endpoint.failed();
        endpoint.succeeded();
        assert_eq!(endpoint.failed(), 1);
    }

    #[test]
    fn no_more_connections_than_allowed() {
        let endpoint = endpoint();
        assert!(endpoint.take_place(2) && endpoint.take_place(2) && !endpoint.take_place(2));
        endpoint.leave_place();
        assert!(endpoint.take_place(2));
    }
}
