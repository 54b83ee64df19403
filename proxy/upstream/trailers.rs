//! What may not be said behind a body.

use http::header::{HeaderMap, HeaderName};

use super::hearsay::is_hearsay;

/// Fields that mean something before the body, and nothing good after it (RFC 9110 §6.5.1): they frame, route, identify,
/// ask under a condition, or say how the content is to be read. `grpc-*` and checksums are none of these.
const NEVER_TRAILERS: [&str; 52] = [
    "accept",
    "age",
    "allow",
    "authentication-info",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// Removes what no trailer may say.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    remove_each(trailers, |name| NEVER_TRAILERS.binary_search(&name).is_ok());
}

/// Removes the fields whose names are so.
fn remove_each(fields: &mut HeaderMap, is_doomed: impl Fn(&str) -> bool) {
    let doomed: Vec<HeaderName> = fields
        .keys()
        .filter(|name| is_doomed(name.as_str()))
        .cloned()
        .collect();
    for name in doomed {
        fields.remove(name);
    }
}

/// Removes from a caller's trailers what may not stand in its head either, under no name that some read as another;
/// `stripped`: what its listener takes from nobody.
pub(super) fn strip_of_caller(trailers: &mut HeaderMap, stripped: &[HeaderName]) {
    strip_trailers(trailers);
    remove_each(trailers, |name| {
        name.contains('_')
            || name.starts_with("x-tidegate-")
            || is_hearsay(name)
            || stripped.iter().any(|s| s.as_str() == name)
    });
}
