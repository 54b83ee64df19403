//! Connections that go on as something else: after a 101 that was asked for, bytes go both ways unread until one side is
//! done, nothing moves for too long, or the proxy leaves.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use crate::http1::wire::Wire;
use crate::record::FailureKind;
use crate::upstream::Lease;
use crate::upstream::http1::Http1;

/// Bytes that one direction of a tunnel holds at a time.
const TUNNEL_BUFFER: usize = 16 * 1024;

/// Whether a 101 agrees to what was asked; another protocol, or one that nobody asked for, is no answer (RFC 9110 §7.8).
pub fn is_agreed(asked: Option<&HeaderValue>, answer: &HeaderMap) -> bool {
    let agreed = answer.get(header::UPGRADE).map(HeaderValue::as_bytes);
    asked.is_some_and(|asked| {
        agreed.is_some_and(|a| {
            a.trim_ascii()
                .eq_ignore_ascii_case(asked.as_bytes().trim_ascii())
        })
    })
}

/// A tunnel to be: it begins when the 101 has been sent.
#[derive(Debug)]
pub struct Tunnel {
    /// The version's end.
    pub lease: Lease,
    /// No bytes either way for so long end it.
    pub idle: Option<Duration>,
    /// Settled when it ends.
    pub account: Account,
    /// Becomes true when the proxy can wait no longer.
    pub leave: watch::Receiver<bool>,
}

impl Tunnel {
    /// Carries bytes between the caller and the version until one side is done, breaks, or both are silent for too long.
    pub async fn run(mut self, caller: Rc<Wire>) {
        let Some(version) = self.lease.take_connection() else {
            self.account.fail(FailureKind::Reset, self.lease.endpoint());
            return;
        };
        tokio::select! {
            () = copy(CallerEnd(caller), version, self.idle) => {}
            () = must_leave(&mut self.leave) => {}
            () = self.lease.cut() => {}
        }
        self.account.succeed(self.lease.endpoint());
    }
}

async fn must_leave(leave: &mut watch::Receiver<bool>) {
    if leave.wait_for(|leave| *leave).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Both directions until both have ended, one breaks, or neither moves for `idle`.
async fn copy(caller: CallerEnd, version: Box<Http1>, idle: Option<Duration>) {
    let moved = Cell::new(Instant::now());
    let (from_caller, to_caller) = tokio::io::split(caller);
    let (from_version, to_version) = tokio::io::split(version);
    let both = async {
        tokio::try_join!(
            one_way(from_caller, to_version, &moved),
            one_way(from_version, to_caller, &moved)
        )
    };
    let silence = async {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        loop {
            let end = moved.get() + idle;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    };
    tokio::select! {
        _ = both => {}
        () = silence => {}
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; TUNNEL_BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            // Half of the tunnel is done: the other side may still have something to say.
            return to.shutdown().await;
        }
        moved.set(Instant::now());
        to.write_all(&buffer[..n]).await?;
        // Of an encrypted stream: what it has taken may not have left.
        to.flush().await?;
        moved.set(Instant::now());
    }
}

/// The caller's connection, raw.
struct CallerEnd(Rc<Wire>);

impl AsyncRead for CallerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_raw_read(cx, out)
    }
}

impl AsyncWrite for CallerEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_raw_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_raw_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
