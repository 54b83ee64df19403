//! Copies for the candidate in a mirror stage: it gets a share of stable's requests as well, and nobody sees its answers. No
//! user waits for a copy, none is counted as a user's request, and where the candidate is slow, copies are left out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use tidegate_config as config;
use tidegate_config::units::PARTS;
use tokio::task::JoinSet;

use super::attempt::{Answered, Terms, attempt};
use crate::record::{Arm, Ended, FailureKind, Measure, Outcome, RolloutId, WorkerLedger};
use crate::route::Choice;
use crate::snapshot::View;
use crate::upstream::body::UploadWatch;
use crate::upstream::{Inflow, Outbound};

/// Marks a copy, for versions that do something on GET that must not be done twice. Callers from outside cannot send it.
pub const X_TIDEGATE_MIRROR: HeaderName = HeaderName::from_static("x-tidegate-mirror");

/// Copies that one worker has under way. While there are so many, requests go on without.
pub const IN_FLIGHT_MAX: usize = 64;
/// A copy may take as long as its route's requests, and where these may take for ever, so long.
const TIME_MAX: Duration = Duration::from_secs(15);
/// What is read of a copy's answer before its connection is given up.
const ANSWER_MAX: u64 = 1024 * 1024;

/// One worker's copies. They end with it: nobody misses their answers.
#[derive(Debug, Default)]
pub struct Mirrors(RefCell<JoinSet<()>>);

/// What a copy needs to know.
#[derive(Debug)]
pub struct Copy {
    view: Rc<View>,
    service: usize,
    candidate: usize,
    rollout: RolloutId,
    attempt: u32,
    measure: Arc<Measure>,
    bound: Duration,
}

/// Whether the candidate gets a copy of this request: a share, drawn anew for each, of the GET and HEAD requests that the
/// rollout sends to stable.
pub fn maybe(
    view: &Rc<View>,
    choice: &Choice,
    head: &Parts,
    rules: &config::Forward,
) -> Option<Copy> {
    let drawn = choice.lot?;
    let rollout = view.snapshot.rollouts.get(drawn.rollout)?;
    if rollout.mirror.parts() == 0
        || drawn.arm != Arm::Stable
        || !matches!(head.method, Method::GET | Method::HEAD)
        || fastrand::u32(..PARTS) >= rollout.mirror.parts()
    {
        return None;
    }
    Some(Copy {
        view: view.clone(),
        service: choice.service,
        candidate: view.snapshot.config.rollouts.get(drawn.rollout)?.candidate,
        rollout: rollout.id,
        attempt: rollout.attempt,
        measure: rollout.measure.clone(),
        bound: rules.timeouts.request.unwrap_or(TIME_MAX),
    })
}

impl Copy {
    /// The version that it is for.
    pub fn candidate(&self) -> usize {
        self.candidate
    }
}

impl Mirrors {
    /// Whether there is room for one more.
    pub fn have_room(&self) -> bool {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.len() < IN_FLIGHT_MAX
    }

    /// Sends a copy on its way. `head` is as the candidate gets it, but for the mark.
    pub fn send(&self, copy: Copy, mut head: Parts, ledger: WorkerLedger) {
        head.headers
            .insert(X_TIDEGATE_MIRROR, HeaderValue::from_static("1"));
        self.0.borrow_mut().spawn_local(async move {
            let started = Instant::now();
            let outcome = tokio::time::timeout(copy.bound, copy.ask(&head)).await;
            let (status, failure) = outcome.unwrap_or((0, Some(FailureKind::Timeout)));
            let ended = Ended {
                outcome: Outcome {
                    status,
                    failure: failure.map(FailureKind::failure),
                    duration: started.elapsed(),
                },
                grpc: None,
                fallback: false,
            };
            ledger.weigh_mirrored(copy.rollout, copy.attempt, &copy.measure, &ended);
        });
    }
}

impl Copy {
    /// The status, and what went wrong.
    async fn ask(&self, head: &Parts) -> (u16, Option<FailureKind>) {
        let upload = UploadWatch::default();
        upload.complete();
        let version = &self.view.snapshot.services[self.service][self.candidate];
        let terms = Terms {
            balancer: self.view.balancer(self.service, self.candidate),
            retry: None,
            each_try: None,
            upload: &upload,
            budget: &|_| false,
            failed: &|endpoint| version.endpoint_failed(endpoint, Instant::now()),
            tried: &|_| {},
        };
        match attempt(head, Outbound::Empty, &terms).await {
            Ok(Answered { head, inflow }) => {
                let status = head.status.as_u16();
                if status < 500 {
                    inflow.lease().endpoint().succeeded();
                } else {
                    version.endpoint_failed(inflow.lease().endpoint(), Instant::now());
                }
                (status, throw_away(inflow).await)
            }
            Err(miss) => (miss.reason().status(), Some(miss.kind())),
        }
    }
}

/// Reads an answer to its end, or to where reading on costs more than a new connection.
async fn throw_away(mut inflow: Inflow) -> Option<FailureKind> {
    let mut read = 0;
    while !inflow.is_end_stream() {
        match poll_fn(|cx| inflow.poll_frame(cx)).await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(kind)) => return Some(kind),
            None => break,
        }
        if read > ANSWER_MAX {
            return None;
        }
    }
    inflow.release();
    None
}
