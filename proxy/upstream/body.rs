//! What is sent to a version: nothing, a whole buffer, or the caller's body as it comes, held to the listener's limits.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::crowd::Member;
use super::idle::Idle;
use super::pace::Pace;
use super::trailers::strip_of_caller;
use crate::http1::framing::BodyError;
use crate::http1::wire::WireBody;
use crate::http2::body::StreamBody;

/// So much of a body, or all of it, is read before a version is asked, where that is wanted.
pub const BEGINNING: usize = 4 * 1024;

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
    /// Read before anybody asked for it.
    ahead: Bytes,
    left: u64,
    patience: Patience,
    watch: Rc<UploadWatch>,
    /// Trailers that do not go on, beside those that never do.
    stripped: Arc<[HeaderName]>,
    _member: Option<Member>,
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
    /// All of it has come.
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

    /// Whether more is asked for than the caller has sent.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Whether the caller is to blame for how it ended.
    pub fn is_spoilt(&self) -> bool {
        !matches!(self.state.get(), UploadState::Open | UploadState::Complete)
    }

    /// When the last bytes came.
    pub fn moved(&self) -> Option<Instant> {
        self.moved.get()
    }

    /// The answer has begun: from now on a caller may be silent because it listens.
    pub fn answered(&self) {
        self.answered.set(true);
    }

    /// Bytes that have come so far.
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

    /// Passes `inner` on, up to `limit` bytes, giving up when nothing comes for `idle`, or too little for `pace`. It is
    /// `member` of the crowd for as long as it is under way.
    pub fn stream(
        inner: Inbound,
        limit: Option<u64>,
        (idle, pace): (Duration, Option<Pace>),
        watch: Rc<UploadWatch>,
        stripped: Arc<[HeaderName]>,
        member: Option<Member>,
    ) -> Self {
        let left = limit.unwrap_or(u64::MAX);
        Self::Stream(Box::new(Upload {
            inner,
            ahead: Bytes::new(),
            left,
            patience: Patience::new(idle, pace),
            watch,
            stripped,
            _member: member,
        }))
    }

    /// Waits for the first [`BEGINNING`] bytes of a caller's body, or for as many as there will be, and holds them until they
    /// are asked for: up to then a slow caller costs no version anything.
    ///
    /// # Errors
    /// As [`Body::poll_frame`].
    pub async fn read_ahead(&mut self) -> Result<(), UploadError> {
        match self {
            Self::Stream(upload) => poll_fn(|cx| upload.poll_ahead(cx)).await,
            Self::Empty | Self::Whole(_) => Ok(()),
        }
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.ahead.is_empty() {
            return self.poll_inner(cx);
        }
        let ahead = std::mem::take(&mut self.ahead);
        Poll::Ready(Some(Ok(Frame::data(ahead))))
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while self.ahead.len() < BEGINNING && self.inner.size_hint().exact() != Some(0) {
            let Some(frame) = ready!(self.poll_inner(cx)).transpose()? else {
                break;
            };
            // Trailers come behind all that was announced.
            let Ok(data) = frame.into_data() else {
                return Poll::Ready(Err(self.ended(UploadState::Broken)));
            };
            if self.ahead.is_empty() {
                self.ahead = data;
            } else {
                let mut ahead = BytesMut::from(std::mem::take(&mut self.ahead));
                ahead.extend_from_slice(&data);
                self.ahead = ahead.freeze();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Poll::Ready(frame) = self.inner.poll(cx) else {
            self.watch.waiting.set(true);
            if self.watch.answered.get() {
                return Poll::Pending;
            }
            ready!(self.patience.poll_over(cx));
            return Poll::Ready(Some(Err(self.ended(UploadState::Stalled))));
        };
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            _ => None,
        };
        self.patience.came(data.map_or(0, Bytes::len));
        self.watch.waiting.set(false);
        Poll::Ready(match frame {
            None => {
                self.watch.state.set(UploadState::Complete);
                None
            }
            Some(Err(BrokeOff(state))) => Some(Err(self.ended(state))),
            Some(Ok(frame)) => Some(self.admit(frame)),
        })
    }

    /// Holds a piece to what is allowed.
    fn admit(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let Some(trailers) = frame.trailers_mut() {
            strip_of_caller(trailers, &self.stripped);
        }
        if let Some(data) = frame.data_ref() {
            let len = data.len() as u64;
            let Some(left) = self.left.checked_sub(len) else {
                return Err(self.ended(UploadState::TooLarge));
            };
            self.left = left;
            self.watch.bytes.set(self.watch.bytes.get() + len);
            self.watch.moved.set(Some(Instant::now()));
        }
        if self.inner.is_end_stream() {
            self.watch.state.set(UploadState::Complete);
        }
        Ok(frame)
    }

    fn ended(&self, state: UploadState) -> UploadError {
        self.watch.state.set(state);
        UploadError(state)
    }

    fn size_hint(&self) -> SizeHint {
        let behind = self.inner.size_hint().exact();
        behind.map_or_else(SizeHint::default, |behind| {
            SizeHint::with_exact(self.ahead.len() as u64 + behind)
        })
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(upload) => upload.ahead.is_empty() && upload.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(upload) => upload.size_hint(),
        }
    }
}
