//! One request on its way to a version: for how long it is tried, and what is told of the tries.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::{Duration, Instant};

use http::request::Parts;
use tidegate_config as config;

use super::account::Account;
use super::attempt::{Answered, Terms, Trouble, attempt, within};
use super::budget::Budgets;
use super::passage::Passage;
use crate::record::{FailureKind, Reason};
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

/// Why there is no answer.
#[derive(Debug)]
pub enum Miss {
    /// How the last try failed.
    Trouble(Trouble),
    /// The bound was reached.
    TimedOut,
    /// It was left for somebody who stands in.
    Left,
}

impl Miss {
    /// What it was, for whoever is judged by it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Trouble(trouble) => trouble.0,
            Self::TimedOut | Self::Left => FailureKind::Timeout,
        }
    }

    /// What the caller would be told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Trouble(trouble) => trouble.reason(),
            Self::TimedOut | Self::Left => Reason::RequestTimeout,
        }
    }
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
        let outcome = self
            .wait(attempt(head, body, &terms), patience, account)
            .await;
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

    async fn wait(
        &self,
        tries: impl Future<Output = Result<Answered, Trouble>>,
        patience: Patience<'_>,
        account: &mut Account,
    ) -> Result<Answered, Miss> {
        // Pinned once and waited for by reference: every request pays for the size of this future.
        let mut tries = pin!(tries);
        let done = match (patience.bound, patience.leave) {
            (None, _) => Some(tries.await),
            (Some(bound), None) => within(bound, self.watch, tries).await,
            (Some(bound), Some((after, may_leave))) => {
                match within(after, self.watch, tries.as_mut()).await {
                    None if may_leave() => return Err(Miss::Left),
                    None => {
                        // At the same moment as one that is left: else the failures of one side would be known first.
                        account.fails(Miss::Left.kind(), Miss::Left.reason().status());
                        within(bound.saturating_sub(after), self.watch, tries).await
                    }
                    done => done,
                }
            }
        };
        done.ok_or(Miss::TimedOut)?.map_err(Miss::Trouble)
    }
}
