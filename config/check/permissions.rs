//! Who else may read and write the files that a configuration consists of. A secret that others may write is theirs:
//! whoever writes the tokens is admin. That they may read it is a warning only: Kubernetes mounts secrets so, mode 0644,
//! into a container where nobody else is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Check;
use crate::problem::quoted;
use crate::source::At;
use crate::standing::Standing;

/// How a file stands; `None` for what is no file: a pipe has its own bounds, and what is missing is told elsewhere.
fn standing_of(path: &Path) -> Option<Standing> {
    let about = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Standing::of(&about))
}

/// Whether it is owned by neither root nor this process's user.
fn is_a_strangers(standing: Standing) -> bool {
    standing.owner() != 0 && us().is_some_and(|us| us != standing.owner())
}

/// The user of this process.
fn us() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|about| about.uid())
}

impl Check<'_> {
    /// Looks at a file that holds a secret and is named at `at`.
    pub(super) fn secret_file(&mut self, at: &At<'_>, path: &Path) {
        let Some(standing) = standing_of(path) else {
            return;
        };
        let name = quoted(&path.display().to_string());
        if standing.others_write() {
            let message =
                format!("every user of this machine may write {name}, which holds a secret");
            let hint = format!("chmod 600 {}", path.display());
            self.problems.error(at, "T406", message, hint);
        } else if standing.others_read() {
            let message =
                format!("every user of this machine may read {name}, which holds a secret");
            let hint = format!(
                "chmod 600 {}; for a secret of Kubernetes set `defaultMode: 0400`",
                path.display()
            );
            self.problems.warning(at, "T912", message, hint);
        }
        if is_a_strangers(standing) {
            let message = format!(
                "{name} belongs to user {}, who is neither root nor the one this process runs as",
                standing.owner()
            );
            let hint = format!("chown root {}", path.display());
            self.problems.warning(at, "T914", message, hint);
        }
    }

    /// Looks at a file of authorities: whoever writes it says who is believed.
    pub(super) fn trust_file(&mut self, at: &At<'_>, path: &Path) {
        if standing_of(path).is_some_and(Standing::others_write) {
            let name = quoted(&path.display().to_string());
            let message =
                format!("every user of this machine may write {name}, which says who is believed");
            let hint = format!("chmod o-w {}", path.display());
            self.problems.error(at, "T406", message, hint);
        }
    }

    /// Warns of files of the configuration itself that others may change.
    pub(super) fn files_of_others(&mut self) {
        for part in self.parts {
            let path = &part.source.name;
            let Some(standing) = standing_of(path) else {
                continue;
            };
            let root = At::root(&part.source);
            let name = quoted(&path.display().to_string());
            if standing.others_write() {
                let message = format!(
                    "every user of this machine may write {name}, and with it decide where requests go"
                );
                let hint = format!("chmod o-w {}", path.display());
                self.problems.warning(&root, "T913", message, hint);
            }
            if is_a_strangers(standing) {
                let message = format!(
                    "{name} belongs to user {}, who is neither root nor the one this process runs as",
                    standing.owner()
                );
                let hint = format!("chown root {}", path.display());
                self.problems.warning(&root, "T914", message, hint);
            }
        }
    }
}
