//! Tries. What never left the proxy is sent again without asking; what may have been done is sent again only where doing
//! it twice is doing it once (RFC 9110 §9.2.2), and where the route asks for it, within its budget.

use std::pin::pin;
use std::rc::Weak;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, request, response};
use tidegate_config as config;
use tidegate_config::RetryOn;

use crate::record::{Blame, FailureKind, Reason};
use crate::upstream::body::{UploadState, UploadWatch};
use crate::upstream::forward::Unanswered;
use crate::upstream::pool::Shared;
use crate::upstream::{Balancer, Endpoint, Inflow, Lease, Outbound, forward};

/// Tries of one request that never left, over connections that turned out dead or endpoints that refused.
const UNSENT_TRIES: usize = 3;

/// An answer's head, and its body to come.
#[derive(Debug)]
pub struct Answered {
    /// The head.
    pub head: response::Parts,
    /// The body, and what it comes over.
    pub inflow: Inflow,
}

/// How often and how long to try.
pub struct Terms<'a> {
    /// The version's endpoints.
    pub balancer: &'a Balancer,
    /// The route's retries, if it asks for any.
    pub retry: Option<&'a config::Retry>,
    /// The bound on one try.
    pub each_try: Option<Duration>,
    /// How far the caller is with its body.
    pub upload: &'a UploadWatch,
    /// Takes one retry from the budget.
    pub budget: &'a dyn Fn(&config::Retry) -> bool,
    /// Told of every endpoint that failed a try.
    pub failed: &'a dyn Fn(&Endpoint),
    /// Told of every endpoint that is tried.
    pub tried: &'a dyn Fn(&Arc<Endpoint>),
}

/// What is known of the tries so far.
struct Tries {
    /// Retries that the route asked for.
    asked: u32,
    /// Tries that never left.
    unsent: usize,
    /// The endpoint of the last try: another one is preferred.
    avoid: Option<u64>,
    /// No warm connection: the last one was dead after it had taken the request.
    fresh: bool,
    /// The connection over which it was refused unseen: another one is taken.
    refused_by: Option<Weak<Shared>>,
}

/// Tries until there is an answer or no reason to try again.
///
/// # Errors
/// How the last try failed.
pub async fn attempt(
    head: &request::Parts,
    body: Outbound,
    terms: &Terms<'_>,
) -> Result<Answered, Miss> {
    let mut tries = Tries {
        asked: 0,
        unsent: 0,
        avoid: None,
        fresh: false,
        refused_by: None,
    };
    // What there is to send once more: a stream can be sent but once.
    let again = body.again().filter(|_| is_idempotent(&head.method));
    let mut next = body;
    loop {
        let picked = terms
            .balancer
            .pick(Instant::now(), tries.avoid, || fastrand::u64(..));
        let Some(mut lease) = picked else {
            return Err(Miss::Failed(FailureKind::NoEndpoint));
        };
        (terms.tried)(lease.endpoint());
        let connected = lease.connect(head.version, tries.fresh, tries.refused_by.as_ref());
        let outcome = match connected.await {
            Err(error) => Err(Unanswered {
                kind: error.into(),
                unsent: Some(next),
                refused: None,
            }),
            Ok(()) => bounded(terms, forward(&mut lease, head, next)).await,
        };
        next = match outcome {
            Ok((answer, http2)) => match again.as_ref().and_then(Outbound::again) {
                Some(again)
                    if wants_status(terms, answer.status.as_u16()) && tries.may_retry(terms) =>
                {
                    (terms.failed)(lease.endpoint());
                    tries.avoid = Some(lease.endpoint().id);
                    again
                }
                _ => {
                    return Ok(Answered {
                        head: answer,
                        inflow: Inflow::new(lease, http2),
                    });
                }
            },
            Err(Unanswered {
                kind,
                unsent,
                refused,
            }) => {
                tries.avoid = Some(lease.endpoint().id);
                let next = match (unsent, again.as_ref().and_then(Outbound::again)) {
                    (Some(unsent), _) => {
                        let may = match &refused {
                            Some(by) => tries.may_ask_another(kind, by, terms),
                            None => tries.may_resend(kind, terms),
                        };
                        may.then_some(unsent)
                    }
                    (None, Some(again)) => tries.may_repeat(kind, &lease, terms).then_some(again),
                    (None, None) => None,
                };
                // A connection that died while idle, or is full, says nothing about its endpoint.
                let died_idle = kind == FailureKind::Reset && lease.is_reused();
                let forgiven = next.is_some() && (died_idle || refused.is_some());
                // Nor does the bound on how many there may be.
                let ours = kind == FailureKind::PoolFull;
                if kind.blame() == Blame::Version && !forgiven && !ours {
                    (terms.failed)(lease.endpoint());
                }
                match next {
                    Some(next) => next,
                    None => return Err(Miss::Failed(kind)),
                }
            }
        };
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Miss {
    /// How the last try failed.
    Failed(FailureKind),
    /// The bound was reached.
    TimedOut,
    /// It was left for somebody who stands in.
    Left,
}

impl Miss {
    /// What it was, for whoever is judged by it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Failed(kind) => *kind,
            Self::TimedOut | Self::Left => FailureKind::Timeout,
        }
    }

    /// What the caller is told.
    pub fn reason(&self) -> Reason {
        match self.kind() {
            FailureKind::Connect => Reason::Connect,
            FailureKind::ConnectTimeout => Reason::ConnectTimeout,
            FailureKind::NoEndpoint => Reason::NoEndpoint,
            FailureKind::PoolFull => Reason::PoolFull,
            FailureKind::LocalResources => Reason::LocalResources,
            FailureKind::Timeout => Reason::RequestTimeout,
            FailureKind::Garbage => Reason::BadAnswer,
            _ => Reason::Reset,
        }
    }
}

impl Tries {
    /// It never left: another connection, another endpoint.
    fn may_resend(&mut self, kind: FailureKind, terms: &Terms<'_>) -> bool {
        if kind == FailureKind::PoolFull {
            return false;
        }
        self.unsent += 1;
        if self.unsent < UNSENT_TRIES
            && (matches!(kind, FailureKind::Reset | FailureKind::Garbage)
                || terms.balancer.endpoints() > 1)
        {
            self.fresh = self.unsent + 1 == UNSENT_TRIES;
            return true;
        }
        self.wants(kind, terms) && self.may_retry(terms)
    }

    /// It was refused unseen: once more over another connection.
    fn may_ask_another(&mut self, kind: FailureKind, by: &Weak<Shared>, terms: &Terms<'_>) -> bool {
        let first = self.refused_by.replace(by.clone()).is_none();
        if first {
            self.may_resend(kind, terms)
        } else {
            self.wants(kind, terms) && self.may_retry(terms)
        }
    }

    /// It left, and may be done twice.
    fn may_repeat(&mut self, kind: FailureKind, lease: &Lease, terms: &Terms<'_>) -> bool {
        // The endpoint closed a connection that had been idle, just as it was used again: nobody's failure.
        if kind == FailureKind::Reset && lease.is_reused() && !self.fresh {
            self.fresh = true;
            self.avoid = None;
            return true;
        }
        self.wants(kind, terms) && self.may_retry(terms)
    }

    fn wants(&self, kind: FailureKind, terms: &Terms<'_>) -> bool {
        let on = |wanted: RetryOn| terms.retry.is_some_and(|r| r.failures.contains(&wanted));
        match kind {
            FailureKind::Connect | FailureKind::ConnectTimeout => on(RetryOn::Connect),
            FailureKind::Reset | FailureKind::Garbage | FailureKind::Truncated => {
                on(RetryOn::Reset)
            }
            FailureKind::Timeout => on(RetryOn::Timeout),
            _ => false,
        }
    }

    fn may_retry(&mut self, terms: &Terms<'_>) -> bool {
        let Some(retry) = terms.retry else {
            return false;
        };
        let may = self.asked < retry.attempts.get() && (terms.budget)(retry);
        self.asked += u32::from(may);
        may
    }
}

fn wants_status(terms: &Terms<'_>, status: u16) -> bool {
    status >= 500
        && terms
            .retry
            .is_some_and(|r| r.failures.contains(&RetryOn::Status(status)))
}

/// Doing it twice is doing it once (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

async fn bounded<T>(
    terms: &Terms<'_>,
    work: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    match terms.each_try {
        None => work.await,
        // Boxed, timer and all: few routes bound a single try, and every request would pay for its size.
        Some(bound) => Box::pin(within(bound, terms.upload, work))
            .await
            .unwrap_or(Err(Unanswered::after_sending(FailureKind::Timeout))),
    }
}

/// Waits for `work` up to `bound`, counted from the last that the caller has sent: a long upload is not the version's
/// slowness. While the version waits for more of it, the listener's own bound on silence counts.
pub(super) async fn within<T>(
    bound: Duration,
    watch: &UploadWatch,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut end = tokio::time::Instant::now() + bound;
    loop {
        if let Ok(done) = tokio::time::timeout_at(end, work.as_mut()).await {
            return Some(done);
        }
        let now = tokio::time::Instant::now();
        let waits = watch.state() == UploadState::Open && watch.is_waiting();
        let since = if waits {
            Some(now)
        } else {
            watch.moved().map(Into::into)
        };
        end = since.map(|since| since + bound).filter(|end| *end > now)?;
    }
}
