//! One try: a request over one leased connection, up to the head of its answer.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::connect::ConnectError;
use super::pool::Sender;
use super::{Lease, Outbound};
use crate::record::FailureKind;

/// A try that brought no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// What happened.
    pub kind: FailureKind,
    /// The request, where not a byte of it left the proxy: it can be sent elsewhere without asking what it does.
    pub unsent: Option<Box<Request<Outbound>>>,
}

impl From<ConnectError> for FailureKind {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused => Self::Connect,
            ConnectError::TimedOut => Self::ConnectTimeout,
            ConnectError::Overflow => Self::PoolFull,
        }
    }
}

/// Sends `request` over a lease that is connected and waits for the head of the answer. The body comes with the answer;
/// `lease` must be kept until it has ended.
///
/// # Errors
/// [`Unanswered`], with the request where it never left.
pub async fn forward(
    lease: &mut Lease,
    request: Request<Outbound>,
) -> Result<Response<Incoming>, Unanswered> {
    match lease.sender() {
        Some(Sender::Http1(sender)) => sender.try_send_request(request).await.map_err(unanswered),
        Some(Sender::H2c(mut sender)) => sender.try_send_request(request).await.map_err(unanswered),
        None => Err(Unanswered {
            kind: FailureKind::Connect,
            unsent: Some(Box::new(request)),
        }),
    }
}

fn unanswered(mut error: TrySendError<Request<Outbound>>) -> Unanswered {
    let unsent = error.take_message().map(Box::new);
    let cause = error.error();
    tracing::debug!(error = ?cause, "a try failed");
    let kind = if cause.is_parse() || cause.is_parse_too_large() {
        FailureKind::Garbage
    } else {
        FailureKind::Reset
    };
    Unanswered { kind, unsent }
}
