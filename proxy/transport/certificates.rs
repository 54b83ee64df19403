//! Which certificate is shown to whom.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use tidegate_config::HostPattern;
use tidegate_config::tls::ServerCertificate;

/// The certificates of a listener by server name: the name itself, else a wildcard for its first label, else the first.
/// Of several for one name the caller's signature schemes decide, and then what costs less to sign with.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows the star: `.example.com`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    /// Those with the names of the first.
    fallback: Vec<usize>,
}

impl Certificates {
    /// The certificates of a listener, in its order; at least one.
    pub fn new(written: &[ServerCertificate]) -> Self {
        let mut new = Self {
            keys: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            fallback: Vec::new(),
        };
        // What is dear to sign with comes last.
        let mut order: Vec<usize> = (0..written.len()).collect();
        order.sort_by_key(|at| is_dear(&written[*at].pair.certified));
        for &at in &order {
            let certificate = &written[at];
            for host in &certificate.hosts {
                let (map, name) = match host {
                    HostPattern::Exact(name) => (&mut new.exact, name),
                    HostPattern::Suffix(suffix) => (&mut new.wildcard, suffix),
                };
                map.entry(name.as_str().into()).or_default().push(at);
            }
            // Nobody asks for an address in a handshake, but requests name them.
            for ip in certificate.pair.names.iter().filter(|n| is_ip(n)) {
                new.exact.entry(ip.as_str().into()).or_default().push(at);
            }
        }
        new.fallback = order
            .into_iter()
            .filter(|at| *at == 0 || written[*at].hosts == written[0].hosts)
            .collect();
        new.keys = written
            .iter()
            .map(|c| Arc::clone(&c.pair.certified))
            .collect();
        new
    }

    /// Whether a connection that was opened for the server name `opened_for` may carry requests for `host` (without a
    /// port): it is the same name, or one certificate is for both.
    pub fn are_for_both(&self, opened_for: Option<&str>, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let opened_for = opened_for.map(|name| name.strip_suffix('.').unwrap_or(name));
        if opened_for.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
            return true;
        }
        let shown = opened_for
            .and_then(|name| self.named(name))
            .unwrap_or(&self.fallback);
        self.named(host)
            .is_some_and(|others| others.iter().any(|at| shown.contains(at)))
    }

    /// Those for a name or address.
    fn named(&self, name: &str) -> Option<&[usize]> {
        let ip = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        if let Some(ip) = ip.and_then(|ip| ip.parse::<Ipv6Addr>().ok()) {
            return self.exact.get(ip.to_string().as_str()).map(Vec::as_slice);
        }
        let lower;
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let found = self.exact.get(name).or_else(|| {
            let suffix = &name[name.find('.')?..];
            self.wildcard.get(suffix)
        });
        found.map(Vec::as_slice)
    }

    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
        let among = name
            .and_then(|name| self.named(name))
            .unwrap_or(&self.fallback);
        let mut keys = among.iter().filter_map(|at| self.keys.get(*at));
        let fitting = keys
            .clone()
            .find(|key| key.key.choose_scheme(schemes).is_some());
        // Where none fits the handshake fails by what rustls says about it.
        fitting.or_else(|| keys.next())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .cloned()
    }
}

fn is_dear(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}

fn is_ip(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}
