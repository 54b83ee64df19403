//! The load: clients that ask again as soon as they are answered, in one thread with the origins.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::h2c::Session;
use crate::http1::Exchange;
use crate::origin::Origins;
use crate::poll::{Happening, Poll, Whose};
use crate::workload::{Requests, Workload};

/// No answer for so long, and the run has failed. Longer than anything but a stuck proxy takes, valgrind included.
const STUCK: Duration = Duration::from_secs(10);
/// What is under way at the end of a run has so long to finish, so that the next run meets a quiet proxy.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Read at a time; large, so that megabytes do not cost the load more than the proxy.
const READ_BUFFER: usize = 256 * 1024;
/// Latencies of one run; room for all that a core can answer in a few seconds.
const LATENCIES: usize = 2_000_000;

/// Set when the process was told to stop.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// This process's half of every run: its sockets and the origins.
pub(crate) struct Bench {
    poll: Poll,
    pub(crate) origins: Origins,
    happenings: Vec<Happening>,
    buffer: Vec<u8>,
}

/// What the connections of a run share: what to ask next, and what came of it.
pub(crate) struct Round {
    pub(crate) requests: Requests,
    /// Each connection asks once.
    pub(crate) one_each: bool,
    phase: Phase,
    counting: bool,
    under_way: usize,
    /// Requests that may still be begun.
    budget: u64,
    answers: u64,
    /// Nanoseconds; capped at four seconds.
    latencies: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Whoever is answered asks again.
    Going,
    /// Nobody asks, everybody stays.
    Resting,
    /// Nobody asks any more, and a connection may end.
    Closing,
}

impl Round {
    fn new(requests: Requests, budget: u64, one_each: bool) -> Self {
        Self {
            requests,
            one_each,
            phase: Phase::Going,
            counting: false,
            under_way: 0,
            budget,
            answers: 0,
            latencies: Vec::new(),
        }
    }

    /// A request is begun now; `None` once the run is over.
    pub(crate) fn begin(&mut self) -> Option<Instant> {
        if self.phase != Phase::Going || self.budget == 0 {
            return None;
        }
        self.budget -= 1;
        self.under_way += 1;
        Some(Instant::now())
    }

    /// The answer to a request has arrived whole.
    pub(crate) fn finish(&mut self, began: Instant) {
        self.under_way -= 1;
        self.answers += 1;
        if self.counting && self.latencies.len() < LATENCIES {
            self.latencies
                .push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }
}

/// What a measured stretch of load showed.
pub(crate) struct Stretch {
    /// Answers, each with status 200 and its whole body.
    pub(crate) answers: u64,
    /// How long it lasted.
    pub(crate) lasted: Duration,
    /// Nanoseconds, sorted.
    pub(crate) latencies: Vec<u32>,
    /// Answers by v1 and by v2.
    pub(crate) by_version: [u64; 2],
}

/// The clients of one run.
struct Clients {
    to: SocketAddr,
    close: bool,
    streams: Option<usize>,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    talk: Talk,
    out: Vec<u8>,
    sent: usize,
}

enum Talk {
    Http1(Exchange),
    Http2(Session),
}

impl Bench {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let origins = Origins::open(&poll)?;
        Ok(Self {
            poll,
            origins,
            happenings: Vec::new(),
            buffer: vec![0; READ_BUFFER],
        })
    }

    /// Loads `to` for `warm_up`, then for `measured`, and tells about the second stretch. `mark` is called at its two ends.
    pub(crate) fn load<T>(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        warm_up: Duration,
        measured: Duration,
        mut mark: impl FnMut() -> T,
    ) -> Result<(Stretch, T, T), String> {
        let mut round = Round::new(requests(workload, to), u64::MAX, workload.close);
        round.latencies.reserve(LATENCIES);
        let mut clients = Clients::open(&self.poll, workload, to, &mut round)?;
        self.turn_until(&mut clients, &mut round, Some(warm_up), |_| false)?;

        let (from, answers, origins) = (Instant::now(), round.answers, self.origins.answered);
        let before = mark();
        round.counting = true;
        self.turn_until(&mut clients, &mut round, Some(measured), |_| false)?;
        let (lasted, after) = (from.elapsed(), mark());
        round.counting = false;
        let answers = round.answers - answers;
        let by_version = [0, 1].map(|i| self.origins.answered[i] - origins[i]);

        self.finish(&mut clients, &mut round)?;
        let mut latencies = std::mem::take(&mut round.latencies);
        latencies.sort_unstable();
        Ok((
            Stretch {
                answers,
                lasted,
                latencies,
                by_version,
            },
            before,
            after,
        ))
    }

    /// Makes exactly so many requests.
    pub(crate) fn exactly(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        requests_in_all: u64,
    ) -> Result<(), String> {
        let mut round = Round::new(requests(workload, to), requests_in_all, workload.close);
        let mut clients = Clients::open(&self.poll, workload, to, &mut round)?;
        self.turn_until(&mut clients, &mut round, None, |round| {
            round.answers == requests_in_all
        })
    }

    /// Opens so many connections, makes one request on each and calls `then` while all of them are open and idle.
    pub(crate) fn idle<T>(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        connections: usize,
        settle: Duration,
        then: impl FnOnce() -> T,
    ) -> Result<T, String> {
        /// Few enough that neither a backlog nor a pool of connections to the origins becomes what is measured.
        const AT_A_TIME: usize = 32;
        let mut round = Round::new(requests(workload, to), u64::MAX, true);
        let mut clients = Clients {
            to,
            close: false,
            streams: None,
            clients: Vec::with_capacity(connections),
        };
        while clients.clients.len() < connections {
            let wave = AT_A_TIME.min(connections - clients.clients.len());
            for _ in 0..wave {
                clients
                    .add(&self.poll, &mut round)
                    .map_err(|error| format!("connecting to {to}: {error}"))?;
            }
            self.turn_until(&mut clients, &mut round, None, |round| round.under_way == 0)?;
        }
        round.phase = Phase::Resting;
        self.turn_until(&mut clients, &mut round, Some(settle), |_| false)?;
        Ok(then())
    }

    /// Lets what is under way end, so that no contender has to clean up during another's run.
    fn finish(&mut self, clients: &mut Clients, round: &mut Round) -> Result<(), String> {
        round.phase = Phase::Closing;
        let from = Instant::now();
        self.turn_until(clients, round, None, |round| {
            round.under_way == 0 || from.elapsed() > LAST_ANSWERS
        })?;
        match round.under_way {
            0 => Ok(()),
            left => Err(format!(
                "{left} requests were not answered within {LAST_ANSWERS:?} after the run"
            )),
        }
    }

    /// Serves every socket until the time is over or `done` holds.
    fn turn_until(
        &mut self,
        clients: &mut Clients,
        round: &mut Round,
        time: Option<Duration>,
        done: impl Fn(&Round) -> bool,
    ) -> Result<(), String> {
        let from = Instant::now();
        let mut last = (from, round.answers);
        while !done(round) {
            self.turn(clients, round)?;
            let now = Instant::now();
            if time.is_some_and(|time| now - from >= time) {
                return Ok(());
            }
            if round.answers != last.1 || round.phase != Phase::Going {
                last = (now, round.answers);
            } else if now - last.0 > STUCK {
                return Err(format!(
                    "no answer for {STUCK:?} with {} requests under way",
                    round.under_way
                ));
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
        }
        Ok(())
    }

    fn turn(&mut self, clients: &mut Clients, round: &mut Round) -> Result<(), String> {
        self.poll
            .turn(&mut self.happenings)
            .map_err(|error| format!("epoll: {error}"))?;
        for happening in &self.happenings {
            match happening.whose {
                Whose::Door(door) => {
                    self.origins
                        .accept(&self.poll, door)
                        .map_err(|error| format!("origin: accept: {error}"))?;
                }
                Whose::Origin(place) => self.origins.serve(place, *happening),
                Whose::Client(place) => {
                    clients.serve(place, *happening, &self.poll, round, &mut self.buffer)?
                }
            }
        }
        Ok(())
    }
}

impl Clients {
    fn open(
        poll: &Poll,
        workload: &Workload,
        to: SocketAddr,
        round: &mut Round,
    ) -> Result<Self, String> {
        let mut clients = Self {
            to,
            close: workload.close,
            streams: workload.streams,
            clients: Vec::with_capacity(workload.connections),
        };
        for _ in 0..workload.connections {
            clients
                .add(poll, round)
                .map_err(|error| format!("connecting to {to}: {error}"))?;
        }
        Ok(clients)
    }

    fn add(&mut self, poll: &Poll, round: &mut Round) -> io::Result<()> {
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
        let mut client = Client {
            stream: socket.into(),
            talk,
            out,
            sent: 0,
        };
        poll.watch(&client.stream, Whose::Client(place))?;
        client.flush()?;
        Ok(client)
    }

    fn serve(
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
            Still::Ended if self.close && round.phase == Phase::Going && round.budget > 0 => {
                self.clients[place] = self
                    .connect(poll, place, round)
                    .map_err(|error| format!("connecting to {}: {error}", self.to))?;
                Ok(())
            }
            Still::Ended if self.close || round.phase == Phase::Closing => Ok(()),
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
        if happening.writable && self.sent < self.out.len() {
            self.flush().map_err(|error| format!("writing: {error}"))?;
        }
        while happening.readable {
            let read = match self.stream.read(buffer) {
                Ok(0) if self.talk.is_under_way() => {
                    return Err("closed before the answer's end".into());
                }
                Ok(0) => return Ok(Still::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) if !self.talk.is_under_way() => return Ok(Still::Ended),
                Err(error) => return Err(format!("reading: {error}")),
            };
            self.talk.take(&buffer[..read], &mut self.out, round)?;
            self.flush().map_err(|error| format!("writing: {error}"))?;
            // The socket was emptied: the next bytes will be a new edge.
            if read < buffer.len() && !happening.ended {
                break;
            }
        }
        Ok(Still::Open)
    }

    fn flush(&mut self) -> io::Result<()> {
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

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, round: &mut Round) -> Result<(), String> {
        match self {
            Self::Http1(exchange) => exchange.take(bytes, out, round),
            Self::Http2(session) => session.take(bytes, out, round),
        }
    }
}

fn requests(workload: &Workload, to: SocketAddr) -> Requests {
    match workload.streams {
        None => Requests::http1(workload, to),
        Some(_) => Requests::http2(workload, to),
    }
}
