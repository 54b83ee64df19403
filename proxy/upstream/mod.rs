//! How bytes go out.
//!
//! - [`endpoint`]: one machine; its health and its connections, shared by all workers
//! - [`version`]: one release of a service: its endpoints and how to reach them
//! - [`socket`]: a connected stream, TCP or Unix, that writes small things in one piece
//! - [`connect`]: a new connection: socket, bound, HTTP handshake
//! - [`pool`]: one worker's connections to one endpoint
//! - [`balance`]: which endpoint of a version takes the next request
//! - [`body`]: what is sent: the caller's body under its limits
//! - [`idle`]: a bound on silence
//! - [`probe`]: asks endpoints on a schedule whether they are well
//! - [`forward`]: one try: send, wait for the head, tell what failed

pub mod balance;
pub mod body;
pub mod connect;
pub mod endpoint;
pub mod forward;
pub mod idle;
pub mod pool;
pub mod probe;
pub mod socket;
pub mod version;

pub use balance::Balancer;
pub use body::Outbound;
pub use endpoint::Endpoint;
pub use forward::forward;
pub use pool::{Lease, Pool, Pools};
pub use version::Version;
