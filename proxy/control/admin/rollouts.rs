//! What the API says about rollouts, and what it lets people do with them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, stream};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_config::Role;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::Api;
use super::trouble::Trouble;
use crate::control::releases::{Actor, Event, NotSo, Observation, Unobserved};
use crate::release::Order;

/// So many listen to events at one time; more get 503.
pub(super) const LISTENERS: usize = 64;
/// A listener who hears nothing else hears a comment so often, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What an order has led to is on the disk by then, or is told as unwritten.
const TOLD_WITHIN: Duration = Duration::from_millis(1500);
/// It is looked at so often meanwhile.
const TOLD_EVERY: Duration = Duration::from_millis(2);
/// Somebody's name and words are cut after so many characters.
const NAME_CHARS: usize = 100;

/// Who is asking: the role of the token; `None` where there are no tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker(pub Option<Role>);

/// The paths under `/api/v1` that are about rollouts.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/rollouts", get(all))
        .route("/api/v1/rollouts/{name}", get(one))
        .route("/api/v1/rollouts/{name}/{order}", post(obey))
        .route("/api/v1/history", get(history))
        .route("/api/v1/events", get(events))
        .route("/api/v1/observations", post(observe))
}

impl From<NotSo> for Trouble {
    fn from(not_so: NotSo) -> Self {
        let status = match not_so {
            NotSo::Unknown { .. } => StatusCode::NOT_FOUND,
            NotSo::Forbidden(_) => StatusCode::CONFLICT,
            NotSo::HandedOver(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, not_so.to_string())
    }
}

impl From<Unobserved> for Trouble {
    fn from(unobserved: Unobserved) -> Self {
        let status = match unobserved {
            Unobserved::Rollout(_) => StatusCode::NOT_FOUND,
            Unobserved::HandedOver(_) => StatusCode::SERVICE_UNAVAILABLE,
            Unobserved::Metric { .. } | Unobserved::Version { .. } | Unobserved::Who => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        Self::new(status, unobserved.to_string())
    }
}

async fn all(State(api): State<Api>) -> Json<Value> {
    Json(Value::Array(api.releases().views()))
}

async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Trouble> {
    Ok(Json(api.releases().view(&name)?))
}

/// The body of an order; it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    by: Option<String>,
}

async fn obey(
    State(api): State<Api>,
    Path((name, order)): Path<(String, String)>,
    Extension(asker): Extension<Asker>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Trouble> {
    let order = order_named(&order).ok_or_else(|| {
        let there: Vec<_> = Order::ALL.map(Order::as_str).into();
        let detail = format!(
            "a rollout cannot be told to {order:?}; it can be told to {}",
            there.join(", ")
        );
        Trouble::new(StatusCode::NOT_FOUND, detail)
    })?;
    let body = body.map_err(|rejected| Trouble::new(rejected.status(), rejected.body_text()))?;
    let wish: Wish = if body.is_empty() {
        Wish::default()
    } else {
        parsed(&body)?
    };
    let actor = Actor {
        name: actor_name(asker, wish.by.as_deref()),
        words: wish.reason.unwrap_or_default(),
    };
    let releases = api.releases();
    let ordered = releases.order(&name, order, &actor)?;
    let begin = Instant::now();
    while !releases.is_told(&name, &ordered) && begin.elapsed() < TOLD_WITHIN {
        tokio::time::sleep(TOLD_EVERY).await;
    }
    Ok(Json(releases.view(&name)?))
}

/// The order of this name.
pub(super) fn order_named(name: &str) -> Option<Order> {
    Order::ALL.into_iter().find(|order| order.as_str() == name)
}

/// With tokens the actor comes from the token; what somebody calls himself stands beside it.
fn actor_name(asker: Asker, by: Option<&str>) -> String {
    let by = by.map(str::trim).filter(|by| !by.is_empty());
    let by: Option<String> = by.map(|by| {
        by.chars()
            .filter(|c| !c.is_control())
            .take(NAME_CHARS)
            .collect()
    });
    match (asker.0, by) {
        (None, Some(by)) => by,
        (None, None) => "local".to_owned(),
        (Some(role), None) => word(role).to_owned(),
        (Some(role), Some(by)) => format!("{} ({by})", word(role)),
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Approver => "approver",
        Role::Admin => "admin",
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(body)
        .map_err(|error| Trouble::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

/// Whose history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    rollout: Option<String>,
}

async fn history(
    State(api): State<Api>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Value>, Trouble> {
    let Query(whose) =
        whose.map_err(|rejected| Trouble::new(rejected.status(), rejected.body_text()))?;
    let entries = api.releases().history(whose.rollout.as_deref());
    if entries.is_empty()
        && let Some(name) = &whose.rollout
    {
        // One that never was is a mistake, one to which nothing has happened yet is not.
        api.releases().view(name)?;
    }
    Ok(Json(json!(entries)))
}

/// A stream of events with its place among the listeners.
type Events = Pin<Box<dyn Stream<Item = Result<sse::Event, Infallible>> + Send>>;

async fn events(State(api): State<Api>) -> Result<Response, Trouble> {
    let place = Arc::clone(api.listeners())
        .try_acquire_owned()
        .map_err(|_| {
            let detail =
                format!("{LISTENERS} listen to events already; try again when one has left");
            Trouble::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })?;
    let heard = (api.releases().listen(), place);
    let stream = stream::unfold(
        heard,
        |(mut events, place): (_, OwnedSemaphorePermit)| async move {
            let event = match events.recv().await {
                Ok(event) => told(&event),
                Err(RecvError::Lagged(missed)) => sse::Event::default()
                    .event("missed")
                    .data(json!({ "events": missed }).to_string()),
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(event), (events, place)))
        },
    );
    let stream: Events = Box::pin(stream);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

fn told(event: &Event) -> sse::Event {
    let told = sse::Event::default()
        .event(event.kind)
        .data(event.body.to_string());
    match event.body.get("seq").and_then(Value::as_u64) {
        Some(seq) => told.id(seq.to_string()),
        None => told,
    }
}

async fn observe(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Trouble> {
    let body = body.map_err(|rejected| Trouble::new(rejected.status(), rejected.body_text()))?;
    let observations: OneOrMore = parsed(&body)?;
    let observations = match observations {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    };
    api.releases().observe(&observations)?;
    Ok(StatusCode::NO_CONTENT)
}

/// One observation, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Observation),
    More(Vec<Observation>),
}

/// Places for listeners.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(LISTENERS))
}
