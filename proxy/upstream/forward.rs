//! One try: a request over one leased connection, up to the head of its answer; and the body that follows.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Version, request, response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use super::connect::ConnectError;
use super::pool::{CutNotice, Link, Shared};
use super::{Lease, Outbound, h2c, http1};
use crate::http1::framing::{BodyError, Piece};
use crate::record::FailureKind;

/// A try that brought no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// What happened.
    pub kind: FailureKind,
    /// The body, where not a byte of the request left the proxy, or none was looked at: it can be sent elsewhere without
    /// asking what it does.
    pub unsent: Option<Outbound>,
    /// The connection over which the version gave it back: it is for another one.
    pub refused: Option<Weak<Shared>>,
}

impl Unanswered {
    /// Something of the request may have reached the version.
    pub fn after_sending(kind: FailureKind) -> Self {
        Self {
            kind,
            unsent: None,
            refused: None,
        }
    }
}

impl From<ConnectError> for FailureKind {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused => Self::Connect,
            ConnectError::TimedOut => Self::ConnectTimeout,
            ConnectError::Overflow => Self::PoolFull,
            ConnectError::Exhausted => Self::LocalResources,
        }
    }
}

/// Sends a request over a lease that is connected and waits for the head of the answer; its body comes over the lease.
///
/// # Errors
/// [`Unanswered`].
pub async fn forward(
    lease: &mut Lease,
    head: &request::Parts,
    body: Outbound,
) -> Result<(response::Parts, Option<Incoming>), Unanswered> {
    match lease.link() {
        // Boxed: an endpoint that could choose has chosen the older one, and every request would pay for its size.
        Link::Http1(connection) if head.version == Version::HTTP_2 => {
            let head = http1::as_http1(head);
            Box::pin(async move { connection.ask(&head, body).await })
                .await
                .map(|answer| (answer, None))
        }
        Link::Http1(connection) => connection
            .ask(head, body)
            .await
            .map(|answer| (answer, None)),
        // Boxed: rare beside HTTP/1.1, and every request would pay for its size.
        Link::Http2(shared) => Box::pin(over_http2(shared, head, body)).await,
        Link::None => Err(Unanswered {
            kind: FailureKind::Connect,
            unsent: Some(body),
            refused: None,
        }),
    }
}

async fn over_http2(
    shared: &Rc<Shared>,
    head: &request::Parts,
    body: Outbound,
) -> Result<(response::Parts, Option<Incoming>), Unanswered> {
    // A stream cannot be had back once it is given away.
    let again = body.again();
    let request = Request::from_parts(head.clone(), body);
    let mut error = match shared.sender().try_send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            return Ok((head, Some(body)));
        }
        Err(error) => error,
    };
    tracing::debug!(error = ?error.error(), "a try failed");
    let unsent = error.take_message().map(Request::into_body);
    let refused = h2c::is_refused(error.error()).then(|| Rc::downgrade(shared));
    let kind = if shared.standing.is_refused.get() {
        FailureKind::Connect
    } else if shared.standing.is_malformed.get() {
        FailureKind::Garbage
    } else {
        h2c::before_answer(error.error())
    };
    Err(Unanswered {
        kind,
        unsent: unsent.or_else(|| again.filter(|_| refused.is_some())),
        refused,
    })
}

/// An answer's body as it comes from a version, with the lease that it comes over.
#[derive(Debug)]
pub struct Inflow {
    lease: Lease,
    http2: Option<Incoming>,
    cut: Option<CutNotice>,
}

impl Inflow {
    /// The body of an answer whose head has come.
    pub fn new(lease: Lease, http2: Option<Incoming>) -> Self {
        Self {
            lease,
            http2,
            cut: None,
        }
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether it comes over HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2.is_some()
    }

    /// The body has ended well: the connection may serve the next request.
    pub fn release(self) {
        self.lease.release();
    }

    /// The lease alone, for a tunnel.
    pub fn into_lease(self) -> Lease {
        self.lease
    }

    /// The next frame.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FailureKind>>> {
        let frame = self.poll_next(cx);
        if frame.is_pending() && self.poll_cut(cx).is_ready() {
            return Poll::Ready(Some(Err(FailureKind::Removed)));
        }
        frame
    }

    /// Ready where the endpoint has left the configuration and the time to finish is over.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.lease.poll_cut(&mut self.cut, cx)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FailureKind>>> {
        if let Some(incoming) = &mut self.http2 {
            return Pin::new(incoming).poll_frame(cx).map(|frame| {
                frame.map(|frame| {
                    frame.map_err(|error| {
                        tracing::debug!(?error, "an answer broke off");
                        h2c::in_answer(&error)
                    })
                })
            });
        }
        let Link::Http1(connection) = self.lease.link() else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(connection.poll_body(cx)) {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(BodyError::Malformed) => Some(Err(FailureKind::Garbage)),
            Err(BodyError::Incomplete) => Some(Err(FailureKind::Truncated)),
            Err(BodyError::Broken) => Some(Err(FailureKind::Reset)),
        })
    }

    /// The connection, where the rest of the body is long enough to go from socket to socket.
    pub fn source(&self) -> Option<(&TcpStream, u64)> {
        match self.lease.peek() {
            Link::Http1(connection) => connection.source(),
            _ => None,
        }
    }

    /// The connection and how much is left, however little, once carrying has begun.
    pub fn rest(&self) -> Option<(&TcpStream, u64)> {
        match self.lease.peek() {
            Link::Http1(connection) => connection.rest_of_body(),
            _ => None,
        }
    }

    /// Counts what was carried.
    pub fn carried(&mut self, bytes: usize) {
        if let Link::Http1(connection) = self.lease.link() {
            connection.carried(bytes);
        }
    }

    /// Goes on sending what is left of the request while nobody asks for the next frame.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Link::Http1(connection) = self.lease.link() {
            connection.poll_upload_rest(cx);
        }
    }

    /// Whether nothing follows.
    pub fn is_end_stream(&self) -> bool {
        match (&self.http2, self.lease.peek()) {
            (Some(incoming), _) => incoming.is_end_stream(),
            (None, Link::Http1(connection)) => connection.is_body_done(),
            (None, _) => true,
        }
    }

    /// How much follows.
    pub fn size_hint(&self) -> SizeHint {
        match (&self.http2, self.lease.peek()) {
            (Some(incoming), _) => incoming.size_hint(),
            (None, Link::Http1(connection)) => connection
                .body_length()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            (None, _) => SizeHint::with_exact(0),
        }
    }
}
