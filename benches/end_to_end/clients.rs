//! The connections that ask: sockets on one side, HTTP/1.1 or HTTP/2 on the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::h2c::Session;
use crate::http1::Exchange;
use crate::load::Round;
use crate::poll::{Happening, Poll, Whose};
use crate::tls::Wire;
use crate::workload::{STREAMS_BESIDE, Workload};

/// The clients of one run.
pub(crate) struct Clients {
    to: SocketAddr,
    close: bool,
    streams: Option<usize>,
    tls: bool,
    clients: Vec<Client>,
    /// Whose turn it is to ask when requests come by the clock.
    turn: usize,
}

struct Client {
    stream: Wire,
    talk: Talk,
    out: Vec<u8>,
    sent: usize,
}

enum Talk {
    Http1(Exchange),
    Http2(Session),
}

impl Clients {
    /// Nobody yet.
    pub(crate) fn none(workload: &Workload, to: SocketAddr) -> Self {
        let Workload {
            close,
            streams,
            tls,
            ..
        } = *workload;
        Self {
            to,
            close,
            streams,
            tls,
            clients: Vec::new(),
            turn: 0,
        }
    }

    /// All that the workload wants.
    pub(crate) fn open(
        poll: &Poll,
        workload: &Workload,
        to: SocketAddr,
        round: &mut Round,
    ) -> Result<Self, String> {
        let mut clients = Self::none(workload, to);
        for place in 0..workload.connections + workload.beside {
            if place == workload.connections {
                clients.streams = Some(STREAMS_BESIDE);
            }
            clients
                .add(poll, round)
                .map_err(|error| format!("connecting to {to}: {error}"))?;
        }
        Ok(clients)
    }

    /// Begins what is due by the clock, on whichever connections have room; what finds none stays due.
    pub(crate) fn ask(&mut self, round: &mut Round) -> Result<(), String> {
        let mut full = 0;
        while full < self.clients.len() && round.is_due() {
            self.turn = (self.turn + 1) % self.clients.len();
            let client = &mut self.clients[self.turn];
            if client.talk.is_full() {
                full += 1;
                continue;
            }
            full = 0;
            client.talk.begin(&mut client.out, round);
            client
                .flush()
                .map_err(|error| format!("writing: {error}"))?;
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// One more.
    pub(crate) fn add(&mut self, poll: &Poll, round: &mut Round) -> io::Result<()> {
        let client = self.connect(poll, self.clients.len(), round)?;
        self.clients.push(client);
        Ok(())
    }

    /// A new connection, its first request on the way. The clock of that request runs while the connection is made.
    fn connect(&self, poll: &Poll, place: usize, round: &mut Round) -> io::Result<Client> {
        let mut out = Vec::new();
        let talk = match self.streams {
            None => {
                let mut exchange = Exchange::default();
                exchange.begin(&mut out, round);
                Talk::Http1(exchange)
            }
            Some(streams) => {
                let mut session = Session::new(&mut out);
                (0..streams).for_each(|_| session.begin(&mut out, round));
                Talk::Http2(session)
            }
        };
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.to.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        let socket = TcpStream::from(socket);
        let stream = if self.tls {
            Wire::encrypted(socket, self.streams.is_some())
        } else {
            Wire::Plain(socket)
        };
        let mut client = Client {
            stream,
            talk,
            out,
            sent: 0,
        };
        poll.watch(client.stream.socket(), Whose::Client(place))?;
        client.flush()?;
        Ok(client)
    }

    /// Reads answers and asks again.
    pub(crate) fn serve(
        &mut self,
        place: usize,
        happening: Happening,
        poll: &Poll,
        round: &mut Round,
        buffer: &mut [u8],
    ) -> Result<(), String> {
        // A connection of the run before may have left an event behind.
        let Some(client) = self.clients.get_mut(place) else {
            return Ok(());
        };
        let outcome = client.serve(happening, round, buffer);
        match outcome.map_err(|trouble| format!("connection {place}: {trouble}"))? {
            Still::Open => Ok(()),
            Still::Ended if self.close && round.goes_on() => {
                self.clients[place] = self
                    .connect(poll, place, round)
                    .map_err(|error| format!("connecting to {}: {error}", self.to))?;
                Ok(())
            }
            Still::Ended if self.close || round.closes() => Ok(()),
            Still::Ended => Err(format!(
                "connection {place}: closed by the proxy although it was to be kept"
            )),
        }
    }
}

enum Still {
    Open,
    Ended,
}

impl Client {
    fn serve(
        &mut self,
        happening: Happening,
        round: &mut Round,
        buffer: &mut [u8],
    ) -> Result<Still, String> {
        if happening.writable {
            self.flush().map_err(|error| format!("writing: {error}"))?;
        }
        if !happening.readable {
            return Ok(Still::Open);
        }
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) if self.talk.is_under_way() => {
                    return Err("closed before the answer's end".into());
                }
                Ok(0) => return Ok(Still::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Still::Open),
                Err(_) if !self.talk.is_under_way() => return Ok(Still::Ended),
                Err(error) => return Err(format!("reading: {error}")),
            };
            self.talk.take(&buffer[..read], &mut self.out, round)?;
            self.flush().map_err(|error| format!("writing: {error}"))?;
            // The socket was emptied: the next bytes will be a new edge.
            let emptied = read < buffer.len() && self.stream.is_emptied_by_short_reads();
            if emptied && !happening.ended {
                return Ok(Still::Open);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = self.stream.send_rest()
            && !matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::NotConnected
            )
        {
            return Err(error);
        }
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

impl Talk {
    fn is_under_way(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_under_way(),
            Self::Http2(session) => session.is_under_way(),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_under_way(),
            Self::Http2(session) => session.under_way() >= STREAMS_BESIDE,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>, round: &mut Round) {
        match self {
            Self::Http1(exchange) => exchange.begin(out, round),
            Self::Http2(session) => session.begin(out, round),
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, round: &mut Round) -> Result<(), String> {
        match self {
            Self::Http1(exchange) => exchange.take(bytes, out, round),
            Self::Http2(session) => session.take(bytes, out, round),
        }
    }
}
