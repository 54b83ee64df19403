//! The old process, as the new one sees it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::doorbell::{Doorbell, Stranger, familiar};
use super::line::{Broken, Line};
use super::messages::{
    Answer, Hello, Listener, MOST_SOCKETS, PROTOCOL, Parts, Ready, Serving, Standing, State,
    Verdict,
};

/// From ringing to the sockets: it may have an edit to finish, and a slow disk to write to.
const PARTS_WITHIN: Duration = Duration::from_secs(30);
/// From `ready` to `yours`.
const YOURS_WITHIN: Duration = Duration::from_secs(10);

/// The old process.
#[derive(Debug)]
pub struct Predecessor {
    line: Line,
    pid: u32,
    version: String,
}

/// What it hands over. What is not taken out of it is closed with it.
#[derive(Debug)]
pub struct Heritage {
    /// Where the next process will ring.
    pub bell: Doorbell,
    /// The admin API's socket.
    pub admin: Option<(SocketAddr, OwnedFd)>,
    /// The one for probes.
    pub probes: Option<(SocketAddr, OwnedFd)>,
    /// Every listener's.
    pub listeners: Vec<Inherited>,
}

/// A listener's sockets.
#[derive(Debug)]
pub struct Inherited {
    /// Its place in what was handed over.
    pub place: usize,
    /// Its name in the old file.
    pub name: String,
    /// Its address as the old file says it.
    pub asked: SocketAddr,
    /// The sockets.
    pub sockets: Vec<OwnedFd>,
}

/// Why nothing is handed over.
#[derive(Debug, thiserror::Error)]
pub enum NoHandover {
    /// Nobody answers.
    #[error(
        "nobody to take over from: no tidegate answers in the state directory {}: {source}; start without --take-over, or give the \
         running one's --state-dir",
        dir.display()
    )]
    Nobody {
        /// The state directory.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not to be spoken with.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// It does not want to.
    #[error("process {pid} does not hand over: {why}")]
    Refused {
        /// The old process.
        pid: u32,
        /// In its words.
        why: String,
    },
    /// The conversation broke off.
    #[error("the running tidegate (process {pid}) does not hand over: {broken}")]
    Broken {
        /// The old process.
        pid: u32,
        /// What came of it.
        broken: Broken,
    },
}

impl Predecessor {
    /// Asks the process that holds the state directory to hand over, and takes what it gives. It waits.
    ///
    /// # Errors
    /// Where nothing is handed over: then the old process goes on as it did.
    pub fn meet(dir: &Path) -> Result<(Self, Heritage), NoHandover> {
        let line = Doorbell::ring(dir).map_err(|source| NoHandover::Nobody {
            dir: dir.to_owned(),
            source,
        })?;
        let pid = familiar(&line)?;
        let broken = |broken| NoHandover::Broken { pid, broken };
        let hello = Hello {
            protocol: PROTOCOL,
            version: crate::VERSION.to_owned(),
        };
        line.say(&hello).map_err(broken)?;
        let parts = match line.hear(PARTS_WITHIN).map_err(broken)? {
            Answer::Parts(parts) => parts,
            Answer::No(why) => return Err(NoHandover::Refused { pid, why }),
        };
        let (pid, version) = (parts.pid, parts.version.clone());
        let heritage = taken(&line, parts).map_err(broken)?;
        let it = Self { line, pid, version };
        Ok((it, heritage))
    }

    /// Its number.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Says that all that can fail is done, and waits until this process is the one that decides. Where each rollout stands,
    /// as far as the old process could still say it.
    ///
    /// # Errors
    /// Where the old process goes on after all: nothing may have been changed until now, and nothing may be from here on.
    pub fn ready(&self, taken: Vec<usize>) -> Result<Vec<State>, NoHandover> {
        let (pid, broken) = (self.pid, |broken| NoHandover::Broken {
            pid: self.pid,
            broken,
        });
        match self.line.say(&Ready { taken }) {
            Ok(()) => match self.line.hear(YOURS_WITHIN) {
                Ok(Verdict::Yours(states)) => Ok(states),
                Ok(Verdict::No(why)) => Err(NoHandover::Refused { pid, why }),
                // It would have said no. It has died with its hands open; the journal and the sockets are here.
                Err(Broken::Gone) => Ok(self.alone()),
                Err(other) => Err(broken(other)),
            },
            Err(Broken::Gone) => Ok(self.alone()),
            Err(other) => Err(broken(other)),
        }
    }

    fn alone(&self) -> Vec<State> {
        tracing::warn!(
            predecessor = self.pid,
            "process {} ended while it handed over; this one goes on with what the journal says",
            self.pid
        );
        Vec::new()
    }

    /// Says that this process accepts. Where the old one has gone there is nobody to tell.
    pub fn serving(&self) {
        let _ = self.line.say(&Serving {});
    }

    /// Tells it what is in force here, for its last requests.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn follow(&self, standing: &Standing) -> Result<(), Broken> {
        self.line.say(standing)
    }
}

fn taken(line: &Line, parts: Parts) -> Result<Heritage, Broken> {
    let sockets = parts.listeners.iter().map(|listener| listener.sockets);
    let sockets = sockets.fold(0, usize::saturating_add);
    if sockets > MOST_SOCKETS {
        return Err(Broken::TooLong(sockets));
    }
    let count = 2 + usize::from(parts.probes.is_some()) + sockets;
    let mut descriptors = line.take(count, PARTS_WITHIN)?.into_iter();
    let mut next = || descriptors.next().expect("as many as were counted");
    Ok(Heritage {
        bell: Doorbell::inherited(next()),
        admin: Some((parts.admin.asked, next())),
        probes: parts.probes.map(|probes| (probes.asked, next())),
        listeners: (0..)
            .zip(parts.listeners)
            .map(
                |(
                    place,
                    Listener {
                        name,
                        asked,
                        sockets,
                    },
                )| Inherited {
                    place,
                    name,
                    asked,
                    sockets: (0..sockets).map(|_| next()).collect(),
                },
            )
            .collect(),
    })
}
