//! What is wrong with a file that the configuration names, before it is known what that costs.

use std::io;
use std::path::Path;

use super::Check;
use crate::problem::quoted;
use crate::source::At;

/// Why a file cannot be used. Whoever asked for the file decides whether that refuses the edit.
pub(super) struct Flaw {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

impl Flaw {
    /// A file that cannot be read at all.
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = if error.kind() == io::ErrorKind::FileTooLarge {
            "name a smaller file"
        } else {
            "check the path, which is relative to this file, and who may read it"
        };
        let message = format!("cannot read {}: {}", shown(path), crate::read::told(error));
        Self {
            code: "T401",
            message,
            hint,
        }
    }

    /// A file that does not hold what it should.
    pub(super) fn wrong(message: String, hint: &'static str) -> Self {
        Self {
            code: "T402",
            message,
            hint,
        }
    }
}

impl Check<'_> {
    /// The bytes of a file, at most so many.
    pub(super) fn read(&mut self, path: &Path, bound: u64) -> Result<Vec<u8>, Flaw> {
        let read = self.reader.read(path, bound);
        read.map_err(|error| Flaw::unreadable(path, &error))
    }

    /// [`Self::read`] where nothing can stand for the file. `None` where a problem was told.
    pub(super) fn bytes(&mut self, at: &At<'_>, path: &Path, bound: u64) -> Option<Vec<u8>> {
        let read = self.read(path, bound);
        self.or_refused(at, read)
    }

    /// Tells of a flaw for which the edit pays.
    pub(super) fn or_refused<T>(&mut self, at: &At<'_>, read: Result<T, Flaw>) -> Option<T> {
        read.map_err(|flaw| self.problems.error(at, flaw.code, flaw.message, flaw.hint))
            .ok()
    }
}

/// A path in a message.
pub(super) fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
}
