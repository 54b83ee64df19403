//! From a configuration to a snapshot. What did not change is not made anew: an equal version keeps its `Arc`, an equal
//! endpoint its health, and with them every worker keeps its warm connections.

use std::sync::Arc;

use http::HeaderName;
use tidegate_config::{self as config, Config};

use crate::record::Ledger;
use crate::route::{Regions, Table};
use crate::snapshot::edits::Edits;
use crate::snapshot::{InForce, Listener, ListenerKey, Route, Snapshot};
use crate::transport::serving::Serving;
use crate::upstream::Version;

/// Compiles `config` into the snapshot that follows `old`. `regions` is its geo database, opened. Every rollout begins
/// with nobody on its candidate: whoever knows better puts it right by [`Snapshot::with_rollouts`] before it is published.
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
            serving: Serving::compile(listener, serving_before(listener, old)),
        })
        .collect();
    let rollouts = config
        .rollouts
        .iter()
        .map(|rollout| InForce::nobody(rollout, ledger))
        .collect();
    Snapshot {
        revision,
        config,
        table: Arc::new(table),
        services,
        routes,
        listeners,
        rollouts,
    }
}

/// Lets `config` have the geo database of `old` where its bytes are the same: every tunnel holds the snapshot that it
/// began with, and each of those would hold a copy.
pub fn keep_database(config: &mut Config, old: &Config) {
    let old = old.geo.as_ref().and_then(|geo| geo.database.as_ref());
    let new = config.geo.as_mut().and_then(|geo| geo.database.as_mut());
    if let (Some(old), Some(new)) = (old, new)
        && old.bytes == new.bytes
    {
        new.bytes = Arc::clone(&old.bytes);
    }
}

fn versions(
    service: &config::Service,
    old: Option<&Snapshot>,
    ledger: &Ledger,
) -> Vec<Arc<Version>> {
    let is_of_it = |version: &Arc<Version>| version.service == service.name;
    let old = old
        .and_then(|old| {
            old.services
                .iter()
                .find(|s| s.first().is_some_and(is_of_it))
        })
        .map_or(&[][..], |versions| versions);
    let known = |name: &str| old.iter().find(|version| version.name == name);
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

/// What a listener's handshakes went by so far.
fn serving_before<'a>(
    listener: &config::Listener,
    old: Option<&'a Snapshot>,
) -> Option<&'a Arc<Serving>> {
    let old = old?;
    let at = old.listener_of(&ListenerKey::of(listener))?;
    old.listeners[at].serving.as_ref()
}

fn names(names: &[String]) -> Vec<HeaderName> {
    names
        .iter()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with_database(bytes: &[u8]) -> Config {
        let text = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }]
routes: [{ service: app, rules: [] }]
";
        let loaded = config::parse(text.as_bytes(), "gate.yaml", Path::new("."));
        let mut config = loaded.config.expect("a good file");
        config.geo = Some(config::Geo {
            database: Some(config::Database {
                path: "geo.mmdb".into(),
                bytes: bytes.into(),
            }),
            header: None,
        });
        config
    }

    fn bytes(config: &Config) -> &Arc<[u8]> {
        let database = config.geo.as_ref().and_then(|geo| geo.database.as_ref());
        &database.expect("a database").bytes
    }

    #[test]
    fn snapshots_share_a_geo_database_that_did_not_change() {
        let old = with_database(b"one");
        let (mut same, mut other) = (with_database(b"one"), with_database(b"two"));
        keep_database(&mut same, &old);
        keep_database(&mut other, &old);
        assert!(Arc::ptr_eq(bytes(&same), bytes(&old)));
        assert_eq!(&**bytes(&other), b"two");
    }
}
