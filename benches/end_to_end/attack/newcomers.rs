//! Honest callers that come for the first time while others attack: a connection each, one request, an answer.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::Serialize;

/// Between two of them.
const EVERY: Duration = Duration::from_millis(50);
/// The longest that one waits for its connection and for its answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What newcomers met.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Welcome {
    pub(crate) came: u64,
    pub(crate) served: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    /// The slowest that was served.
    pub(crate) slowest_ms: f64,
}

/// A thread of newcomers.
pub(super) struct Newcomers {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Welcome>,
}

impl Newcomers {
    /// They begin to come; `tls`: how they speak it, if they do.
    pub(super) fn send(to: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            let mut welcome = Welcome::default();
            while !until.load(Ordering::Relaxed) {
                let from = Instant::now();
                welcome.came += 1;
                match come(to, tls.clone()) {
                    Ok(()) => {
                        welcome.served += 1;
                        let took = from.elapsed().as_secs_f64() * 1e3;
                        welcome.slowest_ms = welcome.slowest_ms.max(took);
                    }
                    Err(error) => *welcome.failures.entry(told(&error)).or_default() += 1,
                }
                std::thread::sleep(EVERY.saturating_sub(from.elapsed()));
            }
            welcome
        });
        Self { over, thread }
    }

    /// No more come. The last one is under way still: `serve` is done again and again until it has its answer.
    pub(super) fn end(
        self,
        mut serve: impl FnMut() -> Result<(), String>,
    ) -> Result<Welcome, String> {
        self.over.store(true, Ordering::Relaxed);
        while !self.thread.is_finished() {
            serve()?;
        }
        Ok(self.thread.join().unwrap_or_default())
    }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {PATIENCE:?}")
        }
        _ => error.to_string(),
    }
}

fn come(to: SocketAddr, tls: Option<Arc<ClientConfig>>) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match tls {
        None => ask(stream),
        Some(settings) => {
            let name = crate::tls::NAME.try_into().map_err(io::Error::other)?;
            let session = ClientConnection::new(settings, name).map_err(io::Error::other)?;
            ask(StreamOwned::new(session, stream))
        }
    }
}

fn ask(mut stream: impl Read + Write) -> io::Result<()> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        crate::tls::NAME
    );
    stream.write_all(request.as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        return Ok(());
    }
    let status = String::from_utf8_lossy(&status);
    Err(io::Error::other(format!("answered {status:?}")))
}
