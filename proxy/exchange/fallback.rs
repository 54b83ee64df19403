//! Stable in the candidate's place: where the rollout says `fallback: stable`, a request that the candidate failed before an
//! answer began is answered by stable, once. The user gets stable's answer, the evidence the candidate's failure.
//!
//! # Time
//!
//! `timeouts.request` bounds both together, so the candidate is left after three quarters of it: a candidate that hangs
//! leaves stable the rest. An answer whose head takes longer is therefore a timeout to the rollout, on *either* side and
//! whether or not somebody stood in: were it one for the candidate alone, two versions that are equally slow would look
//! different, and the comparison would be worth nothing. Where `timeouts.request` is `none`, nobody is left.
//!
//! For the same reason the rollout is told at the same moment on either side: when that time is over, or when a head has come
//! that is a failure. Were stable's failures told when its requests end, a stall of both would for some seconds be known of
//! the candidate alone, and roll it back.
//!
//! # Which requests
//!
//! Those that may be done twice: idempotent methods, and others with an `Idempotency-Key`; without a body or with one of a
//! known length that is gathered first. This is decided without a look at the side, for the same reason.

use std::time::{Duration, Instant};

use http::HeaderName;
use http::request::Parts;
use tidegate_config::{self as config, Share};

use super::account::Account;
use super::attempt::{Answered, Miss, is_idempotent};
use super::errand::{Errand, Patience};
use super::passage::Passage;
use crate::record::{Arm, Blame, FailureKind, RolloutId};
use crate::route::Choice;
use crate::upstream::{Inbound, Outbound};

/// A body whose length is known and at most this is gathered where it may be needed again.
pub const REPEATABLE_BODY: u64 = 64 * 1024;

/// Of the rollout's requests, on each worker; beside the floor that every budget has. Whoever goes back asks stable for all of
/// them, so this is no more than it must bear in a moment anyhow.
pub const BUDGET: Share = Share::HALF;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a request of a rollout with a fallback has a claim to, whichever side it is on.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The rollout.
    pub rollout: RolloutId,
    /// Index of the version that may stand in; `None` for a request that is stable's already.
    pub stable: Option<usize>,
    /// For so long the head of an answer is waited for.
    pub patience: Option<Duration>,
}

/// Whether a request that goes to a version may be done again elsewhere. `head` is as the caller sent it.
pub fn maybe(
    head: &Parts,
    body: &Inbound,
    choice: &Choice,
    passage: &Passage<'_>,
    rules: &config::Forward,
) -> Option<Claim> {
    let drawn = choice.lot?;
    let snapshot = &passage.view.snapshot;
    let written = snapshot.config.rollouts.get(drawn.rollout)?;
    if !written.fallback || !may_be_repeated(head) || !is_small(body) {
        return None;
    }
    let stable = snapshot.config.services[choice.service].stable;
    Some(Claim {
        rollout: snapshot.rollouts.get(drawn.rollout)?.id,
        stable: (drawn.arm == Arm::Candidate).then_some(stable),
        patience: rules.timeouts.request.map(|bound| bound * 3 / 4),
    })
}

/// The head as the version that was chosen gets it, and as stable would.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// For the version that was chosen.
    pub head: &'a Parts,
    /// For stable.
    pub other: &'a Parts,
}

/// Asks the version `asked` and, where that fails the request and there is a claim to it, stable: then `asked` is that.
///
/// # Errors
/// How the last of them failed.
pub async fn ask(
    errand: &Errand<'_>,
    claim: Claim,
    asked: &mut usize,
    heads: Heads<'_>,
    body: Outbound,
    account: &mut Account,
) -> Result<Answered, Miss> {
    let begun = Instant::now();
    errand.budgets.could_fall_back(claim.rollout, begun);
    let stand_in = claim.stable.zip(body.again());
    let may = || stand_in.is_some() && errand.budgets.fall_back(claim.rollout);
    let bound = errand.rules.timeouts.request;
    let patience = Patience {
        bound,
        leave: claim
            .patience
            .map(|after| (after, &may as &dyn Fn() -> bool)),
    };
    let answer = errand
        .ask(heads.head, body, *asked, patience, account)
        .await;
    let left = bound.map(|bound| bound.saturating_sub(begun.elapsed()));
    let has_time = left.is_none_or(|left| !left.is_zero());
    let (kind, status) = match answer {
        Ok(answered) => {
            account.heard(&answered.head, answered.inflow.is_http2());
            if !account.fails_by_head() {
                return Ok(answered);
            }
            let status = answered.head.status.as_u16();
            if !(has_time && may()) {
                account.fails(FailureKind::Status, status);
                return Ok(answered);
            }
            let_go(answered, account);
            (FailureKind::Status, status)
        }
        Err(Miss::Left) => (FailureKind::Timeout, Miss::Left.reason().status()),
        Err(miss) => {
            let is_the_versions = miss.kind().blame() == Blame::Version;
            if !(is_the_versions && !errand.watch.is_spoilt() && has_time && may()) {
                return Err(miss);
            }
            (miss.kind(), miss.reason().status())
        }
    };
    let Some((stable, again)) = stand_in else {
        return Err(Miss::TimedOut); // never: nobody may, so nobody was left
    };
    account.falls_back(kind, status, stable);
    let patience = Patience {
        bound: left,
        leave: None,
    };
    *asked = stable;
    errand
        .ask(heads.other, again, stable, patience, account)
        .await
}

/// An answer that nobody will see: its endpoint is judged by it all the same.
fn let_go(answered: Answered, account: &Account) {
    let Answered { head, inflow } = answered;
    let endpoint = inflow.lease().endpoint();
    if head.status.is_server_error() {
        account.endpoint_failed(endpoint);
    } else {
        endpoint.succeeded();
    }
    // With a body to come its connection is given up: reading it to its end would take the user's time.
    if inflow.is_end_stream() {
        inflow.release();
    }
}

/// Whether all of it can be had at once, and again.
pub fn is_small(body: &Inbound) -> bool {
    body.is_end_stream()
        || body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= REPEATABLE_BODY)
}

fn may_be_repeated(head: &Parts) -> bool {
    let has_key = || {
        head.headers
            .get(IDEMPOTENCY_KEY)
            .is_some_and(|key| !key.is_empty())
    };
    is_idempotent(&head.method) || has_key()
}
