//! A caller's TLS handshake, from the first byte to a stream that can be served.
//!
//! A handshake is the dearest thing that a stranger can ask for: a signature of RSA costs as much as a hundred requests.
//! So they take turns: between two steps of handshakes a worker looks after all else that is ready. And those that are
//! under way are bounded: where there is one too many, the oldest goes, because a caller that means it is done within a
//! few round trips, and one that means to fill the places is not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::Error as TlsError;
use tokio_rustls::server::FallibleAccept;

use crate::record::{Handshake, Reason};
use crate::transport::serving::Serving;
use crate::transport::session::Session;
use crate::transport::tls::Tls;

/// Handshakes of one worker that have begun and are not done. Each may hold 64 KiB that came and are not a whole message.
pub const UNDER_WAY: usize = 512;
/// How long a caller whose handshake failed may take to read why, and how much of what it still sends is read for that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 128 * 1024;

/// The handshakes of one worker.
#[derive(Debug, Default)]
pub struct Handshakes {
    begun: RefCell<VecDeque<Weak<Seat>>>,
    turns: Turns,
}

/// One that has begun.
#[derive(Debug, Default)]
struct Seat {
    /// It has to make room.
    taken: Cell<bool>,
    /// It stands in line for its next step.
    waits: Cell<bool>,
    /// It is its turn.
    first: Cell<bool>,
    sitting: RefCell<Option<Waker>>,
}

/// Why there is no stream.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was asked for: the caller came and went.
    Silent,
    /// HTTP without TLS: the caller can be told so.
    PlainHttp(TcpStream),
    /// It failed. Where there is a stream, the caller may still read why: [`linger`].
    Failed(Handshake, Option<TcpStream>),
}

impl Handshakes {
    /// Lets handshakes take turns, for as long as the worker lives.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.turns.asked.notified().await;
            while {
                // Until all that is ready has been looked after.
                tokio::task::yield_now().await;
                self.turns.next()
            } {}
        }
    }

    /// Shakes hands with a caller.
    ///
    /// # Errors
    /// Why not.
    pub async fn shake(
        &self,
        stream: TcpStream,
        serving: &Serving,
    ) -> Result<(Tls, Session), Failure> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(Failure::Silent),
        }
        // What begins with a letter is no record of TLS, whose first byte is 22.
        if first[0].is_ascii_alphabetic() {
            return Err(Failure::PlainHttp(stream));
        }
        let seat = self.sit();
        let acceptor = TlsAcceptor::from(Arc::clone(&serving.config));
        let mut accept = acceptor.accept(stream).into_fallible();
        let done = poll_fn(|cx| {
            if seat.taken.get() {
                return Poll::Ready(Err(Failure::Failed(Handshake::Overload, None)));
            }
            remember(&seat.sitting, cx);
            let shaken = ready!(self.turns.poll_step(&seat, cx, |cx| step(&mut accept, cx)));
            Poll::Ready(Ok(shaken))
        })
        .await?;
        drop(seat);
        match done {
            Ok(stream) => {
                let stream = Tls::new(stream);
                let session = Session::of(&stream);
                if session.is_outlived() {
                    return Err(Failure::Failed(Handshake::Certificate, None));
                }
                Ok((stream, session))
            }
            Err((error, stream)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                let how = how(&error);
                let stream = (how != Handshake::Closed).then_some(stream);
                Err(Failure::Failed(how, stream))
            }
        }
    }

    fn sit(&self) -> Rc<Seat> {
        let seat = Rc::new(Seat::default());
        let mut begun = self.begun.borrow_mut();
        if begun.len() >= UNDER_WAY {
            begun.retain(|seat| seat.strong_count() > 0);
        }
        while begun.len() >= UNDER_WAY {
            if let Some(oldest) = begun.pop_front().and_then(|seat| seat.upgrade()) {
                oldest.taken.set(true);
                if let Some(sitting) = oldest.sitting.take() {
                    sitting.wake();
                }
            }
        }
        begun.push_back(Rc::downgrade(&seat));
        seat
    }
}

impl Handshake {
    /// What the listener refuses a caller for whose handshake ended so; `None` where it refused nothing.
    pub fn refusal(self) -> Option<Reason> {
        match self {
            Self::Full12 | Self::Full13 | Self::Resumed12 | Self::Resumed13 => None,
            // The caller's own choice.
            Self::Alert | Self::Closed => None,
            Self::Overload => Some(Reason::Handshakes),
            Self::PlainHttp => Some(Reason::PlainHttp),
            Self::Certificate
            | Self::Protocol
            | Self::Incompatible
            | Self::Malformed
            | Self::Timeout => Some(Reason::TlsHandshake),
        }
    }

    /// How a handshake ended that agreed on `session`.
    pub fn done(session: &Session) -> Self {
        match (session.resumed, session.version) {
            (false, "1.3") => Self::Full13,
            (false, _) => Self::Full12,
            (true, "1.3") => Self::Resumed13,
            (true, _) => Self::Resumed12,
        }
    }
}

type Shaken = <FallibleAccept<TcpStream> as Future>::Output;

fn step(accept: &mut FallibleAccept<TcpStream>, cx: &mut Context<'_>) -> Poll<Shaken> {
    Pin::new(accept).poll(cx)
}

/// Why it failed, in one word.
fn how(error: &io::Error) -> Handshake {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::NoApplicationProtocol) => Handshake::Protocol,
        Some(TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_)) => {
            Handshake::Certificate
        }
        Some(TlsError::PeerIncompatible(_)) => Handshake::Incompatible,
        Some(TlsError::AlertReceived(_)) => Handshake::Alert,
        Some(_) => Handshake::Malformed,
        None => Handshake::Closed,
    }
}

/// Closes a stream behind an alert. Closed with bytes unread, the kernel would reset the connection, and the alert might be
/// lost.
pub async fn linger(mut stream: TcpStream) {
    let heard = async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, heard).await;
}

/// One step of a handshake at a time, and everything else that is ready between two of them.
#[derive(Debug, Default)]
struct Turns {
    /// A step was done, or somebody was let go first, since everything else was looked after.
    used: Cell<bool>,
    waiting: RefCell<VecDeque<Weak<Seat>>>,
    asked: Notify,
}

impl Turns {
    fn poll_step<T>(
        &self,
        seat: &Rc<Seat>,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if seat.first.take() {
            return step(cx);
        }
        if self.used.replace(true) {
            if !seat.waits.replace(true) {
                self.waiting.borrow_mut().push_back(Rc::downgrade(seat));
            }
            return Poll::Pending;
        }
        self.asked.notify_one();
        step(cx)
    }

    /// Everything else was looked after: the next in line may take its step. Whether there was one.
    fn next(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(seat) = waiting.pop_front() {
            if let Some(seat) = seat.upgrade() {
                seat.waits.set(false);
                seat.first.set(true);
                if let Some(sitting) = &*seat.sitting.borrow() {
                    sitting.wake_by_ref();
                }
                return true;
            }
        }
        self.used.set(false);
        false
    }
}

/// Keeps who is to be woken.
fn remember(kept: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut kept = kept.borrow_mut();
    if !kept.as_ref().is_some_and(|k| k.will_wake(cx.waker())) {
        *kept = Some(cx.waker().clone());
    }
}
