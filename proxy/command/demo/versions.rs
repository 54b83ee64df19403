//! The demo's two versions: small HTTP servers that say which one they are, after about as long as a real one takes.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The header that names the version which answered.
pub(super) const VERSION_HEADER: &str = "x-shop-version";

/// No answer takes longer.
const SLOWEST: Duration = Duration::from_millis(60);

/// The names of the versions, stable first.
pub(super) const NAMES: [&str; 2] = ["v1", "v2"];

/// Both versions, serving until this is dropped.
#[derive(Debug)]
pub(super) struct Versions {
    /// Where they listen, stable first.
    pub(super) addresses: [SocketAddr; 2],
    _serving: JoinSet<()>,
}

impl Versions {
    /// Starts both on free ports of 127.0.0.1.
    pub(super) async fn start() -> io::Result<Self> {
        let mut serving = JoinSet::new();
        let mut addresses = Vec::new();
        // The new version is a little faster: that is why somebody wrote it.
        for (name, mean) in NAMES
            .into_iter()
            .zip([Duration::from_millis(6), Duration::from_millis(4)])
        {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?);
            serving.spawn_local(serve(listener, name, mean));
        }
        Ok(Self {
            addresses: [addresses[0], addresses[1]],
            _serving: serving,
        })
    }
}

async fn serve(listener: TcpListener, name: &'static str, mean: Duration) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request: Request<Incoming>| answer(request, name, mean));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn_local(async move {
            let _ = connection.await; // a peer that goes away is the peer's business
        });
    }
}

async fn answer(
    _: Request<Incoming>,
    name: &'static str,
    mean: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(latency(mean, fastrand::f64())).await;
    let mut response = Response::new(Full::from(format!("hello from the shop, {name}\n")));
    response
        .headers_mut()
        .insert(VERSION_HEADER, HeaderValue::from_static(name));
    Ok(response)
}

/// Half of the mean for everybody, and a tail as services have it. `chance` is uniform in [0, 1).
fn latency(mean: Duration, chance: f64) -> Duration {
    (mean / 2 + (mean / 2).mul_f64(-(1.0 - chance).ln())).min(SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_the_mean_asked_for_and_an_end() {
        let mean = Duration::from_millis(6);
        let all: Vec<_> = (0..10_000)
            .map(|i| latency(mean, f64::from(i) / 10_000.0))
            .collect();
        let seen = all.iter().sum::<Duration>() / 10_000;
        assert!(
            (seen.as_secs_f64() - mean.as_secs_f64()).abs() < 0.0002,
            "{seen:?}"
        );
        assert!(all.iter().all(|one| *one >= mean / 2 && *one <= SLOWEST));
    }
}
