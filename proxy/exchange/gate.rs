//! Through which every request passes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use tidegate_config as config;

use super::account::Account;
use super::attempt::{Answered, Terms, attempt, within};
use super::budget::Budget;
use super::client_address::client_address;
use super::entry::Log;
use super::fault::whose_fault;
use super::headers::{self, Onward, X_REQUEST_ID};
use super::identity::{assigned_secure, give_identity};
use super::local::{is_bodiless, without_body};
use super::passage::{Names, Passage, edit_local};
use super::screen::{self, Admitted};
use super::target::{for_protocol, host_of, rewrite};
use super::upgrade::{self, Tunnel};
use super::{Answer, Peer, local, refusal};
use crate::http1::head::recycle;
use crate::record::{Failure, Reason, RouteId, Series, VersionId, WorkerLedger};
use crate::route::{Caller, Choice, Decision};
use crate::snapshot::{View, Viewer};
use crate::upstream::body::{UploadState, UploadWatch};
use crate::upstream::idle::Idle;
use crate::upstream::{Inbound, Outbound};

/// A body whose length is known and at most this is gathered where a retry may need it again.
const REPEATABLE_BODY: u64 = 64 * 1024;

/// One worker's gate.
#[derive(Debug)]
pub struct Gate {
    viewer: Viewer,
    ledger: WorkerLedger,
    log: Log,
    budgets: RefCell<HashMap<RouteId, Budget>>,
    leave: tokio::sync::watch::Receiver<bool>,
}

/// What is answered, or why the request is turned away.
type Passed = Result<Response<Answer>, Reason>;

impl Gate {
    /// A gate of one worker. `leave` becomes true when tunnels must end.
    pub fn new(
        viewer: Viewer,
        ledger: WorkerLedger,
        log: Log,
        leave: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self {
            viewer,
            ledger,
            log,
            budgets: RefCell::default(),
            leave,
        }
    }

    /// The worker's ledger.
    pub fn ledger(&self) -> &WorkerLedger {
        &self.ledger
    }

    /// The worker's window on what is in force.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// The walk of one request: who is asking, where to, there and back. A request that is turned away is answered too.
    pub async fn pass(&self, mut head: Parts, body: Inbound, peer: &Rc<Peer>) -> Response<Answer> {
        let started = Instant::now();
        let known = self.viewer.view_of(&peer.listener);
        let (view, at) = known.map_or_else(|| (self.viewer.view(), None), |(v, at)| (v, Some(at)));
        let is_head = head.method == Method::HEAD;
        let mut account = self.open(&head, peer, &view, started);
        let passed = match at {
            Some(at) => {
                self.walk(&mut head, body, peer, &view, at, &mut account)
                    .await
            }
            None => Err(Reason::Draining),
        };
        let response = passed.unwrap_or_else(|reason| self.turn_away(reason, account, peer));
        recycle(std::mem::take(&mut head.headers));
        without_body(response, is_head)
    }

    /// Counts a request that never became one, and says how it is answered.
    pub fn refuse(&self, peer: &Peer, reason: Reason) {
        self.ledger.refuse(peer.listener_id, reason);
        let series = Series {
            listener: peer.listener_id,
            route: RouteId::NONE,
            version: VersionId::NONE,
        };
        Account::open(&self.ledger, series, Instant::now(), None)
            .refuse(reason.status(), Some(reason.failure()));
    }

    async fn walk(
        &self,
        head: &mut Parts,
        body: Inbound,
        peer: &Rc<Peer>,
        view: &Rc<View>,
        at: usize,
        account: &mut Account,
    ) -> Passed {
        let listener = &view.snapshot.config.listeners[at];
        let from = peer.address.ip();
        let client = client_address(from, &head.headers, &listener.client_address);
        if let Some(entry) = account.entry() {
            entry.asked_by(client);
        }
        let passage = Passage {
            view,
            peer,
            at,
            listener,
            client,
        };

        let admitted = match screen::admit(head, listener, &view.snapshot.listeners[at], from) {
            Ok(admitted) => admitted,
            Err(reason) => return Err(reason),
        };
        if view.snapshot.table.conflict(at, &head.headers).is_some()
            && listener.profile == config::Profile::Edge
        {
            return Err(Reason::IdentityConflict);
        }
        if let Some(answer) = local::max_forwards(head, admitted.survey) {
            return Ok(self.answer_here(answer, account));
        }
        let caller = Caller {
            listener: at,
            method: &head.method,
            host: host_of(head),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            client,
        };
        match view
            .snapshot
            .table
            .decide(&caller, &*view.snapshot.rollouts, &mut || fastrand::u64(..))
        {
            Decision::NotFound => Err(Reason::NoRoute),
            Decision::Answer { route } => {
                let written = &view.snapshot.config.routes[route];
                account.set_series(passage.series(route, VersionId::NONE));
                let mut response = local::answer(&written.action, head);
                edit_local(&mut response, &passage, route);
                Ok(self.answer_here(response, account))
            }
            Decision::Forward(choice) => {
                let version = &view.snapshot.services[choice.service][choice.version];
                account.set_series(passage.series(choice.route, version.id));
                account.goes_to(view.clone(), &choice);
                if let Some(entry) = account.entry() {
                    entry.chose(&choice);
                }
                self.forward(head, body, admitted, &choice, &passage, account)
                    .await
            }
        }
    }

    /// From the choice of a version to its answer.
    async fn forward(
        &self,
        head: &mut Parts,
        body: Inbound,
        admitted: Admitted,
        choice: &Choice,
        passage: &Passage<'_>,
        account: &mut Account,
    ) -> Passed {
        let snapshot = &passage.view.snapshot;
        let route = &snapshot.config.routes[choice.route];
        let config::Action::Forward(rules) = &route.action else {
            return Err(Reason::NoRoute);
        };
        let watch = Rc::new(UploadWatch::default());
        let body = match self.outbound(head, body, rules, passage, &watch).await {
            Ok(body) => body,
            Err(reason) => return Err(reason),
        };
        let http2 = snapshot.config.services[choice.service].protocol == config::Protocol::H2c;
        let upgrade = admitted.upgrade.clone().filter(|_| !http2);
        let secure = assigned_secure(head, passage);
        let onward = Onward {
            client: passage.client,
            http2,
            profile: passage.listener.profile,
        };
        let from = &passage.listener.client_address;
        headers::toward_version(
            head,
            admitted.survey,
            passage.peer,
            from,
            upgrade.clone(),
            onward,
        );
        rewrite(head, route, rules);
        let edits = &snapshot.routes[choice.route];
        let names = Names::new(passage, choice);
        if !edits.request.is_empty() || !edits.response.is_empty() {
            let id = head.headers.get(X_REQUEST_ID).cloned();
            edits
                .request
                .apply(&mut head.headers, names.places(id.as_ref()));
        }
        let request_id = (!edits.response.is_empty() || account.has_entry())
            .then(|| head.headers.get(X_REQUEST_ID).cloned());
        let request_id = request_id.flatten();
        if let Some(entry) = account.entry() {
            entry.goes_out(&head.headers, request_id.as_ref(), &watch);
        }
        for_protocol(head, http2);
        let version = &snapshot.services[choice.service][choice.version];
        let logged = account.has_entry();
        let tried = RefCell::new(Vec::new());
        let last_tried = Cell::new(None);
        let route_id = edits.id;
        let terms = Terms {
            balancer: passage.view.balancer(choice.service, choice.version),
            retry: rules.retry.as_ref(),
            each_try: rules.timeouts.each_try,
            upload: &watch,
            budget: &|retry| self.take_retry(route_id, retry),
            failed: &|endpoint| {
                if !watch.is_spoilt() {
                    version.endpoint_failed(endpoint, Instant::now());
                }
            },
            tried: &|endpoint| {
                last_tried.set(Some(endpoint.id));
                if logged {
                    tried.borrow_mut().push(endpoint.clone());
                }
            },
        };
        if rules.retry.is_some() {
            self.asked(route_id);
        }
        let tries = attempt(head, body, &terms);
        let outcome = match rules.timeouts.request {
            None => Some(tries.await),
            Some(bound) => within(bound, &watch, tries).await,
        };
        if let Some(entry) = account.entry() {
            tried
                .borrow()
                .iter()
                .for_each(|endpoint| entry.tried(endpoint));
        }
        let Answered {
            head: mut answer,
            inflow,
        } = match outcome {
            Some(Ok(answered)) => answered,
            Some(Err(_)) if watch.state() == UploadState::Gone => {
                drop(std::mem::take(account)); // which says so
                return Ok(refusal::answer(Reason::Malformed)); // to nobody
            }
            Some(Err(trouble)) => {
                let reason = whose_fault(trouble.reason(), &watch);
                return Err(reason);
            }
            None => {
                let mut endpoints = version.endpoints.iter();
                if let Some(slow) = endpoints.find(|e| last_tried.get() == Some(e.id)) {
                    account.endpoint_failed(slow);
                }
                return Err(Reason::RequestTimeout);
            }
        };
        watch.answered();

        account.answered(answer.status.as_u16());
        if inflow.is_http2() {
            account.says(&answer.headers);
        }
        if let Some(entry) = account.entry() {
            entry.answered();
        }
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            if !upgrade::is_agreed(upgrade.as_ref(), &answer.headers) {
                version.endpoint_failed(inflow.lease().endpoint(), Instant::now());
                return Err(Reason::BadAnswer);
            }
            headers::toward_caller(&mut answer.headers);
            edits
                .response
                .apply(&mut answer.headers, names.places(request_id.as_ref()));
            if let Some(id) = choice.assigned {
                give_identity(&mut answer.headers, &snapshot.table, id.as_str(), secure);
            }
            answer
                .headers
                .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(protocol) = upgrade {
                answer.headers.insert(header::UPGRADE, protocol);
            }
            let (lease, idle, leave) = (
                inflow.into_lease(),
                rules.timeouts.stream_idle,
                self.leave.clone(),
            );
            let tunnel = Box::new(Tunnel {
                lease,
                idle,
                account: std::mem::take(account),
                leave,
            });
            return Ok(Response::from_parts(answer, Answer::Tunnel(tunnel)));
        }
        answer.version = Version::HTTP_11;
        headers::toward_caller(&mut answer.headers);
        edits
            .response
            .apply(&mut answer.headers, names.places(request_id.as_ref()));
        if let Some(id) = choice.assigned {
            give_identity(&mut answer.headers, &snapshot.table, id.as_str(), secure);
        }
        let idle = Idle::new(rules.timeouts.stream_idle);
        let bodiless = head.method == Method::HEAD || is_bodiless(answer.status);
        Ok(Response::from_parts(
            answer,
            Answer::stream(inflow, idle, std::mem::take(account), watch, bodiless),
        ))
    }

    /// An HTTP/2 connection ended in a way that HTTP does not know.
    pub fn broke_off(&self, peer: &Peer, error: &hyper::Error) {
        tracing::debug!(peer = %peer.address, ?error, "a connection broke off");
    }

    fn turn_away(&self, reason: Reason, mut account: Account, peer: &Peer) -> Response<Answer> {
        if let Some(entry) = account.entry() {
            entry.refused(reason);
        }
        self.ledger.refuse(peer.listener_id, reason);
        let failure: Failure = reason.failure();
        let response = refusal::answer(reason);
        account.refuse(reason.status(), Some(failure));
        response
    }

    fn answer_here(&self, response: Response<Answer>, account: &mut Account) -> Response<Answer> {
        std::mem::take(account).refuse(response.status().as_u16(), None);
        response
    }

    fn open(&self, head: &Parts, peer: &Peer, view: &Rc<View>, started: Instant) -> Account {
        let series = Series {
            listener: peer.listener_id,
            route: RouteId::NONE,
            version: VersionId::NONE,
        };
        let entry = self.log.begin(head, peer, view);
        Account::open(&self.ledger, series, started, entry)
    }

    /// The caller's body as it goes on: nothing, gathered for a retry, or as it comes.
    async fn outbound(
        &self,
        head: &Parts,
        body: Inbound,
        rules: &config::Forward,
        passage: &Passage<'_>,
        watch: &Rc<UploadWatch>,
    ) -> Result<Outbound, Reason> {
        if body.is_end_stream() {
            watch.complete();
            return Ok(Outbound::Empty);
        }
        let limit = passage.listener.limits.body_bytes;
        let known = body.size_hint().exact();
        if limit.is_some_and(|limit| known.is_some_and(|known| known > limit)) {
            return Err(Reason::BodyTooLarge);
        }
        let stripped = passage.view.snapshot.listeners[passage.at].stripped.clone();
        let idle = passage.listener.timeouts.body_idle;
        let stream = Outbound::stream(body, limit, idle, watch.clone(), stripped);
        let repeatable = rules.retry.is_some() && super::attempt::is_idempotent(&head.method);
        if repeatable && known.is_some_and(|known| known <= REPEATABLE_BODY) {
            use http_body_util::BodyExt as _;
            let whole = stream
                .collect()
                .await
                .map_err(|_| whose_fault(Reason::Reset, watch))?;
            return Ok(Outbound::Whole(whole.to_bytes()));
        }
        Ok(stream)
    }

    fn asked(&self, route: RouteId) {
        let now = Instant::now();
        self.budgets
            .borrow_mut()
            .entry(route)
            .or_insert_with(|| Budget::new(now))
            .ask(now);
    }

    fn take_retry(&self, route: RouteId, retry: &config::Retry) -> bool {
        let now = Instant::now();
        self.budgets
            .borrow_mut()
            .entry(route)
            .or_insert_with(|| Budget::new(now))
            .retry(now, retry.budget)
    }
}
