//! The exchange's line in the access log: gathered on the way where a log is kept, written when the exchange has ended.
//! What is kept are handles on what the request holds anyway; text is made at the end, and only if the sample wants it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};
use tidegate_config as config;

use super::Peer;
use super::headers::TRACEPARENT;
use crate::record::{Line, LogPen, Outcome, Reason};
use crate::route::Choice;
use crate::snapshot::View;
use crate::upstream::Endpoint;
use crate::upstream::body::UploadWatch;

/// Where a worker's lines go.
#[derive(Debug, Clone)]
pub struct Log(LogPen);

impl Log {
    /// Writes with `pen`.
    pub fn new(pen: LogPen) -> Self {
        Self(pen)
    }

    /// Begins the line of a request; `None` where no log is kept.
    pub fn begin(&self, head: &Parts, peer: &Rc<Peer>, view: &Rc<View>) -> Option<Box<Entry>> {
        view.snapshot.config.access_log.as_ref()?;
        let kept = |name: HeaderName| head.headers.get(name).cloned();
        Some(Box::new(Entry {
            pen: self.0.clone(),
            view: view.clone(),
            time: SystemTime::now(),
            listener: view.snapshot.listener_of(&peer.listener),
            client: peer.address.ip(),
            peer: peer.clone(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: kept(header::HOST),
            version: head.version,
            choice: None,
            endpoint: None,
            sent: None,
            upstream: None,
            upload: None,
            bytes_out: 0,
            attempts: 0,
            fallback: false,
            refusal: None,
            request_id: None,
            traceparent: None,
            user_agent: kept(header::USER_AGENT),
            referer: kept(header::REFERER),
        }))
    }
}

/// A line that is being gathered.
#[derive(Debug)]
pub struct Entry {
    pen: LogPen,
    view: Rc<View>,
    time: SystemTime,
    listener: Option<usize>,
    client: IpAddr,
    peer: Rc<Peer>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    choice: Option<Choice>,
    endpoint: Option<Arc<Endpoint>>,
    sent: Option<Instant>,
    upstream: Option<std::time::Duration>,
    upload: Option<Rc<UploadWatch>>,
    bytes_out: u64,
    attempts: u32,
    fallback: bool,
    refusal: Option<Reason>,
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Entry {
    /// Who is asking is known.
    pub fn asked_by(&mut self, client: IpAddr) {
        self.client = client;
    }

    /// Where it goes is known.
    pub fn chose(&mut self, choice: &Choice) {
        self.choice = Some(*choice);
    }

    /// Its body is taken.
    pub fn takes(&mut self, upload: &Rc<UploadWatch>) {
        self.upload = Some(upload.clone());
    }

    /// It goes out, with these headers.
    pub fn goes_out(&mut self, headers: &HeaderMap, request_id: Option<&HeaderValue>) {
        self.sent = Some(Instant::now());
        self.request_id = request_id.cloned();
        self.traceparent = headers.get(TRACEPARENT).cloned();
    }

    /// One try.
    pub fn tried(&mut self, endpoint: &Arc<Endpoint>) {
        self.attempts += 1;
        self.endpoint = Some(endpoint.clone());
    }

    /// The head of an answer came.
    pub fn answered(&mut self) {
        self.upstream = self.sent.map(|sent| sent.elapsed());
    }

    /// So many bytes of the answer's body were passed on.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Stable answers in the place of the version that was chosen.
    pub fn fell_back(&mut self) {
        self.fallback = true;
    }

    /// It was turned away.
    pub fn refused(&mut self, reason: Reason) {
        self.refusal = Some(reason);
    }

    /// As asked: over HTTP/2 most callers tell it in the target.
    fn host(&self) -> &[u8] {
        let said = self.host.as_ref().map(HeaderValue::as_bytes);
        let authority = self.uri.authority().map(|a| a.as_str().as_bytes());
        said.or(authority).unwrap_or_default()
    }

    /// Writes the line, if the sample wants it.
    pub fn write(&self, outcome: &Outcome) {
        let snapshot = &self.view.snapshot;
        let Some(policy) = &snapshot.config.access_log else {
            return;
        };
        if !LogPen::wants(policy, outcome, fastrand::u64(..)) {
            return;
        }
        let route = self.choice.map(|c| &snapshot.config.routes[c.route]);
        let rule = match (route.map(|r| &r.action), self.choice.and_then(|c| c.rule)) {
            (Some(config::Action::Forward(forward)), Some(rule)) => {
                Some(forward.rules[rule].name.as_str())
            }
            _ => None,
        };
        let version = self
            .choice
            .map(|c| &snapshot.services[c.service][c.version]);
        let key_source = self.choice.and_then(|c| snapshot.table.key_source_name(&c));
        let line = Line {
            time: self.time,
            listener: self
                .listener
                .map_or("", |at| &snapshot.config.listeners[at].name),
            client: self.client,
            method: self.method.as_str(),
            host: self.host(),
            path: self.uri.path().as_bytes(),
            query: self.uri.query().map(str::as_bytes),
            protocol: if self.version == Version::HTTP_2 {
                "HTTP/2"
            } else {
                "HTTP/1.1"
            },
            session: self.peer.session.as_deref(),
            revision: snapshot.revision,
            route: route.map(|r| r.name.as_str()),
            rule,
            service: version.map(|v| v.service.as_str()),
            version: version.map(|v| v.name.as_str()),
            endpoint: self.endpoint.as_ref().map(|e| &e.address),
            slot: self.choice.and_then(|c| c.slot),
            key_source: key_source.as_deref(),
            bytes_in: self.upload.as_ref().map_or(0, |u| u.bytes()),
            bytes_out: self.bytes_out,
            outcome: *outcome,
            upstream: self.upstream,
            attempts: self.attempts,
            fallback: self.fallback,
            refusal: self.refusal,
            request_id: self.request_id.as_ref().map(HeaderValue::as_bytes),
            traceparent: self.traceparent.as_ref().map(HeaderValue::as_bytes),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: self.referer.as_ref().map(HeaderValue::as_bytes),
        };
        self.pen.write(policy, &line);
    }
}
