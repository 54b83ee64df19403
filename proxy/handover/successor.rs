//! The new process, as the old one sees it. Each step waits for it, with a bound; whatever is not as it should be is an
//! error, after which the old process goes on.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::doorbell::{Stranger, familiar};
use super::line::{Broken, Line};
use super::messages::{Answer, Hello, PROTOCOL, Parts, Ready, Serving, Standing, State, Verdict};

/// From its connection to its first word.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// From the sockets to `ready`: it binds what it did not get, and opens the journal.
pub const READY_WITHIN: Duration = Duration::from_secs(10);
/// From `yours` to `serving`: nothing is left to do that takes time.
pub const SERVING_WITHIN: Duration = Duration::from_secs(5);

/// The new process.
#[derive(Debug)]
pub struct Successor {
    line: Line,
    pid: u32,
    /// So that what is ended is it, and nobody who got its number later.
    process: Option<OwnedFd>,
    version: String,
}

/// Why somebody who rings is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Unwelcome {
    /// It is not to be spoken with.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// It says nothing that makes sense.
    #[error("process {pid}: {broken}")]
    Mute {
        /// The process.
        pid: u32,
        /// What came of it.
        broken: Broken,
    },
    /// It speaks another protocol.
    #[error(
        "process {pid} is tidegate {version}, which hands over by protocol {protocol}, and this one by {PROTOCOL}: they cannot; \
         restart instead"
    )]
    OtherProtocol {
        /// The process.
        pid: u32,
        /// Its version.
        version: String,
        /// Its protocol.
        protocol: u32,
    },
    /// The system is against it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Successor {
    /// Hears who has rung.
    ///
    /// # Errors
    /// Where it is not a process that may take over.
    pub fn greet(stream: UnixStream) -> Result<Self, Unwelcome> {
        let line = Line::over(stream)?;
        let pid = familiar(&line)?;
        let hello: Hello = line
            .hear(HELLO_WITHIN)
            .map_err(|broken| Unwelcome::Mute { pid, broken })?;
        if hello.protocol != PROTOCOL {
            let unwelcome = Unwelcome::OtherProtocol {
                pid,
                version: hello.version,
                protocol: hello.protocol,
            };
            // It may have gone already.
            let _ = line.say(&Answer::No(unwelcome.to_string()));
            return Err(unwelcome);
        }
        let process = Pid::from_raw(pid.cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self {
            line,
            pid,
            process,
            version: hello.version,
        })
    }

    /// Its number.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Gives it everything, and waits until it says that it can do all that it has to; which listeners it goes on with.
    ///
    /// # Errors
    /// Where it does not.
    pub fn provide(
        &self,
        parts: Parts,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<usize>, Broken> {
        self.line.say(&Answer::Parts(parts))?;
        self.line.give(descriptors)?;
        let ready: Ready = self.line.hear(READY_WITHIN)?;
        Ok(ready.taken)
    }

    /// Lets it decide from now on, and waits until it accepts.
    ///
    /// # Errors
    /// Where it does not.
    pub fn crown(&self, states: Vec<State>) -> Result<(), Broken> {
        self.line.say(&Verdict::Yours(states))?;
        let Serving {} = self.line.hear(SERVING_WITHIN)?;
        Ok(())
    }

    /// Tells it that it does not take over. Before it has got anything.
    pub fn turn_away(&self, why: &str) {
        let _ = self.line.say(&Answer::No(why.to_owned()));
    }

    /// Tells it that it does not take over after all.
    pub fn disown(&self, why: &str) {
        let _ = self.line.say(&Verdict::No(why.to_owned()));
    }

    /// Ends it, where it has not ended by itself.
    pub fn end(&self) {
        if let Some(process) = &self.process
            && self.pid != std::process::id()
        {
            // Where that fails it is gone.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// What is in force in it, as soon as that changes.
    ///
    /// # Errors
    /// Where nothing changed for so long, or it is gone.
    pub fn standing(&self, within: Duration) -> Result<Standing, Broken> {
        self.line.hear(within)
    }
}
