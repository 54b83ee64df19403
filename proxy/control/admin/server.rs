//! How the admin API meets the network: its own sockets, bounded in number, and no patience for slow ones.
//!
//! It runs on control's runtime. A scrape takes no worker from requests, and requests take no thread from a scrape.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep};
use tower::ServiceExt as _;

use super::seats::{MAX_CONNECTIONS, Seat, Seats};
use crate::descriptors::{self, Use};

/// From a connection's first moment, or the end of its last request, to the end of the next head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may leave an answer in its socket without reading any of it.
const WRITE_STALL: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 32 * 1024;
/// How long nothing is accepted after the system refused a connection (no file descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines in the log about connections that had to give way.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Connections that may wait in the socket's queue.
const BACKLOG: u32 = 256;

/// The other end of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// A bound address that answers nothing yet.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    asked: SocketAddr,
    address: SocketAddr,
}

impl Door {
    /// Binds; port 0 takes a free one. Must be called within a runtime.
    ///
    /// # Errors
    /// Whatever the system says against the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        // A restart must not wait for the last process's connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let asked = address;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            asked,
            address,
        })
    }

    /// The door of another process, who has handed its socket over. Must be called within a runtime.
    ///
    /// # Errors
    /// Where it is no listening socket.
    pub fn inherited(asked: SocketAddr, socket: OwnedFd) -> io::Result<Self> {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            asked,
            address,
        })
    }

    /// Where it is bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with `router` until the result is dropped.
    pub fn open(self, router: Router) -> Server {
        let (asked, address) = (self.asked, self.address);
        let lent = descriptors::lowered(&self.listener).ok();
        let accepting = tokio::spawn(accept(self.listener, address, router)).abort_handle();
        Server {
            asked,
            lent,
            accepting,
        }
    }
}

/// An address that answers. Dropping it closes the address; connections end with their current request.
#[derive(Debug)]
pub struct Server {
    asked: SocketAddr,
    /// Its socket once more, for a process that takes over.
    lent: Option<OwnedFd>,
    accepting: AbortHandle,
}

impl Server {
    /// Its address as the file said it, and its socket, for a process that takes over; `None` where no descriptor was left
    /// to keep one.
    pub fn lend(&self) -> Option<(SocketAddr, BorrowedFd<'_>)> {
        Some((self.asked, self.lent.as_ref()?.as_fd()))
    }

    /// Closes the address, unless another process has it; connections end with their current request.
    pub fn close(&mut self) {
        self.accepting.abort();
        self.lent = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, router: Router) {
    let mut seats = Seats::default();
    // Dropped with this task: that tells the connections to finish.
    let (_open, closed) = tokio::sync::watch::channel(());
    let mut failing = false;
    let mut said: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                let scarce = Use::Admin.is_denied(&stream) && seats.dismiss();
                let (seat, gave_way) = seats.free().await;
                if (scarce || gave_way) && said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::warn!(
                        %address,
                        "too many connections to {address} (of {MAX_CONNECTIONS} at most, or of the open files that \
                         are left); those that asked nothing for longest give way to new ones; let fewer callers reach \
                         this address"
                    );
                }
                let conversation = converse(
                    stream,
                    peer,
                    router.clone(),
                    Arc::clone(&seat),
                    closed.clone(),
                );
                seats.take(seat, tokio::spawn(conversation).abort_handle());
            }
            // Nobody has to wait for a descriptor that a silent caller holds. It is free once that task has run.
            Err(error) if descriptors::are_used_up(&error) && seats.dismiss() => {
                tokio::task::yield_now().await;
            }
            Err(error) => {
                // Once for each time of trouble: it lasts for many tries.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the admin API cannot accept connections; it goes on trying");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let under_way = seat.request();
        let answer = router.clone().oneshot(request);
        async move {
            // The body keeps it: what is being answered is under way.
            let held = |body: Body| {
                body.map_frame(move |frame| {
                    let _ = &under_way;
                    frame
                })
            };
            answer.await.map(|answer| answer.map(held))
        }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Impatient::new(stream)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an admin connection broke");
    }
}

/// A stream that gives up when its reader takes nothing for [`WRITE_STALL`].
struct Impatient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL))
        });
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the reader took nothing for too long",
        )))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
