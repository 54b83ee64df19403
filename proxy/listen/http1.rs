//! The requests of a connection that speaks HTTP/1.1, one after the other. The whole of a request happens in this one
//! task: its head is read here, the gate carries it to a version and back, its answer is written here.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Method, Response, Version, header};
use http_body::Body as _;

use super::connection::Connection;
use super::pulse::Order;
use crate::exchange::{Answer, Peer, refusal};
use crate::http1::encode::{self, AnswerHead, Framing};
use crate::http1::head::{Bounds, HeadError, RequestHead, recycle};
use crate::http1::inlet::Inlet;
use crate::http1::relay::Relay;
use crate::http1::wire::{NoRequest, Wire, WireBody};
use crate::record::Reason;
use crate::transport::socket::Socket;
use crate::upstream::Inbound;

/// What is read of a body that nobody wanted, so that the connection can go on; a longer one ends it.
const LEFT_OVER: u64 = 64 * 1024;
/// How long that, and the end of a refused connection, may take.
const LINGER: Duration = Duration::from_secs(2);

/// What the connection goes on with.
enum Next {
    /// Another request.
    Request,
    /// Its end, told to the caller; what still comes is read for a while, or the kernel would throw the answer away.
    Close,
    /// Its end; nothing is unread, so nothing would be thrown away.
    End,
    /// Its end, which is not to look like one that was meant: somebody broke off.
    Gone,
}

/// Serves a connection to its end.
pub async fn serve(connection: &Connection, (socket, inlet): (Socket, Inlet), peer: Rc<Peer>) {
    let pulse = &connection.pulse;
    let wire = Rc::new(Wire::new(socket, inlet, pulse.signs()));
    let mut requests = pin!(requests(connection, &wire, &peer));
    let order = poll_fn(|cx| {
        pulse.wake_with(cx.waker());
        match pulse.take_order() {
            // Noted by the pulse.
            Some(Order::Leave | Order::Look | Order::Ping) | None => {}
            Some(order) => return Poll::Ready(Some(order)),
        }
        requests.as_mut().poll(cx).map(|()| None)
    })
    .await;
    wire.detach_body();
    match order {
        Some(Order::SlowHead) => turn_away(connection, &wire, &peer, Reason::SlowRequest).await,
        Some(Order::Forget) => wire.forget(),
        _ => {}
    }
}

async fn requests(connection: &Connection, wire: &Rc<Wire>, peer: &Rc<Peer>) {
    let limits = &connection.terms.limits;
    let mut served = false;
    let bounds = Bounds {
        bytes: limits.header_bytes,
        lines: limits.header_count,
    };
    loop {
        let read = poll_fn(|cx| {
            // Over a connection that was just opened the first request may be on its way.
            if connection.pulse.is_leaving() && served && wire.is_idle() {
                return Poll::Ready(None);
            }
            wire.poll_head(cx, bounds).map(Some)
        });
        let head = match read.await {
            Some(Ok(head)) => head,
            Some(Err(no_request)) => {
                if let Some(reason) = reason(&no_request) {
                    turn_away(connection, wire, peer, reason).await;
                } else if matches!(no_request, NoRequest::Closed) {
                    wire.tell_end();
                }
                return;
            }
            None => return wire.tell_end(),
        };
        let under_way = connection.pulse.request();
        served = true;
        let next = one(connection, wire, peer, head).await;
        drop(under_way);
        match next {
            Next::Request => wire.rest(),
            Next::Close => return close(wire).await,
            Next::End => return wire.tell_end(),
            Next::Gone => return,
        }
    }
}

/// One request and its answer.
async fn one(connection: &Connection, wire: &Rc<Wire>, peer: &Rc<Peer>, head: RequestHead) -> Next {
    let (keep_alive, asks_upgrade) = (head.keep_alive, head.asks_upgrade);
    let asked = Asked {
        is_head: head.parts.method == Method::HEAD,
        version: head.parts.version,
    };
    let body = Inbound::Http1(WireBody::new(wire.clone()));
    let answered = {
        let mut passing = pin!(connection.gate.pass(head.parts, body, peer));
        poll_fn(|cx| match passing.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => wire.poll_broken(cx).map(|()| None),
        })
        .await
    };
    let Some(response) = answered else {
        return Next::Gone;
    };
    let wants_close = response
        .headers()
        .get(header::CONNECTION)
        .is_some_and(|c| c == "close");
    // A caller that was never told to go on will not send its body: where its next request begins is unknown.
    let in_step = wire.is_body_done() || !wire.awaits_continue();
    // Nor is it known what somebody means who went on with another protocol before it was agreed to (RFC 9931).
    let is_early = asks_upgrade && !wire.is_idle();
    let stays = keep_alive
        && in_step
        && !is_early
        && !wants_close
        && !connection.pulse.is_leaving()
        && !connection.leaving.get();
    let (sent, stays) = answer(wire, response, asked, stays).await;
    wire.detach_body();
    if sent.is_err() {
        return Next::Gone;
    }
    if !stays {
        // Where nothing is unread, closing throws nothing away: there is nothing to wait for.
        return if wire.is_body_done() && !wire.has_unread() {
            Next::End
        } else {
            Next::Close
        };
    }
    if wire.is_body_done() || drain(wire).await {
        Next::Request
    } else {
        Next::Close
    }
}

/// What the caller asked, as far as it decides how the answer is written.
#[derive(Clone, Copy)]
struct Asked {
    is_head: bool,
    version: Version,
}

/// Writes an answer; whether the connection may go on after it.
async fn answer(
    wire: &Rc<Wire>,
    response: Response<Answer>,
    asked: Asked,
    stays: bool,
) -> (io::Result<()>, bool) {
    wire.begin_answer();
    let (mut parts, body) = response.into_parts();
    if let Answer::Tunnel(tunnel) = body {
        let head = AnswerHead {
            parts: &parts,
            framing: Framing::None,
            keep_alive: true,
            caller: asked.version,
        };
        wire.put(|out| encode::answer(out.buffer(), head));
        let sent = poll_fn(|cx| wire.poll_flush(cx)).await;
        if sent.is_ok() {
            // Boxed: few connections become tunnels, and every one would pay for the size.
            Box::pin(tunnel.run(wire.clone())).await;
        }
        return (sent, false);
    }
    parts.headers.remove(header::CONNECTION);
    let (framing, stays) = framing(&parts, &body, asked, stays);
    wire.ends_answer(framing == Framing::UntilClose);
    wire.put(|out| {
        out.wake();
        let head = AnswerHead {
            parts: &parts,
            framing,
            keep_alive: stays,
            caller: asked.version,
        };
        encode::answer(out.buffer(), head);
    });
    recycle(parts.headers);
    let sent = send_body(wire, body, framing).await;
    if sent.is_ok() {
        wire.ends_answer(false);
    }
    (sent, stays)
}

fn framing(
    parts: &http::response::Parts,
    body: &Answer,
    asked: Asked,
    stays: bool,
) -> (Framing, bool) {
    let told = parts.headers.contains_key(header::CONTENT_LENGTH);
    let bodiless = asked.is_head
        || parts.status.is_informational()
        || matches!(parts.status.as_u16(), 204 | 304);
    match body.size_hint().exact() {
        // The length that was told is the version's own, and its body was held to it.
        _ if told || bodiless => (Framing::None, stays),
        Some(length) => (Framing::Length(length), stays),
        None if asked.version == Version::HTTP_11 => (Framing::Chunked, stays),
        None => (Framing::UntilClose, false),
    }
}

/// Sends the head that was put, and the body behind it as it comes.
async fn send_body(wire: &Wire, mut body: Answer, framing: Framing) -> io::Result<()> {
    let mut trailers = None;
    let mut relay: Option<Relay> = None;
    let mut is_broken = false;
    let can_carry = framing != Framing::Chunked && wire.can_carry();
    poll_fn(|cx| {
        loop {
            if is_broken {
                ready!(wire.poll_flush(cx))?;
                return Poll::Ready(Err(gone()));
            }
            if can_carry && (relay.is_some() || body.has_source()) {
                ready!(wire.poll_flush(cx))?;
                let relay = relay.get_or_insert_with(Relay::default);
                let Poll::Ready(carried) = body.poll_carry(wire, relay, cx) else {
                    return wire.poll_broken(cx).map(|()| Err(gone()));
                };
                return Poll::Ready(carried.map_err(|_| gone()));
            }
            if !wire.put(|out| out.has_room()) {
                let Poll::Ready(flushed) = wire.poll_flush(cx) else {
                    // A caller may read nothing before all of its request is taken.
                    body.poll_upload(cx);
                    return Poll::Pending;
                };
                flushed?;
            }
            let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) else {
                // What is there goes out while the rest is waited for.
                ready!(wire.poll_flush(cx))?;
                return wire.poll_broken(cx).map(|()| Err(gone()));
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if framing == Framing::Chunked => wire.put(|out| out.push_chunk(data)),
                    Ok(data) => wire.put(|out| out.push(data)),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                // What the caller has is not whole, and must not look so: the connection breaks behind what there is of
                // the answer. Where the connection's end is the answer's, it ends with a reset.
                Some(Err(_)) => is_broken = true,
                None => return Poll::Ready(Ok(())),
            }
        }
    })
    .await?;
    if framing == Framing::Chunked {
        if !wire.put(|out| out.has_room()) {
            poll_fn(|cx| wire.poll_flush(cx)).await?;
        }
        wire.put(|out| encode::last_chunk(out.buffer(), trailers.as_ref()));
    }
    poll_fn(|cx| wire.poll_flush(cx)).await
}

/// One of the two ends is gone: there is nobody to tell.
fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// Reads what is left of a request's body, if it is little and comes soon; whether the connection can go on.
async fn drain(wire: &Wire) -> bool {
    let mut left = LEFT_OVER;
    let read = poll_fn(|cx| {
        while !wire.is_body_done() {
            match ready!(wire.poll_body(cx)) {
                Ok(crate::http1::framing::Piece::Data(data)) if data.len() as u64 <= left => {
                    left -= data.len() as u64;
                }
                Ok(crate::http1::framing::Piece::Data(_)) | Err(_) => return Poll::Ready(false),
                Ok(_) => {}
            }
        }
        Poll::Ready(true)
    });
    Box::pin(tokio::time::timeout(LINGER, read))
        .await
        .unwrap_or(false)
}

/// Says that nothing more will be sent, and reads what still comes for a while.
async fn close(wire: &Wire) {
    let lingering = async {
        poll_fn(|cx| wire.poll_shutdown(cx)).await?;
        while poll_fn(|cx| wire.poll_discard(cx)).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = Box::pin(tokio::time::timeout(LINGER, lingering)).await;
}

/// Why a caller whose bytes are no request is turned away; `None` where there is nobody to tell.
fn reason(no_request: &NoRequest) -> Option<Reason> {
    match no_request {
        NoRequest::Closed | NoRequest::Broken => None,
        NoRequest::Head(HeadError::TooLarge { target: true }) => Some(Reason::TargetTooLong),
        NoRequest::Head(HeadError::TooLarge { target: false }) => Some(Reason::HeaderTooLarge),
        NoRequest::Head(HeadError::Malformed) => Some(Reason::Malformed),
        NoRequest::Head(HeadError::Version) => Some(Reason::HttpVersion),
        NoRequest::Head(HeadError::Framing) => Some(Reason::Framing),
        NoRequest::Head(HeadError::Coding) => Some(Reason::TransferCoding),
    }
}

async fn turn_away(connection: &Connection, wire: &Wire, peer: &Peer, reason: Reason) {
    connection.gate.refuse(peer, reason);
    wire.begin_answer();
    wire.put(|out| out.buffer().extend_from_slice(&refusal::raw(reason)));
    let told = poll_fn(|cx| wire.poll_flush(cx));
    if let Ok(Ok(())) = Box::pin(tokio::time::timeout(LINGER, told)).await {
        close(wire).await;
    }
}
