//! How things stand: written by control, read by whoever asks (the admin API, probes, tests). Readers never wait.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tidegate_config::Problem;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not every listener is bound yet.
    Starting = 0,
    /// Requests are welcome.
    Serving = 1,
    /// On the way out.
    Draining = 2,
}

/// How the file on disk relates to the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Whether the file on disk is the one in force.
    pub ok: bool,
    /// The snapshot in force.
    pub revision: u64,
    /// When the revision came into force.
    pub loaded_at: Timestamp,
    /// What is wrong with the file on disk: errors where it was refused, warnings where it is in force.
    pub problems: Vec<Problem>,
}

/// How things stand.
#[derive(Debug)]
pub struct Standing {
    path: PathBuf,
    started_at: Timestamp,
    phase: AtomicU8,
    file: ArcSwap<FileState>,
    listeners: ArcSwap<Vec<ListenerState>>,
}

/// A listener that is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerState {
    /// Its name in the file.
    pub name: String,
    /// Where it is bound; the port is the real one where the file says 0.
    pub address: SocketAddr,
}

impl Standing {
    /// At the start, with the first revision in force.
    pub fn new(path: &Path, first: FileState) -> Self {
        Self {
            path: path.to_owned(),
            started_at: Timestamp::now(),
            phase: AtomicU8::new(Phase::Starting as u8),
            file: ArcSwap::from_pointee(first),
            listeners: ArcSwap::default(),
        }
    }

    /// The file that the process was started with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When the process started.
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Life goes one way only: who drains does not serve again.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// The file on disk and the one in force.
    pub fn file(&self) -> Arc<FileState> {
        self.file.load_full()
    }

    /// Tells how the file stands now.
    pub fn set_file(&self, state: FileState) {
        self.file.store(Arc::new(state));
    }

    /// The listeners that are bound.
    pub fn listeners(&self) -> Arc<Vec<ListenerState>> {
        self.listeners.load_full()
    }

    /// Tells which listeners are bound now.
    pub fn set_listeners(&self, bound: Vec<(String, SocketAddr)>) {
        let bound = bound
            .into_iter()
            .map(|(name, address)| ListenerState { name, address })
            .collect();
        self.listeners.store(Arc::new(bound));
    }
}

/// A moment as every answer writes it: RFC 3339, UTC, milliseconds.
pub fn rfc3339(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_in_utc_with_milliseconds() {
        let moment = Timestamp::from_millisecond(1_700_000_000_120).unwrap();
        assert_eq!(rfc3339(moment), "2023-11-14T22:13:20.120Z");
    }
}
