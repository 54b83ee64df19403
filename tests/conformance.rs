//! The protocol's letter and the attacks on it: raw input, and what must become of it at the client, at the origin, and
//! with the proxy afterwards.

/// HTTP/1.1: the cases of `h1_cases.json`.
mod h1;
/// HTTP/2 in, HTTP/1.1 out: the places where a downgrade goes wrong.
mod h2;
/// Both with bytes changed at random.
mod mutations;
/// The letter of an answer, as a strict client reads it.
pub mod parse;

use crate::harness::Conn;
use std::net::SocketAddr;

/// Whether a plain request on a new connection gets its plain answer.
pub fn is_well(address: SocketAddr) -> bool {
    (0..3).any(|n| {
        std::thread::sleep(std::time::Duration::from_millis(200 * n));
        Conn::try_open(address)
            .and_then(|mut conn| conn.try_request("GET", "/health", &["Connection: close"], b""))
            .is_ok_and(|answer| answer.status == 200 && answer.body == b"ok")
    })
}
