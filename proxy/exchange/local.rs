//! Answers that a route, or the protocol, wants from the proxy itself.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tidegate_config as config;

use super::Answer;
use super::survey::{Seen, Survey};

/// `OPTIONS` with `Max-Forwards: 0` ends here; with more it goes on with one less (RFC 9110 §7.6.2).
pub fn max_forwards(head: &mut Parts, survey: Survey) -> Option<Response<Answer>> {
    if !survey.has(Seen::MaxForwards) || head.method != Method::OPTIONS {
        return None;
    }
    let left: u32 = head
        .headers
        .get(header::MAX_FORWARDS)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if left > 0 {
        head.headers
            .insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
        return None;
    }
    let mut response = Response::new(Answer::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
    response.headers_mut().insert(header::ALLOW, methods);
    Some(response)
}

/// What a route with `redirect` or `respond` answers.
pub fn answer(action: &config::Action, head: &Parts, encrypted: bool) -> Response<Answer> {
    match action {
        config::Action::Redirect(redirect) => redirected(redirect, head, encrypted),
        config::Action::Respond(respond) => {
            let mut response = Response::new(Answer::Whole(Bytes::from(respond.body.clone())));
            *response.status_mut() = StatusCode::from_u16(respond.status).unwrap_or(StatusCode::OK);
            if let Ok(kind) = HeaderValue::from_str(&respond.content_type)
                && !respond.body.is_empty()
            {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            response
        }
        // A route that forwards is never asked for an answer of its own.
        config::Action::Forward(_) => Response::new(Answer::Empty),
    }
}

fn redirected(redirect: &config::Redirect, head: &Parts, encrypted: bool) -> Response<Answer> {
    let asked = head
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("");
    let (asked_host, asked_port) = match asked.rfind(':') {
        Some(colon) if !asked[colon..].contains(']') => {
            (&asked[..colon], asked[colon + 1..].parse().ok())
        }
        _ => (asked, None),
    };
    let own = if encrypted { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own);
    let host = redirect.host.as_deref().unwrap_or(asked_host);
    // Another scheme or host means its own default port, unless one is written.
    let kept = redirect.scheme.is_none() && redirect.host.is_none();
    let port = redirect.port.or(asked_port.filter(|_| kept));
    let default = if scheme == "https" { 443 } else { 80 };
    let port = port
        .filter(|p| *p != default)
        .map(|p| format!(":{p}"))
        .unwrap_or_default();
    let path = redirect.path.as_deref().unwrap_or(head.uri.path());
    let query = head
        .uri
        .query()
        .map(|q| format!("?{q}"))
        .unwrap_or_default();
    let mut response = Response::new(Answer::Empty);
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// An answer of the proxy's own to a request, or with a status, that can have none keeps its length at most.
pub fn without_body(mut response: Response<Answer>, is_head: bool) -> Response<Answer> {
    if let Answer::Whole(bytes) = response.body() {
        let length = bytes.len();
        if is_bodiless(response.status()) {
            *response.body_mut() = Answer::Empty;
        } else if is_head {
            *response.body_mut() = Answer::Empty;
            let length = HeaderValue::from(length);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
        }
    }
    response
}

/// Whether answers with this status have no body whatever their headers say.
pub fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn location(redirect: &config::Redirect, host: &str, target: &str) -> String {
        let request = Request::builder()
            .uri(target)
            .header("host", host)
            .body(())
            .expect("a request");
        let action = config::Action::Redirect(redirect.clone());
        let response = answer(&action, &request.into_parts().0, false);
        response.headers()["location"]
            .to_str()
            .expect("text")
            .to_owned()
    }

    #[test]
    fn what_is_not_given_stays_as_asked() {
        let none = config::Redirect {
            status: 308,
            scheme: None,
            host: None,
            port: None,
            path: None,
        };
        let https = config::Redirect {
            scheme: Some("https".into()),
            ..none.clone()
        };
        let host = config::Redirect {
            host: Some("new.example".into()),
            ..none.clone()
        };
        let port = config::Redirect {
            port: Some(8443),
            path: Some("/x".into()),
            ..https.clone()
        };
        assert_eq!(location(&none, "a:8080", "/p?q=1"), "http://a:8080/p?q=1");
        assert_eq!(location(&https, "a:8080", "/p"), "https://a/p");
        assert_eq!(location(&host, "a:8080", "/p"), "http://new.example/p");
        assert_eq!(
            location(&port, "[::1]:80", "/p?q"),
            "https://[::1]:8443/x?q"
        );
    }
}
