//! From a configuration to a snapshot. What did not change is not made anew: an equal version keeps its `Arc`, an equal
//! endpoint its health, and with them every worker keeps its warm connections.

use std::sync::Arc;

use http::HeaderName;
use tidegate_config::{self as config, Config};

use crate::record::Ledger;
use crate::route::{Regions, Table};
use crate::snapshot::edits::Edits;
use crate::snapshot::{Listener, Route, Snapshot};
use crate::upstream::Version;

/// Compiles `config` into the snapshot that follows `old`. `regions` is its geo database, opened.
pub fn compile(
    config: Arc<Config>,
    regions: Option<Regions>,
    revision: u64,
    old: Option<&Snapshot>,
    ledger: &Ledger,
) -> Snapshot {
    let table = Table::compile(&config, regions);
    let services = config
        .services
        .iter()
        .map(|service| versions(service, old, ledger))
        .collect();
    let routes = config
        .routes
        .iter()
        .map(|route| Route {
            id: ledger.route(&route.name),
            request: Edits::compile(&route.request_headers),
            response: Edits::compile(&route.response_headers),
        })
        .collect();
    let listeners = config
        .listeners
        .iter()
        .enumerate()
        .map(|(at, listener)| Listener {
            trusted: names(&listener.trusted_headers),
            stripped: table.stripped(at).into(),
        })
        .collect();
    Snapshot {
        revision,
        config,
        table,
        services,
        routes,
        listeners,
    }
}

fn versions(
    service: &config::Service,
    old: Option<&Snapshot>,
    ledger: &Ledger,
) -> Vec<Arc<Version>> {
    let known = |name: &str| {
        old.into_iter()
            .flat_map(|old| old.services.iter().flatten())
            .find(|version| version.service == service.name && version.name == name)
    };
    let version = |written: &config::Version| {
        let old = known(&written.name);
        let id = ledger.version(&service.name, &written.name);
        let new = Version::new(service, written, id, old.map(|old| &**old));
        old.filter(|old| old.same_as(&new))
            .cloned()
            .unwrap_or_else(|| Arc::new(new))
    };
    service.versions.iter().map(version).collect()
}

fn names(names: &[String]) -> Vec<HeaderName> {
    names
        .iter()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect()
}
