//! The two origins behind every contender: version v1 and version v2, each a port, both served by the thread that also
//! makes the load, so that the second core never sleeps.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use memchr::memmem;

use crate::poll::{Happening, Poll, Whose};

/// Bytes of an ordinary answer.
pub(crate) const SMALL: usize = 1024;
/// Bytes of the answer to `GET /big`.
pub(crate) const BIG: usize = 1024 * 1024;
/// A request that is longer than this is not one of ours.
const MAX_REQUEST: usize = 64 * 1024;
/// Connections that may wait to be accepted: a proxy may open one for every client at once.
const BACKLOG: i32 = 4096;

/// Both origins.
pub(crate) struct Origins {
    doors: [TcpListener; 2],
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    small: Vec<u8>,
    big: Vec<u8>,
    buffer: Vec<u8>,
    /// Requests answered by v1 and by v2.
    pub(crate) answered: [u64; 2],
}

/// A connection from the proxy.
struct Connection {
    stream: TcpStream,
    version: usize,
    /// What has arrived of the request.
    request: Vec<u8>,
    /// The rest of an answer that the socket would not take at once.
    unsent: Option<Unsent>,
}

struct Unsent {
    big: bool,
    from: usize,
}

impl Origins {
    /// Opens both on free ports.
    pub(crate) fn open(poll: &Poll) -> io::Result<Self> {
        let doors = [door()?, door()?];
        for (i, door) in doors.iter().enumerate() {
            poll.watch(door, Whose::Door(i))?;
        }
        Ok(Self {
            doors,
            connections: Vec::new(),
            free: Vec::new(),
            small: answer(SMALL),
            big: answer(BIG),
            buffer: vec![0; MAX_REQUEST],
            answered: [0; 2],
        })
    }

    /// Where v1 and v2 listen.
    pub(crate) fn addresses(&self) -> io::Result<[SocketAddr; 2]> {
        Ok([self.doors[0].local_addr()?, self.doors[1].local_addr()?])
    }

    /// Takes in whoever waits at a door.
    pub(crate) fn accept(&mut self, poll: &Poll, door: usize) -> io::Result<()> {
        loop {
            let stream = match self.doors[door].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            poll.watch(&stream, Whose::Origin(place))?;
            self.connections[place] = Some(Connection {
                stream,
                version: door,
                request: Vec::new(),
                unsent: None,
            });
        }
    }

    /// Reads requests and answers them. A connection that breaks is forgotten: the load notices what it cost.
    pub(crate) fn serve(&mut self, place: usize, happening: Happening) {
        let Some(connection) = self.connections[place].as_mut() else {
            return;
        };
        let outcome = connection.flush(&self.small, &self.big).and_then(|()| {
            if !happening.readable {
                return Ok(true);
            }
            connection.read(
                &mut self.buffer,
                happening.ended,
                &self.small,
                &self.big,
                &mut self.answered,
            )
        });
        if !matches!(outcome, Ok(true)) {
            self.connections[place] = None;
            self.free.push(place);
        }
    }
}

impl Connection {
    /// Reads what is there. `Ok(false)` is the end of the connection.
    fn read(
        &mut self,
        buffer: &mut [u8],
        ended: bool,
        small: &[u8],
        big: &[u8],
        answered: &mut [u64; 2],
    ) -> io::Result<bool> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.request.extend_from_slice(&buffer[..read]);
            while let Some((length, wants_big)) = whole_request(&self.request)? {
                if self.unsent.is_some() {
                    // No contender sends a request before the answer to the last one; this one would mix answers up.
                    return Err(ErrorKind::InvalidData.into());
                }
                self.request.drain(..length);
                self.unsent = Some(Unsent {
                    big: wants_big,
                    from: 0,
                });
                answered[self.version] += 1;
                self.flush(small, big)?;
            }
            // The socket was emptied: the next bytes will be a new edge.
            if read < buffer.len() && !ended {
                return Ok(true);
            }
        }
    }

    fn flush(&mut self, small: &[u8], big: &[u8]) -> io::Result<()> {
        while let Some(unsent) = &mut self.unsent {
            let answer = if unsent.big { big } else { small };
            match self.stream.write(&answer[unsent.from..]) {
                Ok(written) => unsent.from += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if unsent.from == answer.len() {
                self.unsent = None;
            }
        }
        Ok(())
    }
}

/// The length of the request at the start of these bytes, once all of it is there, and whether it is for `/big`.
fn whole_request(bytes: &[u8]) -> io::Result<Option<(usize, bool)>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() < MAX_REQUEST {
            Ok(None)
        } else {
            Err(ErrorKind::InvalidData.into())
        };
    };
    let (head, body) = (&bytes[..end + 2], end + 4);
    let whole = if let Some(length) = header(head, b"content-length") {
        let length = std::str::from_utf8(length)
            .ok()
            .and_then(|text| text.parse::<usize>().ok());
        let length = length
            .filter(|length| *length < MAX_REQUEST)
            .ok_or(ErrorKind::InvalidData)?;
        (bytes.len() >= body + length).then_some(body + length)
    } else if header(head, b"transfer-encoding").is_some() {
        // The bodies that the load sends hold no line ends: the last chunk is where this text is.
        memmem::find(&bytes[body..], b"0\r\n\r\n").map(|last| body + last + 5)
    } else {
        Some(body)
    };
    Ok(whole.map(|length| (length, head.starts_with(b"GET /big"))))
}

/// A header's value in a head whose lines all end in CRLF.
pub(crate) fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = head;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
        {
            return Some(line[name.len() + 1..].trim_ascii());
        }
    }
    None
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 07:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

fn door() -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
