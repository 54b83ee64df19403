//! Many users at once, every request recorded. Promises are checked against this record, not against the proxy's own
//! metrics. [`Load::http1`] and [`Load::h2c`] ask as fast as they are answered; [`Steady`] asks so many times a second.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait::eventually;
use super::{Conn, H2Client};

/// One request as its client saw it.
#[derive(Debug, Clone)]
pub struct Record {
    pub user: String,
    /// Status and version, or what broke.
    pub outcome: Result<(u16, String), String>,
    /// Whether the connection had to be opened anew for it, the first one aside.
    pub reconnected: bool,
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was whole, or it was clear that there is none.
    pub ended: Instant,
}

impl Record {
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, Ok((200, _)))
    }

    /// Whether this version answered.
    pub fn is_of(&self, version: &str) -> bool {
        matches!(&self.outcome, Ok((_, by)) if by == version)
    }
}

/// What a row of records tells, in whatever order they are.
pub trait Tells {
    fn records(&self) -> &[Record];

    /// When the first answer came that is no 200, or it was clear that none comes.
    fn first_failure(&self) -> Option<Instant> {
        let bad = self.records().iter().filter(|record| !record.is_good());
        bad.map(|record| record.ended).min()
    }

    /// When the last request was sent that this version answered.
    fn last_sent_to(&self, version: &str) -> Option<Instant> {
        let of = self.records().iter().filter(|record| record.is_of(version));
        of.map(|record| record.sent).max()
    }

    /// When this version's last answer came.
    fn last_answer_of(&self, version: &str) -> Option<Instant> {
        let of = self.records().iter().filter(|record| record.is_of(version));
        of.map(|record| record.ended).max()
    }

    /// Everybody that this version answered, well or badly.
    fn users_of(&self, version: &str) -> BTreeSet<&str> {
        let of = self.records().iter().filter(|record| record.is_of(version));
        of.map(|record| record.user.as_str()).collect()
    }

    /// Everybody that saw a failure.
    fn users_hit(&self) -> BTreeSet<&str> {
        let bad = self.records().iter().filter(|record| !record.is_good());
        bad.map(|record| record.user.as_str()).collect()
    }

    /// How many failures users saw.
    fn errors(&self) -> usize {
        self.records()
            .iter()
            .filter(|record| !record.is_good())
            .count()
    }
}

impl Tells for [Record] {
    fn records(&self) -> &[Record] {
        self
    }
}

/// Users that go on asking until they are told to stop.
pub struct Load {
    users: Vec<JoinHandle<Vec<Record>>>,
    stop: Arc<AtomicBool>,
    /// Requests that ended so far; counted where the load is steady.
    ended: Arc<AtomicUsize>,
}

/// So many requests a second, evenly, whatever becomes of each: request n is sent n/rate seconds after the first, by
/// user n modulo `users`, over connection n modulo `connections`. A connection that waits for an answer sends late, and
/// where it is later than [`LATEST`] the requests between are left out: no burst makes up for them.
#[derive(Debug, Clone)]
pub struct Steady {
    /// Requests a second.
    pub rate: usize,
    /// Keep-alive connections, each a thread.
    pub connections: usize,
    /// Distinct users.
    pub users: usize,
    pub method: &'static str,
    pub target: String,
    /// Further header lines.
    pub headers: Vec<String>,
}

/// A steady load is never further behind.
const LATEST: Duration = Duration::from_millis(250);
/// A refused connection is not tried again sooner.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

impl Steady {
    /// GETs of `/load`, by ten thousand users.
    pub fn new(rate: usize, connections: usize) -> Self {
        assert!(rate > 0 && connections > 0, "a load sends something");
        Self {
            rate,
            connections,
            users: 10_000,
            method: "GET",
            target: "/load".to_owned(),
            headers: Vec::new(),
        }
    }

    /// Starts it; it ends by itself at the bounds of any load.
    pub fn start(self, address: SocketAddr) -> Load {
        let (stop, ended) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (plan, begin) = (Arc::new(self), Instant::now());
        let users = (0..plan.connections)
            .map(|number| {
                let (plan, stop, ended) = (plan.clone(), stop.clone(), ended.clone());
                std::thread::spawn(move || plan.run(address, number, begin, &stop, &ended))
            })
            .collect();
        Load { users, stop, ended }
    }

    /// One connection's part.
    fn run(
        &self,
        address: SocketAddr,
        number: usize,
        begin: Instant,
        stop: &AtomicBool,
        ended: &AtomicUsize,
    ) -> Vec<Record> {
        let due_at = |turn: usize| begin + Duration::from_secs_f64(turn as f64 / self.rate as f64);
        let mut records: Vec<Record> = Vec::new();
        let mut conn: Option<Conn> = None;
        let mut turn = number;
        while !stop.load(SeqCst) && begin.elapsed() < MAX_TIME && turn < MAX_REQUESTS {
            let now = Instant::now();
            let due = due_at(turn);
            if due > now {
                // In short pieces, that a stop is not waited for.
                std::thread::sleep((due - now).min(AFTER_REFUSAL));
                continue;
            }
            if now - due > LATEST {
                turn += self.connections;
                continue;
            }
            let user = format!("user-{}", turn % self.users);
            let opened = conn.is_none();
            let outcome = self.ask(address, &user, &mut conn);
            let refused = opened && conn.is_none() && outcome.is_err();
            records.push(Record {
                reconnected: opened && !records.is_empty(),
                user,
                outcome,
                sent: now,
                ended: Instant::now(),
            });
            ended.fetch_add(1, SeqCst);
            if refused {
                std::thread::sleep(AFTER_REFUSAL);
            }
            turn += self.connections;
        }
        records
    }

    fn ask(
        &self,
        address: SocketAddr,
        user: &str,
        conn: &mut Option<Conn>,
    ) -> Result<(u16, String), String> {
        let mut open = match conn.take() {
            Some(open) => open,
            None => Conn::try_open(address).map_err(|e| e.to_string())?,
        };
        let id = format!("x-user-id: {user}");
        let mut headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        headers.push(&id);
        let answer = open
            .try_request(self.method, &self.target, &headers, b"")
            .map_err(|e| format!("{e} ({:?})", e.kind()))?;
        if !answer.header("connection").eq_ignore_ascii_case("close") {
            *conn = Some(open);
        }
        Ok((answer.status, answer.version().to_owned()))
    }
}

/// The bounds of any load.
const MAX_TIME: Duration = Duration::from_secs(120);
const MAX_REQUESTS: usize = 100_000;

impl Load {
    /// So many users, each on a keep-alive connection of its own, each with a pause between its requests.
    pub fn http1(address: SocketAddr, users: usize, pause: Duration) -> Self {
        Self::start(users, move |user, stop| {
            let header = format!("x-user-id: {user}");
            let mut conn = None;
            each_request(user, stop, pause, move |opened| {
                if conn.is_none() {
                    conn = Some(Conn::try_open(address).map_err(|e| e.to_string())?);
                    *opened = true;
                }
                let open = conn.as_mut().ok_or("just opened")?;
                match open.try_request("GET", "/load", &[&header], b"") {
                    Ok(answer) => {
                        if answer.header("connection").eq_ignore_ascii_case("close") {
                            conn = None;
                        }
                        Ok((answer.status, answer.version().to_owned()))
                    }
                    Err(e) => {
                        conn = None;
                        Err(format!("{e} ({:?})", e.kind()))
                    }
                }
            })
        })
    }

    /// The same over HTTP/2.
    pub fn h2c(address: SocketAddr, users: usize, pause: Duration) -> Self {
        Self::start(users, move |user, stop| {
            let header = format!("x-user-id: {user}");
            let mut conn = None;
            each_request(user, stop, pause, move |opened| {
                if conn.is_none() {
                    conn = Some(H2Client::try_open(address)?);
                    *opened = true;
                }
                let open = conn.as_mut().ok_or("just opened")?;
                let answer = open.try_request("GET", "/load", &[&header], b"");
                if answer.is_err() {
                    conn = None;
                }
                answer.map(|a| (a.status, a.version().to_owned()))
            })
        })
    }

    /// Each user is a thread that runs this until the flag.
    pub fn start<F>(users: usize, run: F) -> Self
    where
        F: Fn(&str, &AtomicBool) -> Vec<Record> + Send + Sync + 'static,
    {
        let (stop, run) = (Arc::new(AtomicBool::new(false)), Arc::new(run));
        let users = (0..users)
            .map(|n| {
                let (stop, run) = (stop.clone(), run.clone());
                std::thread::spawn(move || run(&format!("user-{n}"), &stop))
            })
            .collect();
        Self {
            users,
            stop,
            ended: Arc::default(),
        }
    }

    /// Waits until a steady load has had so many answers in all, or errors in their place.
    #[track_caller]
    pub fn reaches(&self, answers: usize) {
        eventually("the load is answered", MAX_TIME, || {
            match self.ended.load(SeqCst) {
                ended if ended >= answers => Ok(()),
                ended => Err(format!("{ended} answers of {answers}")),
            }
        });
    }

    /// Stops everybody and collects what they saw.
    pub fn finish(self) -> Vec<Record> {
        self.stop.store(true, SeqCst);
        self.users
            .into_iter()
            .flat_map(|u| u.join().expect("a user does not panic"))
            .collect()
    }
}

/// Asks again and again; `ask` says through its argument when it had to open a connection.
pub fn each_request(
    user: &str,
    stop: &AtomicBool,
    pause: Duration,
    mut ask: impl FnMut(&mut bool) -> Result<(u16, String), String>,
) -> Vec<Record> {
    let start = Instant::now();
    let mut records: Vec<Record> = Vec::new();
    while !stop.load(SeqCst) && start.elapsed() < MAX_TIME && records.len() < MAX_REQUESTS {
        let mut opened = false;
        let sent = Instant::now();
        let outcome = ask(&mut opened);
        let reconnected = opened && !records.is_empty();
        let failed = outcome.is_err();
        records.push(Record {
            user: user.to_owned(),
            outcome,
            reconnected,
            sent,
            ended: Instant::now(),
        });
        // A refused connection would otherwise be tried thousands of times.
        std::thread::sleep(if failed {
            pause.max(Duration::from_millis(20))
        } else {
            pause
        });
    }
    records
}

/// The failures of a record, short enough for a message.
pub fn failures(records: &[Record]) -> Vec<String> {
    let bad = records.iter().filter(|r| !r.is_good());
    bad.take(10)
        .map(|r| format!("{}: {:?}", r.user, r.outcome))
        .collect()
}
