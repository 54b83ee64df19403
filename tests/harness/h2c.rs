//! HTTP/2 by prior knowledge, both sides, on the `h2` crate: a client whose every call is bounded, and the backend.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::Echo;
use super::backend::{HANGS_AT_MOST, State, body_for, delay_for, hash, status_for};
use super::wire::{Answer, Fields, latin1};

/// No call of a test waits longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A final answer over HTTP/2, in the same shape as over HTTP/1.1.
pub type H2Answer = Answer;

/// One connection. It makes progress only while one of its calls runs.
pub struct H2Client {
    runtime: Rc<Runtime>,
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    authority: String,
}

/// A request whose body and answer are still open.
pub struct H2Stream {
    runtime: Rc<Runtime>,
    pub sender: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl H2Client {
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|e| panic!("no HTTP/2 connection to {address}: {e}"))
    }

    pub fn try_open(address: SocketAddr) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let (requests, connection) = runtime.block_on(bounded(async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            let (requests, connection) = h2::client::Builder::new()
                .initial_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .handshake(stream)
                .await
                .map_err(|e| e.to_string())?;
            Ok::<_, String>((requests, tokio::spawn(connection)))
        }))??;
        Ok(Self {
            runtime: Rc::new(runtime),
            requests,
            connection,
            authority: "t".to_owned(),
        })
    }

    pub fn with_authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    #[track_caller]
    pub fn get(&mut self, target: &str, headers: &[&str]) -> H2Answer {
        self.request("GET", target, headers, b"")
    }

    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> H2Answer {
        self.try_request(method, target, headers, body)
            .unwrap_or_else(|e| panic!("no answer to {method} {target} over HTTP/2: {e}"))
    }

    /// One request and its whole answer.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut stream = self.try_stream(method, target, headers, body.is_empty())?;
        if !body.is_empty() {
            // An answer may come before the body is through; then the rest of the body has no reader.
            let _ = stream.send(body.to_vec(), true);
        }
        stream.finish()
    }

    /// Opens a request; `end` says that it has no body.
    pub fn try_stream(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        end: bool,
    ) -> Result<H2Stream, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.authority));
        for line in headers {
            let (name, value) = line.split_once(':').ok_or("a header line has a colon")?;
            let value =
                HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|e| e.to_string())?;
            request = request.header(name.to_ascii_lowercase(), value);
        }
        let request = request.body(()).map_err(|e| e.to_string())?;
        let (runtime, requests) = (self.runtime.clone(), self.requests.clone());
        let (response, sender) = runtime.block_on(bounded(async {
            let mut requests = requests.ready().await.map_err(|e| e.to_string())?;
            let opened = requests
                .send_request(request, end)
                .map_err(|e| e.to_string())?;
            written().await;
            Ok::<_, String>(opened)
        }))??;
        Ok(H2Stream {
            runtime: self.runtime.clone(),
            sender,
            response: Some(response),
            body: None,
        })
    }

    #[track_caller]
    pub fn stream(&mut self, method: &str, target: &str, headers: &[&str]) -> H2Stream {
        self.try_stream(method, target, headers, false)
            .unwrap_or_else(|e| panic!("no stream for {target}: {e}"))
    }

    /// So many GETs of targets at a time on this connection, in batches; the answers in order.
    pub fn get_all(&mut self, requests: &[(String, String)]) -> Vec<Result<Answer, String>> {
        let (runtime, authority, sender) = (
            self.runtime.clone(),
            self.authority.clone(),
            self.requests.clone(),
        );
        runtime.block_on(async {
            let mut answers = Vec::new();
            for batch in requests.chunks(50) {
                let mut open = Vec::new();
                for (target, header) in batch {
                    let (name, value) = header.split_once(':').expect("a header line has a colon");
                    let request = Request::builder()
                        .uri(format!("http://{authority}{target}"))
                        .header(name, value.trim())
                        .body(())
                        .expect("a request");
                    let opened = async {
                        let mut ready = sender.clone().ready().await.map_err(|e| e.to_string())?;
                        Ok::<_, String>(
                            ready
                                .send_request(request, true)
                                .map_err(|e| e.to_string())?
                                .0,
                        )
                    };
                    open.push(bounded(opened).await.and_then(|r| r));
                }
                for response in open {
                    answers.push(match response {
                        Ok(response) => bounded(whole(response)).await.and_then(|r| r),
                        Err(e) => Err(e),
                    });
                }
            }
            answers
        })
    }

    /// Lets the connection run; whether it was closed within this time.
    pub fn closes_within(&mut self, wait: Duration) -> bool {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            tokio::time::timeout(wait, &mut self.connection)
                .await
                .is_ok()
        })
    }

    /// Lets the connection run for a while, so that pings are answered and frames arrive.
    pub fn idle(&self, wait: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(wait).await });
    }
}

impl H2Stream {
    /// Sends a piece of the body as fast as the peer takes it.
    pub fn send(&mut self, piece: Vec<u8>, end: bool) -> Result<(), String> {
        let runtime = self.runtime.clone();
        runtime.block_on(bounded(async {
            send_all(&mut self.sender, Bytes::from(piece), end).await?;
            written().await;
            Ok(())
        }))?
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, lines: &[(&str, &str)]) -> Result<(), String> {
        let mut trailers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            trailers.append(name, value.parse().map_err(|_| "a trailer's value")?);
        }
        self.sender
            .send_trailers(trailers)
            .map_err(|e| e.to_string())?;
        self.runtime.block_on(written());
        Ok(())
    }

    /// The answer's head; its body is left open.
    pub fn head(&mut self) -> Result<Answer, String> {
        let response = self.response.take().ok_or("the head was read already")?;
        let response = self
            .runtime
            .block_on(bounded(response))?
            .map_err(|e| e.to_string())?;
        let (answer, body) = split(response);
        self.body = Some(body);
        Ok(answer)
    }

    /// The next piece of the answer; `None` at its end.
    pub fn data(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.body.is_none() {
            self.head()?;
        }
        let runtime = self.runtime.clone();
        let body = self.body.as_mut().ok_or("the head was read")?;
        runtime.block_on(bounded(async {
            let Some(piece) = body.data().await else {
                return Ok(None);
            };
            let piece = piece.map_err(|e| e.to_string())?;
            let _ = body.flow_control().release_capacity(piece.len());
            Ok(Some(piece.to_vec()))
        }))?
    }

    /// The answer's trailers; its data must have been read.
    pub fn trailers(&mut self) -> Result<Fields, String> {
        let runtime = self.runtime.clone();
        let body = self.body.as_mut().ok_or("the head was not read")?;
        let trailers = runtime
            .block_on(bounded(body.trailers()))?
            .map_err(|e| e.to_string())?;
        Ok(trailers.map(|t| fields(&t)).unwrap_or_default())
    }

    /// The rest of the answer.
    pub fn finish(&mut self) -> Result<Answer, String> {
        let response = self.response.take().ok_or("the head was read already")?;
        self.runtime.block_on(bounded(whole(response)))?
    }

    /// Gives the request up.
    pub fn cancel(&mut self) {
        self.sender.send_reset(h2::Reason::CANCEL);
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}

async fn bounded<T>(what: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .map_err(|_| format!("nothing within {PATIENCE:?}"))
}

/// Lets the connection's task write what was handed to it.
async fn written() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

fn split(response: Response<RecvStream>) -> (Answer, RecvStream) {
    let (head, body) = response.into_parts();
    let answer = Answer {
        status: head.status.as_u16(),
        fields: fields(&head.headers),
        ..Answer::default()
    };
    (answer, body)
}

async fn whole(response: ResponseFuture) -> Result<Answer, String> {
    let (mut answer, mut body) = split(response.await.map_err(|e| e.to_string())?);
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| format!("after {} bytes: {e}", answer.body.len()))?;
        let _ = body.flow_control().release_capacity(piece.len());
        answer.body.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.map_err(|e| e.to_string())?;
    answer.trailers = trailers.map(|t| fields(&t)).unwrap_or_default();
    Ok(answer)
}

fn fields(map: &HeaderMap) -> Fields {
    Fields(
        map.iter()
            .map(|(n, v)| (n.as_str().to_owned(), latin1(v.as_bytes())))
            .collect(),
    )
}

async fn send_all(
    sender: &mut SendStream<Bytes>,
    mut piece: Bytes,
    end: bool,
) -> Result<(), String> {
    while !piece.is_empty() {
        sender.reserve_capacity(piece.len());
        let room = loop {
            match std::future::poll_fn(|cx| sender.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => break room,
                Some(Err(e)) => return Err(e.to_string()),
                None => return Err("the stream is closed".to_owned()),
            }
        };
        let part = piece.split_to(room.min(piece.len()));
        let last = end && piece.is_empty();
        sender.send_data(part, last).map_err(|e| e.to_string())?;
        if last {
            return Ok(());
        }
    }
    if end {
        sender
            .send_data(Bytes::new(), true)
            .map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// A message as gRPC frames it.
pub fn grpc_frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The HTTP/2 backend: it runs on a thread of its own until `stop`; a connection then wakes it.
pub fn serve(state: Arc<State>, stop: Arc<AtomicBool>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            while let Ok((stream, _)) = listener.accept().await {
                if stop.load(SeqCst) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, state.clone()));
            }
        });
    });
    address
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let number = state.connections.fetch_add(1, SeqCst) + 1;
    let Ok(mut connection) = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(1000)
        .handshake(stream)
        .await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            // A stream that the caller gave up ends here; the test looks at what it meant to see.
            let _ = answer(request, respond, &state, number).await;
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    state: &State,
    connection: usize,
) -> Result<(), String> {
    let (head, mut body) = request.into_parts();
    let mut echo = Echo {
        version: state.version.clone(),
        method: head.method.to_string(),
        target: head
            .uri
            .path_and_query()
            .map_or_else(|| "*".to_owned(), ToString::to_string),
        fields: fields(&head.headers),
        connection,
        ..Echo::default()
    };
    echo.fields.0.push((
        ":authority".into(),
        head.uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default(),
    ));
    echo.fields.0.push((
        ":scheme".into(),
        head.uri.scheme_str().unwrap_or("").to_owned(),
    ));
    if echo.target.starts_with("/healthz") {
        state.probes.fetch_add(1, SeqCst);
    } else {
        state.requests.fetch_add(1, SeqCst);
    }
    if echo.header("content-type").starts_with("application/grpc") {
        state.note(&echo);
        return grpc(&echo, body, respond).await;
    }
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| e.to_string())?;
        let _ = body.flow_control().release_capacity(piece.len());
        received.extend_from_slice(&piece);
    }
    echo.trailers = body
        .trailers()
        .await
        .ok()
        .flatten()
        .map(|t| fields(&t))
        .unwrap_or_default();
    (echo.length, echo.hash) = (received.len(), hash(&received));
    if !echo.target.starts_with("/healthz") {
        state.note(&echo);
    }
    if state.hangs() {
        state.count(&echo, 0);
        let since = Instant::now();
        while state.hangs() && since.elapsed() < HANGS_AT_MOST {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        return Err("it hung".to_owned());
    }
    tokio::time::sleep(delay_for(state, &echo)).await;
    let status = status_for(state, &echo);
    state.count(&echo, status);
    let empty = echo.method == "HEAD" || matches!(status, 204 | 304);
    let response = Response::builder()
        .status(status)
        .header("x-version", &state.version)
        .header("content-type", "application/json")
        .body(())
        .map_err(|e| e.to_string())?;
    let mut sender = respond
        .send_response(response, empty)
        .map_err(|e| e.to_string())?;
    if empty {
        return Ok(());
    }
    let bytes = body_for(&echo);
    let trailers = echo.asked("trailers").is_some();
    let check = hash(&bytes);
    send_all(&mut sender, bytes.into(), !trailers).await?;
    if trailers {
        let mut map = HeaderMap::new();
        map.insert("x-check", check.parse().map_err(|_| "a header value")?);
        sender.send_trailers(map).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Echoes each piece as it comes, then the status that `x-grpc-status` asks for, in trailers; `trailers-only` answers
/// with nothing but a head, as gRPC does for a call that fails at once.
async fn grpc(
    echo: &Echo,
    mut body: RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), String> {
    let status = echo.fields.get("x-grpc-status").unwrap_or("0").to_owned();
    let only = echo.fields.has("x-trailers-only");
    let mut head = Response::builder()
        .header("content-type", "application/grpc")
        .header("x-version", &echo.version);
    if only {
        head = head.header("grpc-status", &status);
    }
    let head = head.body(()).map_err(|e| e.to_string())?;
    let mut sender = respond
        .send_response(head, only)
        .map_err(|e| e.to_string())?;
    if only {
        return Ok(());
    }
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| e.to_string())?;
        let _ = body.flow_control().release_capacity(piece.len());
        send_all(&mut sender, piece, false).await?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().map_err(|_| "a header value")?);
    trailers.insert("grpc-message", HeaderValue::from_static("done"));
    sender.send_trailers(trailers).map_err(|e| e.to_string())
}
