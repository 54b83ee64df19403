//! Rules: who gets which version, and splits.

use super::Check;
use super::names::Unique;
use crate::file;
use crate::names::nearest;
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
            let target = self.target(&at, rule, route, &name, service);
            self.asks_for_nobody(&at, &target);
            rules.push(Rule { name, when, target });
        }
        rules
    }

    fn target(
        &mut self,
        at: &At<'_>,
        rule: &file::Rule,
        route: &str,
        name: &str,
        service: Option<&file::Service>,
    ) -> Target {
        match (&rule.to, &rule.split) {
            (Some(version), None) => {
                let who = format!("route {} sends to", quoted(route));
                let found = service
                    .and_then(|s| self.version_named(&at.key("to"), version, s, &who, false));
                Target::To(found.unwrap_or(0))
            }
            (None, Some(split)) => {
                Target::Split(self.split(&at.key("split"), split, route, name, service))
            }
            (Some(_), Some(_)) => {
                let message = format!("rule {} has `to` and `split` at one time", quoted(name));
                self.problems
                    .key_error(&at.key("split"), "T108", message, "keep one of them");
                Target::To(0)
            }
            (None, None) => {
                let message = format!("rule {} does not say where to", quoted(name));
                self.problems.error(
                    at,
                    "T108",
                    message,
                    "add `to:` with a version, or `split:` with weights",
                );
                Target::To(0)
            }
        }
    }

    fn split(
        &mut self,
        at: &At<'_>,
        written: &file::Split,
        route: &str,
        rule: &str,
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
            let who = format!("route {} splits over", quoted(route));
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
            salt: self.salt(&at.key("salt"), written.salt.as_deref(), route, rule),
            weights,
        }
    }

    fn split_by(&mut self, at: &At<'_>, written: Option<&str>) -> SplitBy {
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

    fn salt(&mut self, at: &At<'_>, written: Option<&str>, route: &str, rule: &str) -> String {
        let Some(salt) = written else {
            return format!("{route}.{rule}");
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
