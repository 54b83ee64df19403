//! The cookie that gives a visitor an identity.

use http::header::{self, HeaderValue};
use http::request::Parts;
use tidegate_config as config;

use super::client_address::is_trusted;
use super::headers;
use super::passage::Passage;

/// Whether the cookie that is given may travel over https alone: the client came over it, as the connection shows or by the
/// word of a trusted proxy.
pub fn assigned_secure(head: &Parts, passage: &Passage<'_>) -> bool {
    let listener = passage.listener;
    let believed = listener.profile == config::Profile::Sidecar
        || is_trusted(passage.peer.address.ip(), &listener.client_address);
    let said = head
        .headers
        .get(headers::X_FORWARDED_PROTO)
        .filter(|_| believed);
    match said {
        Some(scheme) => scheme.as_bytes().eq_ignore_ascii_case(b"https"),
        None => passage.peer.is_encrypted(),
    }
}

/// Gives the visitor the ID that this very request was split by, for a year.
pub fn give_identity(
    headers: &mut http::HeaderMap,
    table: &crate::route::Table,
    id: &str,
    secure: bool,
) {
    let Some(name) = table.assigned_cookie() else {
        return;
    };
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={id}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
}
