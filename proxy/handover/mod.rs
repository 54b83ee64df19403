//! One process hands over to the next: what they say to each other, and how the sockets themselves change hands.
//!
//! The running process has a [`Doorbell`] in its state directory. A new one rings, and then:
//!
//! ```text
//! new → old   hello      its version
//! old → new   parts      edits and orders rest, the journal is closed; every listening socket, both admin doors, the bell
//! new → old   ready      the journal is open, every address bound: all that can fail is done
//! old → new   yours      nothing moves here any more; where each rollout stands, should one have gone back meanwhile
//! new → old   serving    it accepts: from here on the old one only drains
//! new → old   standing   … and follows the weights of the new one until its last request has ended
//! ```
//!
//! Until `serving` the old one goes on accepting. Whatever goes wrong before that, it goes on as if nothing had been: see
//! [`Successor`]. The sockets are one and the same in both: what waits in a queue of the kernel is lost by neither.
//!
//! - [`mod@line`]: bounded messages and descriptors over one Unix connection
//! - [`messages`]: what is said
//! - [`doorbell`]: where the new one rings, and who may
//! - [`successor`]: the new process, as the old one sees it
//! - [`predecessor`]: the old process, as the new one sees it
//! - [`notify`]: whoever started the process is told who it is now

pub mod doorbell;
pub mod line;
pub mod messages;
pub mod notify;
pub mod predecessor;
pub mod successor;

pub use doorbell::Doorbell;
pub use line::Broken;
pub use predecessor::{Heritage, Inherited, NoHandover, Predecessor};
pub use successor::Successor;
