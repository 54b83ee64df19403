//! Whose a file is, and who else may read and write it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// Mode bits of whoever is neither the owner nor of its group.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// How a file stands toward other users of the machine: of its mode and owner, what anybody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    others: u32,
    owner: u32,
}

impl Standing {
    /// As the disk has it.
    pub(crate) fn of(about: &Metadata) -> Self {
        Self {
            others: about.mode() & (OTHERS_READ | OTHERS_WRITE),
            owner: about.uid(),
        }
    }

    /// Whether every user may read it.
    pub(crate) fn others_read(self) -> bool {
        self.others & OTHERS_READ != 0
    }

    /// Whether every user may write it.
    pub(crate) fn others_write(self) -> bool {
        self.others & OTHERS_WRITE != 0
    }

    /// The number of the user whose it is.
    pub(crate) fn owner(self) -> u32 {
        self.owner
    }

    /// For a fingerprint.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.owner) << 32 | u64::from(self.others)).to_le_bytes()
    }
}
