//! Rules: who gets which version, and splits.

use super::Check;
use super::guarded::Ruled;
use super::names::Unique;
use crate::file;
use crate::names::{list, nearest};
use crate::problem::quoted;
use crate::read::Part;
use crate::source::At;
use crate::{Rule, Share, Split, SplitBy, Target};

/// Salts are hashed once; longer ones are no words.
const LONGEST_SALT: usize = 256;

impl Check<'_> {
    pub(super) fn rules(
        &mut self,
        at: &At<'_>,
        written: &[file::Rule],
        route: &str,
        service: Option<&file::Service>,
        part: &Part,
    ) -> Vec<Rule> {
        let mut names = Unique::new("rule of this route");
        let mut rules = Vec::with_capacity(written.len());
        for (index, rule) in written.iter().enumerate() {
            let at = at.index(index);
            let name = rule.name.clone().unwrap_or_else(|| (index + 1).to_string());
            match rule.name {
                Some(_) => names.name(&at.key("name"), &name, self.problems),
                None => names.unnamed(&at, &name, self.problems),
            }
            let when = rule
                .when
                .as_ref()
                .map(|when| self.when(&at.key("when"), when, part));
            let ruled = Ruled {
                route,
                rule: &name,
                is_named: rule.name.is_some(),
            };
            let target = self.target(&at, rule, &ruled, service);
            rules.push(Rule { name, when, target });
        }
        rules
    }

    fn target(
        &mut self,
        at: &At<'_>,
        rule: &file::Rule,
        ruled: &Ruled<'_>,
        service: Option<&file::Service>,
    ) -> Target {
        let given: Vec<&str> = [
            ("to", rule.to.is_some()),
            ("split", rule.split.is_some()),
            ("rollout", rule.rollout.is_some()),
        ]
        .iter()
        .filter_map(|(key, is_given)| is_given.then_some(*key))
        .collect();
        match given.as_slice() {
            [_] => {}
            [] => {
                let message = format!("rule {} does not say where to", quoted(ruled.rule));
                let hint =
                    "add `to:` with a version, `split:` with weights, or `rollout:` with its name";
                self.problems.error(at, "T108", message, hint);
            }
            several => {
                let message = format!(
                    "rule {} has {} at one time",
                    quoted(ruled.rule),
                    list(several, "and")
                );
                self.problems
                    .key_error(&at.key(several[1]), "T108", message, "keep one of them");
                return Target::To(0);
            }
        }
        if let Some(split) = &rule.split {
            let split_at = at.key("split");
            let checked = self.split(&split_at, split, ruled, service);
            self.asks_for_nobody(&split_at.key("by"), &checked.by);
            return match &split.guard {
                Some(guard) => self.guarded(at, split, guard, checked, ruled, service),
                None => Target::Split(checked),
            };
        }
        if let Some(rollout) = &rule.rollout {
            return Target::Rollout(self.rollout_of(&at.key("rollout"), rollout, ruled, service));
        }
        let found = rule
            .to
            .as_ref()
            .zip(service)
            .and_then(|(version, service)| {
                let who = format!("route {} sends to", quoted(ruled.route));
                self.version_named(&at.key("to"), version, service, &who, false)
            });
        Target::To(found.unwrap_or(0))
    }

    /// The index of the rollout that a rule names; it is one of the route's service.
    fn rollout_of(
        &mut self,
        at: &At<'_>,
        name: &str,
        ruled: &Ruled<'_>,
        service: Option<&file::Service>,
    ) -> usize {
        let Some((index, rollout)) = self.rollout_named(at, name) else {
            return 0;
        };
        if let Some(service) = service.filter(|service| service.name != rollout.service)
            && self.names.service_index(&rollout.service).is_some()
        {
            let message = format!(
                "route {} is for service {}, and rollout {} for service {}",
                quoted(ruled.route),
                quoted(&service.name),
                quoted(name),
                quoted(&rollout.service)
            );
            let hint = "name a rollout of the route's service, or write one for it";
            self.problems.error(at, "T207", message, hint);
        }
        index
    }

    fn split(
        &mut self,
        at: &At<'_>,
        written: &file::Split,
        ruled: &Ruled<'_>,
        service: Option<&file::Service>,
    ) -> Split {
        let weights_at = at.key("weights");
        let mut weights = vec![Share::ZERO; service.map_or(0, |service| service.versions.len())];
        let mut sum = Some(0_u64);
        for (version, text) in &written.weights {
            let at = weights_at.key(version);
            let share = self.share_read(&at, text);
            sum = sum
                .zip(share)
                .map(|(sum, share)| sum + u64::from(share.parts()));
            let Some(service) = service else { continue };
            let who = format!("route {} splits over", quoted(ruled.route));
            if let (Some(index), Some(share)) =
                (self.version_named(&at, version, service, &who, true), share)
            {
                weights[index] = share;
            }
        }
        let full = u64::from(Share::FULL.parts());
        if let Some(sum) = sum.filter(|sum| *sum != full) {
            let message = format!(
                "the weights add up to {}, they must add up to 100 %",
                percent(sum)
            );
            let hint = if sum < full {
                format!("give {} more to one of them", percent(full - sum))
            } else {
                format!("take {} from one of them", percent(sum - full))
            };
            self.problems.error(&weights_at, "T303", message, hint);
        }
        Split {
            by: self.split_by(&at.key("by"), written.by.as_deref()),
            salt: self.salt(&at.key("salt"), written.salt.as_deref(), || {
                format!("{}.{}", ruled.route, ruled.rule)
            }),
            weights,
        }
    }

    /// What gives a request its slot, in a split and in a rollout.
    pub(super) fn split_by(&mut self, at: &At<'_>, written: Option<&str>) -> SplitBy {
        const WORDS: [&str; 3] = ["user", "random", "client_address"];
        match written {
            None if self.has_identity => SplitBy::User,
            None | Some("random") => SplitBy::Random,
            Some("user") => SplitBy::User,
            Some("client_address") => SplitBy::ClientAddress,
            Some(text) => match text.split_once(':') {
                Some(("header", name)) => SplitBy::Header(self.header_name(at, name.trim())),
                Some(("cookie", name)) => SplitBy::Cookie(self.cookie_name(at, name.trim())),
                _ => {
                    let message = format!("a split cannot go by {}", quoted(text));
                    let hint = match nearest(text, WORDS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "write `user`, `random`, `client_address`, `header:NAME` or `cookie:NAME`".to_owned(),
                    };
                    self.problems.error(at, "T317", message, hint);
                    SplitBy::Random
                }
            },
        }
    }

    pub(super) fn salt(
        &mut self,
        at: &At<'_>,
        written: Option<&str>,
        default: impl FnOnce() -> String,
    ) -> String {
        let Some(salt) = written else {
            return default();
        };
        if salt.is_empty() || salt.len() > LONGEST_SALT {
            let message = format!(
                "a salt has 1 to {LONGEST_SALT} bytes, this one has {}",
                salt.len()
            );
            self.problems
                .error(at, "T302", message, "write a word, or leave the key out");
        }
        salt.to_owned()
    }
}

/// Hundred-thousandths that may be more than a whole.
fn percent(parts: u64) -> String {
    let fraction = format!("{:03}", parts % 1000);
    match fraction.trim_end_matches('0') {
        "" => format!("{} %", parts / 1000),
        fraction => format!("{}.{fraction} %", parts / 1000),
    }
}
