//! Asks endpoints on a schedule whether they are well, and writes the verdict where the request path reads it.
//!
//! Probes run on control's runtime: a slow endpoint costs no worker anything. Each probe makes a connection of its own,
//! because a probe by a kept one would not notice an endpoint that accepts nobody new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_config::{ActiveHealth, EndpointAddress};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::connect::Failed;
use super::scarcity::Scarcity;
use super::{Endpoint, Version, connect};

/// Probes under way at one time, so that ten thousand endpoints are not asked in one breath. One that cannot begin
/// waits for its turn; its time-out counts from there.
const PROBES_AT_ONCE: usize = 64;
/// Probes begin at a random moment within their first interval, but no later than this: an endpoint that is down when
/// it joins must not be trusted for long.
const LATEST_START: Duration = Duration::from_secs(1);

/// All probes of the process, one task for each endpoint that is asked.
#[derive(Debug)]
pub struct Probes {
    running: HashMap<u64, Running>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Running {
    health: ActiveHealth,
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            places: Arc::new(Semaphore::new(PROBES_AT_ONCE)),
        }
    }
}

impl Probes {
    /// Follows an edit: asks the endpoints of these versions from now on, and nobody else. Endpoints that stay keep
    /// what is known about them. Must be called within a runtime.
    pub fn follow<'a>(&mut self, versions: impl IntoIterator<Item = &'a Arc<Version>>) {
        let mut present = HashSet::new();
        let mut asked = HashSet::new();
        for version in versions {
            present.extend(version.endpoints.iter().map(|endpoint| endpoint.id));
            let Some(health) = &version.health.active else {
                continue;
            };
            for endpoint in &version.endpoints {
                asked.insert(endpoint.id);
                if self
                    .running
                    .get(&endpoint.id)
                    .is_none_or(|running| running.health != *health)
                {
                    self.ask(version, endpoint, health);
                }
            }
        }
        self.running.retain(|id, running| {
            let stays = asked.contains(id);
            if !stays && present.contains(id) {
                // Nobody asks it any more: an old verdict would keep it out for ever.
                running.endpoint.trust(true);
            }
            stays
        });
    }

    fn ask(&mut self, version: &Version, endpoint: &Arc<Endpoint>, health: &ActiveHealth) {
        let known = self
            .running
            .remove(&endpoint.id)
            .filter(|running| running.endpoint.was_probed())
            .map(|running| running.endpoint.probe());
        let schedule = Schedule {
            service: version.service.clone(),
            version: version.name.clone(),
            endpoint: Arc::clone(endpoint),
            health: health.clone(),
            places: Arc::clone(&self.places),
        };
        let task = tokio::spawn(schedule.run(Verdict::new(health, known))).abort_handle();
        let running = Running {
            health: health.clone(),
            endpoint: Arc::clone(endpoint),
            task,
        };
        self.running.insert(endpoint.id, running);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One endpoint's probes, for as long as it is configured so.
struct Schedule {
    service: String,
    version: String,
    endpoint: Arc<Endpoint>,
    health: ActiveHealth,
    places: Arc<Semaphore>,
}

impl Schedule {
    async fn run(self, mut verdict: Verdict) {
        let latest = self.health.interval.min(LATEST_START);
        let start = tokio::time::Instant::now() + latest.mul_f64(fastrand::f64());
        let mut turns = interval_at(start, self.health.interval);
        // A probe that took longer than the interval is not made up for by two in a row.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let answer = {
                let _place = self
                    .places
                    .acquire()
                    .await
                    .expect("the semaphore is never closed");
                probe(&self.endpoint, &self.health).await
            };
            // A probe that the proxy could not make says nothing about the endpoint.
            if let Err(ProbeFailed::Connect(Failed::Dial(error))) = &answer
                && let Some(scarcity) = Scarcity::of(error)
            {
                scarcity.tell(&self.endpoint.address, error);
                continue;
            }
            if let Some(healthy) = verdict.on(answer.is_ok()) {
                self.endpoint.set_probe(healthy);
                self.tell(healthy, answer.err());
            }
        }
    }

    fn tell(&self, healthy: bool, failed: Option<ProbeFailed>) {
        let Self {
            service,
            version,
            endpoint,
            ..
        } = self;
        let address = &endpoint.address;
        match failed {
            Some(error) => {
                tracing::warn!(service, version, endpoint = %address, "endpoint is unhealthy: {error}")
            }
            None if healthy => {
                tracing::info!(service, version, endpoint = %address, "endpoint is healthy")
            }
            None => {}
        }
    }
}

/// What a row of answers says about an endpoint.
#[derive(Debug)]
struct Verdict {
    /// `None` until the first answer, which decides alone.
    healthy: Option<bool>,
    /// Answers in a row that speak against `healthy`.
    against: u32,
    healthy_after: u32,
    unhealthy_after: u32,
}

impl Verdict {
    fn new(health: &ActiveHealth, known: Option<bool>) -> Self {
        Self {
            healthy: known,
            against: 0,
            healthy_after: health.healthy_after.get(),
            unhealthy_after: health.unhealthy_after.get(),
        }
    }

    /// Counts an answer; the new verdict where it changes.
    fn on(&mut self, good: bool) -> Option<bool> {
        let needed = match self.healthy {
            None => 1,
            Some(healthy) if healthy == good => {
                self.against = 0;
                return None;
            }
            Some(true) => self.unhealthy_after,
            Some(false) => self.healthy_after,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.healthy = Some(good);
        Some(good)
    }
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum ProbeFailed {
    #[error("no connection: {0}")]
    Connect(Failed),
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("it cannot be asked so: {0}")]
    Request(#[from] http::Error),
    #[error("it answered {0} to {1}")]
    Status(StatusCode, String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

async fn probe(endpoint: &Endpoint, health: &ActiveHealth) -> Result<(), ProbeFailed> {
    let status = timeout(health.timeout, status(endpoint, &health.path))
        .await
        .map_err(|_| ProbeFailed::TimedOut(health.timeout))??;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(ProbeFailed::Status(status, health.path.clone()))
    }
}

/// The status of one GET, over a connection made for it and closed after its head.
async fn status(endpoint: &Endpoint, path: &str) -> Result<StatusCode, ProbeFailed> {
    let (socket, http2) = connect::dial(endpoint)
        .await
        .map_err(ProbeFailed::Connect)?;
    let io = TokioIo::new(socket);
    let authority = match &endpoint.address {
        EndpointAddress::Unix(_) => "localhost".to_owned(),
        EndpointAddress::Ip(..) => endpoint.address.to_string(),
    };
    let request = Request::get(path).header(
        USER_AGENT,
        concat!("tidegate/", env!("CARGO_PKG_VERSION"), " (health)"),
    );
    let response = match http2 {
        false => {
            let (mut sender, connection) = http1::handshake(io).await?;
            let request = request.header(HOST, authority).header(CONNECTION, "close");
            let request = request.body(Empty::<Bytes>::new())?;
            let connection = Owned(tokio::spawn(connection).abort_handle());
            let response = sender.send_request(request).await?;
            drop(connection);
            response
        }
        true => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            let uri = Uri::builder()
                .scheme(if endpoint.secure.is_some() {
                    "https"
                } else {
                    "http"
                })
                .authority(authority)
                .path_and_query(path)
                .build()?;
            let request = request.uri(uri).body(Empty::<Bytes>::new())?;
            let connection = Owned(tokio::spawn(connection).abort_handle());
            let response = sender.send_request(request).await?;
            drop(connection);
            response
        }
    };
    Ok(response.status())
}

/// A connection's task that must not outlive the probe, however that ends.
struct Owned(AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn health(healthy_after: u32, unhealthy_after: u32) -> ActiveHealth {
        ActiveHealth {
            path: "/healthz".to_owned(),
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(1),
            healthy_after: NonZeroU32::new(healthy_after).unwrap(),
            unhealthy_after: NonZeroU32::new(unhealthy_after).unwrap(),
        }
    }

    #[test]
    fn the_first_answer_decides_and_then_it_takes_a_row() {
        let mut verdict = Verdict::new(&health(2, 3), None);
        let said: Vec<_> = [
            false, true, false, true, true, false, false, true, false, false, false,
        ]
        .map(|good| verdict.on(good))
        .into();
        let (up, down) = (Some(true), Some(false));
        assert_eq!(
            said,
            [
                down, None, None, None, up, None, None, None, None, None, down
            ]
        );
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_verdict_when_the_settings_change() {
        let mut verdict = Verdict::new(&health(2, 3), Some(false));
        assert_eq!([verdict.on(true), verdict.on(true)], [None, Some(true)]);
    }

    proptest! {
        #[test]
        fn the_verdict_turns_only_after_enough_answers_in_a_row(
            answers in proptest::collection::vec(any::<bool>(), 1..200), up in 1_u32..5, down in 1_u32..5,
        ) {
            let mut verdict = Verdict::new(&health(up, down), Some(true));
            let mut healthy = true;
            for (at, good) in answers.iter().enumerate() {
                let needed = if healthy { down } else { up } as usize;
                let row = answers[..=at].iter().rev().take_while(|answer| *answer == good).count();
                if verdict.on(*good).is_some() {
                    prop_assert!(*good != healthy && row >= needed);
                    healthy = *good;
                } else {
                    prop_assert!(*good == healthy || row < needed || row > needed);
                }
            }
        }
    }
}
