//! A new connection to an endpoint: a place among the allowed ones, the socket, the HTTP handshake, all under one bound.

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
use tidegate_config::EndpointAddress;
use tokio::net::{TcpSocket, UnixSocket};

use super::h2c::is_malformed;
use super::http1::Http1;
use super::scarcity::Scarcity;
use super::{Endpoint, Outbound};
use crate::descriptors::Use;
use crate::record::{VersionId, WorkerLedger};
use crate::transport::socket::Socket;

/// Header fields of an answer that are accepted over HTTP/2, in bytes with 32 for each (RFC 9113 §6.5.2).
const ANSWER_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// HTTP/2 flow-control windows toward a version: large enough to keep a fast link busy, small enough to bound memory.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams of an HTTP/2 connection before the endpoint has said how many it allows (RFC 9113 §6.5.2 advises 100).
const H2_STREAMS: usize = 100;
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

/// Connects; the connection speaks HTTP/1.1 and holds `place` until it is dropped.
///
/// # Errors
/// As [`ConnectError`] says.
pub async fn http1(place: &Rc<Place>, bound: Duration) -> Result<Box<Http1>, ConnectError> {
    let socket = within(
        bound,
        &place.endpoint,
        dial_for_request(&place.endpoint.address),
    )
    .await?;
    Ok(Box::new(Http1::new(socket, place.clone())))
}

/// What is known of an HTTP/2 connection while it lasts.
#[derive(Debug)]
pub struct Standing {
    /// Streams that the endpoint allows.
    pub allowed: Cell<usize>,
    /// It ended because the endpoint said what is no HTTP/2.
    pub is_malformed: Cell<bool>,
}

/// Connects and speaks HTTP/2 by prior knowledge (RFC 9113 §3.3).
///
/// # Errors
/// As [`ConnectError`] says.
pub async fn h2c(
    place: &Rc<Place>,
    bound: Duration,
) -> Result<(http2::SendRequest<Outbound>, Rc<Standing>), ConnectError> {
    let handshake = async {
        let socket = dial_for_request(&place.endpoint.address).await?;
        http2::Builder::new(Local)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_header_list_size(ANSWER_HEADER_LIST_BYTES)
            .max_send_buf_size(H2_SEND_BUFFER)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)
    };
    let (sender, mut connection) = within(bound, &place.endpoint, handshake).await?;
    let place = place.clone();
    let standing = Rc::new(Standing {
        allowed: Cell::new(H2_STREAMS),
        is_malformed: Cell::new(false),
    });
    let told = standing.clone();
    tokio::task::spawn_local(async move {
        let driven = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            told.allowed.set(connection.current_max_send_streams());
            polled
        });
        if let Err(error) = driven.await {
            // Known before the requests come back that are queued in `connection`.
            told.is_malformed.set(is_malformed(&error));
            tracing::debug!(endpoint = %place.endpoint.address, %error, "connection to a version ended");
        }
        drop(place);
    });
    Ok((sender, standing))
}

/// Connects for control, which may use the last descriptors.
pub(super) async fn dial(address: &EndpointAddress) -> io::Result<Socket> {
    connect(address, |_| Ok(())).await
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
    endpoint: &Endpoint,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(bound, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
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
