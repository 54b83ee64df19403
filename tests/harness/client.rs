//! An HTTP/1.1 client that writes exactly the bytes it is given and reads answers strictly.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::wire::{Answer, Reader};

/// No answer takes longer than this in any test that expects one.
const PATIENCE: Duration = Duration::from_secs(15);

/// One connection.
pub struct Conn {
    pub reader: Reader<TcpStream>,
    host: String,
}

impl Conn {
    /// Connects; refuses to wait longer than any test does.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"))
    }

    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: Reader::new(stream),
            host: "t".to_owned(),
        })
    }

    /// The Host of later requests.
    pub fn set_host(&mut self, host: &str) {
        host.clone_into(&mut self.host);
    }

    /// How long a read waits.
    pub fn patience(&self, wait: Duration) {
        self.reader
            .stream
            .set_read_timeout(Some(wait))
            .expect("a timeout above zero");
    }

    /// Writes these bytes; a peer that has closed meanwhile is not an error here, its answer is still read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.try_send(bytes);
        self
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer()
            .unwrap_or_else(|e| panic!("no answer: {e} ({:?})", e.kind()))
    }

    pub fn try_answer(&mut self) -> io::Result<Answer> {
        self.reader.answer(false)
    }

    /// GET, with header lines such as `x-user-id: 7`.
    #[track_caller]
    pub fn get(&mut self, target: &str, headers: &[&str]) -> Answer {
        self.request("GET", target, headers, b"")
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.try_request(method, target, headers, body)
            .unwrap_or_else(|e| panic!("no answer to {method} {target}: {e} ({:?})", e.kind()))
    }

    /// One request and its answer. The body goes with a Content-Length; Host is added unless it is given.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut bytes = self.head(method, target, headers, body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.try_send(bytes)?;
        self.reader.answer(method == "HEAD")
    }

    fn head(&self, method: &str, target: &str, headers: &[&str], length: usize) -> String {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|h| h.to_ascii_lowercase().starts_with("host:"))
        {
            head += &format!("Host: {}\r\n", self.host);
        }
        for line in headers {
            head += line;
            head += "\r\n";
        }
        if length > 0 || matches!(method, "POST" | "PUT" | "PATCH") {
            head += &format!("Content-Length: {length}\r\n");
        }
        head + "\r\n"
    }

    /// No more from us, while answers may still come.
    pub fn half_close(&mut self) -> &mut Self {
        let _ = self.reader.stream.shutdown(Shutdown::Write);
        self
    }

    /// Gone without a goodbye.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.reader.stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether the peer closes within this time, having said nothing more.
    pub fn closes_within(&mut self, wait: Duration) -> bool {
        let start = Instant::now();
        self.patience(Duration::from_millis(20));
        let closed = loop {
            match self.reader.fill() {
                Ok(false) => break true,
                Ok(true) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if start.elapsed() > wait {
                        break false;
                    }
                }
                Err(_) => break true,
            }
        };
        self.patience(PATIENCE);
        closed && self.reader.buffer.is_empty()
    }
}
