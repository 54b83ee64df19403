//! Answers that the proxy gives itself: a status, a word for machines, a line for people.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::Answer;
use crate::record::Reason;

/// Tells a machine why the proxy answered by itself.
pub const X_TIDEGATE_REFUSAL: HeaderName = HeaderName::from_static("x-tidegate-refusal");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The answer to a request that is turned away. What the caller did wrong closes the connection: what comes next on it
/// may be the rest of something that was not understood.
pub fn answer(reason: Reason) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Bytes::from(format!(
        "tidegate: {}\n",
        reason.as_str()
    ))));
    *response.status_mut() =
        StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(
        X_TIDEGATE_REFUSAL,
        HeaderValue::from_static(reason.as_str()),
    );
    if closes(reason) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if reason == Reason::Method {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
        );
    }
    response
}

/// The same for a caller whose request never became one: the bytes of an HTTP/1.1 answer that closes the connection.
pub fn raw(reason: Reason) -> Vec<u8> {
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let phrase = status.canonical_reason().unwrap_or("");
    let word = reason.as_str();
    let body = match reason {
        Reason::PlainHttp => format!("tidegate: {word}: plain HTTP was sent to an HTTPS port\n"),
        _ => format!("tidegate: {word}\n"),
    };
    let (code, length) = (status.as_u16(), body.len());
    format!(
        "HTTP/1.1 {code} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         x-tidegate-refusal: {word}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Malformed
            | Reason::Host
            | Reason::Target
            | Reason::Framing
            | Reason::TransferCoding
            | Reason::HeaderTooLarge
            | Reason::TargetTooLong
            | Reason::BodyTooLarge
            | Reason::SlowRequest
            | Reason::SlowBody
            | Reason::Draining
    )
}
