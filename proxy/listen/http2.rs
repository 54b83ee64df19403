//! A connection that speaks HTTP/2, from its first byte to its end, which the caller is told.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::session::{Outcome, Session};
use crate::exchange::Peer;
use crate::http1::inlet::Inlet;
use crate::http2::frame::Code;
use crate::http2::settings::Bounds;
use crate::http2::wire::{End, Wire, poll_linger};
use crate::record::Reason;
use crate::transport::socket::Socket;

/// How long a caller may take to read why its connection ends.
const LINGER: Duration = Duration::from_secs(2);

/// Serves a connection to its end.
pub(super) async fn serve(
    connection: &Connection,
    (socket, inlet): (Socket, Inlet),
    peer: Rc<Peer>,
) {
    let pulse = &connection.pulse;
    let limits = &connection.terms.limits;
    let bounds = Bounds {
        streams: limits.h2_streams as usize,
        bytes: limits.header_bytes,
        lines: limits.header_count,
    };
    let wire = Rc::new(Wire::new(socket, inlet, pulse.signs(), bounds));
    pulse.asks_whether_anybody_is_there();
    let pass = |head, body| connection.gate.pass(head, body, &peer);
    let mut session = Session::new(connection, &peer, &wire, pass);
    let end = poll_fn(|cx| session.poll(cx)).await;
    // Whoever is still served is not any more.
    drop(session);
    pulse.parts();
    let code = match end {
        Outcome::Aborted | Outcome::Ended(End::Closed) => return,
        Outcome::Ended(End::Broken(error)) => return connection.gate.broke_off(&peer, &error),
        Outcome::Ended(End::Done) => None,
        Outcome::Ended(End::Wrong(code)) => {
            connection
                .gate
                .ledger()
                .refuse(peer.listener_id, Reason::Malformed);
            Some(code)
        }
        Outcome::Ended(End::Flood) => {
            connection
                .gate
                .ledger()
                .refuse(peer.listener_id, Reason::Flood);
            Some(Code::EnhanceYourCalm)
        }
        Outcome::TooSlow => {
            connection.gate.refuse(&peer, Reason::SlowRequest);
            Some(Code::EnhanceYourCalm)
        }
    };
    if let Some(code) = code {
        tracing::debug!(peer = %peer.address, ?code, "a connection is ended");
        wire.say_end(code);
    }
    let mut said = false;
    let lingering = poll_fn(|cx| poll_linger(&wire, &mut said, cx));
    let _ = Box::pin(tokio::time::timeout(LINGER, lingering)).await;
}
