//! The load: clients that ask again as soon as they are answered, in one thread with the origins.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clients::Clients;
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
    /// The same for connections of HTTP/2.
    pub(crate) blocks: Requests,
    /// Each connection asks once.
    pub(crate) one_each: bool,
    phase: Phase,
    counting: bool,
    under_way: usize,
    /// Requests that may still be begun.
    budget: u64,
    pace: Option<Pace>,
    /// What went wrong, and how often, where the callers go on all the same; `None`: the first trouble ends the run.
    forgiven: Option<BTreeMap<String, u64>>,
    answers: u64,
    /// Nanoseconds; capped at four seconds.
    latencies: Vec<u32>,
}

/// Requests come by the clock, answered or not.
struct Pace {
    next: Instant,
    every: Duration,
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
    fn new(workload: &Workload, to: SocketAddr, budget: u64, one_each: bool) -> Self {
        Self {
            requests: Requests::http1(workload, to),
            blocks: Requests::http2(workload, to),
            one_each,
            phase: Phase::Going,
            counting: false,
            under_way: 0,
            budget,
            pace: None,
            forgiven: None,
            answers: 0,
            latencies: Vec::new(),
        }
    }

    /// Whether more requests may be begun.
    pub(crate) fn goes_on(&self) -> bool {
        self.phase == Phase::Going && self.budget > 0
    }

    /// Whether a connection may end without being missed.
    pub(crate) fn closes(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether requests come by the clock, and one should have begun by now.
    pub(crate) fn is_due(&self) -> bool {
        let due = |pace: &Pace| pace.next <= Instant::now();
        self.goes_on() && self.pace.as_ref().is_some_and(due)
    }

    /// A request is begun now; `None` once the run is over, or where none is due. Its clock runs since it was due.
    pub(crate) fn begin(&mut self) -> Option<Instant> {
        if !self.goes_on() || self.pace.is_some() && !self.is_due() {
            return None;
        }
        self.budget -= 1;
        self.under_way += 1;
        let Some(pace) = &mut self.pace else {
            return Some(Instant::now());
        };
        let due = pace.next;
        pace.next += pace.every;
        Some(due)
    }

    /// Whether the callers go on whatever becomes of their requests.
    pub(crate) fn forgives(&self) -> bool {
        self.forgiven.is_some()
    }

    /// So many requests end without an answer, for this reason. `Err` where that ends the run.
    pub(crate) fn forgive(&mut self, requests: usize, trouble: &str) -> Result<(), String> {
        let Some(forgiven) = &mut self.forgiven else {
            return Err(trouble.to_owned());
        };
        self.under_way -= requests;
        // A connection that broke between two requests is counted as one.
        *forgiven.entry(kind(trouble)).or_default() += requests.max(1) as u64;
        Ok(())
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

/// A trouble without what differs from one connection to the next.
fn kind(trouble: &str) -> String {
    let mut kind = String::new();
    // "connection 7: stream 15 was …" and "… with code 11": a small number that is no name is dropped.
    let named = ["stream", "connection"];
    let mut before = "";
    for word in trouble.split(' ') {
        let number = word
            .trim_end_matches(':')
            .bytes()
            .all(|b| b.is_ascii_digit());
        if !(number && named.contains(&before)) {
            kind.push_str(if kind.is_empty() { "" } else { " " });
            kind.push_str(word);
        }
        before = word;
    }
    kind.trim_start_matches("connection ").to_owned()
}

/// Callers that go on whatever becomes of their requests.
pub(crate) struct Honest {
    clients: Clients,
    round: Round,
}

/// What honest callers met in a stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Answers, each with status 200 and its whole body.
    pub(crate) answers: u64,
    /// Requests that had no such answer, by the reason.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) lasted: Duration,
    /// Nanoseconds, sorted.
    pub(crate) latencies: Vec<u32>,
}

impl Met {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.lasted.as_secs_f64().max(1e-9)
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
        let mut round = Round::new(workload, to, u64::MAX, workload.close);
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

    /// So many requests a second by the clock, until `over`; tells the latencies after the warm-up, in nanoseconds, sorted.
    pub(crate) fn by_the_clock(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        rate: f64,
        warm_up: Duration,
        begin: impl FnOnce(),
        over: impl Fn() -> bool,
    ) -> Result<Vec<u32>, String> {
        let mut round = Round::new(workload, to, u64::MAX, false);
        round.latencies.reserve(LATENCIES);
        round.pace = Some(Pace {
            next: Instant::now(),
            every: Duration::from_secs_f64(1.0 / rate),
        });
        let mut clients = Clients::open(&self.poll, workload, to, &mut round)?;
        self.turn_until(&mut clients, &mut round, Some(warm_up), |_| false)?;
        begin();
        round.counting = true;
        self.turn_until(&mut clients, &mut round, None, |_| over())?;
        round.counting = false;
        self.finish(&mut clients, &mut round)?;
        let mut latencies = std::mem::take(&mut round.latencies);
        latencies.sort_unstable();
        Ok(latencies)
    }

    /// Honest callers connect: HTTP/1.1 to the one address, the workload's HTTP/2 beside it to the other.
    pub(crate) fn gather(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        h2c: SocketAddr,
    ) -> Result<Honest, String> {
        let mut round = Round::new(workload, to, u64::MAX, false);
        round.forgiven = Some(BTreeMap::new());
        let clients = Clients::open_both(&self.poll, workload, to, h2c, &mut round)?;
        Ok(Honest { clients, round })
    }

    /// They ask for so long: so many requests a second by the clock, or each as soon as it is answered.
    pub(crate) fn ask(
        &mut self,
        honest: &mut Honest,
        rate: Option<f64>,
        time: Duration,
    ) -> Result<Met, String> {
        let Honest { clients, round } = honest;
        round.pace = rate.map(|rate| Pace {
            next: Instant::now(),
            every: Duration::from_secs_f64(1.0 / rate.max(1.0)),
        });
        round.latencies.clear();
        round.latencies.reserve(LATENCIES);
        round.forgiven = Some(BTreeMap::new());
        round.counting = true;
        clients.rouse(round)?;
        let (from, answers) = (Instant::now(), round.answers);
        self.turn_until(clients, round, Some(time), |_| false)?;
        let mut latencies = std::mem::take(&mut round.latencies);
        latencies.sort_unstable();
        Ok(Met {
            answers: round.answers - answers,
            failures: round.forgiven.replace(BTreeMap::new()).unwrap_or_default(),
            lasted: from.elapsed(),
            latencies,
        })
    }

    /// Makes exactly so many requests.
    pub(crate) fn exactly(
        &mut self,
        workload: &Workload,
        to: SocketAddr,
        requests_in_all: u64,
    ) -> Result<(), String> {
        let mut round = Round::new(workload, to, requests_in_all, workload.close);
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
        let mut round = Round::new(workload, to, u64::MAX, true);
        let mut clients = Clients::none(workload, to);
        while clients.count() < connections {
            let wave = AT_A_TIME.min(connections - clients.count());
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
            let may_be_stuck = round.phase == Phase::Going && round.forgiven.is_none();
            if round.answers != last.1 || !may_be_stuck {
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
        clients.renew(&self.poll, round)?;
        clients.ask(round)
    }
}
