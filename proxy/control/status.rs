//! What runs, as `GET /api/v1/status` tells it: the file's names with what is known about each now.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tidegate_config as config;

use super::admin::api::file_state;
use super::certificates;
use super::standing::{Phase, Standing, rfc3339};
use crate::record::{EndpointHealth, Ledger};
use crate::snapshot::Snapshot;
use crate::upstream::secure::Secure;
use crate::upstream::{Endpoint, Version};

/// The whole answer.
pub fn status(
    snapshot: &Snapshot,
    ledger: &Ledger,
    standing: &Standing,
    rollouts: Vec<Value>,
    workers: usize,
) -> Value {
    let now = Instant::now();
    let services = snapshot.config.services.iter().zip(&*snapshot.services);
    json!({
        "version": crate::VERSION,
        "commit": crate::COMMIT,
        "revision": snapshot.revision,
        "started_at": rfc3339(standing.started_at()),
        "phase": match standing.phase() {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        },
        "config": file_state(&standing.file(), standing),
        "rollouts": rollouts,
        "services": services.map(|(written, running)| service(written, running, ledger, now)).collect::<Vec<_>>(),
        "listeners": *standing.listeners(),
        "certificates": certificates::status(&snapshot.config),
        "workers": workers,
    })
}

/// Every endpoint and whether it receives requests, for the metrics.
pub fn endpoints(snapshot: &Snapshot) -> Vec<EndpointHealth> {
    let now = Instant::now();
    let told = |version: &Version, endpoint: &Endpoint| EndpointHealth {
        service: version.service.clone(),
        version: version.name.clone(),
        endpoint: endpoint.address.to_string(),
        healthy: endpoint.is_healthy(now),
    };
    let versions = snapshot.services.iter().flatten();
    versions
        .flat_map(|version| {
            version
                .endpoints
                .iter()
                .map(|endpoint| told(version, endpoint))
        })
        .collect()
}

fn service(
    written: &config::Service,
    running: &[Arc<Version>],
    ledger: &Ledger,
    now: Instant,
) -> Value {
    let versions = written.versions.iter().zip(running).enumerate();
    json!({
        "name": written.name,
        "stable": written.versions[written.stable].name,
        "versions": versions
            .map(|(at, (written_version, version))| {
                let totals = ledger.totals(version.id);
                json!({
                    "name": version.name,
                    "stable": at == written.stable,
                    "tags": written_version.tags,
                    "requests": totals.requests(),
                    "failures": totals.failures(),
                    "connections": totals.connections,
                    "endpoints": version.endpoints.iter().map(|one| endpoint(one, now)).collect::<Vec<_>>(),
                })
            })
            .collect::<Vec<_>>(),
    })
}

fn endpoint(endpoint: &Endpoint, now: Instant) -> Value {
    let fault = endpoint.secure.as_ref().and_then(Secure::fault);
    json!({
        "address": endpoint.address.to_string(),
        "healthy": endpoint.is_healthy(now),
        "ejected": endpoint.is_ejected(now),
        "checked": endpoint.was_probed(),
        "handshake_failure": fault.map(|fault| fault.to_string()),
        "connections": endpoint.connections(),
    })
}
