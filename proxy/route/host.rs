//! Routes by host: the exact name, then the longest suffix, then those that take any host.

use tidegate_config::HostPattern;

use super::fast_map::FastMap;
use super::path::{PathRule, Paths};

/// Longer than any name of the DNS (253 bytes): longer ones are only for routes that take any host.
const LONGEST_HOST: usize = 255;

/// Every route, under each host that it is for.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: FastMap<Box<[u8]>, Paths>,
    suffixes: FastMap<Box<[u8]>, Paths>,
    any: Paths,
}

impl Hosts {
    pub(super) fn add(&mut self, hosts: &[HostPattern], path: Option<&PathRule>, route: u32) {
        for host in hosts {
            let (map, name) = match host {
                HostPattern::Exact(name) => (&mut self.exact, name),
                HostPattern::Suffix(name) => (&mut self.suffixes, name),
            };
            map.entry(name.to_ascii_lowercase().into_bytes().into())
                .or_default()
                .add(path, route);
        }
        if hosts.is_empty() {
            self.any.add(path, route);
        }
    }

    /// The most specific route among those that `fits` lets pass. Where no route of a host is for this path, less
    /// specific hosts are asked.
    pub(super) fn find(&self, host: &str, path: &str, fits: impl Fn(u32) -> bool) -> Option<u32> {
        self.by_name(host, path, &fits)
            .or_else(|| self.any.find(path, &fits))
    }

    fn by_name(&self, host: &str, path: &str, fits: &impl Fn(u32) -> bool) -> Option<u32> {
        let mut buffer = [0; LONGEST_HOST];
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return None;
        }
        let host = folded(host, &mut buffer)?;
        if let Some(route) = self
            .exact
            .get(host)
            .and_then(|paths| paths.find(path, fits))
        {
            return Some(route);
        }
        if self.suffixes.is_empty() {
            return None;
        }
        let dots = memchr::memchr_iter(b'.', host).filter(|at| *at > 0);
        dots.filter_map(|at| self.suffixes.get(&host[at..]))
            .find_map(|paths| paths.find(path, fits))
    }
}

/// Does a pattern cover a host? Hosts differ neither by case nor by the dot of the DNS root at their end.
pub(super) fn covers(pattern: &HostPattern, host: &str) -> bool {
    let mut buffer = [0; LONGEST_HOST];
    let Some(host) = folded(host, &mut buffer) else {
        return false;
    };
    match pattern {
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
        HostPattern::Suffix(name) => {
            let at = host.len().checked_sub(name.len()).filter(|at| *at > 0);
            at.is_some_and(|at| host[at..].eq_ignore_ascii_case(name.as_bytes()))
        }
    }
}

fn folded<'b>(host: &str, buffer: &'b mut [u8; LONGEST_HOST]) -> Option<&'b [u8]> {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    let place = buffer.get_mut(..host.len())?;
    place.copy_from_slice(host);
    place.make_ascii_lowercase();
    Some(place)
}
