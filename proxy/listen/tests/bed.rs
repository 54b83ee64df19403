//! A worker's whole request path on loopback: real sockets, the real gate, a version that does what the test says.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tidegate_config as config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::exchange::entry::Log;
use crate::exchange::{Gate, Peer};
use crate::listen::connection::Connection;
use crate::listen::pulses::Pulses;
use crate::record::{AccessLog, FailureKind, Ledger, VersionId};
use crate::route::Table;
use crate::snapshot::ListenerKey;
use crate::snapshot::edits::Edits;
use crate::snapshot::{InForce, Listener, Live, Route, Snapshot, Viewer};
use crate::upstream::{Pools, Version};

/// A test that lasts longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a version that reads one request head at a time answers with.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The proxy under test.
pub(super) struct Bed {
    pub(super) address: SocketAddr,
    pub(super) ledger: Arc<Ledger>,
    version: VersionId,
    pub(super) live: Live,
    moved: Cell<Option<Snapshot>>,
    _log: AccessLog,
}

/// Runs a test on a runtime of its own, as a worker has it.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test)
            .await
            .expect("hangs: nobody woke whoever waits");
    });
}

/// A version that serves every connection with `serve`, told its number from 0.
pub(super) async fn version<F>(serve: impl Fn(usize, TcpStream) -> F + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::task::spawn_local(serve(number, stream));
        }
    });
    address
}

/// Reads until `end` has been seen; all that was read. Empty at the end of the stream.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(end) {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Everything up to the end of the stream.
pub(super) async fn rest(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// Waits for something that comes about by itself.
pub(super) async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes, and does not mind a reader who is gone.
pub(super) async fn say(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
}

impl Bed {
    /// A proxy before one version at `endpoint`. `listener`, `service` and `route` are further keys of theirs.
    pub(super) async fn before(
        endpoint: SocketAddr,
        listener: &str,
        service: &str,
        route: &str,
    ) -> Self {
        let text = |address: SocketAddr| {
            format!(
                "version: 1\nlisteners:\n  - {{ name: in, address: '{address}', protocols: [http/1.1, h2c]{listener} }}\n\
             services:\n  - {{ name: app, stable: v1, versions: [{{ name: v1, endpoints: ['{endpoint}'] }}]{service} }}\n\
             routes:\n  - {{ name: hello, match: {{ path: {{ exact: /hello }} }}, respond: {{ status: 200, body: hello }} }}\n  \
             - {{ name: app, match: {{ path: {{ prefix: /app }} }}, service: app, rules: [{{ to: v1 }}]{route} }}\n"
            )
        };
        Self::of(text, |_| {}).await
    }

    /// A proxy by the file `text`, told its listener's address, in which `change` changes what no file says yet.
    pub(super) async fn of(
        text: impl Fn(SocketAddr) -> String,
        change: impl Fn(&mut config::Config),
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let ledger = Ledger::new(1);
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let made = |address| {
            let mut config = config(&text(address));
            change(&mut config);
            snapshot(Arc::new(config), &ledger)
        };
        let (snapshot, moved) = (made(address), made(elsewhere));
        let version = snapshot.services[0][0].id;
        let log = AccessLog::start(Arc::new(AtomicU64::new(0))).expect("a thread");
        let worker = ledger.worker(0);
        let live = Live::new(snapshot);
        let pools = Rc::new(Pools::new(worker.clone()));
        let (leave, left) = watch::channel(false);
        let viewer = Viewer::new(&live, pools);
        let gate = Rc::new(Gate::new(viewer, worker, Log::new(log.pen()), left));
        let listener = live.current().config.listeners[0].clone();
        let id = ledger.listener("in");
        let edited = live.clone();
        tokio::task::spawn_local(async move {
            let _leave = leave;
            let pulses = Rc::new(Pulses::new(Instant::now()));
            let swept = pulses.clone();
            tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    swept.sweep(Instant::now());
                }
            });
            while let Ok((stream, from)) = socket.accept().await {
                let connection = Connection {
                    gate: gate.clone(),
                    terms: (&listener).into(),
                    pulse: pulses.add(listener.timeouts, &Rc::default()),
                    leaving: Rc::new(Cell::new(false)),
                    tls: None,
                };
                let key = ListenerKey::of(&listener);
                tokio::task::spawn_local(connection.serve(stream, move |http2, session| {
                    Peer::new(from, key, id, http2, session, Box::new(()))
                }));
            }
        });
        Self {
            address,
            ledger,
            version,
            live: edited,
            moved: Cell::new(Some(moved)),
            _log: log,
        }
    }

    /// An edit that takes the listener's address away; its socket has not been told yet.
    pub(super) fn move_listener(&self) {
        self.live.publish(self.moved.take().expect("moved once"));
    }

    /// A connection to it.
    pub(super) async fn caller(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("a connection")
    }

    /// How often the version failed in this way.
    pub(super) fn failures(&self, kind: FailureKind) -> u64 {
        self.ledger.totals(self.version).by_kind[kind as usize]
    }

    /// Waits until all that is under way has been counted, up to `count` requests.
    pub(super) async fn counted(&self, count: u64) {
        until(|| self.ledger.totals(self.version).requests() >= count).await;
    }
}

pub(crate) fn config(text: &str) -> config::Config {
    let loaded = config::parse(text.as_bytes(), "bed.yaml", Path::new("."));
    loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

pub(crate) fn snapshot(config: Arc<config::Config>, ledger: &Ledger) -> Snapshot {
    let table = Table::compile(&config, None);
    let version = |service: &config::Service, version: &config::Version| {
        let id = ledger.version(&service.name, &version.name);
        Arc::new(Version::new(service, version, id, None))
    };
    let services = config
        .services
        .iter()
        .map(|s| s.versions.iter().map(|v| version(s, v)).collect());
    let routes = config.routes.iter().map(|route| Route {
        id: ledger.route(&route.name),
        request: Edits::compile(&route.request_headers),
        response: Edits::compile(&route.response_headers),
    });
    let stripped = table.stripped(0).into();
    Snapshot {
        revision: 1,
        services: services.collect(),
        routes: routes.collect(),
        listeners: Arc::new([Listener {
            trusted: Vec::new(),
            stripped,
            serving: None,
        }]),
        rollouts: config
            .rollouts
            .iter()
            .map(|rollout| InForce::written(rollout, ledger))
            .collect(),
        table: Arc::new(table),
        config,
    }
}

/// Closes with a reset instead of an end.
pub(super) fn reset(stream: TcpStream) {
    let stream = socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .map(|()| stream);
    drop(stream);
}
