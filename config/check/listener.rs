//! Listeners: addresses, trust, bounds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Check;
use crate::file::{self, ListenerProtocol};
use crate::problem::quoted;
use crate::read::Part;
use crate::source::At;
use crate::{AddressHeader, ClientAddress, Config, Limits, Listener, ListenerTimeouts, Profile};

const HEADER_BYTES: (u64, u64) = (1 << 10, 1 << 20);
const TARGET_BYTES: (u64, u64) = (64, 1 << 20);
/// More than any machine has addresses and ports for.
const MOST_CONNECTIONS: u64 = 100_000_000;
const MOST_HEADERS: u64 = 10_000;
const MOST_STREAMS: u64 = 100_000;

impl Check<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for part in self.parts {
            let root = At::root(&part.source);
            let at = root.key("listeners");
            for (index, listener) in part.file.listeners.iter().enumerate() {
                let listener = self.listener(&at.index(index), listener, part);
                listeners.push(listener);
            }
        }
        if listeners.is_empty() {
            let root = At::root(&self.parts[0].source);
            let hint = "add `listeners: [{ name: in, address: 0.0.0.0:8080 }]`";
            self.problems.error(
                &root.key("listeners"),
                "T204",
                "no listener accepts requests",
                hint,
            );
        }
        listeners
    }

    fn listener(&mut self, at: &At<'_>, listener: &file::Listener, part: &Part) -> Listener {
        let profile = match listener.profile {
            None | Some(file::Profile::Edge) => Profile::Edge,
            Some(file::Profile::Sidecar) => Profile::Sidecar,
        };
        let [http1, h2, h2c] = self.protocols(&at.key("protocols"), listener);
        let tls = listener
            .tls
            .as_ref()
            .map(|tls| self.listener_tls(&at.key("tls"), tls, part));
        let timeouts_at = at.key("timeouts");
        if listener.tls.is_none()
            && let Some(timeouts) = &listener.timeouts
            && timeouts.handshake.is_some()
        {
            self.problems.error(
                &timeouts_at.key("handshake"),
                "T314",
                "the listener has no `tls`, so there is no handshake to wait for",
                "remove it, or add `tls`",
            );
        }
        Listener {
            name: listener.name.clone(),
            address: self.address(&at.key("address"), &listener.address),
            profile,
            http1,
            h2c,
            h2,
            tls,
            client_address: self.client_address(
                &at.key("client_address"),
                listener.client_address.as_ref(),
                profile,
            ),
            limits: self.limits(&at.key("limits"), listener.limits.as_ref()),
            timeouts: self.listener_timeouts(&timeouts_at, listener.timeouts.as_ref()),
            trusted_headers: self
                .header_names(&at.key("trusted_headers"), &listener.trusted_headers),
        }
    }

    /// Whether HTTP/1.1, HTTP/2 over TLS and HTTP/2 without it are spoken.
    fn protocols(&mut self, at: &At<'_>, listener: &file::Listener) -> [bool; 3] {
        use ListenerProtocol::{H2, H2c, Http1};
        let tls = listener.tls.is_some();
        let Some(written) = &listener.protocols else {
            return [true, tls, !tls];
        };
        if written.is_empty() {
            let hint = "write `[http/1.1, h2c]`, with `tls` `[h2, http/1.1]`, or leave the key out";
            self.problems
                .error(at, "T204", "the listener speaks no protocol", hint);
        }
        for (index, protocol) in written.iter().enumerate() {
            let (message, hint) = match (protocol, tls) {
                (H2, false) => (
                    "`h2` is HTTP/2 over TLS, and the listener has no `tls`",
                    "write `h2c` for HTTP/2 without TLS, or add `tls`",
                ),
                (H2c, true) => (
                    "`h2c` is HTTP/2 without TLS, and callers of this listener must speak TLS",
                    "write `h2`",
                ),
                _ => continue,
            };
            self.problems.error(&at.index(index), "T314", message, hint);
        }
        [Http1, H2, H2c].map(|protocol| written.contains(&protocol))
    }

    fn client_address(
        &mut self,
        at: &At<'_>,
        written: Option<&file::ClientAddress>,
        profile: Profile,
    ) -> ClientAddress {
        let Some(written) = written else {
            return ClientAddress::default();
        };
        let at_proxies = at.key("trusted_proxies");
        let trusted_proxies = self.networks(&at_proxies, &written.trusted_proxies);
        if profile == Profile::Edge && written.trusted_proxies.len() == trusted_proxies.len() {
            for (index, network) in trusted_proxies
                .iter()
                .enumerate()
                .filter(|(_, n)| is_everybody(n))
            {
                let message =
                    format!("{network} lets every caller of an edge listener say who it is");
                let hint = "list the networks of your proxies, or set `profile: sidecar`";
                self.problems
                    .error(&at_proxies.index(index), "T316", message, hint);
            }
        }
        if written.from.is_some() && written.trusted_proxies.is_empty() {
            let message = "`from` counts only from trusted proxies, and there are none";
            let hint = "add `trusted_proxies: [10.0.0.0/8]` with the networks of your proxies";
            self.problems.error(&at.key("from"), "T314", message, hint);
        }
        let from = written.from.map(|header| match header {
            file::AddressHeader::XForwardedFor => AddressHeader::XForwardedFor,
            file::AddressHeader::Forwarded => AddressHeader::Forwarded,
        });
        ClientAddress {
            from,
            trusted_proxies,
        }
    }

    fn limits(&mut self, at: &At<'_>, written: Option<&file::Limits>) -> Limits {
        let none = file::Limits::default();
        let written = written.unwrap_or(&none);
        let header_bytes = self.size_within(
            &at.key("header_bytes"),
            written.header_bytes.as_ref(),
            32 << 10,
            HEADER_BYTES,
        );
        // A head that is bounded below the default for targets bounds them too.
        let target_default = header_bytes.min(8 << 10);
        let target_at = at.key("target_bytes");
        let target_bytes = self.size_within(
            &target_at,
            written.target_bytes.as_ref(),
            target_default,
            TARGET_BYTES,
        );
        if target_bytes > header_bytes {
            let message =
                "`target_bytes` is more than `header_bytes`, which the target is a part of";
            self.problems.error(
                &target_at,
                "T314",
                message,
                "raise `header_bytes` or lower `target_bytes`",
            );
        }
        let connections = self.number(
            &at.key("connections"),
            written.connections,
            20_000,
            (1, MOST_CONNECTIONS),
        );
        let per_client = written.connections_per_client.map(|count| {
            self.number(
                &at.key("connections_per_client"),
                Some(count),
                1,
                (1, MOST_CONNECTIONS),
            )
        });
        let header_count = self.number(
            &at.key("header_count"),
            written.header_count,
            100,
            (1, MOST_HEADERS),
        );
        let streams = self.number(
            &at.key("h2_streams"),
            written.h2_streams,
            100,
            (1, MOST_STREAMS),
        );
        Limits {
            connections: saturate(connections),
            connections_per_client: per_client.map(saturate),
            header_bytes: saturate(header_bytes),
            header_count: saturate(header_count),
            target_bytes: saturate(target_bytes),
            body_bytes: written
                .body_bytes
                .as_ref()
                .map(|size| self.size(&at.key("body_bytes"), size)),
            h2_streams: u32::try_from(streams).unwrap_or(u32::MAX),
        }
    }

    fn listener_timeouts(
        &mut self,
        at: &At<'_>,
        written: Option<&file::ListenerTimeouts>,
    ) -> ListenerTimeouts {
        let none = file::ListenerTimeouts::default();
        let written = written.unwrap_or(&none);
        ListenerTimeouts {
            handshake: self.wait(
                &at.key("handshake"),
                written.handshake.as_ref(),
                Duration::from_secs(5),
            ),
            header: self.wait(
                &at.key("header"),
                written.header.as_ref(),
                Duration::from_secs(10),
            ),
            body_idle: self.wait(
                &at.key("body_idle"),
                written.body_idle.as_ref(),
                Duration::from_secs(30),
            ),
            idle: self.wait(
                &at.key("idle"),
                written.idle.as_ref(),
                Duration::from_secs(60),
            ),
        }
    }

    /// No two sockets are bound to one address. Port 0 is a new port each time.
    pub(super) fn one_socket_each(&mut self, config: &Config) {
        let parts = self.parts;
        let mut taken: HashMap<SocketAddr, String> = HashMap::new();
        let mut claim = |check: &mut Self, at: &At<'_>, address: SocketAddr, who: String| {
            if address.port() == 0 {
                return;
            }
            if let Some(other) = taken.get(&address) {
                let message = format!("{who} and {other} have one address, {address}");
                check
                    .problems
                    .error(at, "T205", message, "give one of them another port");
            } else {
                taken.insert(address, who);
            }
        };
        let mut index = 0;
        for part in parts {
            let root = At::root(&part.source);
            let at = root.key("listeners");
            for place in 0..part.file.listeners.len() {
                let listener = &config.listeners[index];
                let who = format!("listener {}", quoted(&listener.name));
                claim(self, &at.index(place).key("address"), listener.address, who);
                index += 1;
            }
        }
        let admin_part = parts
            .iter()
            .find(|part| part.file.admin.is_some())
            .unwrap_or(&parts[0]);
        let root = At::root(&admin_part.source);
        let admin = root.key("admin");
        claim(
            self,
            &admin.key("address"),
            config.admin.address,
            "the admin API".to_owned(),
        );
        if let Some(probes) = config.admin.probes {
            claim(
                self,
                &admin.key("probes"),
                probes,
                "`admin.probes`".to_owned(),
            );
        }
    }
}

fn is_everybody(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
