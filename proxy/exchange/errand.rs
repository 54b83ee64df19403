//! One request on its way to a version: for how long it is tried, and what is told of the tries.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use http::request::Parts;
use tidegate_config as config;

use super::account::Account;
use super::attempt::{Answered, Miss, Terms, attempt, within};
use super::budget::Budgets;
use super::passage::Passage;
use crate::upstream::Outbound;
use crate::upstream::body::UploadWatch;

/// What every version that is asked shares.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The request at the gate.
    pub passage: &'a Passage<'a>,
    /// Index of the route,
    pub route: usize,
    /// and of the service.
    pub service: usize,
    /// The route's rules.
    pub rules: &'a config::Forward,
    /// How far the caller is with its body.
    pub watch: &'a UploadWatch,
    /// The worker's budgets.
    pub budgets: &'a Budgets,
}

/// For how long a version is asked.
pub struct Patience<'a> {
    /// At most so long, all tries together.
    pub bound: Option<Duration>,
    /// After so long its rollout takes it for a failure, and it is left, if the other says that somebody stands in.
    pub leave: Option<(Duration, &'a dyn Fn() -> bool)>,
}

impl Errand<'_> {
    /// Asks a version of the service until there is the head of an answer, or no reason to wait for one.
    ///
    /// # Errors
    /// [`Miss`].
    pub async fn ask(
        &self,
        head: &Parts,
        body: Outbound,
        version: usize,
        patience: Patience<'_>,
        account: &mut Account,
    ) -> Result<Answered, Miss> {
        let snapshot = &self.passage.view.snapshot;
        let asked = &snapshot.services[self.service][version];
        let route = snapshot.routes[self.route].id;
        let logged = account.has_entry();
        let tried = RefCell::new(Vec::new());
        let last_tried = Cell::new(None);
        let terms = Terms {
            balancer: self.passage.view.balancer(self.service, version),
            retry: self.rules.retry.as_ref(),
            each_try: self.rules.timeouts.each_try,
            upload: self.watch,
            budget: &|retry| self.budgets.retry(route, retry),
            failed: &|endpoint| {
                if !self.watch.is_spoilt() {
                    asked.endpoint_failed(endpoint, Instant::now());
                }
            },
            tried: &|endpoint| {
                last_tried.set(Some(endpoint.id));
                if logged {
                    tried.borrow_mut().push(endpoint.clone());
                }
            },
        };
        // Made where it is pinned, and waited for by reference: every request pays for the size of this future.
        let tries = pin!(attempt(head, body, &terms));
        let done = match (patience.bound, patience.leave) {
            (None, _) => Some(tries.await),
            (Some(bound), None) => within(bound, self.watch, tries).await,
            // Boxed: only a request of a rollout with a fallback has it.
            (Some(bound), Some(leave)) => {
                Box::pin(leaving(bound, leave, self.watch, tries, account)).await
            }
        };
        let outcome = done.unwrap_or(Err(Miss::TimedOut));
        if let Some(entry) = account.entry() {
            tried
                .borrow()
                .iter()
                .for_each(|endpoint| entry.tried(endpoint));
        }
        if let Err(Miss::TimedOut) = outcome {
            let mut endpoints = asked.endpoints.iter();
            if let Some(slow) = endpoints.find(|e| last_tried.get() == Some(e.id)) {
                account.endpoint_failed(slow);
            }
        }
        outcome
    }
}

/// Waits for the tries up to `bound`, and leaves them after a part of it where somebody stands in.
async fn leaving(
    bound: Duration,
    (after, may_leave): (Duration, &dyn Fn() -> bool),
    watch: &UploadWatch,
    mut tries: Pin<&mut impl Future<Output = Result<Answered, Miss>>>,
    account: &mut Account,
) -> Option<Result<Answered, Miss>> {
    match within(after, watch, tries.as_mut()).await {
        None if may_leave() => Some(Err(Miss::Left)),
        None => {
            // At the same moment as one that is left: else the failures of one side would be known first.
            account.fails(Miss::Left.kind(), Miss::Left.reason().status());
            within(bound.saturating_sub(after), watch, tries).await
        }
        done => done,
    }
}
