//! The ordinary backend: an HTTP/1.1 server that says which version it is and tells what it received. What it answers is
//! chosen by the query: `?status=503`, `delay=50` (ms before the head), `bytes=1000`, `chunks=5` (in so many chunks),
//! `pace=10` (ms between pieces), `trailers=1`, `close=1`, `cookie=a=1`, `refuse=1` (an upgrade). How it fares as a whole
//! can be changed while it runs: [`Backend::turn`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::h2c;
use super::wait::{eventually, until};
use super::websocket;
use super::wire::{Answer, Fields, Reader, split_head};

/// A running backend; dropped, it closes everything.
pub struct Backend {
    pub address: SocketAddr,
    pub state: Arc<State>,
    /// Of the thread that accepts; `None` while nobody does.
    stop: Mutex<Option<Arc<AtomicBool>>>,
    open: Open,
    h2c: bool,
}

/// How a backend fares, health checks included where it refuses or hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As asked.
    Well,
    /// Answers with this status.
    Fails(u16),
    /// Answers so much later.
    Slow(Duration),
    /// Nobody listens; the connections that were open are closed.
    Refuses,
    /// Takes each request and never answers it.
    Hangs,
}

/// No request hangs longer, whatever the test forgot.
pub const HANGS_AT_MOST: Duration = Duration::from_secs(60);

/// What a backend answered, health checks left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// Statuses below 500.
    pub well: usize,
    /// Statuses from 500 on, and requests that hung.
    pub badly: usize,
    /// When the first bad one was decided.
    pub first_bad: Option<Instant>,
    /// Whom they were for, by `x-user-id`.
    pub users_hit: BTreeSet<String>,
}

/// The connections that are open now, by number.
type Open = Arc<Mutex<BTreeMap<usize, TcpStream>>>;

/// What a backend shows to the test, and is told by it.
pub struct State {
    pub version: String,
    /// Connections accepted.
    pub connections: AtomicUsize,
    /// Requests whose head arrived.
    pub requests: AtomicUsize,
    /// Health checks that arrived.
    pub probes: AtomicUsize,
    /// Whether `/healthz` says 200.
    pub healthy: AtomicBool,
    /// Answers everything but health checks with this status, unless 0.
    pub forced: AtomicU16,
    /// Waits so many milliseconds before each answer.
    pub delay: AtomicUsize,
    /// Never answers.
    hangs: AtomicBool,
    answered: Mutex<Answered>,
    recent: Mutex<VecDeque<Echo>>,
}

/// The last requests that a backend keeps.
const RECENT: usize = 256;

impl State {
    pub fn new(version: &str) -> Arc<Self> {
        Arc::new(Self {
            version: version.to_owned(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            forced: AtomicU16::new(0),
            delay: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            answered: Mutex::default(),
            recent: Mutex::new(VecDeque::new()),
        })
    }

    fn set(&self, mood: Mood) {
        let (status, delay) = match mood {
            Mood::Fails(status) => (status, Duration::ZERO),
            Mood::Slow(delay) => (0, delay),
            Mood::Well | Mood::Refuses | Mood::Hangs => (0, Duration::ZERO),
        };
        self.forced.store(status, SeqCst);
        self.delay.store(delay.as_millis() as usize, SeqCst);
        self.hangs.store(mood == Mood::Hangs, SeqCst);
    }

    pub fn hangs(&self) -> bool {
        self.hangs.load(SeqCst)
    }

    /// Counts what this request gets; 0 is nothing.
    pub fn count(&self, echo: &Echo, status: u16) {
        if echo.target.starts_with("/healthz") {
            return;
        }
        let mut answered = self.answered.lock().expect("no test panicked here");
        if (1..500).contains(&status) {
            answered.well += 1;
        } else {
            answered.badly += 1;
            answered.first_bad.get_or_insert_with(Instant::now);
            answered
                .users_hit
                .insert(echo.header("x-user-id").to_owned());
        }
    }

    pub fn note(&self, echo: &Echo) {
        let mut recent = self.recent.lock().expect("no test panicked here");
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(echo.clone());
    }
}

/// One request as a backend received it.
#[derive(Debug, Clone, Default)]
pub struct Echo {
    pub version: String,
    pub method: String,
    pub target: String,
    pub fields: Fields,
    pub trailers: Fields,
    pub length: usize,
    pub hash: String,
    /// Which connection to this backend, from 1.
    pub connection: usize,
}

impl Echo {
    /// Reads what a backend told in its answer.
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(
            answer.status,
            200,
            "an echo, got {:?} {}",
            answer.fields,
            answer.text()
        );
        let v = answer.json();
        let fields = |v: &Value| {
            let pairs = v.as_array().into_iter().flatten();
            let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
            Fields(pairs.map(|p| (text(&p[0]), text(&p[1]))).collect())
        };
        let text = |key: &str| v[key].as_str().unwrap_or("").to_owned();
        let number = |key: &str| v[key].as_u64().unwrap_or(0) as usize;
        Self {
            version: text("version"),
            method: text("method"),
            target: text("target"),
            fields: fields(&v["fields"]),
            trailers: fields(&v["trailers"]),
            length: number("length"),
            hash: text("hash"),
            connection: number("connection"),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or("")
    }

    pub fn json(&self) -> String {
        json!({
            "version": self.version, "method": self.method, "target": self.target, "fields": self.fields.0,
            "trailers": self.trailers.0, "length": self.length, "hash": self.hash, "connection": self.connection,
        })
        .to_string()
    }

    /// The value of a query parameter.
    pub fn asked(&self, key: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn asked_number(&self, key: &str) -> Option<usize> {
        self.asked(key)?.parse().ok()
    }
}

/// The hash under which bodies are compared.
pub fn hash(body: &[u8]) -> String {
    format!("{:016x}", xxh3_64(body))
}

/// A body that a shift or a swap of pieces would show. What is short begins what is long: it is made once.
pub fn pattern(length: usize) -> Vec<u8> {
    static MADE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let more = made.len()..length;
    made.extend(more.map(|i| (i % 251) as u8 ^ (i / 65536) as u8));
    made[..length].to_vec()
}

impl Backend {
    /// An HTTP/1.1 backend on a free port.
    pub fn start(version: &str) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), version)
    }

    /// The same on a given address, for one that comes back.
    pub fn on(address: SocketAddr, version: &str) -> Self {
        let state = State::new(version);
        let listener = TcpListener::bind(address).expect("a free port");
        let backend = Self {
            address: listener.local_addr().expect("a bound socket"),
            state,
            stop: Mutex::default(),
            open: Open::default(),
            h2c: false,
        };
        backend.accept(listener);
        backend
    }

    /// Serves who connects, on threads of its own, until it is told to stop.
    fn accept(&self, listener: TcpListener) {
        let stop = Arc::new(AtomicBool::new(false));
        *self.stop.lock().expect("no test panicked here") = Some(stop.clone());
        let (state, open) = (self.state.clone(), self.open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(SeqCst) {
                    return;
                }
                let connection = state.connections.fetch_add(1, SeqCst) + 1;
                if let Ok(copy) = stream.try_clone() {
                    open.lock()
                        .expect("no test panicked here")
                        .insert(connection, copy);
                }
                let (state, open) = (state.clone(), open.clone());
                std::thread::spawn(move || {
                    serve(stream, &state, connection);
                    if let Some(copy) = open
                        .lock()
                        .expect("no test panicked here")
                        .remove(&connection)
                    {
                        let _ = copy.shutdown(Shutdown::Both);
                    }
                });
            }
        });
    }

    /// Fares so from now on. What it counted stays. A request that hung is never answered: its connection closes.
    #[track_caller]
    pub fn turn(&self, mood: Mood) {
        let listens = self.stop.lock().expect("no test panicked here").is_some();
        if mood == Mood::Refuses {
            assert!(!self.h2c, "the HTTP/2 backend cannot refuse");
            self.stop_accepting();
            self.hang_up();
        } else if !listens {
            let listener = eventually("its port is free again", HANGS_AT_MOST, || {
                TcpListener::bind(self.address).map_err(|e| e.to_string())
            });
            self.accept(listener);
        }
        self.state.set(mood);
    }

    /// What it answered since it was started, or since [`Self::forget`].
    pub fn answered(&self) -> Answered {
        self.state
            .answered
            .lock()
            .expect("no test panicked here")
            .clone()
    }

    /// Counts anew from here.
    pub fn forget(&self) {
        *self.state.answered.lock().expect("no test panicked here") = Answered::default();
    }

    fn stop_accepting(&self) {
        let stop = self.stop.lock().expect("no test panicked here").take();
        if let Some(stop) = stop {
            stop.store(true, SeqCst);
            // Wakes it from its waiting; its listener closes with it.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
            until("nobody listens any more", || {
                TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err()
            });
        }
    }

    /// An HTTP/2 backend by prior knowledge, with the same behaviour; see `h2c.rs`.
    pub fn h2c(version: &str) -> Self {
        let (state, stop) = (State::new(version), Arc::new(AtomicBool::new(false)));
        let address = h2c::serve(state.clone(), stop.clone());
        Self {
            address,
            state,
            stop: Mutex::new(Some(stop)),
            open: Arc::default(),
            h2c: true,
        }
    }

    /// As an endpoint is written in the file.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// The last requests, oldest first.
    pub fn recent(&self) -> Vec<Echo> {
        self.state
            .recent
            .lock()
            .expect("no test panicked here")
            .iter()
            .cloned()
            .collect()
    }

    /// Keeps none of the last requests.
    pub fn forget_recent(&self) {
        self.state
            .recent
            .lock()
            .expect("no test panicked here")
            .clear();
    }

    /// Answers everything with this status from now on; 0 ends it.
    pub fn force(&self, status: u16) {
        self.state.forced.store(status, SeqCst);
    }

    pub fn set_healthy(&self, healthy: bool) {
        self.state.healthy.store(healthy, SeqCst);
    }

    /// Closes the connections that are open now and goes on accepting.
    pub fn hang_up(&self) {
        for stream in self.open.lock().expect("no test panicked here").values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Ok(mut stop) = self.stop.lock()
            && let Some(stop) = stop.take()
        {
            stop.store(true, SeqCst);
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
        self.state.hangs.store(false, SeqCst);
        self.hang_up();
    }
}

fn serve(stream: TcpStream, state: &State, connection: usize) {
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::new(stream);
    loop {
        match read_request(&mut reader, state, connection) {
            Ok(echo) => {
                if !reply(&mut reader, state, &echo) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// One whole request, its body hashed.
pub fn read_request<S: Read + Write>(
    reader: &mut Reader<S>,
    state: &State,
    connection: usize,
) -> std::io::Result<Echo> {
    let head = reader.take_until(b"\r\n\r\n")?;
    let (line, fields) = split_head(&head)?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mut echo = Echo {
        version: state.version.clone(),
        method: method.to_owned(),
        target: target.to_owned(),
        fields,
        connection,
        ..Echo::default()
    };
    if !echo.target.starts_with("/healthz") {
        state.requests.fetch_add(1, SeqCst);
    }
    if echo.header("expect").eq_ignore_ascii_case("100-continue") {
        reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if echo
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked")
    {
        (body, echo.trailers) = reader.take_chunked()?;
    } else if let Ok(length) = echo.header("content-length").parse() {
        body = reader.take(length)?;
    }
    echo.length = body.len();
    echo.hash = hash(&body);
    if echo.target.starts_with("/healthz") {
        state.probes.fetch_add(1, SeqCst);
    } else {
        state.note(&echo);
    }
    Ok(echo)
}

/// The status that is due, by health, by force or as asked.
pub fn status_for(state: &State, echo: &Echo) -> u16 {
    if echo.target.starts_with("/healthz") {
        return if state.healthy.load(SeqCst) { 200 } else { 503 };
    }
    match state.forced.load(SeqCst) {
        0 => echo.asked_number("status").unwrap_or(200) as u16,
        forced => forced,
    }
}

/// The body that is due.
pub fn body_for(echo: &Echo) -> Vec<u8> {
    match echo.asked_number("bytes") {
        Some(length) => pattern(length),
        None => echo.json().into_bytes(),
    }
}

/// Milliseconds to wait before the head.
pub fn delay_for(state: &State, echo: &Echo) -> Duration {
    let asked = echo
        .asked_number("delay")
        .unwrap_or(0)
        .max(state.delay.load(SeqCst));
    Duration::from_millis(asked as u64)
}

/// Answers; whether the connection stays.
fn reply(reader: &mut Reader<TcpStream>, state: &State, echo: &Echo) -> bool {
    if echo.fields.has("upgrade") && echo.asked("refuse").is_none() {
        websocket::serve(reader, &state.version, echo);
        return false;
    }
    if state.hangs() {
        state.count(echo, 0);
        let since = Instant::now();
        while state.hangs() && since.elapsed() < HANGS_AT_MOST {
            std::thread::sleep(Duration::from_millis(5));
        }
        return false;
    }
    std::thread::sleep(delay_for(state, echo));
    write_answer(&mut reader.stream, state, echo).is_ok() && echo.asked("close").is_none()
}

fn write_answer(stream: &mut TcpStream, state: &State, echo: &Echo) -> std::io::Result<()> {
    let status = status_for(state, echo);
    state.count(echo, status);
    let body = if matches!(status, 204 | 304) {
        Vec::new()
    } else {
        body_for(echo)
    };
    let chunks = echo
        .asked_number("chunks")
        .or(echo.asked("trailers").map(|_| 1));
    let mut head = format!(
        "HTTP/1.1 {status} Whatever\r\nx-version: {}\r\n",
        state.version
    );
    head += if echo.asked("bytes").is_some() {
        "Content-Type: application/octet-stream\r\n"
    } else {
        "Content-Type: application/json\r\n"
    };
    if let Some(cookie) = echo.asked("cookie") {
        head += &format!("Set-Cookie: {cookie}\r\n");
    }
    if echo.asked("close").is_some() {
        head += "Connection: close\r\n";
    }
    if echo.asked("trailers").is_some() {
        head += "Trailer: x-check\r\n";
    }
    match chunks {
        _ if matches!(status, 204 | 304) => {}
        Some(_) => head += "Transfer-Encoding: chunked\r\n",
        None => head += &format!("Content-Length: {}\r\n", body.len()),
    }
    head += "\r\n";
    if echo.method == "HEAD" || matches!(status, 204 | 304) {
        return stream.write_all(head.as_bytes());
    }
    let pace = Duration::from_millis(echo.asked_number("pace").unwrap_or(0) as u64);
    let Some(chunks) = chunks else {
        let mut whole = head.into_bytes();
        whole.extend(body);
        return stream.write_all(&whole);
    };
    stream.write_all(head.as_bytes())?;
    for piece in body.chunks(body.len().div_ceil(chunks.max(1)).max(1)) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)?;
        std::thread::sleep(pace);
    }
    let trailer = match echo.asked("trailers") {
        Some(_) => format!("x-check: {}\r\n", hash(&body)),
        None => String::new(),
    };
    stream.write_all(format!("0\r\n{trailer}\r\n").as_bytes())
}
