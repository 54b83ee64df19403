//! The proxy as the demo runs it: this very program, in a process of its own, as anybody would start it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::Proxy;

/// Lines of the log that are shown when something went wrong.
const LAST_WORDS: usize = 12;

/// `tidegate run`. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts it, with its log beside its file.
    pub(super) fn start(file: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log = file.with_file_name("tidegate.log");
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = Command::new(&program)
            .arg("run")
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // Ctrl-C is for the demo, which then takes its leave in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { process, log })
    }
}

impl Proxy for Child {
    fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let mut words = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        words.push_str(&format!("\n({status})"));
        Some(words)
    }

    fn leave(&mut self) {
        // An error is a process that has gone already: `left` tells.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
    }

    fn left(&mut self) -> Option<bool> {
        self.process.try_wait().ok()?.map(|status| status.success())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing to do for one that has left; both calls say so and are right.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
