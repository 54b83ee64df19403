//! What an edit changes, in the words of whoever made it: the log line of every revision.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_config as config;

/// At most so many changed weights are named one by one; a line that nobody reads to its end tells nothing.
const WEIGHTS_NAMED: usize = 6;

/// The difference between two files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    listeners: Tally,
    services: Tally,
    routes: Tally,
    /// `app.everyone v2 10 % → 25 %`
    weights: Vec<String>,
    /// Sections that differ and have no names inside: `geo`, `access_log`, …
    sections: Vec<&'static str>,
}

/// How many named things came, changed and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    added: usize,
    changed: usize,
    removed: usize,
}

impl Changes {
    /// What differs from `old` to `new`.
    pub fn between(old: &config::Config, new: &config::Config) -> Self {
        Self {
            listeners: Tally::of(
                &old.listeners,
                &new.listeners,
                |listener| &listener.name,
                PartialEq::eq,
            ),
            services: Tally::of(
                &old.services,
                &new.services,
                |service| &service.name,
                PartialEq::eq,
            ),
            routes: Tally::of(
                &old.routes,
                &new.routes,
                |route| &route.name,
                |was, is| {
                    unplaced(was) == unplaced(is) && place_names(old, was) == place_names(new, is)
                },
            ),
            weights: weights(old, new),
            sections: sections(old, new),
        }
    }
}

impl Tally {
    fn of<T>(
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &str,
        same: impl Fn(&T, &T) -> bool,
    ) -> Self {
        let before: BTreeMap<&str, &T> = old.iter().map(|one| (name(one), one)).collect();
        let mut tally = Self {
            removed: before.len(),
            ..Self::default()
        };
        for one in new {
            match before.get(name(one)) {
                None => tally.added += 1,
                Some(was) => {
                    tally.removed -= 1;
                    tally.changed += usize::from(!same(was, one));
                }
            }
        }
        tally
    }

    const fn is_nothing(self) -> bool {
        self.added + self.changed + self.removed == 0
    }
}

impl fmt::Display for Changes {
    /// `routes +1 ~0 −0, app.everyone v2 10% → 25%`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, tally) in [
            ("listeners", self.listeners),
            ("services", self.services),
            ("routes", self.routes),
        ] {
            if !tally.is_nothing() {
                parts.push(format!(
                    "{what} +{} ~{} −{}",
                    tally.added, tally.changed, tally.removed
                ));
            }
        }
        parts.extend(self.weights.iter().take(WEIGHTS_NAMED).cloned());
        if let Some(more @ 1..) = self.weights.len().checked_sub(WEIGHTS_NAMED) {
            parts.push(format!("{more} more weights"));
        }
        if !self.sections.is_empty() {
            parts.push(format!("{} changed", self.sections.join(", ")));
        }
        if parts.is_empty() {
            return f.write_str("nothing that matters changed");
        }
        f.write_str(&parts.join(", "))
    }
}

fn sections(old: &config::Config, new: &config::Config) -> Vec<&'static str> {
    [
        ("runtime", old.runtime != new.runtime),
        ("admin", old.admin != new.admin),
        ("access_log", old.access_log != new.access_log),
        ("geo", old.geo != new.geo),
        ("identity", old.identity != new.identity),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

/// A route without its numbers, which stand for names: a service written above another moves the other's number, and
/// nobody would call that a change of its routes.
fn unplaced(route: &config::Route) -> config::Route {
    let mut route = route.clone();
    route.matches.listener = None;
    if let config::Action::Forward(forward) = &mut route.action {
        forward.service = 0;
        for rule in &mut forward.rules {
            if let config::Target::To(version) = &mut rule.target {
                *version = 0;
            }
        }
    }
    route
}

/// The names behind the numbers in a route.
fn place_names<'a>(config: &'a config::Config, route: &'a config::Route) -> Vec<&'a str> {
    let mut names = Vec::new();
    names.extend(
        route
            .matches
            .listener
            .map(|at| config.listeners[at].name.as_str()),
    );
    if let config::Action::Forward(forward) = &route.action {
        let service = &config.services[forward.service];
        names.push(&service.name);
        names.extend(forward.rules.iter().filter_map(|rule| match rule.target {
            config::Target::To(version) => Some(service.versions[version].name.as_str()),
            config::Target::Split(_) => None,
            config::Target::Rollout(rollout) => Some(config.rollouts[rollout].name.as_str()),
        }));
    }
    names
}

/// Every weight that is not stable's and differs, in the order of the new file.
fn weights(old: &config::Config, new: &config::Config) -> Vec<String> {
    let before: BTreeMap<_, _> = splits(old)
        .map(|(split, version, weight, _)| ((split, version), weight))
        .collect();
    splits(new)
        .filter(|(_, _, _, is_stable)| !is_stable)
        .filter_map(|(split, version, weight, _)| {
            let was = *before.get(&(split.clone(), version))?;
            (was != weight).then(|| format!("{split} {version} {was} → {weight}"))
        })
        .collect()
}

/// `route.rule`, version, weight, whether it is the service's stable one.
fn splits(config: &config::Config) -> impl Iterator<Item = (String, &str, config::Share, bool)> {
    config.routes.iter().flat_map(move |route| {
        let forward = match &route.action {
            config::Action::Forward(forward) => Some(forward),
            config::Action::Redirect(_) | config::Action::Respond(_) => None,
        };
        forward.into_iter().flat_map(move |forward| {
            let service = &config.services[forward.service];
            forward.rules.iter().flat_map(move |rule| {
                let weights = match &rule.target {
                    config::Target::To(_) => Vec::new(),
                    config::Target::Split(split) => split.weights.clone(),
                    config::Target::Rollout(rollout) => {
                        written_weights(&config.rollouts[*rollout], service)
                    }
                };
                weights.into_iter().zip(&service.versions).enumerate().map(
                    move |(at, (weight, version))| {
                        (
                            format!("{}.{}", route.name, rule.name),
                            version.name.as_str(),
                            weight,
                            at == service.stable,
                        )
                    },
                )
            })
        })
    })
}

/// The weights of a guarded split, by version; none where stages decide, since those are not the file's alone.
fn written_weights(rollout: &config::Rollout, service: &config::Service) -> Vec<config::Share> {
    let config::Plan::Split(weight) = &rollout.plan else {
        return Vec::new();
    };
    let mut weights = vec![config::Share::ZERO; service.versions.len()];
    weights[rollout.candidate] = *weight;
    let left = config::Share::FULL.parts() - weight.parts();
    weights[service.stable] = config::Share::from_parts(left).unwrap_or_default();
    weights
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services:
  - name: app
    stable: v1
    versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }]
routes:
  - service: app
    rules: [{ name: everyone, split: { weights: { v1: 90%, v2: 10% } } }]
";

    fn told(old: &str, new: &str) -> String {
        let parsed = |text: &str| {
            let loaded = config::parse(text.as_bytes(), "gate.yaml", Path::new("."));
            loaded
                .config
                .unwrap_or_else(|| panic!("{:#?}", loaded.problems))
        };
        Changes::between(&parsed(old), &parsed(new)).to_string()
    }

    #[test]
    fn a_weight_is_told_by_its_route_rule_and_version() {
        let raised = FILE.replace("v1: 90%, v2: 10%", "v1: 75%, v2: 25%");
        assert_eq!(
            told(FILE, &raised),
            "routes +0 ~1 −0, app.everyone v2 10% → 25%"
        );
    }

    #[test]
    fn what_comes_and_goes_is_counted_by_name() {
        let more = FILE.replace("routes:\n", "routes:\n  - { name: old, respond: { status: 204 }, match: { path: { prefix: /old } } }\n");
        assert_eq!(told(FILE, &more), "routes +1 ~0 −0");
        assert_eq!(told(&more, FILE), "routes +0 ~0 −1");
        let moved = FILE
            .replace("127.0.0.1:8080", "127.0.0.1:8081")
            .replace("127.0.0.1:2", "127.0.0.1:3");
        assert_eq!(told(FILE, &moved), "listeners +0 ~1 −0, services +0 ~1 −0");
    }

    #[test]
    fn a_service_written_above_another_changes_no_route() {
        let other = "  - { name: first, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }\n";
        let before = FILE.replace("services:\n", &format!("services:\n{other}"));
        assert_eq!(told(FILE, &before), "services +1 ~0 −0");
    }

    #[test]
    fn sections_without_names_are_named_themselves() {
        let drain = format!(
            "{FILE}runtime: {{ drain: {{ max: 9s }} }}\naccess_log: {{ output: stdout }}\n"
        );
        assert_eq!(told(FILE, &drain), "runtime, access_log changed");
        assert_eq!(told(FILE, FILE), "nothing that matters changed");
    }
}
