//! Where those things stand that only the machine can judge: addresses that may be taken, files that may not be written.
//! Whoever finds out later what is wrong with one of them can still point at it.

use std::collections::HashMap;

use crate::problem::Problem;
use crate::read::Part;
use crate::source::At;

/// Places by the paths of a checked configuration, as [`Problem::path`] writes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Landmarks(HashMap<String, Problem>);

impl Landmarks {
    /// Those of a configuration's files, in the order in which they were checked.
    pub(crate) fn of(parts: &[Part]) -> Self {
        let mut places = HashMap::new();
        let mut note = |path: String, at: At<'_>| {
            places.insert(path, at.source_problem());
        };
        let mut listeners = 0;
        for part in parts {
            let root = At::root(&part.source);
            let listed = root.key("listeners");
            for index in 0..part.file.listeners.len() {
                let path = format!("listeners[{listeners}].address");
                note(path, listed.index(index).key("address"));
                listeners += 1;
            }
            for (section, key) in [
                ("runtime", "state_dir"),
                ("admin", "address"),
                ("admin", "probes"),
                ("access_log", "output"),
                ("geo", "database"),
            ] {
                let section_at = root.key(section);
                let at = section_at.key(key);
                if at.is_written() {
                    note(format!("{section}.{key}"), at);
                }
            }
        }
        Self(places)
    }

    /// The problem at the place that its path names, if there is one.
    pub(crate) fn place(&self, problem: Problem) -> Problem {
        let Some(place) = self.0.get(&problem.path) else {
            return problem;
        };
        Problem {
            code: problem.code,
            severity: problem.severity,
            path: problem.path,
            message: problem.message,
            hint: problem.hint,
            ..place.clone()
        }
    }
}
