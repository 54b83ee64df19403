//! What is open for the whole time of `--edits` beside the load: a WebSocket and a gRPC-like stream, each with an origin
//! that echoes, and the editor, who also asks on one old connection which edit is in force.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

/// Between two messages on a stream.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two questions which edit is in force.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// The longest that a message or an answer takes before the run has failed: longer than a busy machine stops anybody.
const PATIENCE: Duration = Duration::from_secs(30);
/// What `--edits` holds every edit to.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);

/// The thread that all of it lives on.
pub(crate) struct Company {
    handle: Handle,
    /// Where the WebSocket's origin listens.
    pub(crate) socket: SocketAddr,
    /// Where the stream's origin listens.
    pub(crate) calls: SocketAddr,
    echoes: Arc<Echoes>,
    broken: Arc<OnceLock<String>>,
}

impl Company {
    /// Opens the origins.
    pub(crate) fn open() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let door = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let (socket, calls) = (door()?, door()?);
        let company = Self {
            handle: runtime.handle().clone(),
            socket: socket.local_addr()?,
            calls: calls.local_addr()?,
            echoes: Arc::default(),
            broken: Arc::default(),
        };
        runtime.spawn(echo_sockets(socket));
        runtime.spawn(echo_calls(calls));
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(company)
    }

    /// Opens both streams through the proxy, for as long as the process lives.
    pub(crate) fn join(&self, proxy: SocketAddr) {
        self.keep(
            "the WebSocket",
            talk_over_socket(proxy, self.echoes.clone()),
        );
        self.keep("the stream", talk_over_call(proxy, self.echoes.clone()));
    }

    fn keep(&self, who: &'static str, talk: impl Future<Output = Trouble> + Send + 'static) {
        let broken = self.broken.clone();
        self.handle.spawn(async move {
            let trouble = talk.await;
            // Only the first trouble is told.
            let _ = broken.set(format!("{who}: {trouble}"));
        });
    }

    /// What broke, where something did.
    pub(crate) fn broken(&self) -> Option<&String> {
        self.broken.get()
    }

    /// Messages echoed so far by WebSocket and stream.
    pub(crate) fn echoes(&self) -> [u64; 2] {
        [&self.echoes.sockets, &self.echoes.calls].map(|count| count.load(Ordering::Relaxed))
    }

    /// The slowest of them, there and back.
    pub(crate) fn longest_echo(&self) -> Duration {
        Duration::from_nanos(self.echoes.longest.load(Ordering::Relaxed))
    }

    /// Runs this beside the load.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Waits for what was spawned.
    pub(crate) fn result<T>(&self, of: tokio::task::JoinHandle<T>) -> Result<T, String> {
        self.handle.block_on(of).map_err(|error| error.to_string())
    }
}

/// What the streams have carried.
#[derive(Default)]
struct Echoes {
    sockets: AtomicU64,
    calls: AtomicU64,
    /// Nanoseconds.
    longest: AtomicU64,
}

impl Echoes {
    fn count(&self, of: &AtomicU64, sent: Instant) {
        of.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(took, Ordering::Relaxed);
    }
}

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Writes the files one after the other, each once the one before is in force, and tells how long each took.
pub(crate) async fn edit(
    file: std::path::PathBuf,
    proxy: SocketAddr,
    texts: Vec<(u64, String)>,
) -> Result<Vec<Duration>, String> {
    let run = async {
        let stream = TcpStream::connect(proxy).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut took = Vec::new();
        for (number, text) in texts {
            replace(&file, &text)?;
            let written = Instant::now();
            while in_force(&mut sender).await? != number {
                if written.elapsed() > IN_FORCE_WITHIN {
                    return Err(
                        format!("edit {number} is not in force after {IN_FORCE_WITHIN:?}").into(),
                    );
                }
                sleep(ASK_EVERY).await;
            }
            took.push(written.elapsed());
        }
        Ok(took)
    };
    run.await
        .map_err(|trouble: Trouble| format!("the editor: {trouble}"))
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

/// The number in the answer of the route `revision`.
async fn in_force(
    sender: &mut hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
) -> Result<u64, Trouble> {
    let request = hyper::Request::get("/revision")
        .header("host", "edits")
        .body(Empty::new())?;
    let answer = timeout(PATIENCE, async {
        sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await
    });
    let body = answer.await??.to_bytes();
    // Before the first edit there is no such route, and the origin answers.
    Ok(std::str::from_utf8(&body)?.trim().parse().unwrap_or(0))
}

async fn echo_sockets(door: TcpListener) {
    while let Ok((stream, _)) = door.accept().await {
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn talk_over_socket(proxy: SocketAddr, echoes: Arc<Echoes>) -> Trouble {
    let talk = async {
        let stream = TcpStream::connect(proxy).await?;
        let (mut socket, _) = tokio_tungstenite::client_async("ws://edits/socket", stream).await?;
        loop {
            let sent = Instant::now();
            let number = echoes.sockets.load(Ordering::Relaxed).to_string();
            socket.send(Message::text(number.clone())).await?;
            let echo = timeout(PATIENCE, socket.next()).await?;
            let echo = echo.ok_or("the WebSocket ended")??;
            if echo.to_text()? != number {
                return Err::<(), Trouble>(format!("{echo:?} instead of {number}").into());
            }
            echoes.count(&echoes.sockets, sent);
            sleep(PAUSE).await;
        }
    };
    talk.await.expect_err("it goes on until it breaks")
}

async fn echo_calls(door: TcpListener) {
    while let Ok((stream, _)) = door.accept().await {
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await?;
            while let Some(call) = connection.accept().await {
                let (request, mut answer) = call?;
                tokio::spawn(async move {
                    let mut messages = request.into_body();
                    let mut out = answer.send_response(http::Response::new(()), false)?;
                    while let Some(message) = messages.data().await {
                        let message = message?;
                        messages.flow_control().release_capacity(message.len())?;
                        out.send_data(message, false)?;
                    }
                    out.send_data(Bytes::new(), true)
                });
            }
            Ok::<(), h2::Error>(())
        });
    }
}

async fn talk_over_call(proxy: SocketAddr, echoes: Arc<Echoes>) -> Trouble {
    let talk = async {
        let stream = TcpStream::connect(proxy).await?;
        let (client, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let request = http::Request::post("http://edits/calls")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (answer, mut out) = client.ready().await?.send_request(request, false)?;
        let mut messages = timeout(PATIENCE, answer).await??.into_body();
        loop {
            let sent = Instant::now();
            let number = format!("{:08}", echoes.calls.load(Ordering::Relaxed));
            out.send_data(Bytes::from(number.clone()), false)?;
            let mut echo = Vec::new();
            while echo.len() < number.len() {
                let message = timeout(PATIENCE, messages.data()).await?;
                let message = message.ok_or("the stream ended")??;
                messages.flow_control().release_capacity(message.len())?;
                echo.extend_from_slice(&message);
            }
            if echo != number.as_bytes() {
                return Err::<(), Trouble>("another echo than was sent".into());
            }
            echoes.count(&echoes.calls, sent);
            sleep(PAUSE).await;
        }
    };
    talk.await.expect_err("it goes on until it breaks")
}
