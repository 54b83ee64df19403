//! What an idle keep-alive connection costs: Tidegate beside a bare hyper server, started as a child of this program.
//!
//! Each connection has made one request and is open. The difference is what Tidegate keeps beyond hyper's own buffers.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;

use crate::load::Bench;
use crate::measure::{Cores, Spread, pin, resident};
use crate::origin::SMALL;
use crate::peers::Ready;
use crate::workload;

/// Fresh processes each time; the median counts.
const TIMES: usize = 3;
/// Connections that are opened first: what they make the process keep is not the price of a connection.
const WARM: usize = 64;
/// Between the last answer and the look at the memory. Shorter than any idle timeout.
const SETTLE: Duration = Duration::from_secs(1);

/// Bytes of resident memory for one idle connection.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    pub(crate) tidegate: Spread,
    pub(crate) bare_hyper: Spread,
}

/// Measures both.
pub(crate) fn measure(
    bench: &mut Bench,
    tidegate: &Ready,
    folder: &Path,
    cores: Cores,
    connections: usize,
) -> Result<Idle, String> {
    let origins = bench
        .origins
        .addresses()
        .map_err(|error| error.to_string())?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for time in 1..=TIMES {
        eprintln!("{connections} idle connections, {time} of {TIMES} …");
        let running = tidegate.start(folder, origins, cores, &[])?;
        ours.push(bytes_each(
            bench,
            running.address,
            running.process(),
            connections,
        )?);
        drop(running);
        let server = BareServer::start(cores)?;
        bare.push(bytes_each(
            bench,
            server.address,
            server.child.id(),
            connections,
        )?);
    }
    Ok(Idle {
        connections,
        tidegate: Spread::of(ours),
        bare_hyper: Spread::of(bare),
    })
}

fn bytes_each(
    bench: &mut Bench,
    to: SocketAddr,
    process: u32,
    connections: usize,
) -> Result<f64, String> {
    let plain = &workload::ALL[0];
    let resident =
        || resident(process).map_err(|error| format!("the memory of process {process}: {error}"));
    let before = bench.idle(plain, to, WARM, SETTLE, resident)??;
    let after = bench.idle(plain, to, connections, SETTLE, resident)??;
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}

/// For people.
pub(crate) fn text(idle: &Idle) -> String {
    let row = |name: &str, spread: Spread| {
        let Spread {
            median,
            lower,
            upper,
        } = spread;
        format!("  {name:12} {median:7.0} bytes  [{lower:.0}–{upper:.0}]\n")
    };
    format!(
        "\nresident memory for each of {} idle keep-alive connections, median [quartiles] of {TIMES}\n{}{}  {:12} {:7.0} bytes\n",
        idle.connections,
        row("tidegate", idle.tidegate),
        row("bare hyper", idle.bare_hyper),
        "difference",
        idle.tidegate.median - idle.bare_hyper.median
    )
}

struct BareServer {
    child: Child,
    address: SocketAddr,
}

impl BareServer {
    fn start(cores: Cores) -> Result<Self, String> {
        let trouble = |error| format!("starting the bare server: {error}");
        pin(cores.proxy)?;
        let child = std::env::current_exe().and_then(|program| {
            Command::new(program)
                .args(["--bench", "--bare-server"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        });
        pin(cores.load)?;
        let mut server = Self {
            child: child.map_err(trouble)?,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let mut line = String::new();
        let said = server
            .child
            .stdout
            .take()
            .expect("its standard output is a pipe");
        BufReader::new(said).read_line(&mut line).map_err(trouble)?;
        server.address = line
            .trim()
            .parse()
            .map_err(|_| format!("the bare server said {line:?}, not its address"))?;
        Ok(server)
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's life: answers everything with 1 KiB, on one thread, with hyper's defaults. Ends with its parent.
pub(crate) fn serve_bare() -> std::io::Result<()> {
    // The parent never writes here: the end of this pipe is the parent's end, however it came.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                // A client that breaks off is no news here.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    })
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(&[b'x'; SMALL]))))
}
