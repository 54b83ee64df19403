//! An answer's body on its way to the caller. It carries the account of its exchange to the last byte, to the error, or
//! to the moment when the caller goes away: an answer is judged at its end, not at its head.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::account::Account;
use crate::record::FailureKind;
use crate::upstream::Lease;
use crate::upstream::idle::Idle;

/// An answer's body.
#[derive(Debug)]
pub enum Answer {
    /// None.
    Empty,
    /// All of it at hand.
    Whole(Bytes),
    /// As it comes from a version.
    Stream(Box<Stream>),
}

/// A body that comes from a version.
#[derive(Debug)]
pub struct Stream {
    inner: Incoming,
    idle: Idle,
    open: Option<Open>,
}

/// What is settled when the body ends.
#[derive(Debug)]
struct Open {
    lease: Lease,
    account: Account,
}

/// Why an answer's body broke off. Written nowhere: the account tells.
#[derive(Debug, thiserror::Error)]
#[error("the version's answer broke off: {0:?}")]
pub struct AnswerError(FailureKind);

impl Answer {
    /// Passes `inner` on and settles `account` at its end.
    pub fn stream(inner: Incoming, idle: Idle, lease: Lease, account: Account) -> Self {
        let mut stream = Box::new(Stream {
            inner,
            idle,
            open: Some(Open { lease, account }),
        });
        if stream.inner.is_end_stream() {
            stream.end();
            return Self::Empty;
        }
        Self::Stream(stream)
    }
}

impl Stream {
    fn end(&mut self) {
        if let Some(Open { lease, account }) = self.open.take() {
            account.succeed(lease.endpoint());
            lease.release();
        }
    }

    fn fail(&mut self, kind: FailureKind) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(open) = self.open.take() {
            open.account.fail(kind, open.lease.endpoint());
        }
        Poll::Ready(Some(Err(AnswerError(kind))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.idle.poll_pending(cx));
            return self.fail(FailureKind::StreamIdle);
        };
        self.idle.progress();
        match frame {
            None => {
                self.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                tracing::debug!(?error, "an answer broke off");
                let kind = if error.is_incomplete_message() {
                    FailureKind::Truncated
                } else {
                    FailureKind::Reset
                };
                self.fail(kind)
            }
            Some(Ok(frame)) => {
                if let Some(entry) = self.open.as_mut().and_then(|open| open.account.entry()) {
                    entry.passed(frame.data_ref().map_or(0, Bytes::len));
                }
                if self.inner.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.inner.size_hint(),
        }
    }
}
