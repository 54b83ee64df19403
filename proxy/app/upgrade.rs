//! `SIGUSR2`: this program once more, which takes over from this process.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The argument that makes it take over.
const TAKE_OVER: &str = "--take-over";
/// From its start until it has taken over; then it is ended.
const UPGRADE_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// How this process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Again {
    /// As this one was started: by the same name, which may lead to another file by now.
    ///
    /// # Errors
    /// Where the system does not say how.
    pub fn as_started() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().map(PathBuf::from);
        let program = match name {
            // Not resolved further: a link may lead to the next version by then.
            Some(name) if name.components().count() > 1 => absolute(name)?,
            Some(name) if !name.as_os_str().is_empty() => name,
            _ => env::current_exe()?,
        };
        let arguments = arguments.filter(|argument| argument != TAKE_OVER);
        Ok(Self {
            program,
            arguments: arguments.collect(),
        })
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(TAKE_OVER).spawn()
    }

    fn program(&self) -> &Path {
        &self.program
    }
}

/// What became of the new process.
#[derive(Debug, Default)]
struct Way {
    /// It is on its way.
    begun: AtomicBool,
    /// Somebody has taken over.
    done: AtomicBool,
}

/// Starts the new process, one at a time.
#[derive(Debug)]
pub(super) struct Upgrade {
    again: Option<Again>,
    way: Arc<Way>,
}

impl Upgrade {
    /// It will be started like this; not at all where this is `None`.
    pub(super) fn new(again: Option<Again>) -> Self {
        Self {
            again,
            way: Arc::default(),
        }
    }

    /// Somebody has taken over: how the new process fares is its own business from now on.
    pub(super) fn is_done(&self) {
        self.way.done.store(true, Ordering::Relaxed);
    }

    /// Starts the new process and looks after it until it has taken over; what goes wrong is told in the log.
    pub(super) fn begin(&self) {
        let Some(again) = self.again.clone() else {
            tracing::error!(
                "how this process was started is not known: start the new one by hand, with {TAKE_OVER}"
            );
            return;
        };
        if self.way.begun.swap(true, Ordering::Relaxed) {
            tracing::warn!("a new process is on its way already; this signal is not taken");
            return;
        }
        let way = Arc::clone(&self.way);
        let looking = thread::Builder::new()
            .name("upgrade".to_owned())
            .spawn(move || {
                look_after(&again, &way);
                way.begun.store(false, Ordering::Relaxed);
            });
        if let Err(error) = looking {
            self.way.begun.store(false, Ordering::Relaxed);
            tracing::error!(%error, "no thread for the upgrade: {error}; this process goes on");
        }
    }
}

fn look_after(again: &Again, way: &Way) {
    let program = again.program().display();
    let mut child = match again.start() {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(%error, "{program} cannot be started: {error}; this process goes on");
            return;
        }
    };
    let pid = child.id();
    tracing::info!(
        successor = pid,
        "started {program} as process {pid}: it will take over"
    );
    let end = Instant::now() + UPGRADE_WITHIN;
    while !way.done.load(Ordering::Relaxed) {
        match child.try_wait() {
            Ok(None) if Instant::now() < end => thread::sleep(LOOK),
            Ok(None) => {
                // Where that fails it is gone.
                let _ = child.kill();
                let _ = child.wait();
                tracing::error!(
                    successor = pid,
                    "process {pid} has not taken over within {UPGRADE_WITHIN:?} and was ended; this one goes on"
                );
                return;
            }
            Ok(Some(status)) => {
                tracing::error!(
                    successor = pid,
                    "process {pid} ended before it took over ({status}); this one goes on; what it said stands above"
                );
                return;
            }
            Err(error) => {
                tracing::error!(successor = pid, %error, "process {pid} cannot be looked after: {error}");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_started_by_the_name_that_it_was_started_by() {
        let again = Again::as_started().unwrap();
        assert!(again.program().is_absolute(), "{again:?}");
        assert!(again.arguments.iter().all(|a| a != TAKE_OVER));
    }
}
