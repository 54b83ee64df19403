//! How bytes go out.
//!
//! - [`endpoint`]: one machine; its health and its connections, shared by all workers
//! - [`version`]: one release of a service: its endpoints and how to reach them
//! - [`connect`]: a new connection: socket, bound, handshakes of TLS and HTTP
//! - `heard`: the socket of a connection that speaks HTTP/2
//! - [`pool`]: one worker's connections to one endpoint
//! - [`balance`]: which endpoint of a version takes the next request
//! - [`body`]: what is sent: the caller's body under its limits
//! - [`http1`]: a connection that speaks HTTP/1.1
//! - [`h2c`]: what an error over HTTP/2 says
//! - [`idle`]: a bound on silence
//! - [`pace`]: a bound on slowness
//! - [`crowd`]: how many bodies are under way
//! - [`trailers`]: what may not be said behind a body
//! - [`hearsay`]: what strangers may not tell a version
//! - [`probe`]: asks endpoints on a schedule whether they are well
//! - [`complaints`]: what the log says of an endpoint that cannot be spoken with
//! - [`secure`]: how an endpoint is spoken to under TLS
//! - [`scarcity`]: what the proxy itself lacks for one more connection
//! - [`mod@forward`]: one try: send, wait for the head, tell what failed; and the body that follows

pub mod balance;
pub mod body;
pub mod complaints;
pub mod connect;
pub mod crowd;
pub mod endpoint;
pub mod forward;
pub mod h2c;
mod heard;
pub mod hearsay;
pub mod http1;
pub mod idle;
pub mod pace;
pub mod pool;
pub mod probe;
pub mod scarcity;
pub mod secure;
pub mod trailers;
pub mod version;

pub use balance::Balancer;
pub use body::{Inbound, Outbound};
pub use crowd::Crowd;
pub use endpoint::Endpoint;
pub use forward::{Inflow, forward};
pub use pool::{Lease, Pool, Pools};
pub use version::Version;
