//! Connections that go on as something else: after a 101 that was asked for, bytes go both ways unread until one side is
//! done, nothing moves for too long, or the proxy leaves.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::Peer;
use super::account::Account;
use crate::record::FailureKind;
use crate::upstream::Lease;

/// Bytes that one direction of a tunnel holds at a time.
const TUNNEL_BUFFER: usize = 16 * 1024;

type End = TokioIo<hyper::upgrade::Upgraded>;

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

/// A tunnel to be: both ends become raw once the 101 has been sent.
#[derive(Debug)]
pub struct Tunnel {
    /// The caller's end.
    pub caller: OnUpgrade,
    /// The version's end.
    pub version: OnUpgrade,
    /// No bytes either way for so long end it.
    pub idle: Option<Duration>,
    /// Settled when it ends.
    pub account: Account,
    /// Keeps the endpoint counted as busy.
    pub lease: Lease,
    /// Keeps the caller's connection counted as open.
    pub peer: Rc<Peer>,
}

impl Tunnel {
    /// Carries bytes until it ends. `leave` resolves when the proxy can wait no longer.
    pub async fn run(self, leave: impl Future<Output = ()>) {
        let (Ok(caller), Ok(version)) = (self.caller.await, self.version.await) else {
            self.account.fail(FailureKind::Reset, self.lease.endpoint());
            return;
        };
        let copied = copy(TokioIo::new(caller), TokioIo::new(version), self.idle);
        tokio::select! {
            () = copied => {}
            () = leave => {}
        }
        self.account.succeed(self.lease.endpoint());
        drop(self.peer);
    }
}

/// Both directions until both are done, one breaks, or neither moves for `idle`.
async fn copy(caller: End, version: End, idle: Option<Duration>) {
    let moved = std::cell::Cell::new(tokio::time::Instant::now());
    let (from_caller, to_caller) = tokio::io::split(caller);
    let (from_version, to_version) = tokio::io::split(version);
    let both = async {
        tokio::join!(
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
            if end <= tokio::time::Instant::now() {
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
    mut from: ReadHalf<End>,
    mut to: WriteHalf<End>,
    moved: &std::cell::Cell<tokio::time::Instant>,
) {
    let mut buffer = vec![0; TUNNEL_BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                moved.set(tokio::time::Instant::now());
                if to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    // Half of the tunnel is done: the other side may still have something to say.
    let _ = to.shutdown().await;
}
