//! What is seen of rollouts only when all of them are known: shared salts, and those that do nothing.

use std::collections::{HashMap, HashSet};

use super::Check;
use crate::plan::Rollout;
use crate::problem::quoted;
use crate::read::Part;
use crate::source::At;
use crate::{Action, Config, Route, SplitBy, Target};

/// Whoever deals out users by a salt: a rollout by its index, or a plain split.
struct Dealer<'a> {
    rollout: Option<usize>,
    by: &'a SplitBy,
    salt: &'a str,
}

/// What two must have in common to meet the same users: the kind of key and the salt.
type Deal = (SplitBy, String);

/// Whose a place is, a rollout's by its index or a plain split's, and what messages call it.
type Place = (Option<usize>, String);

impl Check<'_> {
    /// Marks the rollouts whose salt another rollout or split has too, and warns of them.
    ///
    /// Equal salts with equal keys give a user the same slot in both, so what one of them does to its users looks like
    /// the other's doing. A random slot is nobody's: it is not shared.
    pub(super) fn shared_salts(&mut self, config: &mut Config) {
        if config.rollouts.is_empty() {
            return;
        }
        let mut told: HashMap<Deal, Vec<Place>> = HashMap::new();
        let parts = self.parts;
        each_dealer(parts, config, &mut |at, dealer| {
            let key = (dealer.by.clone(), dealer.salt.to_owned());
            told.entry(key)
                .or_default()
                .push((dealer.rollout, at.told()));
        });
        let other = |rollout: usize, config: &Config| {
            let Rollout { by, salt, .. } = &config.rollouts[rollout];
            let sharing = told.get(&(by.clone(), salt.clone()))?;
            let other = sharing.iter().find(|(of, _)| *of != Some(rollout))?;
            (*by != SplitBy::Random).then(|| other.1.clone())
        };
        let others: Vec<Option<String>> = (0..config.rollouts.len())
            .map(|rollout| other(rollout, config))
            .collect();
        for (rollout, other) in config.rollouts.iter_mut().zip(&others) {
            rollout.shares_salt = other.is_some();
        }
        each_dealer(parts, config, &mut |at, dealer| {
            let Some(index) = dealer.rollout else { return };
            let (rollout, Some(other)) = (&config.rollouts[index], &others[index]) else {
                return;
            };
            if rollout.guard.compare.is_none() {
                return;
            }
            let message = format!(
                "rollout {} has the salt and the key of another one, at {other}: thresholds only, no comparison",
                quoted(&rollout.name)
            );
            let hint = "leave `salt` out where the same users need not meet both; write `compare: false` where they must";
            self.problems.warning(at, "T908", message, hint);
        });
    }

    /// Warns of written rollouts that no rule names, and of those whose candidate has become stable.
    pub(super) fn idle_rollouts(&mut self, config: &Config) {
        let rules = config.routes.iter().flat_map(rules_of);
        let named: HashSet<usize> = rules
            .filter_map(|rule| match rule.target {
                Target::Rollout(rollout) => Some(rollout),
                Target::To(_) | Target::Split(_) => None,
            })
            .collect();
        let mut rollouts = config.rollouts.iter().enumerate();
        for part in self.parts {
            let root = At::root(&part.source);
            let at = root.key("rollouts");
            for index in 0..part.file.rollouts.len() {
                let Some((number, rollout)) = rollouts.next() else {
                    return;
                };
                let at = at.index(index);
                let name = quoted(&rollout.name);
                let service = &config.services[rollout.service];
                if rollout.is_superseded(service.stable) {
                    let message = format!(
                        "rollout {name} is superseded: its candidate {} is the stable version of service {} already",
                        quoted(&service.versions[rollout.candidate].name),
                        quoted(&service.name)
                    );
                    let hint =
                        "remove it and send its rules `to` a version, or name the next candidate";
                    self.problems
                        .warning(&at.key("candidate"), "T909", message, hint);
                } else if !named.contains(&number) {
                    let message =
                        format!("no rule names rollout {name}: its candidate gets nobody");
                    let hint = format!(
                        "add a rule `rollout: {}` to a route of the service",
                        rollout.name
                    );
                    self.problems
                        .warning(&at.key("name"), "T907", message, hint);
                }
            }
        }
    }
}

/// Calls `see` with whatever deals out users, at its salt or where that would stand.
fn each_dealer(parts: &[Part], config: &Config, see: &mut dyn FnMut(&At<'_>, Dealer<'_>)) {
    let (mut written, mut routes) = (0, config.routes.iter());
    for part in parts {
        let root = At::root(&part.source);
        let at = root.key("rollouts");
        for (index, shape) in part.file.rollouts.iter().enumerate() {
            let at = at.index(index);
            let at = at.key(if shape.salt.is_some() { "salt" } else { "name" });
            see(&at, Dealer::of(config, written));
            written += 1;
        }
    }
    for part in parts {
        let root = At::root(&part.source);
        let at = root.key("routes");
        for (index, shape) in part.file.routes.iter().enumerate() {
            let at = at.index(index);
            let rules = at.key("rules");
            let shapes = shape.rules.as_deref().unwrap_or_default();
            let checked = routes.next().map(rules_of).unwrap_or_default();
            for (index, (shape, rule)) in shapes.iter().zip(checked).enumerate() {
                let Some(split) = &shape.split else { continue };
                let at = rules.index(index);
                let at = at.key("split");
                let key = if split.salt.is_some() {
                    "salt"
                } else {
                    "weights"
                };
                let dealer = match &rule.target {
                    Target::Rollout(rollout) => Dealer::of(config, *rollout),
                    Target::Split(split) => Dealer {
                        rollout: None,
                        by: &split.by,
                        salt: &split.salt,
                    },
                    Target::To(_) => continue,
                };
                see(&at.key(key), dealer);
            }
        }
    }
}

impl<'a> Dealer<'a> {
    fn of(config: &'a Config, rollout: usize) -> Self {
        let Rollout { by, salt, .. } = &config.rollouts[rollout];
        Self {
            rollout: Some(rollout),
            by,
            salt,
        }
    }
}

fn rules_of(route: &Route) -> &[crate::Rule] {
    match &route.action {
        Action::Forward(forward) => &forward.rules,
        Action::Redirect(_) | Action::Respond(_) => &[],
    }
}
