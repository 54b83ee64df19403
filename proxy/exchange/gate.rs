//! Through which every request passes.

use std::rc::Rc;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use tidegate_config as config;

use super::account::Account;
use super::attempt::{Miss, is_idempotent};
use super::budget::Budgets;
use super::client_address::client_address;
use super::entry::Log;
use super::errand::{Errand, Patience};
use super::exit::{Exit, give};
use super::fault::whose_fault;
use super::headers::{self, Onward, X_REQUEST_ID};
use super::identity::assigned_secure;
use super::local::without_body;
use super::mirror::{self, Mirrors};
use super::passage::{Passage, edit_local, edit_request};
use super::screen::{self, Admitted};
use super::target::{Form, for_protocol, host_of, rewrite};
use super::{Answer, Peer, fallback, local, refusal};
use crate::http1::head::recycle;
use crate::record::{Failure, Reason, RouteId, Series, VersionId, WorkerLedger};
use crate::route::{Caller, Choice, Decision};
use crate::snapshot::{Listener, View, Viewer};
use crate::upstream::body::{UploadState, UploadWatch};
use crate::upstream::pace::Pace;
use crate::upstream::{Crowd, Inbound, Outbound};

/// One worker's gate.
#[derive(Debug)]
pub struct Gate {
    viewer: Viewer,
    ledger: WorkerLedger,
    log: Log,
    budgets: Budgets,
    mirrors: Mirrors,
    uploads: Crowd,
    leave: tokio::sync::watch::Receiver<bool>,
}

/// What is answered, or why the request is turned away.
pub(super) type Passed = Result<Response<Answer>, Reason>;

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
            budgets: Budgets::default(),
            mirrors: Mirrors::default(),
            uploads: Crowd::default(),
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

        let known = &view.snapshot.listeners[at];
        let encrypted = peer.is_encrypted();
        let admitted = match screen::admit(head, listener, known, from, encrypted) {
            Ok(admitted) => admitted,
            Err(reason) => return Err(reason),
        };
        if encrypted && is_misdirected(host_of(head), peer, known) {
            return Err(Reason::Misdirected);
        }
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
            certificate: peer.certificate(),
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
                let mut response = local::answer(&written.action, head, encrypted);
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
        let claim = fallback::maybe(head, &body, choice, passage, rules)
            .filter(|_| admitted.upgrade.is_none());
        let watch = Rc::new(UploadWatch::default());
        if let Some(entry) = account.entry() {
            entry.takes(&watch);
        }
        let whole = claim.is_some() || (rules.retry.is_some() && is_idempotent(&head.method));
        let service = &snapshot.config.services[choice.service];
        let form = Form::of(service, admitted.upgrade.is_some());
        // A call may be open while neither side has anything to say. Only where the version expects such calls: or any
        // slow body could call itself one.
        let hurried = !(form.http2 && is_grpc(&head.headers));
        let body = match self.outbound(body, whole, hurried, passage, &watch).await {
            Ok(body) => body,
            Err(_) if watch.state() == UploadState::Gone => return Ok(to_nobody(account)),
            Err(reason) => return Err(reason),
        };
        let upgrade = admitted.upgrade.clone().filter(|_| !form.http2);
        let secure = assigned_secure(head, passage);
        let onward = Onward {
            client: passage.client,
            http2: form.http2,
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
        if matches!(body, Outbound::Empty) && upgrade.is_none() {
            self.mirror(head, choice, passage, rules, form);
        }
        // What stable would get instead, where the route's edits name the version.
        let other = claim
            .and_then(|claim| claim.stable)
            .filter(|_| edits.request.name_the_version())
            .map(|stable| Box::new(copy_for(stable, head, choice, passage, form)));
        edit_request(head, choice, choice.version, passage);
        let request_id = (!edits.response.is_empty() || account.has_entry())
            .then(|| head.headers.get(X_REQUEST_ID).cloned());
        let request_id = request_id.flatten();
        if let Some(entry) = account.entry() {
            entry.goes_out(&head.headers, request_id.as_ref());
        }
        for_protocol(head, form);
        if rules.retry.is_some() {
            self.budgets.asked(edits.id);
        }
        let errand = Errand {
            passage,
            route: choice.route,
            service: choice.service,
            rules,
            watch: &watch,
            budgets: &self.budgets,
        };
        let other = other.as_deref().unwrap_or(head);
        let mut version = choice.version;
        let asked = match claim {
            None => {
                let patience = Patience {
                    bound: rules.timeouts.request,
                    leave: None,
                };
                errand.ask(head, body, version, patience, account).await
            }
            // Boxed: few rollouts have a fallback, and every request would pay for its size.
            Some(claim) => {
                let heads = fallback::Heads { head, other };
                Box::pin(fallback::ask(
                    &errand,
                    claim,
                    &mut version,
                    heads,
                    body,
                    account,
                ))
                .await
            }
        };
        let answered = match asked {
            Ok(answered) => answered,
            Err(Miss::Failed(_)) if watch.state() == UploadState::Gone => {
                return Ok(to_nobody(account));
            }
            Err(miss @ Miss::Failed(_)) => return Err(whose_fault(miss.reason(), &watch)),
            Err(miss) => return Err(miss.reason()),
        };
        watch.answered();
        let exit = Exit {
            passage,
            choice,
            version,
            rules,
            request_id,
            secure,
            upgrade,
            is_head: head.method == Method::HEAD,
        };
        give(exit, answered, watch, &self.leave, account)
    }

    /// An HTTP/2 connection ended in a way that HTTP does not know.
    pub fn broke_off(&self, peer: &Peer, error: &std::io::Error) {
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

    fn open(&self, head: &Parts, peer: &Rc<Peer>, view: &Rc<View>, started: Instant) -> Account {
        let series = Series {
            listener: peer.listener_id,
            route: RouteId::NONE,
            version: VersionId::NONE,
        };
        let entry = self.log.begin(head, peer, view);
        Account::open(&self.ledger, series, started, entry)
    }

    /// The candidate of a mirror stage may get a copy.
    fn mirror(
        &self,
        head: &Parts,
        choice: &Choice,
        passage: &Passage<'_>,
        rules: &config::Forward,
        form: Form,
    ) {
        if let Some(copy) = mirror::maybe(passage.view, choice, head, rules)
            && self.mirrors.have_room()
        {
            let head = copy_for(copy.candidate(), head, choice, passage, form);
            self.mirrors.send(copy, head, self.ledger.clone());
        }
    }

    /// The caller's body as it goes on: nothing, gathered where it may be needed again, or as it comes.
    async fn outbound(
        &self,
        body: Inbound,
        again: bool,
        hurried: bool,
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
        let is_small = fallback::is_small(&body);
        let stripped = passage.view.snapshot.listeners[passage.at].stripped.clone();
        let idle = passage.listener.timeouts.body_idle;
        let rate = passage.listener.limits.min_rate.filter(|_| hurried);
        let pace = rate.map(|rate| Pace::new(rate, 0, idle));
        // The crowd is of those whom a rate ends: others may sit still for good, and would make it large for ever.
        let member = rate.map(|_| self.uploads.join());
        let mut stream =
            Outbound::stream(body, limit, (idle, pace), watch.clone(), stripped, member);
        if again && is_small {
            use http_body_util::BodyExt as _;
            let whole = stream
                .collect()
                .await
                .map_err(|_| whose_fault(Reason::Reset, watch))?;
            return Ok(Outbound::Whole(whole.to_bytes()));
        }
        // In a crowd, who must not be slow shows that before a version is asked. Who announced no length may be in a
        // conversation, and wait for the version's part.
        if rate.is_some() && known.is_some() && self.uploads.is_large() {
            let begun = stream.read_ahead().await;
            begun.map_err(|_| whose_fault(Reason::Reset, watch))?;
        }
        Ok(stream)
    }
}

/// The caller is gone, which its account says as it is dropped; what is answered reaches nobody.
fn to_nobody(account: &mut Account) -> Response<Answer> {
    drop(std::mem::take(account));
    refusal::answer(Reason::Malformed)
}

/// Whether a request is for a host that its connection was not opened for, where that decided whom the caller had to
/// convince who it is (RFC 9110 §7.4). Where callers are not asked, one connection may carry requests for all hosts.
fn is_misdirected(host: &str, peer: &Peer, listener: &Listener) -> bool {
    let (Some(session), Some(serving)) = (&peer.session, &listener.serving) else {
        return false;
    };
    serving.asks
        && !host.is_empty()
        && !serving
            .certificates
            .are_for_both(session.server_name.as_deref(), host)
}

/// Whether it is a call of gRPC, as opposed to gRPC-Web, which is one message from the caller.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A request's head as another version of its service gets it: rewritten, not edited yet.
fn copy_for(
    version: usize,
    head: &Parts,
    choice: &Choice,
    passage: &Passage<'_>,
    form: Form,
) -> Parts {
    let mut copy = head.clone();
    edit_request(&mut copy, choice, version, passage);
    for_protocol(&mut copy, form);
    copy
}
