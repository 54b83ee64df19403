//! The connections that ask: sockets on one side, HTTP/1.1 or HTTP/2 on the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::h2c::Session;
use crate::http1::Exchange;
use crate::load::Round;
use crate::poll::{Happening, Poll, Whose};
use crate::tls::Wire;
use crate::workload::{STREAMS_BESIDE, Workload};

/// A caller that is turned away comes again after so long.
const COME_AGAIN: Duration = Duration::from_millis(20);
/// A request that waits longer counts as failed, where failures are forgiven.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The clients of one run.
pub(crate) struct Clients {
    to: SocketAddr,
    close: bool,
    streams: Option<usize>,
    tls: bool,
    /// From this place on they speak HTTP/2, to this address.
    beside: Option<(usize, SocketAddr)>,
    /// `None`: it was turned away and will come again.
    clients: Vec<Option<Client>>,
    gone: Vec<(Instant, usize)>,
    looked: Instant,
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
            beside: None,
            clients: Vec::new(),
            gone: Vec::new(),
            looked: Instant::now(),
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
        Self::open_both(poll, workload, to, to, round)
    }

    /// Likewise; those that the workload has beside the others speak to another address.
    pub(crate) fn open_both(
        poll: &Poll,
        workload: &Workload,
        to: SocketAddr,
        h2c: SocketAddr,
        round: &mut Round,
    ) -> Result<Self, String> {
        let mut clients = Self::none(workload, to);
        clients.beside = Some((workload.connections, h2c));
        for _ in 0..workload.connections + workload.beside {
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
            let client = self.clients[self.turn].as_mut();
            let Some(client) = client.filter(|client| !client.talk.is_full()) else {
                full += 1;
                continue;
            };
            full = 0;
            client.talk.begin(&mut client.out, round);
            let flushed = client.flush().map_err(|error| format!("writing: {error}"));
            self.forgive(self.turn, flushed, round)?;
        }
        Ok(())
    }

    /// Everybody asks as much as they may at a time, unless requests come by the clock.
    pub(crate) fn rouse(&mut self, round: &mut Round) -> Result<(), String> {
        for place in 0..self.clients.len() {
            let streams = self.protocol(place).0.unwrap_or(1);
            let Some(client) = self.clients[place].as_mut() else {
                continue;
            };
            for _ in client.talk.under_way()..streams {
                client.talk.begin(&mut client.out, round);
            }
            let flushed = client.flush().map_err(|error| format!("writing: {error}"));
            self.forgive(place, flushed, round)?;
        }
        Ok(())
    }

    /// Those that were turned away come again, and those that wait for too long give up.
    pub(crate) fn renew(&mut self, poll: &Poll, round: &mut Round) -> Result<(), String> {
        let now = Instant::now();
        while let Some(at) = self.gone.iter().position(|(due, _)| *due <= now) {
            let (_, place) = self.gone.swap_remove(at);
            match self.connect(poll, place, round) {
                Ok(client) => self.clients[place] = Some(client),
                Err(error) => {
                    round.forgive(0, &format!("connecting: {error}"))?;
                    self.gone.push((now + COME_AGAIN, place));
                }
            }
        }
        if now - self.looked < LOOK_EVERY {
            return Ok(());
        }
        self.looked = now;
        for place in 0..self.clients.len() {
            let talk = self.clients[place].as_ref().map(|client| &client.talk);
            let since = talk.and_then(Talk::waits_since);
            if since.is_some_and(|since| now - since > PATIENCE) && round.forgives() {
                let trouble = format!("no answer within {PATIENCE:?}");
                self.forgive(place, Err(trouble), round)?;
            }
        }
        Ok(())
    }

    /// Where failures are forgiven, the client that met one leaves and comes again.
    fn forgive(
        &mut self,
        place: usize,
        outcome: Result<(), String>,
        round: &mut Round,
    ) -> Result<(), String> {
        let Err(trouble) = outcome else {
            return Ok(());
        };
        let under_way = self.clients[place]
            .as_ref()
            .map_or(0, |client| client.talk.under_way());
        round.forgive(under_way, &trouble)?;
        self.clients[place] = None;
        self.gone.push((Instant::now() + COME_AGAIN, place));
        Ok(())
    }

    /// How many streams at a time there are on the connection at this place, if it speaks HTTP/2, and to whom.
    fn protocol(&self, place: usize) -> (Option<usize>, SocketAddr) {
        match self.beside {
            Some((from, h2c)) if place >= from => (Some(STREAMS_BESIDE), h2c),
            _ => (self.streams, self.to),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// One more.
    pub(crate) fn add(&mut self, poll: &Poll, round: &mut Round) -> io::Result<()> {
        let client = self.connect(poll, self.clients.len(), round)?;
        self.clients.push(Some(client));
        Ok(())
    }

    /// A new connection, its first request on the way. The clock of that request runs while the connection is made.
    fn connect(&self, poll: &Poll, place: usize, round: &mut Round) -> io::Result<Client> {
        let mut out = Vec::new();
        let (streams, to) = self.protocol(place);
        let talk = match streams {
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
        match socket.connect(&to.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        let socket = TcpStream::from(socket);
        let stream = if self.tls {
            Wire::encrypted(socket, streams.is_some())
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
        let Some(client) = self.clients.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        let outcome = match client.serve(happening, round, buffer) {
            Ok(Still::Open) => Ok(()),
            Ok(Still::Ended) if self.close && round.goes_on() => {
                let client = self
                    .connect(poll, place, round)
                    .map_err(|error| format!("connecting to {}: {error}", self.to))?;
                self.clients[place] = Some(client);
                Ok(())
            }
            Ok(Still::Ended) if self.close || round.closes() => Ok(()),
            Ok(Still::Ended) => Err("closed by the proxy although it was to be kept".into()),
            Err(trouble) => Err(trouble),
        };
        let outcome = outcome.map_err(|trouble| format!("connection {place}: {trouble}"));
        self.forgive(place, outcome, round)
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
    fn under_way(&self) -> usize {
        match self {
            Self::Http1(exchange) => usize::from(exchange.is_under_way()),
            Self::Http2(session) => session.under_way(),
        }
    }

    fn waits_since(&self) -> Option<Instant> {
        match self {
            Self::Http1(exchange) => exchange.waits_since(),
            Self::Http2(session) => session.waits_since(),
        }
    }

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
