//! One request at the gate: what every step needs of it.

use std::net::IpAddr;
use std::rc::Rc;

use http::Response;
use http::header::HeaderValue;
use http::request::Parts;
use tidegate_config as config;

use super::headers::X_REQUEST_ID;
use super::{Answer, Peer};
use crate::record::{Series, VersionId};
use crate::route::Choice;
use crate::snapshot::View;
use crate::snapshot::edits::Places;

/// One request at the gate.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// What is in force for it.
    pub view: &'a Rc<View>,
    /// Who is at the other end.
    pub peer: &'a Rc<Peer>,
    /// The listener that it came in by, as an index,
    pub at: usize,
    /// and as it is configured.
    pub listener: &'a config::Listener,
    /// The client's address.
    pub client: IpAddr,
}

impl Passage<'_> {
    /// What a request is counted under that matched this route.
    pub fn series(&self, route: usize, version: VersionId) -> Series {
        let route = self.view.snapshot.routes[route].id;
        Series {
            listener: self.peer.listener_id,
            route,
            version,
        }
    }
}

/// What header templates are filled with.
#[derive(Debug)]
pub struct Names<'a> {
    version: &'a str,
    service: &'a str,
    route: &'a str,
    rule: &'a str,
    client: IpAddr,
}

impl<'a> Names<'a> {
    /// The names behind a choice; `version` is the one that answers.
    pub fn new(passage: &Passage<'a>, choice: &Choice, version: usize) -> Self {
        let snapshot = &passage.view.snapshot;
        let version = &snapshot.services[choice.service][version];
        let route = &snapshot.config.routes[choice.route];
        let rule = match (&route.action, choice.rule) {
            (config::Action::Forward(forward), Some(rule)) => forward.rules[rule].name.as_str(),
            _ => "",
        };
        Self {
            version: &version.name,
            service: &version.service,
            route: &route.name,
            rule,
            client: passage.client,
        }
    }

    /// All that a template can ask for.
    pub fn places<'b>(&'b self, request_id: Option<&'b HeaderValue>) -> Places<'b> {
        Places {
            version: self.version,
            service: self.service,
            route: self.route,
            rule: self.rule,
            client: self.client,
            request_id: request_id.and_then(|v| v.to_str().ok()).unwrap_or(""),
        }
    }
}

/// Edits a request that goes to a version as its route says.
pub fn edit_request(head: &mut Parts, choice: &Choice, version: usize, passage: &Passage<'_>) {
    let edits = &passage.view.snapshot.routes[choice.route].request;
    if edits.is_empty() {
        return;
    }
    let id = head.headers.get(X_REQUEST_ID).cloned();
    let names = Names::new(passage, choice, version);
    edits.apply(&mut head.headers, names.places(id.as_ref()));
}

/// Edits an answer that a route gives by itself.
pub fn edit_local(response: &mut Response<Answer>, passage: &Passage<'_>, route: usize) {
    let snapshot = &passage.view.snapshot;
    let name = snapshot.config.routes[route].name.as_str();
    let places = Places {
        version: "",
        service: "",
        route: name,
        rule: "",
        client: passage.client,
        request_id: "",
    };
    snapshot.routes[route]
        .response
        .apply(response.headers_mut(), places);
}
