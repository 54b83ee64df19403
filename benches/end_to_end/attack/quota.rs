//! The attacker's share of a core: by the system's own quota where it may be had, otherwise by its own restraint.

use std::fs;
use std::path::{Path, PathBuf};

use super::SHARE;

/// Where the first version of control groups keeps processor time.
const CONTROLLER: &str = "/sys/fs/cgroup/cpu";
/// Short, so that a turn of the attacker stops nobody else for long.
const PERIOD_US: u64 = 5_000;
/// The most: inside its quota the attacker is not made to wait for the load on the same core.
const SHARES: u64 = 262_144;

/// A control group of our own. Dropping it removes it, once it is empty.
pub(super) struct Quota {
    group: PathBuf,
}

impl Quota {
    /// Makes the group; `None` where the system does not let us.
    pub(super) fn take() -> Option<Self> {
        let group = Path::new(CONTROLLER).join(format!("tidegate-attack-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let quota = Self { group };
        let share = (PERIOD_US as f64 * SHARE) as u64;
        quota.write("cpu.cfs_period_us", PERIOD_US)?;
        quota.write("cpu.cfs_quota_us", share)?;
        quota.write("cpu.shares", SHARES)?;
        Some(quota)
    }

    /// Puts a process with all its threads under it.
    pub(super) fn hold(&self, process: u32) -> Result<(), String> {
        self.write("cgroup.procs", process.into())
            .ok_or_else(|| format!("{}: it takes no process", self.group.display()))
    }

    fn write(&self, file: &str, value: u64) -> Option<()> {
        fs::write(self.group.join(file), value.to_string()).ok()
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("note: {} stays behind: {error}", self.group.display());
        }
    }
}
