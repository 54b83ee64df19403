//! A connection to an endpoint that speaks HTTP/1.1, lent to one request at a time. It lives in the task of the request
//! that uses it, or in its pool: nothing is handed from task to task.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version, request, response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Outbound;
use super::complaints::NoHttp;
use super::connect::Place;
use super::forward::Unanswered;
use crate::http1::encode::{self, Framing};
use crate::http1::framing::{BodyError, Decoder, Piece};
use crate::http1::head::{self, INTERIM_MOST};
use crate::http1::inlet::Inlet;
use crate::http1::outlet::Outlet;
use crate::http1::relay::WORTH;
use crate::record::FailureKind;
use crate::transport::fault::Fault;
use crate::transport::socket::Socket;

/// Bytes of an answer's head that are accepted from a version.
const ANSWER_HEAD_BYTES: usize = 64 * 1024;

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub struct Http1 {
    socket: Socket,
    inlet: Inlet,
    outlet: Outlet,
    /// What is left of the answer's body.
    body: Decoder,
    /// What is left of the request's body.
    upload: Option<Upload>,
    /// The caller's body broke off: the version waits for a rest that will not come.
    cut: bool,
    /// Another request may follow.
    keep_alive: bool,
    place: Rc<Place>,
}

#[derive(Debug)]
struct Upload {
    body: Outbound,
    chunked: bool,
}

impl Http1 {
    /// A fresh connection over `socket`.
    pub fn new(socket: Socket, place: Rc<Place>) -> Self {
        Self {
            socket,
            inlet: Inlet::default(),
            outlet: Outlet::default(),
            body: Decoder::Done,
            upload: None,
            cut: false,
            keep_alive: true,
            place,
        }
    }

    /// Whether an idle connection can be used: its other end has neither closed it nor said something unasked.
    pub fn is_quiet(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// Whether another request may follow: all of both messages is through, and not a byte more has come.
    pub fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.upload.is_none()
            && self.outlet.is_empty()
            && self.body.is_done()
            && self.inlet.buffer.is_empty()
            && !self.inlet.is_closed()
    }

    /// Gives up what an idle connection does not need.
    pub fn rest(&mut self) {
        self.inlet.rest();
        self.outlet.rest();
    }

    /// Sends a request and waits for the head of its answer. The body follows through [`Http1::poll_body`], and the
    /// request's own goes on being sent meanwhile.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(
        &mut self,
        head: &request::Parts,
        body: Outbound,
    ) -> Result<response::Parts, Unanswered> {
        self.begin(head, body);
        let mut interim = 0;
        poll_fn(|cx| {
            if let Poll::Ready(Err(kind)) = self.poll_upload(cx) {
                return Poll::Ready(Err(Unanswered::after_sending(kind)));
            }
            self.poll_head(cx, &head.method, &mut interim)
                .map_err(Unanswered::after_sending)
        })
        .await
    }

    fn begin(&mut self, head: &request::Parts, body: Outbound) {
        let framing = match (&body, body.size_hint().exact()) {
            (Outbound::Empty, _) if may_lack_body(&head.method) => Framing::None,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::Chunked,
        };
        self.inlet.expect_head();
        self.outlet.wake();
        encode::request(self.outlet.buffer(), head, framing);
        match body {
            Outbound::Empty => {}
            Outbound::Whole(bytes) => self.outlet.push(bytes),
            body @ Outbound::Stream(_) => {
                self.upload = Some(Upload {
                    body,
                    chunked: framing == Framing::Chunked,
                });
            }
        }
    }

    /// Sends what is there to send; an error only where the caller's body broke. A version that takes no more may still
    /// have answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FailureKind>> {
        loop {
            if !self.outlet.has_room() || self.upload.is_none() {
                match ready!(self.outlet.poll_flush(&mut self.socket, cx)) {
                    Ok(()) => {}
                    Err(_) => self.give_up_upload(),
                }
            }
            let Some(upload) = &mut self.upload else {
                return Poll::Ready(Ok(()));
            };
            let Poll::Ready(frame) = Pin::new(&mut upload.body).poll_frame(cx) else {
                if let Poll::Ready(Err(_)) = self.outlet.poll_flush(&mut self.socket, cx) {
                    self.give_up_upload();
                }
                return Poll::Pending;
            };
            let chunked = upload.chunked;
            match frame {
                Some(Err(_)) => {
                    self.keep_alive = false;
                    self.cut = true;
                    self.upload = None;
                    return Poll::Ready(Err(FailureKind::Aborted));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if chunked => self.outlet.push_chunk(data),
                    Ok(data) => self.outlet.push(data),
                    Err(frame) => {
                        if let (true, Ok(trailers)) = (chunked, frame.into_trailers()) {
                            encode::last_chunk(self.outlet.buffer(), Some(&trailers));
                        }
                        self.upload = None;
                    }
                },
                None => {
                    if chunked {
                        encode::last_chunk(self.outlet.buffer(), None);
                    }
                    self.upload = None;
                }
            }
        }
    }

    /// The version takes no more of the request.
    fn give_up_upload(&mut self) {
        self.keep_alive = false;
        self.upload = None;
        self.outlet = Outlet::default();
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Method,
        interim: &mut usize,
    ) -> Poll<Result<response::Parts, FailureKind>> {
        loop {
            if !self.inlet.buffer.is_empty() {
                match head::answer(&mut self.inlet.buffer, asked, ANSWER_HEAD_BYTES) {
                    Ok(Some(head)) if is_interim(head.parts.status) => {
                        *interim += 1;
                        if *interim > INTERIM_MOST {
                            return Poll::Ready(Err(FailureKind::Garbage));
                        }
                        continue;
                    }
                    Ok(Some(head)) => {
                        self.body = head.body;
                        self.keep_alive &= head.keep_alive;
                        return Poll::Ready(Ok(head.parts));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let (said, secure) = (&self.inlet.buffer, self.place.is_secure());
                        self.place
                            .no_http(&NoHttp::in_place_of_http1(said, error, secure));
                        return Poll::Ready(Err(FailureKind::Garbage));
                    }
                }
            }
            let filled = ready!(self.inlet.poll_fill(&mut self.socket, cx));
            if let Err(error) = &filled
                && let Some(fault) = self.refusal(error)
            {
                self.place.no_tls(&fault);
                return Poll::Ready(Err(FailureKind::Connect));
            }
            match filled {
                // Whoever has begun to answer has read the request: this is no connection that died idle.
                Ok(0) | Err(_) if !self.inlet.buffer.is_empty() => {
                    let (said, secure) = (&self.inlet.buffer, self.place.is_secure());
                    self.place.no_http(&NoHttp::cut(said, secure));
                    return Poll::Ready(Err(FailureKind::Garbage));
                }
                Ok(0) | Err(_) if *interim > 0 => {
                    return Poll::Ready(Err(FailureKind::Truncated));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(FailureKind::Reset)),
                Ok(_) => {}
            }
        }
    }

    /// The endpoint does not accept whom it was shown in the handshake of TLS, which had not ended there.
    fn refusal(&self, error: &io::Error) -> Option<Fault> {
        self.socket.tls()?;
        Fault::behind_handshake(error)
    }

    /// Goes on sending what is left of the request while nobody asks for more of the answer.
    pub fn poll_upload_rest(&mut self, cx: &mut Context<'_>) {
        if self.upload.is_some() || !self.outlet.is_empty() {
            // What goes wrong is told with the next piece of the answer.
            let _ = self.poll_upload(cx);
        }
    }

    /// The next piece of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        self.poll_upload_rest(cx);
        if self.cut {
            return Poll::Ready(Err(BodyError::Broken));
        }
        loop {
            let closed = self.inlet.is_closed();
            match self.body.decode(&mut self.inlet.buffer, closed)? {
                Piece::More => {}
                piece => return Poll::Ready(Ok(piece)),
            }
            match ready!(self.inlet.poll_fill(&mut self.socket, cx)) {
                Ok(_) => {}
                // Under TLS, an end that the other end has not announced may be anybody's.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(BodyError::Incomplete));
                }
                Err(_) => return Poll::Ready(Err(BodyError::Broken)),
            }
        }
    }

    /// What is left of the answer's body, where it can go from socket to socket: long, its length known, nothing of it here
    /// yet.
    pub fn source(&self) -> Option<(&TcpStream, u64)> {
        let clear = self.inlet.buffer.is_empty() && self.upload.is_none() && self.outlet.is_empty();
        self.rest_of_body()
            .filter(|(_, left)| clear && *left >= WORTH)
    }

    /// What is left of a body whose length is known, with the socket that it comes over.
    pub fn rest_of_body(&self) -> Option<(&TcpStream, u64)> {
        match self.body {
            Decoder::Length(left) => self.socket.tcp().map(|stream| (stream, left)),
            _ => None,
        }
    }

    /// Counts what was carried.
    pub fn carried(&mut self, bytes: usize) {
        self.body.passed(bytes);
    }

    /// Whether the answer's body has ended.
    pub fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    /// How long the rest of the answer's body is, where that is known.
    pub fn body_length(&self) -> Option<u64> {
        self.body.known()
    }
}

impl Drop for Http1 {
    /// Under TLS, an end that is not announced looks like one that somebody else has made.
    fn drop(&mut self) {
        if self.is_reusable()
            && let Some(tls) = self.socket.tls_mut()
        {
            tls.say_goodbye();
        }
    }
}

/// A head in the form of HTTP/2 as HTTP/1.1 has it; what frames the body is written with it.
pub(super) fn as_http1(head: &request::Parts) -> request::Parts {
    let mut head = head.clone();
    let named = head.uri.authority().map(|named| named.as_str().to_owned());
    if let Some(named) = named.and_then(|named| HeaderValue::try_from(named).ok()) {
        head.headers.insert(header::HOST, named);
    }
    // Both are of HTTP/2: what TE says here would have to be said in `Connection` too.
    head.headers.remove(header::TE);
    head.headers.remove(header::CONTENT_LENGTH);
    let target = head.uri.path_and_query().cloned();
    head.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    head.version = Version::HTTP_11;
    head
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Methods whose requests mean the same with no body and with an empty one; the others say that theirs is empty
/// (RFC 9110 §8.6).
fn may_lack_body(method: &Method) -> bool {
    !matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Raw, for a tunnel.
impl AsyncRead for Http1 {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // It is nobody else's from now on, and its end is not ours to announce.
        this.keep_alive = false;
        this.inlet.poll_raw(&mut this.socket, cx, out)
    }
}

/// Raw, for a tunnel.
impl AsyncWrite for Http1 {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
