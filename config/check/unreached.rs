//! Warnings about what no request reaches.

use std::collections::HashMap;

use super::Check;
use crate::problem::quoted;
use crate::source::At;
use crate::{Action, Config, HostPattern, PathMatch, Route};

/// One host of a route, and its path: what routes are looked up by.
type Key<'a> = (Option<&'a HostPattern>, &'static str, &'a str);

impl Check<'_> {
    pub(super) fn unreached(&mut self, config: &Config) {
        let parts = self.parts;
        // The first route of each key, for any listener and for each.
        let mut first: HashMap<(Option<usize>, Key<'_>), &Route> = HashMap::new();
        let mut index = 0;
        for part in parts {
            let root = At::root(&part.source);
            let at = root.key("routes");
            for place in 0..part.file.routes.len() {
                let route = &config.routes[index];
                index += 1;
                let at = at.index(place);
                self.unreached_rules(&at, route);
                let listener = route.matches.listener;
                let keys = keys(route);
                let earlier = keys.iter().map(|key| {
                    first
                        .get(&(None, *key))
                        .or_else(|| first.get(&(listener, *key)))
                });
                if let Some(earlier) = earlier
                    .collect::<Option<Vec<_>>>()
                    .and_then(|all| all.first().copied())
                {
                    let message = format!(
                        "route {} is never reached: route {} before it matches the same requests",
                        quoted(&route.name),
                        quoted(&earlier.name)
                    );
                    self.problems.warning(
                        &at,
                        "T902",
                        message,
                        "remove it, put it first, or match something else",
                    );
                }
                for key in keys {
                    first.entry((listener, key)).or_insert(route);
                }
            }
        }
    }

    fn unreached_rules(&mut self, at: &At<'_>, route: &Route) {
        let Action::Forward(forward) = &route.action else {
            return;
        };
        let Some(last) = forward.rules.iter().position(|rule| rule.when.is_none()) else {
            return;
        };
        let beyond = &forward.rules[last + 1..];
        let Some(next) = beyond.first() else { return };
        let more = match beyond.len() {
            1 => String::new(),
            count => format!(" (and {} after it)", count - 1),
        };
        let message = format!(
            "rule {}{more} is never reached: rule {} before it has no `when` and takes every request",
            quoted(&next.name),
            quoted(&forward.rules[last].name)
        );
        let rules = at.key("rules");
        self.problems.warning(
            &rules.index(last + 1),
            "T901",
            message,
            "put it first, or remove it",
        );
    }
}

fn keys(route: &Route) -> Vec<Key<'_>> {
    let (kind, path) = match &route.matches.path {
        // Not the prefix `/`, which is tried before a route without a path.
        None => ("any", ""),
        Some(PathMatch::Prefix(path)) => ("prefix", path.as_str()),
        Some(PathMatch::Exact(path)) => ("exact", path.as_str()),
        Some(PathMatch::Regex(pattern)) => ("regex", pattern.as_str()),
    };
    match route.matches.hosts.as_slice() {
        [] => vec![(None, kind, path)],
        hosts => hosts.iter().map(|host| (Some(host), kind, path)).collect(),
    }
}
