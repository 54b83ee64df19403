//! The demo's users: a bounded number of requests a second over keep-alive connections, each request by a user drawn
//! at random.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use super::Script;
use super::versions::{NAMES, NUMBER_HEADER, VERSION_HEADER};
use super::witness::{Seen, Witness};

/// A user waits no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The demo waits no longer for the admin API.
const ADMIN_PATIENCE: Duration = Duration::from_secs(1);

/// A user whose connection was refused tries again after this.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The longest answer of the admin API that is read.
const ADMIN_BYTES: usize = 1 << 20;

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
        let numbers = Rc::new(Cell::new(0));
        let pace =
            Duration::from_secs(1) * u32::try_from(script.connections).unwrap_or(1) / script.rate;
        for number in 0..script.connections {
            let line = Line {
                proxy,
                users: script.users,
                witness: Rc::clone(witness),
                stopping: Rc::clone(&stopping),
                numbers: Rc::clone(&numbers),
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
    /// Of the request that was sent last, on any line.
    numbers: Rc<Cell<u64>>,
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
            let number = self.numbers.get() + 1;
            self.numbers.set(number);
            let sent = Instant::now();
            // Seen only now, or while sending: either way the proxy closed a connection that had done no wrong.
            if open.take_if(|line| line.is_closed()).is_some() {
                self.witness.borrow_mut().connection_closed();
            }
            let answer = timeout(PATIENCE, ask(&mut open, self.proxy, user, number)).await;
            let seen = Seen {
                number,
                user,
                sent,
                answered: Instant::now(),
            };
            match answer {
                Ok(Ok(Answer::Good(version))) => {
                    self.witness.borrow_mut().answered(seen, version);
                }
                Ok(Ok(Answer::Bad(status))) => {
                    let why = format!("answered {status}");
                    self.witness.borrow_mut().failed(number, user, &why);
                }
                Ok(Err(why)) => self.fail(&mut open, (number, user), &why).await,
                Err(_) => {
                    self.fail(
                        &mut open,
                        (number, user),
                        &format!("no answer in {PATIENCE:?}"),
                    )
                    .await
                }
            }
        }
    }

    async fn fail(
        &self,
        open: &mut Option<SendRequest<Empty<Bytes>>>,
        (number, user): (u64, usize),
        why: &str,
    ) {
        self.witness.borrow_mut().failed(number, user, why);
        *open = None;
        sleep(TRY_AGAIN).await;
    }
}

/// What came back.
#[derive(Debug)]
enum Answer {
    /// From this version, an index into [`NAMES`].
    Good(usize),
    /// An error; the connection is as good as before.
    Bad(StatusCode),
}

/// One request of a user, or why it has no answer.
async fn ask(
    open: &mut Option<SendRequest<Empty<Bytes>>>,
    proxy: SocketAddr,
    user: usize,
    number: u64,
) -> Result<Answer, String> {
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
        .header(NUMBER_HEADER, number)
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
        return Ok(Answer::Bad(head.status));
    }
    let version = head.headers.get(VERSION_HEADER);
    NAMES
        .iter()
        .position(|name| version.is_some_and(|version| version == name))
        .map(Answer::Good)
        .ok_or_else(|| "the answer names no version".to_owned())
}

/// A user's ID, as it is sent.
pub(super) fn user_id(user: usize) -> String {
    format!("user-{user}")
}

async fn connect<B>(to: SocketAddr) -> Result<SendRequest<B>, Box<dyn std::error::Error>>
where
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (line, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await; // its end shows at the next request
    });
    Ok(line)
}

/// A request to the admin API: the status and the body of its answer, if it is answered.
pub(super) async fn ask_admin(
    admin: SocketAddr,
    method: &str,
    path: &str,
    body: &'static str,
) -> Option<(u16, Bytes)> {
    let asked = async {
        let mut line = connect(admin).await.ok()?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, admin.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .ok()?;
        let (head, body) = line.send_request(request).await.ok()?.into_parts();
        let body = Limited::new(body, ADMIN_BYTES).collect().await.ok()?;
        Some((head.status.as_u16(), body.to_bytes()))
    };
    timeout(ADMIN_PATIENCE, asked).await.ok()?
}
