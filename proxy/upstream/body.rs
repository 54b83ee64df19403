//! What is sent to a version: nothing, a whole buffer, or the caller's body as it comes, held to the listener's limits.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::idle::Idle;
use super::pace::Pace;
use super::trailers::strip_of_caller;
use crate::http1::framing::BodyError;
use crate::http1::wire::WireBody;
use crate::http2::body::StreamBody;

/// A request's body as its caller sends it.
#[derive(Debug)]
pub enum Inbound {
    /// Over HTTP/1.1.
    Http1(WireBody),
    /// Over HTTP/2.
    Http2(StreamBody),
}

/// How the caller's body broke off.
#[derive(Debug)]
struct BrokeOff(UploadState);

impl Inbound {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
        }
        .map_err(|error| {
            BrokeOff(match error {
                BodyError::Broken => UploadState::Gone,
                BodyError::Malformed | BodyError::Incomplete => UploadState::Broken,
            })
        })
    }

    /// Whether nothing follows.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    /// How much follows.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// A request's body on its way out.
#[derive(Debug)]
pub enum Outbound {
    /// No body.
    Empty,
    /// All of it at hand, so that it can be sent again.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<Upload>),
}

/// The caller's body, passed on piece by piece.
#[derive(Debug)]
pub struct Upload {
    inner: Inbound,
    left: u64,
    patience: Patience,
    watch: Rc<UploadWatch>,
    /// Trailers that do not go on, beside those that never do.
    stripped: Arc<[HeaderName]>,
}

/// How long the caller may keep us waiting for its body.
#[derive(Debug)]
struct Patience {
    idle: Idle,
    /// Between two pieces.
    silence: Duration,
    /// Over all of it.
    pace: Option<Pace>,
    /// Since when it is waited for, where that counts.
    since: Option<tokio::time::Instant>,
}

impl Patience {
    fn new(silence: Duration, pace: Option<Pace>) -> Self {
        Self {
            idle: Idle::new(Some(silence)),
            silence,
            pace,
            since: None,
        }
    }

    /// It is waited for: ready when that has lasted too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let (Some(pace), None) = (&self.pace, self.since) {
            self.since = Some(tokio::time::Instant::now());
            self.idle.allow(self.silence.min(pace.left()));
        }
        self.idle.poll_pending(cx)
    }

    /// So much has come.
    fn came(&mut self, bytes: usize) {
        self.idle.progress();
        let Some(pace) = &mut self.pace else { return };
        if let Some(since) = self.since.take() {
            pace.waited(since.elapsed());
        }
        pace.moved(bytes as u64);
    }
}

/// What became of an upload, for whoever must find out whose fault a broken request was.
#[derive(Debug, Default)]
pub struct UploadWatch {
    state: Cell<UploadState>,
    bytes: Cell<u64>,
    waiting: Cell<bool>,
    moved: Cell<Option<Instant>>,
    answered: Cell<bool>,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UploadState {
    /// Not all of it has come.
    #[default]
    Open,
    /// All of it was passed on.
    Complete,
    /// The caller broke it off, or framed it as no HTTP.
    Broken,
    /// The caller is gone.
    Gone,
    /// It grew over the limit.
    TooLarge,
    /// The caller sent nothing for too long.
    Stalled,
}

impl UploadWatch {
    /// Where it stands.
    pub fn state(&self) -> UploadState {
        self.state.get()
    }

    /// There is no body, or all of it is at hand.
    pub fn complete(&self) {
        self.state.set(UploadState::Complete);
    }

    /// Whether the version has asked for more than the caller has sent.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Whether the caller is to blame for how it ended.
    pub fn is_spoilt(&self) -> bool {
        !matches!(self.state.get(), UploadState::Open | UploadState::Complete)
    }

    /// When the last bytes were passed on.
    pub fn moved(&self) -> Option<Instant> {
        self.moved.get()
    }

    /// The answer has begun: from now on a caller may be silent because it listens.
    pub fn answered(&self) {
        self.answered.set(true);
    }

    /// Bytes passed on so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

/// Why an upload ended early. The text goes to nobody: [`UploadWatch`] tells.
#[derive(Debug, thiserror::Error)]
#[error("the caller's body ended early: {0:?}")]
pub struct UploadError(UploadState);

impl Outbound {
    /// The same once more, where it can be had.
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Stream(_) => None,
        }
    }

    /// Passes `inner` on, up to `limit` bytes, giving up when nothing comes for `idle`, or too little for `pace`.
    pub fn stream(
        inner: Inbound,
        limit: Option<u64>,
        (idle, pace): (Duration, Option<Pace>),
        watch: Rc<UploadWatch>,
        stripped: Arc<[HeaderName]>,
    ) -> Self {
        let left = limit.unwrap_or(u64::MAX);
        Self::Stream(Box::new(Upload {
            inner,
            left,
            patience: Patience::new(idle, pace),
            watch,
            stripped,
        }))
    }
}

impl Upload {
    fn end(&self, state: UploadState) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.watch.state.set(state);
        Poll::Ready(Some(Err(UploadError(state))))
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let upload = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(upload) => upload,
        };
        let Poll::Ready(frame) = upload.inner.poll(cx) else {
            upload.watch.waiting.set(true);
            if upload.watch.answered.get() {
                return Poll::Pending;
            }
            ready!(upload.patience.poll_over(cx));
            return upload.end(UploadState::Stalled);
        };
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            _ => None,
        };
        upload.patience.came(data.map_or(0, Bytes::len));
        upload.watch.waiting.set(false);
        match frame {
            None => {
                upload.watch.state.set(UploadState::Complete);
                Poll::Ready(None)
            }
            Some(Err(BrokeOff(state))) => upload.end(state),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_of_caller(trailers, &upload.stripped);
                }
                if let Some(data) = frame.data_ref() {
                    let len = data.len() as u64;
                    let Some(left) = upload.left.checked_sub(len) else {
                        return upload.end(UploadState::TooLarge);
                    };
                    upload.left = left;
                    upload.watch.bytes.set(upload.watch.bytes.get() + len);
                    upload.watch.moved.set(Some(Instant::now()));
                }
                if upload.inner.is_end_stream() {
                    upload.watch.state.set(UploadState::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(upload) => upload.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(upload) => upload.inner.size_hint(),
        }
    }
}
