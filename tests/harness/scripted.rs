//! Backends that misbehave: raw TCP, a script for each connection.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::backend::State;
use super::wire::Reader;
use super::{Echo, backend};

/// A listener that plays a script on each connection.
pub struct Scripted {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Scripted {
    /// The script gets the connection, and its number from 1. When it returns the connection is closed.
    pub fn start(
        script: impl Fn(&mut Scene, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (accepted, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, stopped, script) = (accepted.clone(), stop.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(SeqCst) {
                    return;
                }
                let (number, script) = (count.fetch_add(1, SeqCst) + 1, script.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let mut scene = Scene {
                        reader: Reader::new(stream),
                        state: State::new("scripted"),
                        number,
                    };
                    // A peer that goes away ends the scene; the test looks at what the client saw.
                    let _ = script(&mut scene, number);
                });
            }
        });
        Self {
            address,
            accepted,
            stop,
        }
    }

    /// Reads each request whole and answers with these bytes.
    pub fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |scene, _| {
            loop {
                scene.request()?;
                scene.write(&answer)?;
            }
        })
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// One connection in the hands of a script.
pub struct Scene {
    pub reader: Reader<TcpStream>,
    state: Arc<State>,
    number: usize,
}

impl Scene {
    /// The next request with its whole body.
    pub fn request(&mut self) -> io::Result<Echo> {
        backend::read_request(&mut self.reader, &self.state, self.number)
    }

    /// The next request's head alone, as text.
    pub fn head(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.reader.take_until(b"\r\n\r\n")?).into_owned())
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())
    }

    /// A whole 200 that echoes the request.
    pub fn echo(&mut self, echo: &Echo) -> io::Result<()> {
        let body = echo.json();
        self.write(format!(
            "HTTP/1.1 200 OK\r\nx-version: scripted\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// One byte at a time.
    pub fn dribble(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.write([*byte])?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// No more from us.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.reader.stream.shutdown(Shutdown::Write)
    }

    /// The connection ends with RST when the script returns.
    pub fn reset(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&self.reader.stream).set_linger(Some(Duration::ZERO))
    }

    /// Waits until the peer is gone; bounded.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        while self.reader.fill()? {
            self.reader.buffer.clear();
        }
        Ok(())
    }
}
