use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tidegate_config::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::exchange::entry::Log;
use crate::exchange::{Gate, Peer};
use crate::http1::inlet::Inlet;
use crate::http1::tests::{End, Kind, Message, find, message, simply};
use crate::listen::connection::Connection;
use crate::listen::pulses::Pulses;
use crate::listen::tests::bed;
use crate::record::{AccessLog, Ledger};
use crate::snapshot::{ListenerKey, Live, Snapshot, Viewer};
use crate::upstream::Pools;

/// Says that the next bytes come a little later.
const SOON: u8 = 0x1e;
/// Says that they come late: later than any bound here.
const LATE: u8 = 0x1f;
/// At the end of an answer: the version closes the connection.
const CLOSES: u8 = 0x1c;
/// At the beginning of an answer: the version gives it before it has read the body.
const EARLY: u8 = 0x01;
/// Between what the caller says, and each answer of the version.
pub(super) const BETWEEN: u8 = 0x1d;
/// Late more often is no news.
const LATE_MOST: usize = 4;
/// By which a caller knows which request the version answered.
pub(super) const SAW: &str = "x-q7-saw";

const FILE: &str = "version: 1
listeners:
  - name: in
    address: 127.0.0.1:1
    protocols: [http/1.1, h2c]
    timeouts: { header: 5s, body_idle: 5s, idle: 10s }
identity: { user: [{ header: x-user-id }] }
geo: { header: x-region }
services:
  - { name: app, stable: v1, versions: [{ name: v1, endpoints: ['unix:VERSION'] }] }
routes:
  - { name: hello, match: { path: { exact: /hello } }, respond: { status: 200, body: hello } }
  - name: app
    service: app
    timeouts: { request: 5s, stream_idle: 5s }
    rules: [{ name: all, when: { region: { country: [SE] } }, to: v1 }]
";

/// A runtime whose time passes only when nothing else is left to do, and what outlives one input.
pub(super) struct World {
    runtime: Runtime,
    version: UnixListener,
    config: Arc<Config>,
    ledger: Arc<Ledger>,
    log: AccessLog,
    _folder: tempfile::TempDir,
}

/// What happens in an exchange, as far as the input decides it.
pub(super) struct Script<'a> {
    /// What the caller sends, and when. It then closes its sending side.
    pub(super) caller: Vec<Move<'a>>,
    /// What the version answers, to its first request, its second, … Later ones are answered as they should be, and so
    /// are those for which nothing stands here.
    pub(super) answers: Vec<&'a [u8]>,
    /// The caller speaks HTTP/2.
    pub(super) http2: bool,
}

/// What one side does next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move<'a> {
    Say(&'a [u8]),
    Wait(Duration),
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whole requests that reached the version, by their numbers: the order in which it began to answer them.
    pub(super) requests: Vec<(usize, Message)>,
    /// What the caller was sent.
    pub(super) answers: Vec<u8>,
    /// The version answered each request with one answer, and said nothing else.
    pub(super) orderly: bool,
}

/// An address as the proxy tells it.
pub(super) fn text(address: IpAddr) -> String {
    address.to_string()
}

/// The moves that a text stands for.
pub(super) fn moves(text: &[u8]) -> Vec<Move<'_>> {
    let mut moves = Vec::new();
    let (mut from, mut late) = (0, 0);
    for (at, byte) in text.iter().enumerate() {
        let wait = match *byte {
            SOON => Duration::from_millis(10),
            LATE if late == LATE_MOST => Duration::from_millis(10),
            LATE => {
                late += 1;
                Duration::from_secs(31)
            }
            _ => continue,
        };
        moves.extend([Move::Say(&text[from..at]), Move::Wait(wait)]);
        from = at + 1;
    }
    moves.push(Move::Say(&text[from..]));
    moves
}

impl World {
    /// This thread's world.
    pub(super) fn with<T>(f: impl FnOnce(&Self) -> T) -> T {
        thread_local! {
            static WORLD: World = World::new();
        }
        WORLD.with(f)
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("version");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let version = {
            let _inside = runtime.enter();
            UnixListener::bind(&path).expect("a socket")
        };
        let file = FILE.replace("VERSION", &path.display().to_string());
        Self {
            runtime,
            version,
            config: Arc::new(bed::config(&file)),
            ledger: Ledger::new(1),
            log: AccessLog::start(Arc::new(AtomicU64::new(0))).expect("a thread"),
            _folder: folder,
        }
    }

    /// What is in force.
    pub(super) fn snapshot(&self) -> Snapshot {
        bed::snapshot(self.config.clone(), &self.ledger)
    }

    /// A caller at an address.
    pub(super) fn peer(&self, address: IpAddr, http2: bool) -> Peer {
        let listener = &self.config.listeners[0];
        Peer::new(
            SocketAddr::new(address, 4000),
            ListenerKey::of(listener),
            self.ledger.listener("in"),
            http2,
            None,
            Box::new(()),
        )
    }

    /// Plays a script to its end: the caller's connection is over.
    pub(super) fn play(&self, script: &Script<'_>) -> Seen {
        fastrand::seed(7);
        let local = LocalSet::new();
        let stage = Rc::new(Stage::new(script));
        let said: usize = script.caller.iter().map(Move::length).sum();
        // Each request may wait for its version, and each announced body for its rest.
        let bound =
            Duration::from_secs(600) + Duration::from_secs(1) * said.try_into().expect("small");
        let answers = local.block_on(&self.runtime, async {
            let played = tokio::time::timeout(bound, self.play_on(script, &stage)).await;
            played.expect("the connection does not end")
        });
        drop(local);
        let stage = Rc::into_inner(stage).expect("nobody else is left");
        if let Some(broken) = stage.broken.into_inner() {
            panic!("no request reaches a version like this: {broken}");
        }
        let mut requests = stage.requests.into_inner();
        requests.sort_by_key(|(number, _)| *number);
        Seen {
            requests,
            answers,
            orderly: stage.orderly.get(),
        }
    }

    async fn play_on(&self, script: &Script<'_>, stage: &Rc<Stage>) -> Vec<u8> {
        let live = Live::new(self.snapshot());
        let worker = self.ledger.worker(0);
        let pools = Rc::new(Pools::new(worker.clone()));
        let (_leave, left) = watch::channel(false);
        let viewer = Viewer::new(&live, pools.clone());
        let gate = Rc::new(Gate::new(viewer, worker, Log::new(self.log.pen()), left));
        let pulses = Pulses::new(Instant::now().into_std());
        let listener = &self.config.listeners[0];
        let connection = Connection {
            gate: gate.clone(),
            terms: listener.into(),
            pulse: pulses.add(listener.timeouts, &Rc::default()),
            leaving: Rc::new(Cell::new(false)),
            tls: None,
        };
        let (near, far) = UnixStream::pair().expect("a pair");
        let outsider = IpAddr::from([192, 0, 2, 7]);
        let peer = Rc::new(self.peer(outsider, script.http2));
        let sweep = async {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let now = Instant::now().into_std();
                pulses.sweep(now);
                gate.viewer().sweep(now);
                pools.sweep(now);
            }
        };
        let accept = async {
            loop {
                let (stream, _) = self.version.accept().await.expect("a connection");
                tokio::task::spawn_local(stage.clone().serve(stream));
            }
        };
        let (mut read, write) = far.into_split();
        let both = async {
            let mut seen = Vec::new();
            let hear = async {
                let _ = read.read_to_end(&mut seen).await; // a reset is an end too
            };
            let serve = connection.serve_over((near.into(), Inlet::default()), script.http2, peer);
            tokio::join!(serve, hear, say(write, &script.caller));
            seen
        };
        tokio::select! {
            biased;
            seen = both => seen,
            () = sweep => Vec::new(),
            () = accept => Vec::new(),
        }
    }
}

impl Move<'_> {
    fn length(&self) -> usize {
        match self {
            Self::Say(text) => text.len(),
            Self::Wait(time) => usize::try_from(time.as_secs()).unwrap_or(0),
        }
    }
}

/// Says it all, to whoever still listens, and no more.
async fn say(mut to: OwnedWriteHalf, moves: &[Move<'_>]) {
    for step in moves {
        match step {
            Move::Say(text) => {
                if to.write_all(text).await.is_err() {
                    return;
                }
            }
            Move::Wait(time) => tokio::time::sleep(*time).await,
        }
    }
    let _ = to.shutdown().await; // it may be closed already
}

/// The version, on all its connections.
struct Stage {
    answers: Vec<Vec<u8>>,
    /// Requests that have a number.
    numbered: Cell<usize>,
    requests: RefCell<Vec<(usize, Message)>>,
    orderly: Cell<bool>,
    broken: RefCell<Option<String>>,
}

impl Stage {
    fn new(script: &Script<'_>) -> Self {
        Self {
            answers: script.answers.iter().map(|a| a.to_vec()).collect(),
            numbered: Cell::new(0),
            requests: RefCell::default(),
            orderly: Cell::new(true),
            broken: RefCell::default(),
        }
    }

    async fn serve(self: Rc<Self>, mut stream: UnixStream) {
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        // Of a request whose answer came before its body.
        let mut answered = None;
        loop {
            match message(Kind::AnyRequests, &seen) {
                Ok((request, rest)) => {
                    let rest = rest.len();
                    seen.drain(..seen.len() - rest);
                    let before = answered.take();
                    let number = before.unwrap_or_else(|| self.number());
                    self.requests.borrow_mut().push((number, request.clone()));
                    if before.is_none() && !self.answer(number, &mut stream, &request).await {
                        return;
                    }
                    continue;
                }
                Err(End::Within) => {
                    let has_head = find(&seen, b"\r\n\r\n").is_some();
                    if has_head && answered.is_none() && self.is_early() {
                        let number = self.number();
                        answered = Some(number);
                        let unknown = Message::default();
                        if !self.answer(number, &mut stream, &unknown).await {
                            return;
                        }
                    }
                }
                Err(end) => {
                    let text = String::from_utf8_lossy(&seen);
                    *self.broken.borrow_mut() = Some(format!("{end:?}: {text}"));
                    return;
                }
            }
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => seen.extend_from_slice(&piece[..length]),
            }
        }
    }

    fn number(&self) -> usize {
        self.numbered.replace(self.numbered.get() + 1)
    }

    /// What is answered to a request.
    fn scripted(&self, number: usize) -> Option<&[u8]> {
        let answer = self.answers.get(number)?;
        (!answer.is_empty()).then_some(answer)
    }

    /// Whether the next request is answered before it is whole.
    fn is_early(&self) -> bool {
        let next = self.scripted(self.numbered.get());
        next.is_some_and(|answer| answer[0] == EARLY)
    }

    /// Whether the connection goes on.
    async fn answer(&self, number: usize, stream: &mut UnixStream, request: &Message) -> bool {
        let Some(scripted) = self.scripted(number) else {
            let body = if request.first.starts_with(b"HEAD ") {
                ""
            } else {
                "ok"
            };
            let answer =
                format!("HTTP/1.1 200 OK\r\n{SAW}: {number}\r\ncontent-length: 2\r\n\r\n{body}");
            return stream.write_all(answer.as_bytes()).await.is_ok();
        };
        let text = scripted.strip_prefix(&[EARLY]).unwrap_or(scripted);
        let (text, closes) = match text.strip_suffix(&[CLOSES]) {
            Some(text) => (text, true),
            None => (text, false),
        };
        if !is_one_answer(text, request) {
            self.orderly.set(false);
        }
        for step in moves(text) {
            match step {
                Move::Say(text) => {
                    if stream.write_all(text).await.is_err() {
                        return false;
                    }
                }
                Move::Wait(time) => tokio::time::sleep(time).await,
            }
        }
        if find(text, b"HTTP/1.1 101").is_some() {
            // A tunnel: what comes is nobody's request.
            let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
            return false;
        }
        !closes
    }
}

fn is_one_answer(text: &[u8], request: &Message) -> bool {
    let kind = if request.first.starts_with(b"HEAD ") {
        Kind::AnswersToHead
    } else {
        Kind::Answers
    };
    let (answers, end) = simply(kind, text);
    end == End::Clean
        && answers.len() == 1
        && answers[0].first >= b"200".to_vec()
        && !text.contains(&SOON)
        && !text.contains(&LATE)
}
