//! Headers with an underscore in their name, which an edge listener removes: many a version takes `_` for `-`, and would
//! read two words where a rule saw one. What goes by one of them goes by nothing.

use super::Check;
use crate::file;
use crate::problem::quoted;
use crate::source::At;
use crate::{Config, Listener, Profile, SplitBy};

/// The listeners that a request can have come in by.
struct Doors<'a>(Vec<&'a Listener>);

impl<'a> Doors<'a> {
    fn of(config: &'a Config, only: Option<usize>) -> Self {
        let all = config.listeners.iter().enumerate();
        let is_one = |at: usize| only.is_none_or(|only| only == at);
        Self(all.filter_map(|(at, l)| is_one(at).then_some(l)).collect())
    }

    /// Whether none of them lets a header of this name in, for its underscore.
    fn remove(&self, name: &str) -> bool {
        let lets_in = |listener: &&Listener| {
            listener.profile == Profile::Sidecar
                || listener
                    .trusted_headers
                    .iter()
                    .any(|trusted| trusted.eq_ignore_ascii_case(name))
        };
        name.contains('_') && !self.0.iter().any(lets_in)
    }
}

impl Check<'_> {
    /// Warns of conditions, splits and rollouts by a header that no listener lets in for the underscore in its name.
    pub(super) fn underscores(&mut self, config: &Config) {
        let (mut route, mut rollout) = (0, 0);
        for part in self.parts {
            let root = At::root(&part.source);
            let listed = root.key("routes");
            for (index, written) in part.file.routes.iter().enumerate() {
                let doors = Doors::of(config, config.routes[route].matches.listener);
                route += 1;
                let at = listed.index(index);
                self.underscores_of_rules(&at.key("rules"), written, &doors);
            }
            let listed = root.key("rollouts");
            for index in 0..part.file.rollouts.len() {
                let by = &config.rollouts[rollout].by;
                rollout += 1;
                let at = listed.index(index);
                self.underscore_of_split(&at.key("by"), by, &Doors::of(config, None));
            }
        }
    }

    fn underscores_of_rules(&mut self, at: &At<'_>, route: &file::Route, doors: &Doors<'_>) {
        for (index, rule) in route.rules.iter().flatten().enumerate() {
            let at = at.index(index);
            if let Some(when) = &rule.when {
                self.underscores_of_when(&at.key("when"), when, doors);
            }
            if let Some(split) = &rule.split {
                let by = split.by.as_deref().unwrap_or_default();
                if let Some(name) = by.strip_prefix("header:") {
                    let split_at = at.key("split");
                    self.underscore(&split_at.key("by"), name.trim(), doors);
                }
            }
        }
    }

    fn underscores_of_when(&mut self, at: &At<'_>, when: &file::When, doors: &Doors<'_>) {
        if let Some(header) = &when.header {
            let header_at = at.key("header");
            self.underscore(&header_at.key("name"), &header.name, doors);
        }
        for (key, list) in [("any", &when.any), ("all", &when.all)] {
            let list_at = at.key(key);
            for (index, when) in list.iter().flatten().enumerate() {
                self.underscores_of_when(&list_at.index(index), when, doors);
            }
        }
        if let Some(not) = &when.not {
            self.underscores_of_when(&at.key("not"), not, doors);
        }
    }

    fn underscore_of_split(&mut self, at: &At<'_>, by: &SplitBy, doors: &Doors<'_>) {
        if let SplitBy::Header(name) = by {
            self.underscore(at, name, doors);
        }
    }

    fn underscore(&mut self, at: &At<'_>, name: &str, doors: &Doors<'_>) {
        if !doors.remove(name) {
            return;
        }
        let message = format!(
            "the header {} never counts: an edge listener removes names with an underscore, which many a version takes for \
             a hyphen",
            quoted(name)
        );
        let hint = format!(
            "let callers send `{}`, or add it to the `trusted_headers` of the listener whose callers may set it: \
             `trusted_headers: [{name}]`",
            name.replace('_', "-")
        );
        self.problems.warning(at, "T904", message, hint);
    }
}
