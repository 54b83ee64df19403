//! Long bodies from socket to socket. What is read is written at once, through a buffer that the worker lends to one body
//! after the other, so that it stays in the processor's cache: for long answers that is worth a fifth of all the work.
//!
//! splice(2), which moves pages without copying them, costs the proxy a little less and everybody else more: the pages come
//! in small pieces, and end to end fewer answers get through (measured on loopback, answers of 1 MiB).

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

/// Bodies with less left than this go the ordinary way.
pub const WORTH: u64 = 64 * 1024;
/// What is read at a time: large enough that calls do not matter, small enough for the second-level cache.
const PIECE: usize = 256 * 1024;
/// Buffers that a worker keeps. One is enough while callers take what they get.
const KEPT: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Between two sockets. Holds a buffer only while there is something in it that the far end would not take yet.
#[derive(Debug, Default)]
pub struct Relay {
    buffer: Vec<u8>,
    written: usize,
    end: usize,
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Carried {
    /// So many bytes have left for the far end.
    Bytes(usize),
    /// The near end has no more to give.
    End,
}

/// Which end broke.
#[derive(Debug)]
pub enum CarryError {
    /// The one that gives.
    From(io::Error),
    /// The one that takes.
    To(io::Error),
}

/// Which end is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The one that gives.
    ForMore,
    /// The one that takes.
    ForRoom,
}

impl Relay {
    /// Moves bytes from one socket to the other, at most `left` counted from what has left for the far end. `waits` tells
    /// for whom, where it is pending.
    ///
    /// # Errors
    /// [`CarryError`].
    pub fn poll_carry(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        left: u64,
        waits: &mut Waits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Carried, CarryError>> {
        if self.written == self.end {
            *waits = Waits::ForMore;
            match ready!(self.poll_fill(from, left, cx)) {
                Ok(0) => return Poll::Ready(Ok(Carried::End)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(CarryError::From(error))),
            }
        }
        *waits = Waits::ForRoom;
        self.poll_empty(to, cx)
            .map(|given| given.map(Carried::Bytes).map_err(CarryError::To))
    }

    fn poll_fill(
        &mut self,
        from: &TcpStream,
        left: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            let mut buffer = spare();
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            match from.try_read(&mut buffer[..most]) {
                Ok(read) => {
                    (self.buffer, self.written, self.end) = (buffer, 0, read);
                    if read == 0 {
                        self.give_back();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) => {
                    keep(buffer);
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn poll_empty(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_write(&self.buffer[self.written..self.end]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(given) => {
                    self.written += given;
                    if self.written == self.end {
                        self.give_back();
                    }
                    return Poll::Ready(Ok(given));
                }
            }
        }
    }

    fn give_back(&mut self) {
        (self.written, self.end) = (0, 0);
        keep(std::mem::take(&mut self.buffer));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn spare() -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; PIECE])
}

fn keep(buffer: Vec<u8>) {
    if buffer.is_empty() {
        return;
    }
    // The thread may be ending already.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address"))
            .await
            .expect("a connection");
        (near, listener.accept().await.expect("a connection").0)
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_no_more_than_was_asked() {
        let (mut origin, from) = pair().await;
        let (to, mut caller) = pair().await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = sent.clone();
        let origin = tokio::spawn(async move {
            origin.write_all(&whole).await.expect("written");
            origin
        });
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            caller.read_to_end(&mut seen).await.expect("read");
            seen
        });
        let (mut left, mut waits) = (2_500_000u64, Waits::ForMore);
        let mut relay = Relay::default();
        while left > 0 {
            let carried = poll_fn(|cx| relay.poll_carry(&from, &to, left, &mut waits, cx)).await;
            match carried.expect("both ends are there") {
                Carried::Bytes(n) => left -= n as u64,
                Carried::End => panic!("the origin has more"),
            }
        }
        drop((relay, to));
        assert_eq!(reader.await.expect("done"), sent[..2_500_000]);
        drop(origin);
    }

    #[tokio::test]
    async fn the_end_of_the_one_and_the_loss_of_the_other_are_told_apart() {
        let (origin, from) = pair().await;
        let (to, caller) = pair().await;
        let mut waits = Waits::ForMore;
        drop(origin);
        let mut relay = Relay::default();
        let carried = poll_fn(|cx| relay.poll_carry(&from, &to, 10, &mut waits, cx)).await;
        assert!(matches!(carried, Ok(Carried::End)));
        let (mut origin, from) = pair().await;
        drop(caller);
        let mut lost = false;
        for _ in 0..100 {
            origin.write_all(&[0; 10_000]).await.expect("written");
            let carried = poll_fn(|cx| relay.poll_carry(&from, &to, 10_000, &mut waits, cx)).await;
            lost |= matches!(carried, Err(CarryError::To(_)));
        }
        assert!(lost, "a caller that is gone is noticed");
    }
}
