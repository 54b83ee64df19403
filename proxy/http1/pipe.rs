//! Long bodies from socket to socket without copying them: the kernel moves pages through a pipe (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bodies with less left than this are copied: a pipe costs two more calls.
pub const WORTH: u64 = 64 * 1024;
/// What a pipe holds; the kernel may give less.
const HOLDS: usize = 1 << 20;
/// Empty pipes that a worker keeps for the next body.
const KEPT: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe between two sockets. Kept for the next body when it is dropped empty.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
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

impl Pipe {
    /// A pipe with nothing in it.
    ///
    /// # Errors
    /// Where the process has too many open files.
    pub fn take() -> io::Result<Self> {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let ends = match spare {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
                // Less is slower, not wrong.
                let _ = fcntl_setpipe_size(&write, HOLDS);
                Ends { read, write }
            }
        };
        Ok(Self {
            ends: Some(ends),
            held: 0,
        })
    }

    /// Moves bytes from one socket to the other, at most `left`. `waits` tells for whom, where it is pending.
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
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(Carried::End));
        };
        if self.held == 0 {
            *waits = Waits::ForMore;
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(HOLDS);
            let taken = loop {
                ready!(from.poll_read_ready(cx)).map_err(CarryError::From)?;
                match from.try_io(Interest::READABLE, || step(from, &ends.write, most)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    taken => break taken.map_err(CarryError::From)?,
                }
            };
            if taken == 0 {
                return Poll::Ready(Ok(Carried::End));
            }
            self.held = taken;
        }
        *waits = Waits::ForRoom;
        loop {
            ready!(to.poll_write_ready(cx)).map_err(CarryError::To)?;
            match to.try_io(Interest::WRITABLE, || step(&ends.read, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(given) => {
                    self.held -= given;
                    return Poll::Ready(Ok(Carried::Bytes(given)));
                }
                Err(error) => return Poll::Ready(Err(CarryError::To(error))),
            }
        }
    }
}

fn step(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    most: usize,
) -> io::Result<usize> {
    Ok(splice(
        from,
        None,
        to,
        None,
        most,
        SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
    )?)
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // What is left in it belongs to a body that broke off.
        if self.held == 0
            && let Some(ends) = self.ends.take()
        {
            // The thread may be ending already.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < KEPT {
                    spare.push(ends);
                }
            });
        }
    }
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
        let mut pipe = Pipe::take().expect("a pipe");
        while left > 0 {
            let carried = poll_fn(|cx| pipe.poll_carry(&from, &to, left, &mut waits, cx)).await;
            match carried.expect("both ends are there") {
                Carried::Bytes(n) => left -= n as u64,
                Carried::End => panic!("the origin has more"),
            }
        }
        drop((pipe, to));
        assert_eq!(reader.await.expect("done"), sent[..2_500_000]);
        drop(origin);
    }

    #[tokio::test]
    async fn the_end_of_the_one_and_the_loss_of_the_other_are_told_apart() {
        let (origin, from) = pair().await;
        let (to, caller) = pair().await;
        let mut waits = Waits::ForMore;
        drop(origin);
        let mut pipe = Pipe::take().expect("a pipe");
        let carried = poll_fn(|cx| pipe.poll_carry(&from, &to, 10, &mut waits, cx)).await;
        assert!(matches!(carried, Ok(Carried::End)));
        let (mut origin, from) = pair().await;
        drop(caller);
        let mut lost = false;
        for _ in 0..100 {
            origin.write_all(&[0; 10_000]).await.expect("written");
            let carried = poll_fn(|cx| pipe.poll_carry(&from, &to, 10_000, &mut waits, cx)).await;
            lost |= matches!(carried, Err(CarryError::To(_)));
        }
        assert!(lost, "a caller that is gone is noticed");
    }
}
