//! What two processes say to each other. A member may be added, and is ignored by who does not know it; whatever else
//! changes has another [`PROTOCOL`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The version of all this. Two processes that speak different ones do not hand over: the old one goes on.
pub const PROTOCOL: u32 = 1;
/// Sockets that may change hands: listeners by workers.
pub const MOST_SOCKETS: usize = 8192;

/// The new process, first of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its version, for people.
    pub version: String,
}

/// What the old process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// This comes next.
    Parts(Parts),
    /// It goes on as it is, and why.
    No(String),
}

/// What is handed over. The descriptors follow in this order: the bell, admin, probes, the listeners' sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The old process. The kernel knows only who hung up the bell, which may have changed hands since.
    pub pid: u32,
    /// Its version, for people.
    pub version: String,
    /// The admin API's address.
    pub admin: Door,
    /// The address for probes, where there is one.
    pub probes: Option<Door>,
    /// Every listener.
    pub listeners: Vec<Listener>,
}

/// An address with one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// As the file says it.
    pub asked: SocketAddr,
}

/// An address with a socket for each worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in the file.
    pub name: String,
    /// Its address as the file says it.
    pub asked: SocketAddr,
    /// So many sockets.
    pub sockets: usize,
}

/// The new process can do all that it has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The listeners that it goes on with, by their place in [`Parts`]. The others are closed by the old one, who serves
    /// their queues first.
    pub taken: Vec<usize>,
}

/// What the old process says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The new one is the one that decides from now on.
    Yours(Vec<State>),
    /// It is not, and why: the old one goes on.
    No(String),
}

/// Where a rollout stands, which may be later than what the journal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub rollout: String,
    /// As the journal would have it.
    pub state: String,
}

/// The new process accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {}

/// What is in force in the new process, for the last requests of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its file: 1 is the one that it started with.
    pub revision: u64,
    /// Its rollouts.
    pub rollouts: Vec<InForce>,
}

/// How many are on a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The rollout's name.
    pub rollout: String,
    /// The attempt.
    pub attempt: u32,
    /// The weight, in hundred-thousandths.
    pub weight: u32,
    /// The mirrored share, likewise.
    pub mirror: u32,
    /// Bit `i`: cohort `i` is back on stable.
    pub cohorts_back: u16,
}
