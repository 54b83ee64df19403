//! One connection: which protocol it speaks, then requests until it ends.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidegate_config as config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::handshake::{Failure, Handshakes, linger};
use super::pulse::{Order, Pulse};
use super::{http1, http2};
use crate::exchange::{Gate, Peer, refusal};
use crate::http1::inlet::Inlet;
use crate::http2::frame::PREFACE;
use crate::record::{Handshake, ListenerId, Reason};
use crate::transport::serving::Serving;
use crate::transport::session::Session;
use crate::transport::socket::Socket;

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
    /// Where callers must speak TLS.
    pub tls: Option<Encrypted>,
}

/// What a connection needs that must be encrypted.
pub struct Encrypted {
    /// What its handshake goes by.
    pub serving: Arc<Serving>,
    /// Those of its worker.
    pub handshakes: Rc<Handshakes>,
    /// What they are counted under.
    pub listener: ListenerId,
}

impl Connection {
    /// Serves it to its end.
    pub async fn serve(
        self,
        stream: TcpStream,
        peer: impl FnOnce(bool, Option<Box<Session>>) -> Peer,
    ) {
        let mut inlet = Inlet::default();
        let (socket, is_http2, session) = match &self.tls {
            None => {
                let mut socket = Socket::from(stream);
                match self.speaks(&mut socket, &mut inlet).await {
                    Some(is_http2) => (socket, is_http2, None),
                    None => return,
                }
            }
            // Boxed: a handshake needs much room, and for a short time.
            Some(tls) => match Box::pin(self.encrypt(stream, tls)).await {
                Some((socket, session)) => {
                    let is_http2 = match session.alpn {
                        Some(protocol) => protocol == "h2",
                        None => tls.serving.only_h2,
                    };
                    (socket, is_http2, Some(session))
                }
                None => return,
            },
        };
        let peer = Rc::new(peer(is_http2, session));
        self.serve_over((socket, inlet), is_http2, peer).await;
    }

    /// Serves it to its end, once it is known which protocol it speaks: over a socket, of which something may have been
    /// read.
    pub async fn serve_over(self, opened: (Socket, Inlet), is_http2: bool, peer: Rc<Peer>) {
        if is_http2 {
            http2::serve(&self, opened, peer).await;
        } else {
            http1::serve(&self, opened, peer).await;
        }
    }

    /// Whether a caller without TLS speaks HTTP/2; `None` where it leaves.
    async fn speaks(&self, socket: &mut Socket, inlet: &mut Inlet) -> Option<bool> {
        match (self.terms.http1, self.terms.h2c) {
            (true, false) => Some(false),
            (false, true) => Some(true),
            _ => poll_fn(|cx| self.poll_speaks_http2(socket, inlet, cx)).await,
        }
    }

    /// The caller's handshake; `None` where there is nobody to serve.
    async fn encrypt(&self, stream: TcpStream, tls: &Encrypted) -> Option<(Socket, Box<Session>)> {
        let shaken = tokio::select! {
            shaken = tls.handshakes.shake(stream, &tls.serving) => shaken,
            () = tokio::time::sleep(self.terms.timeouts.handshake) => {
                Err(Failure::Failed(Handshake::Timeout, None))
            }
            () = self.aborted() => return None,
        };
        let ledger = self.gate.ledger();
        let (how, shaken) = match shaken {
            Ok((stream, session)) => (Handshake::done(&session), Ok((stream, session))),
            Err(Failure::Silent) => return None,
            Err(Failure::PlainHttp(stream)) => {
                (Handshake::PlainHttp, Err(Failure::PlainHttp(stream)))
            }
            Err(Failure::Failed(how, stream)) => (how, Err(Failure::Failed(how, stream))),
        };
        ledger.shook(tls.listener, how);
        if let Some(reason) = how.refusal() {
            ledger.refuse(tls.listener, reason);
        }
        match shaken {
            Ok((stream, session)) => return Some((stream.into(), Box::new(session))),
            Err(Failure::PlainHttp(stream)) => say(stream, Reason::PlainHttp).await,
            Err(Failure::Failed(_, Some(stream))) => linger(stream).await,
            Err(_) => {}
        }
        None
    }

    /// Ready when the connection must end.
    async fn aborted(&self) {
        while !matches!(self.ordered().await, Order::Abort | Order::Forget) {}
    }

    /// Reads until the first bytes can be of one protocol only; `None` when the caller leaves or says nothing for too long.
    fn poll_speaks_http2(
        &self,
        socket: &mut Socket,
        inlet: &mut Inlet,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        self.pulse.wake_with(cx.waker());
        match self.pulse.take_order() {
            // Its first request may be on its way.
            Some(Order::Leave | Order::Look | Order::Ping) | None => {}
            Some(order @ Order::SlowHead) => {
                // Told in HTTP/1.1, which is what whoever asks by hand can read.
                self.pulse.order(order);
                return Poll::Ready(Some(false));
            }
            Some(Order::Abort | Order::Forget) => return Poll::Ready(None),
        }
        loop {
            let seen = &inlet.buffer[..inlet.buffer.len().min(PREFACE.len())];
            if seen == PREFACE {
                return Poll::Ready(Some(true));
            }
            if !PREFACE.starts_with(seen) {
                return Poll::Ready(Some(false));
            }
            match ready!(inlet.poll_fill(socket, cx)) {
                // Half of a preface is no request.
                Ok(0) if !inlet.buffer.is_empty() => return Poll::Ready(Some(false)),
                Ok(0) | Err(_) => return Poll::Ready(None),
                Ok(_) => self.pulse.signs().bytes.set(true),
            }
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
