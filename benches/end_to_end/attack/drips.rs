//! Connections that are kept busy with next to nothing. All at the same moment, and by one task where nothing is read: waking
//! a thousand times a second would cost the load, which has the same core, more than what is sent.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use super::attacker::{Counts, add};

/// Written to in one go, before those are heard that were closed.
const AT_ONCE: usize = 64;

/// What is dripped, and into what.
pub(super) struct Drips {
    began: Instant,
    every: Duration,
    drop: &'static [u8],
    streams: RefCell<Vec<Weak<TcpStream>>>,
}

impl Drips {
    /// Nothing is open yet.
    pub(super) fn new(drop: &'static [u8], every: Duration) -> Self {
        Self {
            began: Instant::now(),
            every,
            drop,
            streams: RefCell::default(),
        }
    }

    /// When the next drop is due.
    fn next(&self) -> tokio::time::Instant {
        let drops = self.began.elapsed().div_duration_f64(self.every).floor();
        (self.began + self.every.mul_f64(drops + 1.0)).into()
    }

    /// A drop into each connection that is open, again and again.
    pub(super) async fn run(self: Rc<Self>, counts: Rc<Counts>) {
        if self.drop.is_empty() {
            return;
        }
        loop {
            sleep_until(self.next()).await;
            let mut at = 0;
            while at < self.streams.borrow().len() {
                self.drip(&mut at, &counts);
                tokio::task::yield_now().await;
            }
        }
    }

    /// A drop into some connections, from the one at `at` on; who is closed is forgotten.
    fn drip(&self, at: &mut usize, counts: &Counts) {
        let mut streams = self.streams.borrow_mut();
        for _ in 0..AT_ONCE {
            let Some(stream) = streams.get(*at) else {
                return;
            };
            let Some(stream) = stream.upgrade() else {
                streams.swap_remove(*at);
                continue;
            };
            // Whether it is closed, its own task hears.
            if let Ok(bytes) = stream.try_write(self.drop) {
                add(&counts.bytes, bytes as u64);
            }
            *at += 1;
        }
    }

    /// Holds a connection into which something drips, until the proxy ends it.
    pub(super) async fn hold(&self, stream: TcpStream, buffer: &mut [u8]) -> io::Result<()> {
        let stream = Rc::new(stream);
        if !self.drop.is_empty() {
            self.streams.borrow_mut().push(Rc::downgrade(&stream));
        }
        loop {
            stream.readable().await?;
            match stream.try_read(buffer) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // An answer is read: what follows may be the end.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Takes a few bytes at a time of what the proxy has to say, until it ends the connection.
    pub(super) async fn sip(
        &self,
        mut stream: TcpStream,
        sips: usize,
        buffer: &mut [u8],
        counts: &Counts,
    ) -> io::Result<()> {
        let sips = sips.min(buffer.len());
        loop {
            sleep_until(self.next()).await;
            if stream.read(&mut buffer[..sips]).await? == 0 {
                return Ok(());
            }
            stream.write_all(self.drop).await?;
            add(&counts.bytes, self.drop.len() as u64);
        }
    }
}
