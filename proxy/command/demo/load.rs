//! The demo's users: a bounded number of requests a second over keep-alive connections, each request by a user drawn
//! at random.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use super::Script;
use super::versions::{NAMES, VERSION_HEADER};
use super::witness::{Seen, Witness};

/// A user waits no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A user whose connection was refused tries again after this.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Everybody who sends requests.
#[derive(Debug)]
pub(super) struct Load {
    connections: JoinSet<()>,
    stopping: Rc<Cell<bool>>,
}

impl Load {
    /// Begins to send to the proxy; the witness is told what comes back.
    pub(super) fn start(
        script: &Script,
        proxy: SocketAddr,
        witness: &Rc<RefCell<Witness>>,
    ) -> Self {
        let mut connections = JoinSet::new();
        let stopping = Rc::new(Cell::new(false));
        let pace =
            Duration::from_secs(1) * u32::try_from(script.connections).unwrap_or(1) / script.rate;
        for number in 0..script.connections {
            let line = Line {
                proxy,
                users: script.users,
                witness: Rc::clone(witness),
                stopping: Rc::clone(&stopping),
            };
            let first = pace.mul_f64(number as f64 / script.connections as f64);
            connections.spawn_local(line.run(pace, first));
        }
        Self {
            connections,
            stopping,
        }
    }

    /// Lets every request that is under way end, and sends no more.
    pub(super) async fn stop(mut self) {
        self.stopping.set(true);
        while self.connections.join_next().await.is_some() {}
    }
}

/// One connection, and the users who send over it one after the other.
struct Line {
    proxy: SocketAddr,
    users: usize,
    witness: Rc<RefCell<Witness>>,
    stopping: Rc<Cell<bool>>,
}

impl Line {
    async fn run(self, pace: Duration, first: Duration) {
        let mut ticks = interval_at(tokio::time::Instant::now() + first, pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open: Option<SendRequest<Empty<Bytes>>> = None;
        loop {
            ticks.tick().await;
            if self.stopping.get() {
                return;
            }
            let user = fastrand::usize(..self.users);
            let sent = Instant::now();
            // Seen only now, or while sending: either way the proxy closed a connection that had done no wrong.
            if open.take_if(|line| line.is_closed()).is_some() {
                self.witness.borrow_mut().connection_closed();
            }
            let answer = timeout(PATIENCE, ask(&mut open, self.proxy, user)).await;
            let seen = Seen {
                user,
                sent,
                answered: Instant::now(),
            };
            match answer {
                Ok(Ok(version)) => self.witness.borrow_mut().answered(seen, version),
                Ok(Err(why)) => self.fail(&mut open, &why).await,
                Err(_) => {
                    self.fail(&mut open, &format!("no answer in {PATIENCE:?}"))
                        .await
                }
            }
        }
    }

    async fn fail(&self, open: &mut Option<SendRequest<Empty<Bytes>>>, why: &str) {
        self.witness.borrow_mut().failed(why);
        *open = None;
        sleep(TRY_AGAIN).await;
    }
}

/// One request of a user: which version answered, as an index into [`NAMES`], or why that is not known.
async fn ask(
    open: &mut Option<SendRequest<Empty<Bytes>>>,
    proxy: SocketAddr,
    user: usize,
) -> Result<usize, String> {
    let line = match open {
        Some(line) => line,
        None => open.insert(
            connect(proxy)
                .await
                .map_err(|error| format!("cannot connect: {error}"))?,
        ),
    };
    line.ready().await.map_err(|error| error.to_string())?;
    let request = Request::get("/")
        .header(header::HOST, proxy.to_string())
        .header("x-user-id", user_id(user))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = line
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    body.collect()
        .await
        .map_err(|error| format!("the answer broke off: {error}"))?;
    if !head.status.is_success() {
        return Err(format!("answered {}", head.status));
    }
    let version = head.headers.get(VERSION_HEADER);
    NAMES
        .iter()
        .position(|name| version.is_some_and(|version| version == name))
        .ok_or_else(|| "the answer names no version".to_owned())
}

/// A user's ID, as it is sent.
pub(super) fn user_id(user: usize) -> String {
    format!("user-{user}")
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (line, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await; // its end shows at the next request
    });
    Ok(line)
}

/// The status of one GET, if it is answered.
pub(super) async fn status(from: SocketAddr, path: &str) -> Option<u16> {
    let asked = async {
        let mut line = connect(from).await.ok()?;
        let request = Request::get(path)
            .header(header::HOST, from.to_string())
            .body(Empty::new())
            .ok()?;
        Some(line.send_request(request).await.ok()?.status().as_u16())
    };
    timeout(PATIENCE, asked).await.ok()?
}
