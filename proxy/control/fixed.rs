//! What only a restart changes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tidegate_config::{Config, Problem, Severity};

/// What only a restart changes, as it was at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    workers: Option<NonZeroUsize>,
    admin: SocketAddr,
    state_dir: Option<PathBuf>,
}

impl Fixed {
    /// As the process starts.
    pub fn of(config: &Config) -> Self {
        Self {
            workers: config.runtime.workers,
            admin: config.admin.address,
            state_dir: config.runtime.state_dir.clone(),
        }
    }

    /// A warning for each thing that this file wants otherwise. It stays until the file says again what is, or the
    /// process was restarted.
    pub fn warnings(&self, wanted: &Config, file: &Path) -> Vec<Problem> {
        let wanted = Self::of(wanted);
        let workers = |count: Option<NonZeroUsize>| {
            count.map_or("auto".to_owned(), |count| count.to_string())
        };
        let folder = |folder: Option<PathBuf>| {
            folder.map_or("not written".to_owned(), |path| path.display().to_string())
        };
        [
            (
                "runtime.state_dir",
                folder(self.state_dir.clone()),
                folder(wanted.state_dir.clone()),
            ),
            (
                "runtime.workers",
                workers(self.workers),
                workers(wanted.workers),
            ),
            (
                "admin.address",
                self.admin.to_string(),
                wanted.admin.to_string(),
            ),
        ]
        .into_iter()
        .filter(|(_, is, wanted)| is != wanted)
        .map(|(path, is, wanted)| {
            let message = format!("{path} needs a restart: it is {is}, and {wanted} in the file");
            let hint =
                "restart tidegate, or put the old value back; the rest of the file is in force";
            Problem {
                severity: Severity::Warning,
                path: path.to_owned(),
                ..Problem::of_file("T910", file.to_owned(), &message, hint)
            }
        })
        .collect()
    }
}
