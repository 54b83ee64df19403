//! An answer's body on its way to the caller. It carries the account of its exchange to the last byte, to the error, or
//! to the moment when the caller goes away: an answer is judged at its end, not at its head.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::account::Account;
use super::upgrade::Tunnel;
use crate::record::FailureKind;
use crate::upstream::Inflow;
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
    /// None: the connection goes on as something else.
    Tunnel(Box<Tunnel>),
}

/// A body that comes from a version.
#[derive(Debug)]
pub struct Stream {
    /// `None` once it has ended.
    inner: Option<Inflow>,
    idle: Idle,
    account: Option<Account>,
}

/// Why an answer's body broke off. Written nowhere: the account tells.
#[derive(Debug, thiserror::Error)]
#[error("the version's answer broke off: {0:?}")]
pub struct AnswerError(FailureKind);

impl Answer {
    /// Passes `inner` on and settles `account` at its end.
    pub fn stream(inner: Inflow, idle: Idle, account: Account) -> Self {
        let ended = inner.is_end_stream();
        let mut stream = Stream {
            inner: Some(inner),
            idle,
            account: Some(account),
        };
        if ended {
            stream.end();
            return Self::Empty;
        }
        Self::Stream(Box::new(stream))
    }
}

impl Stream {
    fn end(&mut self) {
        if let (Some(inner), Some(account)) = (self.inner.take(), self.account.take()) {
            account.succeed(inner.lease().endpoint());
            inner.release();
        }
    }

    fn fail(&mut self, kind: FailureKind) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let (Some(inner), Some(account)) = (self.inner.take(), self.account.take()) {
            account.fail(kind, inner.lease().endpoint());
        }
        Poll::Ready(Some(Err(AnswerError(kind))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = inner.poll_frame(cx) else {
            ready!(self.idle.poll_pending(cx));
            return self.fail(FailureKind::StreamIdle);
        };
        self.idle.progress();
        match frame {
            None => {
                self.end();
                Poll::Ready(None)
            }
            Some(Err(kind)) => self.fail(kind),
            Some(Ok(frame)) => {
                let ended = inner.is_end_stream();
                if let Some(entry) = self.account.as_mut().and_then(Account::entry) {
                    entry.passed(frame.data_ref().map_or(0, Bytes::len));
                }
                if ended {
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
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.inner.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => match &stream.inner {
                Some(inner) => inner.size_hint(),
                None => SizeHint::with_exact(0),
            },
        }
    }
}
