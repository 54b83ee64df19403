//! File descriptors, of which the process may open only so many. The last ones are not for requests: without them
//! nobody could ask how the process is, and no edit could be read.
//!
//! The system gives the lowest number that is free. So a number tells how many are taken, and no count is kept.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

/// Of so many that may be open one is kept for control: the admin API, files, new listeners.
const ONE_KEPT_OF: u64 = 16;
/// But at least so many,
const LEAST_KEPT: u64 = 16;
/// at most so many,
const MOST_KEPT: u64 = 64;
/// and where few may be open, one of these.
const ONE_KEPT_OF_FEW: u64 = 4;

/// Whom a descriptor may serve. Each may take what those before may, and a quarter more of what is kept; edits take all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Connections of callers and to versions.
    Requests,
    /// Callers that were accepted and wait for a descriptor of [`Use::Requests`].
    Waiting,
    /// Connections of the admin API.
    Admin,
}

impl Use {
    /// Whether what was opened is none that this may keep. The limit is asked for each time, which is cheap beside
    /// opening: an operator may raise it while the process runs.
    pub fn is_denied(self, opened: &impl AsRawFd) -> bool {
        let limit = getrlimit(Resource::Nofile).current;
        let number = u64::try_from(opened.as_raw_fd());
        number.is_ok_and(|number| limit.is_some_and(|limit| number >= self.end(limit)))
    }

    fn end(self, limit: u64) -> u64 {
        let kept = (limit / ONE_KEPT_OF)
            .clamp(LEAST_KEPT, MOST_KEPT)
            .min(limit / ONE_KEPT_OF_FEW);
        limit - kept + self as u64 * kept / 4
    }
}

/// Whether the process, or the machine, has no descriptor left.
pub fn are_used_up(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// The same socket or file by the lowest number that is free now.
///
/// # Errors
/// Where none is free.
pub fn lowered(opened: &impl AsFd) -> io::Result<std::os::fd::OwnedFd> {
    opened.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_for_control_and_the_very_last_for_edits() {
        let ends = |limit| [Use::Requests, Use::Waiting, Use::Admin].map(|of| of.end(limit));
        assert_eq!(ends(20_000), [19_936, 19_952, 19_968]);
        assert_eq!(ends(256), [240, 244, 248]);
        assert_eq!(ends(64), [48, 52, 56]);
        assert_eq!(ends(40), [30, 32, 35], "of few, a quarter");
        assert_eq!(ends(3), [3, 3, 3]);
    }

    #[test]
    fn what_was_opened_early_is_for_everybody() {
        assert!(!Use::Requests.is_denied(&io::stderr()));
    }
}
