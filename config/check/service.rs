//! Services: versions, endpoints, pools, health.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use super::names::Unique;
use crate::file;
use crate::names::{list, nearest};
use crate::problem::quoted;
use crate::read::Part;
use crate::source::At;
use crate::{
    ActiveHealth, Balance, EndpointAddress, Health, PassiveHealth, Pool, Protocol, Service, Share,
    Version,
};

/// Slots are shared out by version for each rule: more are no release but a mistake.
const MOST_VERSIONS: usize = 256;
/// Connections to an endpoint where the file does not say: half of those that a listener takes. Callers who send or read
/// slowly hold one each, and fewer would let few of them shut out everybody else.
const CONNECTIONS: u32 = 10_000;
const MOST_CONNECTIONS: u32 = 1_000_000;
const MOST_PROBES: u32 = 1000;
/// The longest path of a unix socket, in bytes.
const LONGEST_SOCKET: usize = 107;

impl Check<'_> {
    pub(super) fn services(&mut self) -> Vec<Service> {
        let mut services = Vec::new();
        for part in self.parts {
            let root = At::root(&part.source);
            let at = root.key("services");
            for (index, service) in part.file.services.iter().enumerate() {
                let service = self.service(&at.index(index), service, part);
                services.push(service);
            }
        }
        services
    }

    fn service(&mut self, at: &At<'_>, written: &file::Service, part: &Part) -> Service {
        let versions_at = at.key("versions");
        if written.versions.is_empty() {
            let message = format!("service {} has no version", quoted(&written.name));
            self.problems.error(
                &versions_at,
                "T204",
                message,
                "add `- { name: v1, endpoints: [\"127.0.0.1:3001\"] }`",
            );
        }
        if written.versions.len() > MOST_VERSIONS {
            let message = format!(
                "service {} has more than {MOST_VERSIONS} versions",
                quoted(&written.name)
            );
            self.problems.error(
                &versions_at,
                "T302",
                message,
                "remove those that get no traffic",
            );
        }
        let mut names = Unique::new("version of this service");
        let mut versions = Vec::new();
        for (index, version) in written.versions.iter().enumerate() {
            let at = versions_at.index(index);
            names.name(&at.key("name"), &version.name, self.problems);
            versions.push(Version {
                name: version.name.clone(),
                endpoints: self.endpoints(&at, version),
                tags: version.tags.clone(),
            });
        }
        let stable = written
            .versions
            .iter()
            .position(|version| version.name == written.stable);
        if stable.is_none() && !written.versions.is_empty() {
            let known: Vec<&str> = written
                .versions
                .iter()
                .map(|version| version.name.as_str())
                .collect();
            let (name, stable) = (quoted(&written.name), quoted(&written.stable));
            let message = format!(
                "service {name} has no version {stable} to be stable, it has {}",
                list(&known, "and")
            );
            let hint = match nearest(&written.stable, known.iter().copied()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => "name the version that gets whatever no rule sends elsewhere".to_owned(),
            };
            self.problems
                .error(&at.key("stable"), "T201", message, hint);
        }
        Service {
            name: written.name.clone(),
            stable: stable.unwrap_or(0),
            versions,
            protocol: self.protocol(at, written),
            balance: match written.balance {
                None | Some(file::Balance::LeastRequest) => Balance::LeastRequest,
                Some(file::Balance::RoundRobin) => Balance::RoundRobin,
            },
            pool: self.pool(&at.key("pool"), written.pool.as_ref()),
            health: self.health(&at.key("health"), written.health.as_ref()),
            tls: self.service_tls(at, written, part),
        }
    }

    /// What is spoken, which must go with whether it is spoken over TLS.
    fn protocol(&mut self, at: &At<'_>, written: &file::Service) -> Protocol {
        let spoken = written.protocol.unwrap_or(file::Protocol::Http1);
        let contradiction = match (spoken, written.tls.is_some()) {
            (file::Protocol::H2c, true) => Some((
                "`h2c` is HTTP/2 without TLS, and the service has `tls`",
                "write `protocol: h2`, or remove `tls`",
            )),
            (file::Protocol::H2, false) => Some((
                "`h2` is HTTP/2 over TLS, and the service has no `tls`",
                "write `protocol: h2c` for HTTP/2 without TLS, or add `tls: {}`",
            )),
            (file::Protocol::Auto, false) => Some((
                "`auto` is agreed on in the handshake of TLS, and the service has no `tls`",
                "write `http/1.1` or `h2c`, or add `tls: {}`",
            )),
            _ => None,
        };
        if let Some((message, hint)) = contradiction {
            self.problems
                .error(&at.key("protocol"), "T314", message, hint);
        }
        match spoken {
            file::Protocol::Http1 => Protocol::Http1,
            file::Protocol::H2c => Protocol::H2c,
            file::Protocol::H2 => Protocol::H2,
            file::Protocol::Auto => Protocol::Auto,
        }
    }

    fn endpoints(&mut self, at: &At<'_>, version: &file::Version) -> Vec<EndpointAddress> {
        let list_at = at.key("endpoints");
        if version.endpoints.is_empty() {
            let message = format!("version {} has no endpoint", quoted(&version.name));
            self.problems.error(
                &list_at,
                "T204",
                message,
                "add `endpoints: [\"127.0.0.1:3001\"]`",
            );
        }
        let mut seen = HashMap::new();
        let mut endpoints = Vec::with_capacity(version.endpoints.len());
        for (index, text) in version.endpoints.iter().enumerate() {
            let at = list_at.index(index);
            match endpoint(text) {
                Ok(endpoint) => {
                    if seen.insert(endpoint.clone(), index).is_some() {
                        let message = format!("the endpoint {} is listed twice", quoted(text));
                        self.problems
                            .error(&at, "T202", message, "remove one of the two");
                    }
                    endpoints.push(endpoint);
                }
                Err(hint) => {
                    let message = format!("expected an endpoint, found {}", quoted(text));
                    self.problems.error(&at, "T304", message, hint);
                }
            }
        }
        endpoints
    }

    fn pool(&mut self, at: &At<'_>, written: Option<&file::Pool>) -> Pool {
        let none = file::Pool::default();
        let written = written.unwrap_or(&none);
        let most_at = at.key("max_per_endpoint");
        Pool {
            max_per_endpoint: self.amount(
                &most_at,
                written.max_per_endpoint,
                CONNECTIONS,
                MOST_CONNECTIONS,
            ),
            // Node closes an idle connection after 5 s: whoever is first never sends into a closing one.
            idle: self.wait(
                &at.key("idle"),
                written.idle.as_ref(),
                Duration::from_secs(4),
            ),
            connect: self.wait(
                &at.key("connect"),
                written.connect.as_ref(),
                Duration::from_secs(1),
            ),
        }
    }

    fn health(&mut self, at: &At<'_>, written: Option<&file::Health>) -> Health {
        let Some(written) = written else {
            return Health::default();
        };
        let (active_at, passive_at) = (at.key("active"), at.key("passive"));
        let active = written
            .active
            .as_ref()
            .map(|active| self.active(&active_at, active));
        let passive = written
            .passive
            .as_ref()
            .map(|passive| self.passive(&passive_at, passive));
        Health { active, passive }
    }

    fn active(&mut self, at: &At<'_>, written: &file::ActiveHealth) -> ActiveHealth {
        // A probe may have a query, unlike the path of a match.
        let may_be_sent = |b: u8| b.is_ascii_graphic() && !b"#<>\"{}|\\^`".contains(&b);
        if !written.path.starts_with('/') || !written.path.bytes().all(may_be_sent) {
            let message = format!("{} cannot be asked for", quoted(&written.path));
            self.problems.error(
                &at.key("path"),
                "T311",
                message,
                "write a path that begins with `/`; what a path may not hold, as `%20` and the like",
            );
        }
        ActiveHealth {
            path: written.path.clone(),
            interval: self.wait(
                &at.key("interval"),
                written.interval.as_ref(),
                Duration::from_secs(2),
            ),
            timeout: self.wait(
                &at.key("timeout"),
                written.timeout.as_ref(),
                Duration::from_secs(1),
            ),
            healthy_after: self.count(
                &at.key("healthy_after"),
                written.healthy_after,
                2,
                MOST_PROBES,
            ),
            unhealthy_after: self.count(
                &at.key("unhealthy_after"),
                written.unhealthy_after,
                3,
                MOST_PROBES,
            ),
        }
    }

    fn passive(&mut self, at: &At<'_>, written: &file::PassiveHealth) -> PassiveHealth {
        let failures_at = at.key("consecutive_failures");
        let max_ejected = self.share(
            &at.key("max_ejected"),
            written.max_ejected.as_ref(),
            Share::HALF,
        );
        if max_ejected == Share::ZERO {
            let message = "`max_ejected: 0%` never takes an endpoint out";
            self.problems.error(
                &at.key("max_ejected"),
                "T302",
                message,
                "raise it, or remove `passive`",
            );
        }
        PassiveHealth {
            consecutive_failures: self.count(
                &failures_at,
                written.consecutive_failures,
                5,
                MOST_PROBES,
            ),
            eject_for: self.wait(
                &at.key("eject_for"),
                written.eject_for.as_ref(),
                Duration::from_secs(10),
            ),
            max_ejected,
        }
    }
}

/// Where a version runs, or what to write instead.
fn endpoint(text: &str) -> Result<EndpointAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            p if !p.starts_with('/') => {
                Err("write the whole path of the socket: `unix:/run/app.sock`".to_owned())
            }
            p if p.len() > LONGEST_SOCKET || p.contains('\0') => Err(format!(
                "the path of a socket has at most {LONGEST_SOCKET} bytes"
            )),
            p => Ok(EndpointAddress::Unix(PathBuf::from(p))),
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err("port 0 cannot be connected to".to_owned()),
        Ok(address) if address.ip().is_unspecified() => Err(format!(
            "`{}` is an address to listen on; write `127.0.0.1:{}` for this machine",
            address.ip(),
            address.port()
        )),
        Ok(address) => Ok(EndpointAddress::Ip(address.ip(), address.port())),
        Err(_) => Err(match text {
            t if t.contains("://") => "write address and port alone, without `http://`".to_owned(),
            t if t.parse::<IpAddr>().is_ok() => {
                "add the port: `127.0.0.1:3001`, `[::1]:3001`".to_owned()
            }
            t if t.starts_with("localhost") => {
                "write `127.0.0.1` or `[::1]` for this machine".to_owned()
            }
            t if t.chars().any(char::is_alphabetic) && !t.contains("::") => {
                "names are not looked up by this version yet: write the IP address and the port"
                    .to_owned()
            }
            _ => "write it like `127.0.0.1:3001`, `[::1]:3001` or `unix:/run/app.sock`".to_owned(),
        }),
    }
}
