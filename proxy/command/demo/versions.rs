//! The demo's two versions: small HTTP servers that say which one they are, after about as long as a real one takes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::witness::Witness;

/// The header that names the version which answered.
pub(super) const VERSION_HEADER: &str = "x-shop-version";

/// The header by which a request's answer is known again.
pub(super) const NUMBER_HEADER: &str = "x-demo-request";

/// Who asks the candidate for this breaks it, and mends it: for those who stay.
const BREAK_PATH: &str = "/break";
const MEND_PATH: &str = "/mend";

/// No answer takes longer.
const SLOWEST: Duration = Duration::from_millis(60);

/// The names of the versions, stable first.
pub(super) const NAMES: [&str; 2] = ["v1", "v2"];

/// Both versions, serving until this is dropped.
#[derive(Debug)]
pub(super) struct Versions {
    /// Where they listen, stable first.
    pub(super) addresses: [SocketAddr; 2],
    /// How the candidate is.
    pub(super) candidate: Rc<Health>,
    _serving: JoinSet<()>,
}

/// Whether a version answers, or fails whatever it is asked.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: Cell<bool>,
}

impl Health {
    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.set(failing);
    }
}

/// One of them, as its connections share it.
#[derive(Debug, Clone)]
struct Version {
    name: &'static str,
    /// What an answer takes, on average.
    mean: Duration,
    health: Rc<Health>,
    /// Told of what the candidate gets, and of what it fails.
    witness: Option<Rc<RefCell<Witness>>>,
}

impl Versions {
    /// Starts both on free ports of 127.0.0.1; the witness is told what the candidate gets and fails.
    pub(super) async fn start(witness: &Rc<RefCell<Witness>>) -> io::Result<Self> {
        let mut serving = JoinSet::new();
        let candidate = Rc::<Health>::default();
        let mut addresses = Vec::new();
        // The new version is a little faster: that is why somebody wrote it.
        let [stable, new] = NAMES;
        let both = [
            Version {
                name: stable,
                mean: Duration::from_millis(6),
                health: Rc::default(),
                witness: None,
            },
            Version {
                name: new,
                mean: Duration::from_millis(4),
                health: Rc::clone(&candidate),
                witness: Some(Rc::clone(witness)),
            },
        ];
        for version in both {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?);
            serving.spawn_local(serve(listener, version));
        }
        Ok(Self {
            addresses: [addresses[0], addresses[1]],
            candidate,
            _serving: serving,
        })
    }
}

async fn serve(listener: TcpListener, version: Version) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let version = version.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let version = version.clone();
            async move { Ok::<_, Infallible>(version.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn_local(async move {
            let _ = connection.await; // a peer that goes away is the peer's business
        });
    }
}

impl Version {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            BREAK_PATH => return self.turned(true),
            MEND_PATH => return self.turned(false),
            _ => {}
        }
        let number = request.headers().get(NUMBER_HEADER);
        let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
        if number.is_some()
            && let Some(witness) = &self.witness
        {
            witness.borrow_mut().reached_candidate(Instant::now());
        }
        tokio::time::sleep(latency(self.mean, fastrand::f64())).await;
        if !self.health.failing.get() {
            return self.says(StatusCode::OK, "hello from the shop");
        }
        if let Some((number, witness)) = number.zip(self.witness.as_ref()) {
            witness
                .borrow_mut()
                .candidate_failed(number, Instant::now());
        }
        self.says(StatusCode::INTERNAL_SERVER_ERROR, "the shop is broken")
    }

    fn turned(&self, failing: bool) -> Response<Full<Bytes>> {
        self.health.set_failing(failing);
        self.says(
            StatusCode::OK,
            if failing {
                "from now on every answer is a 500"
            } else {
                "mended"
            },
        )
    }

    fn says(&self, status: StatusCode, words: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{words}, {}\n", self.name)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(VERSION_HEADER, HeaderValue::from_static(self.name));
        response
    }
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
