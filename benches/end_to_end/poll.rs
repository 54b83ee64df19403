//! Sockets watched by one epoll set that is asked again and again and never slept on.
//!
//! A generator that sleeps must be woken by the proxy's writes, and the wake-up is paid by the proxy's core. Spinning
//! takes that cost out of every contender's figures.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Events taken from the kernel in one turn.
const EVENTS_A_TURN: usize = 512;

/// Whose socket an event belongs to. Packed into the 64 bits that epoll hands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A listening socket of the origins.
    Door(usize),
    /// A connection that the proxy opened to an origin.
    Origin(usize),
    /// A connection that the load opened to the proxy.
    Client(usize),
}

impl Whose {
    fn pack(self) -> u64 {
        let (kind, index) = match self {
            Self::Door(i) => (0, i),
            Self::Origin(i) => (1, i),
            Self::Client(i) => (2, i),
        };
        (kind << 32) | index as u64
    }

    fn unpack(bits: u64) -> Self {
        let index = (bits & 0xffff_ffff) as usize;
        match bits >> 32 {
            0 => Self::Door(index),
            1 => Self::Origin(index),
            _ => Self::Client(index),
        }
    }
}

/// Something happened on a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happening {
    /// On which.
    pub(crate) whose: Whose,
    /// It takes bytes again.
    pub(crate) writable: bool,
    /// There are bytes, an end, or an error to read.
    pub(crate) readable: bool,
    /// The peer has ended or broken the connection: read to the end, no further edge will come.
    pub(crate) ended: bool,
}

/// The set of all sockets of this process.
pub(crate) struct Poll {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            set: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_A_TURN),
        })
    }

    /// Watches a socket, edge by edge, until it is closed.
    pub(crate) fn watch(&self, socket: impl AsFd, whose: Whose) -> io::Result<()> {
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.set,
            socket,
            EventData::new_u64(whose.pack()),
            edges,
        )?)
    }

    /// What happened since the last turn; at once, also when nothing did.
    pub(crate) fn turn(&mut self, into: &mut Vec<Happening>) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.events.clear();
        match epoll::wait(&self.set, spare_capacity(&mut self.events), Some(&AT_ONCE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        into.clear();
        into.extend(self.events.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            Happening {
                whose: Whose::unpack(data.u64()),
                writable: flags.contains(EventFlags::OUT),
                readable: ended || flags.contains(EventFlags::IN),
                ended,
            }
        }));
        Ok(())
    }
}
