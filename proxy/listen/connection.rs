//! One connection: which protocol it speaks, then requests until it ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_config as config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::delivery::Delivered;
use super::http1;
use super::pulse::{Order, Pulse};
use super::stream::Stream;
use crate::exchange::{Gate, Peer, refusal};
use crate::record::Reason;
use crate::transport::socket::Socket;
use crate::upstream::Inbound;
use crate::upstream::connect::Local;

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a connection whose first bytes could still become either protocol.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// HTTP/2 flow control toward callers: what they may send ahead of being read, for a stream and for the connection.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// What one HTTP/2 stream may hold of an answer that its caller does not read.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// A silent HTTP/2 connection is asked whether anybody is there.
const H2_PING_EVERY: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a refused caller may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// What a listener asks of its connections, as it was when this one was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// HTTP/1.1 is spoken.
    pub http1: bool,
    /// HTTP/2 by prior knowledge is spoken.
    pub h2c: bool,
    /// Bounds.
    pub limits: config::Limits,
    /// Waits.
    pub timeouts: config::ListenerTimeouts,
}

impl From<&config::Listener> for Terms {
    fn from(listener: &config::Listener) -> Self {
        Self {
            http1: listener.http1,
            h2c: listener.h2c,
            limits: listener.limits,
            timeouts: listener.timeouts,
        }
    }
}

/// A connection that was accepted.
pub struct Connection {
    /// Its worker's gate.
    pub gate: Rc<Gate>,
    /// Its listener's settings when it was accepted.
    pub terms: Terms,
    /// What it is doing.
    pub pulse: Rc<Pulse>,
    /// The proxy is leaving: answers ask the caller to close.
    pub leaving: Rc<std::cell::Cell<bool>>,
}

impl Connection {
    /// Serves it to its end.
    pub async fn serve(self, stream: TcpStream, peer: impl FnOnce(bool) -> Peer) {
        let http2 = match (self.terms.http1, self.terms.h2c) {
            (true, false) => false,
            (false, true) => true,
            _ => match self.speaks_http2(&stream).await {
                Some(http2) => http2,
                None => return,
            },
        };
        let peer = Rc::new(peer(http2));
        self.serve_over(stream.into(), http2, peer).await;
    }

    /// Serves it to its end, once it is known which protocol it speaks.
    pub async fn serve_over(self, socket: Socket, http2: bool, peer: Rc<Peer>) {
        if http2 {
            self.serve_http2(socket, peer).await;
        } else {
            http1::serve(&self, socket, peer).await;
        }
    }

    /// Looks at the first bytes without taking them; `None` when the caller leaves or says nothing for too long.
    async fn speaks_http2(&self, stream: &TcpStream) -> Option<bool> {
        let mut first = [0; PREFACE.len()];
        loop {
            let peeked = tokio::select! {
                peeked = stream.peek(&mut first) => peeked.ok()?,
                order = self.ordered() => match order {
                    // Its first request may be on its way.
                    Order::Leave => continue,
                    Order::SlowHead => {
                        // Told in HTTP/1.1, which is what whoever asks by hand can read.
                        self.pulse.order(order);
                        return Some(false);
                    }
                    Order::Abort => return None,
                },
            };
            let seen = &first[..peeked];
            if seen.is_empty() {
                return None;
            }
            if seen == PREFACE {
                return Some(true);
            }
            if !PREFACE.starts_with(seen) {
                return Some(false);
            }
            self.pulse.signs().bytes.set(true);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The next order.
    async fn ordered(&self) -> Order {
        poll_fn(|cx| {
            self.pulse.wake_with(cx.waker());
            self.pulse.take_order().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    async fn serve_http2(self, socket: Socket, peer: Rc<Peer>) {
        let service = Served {
            gate: self.gate.clone(),
            peer: peer.clone(),
            pulse: self.pulse.clone(),
            begun: Rc::default(),
        };
        let io = Stream::new(socket, self.pulse.signs(), service.begun.clone());
        let io = TokioIo::new(io);
        let limits = &self.terms.limits;
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(H2_SEND_BUFFER)
            .keep_alive_interval(H2_PING_EVERY)
            .keep_alive_timeout(H2_PING_TIMEOUT);
        let begun = service.begun.clone();
        let mut connection = builder.serve_connection(io, service);
        let mut has_parted = false;
        let ended = poll_fn(|cx| {
            self.pulse.wake_with(cx.waker());
            // What `Connection: close` is to an answer of HTTP/1.1.
            if self.leaving.get() && begun.get() && !has_parted {
                has_parted = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            match self.pulse.take_order() {
                Some(Order::Leave | Order::SlowHead) => {
                    Pin::new(&mut connection).graceful_shutdown()
                }
                Some(Order::Abort) => return Poll::Ready(None),
                None => {}
            }
            Pin::new(&mut connection).poll(cx).map(Some)
        })
        .await;
        if let Some(Err(error)) = ended {
            self.gate.broke_off(&peer, &error);
        }
    }
}

/// Tells a caller why it is turned away and closes, without cutting off the telling.
pub async fn say(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    reason: Reason,
) {
    let head = refusal::raw(reason);
    let told = async {
        stream.write_all(&head).await?;
        stream.shutdown().await?;
        // Closed with bytes unread, the kernel would reset the connection, and the answer might be lost.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

/// The gate as the requests of one HTTP/2 connection see it.
struct Served {
    gate: Rc<Gate>,
    peer: Rc<Peer>,
    pulse: Rc<Pulse>,
    /// There has been a request.
    begun: Rc<std::cell::Cell<bool>>,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Delivered>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.pulse.request();
        self.begun.set(true);
        let (gate, peer) = (self.gate.clone(), self.peer.clone());
        let pulse = self.pulse.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let response = gate.pass(head, Inbound::Http2(body), &peer).await;
            Ok(response.map(|answer| Delivered::new(answer, pulse, under_way)))
        })
    }
}
