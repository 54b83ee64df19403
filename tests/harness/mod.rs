//! What the tests stand on: the real binary as a child process, real sockets, real files. Nothing of the proxy's own
//! code is used here, so that a test sees what a user sees.

mod backend;
mod certificates;
mod client;
mod clients;
pub mod frames;
mod h2c;
mod load;
mod metrics;
mod origin;
mod planned;
mod proxy;
mod scripted;
mod secure;
mod site;
mod store;
mod tls;
mod wait;
mod websocket;
mod wire;

pub use backend::{Backend, Echo, Mood, hash, pattern};
pub use certificates::{Authority, Holds, Pair, replace};
pub use client::Conn;
pub use clients::installed;
pub use h2c::{H2Client, grpc_frame};
pub use load::{Load, Record, Steady, Tells, each_request, failures};
pub use metrics::Metrics;
pub use origin::{Origin, SeenByOrigin, bare_cr, write_in_pieces};
pub use planned::Planned;
pub use proxy::{Former, Launch, Proxy, command};
pub use rustix::process::Signal;
pub use scripted::Scripted;
pub use secure::{Caller, Secure};
pub use site::Site;
pub use store::{Gauges, Store};
pub use tls::{Tls, TlsConn};
pub use wait::{eventually, soon, until};
pub use websocket::WebSocket;
pub use wire::{Answer, Fields, Reader, is_token, latin1};
