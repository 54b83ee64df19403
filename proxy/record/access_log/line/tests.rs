//! What a line says, and what it never says.

use proptest::prelude::*;
use serde_json::Value;
use tidegate_config::{LogOutput, Share};

use super::*;
use crate::record::FailureKind;

pub(crate) fn policy() -> config::AccessLog {
    config::AccessLog {
        output: LogOutput::Stdout,
        sample_success: Share::FULL,
        sample_failure: Share::FULL,
        redact_headers: vec!["referer".into()],
        redact_query: vec!["token".into()],
    }
}

pub(crate) fn line() -> Line<'static> {
    Line {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
        listener: "edge",
        client: IpAddr::from([192, 0, 2, 7]),
        method: "GET",
        host: b"shop.example.com",
        path: b"/cart",
        query: Some(b"item=7&token=s3cret"),
        protocol: "HTTP/1.1",
        session: None,
        revision: 3,
        route: Some("shop"),
        rule: Some("everyone"),
        service: Some("checkout"),
        version: Some("v2"),
        endpoint: None,
        slot: Some(4711),
        key_source: Some("header"),
        bytes_in: 0,
        bytes_out: 1024,
        outcome: Outcome::answered(503, Duration::from_micros(12_345)),
        upstream: Some(Duration::from_micros(12_000)),
        attempts: 1,
        fallback: false,
        refusal: None,
        request_id: Some(b"0af7651916cd43dd8448eb211c80319c"),
        traceparent: None,
        user_agent: Some(b"curl/8"),
        referer: Some(b"https://shop.example.com/"),
    }
}

fn parsed(line: &Line<'_>, policy: &config::AccessLog) -> Value {
    serde_json::from_slice(&line.to_json(policy)).expect("a line is JSON")
}

#[test]
fn a_line_tells_who_asked_what_where_it_went_and_how_it_ended() {
    let endpoint = EndpointAddress::Ip(IpAddr::from([127, 0, 0, 1]), 3002);
    let seen = parsed(
        &Line {
            endpoint: Some(&endpoint),
            ..line()
        },
        &policy(),
    );
    let expected = serde_json::json!({
        "time": "2023-11-14T22:13:20.042Z", "listener": "edge", "client": "192.0.2.7", "method": "GET",
        "host": "shop.example.com", "path": "/cart", "query": "item=7&token=***", "protocol": "HTTP/1.1",
        "status": 503, "revision": 3, "route": "shop", "rule": "everyone", "service": "checkout", "version": "v2",
        "endpoint": "127.0.0.1:3002", "slot": 4711, "key_source": "header", "bytes_in": 0, "bytes_out": 1024,
        "duration_ms": 12.345, "upstream_ms": 12.0, "attempts": 1, "failure": "status", "blame": "version",
        "request_id": "0af7651916cd43dd8448eb211c80319c", "user_agent": "curl/8", "referer": "***",
    });
    assert_eq!(seen, expected);
}

#[test]
fn a_line_tells_where_stable_stood_in() {
    let stood_in = Line {
        fallback: true,
        outcome: Outcome::answered(200, Duration::ZERO),
        ..line()
    };
    let seen = parsed(&stood_in, &policy());
    assert_eq!(
        (&seen["fallback"], &seen["version"]),
        (&true.into(), &"v2".into())
    );
}

#[test]
fn a_secret_parameter_is_never_written_however_its_name_is_spelt() {
    let names = ["token".to_owned()];
    for (query, written) in [
        ("token=s", "token=***"),
        ("a=1&token=s&b=2", "a=1&token=***&b=2"),
        ("TOKEN=s", "TOKEN=***"),
        ("%74ok%65n=s", "%74ok%65n=***"),
        ("a=1;token=s;b", "a=1;token=***;b"),
        ("token=a=b", "token=***"),
        ("token", "token=***"),
        ("token=s&token=t", "token=***&token=***"),
        ("tokens=1&mytoken=2&%zz=3", "tokens=1&mytoken=2&%zz=3"),
        ("&&", "&&"),
        ("", ""),
    ] {
        assert_eq!(
            String::from_utf8_lossy(&redacted(query.as_bytes(), &names)),
            written,
            "{query}"
        );
    }
    let url = b"https://shop.example.com/a?token=s&x=1";
    assert_eq!(
        &*referer(url, &names),
        b"https://shop.example.com/a?token=***&x=1"
    );
}

#[test]
fn a_terminal_that_shows_the_log_obeys_nobody_outside() {
    let evil = "a\u{1b}[31m\r\n\u{202e}b\u{2066}\u{7f}\u{9b}\u{200f}\u{feff}\u{e0041}é漢";
    let text = Line {
        user_agent: Some(evil.as_bytes()),
        ..line()
    }
    .to_json(&policy());
    let text = String::from_utf8(text).unwrap();
    assert!(text.trim_end().chars().all(is_shown), "{text}");
    assert!(
        text.contains("é漢"),
        "what can be read stays readable: {text}"
    );
    assert_eq!(
        parsed(
            &Line {
                user_agent: Some(evil.as_bytes()),
                ..line()
            },
            &policy()
        )["user_agent"],
        evil
    );
}

#[test]
fn a_long_text_is_cut_and_marked() {
    let long = vec![b'x'; 10_000];
    let seen = parsed(
        &Line {
            path: &long,
            ..line()
        },
        &policy(),
    );
    let path = seen["path"].as_str().unwrap();
    assert_eq!(
        (path.chars().count(), path.ends_with("x…")),
        (TEXT_MAX + 1, true)
    );
}

#[test]
fn an_abandoned_request_names_its_caller() {
    let outcome = Outcome {
        status: 499,
        failure: Some(FailureKind::Aborted.failure()),
        duration: Duration::ZERO,
    };
    let seen = parsed(&Line { outcome, ..line() }, &policy());
    assert_eq!(
        (&seen["failure"], &seen["blame"]),
        (&Value::from("aborted"), &Value::from("caller"))
    );
}

proptest! {
    #[test]
    fn any_bytes_come_back_as_they_were_or_as_replacement_marks(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = Line { path: &bytes, user_agent: Some(&bytes), ..line() }.to_json(&policy());
        prop_assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        let seen: Value = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(seen["path"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_comes_back_as_it_was(text in any::<String>()) {
        let seen = parsed(&Line { path: text.as_bytes(), ..line() }, &policy());
        prop_assert_eq!(seen["path"].as_str().unwrap(), text);
    }
}
