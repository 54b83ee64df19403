//! An answer's body on its way to the caller. It carries the account of its exchange to the last byte, to the error, or
//! to the moment when the caller goes away: an answer is judged at its end, not at its head.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::account::Account;
use super::upgrade::Tunnel;
use crate::http1::relay::{Carried, CarryError, Relay, Waits};
use crate::http1::wire::Wire;
use crate::record::FailureKind;
use crate::upstream::Inflow;
use crate::upstream::body::UploadWatch;
use crate::upstream::idle::Idle;
use crate::upstream::trailers::strip_trailers;

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
    upload: Rc<UploadWatch>,
    /// There may be an end, and nothing before it.
    bodiless: bool,
}

/// Why an answer's body broke off. Written nowhere: the account tells.
#[derive(Debug, thiserror::Error)]
#[error("the version's answer broke off: {0:?}")]
pub struct AnswerError(FailureKind);

impl Answer {
    /// Passes `inner` on and settles `account` at its end. `upload` tells whose fault it is where it breaks off;
    /// `bodiless` says that no byte may come.
    pub fn stream(
        inner: Inflow,
        idle: Idle,
        account: Account,
        upload: Rc<UploadWatch>,
        bodiless: bool,
    ) -> Self {
        let ended = inner.is_end_stream();
        let mut stream = Stream {
            inner: Some(inner),
            idle,
            account: Some(account),
            upload,
            bodiless,
        };
        if ended {
            stream.end();
            return Self::Empty;
        }
        Self::Stream(Box::new(stream))
    }

    /// Goes on sending what is left of the request while nobody asks for the next frame.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Self::Stream(stream) = self
            && let Some(inner) = &mut stream.inner
        {
            inner.poll_upload(cx);
        }
    }

    /// Whether the rest is long enough to go from socket to socket, see [`Answer::poll_carry`].
    pub fn has_source(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.has_source())
    }

    /// Carries the rest of the body to `wire`, on which all that was put must be flushed. Where it is ready well, the body
    /// has ended.
    ///
    /// # Errors
    /// Where either end broke.
    pub fn poll_carry(
        &mut self,
        wire: &Wire,
        relay: &mut Relay,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AnswerError>> {
        match self {
            Self::Stream(stream) => stream.poll_carry(wire, relay, cx),
            _ => Poll::Ready(Ok(())),
        }
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
        let kind = if self.upload.is_spoilt() {
            FailureKind::Aborted
        } else {
            kind
        };
        if let (Some(inner), Some(account)) = (self.inner.take(), self.account.take()) {
            account.fail(kind, inner.lease().endpoint());
        }
        Poll::Ready(Some(Err(AnswerError(kind))))
    }

    /// Whether the rest is long enough to go from socket to socket.
    fn has_source(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(|inner| inner.source().is_some())
    }

    /// Carries what is left.
    fn poll_carry(
        &mut self,
        wire: &Wire,
        relay: &mut Relay,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AnswerError>> {
        let mut waits = Waits::ForMore;
        loop {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(Ok(()));
            };
            let Some((from, left)) = inner.rest() else {
                return Poll::Ready(Ok(()));
            };
            let Poll::Ready(carried) = wire.poll_carry(relay, from, left, &mut waits, cx) else {
                if inner.poll_cut(cx).is_ready() {
                    return self.break_off(FailureKind::Removed);
                }
                if waits == Waits::ForMore {
                    ready!(self.idle.poll_pending(cx));
                    return self.break_off(FailureKind::StreamIdle);
                }
                return Poll::Pending;
            };
            self.idle.progress();
            match carried {
                Ok(Carried::Bytes(bytes)) => {
                    inner.carried(bytes);
                    if let Some(entry) = self.account.as_mut().and_then(Account::entry) {
                        entry.passed(bytes);
                    }
                    if inner.is_end_stream() {
                        self.end();
                    }
                }
                Ok(Carried::End) => return self.break_off(FailureKind::Truncated),
                Err(CarryError::From(_)) => return self.break_off(FailureKind::Reset),
                // The caller is gone: dropped open, the account says so.
                Err(CarryError::To(_)) => {
                    return Poll::Ready(Err(AnswerError(FailureKind::Aborted)));
                }
            }
        }
    }

    fn break_off(&mut self, kind: FailureKind) -> Poll<Result<(), AnswerError>> {
        self.fail(kind).map(|_| Err(AnswerError(kind)))
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
            Some(Ok(frame)) if self.bodiless && frame.data_ref().is_some_and(|d| !d.is_empty()) => {
                self.fail(FailureKind::Garbage)
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    if let Some(account) = &mut self.account {
                        account.says(trailers);
                    }
                    strip_trailers(trailers);
                }
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
