//! The bytes under the store. A file grows by space that the disk has really set aside, so that a full disk is met when
//! the store asks for room, not in the middle of what it has already; and every step can be told.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::steps::{Step, Steps};

/// The file of the store. The lock of the state directory keeps other processes out, so it takes none of its own.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    steps: Steps,
}

impl Disk {
    pub(super) fn new(file: File, steps: Steps) -> Self {
        Self { file, steps }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.steps.take(Step::StoreGrow);
        let now = self.file.metadata()?.len();
        if len > now {
            match fallocate(&self.file, FallocateFlags::empty(), now, len - now) {
                Ok(()) => return Ok(()),
                // Some file systems cannot set space aside.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(error) => {
                    // What was set aside of it would be a length that the store does not know.
                    let _ = self.file.set_len(now);
                    return Err(error.into());
                }
            }
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.steps.take(Step::StoreSync);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.steps.take(Step::StoreWrite);
        self.file.write_all_at(data, offset)
    }
}
