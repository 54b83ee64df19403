//! An answer that says no, as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::auth::Refusal;

/// Why a request was not done, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
}

impl Trouble {
    /// A status and one sentence for whoever asked.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// One more member of the document.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NoToken => StatusCode::UNAUTHORIZED,
            Refusal::NotLoopback
            | Refusal::ForeignHost
            | Refusal::ForeignOrigin
            | Refusal::ForeignPage
            | Refusal::RoleTooLow => StatusCode::FORBIDDEN,
        };
        Self::new(status, refusal.to_string())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let mut document = Map::new();
        document.insert("type".to_owned(), json!("about:blank"));
        document.insert(
            "title".to_owned(),
            json!(self.status.canonical_reason().unwrap_or("error")),
        );
        document.insert("status".to_owned(), json!(self.status.as_u16()));
        document.insert("detail".to_owned(), json!(self.detail));
        document.extend(self.more);
        let mut response = (self.status, Value::Object(document).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tidegate\""),
            );
        }
        response
    }
}
