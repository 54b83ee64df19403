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
    rollouts: Tally,
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
            rollouts: Tally::of(
                &old.rollouts,
                &new.rollouts,
                |rollout| &rollout.name,
                |was, is| {
                    unplaced_rollout(was) == unplaced_rollout(is)
                        && versions_of(old, was) == versions_of(new, is)
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
            ("rollouts", self.rollouts),
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
            if let config::Target::To(place) | config::Target::Rollout(place) = &mut rule.target {
                *place = 0;
            }
        }
    }
    route
}

/// A rollout without its numbers.
fn unplaced_rollout(rollout: &config::Rollout) -> config::Rollout {
    config::Rollout {
        service: 0,
        candidate: 0,
        ..rollout.clone()
    }
}

/// The names behind the numbers in a rollout.
fn versions_of<'a>(config: &'a config::Config, rollout: &config::Rollout) -> (&'a str, &'a str) {
    let service = &config.services[rollout.service];
    (&service.name, &service.versions[rollout.candidate].name)
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

/// `route.rule`, version, weight, whether it is the service's stable one. Of a rollout by stages none: its weight is not
/// the file's.
fn splits(config: &config::Config) -> impl Iterator<Item = (String, &str, config::Share, bool)> {
    let plain = config.routes.iter().flat_map(move |route| {
        let forward = match &route.action {
            config::Action::Forward(forward) => Some(forward),
            config::Action::Redirect(_) | config::Action::Respond(_) => None,
        };
        forward.into_iter().flat_map(move |forward| {
            let service = &config.services[forward.service];
            forward.rules.iter().flat_map(move |rule| {
                let weights: &[config::Share] = match &rule.target {
                    config::Target::Split(split) => &split.weights,
                    config::Target::To(_) | config::Target::Rollout(_) => &[],
                };
                weights.iter().zip(&service.versions).enumerate().map(
                    move |(at, (weight, version))| {
                        (
                            format!("{}.{}", route.name, rule.name),
                            version.name.as_str(),
                            *weight,
                            at == service.stable,
                        )
                    },
                )
            })
        })
    });
    let guarded = config.rollouts.iter().filter_map(|rollout| {
        let (_, candidate) = versions_of(config, rollout);
        match rollout.plan {
            config::Plan::Split(weight) => Some((rollout.name.clone(), candidate, weight, false)),
            config::Plan::Stages(_) => None,
        }
    });
    plain.chain(guarded)
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
    fn a_guarded_split_is_told_as_a_split_and_as_a_rollout() {
        let guarded = FILE.replace("v2: 10% }", "v2: 10% }, guard: {}");
        let raised = guarded.replace("v1: 90%, v2: 10%", "v1: 75%, v2: 25%");
        assert_eq!(told(FILE, &guarded), "routes +0 ~1 −0, rollouts +1 ~0 −0");
        assert_eq!(
            told(&guarded, &raised),
            "rollouts +0 ~1 −0, app.everyone v2 10% → 25%"
        );
        let strict = guarded.replace("guard: {}", "guard: { consecutive_failures: 9 }");
        assert_eq!(told(&guarded, &strict), "rollouts +0 ~1 −0");
    }

    #[test]
    fn a_rollout_is_told_by_its_name_wherever_it_stands() {
        let rollout = |name: &str, weight: &str| {
            format!(
                "  - {{ name: {name}, service: app, candidate: v2, stages: [{{ weight: {weight} }}] }}\n"
            )
        };
        let one = format!("{FILE}rollouts:\n{}", rollout("a", "5%"));
        let two = format!(
            "{FILE}rollouts:\n{}{}",
            rollout("b", "5%"),
            rollout("a", "5%")
        );
        assert_eq!(told(&one, &two), "rollouts +1 ~0 −0");
        let other = format!("{FILE}rollouts:\n{}", rollout("a", "6%"));
        assert_eq!(told(&one, &other), "rollouts +0 ~1 −0");
        assert_eq!(told(&one, FILE), "rollouts +0 ~0 −1");
        let named = two.replace("split: { weights: { v1: 90%, v2: 10% } }", "rollout: a");
        let moved = named.replace(&rollout("b", "5%"), "");
        assert_eq!(
            told(&named, &moved),
            "rollouts +0 ~0 −1",
            "its route is the same"
        );
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
