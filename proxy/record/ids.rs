//! Small numbers for the names of the configuration, so that a worker counts without touching a string.
//!
//! A name keeps its number for the life of the process, through every edit. The numbers are bounded: after
//! [`NAMES_MAX`] names of a kind the rest share one, shown as [`OTHER`].

use std::collections::HashMap;
use std::hash::Hash;

/// Names of one kind that get a number of their own. Far more than a configuration holds; reached only by a file
/// whose names are generated anew at every edit.
pub(crate) const NAMES_MAX: u16 = 65_000;

/// What the names beyond the bound are shown as.
pub(crate) const OTHER: &str = "(other)";

const NONE_ID: u16 = 0;
const OTHER_ID: u16 = NAMES_MAX + 1;

/// A listener's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) u16);

/// A route's number, or [`RouteId::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub(crate) u16);

/// The number of a version of a service, or [`VersionId::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId(pub(crate) u16);

/// A rollout's number. All names beyond the bound share one, and then they share their counts: see [`RolloutId::is_own`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RolloutId(pub(crate) u16);

impl RolloutId {
    /// Whether it is this rollout's alone. One that shares its number must not be judged by its counts.
    pub fn is_own(self) -> bool {
        self.0 != OTHER_ID
    }
}

impl ListenerId {
    pub(crate) const OTHER: Self = Self(OTHER_ID);
}

impl RouteId {
    /// No route matched; an empty label.
    pub const NONE: Self = Self(NONE_ID);
    pub(crate) const OTHER: Self = Self(OTHER_ID);
}

impl VersionId {
    /// No version was asked; empty labels.
    pub const NONE: Self = Self(NONE_ID);
    pub(crate) const OTHER: Self = Self(OTHER_ID);
}

/// The names of one kind. `K` is the name.
#[derive(Debug)]
pub(crate) struct Names<K> {
    ids: HashMap<K, u16>,
    /// At `id - 1`: the name, and whether the configuration in force has it.
    rows: Vec<(K, bool)>,
    full_said: bool,
}

impl<K: Hash + Eq + Clone> Names<K> {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            rows: Vec::new(),
            full_said: false,
        }
    }

    /// The name's number; a new name gets the next. `kind` is for the message when there are no more.
    pub(crate) fn id(&mut self, name: K, kind: &'static str) -> u16 {
        if let Some(&id) = self.ids.get(&name) {
            self.rows[usize::from(id) - 1].1 = true;
            return id;
        }
        let Some(id) = u16::try_from(self.rows.len() + 1)
            .ok()
            .filter(|id| *id <= NAMES_MAX)
        else {
            if !self.full_said {
                self.full_said = true;
                tracing::warn!(
                    kind,
                    max = NAMES_MAX,
                    "more {kind} names since the start than metrics can tell apart ({NAMES_MAX}); \
                     new ones are counted together as {OTHER} until a restart"
                );
            }
            return OTHER_ID;
        };
        self.rows.push((name.clone(), true));
        self.ids.insert(name, id);
        id
    }

    /// Gives a number another name, and the number that had that name the old one: each still has one of its own.
    pub(crate) fn rename(&mut self, id: u16, name: K) {
        let Some(at) = usize::from(id)
            .checked_sub(1)
            .filter(|at| *at < self.rows.len())
        else {
            return;
        };
        let old = std::mem::replace(&mut self.rows[at], (name.clone(), true)).0;
        let other = self.ids.insert(name, id);
        self.ids.remove(&old);
        if let Some(other) = other {
            self.rows[usize::from(other) - 1].0 = old.clone();
            self.ids.insert(old, other);
        }
    }

    /// Shows the names that `live` holds, hides the others.
    pub(crate) fn retain(&mut self, live: impl Fn(&K) -> bool) {
        for (name, shown) in &mut self.rows {
            *shown = live(name);
        }
    }

    /// What a number stands for in a label.
    pub(crate) fn name(&self, id: u16) -> Name<&K> {
        match id {
            NONE_ID => Name::None,
            OTHER_ID => Name::Other,
            id => match self.rows.get(usize::from(id) - 1) {
                Some((name, true)) => Name::Shown(name),
                _ => Name::Hidden,
            },
        }
    }

    /// The numbers of the names that the configuration in force has.
    pub(crate) fn shown(&self) -> impl Iterator<Item = u16> {
        (1..)
            .zip(&self.rows)
            .filter(|(_, (_, shown))| *shown)
            .map(|(id, _)| id)
    }
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<K> {
    /// Nothing.
    None,
    /// A name beyond the bound.
    Other,
    /// This one.
    Shown(K),
    /// One that has left the configuration.
    Hidden,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_one_number_and_the_old_ones_keep_theirs() {
        let mut names = Names::new();
        let first = names.id("first".to_string(), "route");
        for i in 1..NAMES_MAX {
            assert_ne!(names.id(format!("r{i}"), "route"), OTHER_ID);
        }
        assert_eq!(names.id("one too many".to_string(), "route"), OTHER_ID);
        assert_eq!(names.id("and another".to_string(), "route"), OTHER_ID);
        assert_eq!(names.id("first".to_string(), "route"), first);
        assert_eq!(names.name(OTHER_ID), Name::Other);
    }

    #[test]
    fn names_may_change_places() {
        let mut names = Names::new();
        let ids = ["a", "b", "c"].map(|name| names.id(name, "listener"));
        for (id, name) in ids.into_iter().zip(["b", "c", "a"]) {
            names.rename(id, name);
        }
        names.rename(ids[0], "b");
        let shown = ids.map(|id| names.name(id));
        assert_eq!(shown, ["b", "c", "a"].each_ref().map(Name::Shown));
        assert_eq!(["b", "c", "a"].map(|name| names.id(name, "listener")), ids);
        assert_eq!(names.id("d", "listener"), 4);
    }

    #[test]
    fn a_name_that_leaves_and_returns_keeps_its_number() {
        let mut names = Names::new();
        let (a, b) = (names.id("a", "route"), names.id("b", "route"));
        names.retain(|name| *name == "b");
        assert_eq!(
            (names.name(a), names.name(b)),
            (Name::Hidden, Name::Shown(&"b"))
        );
        assert_eq!(names.id("a", "route"), a);
        assert_eq!(names.name(a), Name::Shown(&"a"));
    }
}
