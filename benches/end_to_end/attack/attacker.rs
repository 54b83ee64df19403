//! The attacker: a process of its own, started again from this program, on a small share of a core.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::SHARE;
use super::drips::Drips;
use super::kinds::{Attack, Way};
use crate::measure::cpu_nanos;

/// Source addresses that an attack comes from.
const ADDRESSES: usize = 2000;
/// However the parent fares, an attack ends after this time.
const LONGEST: Duration = Duration::from_secs(120);
/// A connection that was closed or refused is made anew after so long.
const COME_AGAIN: Duration = Duration::from_millis(20);
const CONNECT: Duration = Duration::from_secs(3);
/// Connections that are opened in a millisecond, while there are fewer than wanted.
const OPENED_A_TURN: usize = 4;
/// Written at a time by a flood.
const BATCH: usize = 32 * 1024;

/// What an attack came to.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Connections that were made.
    pub(crate) opened: u64,
    /// Of them, those that the proxy closed; of handshakes, those that were left at their half.
    pub(crate) closed: u64,
    /// Connections that could not be made.
    pub(crate) failed: u64,
    /// The most that were open at a time.
    pub(crate) most_open: u64,
    /// Bytes that were sent.
    pub(crate) bytes: u64,
    /// Processor seconds that it had.
    pub(crate) cpu_s: f64,
}

/// What was counted so far.
#[derive(Default)]
pub(super) struct Counts {
    opened: Cell<u64>,
    closed: Cell<u64>,
    failed: Cell<u64>,
    open: Cell<u64>,
    most_open: Cell<u64>,
    pub(super) bytes: Cell<u64>,
}

/// So many more.
pub(super) fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

/// The child's life: attacks once a line has come on standard input, until that ends. `throttled`: by the system, or else
/// by itself.
pub(crate) fn attack(attack: &Attack, to: SocketAddr, throttled: bool) -> io::Result<()> {
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first)?;
    let over = Arc::new(Notify::new());
    let heard = over.clone();
    std::thread::spawn(move || {
        let _ = io::stdin().lines().count();
        heard.notify_one();
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let counts = Rc::new(Counts::default());
    local.block_on(&runtime, async {
        if !throttled {
            let _ = rustix::process::nice(19);
            tokio::task::spawn_local(throttle());
        }
        tokio::task::spawn_local(begin(*attack, to, counts.clone()));
        let _ = timeout(LONGEST, over.notified()).await;
    });
    let done = Done {
        opened: counts.opened.get(),
        closed: counts.closed.get(),
        failed: counts.failed.get(),
        most_open: counts.most_open.get(),
        bytes: counts.bytes.get(),
        cpu_s: cpu().as_secs_f64(),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&done)?)
}

fn cpu() -> Duration {
    Duration::from_nanos(cpu_nanos(&[std::process::id()]))
}

/// Sleeps away what the process has had beyond its share.
async fn throttle() {
    let from = Instant::now();
    loop {
        let due = cpu().div_f64(SHARE);
        if let Some(ahead) = due.checked_sub(from.elapsed()) {
            std::thread::sleep(ahead.min(Duration::from_millis(50)));
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn begin(attack: Attack, to: SocketAddr, counts: Rc<Counts>) {
    let hello: Rc<[u8]> = match attack.way {
        Way::Hello => client_hello().into(),
        _ => Rc::new([]),
    };
    let (drop, every) = match attack.way {
        Way::Drip { drop, every, .. } => (drop, every),
        _ => (&[][..], LONGEST),
    };
    let drips = Rc::new(Drips::new(drop, every));
    tokio::task::spawn_local(drips.clone().run(counts.clone()));
    for number in 0..attack.connections {
        let shared = Shared {
            hello: hello.clone(),
            drips: drips.clone(),
            counts: counts.clone(),
        };
        tokio::task::spawn_local(again(attack, to, number, shared));
        if number % OPENED_A_TURN == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What all connections of an attack share.
struct Shared {
    hello: Rc<[u8]>,
    drips: Rc<Drips>,
    counts: Rc<Counts>,
}

/// One of the attack's connections, and the next in its place, for ever.
async fn again(attack: Attack, to: SocketAddr, number: usize, shared: Shared) {
    let counts = &*shared.counts;
    let mut buffer = vec![0; 4096];
    for round in 0.. {
        // A handshake comes from another address each time, as it would.
        let from = match attack.way {
            Way::Hello => number + round * attack.connections,
            _ => number,
        };
        match timeout(CONNECT, connect(from, to, &attack)).await {
            Ok(Ok(stream)) => {
                add(&counts.opened, 1);
                add(&counts.open, 1);
                let most = counts.most_open.get().max(counts.open.get());
                counts.most_open.set(most);
                let _ = match attack.way {
                    Way::Flood { opening, batch } => {
                        flood(stream, opening, batch, counts, &mut buffer).await
                    }
                    Way::Drip { opening, sips, .. } => {
                        let opening = opening(number);
                        drip(stream, &opening, sips, &shared, &mut buffer).await
                    }
                    Way::Hello => greet(stream, &shared.hello, counts, &mut buffer).await,
                };
                add(&counts.closed, 1);
                counts.open.set(counts.open.get() - 1);
            }
            _ => add(&counts.failed, 1),
        }
        if !matches!(attack.way, Way::Hello) {
            sleep(COME_AGAIN).await;
        }
    }
}

async fn connect(number: usize, to: SocketAddr, attack: &Attack) -> io::Result<TcpStream> {
    let place = (number % ADDRESSES) as u32;
    // 127.64.0.1 and on: nobody else's.
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 64, 0, 1).to_bits() + place);
    let socket = TcpSocket::new_v4()?;
    if matches!(attack.way, Way::Drip { .. }) {
        // Slow readers leave as much as they can to the proxy.
        socket.set_recv_buffer_size(4096)?;
    }
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes as fast as it is read, and reads whatever comes, until the proxy ends it.
async fn flood(
    mut stream: TcpStream,
    opening: fn(&mut Vec<u8>),
    batch: fn(&mut Vec<u8>, &mut u32),
    counts: &Counts,
    buffer: &mut [u8],
) -> io::Result<()> {
    let (mut out, mut next, mut sent) = (Vec::with_capacity(2 * BATCH), 1, 0);
    opening(&mut out);
    let (mut from, mut to) = stream.split();
    loop {
        if sent == out.len() {
            out.clear();
            sent = 0;
        }
        while out.len() < BATCH {
            batch(&mut out, &mut next);
        }
        tokio::select! {
            read = from.read(buffer) => if read? == 0 {
                return Ok(());
            },
            written = to.write(&out[sent..]) => {
                let written = written?;
                sent += written;
                add(&counts.bytes, written as u64);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Keeps a connection busy with next to nothing, until the proxy ends it.
async fn drip(
    mut stream: TcpStream,
    opening: &[u8],
    sips: usize,
    shared: &Shared,
    buffer: &mut [u8],
) -> io::Result<()> {
    stream.write_all(opening).await?;
    add(&shared.counts.bytes, opening.len() as u64);
    if sips == 0 {
        shared.drips.hold(stream, buffer).await
    } else {
        shared.drips.sip(stream, sips, buffer, &shared.counts).await
    }
}

/// Makes the server do its half of a handshake, and leaves.
async fn greet(
    mut stream: TcpStream,
    hello: &[u8],
    counts: &Counts,
    buffer: &mut [u8],
) -> io::Result<()> {
    stream.write_all(hello).await?;
    add(&counts.bytes, hello.len() as u64);
    let _ = timeout(CONNECT, stream.read(buffer)).await;
    // A reset, so that no port stays behind.
    stream.set_zero_linger()
}

/// The first message of a TLS handshake as rustls writes it. Servers take it again and again.
fn client_hello() -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let settings = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = crate::tls::NAME.try_into().expect("the name is one");
    let mut connection =
        rustls::ClientConnection::new(Arc::new(settings), name).expect("no key is needed");
    let mut hello = Vec::new();
    connection
        .write_tls(&mut hello)
        .expect("memory takes every byte");
    hello
}
