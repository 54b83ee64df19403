//! One release of a service. Immutable, and the same `Arc` in every snapshot for as long as its configuration stays.

use std::sync::Arc;
use std::time::Instant;

use tidegate_config as config;

use super::Endpoint;
use crate::record::VersionId;

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
                .find(|known| known.address == *address && known.protocol == service.protocol)
        };
        let waits =
            service.health.active.is_some() && version.endpoints.iter().any(|a| known(a).is_some());
        let keep = |address: &config::EndpointAddress| {
            known(address).cloned().unwrap_or_else(|| {
                let new = Endpoint::new(address.clone(), service.protocol);
                new.set_probe(!waits);
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
        if endpoint.failed() < passive.consecutive_failures.get() || endpoint.is_ejected(now) {
            return;
        }
        let ejected = self.endpoints.iter().filter(|e| e.is_ejected(now)).count();
        let all = self.endpoints.len() as u64;
        let allowed =
            all * u64::from(passive.max_ejected.parts()) / u64::from(config::units::PARTS);
        if (ejected as u64) < allowed {
            endpoint.eject(now, passive.eject_for);
            tracing::warn!(
                service = self.service, version = self.name, endpoint = %endpoint.address,
                "endpoint ejected for {:?} after {} failures in a row", passive.eject_for, passive.consecutive_failures
            );
        }
    }
}
