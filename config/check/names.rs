//! Names: which there are, which are given twice, and what one that is unknown may have meant.

use std::collections::HashMap;

use super::Check;
use crate::file;
use crate::names::{list, nearest};
use crate::problem::quoted;
use crate::read::Part;
use crate::source::{At, Problems};

/// The longest name, in characters. Names become labels of metrics and parts of addresses.
const MAX_NAME: usize = 128;

/// Every listener, service and written rollout, in the order that indexes count in.
pub(super) struct Names<'c> {
    listeners: HashMap<&'c str, usize>,
    services: HashMap<&'c str, (usize, &'c file::Service)>,
    rollouts: HashMap<&'c str, (usize, &'c file::Rollout)>,
    /// In the order written, for messages.
    listener_names: Vec<&'c str>,
    service_names: Vec<&'c str>,
    rollout_names: Vec<&'c str>,
    /// Of rollouts, guarded splits included.
    rollouts_once: Unique,
}

impl<'c> Names<'c> {
    pub(super) fn gather(parts: &'c [Part], problems: &mut Problems) -> Self {
        let mut names = Self {
            listeners: HashMap::new(),
            services: HashMap::new(),
            rollouts: HashMap::new(),
            listener_names: Vec::new(),
            service_names: Vec::new(),
            rollout_names: Vec::new(),
            rollouts_once: Unique::new("rollout"),
        };
        let mut listeners = Unique::new("listener");
        let mut services = Unique::new("service");
        let mut routes = Unique::new("route");
        for part in parts {
            let root = At::root(&part.source);
            let at = root.key("listeners");
            for (index, listener) in part.file.listeners.iter().enumerate() {
                names
                    .listeners
                    .entry(&listener.name)
                    .or_insert(names.listener_names.len());
                names.listener_names.push(&listener.name);
                listeners.name(&at.index(index).key("name"), &listener.name, problems);
            }
            let at = root.key("services");
            for (index, service) in part.file.services.iter().enumerate() {
                names
                    .services
                    .entry(&service.name)
                    .or_insert((names.service_names.len(), service));
                names.service_names.push(&service.name);
                services.name(&at.index(index).key("name"), &service.name, problems);
            }
            let at = root.key("rollouts");
            for (index, rollout) in part.file.rollouts.iter().enumerate() {
                names
                    .rollouts
                    .entry(&rollout.name)
                    .or_insert((names.rollout_names.len(), rollout));
                names.rollout_names.push(&rollout.name);
                names
                    .rollouts_once
                    .name(&at.index(index).key("name"), &rollout.name, problems);
            }
            let at = root.key("routes");
            for (index, route) in part.file.routes.iter().enumerate() {
                let at = at.index(index);
                match (&route.name, &route.service) {
                    (Some(name), _) => routes.name(&at.key("name"), name, problems),
                    // A service that is named wrongly is told where it is resolved.
                    (None, Some(service)) => routes.unnamed(&at.key("service"), service, problems),
                    (None, None) => problems.error(
                        &at,
                        "T105",
                        "a route without a service needs a `name`",
                        "add `name:`; metrics and logs use it",
                    ),
                }
            }
        }
        names
    }

    /// Whether there is such a service, and its index.
    pub(super) fn service_index(&self, name: &str) -> Option<usize> {
        self.services.get(name).map(|(index, _)| *index)
    }

    /// A guarded split is a rollout with a name that nobody wrote as such.
    pub(super) fn guarded(&mut self, at: &At<'_>, name: &str, problems: &mut Problems) {
        let hint = "give the rule or the other rollout another name: the split's guard makes it a rollout too";
        self.rollouts_once.once(at, name, hint, problems);
    }
}

/// Names of one kind, each given once.
pub(super) struct Unique {
    kind: &'static str,
    seen: HashMap<String, String>,
}

impl Unique {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            seen: HashMap::new(),
        }
    }

    /// A name that was written.
    pub(super) fn name(&mut self, at: &At<'_>, name: &str, problems: &mut Problems) {
        if let Some(message) = wrong_name(name) {
            return problems.error(at, "T203", message, "use letters, digits, `-`, `_` and `.`");
        }
        self.once(at, name, "give one of them another name", problems);
    }

    /// A name that stands in for one that was not written.
    pub(super) fn unnamed(&mut self, at: &At<'_>, name: &str, problems: &mut Problems) {
        if wrong_name(name).is_none() {
            self.once(at, name, "give this one a `name:` of its own", problems);
        }
    }

    fn once(&mut self, at: &At<'_>, name: &str, hint: &str, problems: &mut Problems) {
        if let Some(first) = self.seen.get(name) {
            let message = format!(
                "a second {} has the name {}, the first is at {first}",
                self.kind,
                quoted(name)
            );
            problems.error(at, "T202", message, hint);
        } else {
            self.seen.insert(name.to_owned(), at.told());
        }
    }
}

fn wrong_name(name: &str) -> Option<String> {
    let what = if name.is_empty() {
        "a name is empty".to_owned()
    } else if name.chars().count() > MAX_NAME {
        format!("a name is longer than {MAX_NAME} characters")
    } else if name.trim() != name {
        format!("the name {} begins or ends with white space", quoted(name))
    } else if name.chars().any(char::is_control) {
        format!("the name {} has control characters", quoted(name))
    } else {
        return None;
    };
    Some(what)
}

impl<'c> Check<'c> {
    /// The index of a listener.
    pub(super) fn listener_named(&mut self, at: &At<'_>, name: &str) -> usize {
        if let Some(index) = self.names.listeners.get(name) {
            return *index;
        }
        let known = self.names.listener_names.clone();
        self.unknown(
            at,
            &format!("there is no listener {}", quoted(name)),
            name,
            "listeners",
            &known,
        );
        0
    }

    /// The index of a service, and the service.
    pub(super) fn service_named(
        &mut self,
        at: &At<'_>,
        name: &str,
    ) -> Option<(usize, &'c file::Service)> {
        if let Some(found) = self.names.services.get(name) {
            return Some(*found);
        }
        let known = self.names.service_names.clone();
        self.unknown(
            at,
            &format!("there is no service {}", quoted(name)),
            name,
            "services",
            &known,
        );
        None
    }

    /// The index of a written rollout, and the rollout.
    pub(super) fn rollout_named(
        &mut self,
        at: &At<'_>,
        name: &str,
    ) -> Option<(usize, &'c file::Rollout)> {
        if let Some(found) = self.names.rollouts.get(name) {
            return Some(*found);
        }
        let known = self.names.rollout_names.clone();
        self.unknown(
            at,
            &format!("there is no rollout {}", quoted(name)),
            name,
            "rollouts",
            &known,
        );
        None
    }

    /// The index of a version in its service; `who` begins the message: `route "shop" sends to`. A weight names it by
    /// its key.
    pub(super) fn version_named(
        &mut self,
        at: &At<'_>,
        name: &str,
        service: &file::Service,
        who: &str,
        is_key: bool,
    ) -> Option<usize> {
        let found = service
            .versions
            .iter()
            .position(|version| version.name == name);
        if found.is_none() {
            let known: Vec<&str> = service
                .versions
                .iter()
                .map(|version| version.name.as_str())
                .collect();
            let message = format!(
                "{who} version {}, but service {} has {}",
                quoted(name),
                quoted(&service.name),
                list(&known, "and")
            );
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => "name one of these, or add the version to the service".to_owned(),
            };
            if is_key {
                self.problems.key_error(at, "T201", message, hint);
            } else {
                self.problems.error(at, "T201", message, hint);
            }
        }
        found
    }

    fn unknown(&mut self, at: &At<'_>, message: &str, name: &str, kind: &str, known: &[&str]) {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!(
                "did you mean {}? {kind}: {}",
                quoted(near),
                list(known, "and")
            ),
            None => format!("{kind}: {}", list(known, "and")),
        };
        self.problems.error(at, "T201", message, hint);
    }
}
