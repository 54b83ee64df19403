//! Many users at once, every request recorded. Promises are checked against this record, not against the proxy's own
//! metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Conn, H2Client};

/// One request as its client saw it.
#[derive(Debug, Clone)]
pub struct Record {
    pub user: String,
    /// Status and version, or what broke.
    pub outcome: Result<(u16, String), String>,
    /// Whether the connection had to be opened anew for it, the first one aside.
    pub reconnected: bool,
}

impl Record {
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, Ok((200, _)))
    }
}

/// Users that go on asking until they are told to stop.
pub struct Load {
    users: Vec<JoinHandle<Vec<Record>>>,
    stop: Arc<AtomicBool>,
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
        Self { users, stop }
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
        let outcome = ask(&mut opened);
        let reconnected = opened && !records.is_empty();
        let failed = outcome.is_err();
        records.push(Record {
            user: user.to_owned(),
            outcome,
            reconnected,
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
