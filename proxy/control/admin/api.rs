//! What the admin API answers. [`PATHS`] is its table of contents; each answer is a small function below it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::error_handling::HandleErrorLayer;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tidegate_config::Role;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;

use super::auth::{self, Need};
use super::openapi;
use super::rollouts::{self, Asker};
use super::server::Peer;
use super::trouble::Trouble;
use crate::control::certificates;
use crate::control::controller::Order;
use crate::control::question::{self, Question};
use crate::control::releases::Releases;
use crate::control::standing::{FileState, Phase, Standing, rfc3339};
use crate::control::status;
use crate::record::{Ledger, Metrics};
use crate::snapshot::Live;

/// Bytes of a request's body; more is 413.
const BODY_BYTES: usize = 64 * 1024;
/// From a request's head to its answer's; then 504. A reload of a very large file is the slowest thing.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests answered at one time; more get 503.
const REQUESTS_AT_ONCE: usize = 64;

/// A path of the API.
#[derive(Debug)]
pub struct Path {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// As it is asked for.
    pub path: &'static str,
    /// Who may.
    pub needs: Need,
    /// What it is for.
    pub summary: &'static str,
}

/// Every path of the API, for the router, the guard at its door and `/openapi.json`.
pub const PATHS: &[Path] = &[
    Path {
        method: "GET",
        path: "/healthz",
        needs: Need::Nothing,
        summary: "The process is alive",
    },
    Path {
        method: "GET",
        path: "/readyz",
        needs: Need::Nothing,
        summary: "Every listener is bound, the file is in force, and the process is not leaving",
    },
    Path {
        method: "GET",
        path: "/metrics",
        needs: Need::Role(Role::Viewer),
        summary: "Metrics in Prometheus's text format",
    },
    Path {
        method: "GET",
        path: "/api/v1/status",
        needs: Need::Role(Role::Viewer),
        summary: "What runs: revision, listeners, services with their versions and endpoints",
    },
    Path {
        method: "GET",
        path: "/api/v1/config",
        needs: Need::Role(Role::Viewer),
        summary: "Whether the file on disk is the one in force, and what is wrong with it",
    },
    Path {
        method: "POST",
        path: "/api/v1/config/reload",
        needs: Need::Role(Role::Admin),
        summary: "Reads the file now; answers when it is in force or refused",
    },
    Path {
        method: "POST",
        path: "/api/v1/explain",
        needs: Need::Role(Role::Viewer),
        summary: "Where a request would go, and why",
    },
    Path {
        method: "GET",
        path: "/api/v1/rollouts",
        needs: Need::Role(Role::Viewer),
        summary: "Every rollout: phase, stage, weight, why it stands there, and what its guards see",
    },
    Path {
        method: "GET",
        path: "/api/v1/rollouts/{name}",
        needs: Need::Role(Role::Viewer),
        summary: "One of them",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/pause",
        needs: Need::Role(Role::Operator),
        summary: "Stay at this weight",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/resume",
        needs: Need::Role(Role::Operator),
        summary: "Go on after a pause",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/rollback",
        needs: Need::Role(Role::Operator),
        summary: "Everybody back to stable, for good",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/promote",
        needs: Need::Role(Role::Approver),
        summary: "End this stage's hold: one stage on",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/approve",
        needs: Need::Role(Role::Approver),
        summary: "Let it into the next stage",
    },
    Path {
        method: "POST",
        path: "/api/v1/rollouts/{name}/retry",
        needs: Need::Role(Role::Approver),
        summary: "Once more from the beginning, with other users",
    },
    Path {
        method: "GET",
        path: "/api/v1/history",
        needs: Need::Role(Role::Viewer),
        summary: "What happened to rollouts, oldest first; of one by ?rollout=NAME",
    },
    Path {
        method: "GET",
        path: "/api/v1/events",
        needs: Need::Role(Role::Viewer),
        summary: "Shifts, edits and alerts as they happen (server-sent events)",
    },
    Path {
        method: "POST",
        path: "/api/v1/observations",
        needs: Need::Role(Role::Operator),
        summary: "Business outcomes, one or a list: {rollout, metric, user or version, bad}",
    },
    Path {
        method: "GET",
        path: "/openapi.json",
        needs: Need::Role(Role::Viewer),
        summary: "This description",
    },
];

/// All that an answer may need.
#[derive(Debug, Clone)]
pub struct Api(Arc<Parts>, Arc<Semaphore>);

/// What the API looks at and whom it orders about.
#[derive(Debug)]
pub struct Parts {
    /// The snapshot in force.
    pub live: Live,
    /// What is counted.
    pub ledger: Arc<Ledger>,
    /// What is told of it.
    pub metrics: Arc<Metrics>,
    /// How things stand.
    pub standing: Arc<Standing>,
    /// All rollouts.
    pub releases: Releases,
    /// The one writer's queue.
    pub orders: mpsc::Sender<Order>,
    /// Where the API is bound.
    pub bound: SocketAddr,
    /// Worker threads.
    pub workers: usize,
}

impl Api {
    /// An API over these.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts), rollouts::places())
    }

    pub(super) fn releases(&self) -> &Releases {
        &self.0.releases
    }

    pub(super) fn listeners(&self) -> &Arc<Semaphore> {
        &self.1
    }

    /// Everything, guarded.
    pub fn router(&self) -> Router {
        let paths = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status_now))
            .route("/api/v1/config", get(config))
            .route("/api/v1/config/reload", post(reload))
            .route("/api/v1/explain", post(explain))
            .route("/openapi.json", get(description))
            .merge(rollouts::router());
        // The guard stands before the fallbacks too: a stranger does not learn which paths exist.
        limited(paths.fallback(nowhere).method_not_allowed_fallback(not_so))
            .layer(middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self.clone())
    }

    /// Health, readiness and metrics alone, for an address of their own.
    pub fn probe_router(&self) -> Router {
        let paths = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics));
        limited(paths.fallback(nowhere).method_not_allowed_fallback(not_so))
            .with_state(self.clone())
    }
}

fn limited(router: Router<Api>) -> Router<Api> {
    router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(too_much))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE))
            .layer(TimeoutLayer::new(REQUEST_TIMEOUT)),
    )
}

async fn too_much(error: tower::BoxError) -> Trouble {
    if error.is::<tower::timeout::error::Elapsed>() {
        let detail = format!(
            "no answer within {} s; what was asked for may still happen",
            REQUEST_TIMEOUT.as_secs()
        );
        Trouble::new(StatusCode::GATEWAY_TIMEOUT, detail)
    } else {
        let detail = format!("{REQUESTS_AT_ONCE} requests are being answered already; try again");
        Trouble::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl Path {
    /// Whether a request for `path` is for it: segment by segment, `{name}` is any.
    fn is_for(&self, path: &str) -> bool {
        let mut asked = path.split('/');
        let fits = self.path.split('/').all(|known| {
            asked
                .next()
                .is_some_and(|segment| known.starts_with('{') || known == segment)
        });
        fits && asked.next().is_none()
    }
}

async fn guard(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Trouble> {
    let path = request.uri().path();
    // An unknown path is nobody's, but who may read may learn that.
    let needs = PATHS
        .iter()
        .find(|known| known.is_for(path))
        .map_or(Need::Role(Role::Viewer), |known| known.needs);
    let peer = request
        .extensions()
        .get::<Peer>()
        .expect("the server tells every request's peer")
        .0
        .ip();
    let tokens = &api.0.live.current().config.admin.tokens;
    auth::admit(needs, tokens, peer, api.0.bound, request.headers())?;
    let asker = Asker(auth::role(tokens, request.headers()));
    request.extensions_mut().insert(asker);
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn nowhere(request: Request) -> Trouble {
    let path = request.uri().path();
    let detail = match path {
        "/" => "there is no page here; GET /openapi.json tells what there is, `tidegate status` shows how things stand".to_owned(),
        _ => format!("nothing at {path}; GET /openapi.json tells what there is"),
    };
    Trouble::new(StatusCode::NOT_FOUND, detail)
}

async fn not_so(request: Request) -> Trouble {
    let detail = format!(
        "{} is not for {}; the Allow header tells what is",
        request.method(),
        request.uri().path()
    );
    Trouble::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let (code, word, reason) = match api.0.standing.phase() {
        Phase::Serving => (
            StatusCode::OK,
            "ready",
            "every listener is bound and a file is in force",
        ),
        Phase::Starting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "not every listener is bound yet",
        ),
        Phase::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the process is on its way out",
        ),
    };
    (
        code,
        Json(
            json!({ "status": word, "reason": reason, "revision": api.0.standing.file().revision }),
        ),
    )
}

async fn metrics(State(api): State<Api>) -> Response {
    api.0
        .metrics
        .endpoints(status::endpoints(&api.0.live.current()));
    let certificates = certificates::ends(&api.0.live.current().config);
    api.0.metrics.certificates(certificates);
    api.0.metrics.rollouts(api.0.releases.states());
    let text = api.0.metrics.render();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn status_now(State(api): State<Api>) -> Json<Value> {
    let Parts {
        live,
        ledger,
        standing,
        releases,
        workers,
        ..
    } = &*api.0;
    Json(status::status(
        &live.current(),
        ledger,
        standing,
        releases.views(),
        *workers,
    ))
}

async fn config(State(api): State<Api>) -> Json<Value> {
    Json(file_state(&api.0.standing.file(), &api.0.standing))
}

/// How the file stands, as the API tells it.
pub fn file_state(state: &FileState, standing: &Standing) -> Value {
    json!({
        "ok": state.ok,
        "revision": state.revision,
        "loaded_at": rfc3339(state.loaded_at),
        "file": standing.path().display().to_string(),
        "problems": state.problems,
    })
}

async fn reload(State(api): State<Api>) -> Result<Response, Trouble> {
    let gone = || {
        Trouble::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the process is on its way out; nothing is read any more",
        )
    };
    let (answer, answered) = oneshot::channel();
    api.0
        .orders
        .send(Order::ReadAgain(Some(answer)))
        .await
        .map_err(|_| gone())?;
    let state = answered.await.map_err(|_| gone())?;
    let told = file_state(&state, &api.0.standing);
    if state.ok {
        return Ok(Json(told).into_response());
    }
    let detail = format!(
        "the file was refused: revision {} stays in force",
        state.revision
    );
    let mut trouble = Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    for (name, value) in told.as_object().into_iter().flatten() {
        trouble = trouble.with(name, value.clone());
    }
    Err(trouble)
}

async fn explain(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Trouble> {
    let body = body.map_err(|rejected| Trouble::new(rejected.status(), rejected.body_text()))?;
    let bad =
        |error: &dyn std::fmt::Display| Trouble::new(StatusCode::BAD_REQUEST, error.to_string());
    let question: Question =
        serde_json::from_slice(&body).map_err(|error| bad(&format_args!("the body: {error}")))?;
    let snapshot = api.0.live.current();
    let answered =
        tokio::task::spawn_blocking(move || question::answer(&snapshot, &question)).await;
    let answered =
        answered.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    Ok(Json(json!(answered.map_err(|error| bad(&error))?)))
}

async fn description() -> Json<Value> {
    Json(openapi::document())
}
