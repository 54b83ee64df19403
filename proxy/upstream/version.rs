//! One release of a service. Immutable, and the same `Arc` in every snapshot for as long as its configuration stays.

use std::cell::LazyCell;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "taken where an endpoint is to be ejected"
)]
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tidegate_config as config;

use super::Endpoint;
use super::complaints::Complaints;
use super::secure::Secure;
use crate::record::VersionId;

#[expect(
    clippy::disallowed_types,
    reason = "taken where an endpoint is to be ejected"
)]
static EJECTING: Mutex<()> = Mutex::new(());

/// A release of a service: its endpoints, and how they are reached.
#[derive(Debug)]
pub struct Version {
    /// The service's name.
    pub service: String,
    /// Its own name.
    pub name: String,
    /// What it is counted under.
    pub id: VersionId,
    /// Its machines; at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How one is chosen.
    pub balance: config::Balance,
    /// Bounds on connections.
    pub pool: config::Pool,
    /// How machines are judged.
    pub health: config::Health,
}

impl Version {
    /// Compiles a version, taking over the endpoints of `old` that stay. Who joins endpoints that are checked waits for
    /// a first good check; where nobody stays there is nobody to wait behind, and all are trusted until a check says no.
    pub fn new(
        service: &config::Service,
        version: &config::Version,
        id: VersionId,
        old: Option<&Self>,
    ) -> Self {
        let known = |address: &config::EndpointAddress| {
            old.into_iter()
                .flat_map(|old| &old.endpoints)
                .find(|known| known.address == *address && known.is_reached_as(service))
        };
        let waits =
            service.health.active.is_some() && version.endpoints.iter().any(|a| known(a).is_some());
        let dialer = LazyCell::new(|| {
            let settings = service.tls.as_ref()?;
            Some((settings, Secure::dialer(settings, service.protocol)))
        });
        let keep = |address: &config::EndpointAddress| {
            known(address).cloned().unwrap_or_else(|| {
                let secure = dialer
                    .as_ref()
                    .and_then(|(settings, dialer)| Secure::new(settings, dialer, service, address));
                let complaints = Complaints::of(service, version);
                let new = Endpoint::over(address.clone(), service.protocol, secure, complaints);
                new.trust(!waits);
                Arc::new(new)
            })
        };
        Self {
            service: service.name.clone(),
            name: version.name.clone(),
            id,
            endpoints: version.endpoints.iter().map(keep).collect(),
            balance: service.balance,
            pool: service.pool,
            health: service.health.clone(),
        }
    }

    /// Whether `other` may go on in its place: nothing that the request path can see differs.
    pub fn same_as(&self, other: &Self) -> bool {
        self.service == other.service
            && self.name == other.name
            && self.balance == other.balance
            && self.pool == other.pool
            && self.health == other.health
            && self.endpoints.len() == other.endpoints.len()
            && self
                .endpoints
                .iter()
                .zip(&other.endpoints)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// A request to `endpoint` failed by the version's fault: takes the endpoint out where passive health says so.
    pub fn endpoint_failed(&self, endpoint: &Endpoint, now: Instant) {
        let Some(passive) = &self.health.passive else {
            return;
        };
        // What was under way when it was ejected says nothing of how it is when it returns.
        if endpoint.is_ejected(now) || endpoint.failed() < passive.consecutive_failures.get() {
            return;
        }
        // Looked at and done in one step: two workers that eject at once must not both take the last place.
        let _turn = EJECTING.lock().unwrap_or_else(PoisonError::into_inner);
        // One that its checks keep out is out as well: what is left is what counts.
        let out = self.endpoints.iter().filter(|e| !e.is_healthy(now)).count();
        let all = self.endpoints.len() as u64;
        let allowed =
            all * u64::from(passive.max_ejected.parts()) / u64::from(config::units::PARTS);
        if (out as u64) < allowed {
            endpoint.eject(now, passive.eject_for);
            tracing::warn!(
                service = self.service, version = self.name, endpoint = %endpoint.address,
                "endpoint ejected for {:?} after {} failures in a row", passive.eject_for, passive.consecutive_failures
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::record::Ledger;

    /// Four endpoints of which half may be ejected, each after one failure.
    fn version() -> Version {
        let endpoint = |port| {
            let address = config::EndpointAddress::Ip([127, 0, 0, 1].into(), port);
            Arc::new(Endpoint::new(address, config::Protocol::Http1))
        };
        Version {
            service: "app".into(),
            name: "v1".into(),
            id: Ledger::new(1).version("app", "v1"),
            endpoints: (1..=4).map(endpoint).collect(),
            balance: config::Balance::RoundRobin,
            pool: config::Pool {
                max_per_endpoint: std::num::NonZeroUsize::MIN,
                idle: Duration::from_secs(4),
                connect: Duration::from_secs(1),
            },
            health: config::Health {
                active: None,
                passive: Some(config::PassiveHealth {
                    consecutive_failures: NonZeroU32::MIN,
                    eject_for: Duration::from_secs(30),
                    max_ejected: "50%".parse().expect("a share"),
                }),
            },
        }
    }

    fn healthy(version: &Version, now: Instant) -> usize {
        let healthy = version.endpoints.iter().filter(|e| e.is_healthy(now));
        healthy.count()
    }

    #[test]
    fn no_more_than_the_share_is_ejected_however_many_workers_see_failures() {
        let now = Instant::now();
        for _ in 0..200 {
            let version = version();
            std::thread::scope(|scope| {
                for endpoint in &version.endpoints {
                    scope.spawn(|| version.endpoint_failed(endpoint, now));
                }
            });
            assert_eq!(healthy(&version, now), 2);
        }
    }

    #[test]
    fn failures_of_before_the_ejection_do_not_count_after_it() {
        let (mut version, now) = (version(), Instant::now());
        let passive = version.health.passive.as_mut().expect("passive checks");
        passive.consecutive_failures = NonZeroU32::new(2).expect("two");
        let endpoint = version.endpoints[0].clone();
        (0..20).for_each(|_| version.endpoint_failed(&endpoint, now));
        assert!(!endpoint.is_healthy(now));
        let back = now + Duration::from_secs(31);
        assert!(endpoint.is_healthy(back));
        version.endpoint_failed(&endpoint, back);
        assert!(endpoint.is_healthy(back), "one failure is not two");
        version.endpoint_failed(&endpoint, back);
        assert!(!endpoint.is_healthy(back));
    }

    #[test]
    fn what_checks_keep_out_counts_toward_the_share() {
        let (version, now) = (version(), Instant::now());
        version.endpoints[..2]
            .iter()
            .for_each(|e| e.set_probe(false));
        version.endpoints[2..]
            .iter()
            .for_each(|e| version.endpoint_failed(e, now));
        assert_eq!(healthy(&version, now), 2, "nobody takes out the last half");
    }
}
