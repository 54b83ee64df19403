//! From shapes to values: every name resolved, every quantity read, every problem told before it gives up.
//!
//! A check returns a value whatever it finds; where the file is wrong the value is a stand-in that nobody sees, because
//! a single error keeps the whole from being used. So no check has to ask what another one found.

mod access;
mod certificate;
mod edits;
mod flaw;
mod gate;
mod guard;
mod guarded;
mod host;
mod listener;
mod listener_tls;
mod metric;
mod names;
mod order;
mod pair;
mod permissions;
mod plan;
mod region;
mod releases;
mod route;
mod rule;
mod service;
mod tls;
mod trust;
mod underscore;
mod unreached;
mod value;
mod when;
mod windows;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use crate::file;
use crate::read::Part;
use crate::reader::Reader;
use crate::source::{At, Problems};
use crate::tls::Pairs;
use crate::{Config, Rollout};
use names::Names;

/// The version of the format that is understood.
const FORMAT: u64 = 1;

/// What every check needs beside the value that it looks at.
pub(crate) struct Check<'c> {
    parts: &'c [Part],
    names: Names<'c>,
    reader: &'c mut Reader,
    problems: &'c mut Problems,
    /// What stays where the files of a pair are none.
    in_force: &'c Pairs,
    /// Lists of users that were read already, by path: many rules may name one.
    users: HashMap<PathBuf, std::sync::Arc<std::collections::BTreeSet<String>>>,
    /// The machine's authorities, once they were asked for; `None` where it has none.
    machine: Option<Option<std::sync::Arc<crate::tls::Authorities>>>,
    /// Written ones, and behind them guarded splits as far as routes were checked.
    rollouts: Vec<Rollout>,
    /// Whether the file says who the user is, and where regions come from.
    has_identity: bool,
    has_geo: bool,
    /// Whether a listener asks callers for certificates.
    asks_for_certificates: bool,
}

/// Checks the main file and what it includes as one.
pub(crate) fn check(
    parts: &[Part],
    reader: &mut Reader,
    in_force: &Pairs,
    problems: &mut Problems,
) -> Config {
    for (number, part) in parts.iter().enumerate() {
        check_format(part, number == 0, problems);
    }
    let mut check = Check {
        parts,
        names: Names::gather(parts, problems),
        reader,
        problems,
        in_force,
        users: HashMap::new(),
        machine: None,
        rollouts: Vec::new(),
        has_identity: parts.iter().any(|part| part.file.identity.is_some()),
        has_geo: parts.iter().any(|part| part.file.geo.is_some()),
        asks_for_certificates: parts
            .iter()
            .any(|part| certificate::are_asked_for(&part.file)),
    };
    let runtime = check.runtime();
    let listeners = check.listeners();
    let admin = check.admin();
    // Routes name rollouts, and add those of guarded splits.
    check.rollouts();
    let mut config = Config {
        runtime,
        admin,
        access_log: check.access_log(),
        geo: check.geo(),
        identity: check.identity(),
        services: check.services(),
        routes: check.routes(),
        rollouts: Vec::new(),
        listeners,
    };
    config.rollouts = std::mem::take(&mut check.rollouts);
    check.one_socket_each(&config);
    check.files_of_others();
    // A stand-in may look like another route; who has errors has no use for these warnings yet.
    if !check.problems.has_errors() {
        check.what_never_counts(&config);
        check.underscores(&config);
        check.unreached(&config);
        check.shared_salts(&mut config);
        check.idle_rollouts(&config);
    }
    config
}

fn check_format(part: &Part, is_main: bool, problems: &mut Problems) {
    let root = At::root(&part.source);
    match part.file.version {
        Some(FORMAT) => {}
        None if is_main => {
            problems.error(
                &root,
                "T105",
                "`version` is missing",
                "begin the file with `version: 1`",
            );
        }
        None => {}
        Some(other) => {
            let message = format!("version {other} of the format is not known");
            problems.error(
                &root.key("version"),
                "T112",
                message,
                "this release understands `version: 1`",
            );
        }
    }
}

impl<'c> Check<'c> {
    /// The section that stands in at most one of the files.
    fn section<T>(
        &mut self,
        key: &str,
        pick: fn(&file::File) -> Option<&T>,
    ) -> Option<(&'c Part, &'c T)> {
        let mut found: Option<(&'c Part, &'c T)> = None;
        for part in self.parts {
            let Some(section) = pick(&part.file) else {
                continue;
            };
            match found {
                None => found = Some((part, section)),
                Some((first, _)) => {
                    let first = At::root(&first.source).key(key).told();
                    let message = format!("`{key}` is given twice, first at {first}");
                    let root = At::root(&part.source);
                    self.problems
                        .key_error(&root.key(key), "T202", message, "keep one of the two");
                }
            }
        }
        found
    }

    /// Tells entries of a list that stand in it before; `same` says which are taken for one.
    fn no_entry_twice<K: std::hash::Hash + Eq>(
        &mut self,
        at: &At<'_>,
        entries: &[String],
        same: impl Fn(&str) -> K,
    ) {
        let mut seen = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            match seen.entry(same(entry)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(index);
                }
                Entry::Occupied(_) => {
                    let message = format!("{} is listed twice", crate::problem::quoted(entry));
                    self.problems
                        .error(&at.index(index), "T202", message, "remove one of the two");
                }
            }
        }
    }
}
