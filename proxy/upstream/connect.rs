//! A new connection to an endpoint: a place among the allowed ones, the socket, the handshakes of TLS and HTTP, all under
//! one bound.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tidegate_config::{EndpointAddress, Protocol};
use tokio::net::{TcpSocket, UnixSocket};

use super::complaints::NoHttp;
use super::h2c::is_malformed;
use super::heard::Heard;
use super::http1::Http1;
use super::scarcity::Scarcity;
use super::{Endpoint, Outbound};
use crate::descriptors::Use;
use crate::record::{VersionId, WorkerLedger};
use crate::transport::fault::Fault;
use crate::transport::socket::Socket;

/// Header fields of an answer that are accepted over HTTP/2, in bytes with 32 for each (RFC 9113 §6.5.2).
const ANSWER_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// Streams of an HTTP/2 connection, where the endpoint does not allow fewer (RFC 9113 §6.5.2 advises 100).
const H2_STREAMS: usize = 100;
/// What a version may send of one answer ahead of its being taken: large enough to keep a fast link busy, small enough to
/// bound memory.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of a connection: as much as all its streams may hold. With less, a few callers that take
/// nothing of theirs would hold up everybody else's.
const H2_CONNECTION_WINDOW: u32 = H2_STREAM_WINDOW * H2_STREAMS as u32;
/// What one HTTP/2 stream may buffer of a request's body.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Refused, unreachable, or broken off in the handshake.
    Refused,
    /// It took longer than `pool.connect`.
    TimedOut,
    /// All allowed connections are busy and nobody freed one in time, or too many wait already.
    Overflow,
    /// The proxy itself has no file descriptor, memory or local port left for it.
    Exhausted,
}

/// A place among the connections that the process may hold to an endpoint. Given back when dropped.
#[derive(Debug)]
pub struct Place {
    endpoint: Arc<Endpoint>,
    ledger: WorkerLedger,
    version: VersionId,
}

impl Place {
    /// Takes a place, if one of `max` is free.
    pub fn take(
        endpoint: &Arc<Endpoint>,
        max: usize,
        ledger: &WorkerLedger,
        version: VersionId,
    ) -> Option<Self> {
        endpoint.take_place(max).then(|| {
            ledger.upstream_connections(version, 1);
            Self {
                endpoint: endpoint.clone(),
                ledger: ledger.clone(),
                version,
            }
        })
    }

    /// A handshake with the endpoint failed, on either side.
    pub(super) fn no_tls(&self, fault: &Fault) {
        self.ledger.handshake_failed(self.version, fault);
        self.endpoint.no_tls(fault);
    }

    /// The endpoint answered, and with something else than HTTP.
    pub(super) fn no_http(&self, why: &NoHttp) {
        self.endpoint.no_http(why);
    }

    /// Whether the endpoint is spoken to by TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.endpoint.secure.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.upstream_connections(self.version, -1);
        self.endpoint.leave_place();
    }
}

/// Runs futures on this worker; hyper's HTTP/2 needs to spawn.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A connection that was made.
pub enum Opened {
    /// For one request at a time.
    Http1(Box<Http1>),
    /// For as many as the endpoint allows.
    Http2(http2::SendRequest<Outbound>, Rc<Standing>),
}

/// Connects; the connection speaks HTTP/1.1 and holds `place` until it is dropped.
///
/// # Errors
/// As [`ConnectError`] says.
pub async fn http1(place: &Rc<Place>, bound: Duration) -> Result<Box<Http1>, ConnectError> {
    let (socket, _) = within(bound, place, negotiate(&place.endpoint, true)).await?;
    Ok(Box::new(Http1::new(socket, place.clone())))
}

/// Connects, and speaks what the endpoint likes best.
///
/// # Errors
/// As [`ConnectError`] says.
pub async fn either(place: &Rc<Place>, bound: Duration) -> Result<Opened, ConnectError> {
    let negotiated = async {
        let (socket, http2) = negotiate(&place.endpoint, false).await?;
        Ok(match http2 {
            false => Ok(socket),
            true => Err(begin_http2(socket, place).await?),
        })
    };
    let opened = within(bound, place, negotiated).await?;
    Ok(match opened {
        Ok(socket) => Opened::Http1(Box::new(Http1::new(socket, place.clone()))),
        Err((sender, connection, standing)) => {
            drive(connection, place, &standing);
            Opened::Http2(sender, standing)
        }
    })
}

/// What is known of an HTTP/2 connection while it lasts.
#[derive(Debug)]
pub struct Standing {
    /// Streams that the endpoint allows.
    pub allowed: Cell<usize>,
    /// It ended because the endpoint said what is no HTTP/2.
    pub is_malformed: Cell<bool>,
    /// It ended because the endpoint does not accept who is calling: the handshake of TLS had not ended there.
    pub is_refused: Cell<bool>,
}

/// Connects and speaks HTTP/2: under TLS where the endpoint has agreed to it, else by prior knowledge (RFC 9113 §3.3).
///
/// # Errors
/// As [`ConnectError`] says.
pub async fn http2(
    place: &Rc<Place>,
    bound: Duration,
) -> Result<(http2::SendRequest<Outbound>, Rc<Standing>), ConnectError> {
    let handshake = async {
        let (socket, _) = negotiate(&place.endpoint, false).await?;
        begin_http2(socket, place).await
    };
    let (sender, connection, standing) = within(bound, place, handshake).await?;
    drive(connection, place, &standing);
    Ok((sender, standing))
}

/// A connection of HTTP/2 that somebody must drive.
type Http2 = http2::Connection<TokioIo<Heard>, Outbound, Local>;

async fn begin_http2(
    socket: Socket,
    place: &Rc<Place>,
) -> Result<(http2::SendRequest<Outbound>, Http2, Rc<Standing>), Failed> {
    let standing = Rc::new(Standing {
        allowed: Cell::new(H2_STREAMS),
        is_malformed: Cell::new(false),
        is_refused: Cell::new(false),
    });
    let heard = Heard::new(socket, place.clone(), standing.clone());
    let (sender, connection) = http2::Builder::new(Local)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(ANSWER_HEADER_LIST_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER)
        .handshake(TokioIo::new(heard))
        .await
        .map_err(io::Error::other)?;
    Ok((sender, connection, standing))
}

/// Drives a connection beside the requests that go over it, for as long as it lasts.
fn drive(mut connection: Http2, place: &Rc<Place>, standing: &Rc<Standing>) {
    let place = place.clone();
    let told = standing.clone();
    tokio::task::spawn_local(async move {
        let driven = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            let theirs = connection.current_max_send_streams();
            told.allowed.set(theirs.min(H2_STREAMS));
            polled
        });
        if let Err(error) = driven.await {
            // Known before the requests come back that are queued in `connection`.
            told.is_malformed.set(is_malformed(&error));
            tracing::debug!(endpoint = %place.endpoint.address, %error, "connection to a version ended");
        }
        drop(place);
    });
}

/// Why there is no socket that HTTP could be spoken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{0}")]
    Dial(#[from] io::Error),
    #[error("no TLS: {0}")]
    Tls(#[from] Fault),
}

/// Connects for control, which may use the last descriptors; whether HTTP/2 is to be spoken.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<(Socket, bool), Failed> {
    let socket = connect(&endpoint.address, |_| Ok(())).await?;
    greet(endpoint, socket, false).await
}

/// Connects for a request; whether HTTP/2 is to be spoken, which `http1` forbids.
async fn negotiate(endpoint: &Endpoint, http1: bool) -> Result<(Socket, bool), Failed> {
    let socket = dial_for_request(&endpoint.address).await?;
    greet(endpoint, socket, http1).await
}

/// The handshake of TLS, where there is one.
async fn greet(endpoint: &Endpoint, socket: Socket, http1: bool) -> Result<(Socket, bool), Failed> {
    match (&endpoint.secure, socket) {
        (Some(secure), Socket::Tcp(stream)) => {
            // Boxed: every request would pay for the size of a handshake.
            let (stream, http2) = Box::pin(secure.handshake(stream, http1)).await?;
            Ok((stream.into(), http2))
        }
        (_, socket) => Ok((socket, endpoint.protocol == Protocol::H2c)),
    }
}

/// Connects for a request, which may not.
async fn dial_for_request(address: &EndpointAddress) -> io::Result<Socket> {
    connect(address, |number| {
        if Use::Requests.is_denied(&number) {
            return Err(io::Error::from(Errno::MFILE));
        }
        Ok(())
    })
    .await
}

/// `may` is asked before the endpoint hears of it.
async fn connect(
    address: &EndpointAddress,
    may: impl FnOnce(RawFd) -> io::Result<()>,
) -> io::Result<Socket> {
    match address {
        EndpointAddress::Ip(ip, port) => {
            let socket = match ip {
                IpAddr::V4(_) => TcpSocket::new_v4()?,
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            may(socket.as_raw_fd())?;
            let stream = socket.connect(SocketAddr::new(*ip, *port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
        EndpointAddress::Unix(path) => {
            let socket = UnixSocket::new_stream()?;
            may(socket.as_raw_fd())?;
            Ok(socket.connect(path).await?.into())
        }
    }
}

async fn within<T>(
    bound: Duration,
    place: &Place,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, ConnectError> {
    let endpoint = &place.endpoint;
    match tokio::time::timeout(bound, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failed::Tls(fault))) => {
            place.no_tls(&fault);
            Err(ConnectError::Refused)
        }
        Ok(Err(Failed::Dial(error))) => {
            if let Some(scarcity) = Scarcity::of(&error) {
                scarcity.tell(&endpoint.address, &error);
                return Err(ConnectError::Exhausted);
            }
            tracing::debug!(endpoint = %endpoint.address, %error, "cannot connect to a version");
            Err(ConnectError::Refused)
        }
        Err(_) => Err(ConnectError::TimedOut),
    }
}
