//! From the head of a version's answer to the answer that the caller gets.

use std::rc::Rc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode, Version};
use tidegate_config as config;
use tokio::sync::watch;

use super::account::Account;
use super::attempt::Answered;
use super::gate::Passed;
use super::identity::{give_identity, keep_identity};
use super::local::is_bodiless;
use super::passage::{Names, Passage};
use super::upgrade::{self, Tunnel};
use super::{Answer, headers};
use crate::record::Reason;
use crate::route::Choice;
use crate::upstream::body::UploadWatch;
use crate::upstream::idle::Idle;

/// What is known of the request by now.
#[derive(Debug)]
pub struct Exit<'a> {
    /// The request at the gate.
    pub passage: &'a Passage<'a>,
    /// What was chosen for it,
    pub choice: &'a Choice,
    /// and the version that answers, which is another one where stable stood in.
    pub version: usize,
    /// The route's rules.
    pub rules: &'a config::Forward,
    /// As it was forwarded, where somebody wants it.
    pub request_id: Option<HeaderValue>,
    /// Whether a cookie that is given may travel over https alone.
    pub secure: bool,
    /// The protocol that was asked to go on with.
    pub upgrade: Option<HeaderValue>,
    /// There may be no body.
    pub is_head: bool,
}

/// Makes the caller's answer of a version's.
///
/// # Errors
/// Where what the version agreed to was not asked.
#[inline(always)] // its one caller has all of it at hand: a call would copy head and body once more
pub(super) fn give(
    exit: Exit<'_>,
    answered: Answered,
    upload: Rc<UploadWatch>,
    leave: &watch::Receiver<bool>,
    account: &mut Account,
) -> Passed {
    let Answered {
        head: mut answer,
        inflow,
    } = answered;
    let idle = exit.rules.timeouts.stream_idle;
    account.heard(&answer, inflow.is_http2());
    if let Some(entry) = account.entry() {
        entry.answered();
    }
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        let snapshot = &exit.passage.view.snapshot;
        if !upgrade::is_agreed(exit.upgrade.as_ref(), &answer.headers) {
            let version = &snapshot.services[exit.choice.service][exit.version];
            version.endpoint_failed(inflow.lease().endpoint(), Instant::now());
            return Err(Reason::BadAnswer);
        }
        exit.edit(&mut answer.headers);
        answer
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = exit.upgrade {
            answer.headers.insert(header::UPGRADE, protocol);
        }
        let tunnel = Box::new(Tunnel {
            lease: inflow.into_lease(),
            idle,
            account: std::mem::take(account),
            leave: leave.clone(),
        });
        return Ok(Response::from_parts(answer, Answer::Tunnel(tunnel)));
    }
    answer.version = Version::HTTP_11;
    exit.edit(&mut answer.headers);
    let bodiless = exit.is_head || is_bodiless(answer.status);
    let account = std::mem::take(account);
    let body = Answer::stream(inflow, Idle::new(idle), account, upload, bodiless);
    Ok(Response::from_parts(answer, body))
}

impl Exit<'_> {
    /// The answer's headers as the caller gets them.
    fn edit(&self, answer: &mut http::HeaderMap) {
        let snapshot = &self.passage.view.snapshot;
        headers::toward_caller(answer);
        keep_identity(answer, &snapshot.table);
        let edits = &snapshot.routes[self.choice.route].response;
        let names = Names::new(self.passage, self.choice, self.version);
        edits.apply(answer, names.places(self.request_id.as_ref()));
        if let Some(id) = self.choice.assigned {
            give_identity(answer, &snapshot.table, id.as_str(), self.secure);
        }
    }
}
