//! HTTP/2 as its callers may misuse it: what is malformed is refused and reaches no version, and what goes on as HTTP/1.1
//! is one request (RFC 9113 §8).

use std::time::Duration;

use crate::harness::{Backend, Conn, Proxy, Site, until};

use super::frames::{DATA, END_STREAM, Frames, HEADERS, Heard, frame, literals, pseudo, status};

/// A version that speaks HTTP/1.1, one behind HTTP/2, and the proxy: every row holds toward both.
struct Bed {
    proxy: Proxy,
    versions: [Backend; 2],
}

impl Bed {
    fn new() -> Self {
        let (h1, h2) = (Backend::start("h1"), Backend::h2c("h2"));
        let services = Site::service_text("s1", "", &[("h1", h1.endpoint())])
            + Site::service_text("s2", "protocol: h2c", &[("h2", h2.endpoint())])
                .trim_start_matches('\n');
        let site = Site::new()
            .with(
                "listeners",
                "\n  - { name: in, address: \"127.0.0.1:0\" }\n  - { name: two, address: \"127.0.0.2:0\" }",
            )
            .with("services", &services)
            .with(
                "routes",
                "\n  - { match: { listener: in }, service: s1, rules: [] }\n  - { match: { listener: two }, service: s2, rules: [] }",
            );
        Self {
            proxy: Proxy::start(&site),
            versions: [h1, h2],
        }
    }

    /// Says `talk` to each listener; what became of stream 1, and how many whole requests the version got.
    fn each(&self, talk: impl Fn(&mut Frames)) -> [(Heard, usize); 2] {
        let mut at = 0;
        ["in", "two"].map(|listener| {
            let version = &self.versions[at];
            at += 1;
            let before = version.recent().len();
            let mut frames = Frames::open(self.proxy.address(listener));
            talk(&mut frames);
            let heard = frames.hear(1);
            drop(frames);
            (heard, version.recent().len() - before)
        })
    }

    #[track_caller]
    fn refuses(&self, what: &str, talk: impl Fn(&mut Frames)) {
        for (heard, got) in self.each(talk) {
            assert!(heard.is_refused(), "{what}: {heard:?}");
            assert_eq!(got, 0, "{what}: it reached the version; {heard:?}");
        }
    }

    /// Fields that no request may have, each alone.
    #[track_caller]
    fn refuses_fields(&self, fields: &[(&str, &str)]) {
        for field in fields {
            let all: Vec<_> = pseudo("POST", "/").into_iter().chain([*field]).collect();
            self.refuses(&format!("{field:?}"), |frames| {
                frames.request(1, &all, true);
            });
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let answer = Conn::open(self.proxy.address("in")).get("/", &[]);
            assert_eq!(answer.status, 200, "the proxy is well afterwards");
        }
    }
}

#[test]
fn h2_01_fields_of_a_connection_are_malformed() {
    let bed = Bed::new();
    bed.refuses_fields(&[
        ("connection", "keep-alive"),
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ]);
}

#[test]
fn h2_02_names_and_values_hold_what_they_may_and_nothing_else() {
    let bed = Bed::new();
    bed.refuses_fields(&[
        ("X-Upper", "1"),
        ("x-uppeR", "1"),
        ("x a", "1"),
        ("x:a", "1"),
        ("x-a:", "1"),
        ("x\ra", "1"),
        ("x\na", "1"),
        ("x\0a", "1"),
        ("x\u{7f}", "1"),
        ("x\u{80}", "1"),
        ("\u{1}", "1"),
        ("", "1"),
        ("x\"a", "1"),
        ("x(a)", "1"),
        ("x-a", "b\r\nx-inj: 1"),
        ("x-a", "b\nx"),
        ("x-a", "b\rx"),
        ("x-a", "b\0x"),
        ("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n"),
    ]);
    // White space around a value may be refused or taken off; it is never part of what the version gets.
    for value in [" b", "b ", "\tb", "b\t"] {
        let all: Vec<_> = pseudo("POST", "/")
            .into_iter()
            .chain([("x-a", value)])
            .collect();
        for (at, (heard, got)) in bed
            .each(|frames| {
                frames.request(1, &all, true);
            })
            .into_iter()
            .enumerate()
        {
            let seen = bed.versions[at].recent().pop();
            let clean = got == 1 && seen.is_some_and(|echo| echo.header("x-a") == "b");
            assert!(
                heard.is_refused() && got == 0 || clean,
                "{value:?}: {heard:?}"
            );
        }
    }
}

#[test]
fn h2_03_pseudo_fields_stand_first_once_and_are_known() {
    let bed = Bed::new();
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
        pseudo("POST", "/")
            .into_iter()
            .chain(more.iter().copied())
            .collect()
    };
    for fields in [
        with(&[(":method", "GET")]),
        with(&[(":path", "/other")]),
        with(&[(":scheme", "https")]),
        with(&[(":authority", "evil")]),
        with(&[(":authority", "t")]),
        with(&[(":status", "200")]),
        with(&[(":foo", "1")]),
        with(&[(":", "1")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":host", "t")]),
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            ("x-a", "1"),
            (":authority", "t"),
        ],
        vec![
            ("x-a", "1"),
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "t"),
        ],
    ] {
        bed.refuses(&format!("{fields:?}"), |frames| {
            frames.request(1, &fields, true);
        });
    }
}

#[test]
fn h2_03_a_pseudo_field_in_trailers_goes_nowhere() {
    let bed = Bed::new();
    for field in [
        (":path", "/smuggled"),
        (":status", "200"),
        (":authority", "evil"),
    ] {
        let heard = bed.each(|frames| {
            frames.request(1, &pseudo("POST", "/"), false);
            frames.send(&frame(DATA, 0, 1, b"hello"));
            frames.block(1, &literals([field, ("x-end", "1")]), true);
        });
        for (at, (heard, got)) in heard.into_iter().enumerate() {
            let seen = bed.versions[at].recent().pop().filter(|_| got > 0);
            let is_clean = seen.is_none_or(|echo| {
                let is_said =
                    |(name, value): &(String, String)| name.starts_with(':') || value == field.1;
                echo.target == "/" && !echo.trailers.0.iter().any(is_said)
            });
            assert!(is_clean, "{field:?}: {heard:?}");
        }
    }
}

#[test]
fn h2_04_a_request_has_a_method_a_scheme_and_a_path() {
    let bed = Bed::new();
    for missing in [":method", ":scheme", ":path"] {
        let mut fields = pseudo("POST", "/");
        fields.retain(|(name, _)| *name != missing);
        bed.refuses(missing, |frames| {
            frames.request(1, &fields, true);
        });
    }
    for path in [
        "",
        "x",
        "http://evil/x",
        "//\0",
        "/a b",
        "/a\tb",
        "/a\r\nx: 1",
        "/a HTTP/1.1\r\nx: 1",
        "/\u{7f}",
        "\\x",
        "*x",
        "/a\nb",
    ] {
        bed.refuses(path, |frames| {
            frames.request(1, &pseudo("POST", path), true);
        });
    }
    bed.refuses("* is for OPTIONS", |frames| {
        frames.request(1, &pseudo("GET", "*"), true);
    });
    for method in ["", " ", "GE T", "GET\0", "G@T", "GET:"] {
        bed.refuses(method, |frames| {
            frames.request(1, &pseudo(method, "/"), true);
        });
    }
    for scheme in ["", "h ttp", "http\r\nx: 1", "1", "ftp", "javascript"] {
        let mut fields = pseudo("POST", "/");
        fields[1].1 = scheme;
        bed.refuses(scheme, |frames| {
            frames.request(1, &fields, true);
        });
    }
}

#[test]
fn h2_05_an_authority_is_a_host_and_perhaps_a_port() {
    let bed = Bed::new();
    for authority in [
        "u@t",
        "u:p@t",
        "t/x",
        "t?x",
        "t#x",
        "t:x",
        "t:99999",
        "t:-1",
        "t:1:2",
        "t t",
        "",
        "[::1",
        "t,u",
        "t\\u",
        "t:80x",
        "http://t",
        "t\r\nx: 1",
        ":80",
    ] {
        let mut fields = pseudo("POST", "/");
        fields[3].1 = authority;
        bed.refuses(authority, |frames| {
            frames.request(1, &fields, true);
        });
    }
}

#[test]
fn h2_06_two_words_about_the_host_must_be_one() {
    let bed = Bed::new();
    for host in ["u", "t:81", "t.", "evil", "", "t, u"] {
        let fields: Vec<_> = pseudo("POST", "/")
            .into_iter()
            .chain([("host", host)])
            .collect();
        bed.refuses(host, |frames| {
            frames.request(1, &fields, true);
        });
    }
    let same: Vec<_> = pseudo("POST", "/")
        .into_iter()
        .chain([("host", "t")])
        .collect();
    for (at, (heard, got)) in bed
        .each(|frames| {
            frames.request(1, &same, true);
        })
        .into_iter()
        .enumerate()
    {
        assert_eq!((heard.status, got), (Some(200), 1), "said twice");
        let echo = bed.versions[at].recent().pop().unwrap();
        assert!(echo.fields.all("host").len() <= 1, "{:?}", echo.fields);
    }
    let mut two: Vec<_> = pseudo("POST", "/");
    two.truncate(3);
    two.extend([("host", "t"), ("host", "t")]);
    bed.refuses("two hosts", |frames| {
        frames.request(1, &two, true);
    });
}

#[test]
fn h2_07_a_host_will_do_where_there_is_no_authority() {
    let bed = Bed::new();
    let mut fields = pseudo("POST", "/");
    fields.truncate(3);
    fields.push(("host", "shop.example"));
    for (at, (heard, got)) in bed
        .each(|frames| {
            frames.request(1, &fields, true);
        })
        .into_iter()
        .enumerate()
    {
        assert_eq!((heard.status, got), (Some(200), 1), "{heard:?}");
        let echo = bed.versions[at].recent().pop().unwrap();
        let told = [echo.fields.all("host"), echo.fields.all(":authority")].concat();
        assert!(
            told.iter().all(|host| *host == "shop.example"),
            "{:?}",
            echo.fields
        );
        assert_eq!(echo.header("x-forwarded-host"), "shop.example");
    }
}

#[test]
fn h2_08_the_scheme_that_is_said_makes_nothing_secure() {
    let bed = Bed::new();
    let mut fields = pseudo("POST", "/");
    fields[1].1 = "https";
    fields.push(("x-forwarded-proto", "https"));
    for (at, (heard, got)) in bed
        .each(|frames| {
            frames.request(1, &fields, true);
        })
        .into_iter()
        .enumerate()
    {
        if heard.is_refused() {
            assert_eq!(got, 0);
            continue;
        }
        let echo = bed.versions[at].recent().pop().unwrap();
        assert_eq!(
            echo.fields.all("x-forwarded-proto"),
            ["http"],
            "{:?}",
            echo.fields
        );
    }
}

#[test]
fn h2_09_a_length_that_is_not_the_bodys_is_no_whole_request() {
    let bed = Bed::new();
    let smuggled = b"GET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n";
    for (length, body) in [
        ("0", &smuggled[..]),
        ("5", b"hello!"),
        ("5", b"hell"),
        ("50", b"hello"),
        ("5", b""),
        ("+5", b"hello"),
        ("5, 5", b"hello"),
        ("0x5", b"hello"),
        ("-1", b"hello"),
        ("", b"hello"),
        ("5 ", b"hello"),
        ("18446744073709551616", b"hello"),
    ] {
        let fields: Vec<_> = pseudo("POST", "/")
            .into_iter()
            .chain([("content-length", length)])
            .collect();
        for (heard, got) in bed.each(|frames| {
            frames.request(1, &fields, false);
            frames.send(&frame(DATA, END_STREAM, 1, body));
        }) {
            // `5 ` may be taken for `5`, and two that are equal for one.
            let means_five = matches!(length, "5 " | "5, 5") && body.len() == 5;
            let fine = heard.is_refused() && got == 0 || means_five && got == 1;
            assert!(
                fine,
                "{length:?} with {} bytes: {heard:?}, {got} at the version",
                body.len()
            );
        }
    }
    let two: Vec<_> = pseudo("POST", "/")
        .into_iter()
        .chain([("content-length", "5"), ("content-length", "6")])
        .collect();
    bed.refuses("two lengths", |frames| {
        frames.request(1, &two, false);
        frames.send(&frame(DATA, END_STREAM, 1, b"hello"));
    });
    for version in &bed.versions {
        assert!(
            version
                .recent()
                .iter()
                .all(|echo| echo.target != "/smuggled")
        );
    }
}

#[test]
fn h2_10_cookies_are_joined() {
    let bed = Bed::new();
    let crumbs = [
        ("cookie", "a=1"),
        ("x-between", "1"),
        ("cookie", "b=2"),
        ("cookie", "c=3; d=4"),
    ];
    let fields: Vec<_> = pseudo("GET", "/").into_iter().chain(crumbs).collect();
    let heard = bed.each(|frames| {
        frames.request(1, &fields, true);
    });
    assert_eq!(
        heard.each_ref().map(|(heard, _)| heard.status),
        [Some(200); 2]
    );
    let echo = bed.versions[0].recent().pop().unwrap();
    assert_eq!(echo.fields.all("cookie"), ["a=1; b=2; c=3; d=4"]);
}

#[test]
fn h2_10_a_rule_sees_the_joined_cookie() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]).rules(
        "[{ name: beta, when: { cookie: { name: beta, exact: \"1\" } }, to: v2 }, { name: rest, to: v1 }]",
    );
    let proxy = Proxy::start(&site);
    for crumbs in [
        [("cookie", "a=1"), ("cookie", "beta=1")],
        [("cookie", "beta=1"), ("cookie", "a=1")],
        [("cookie", "x=y; beta=1"), ("cookie", "a=1")],
    ] {
        let fields: Vec<_> = pseudo("GET", "/").into_iter().chain(crumbs).collect();
        let mut frames = Frames::open(proxy.address("in"));
        frames.request(1, &fields, true);
        assert_eq!(frames.hear(1).status, Some(200));
    }
    assert_eq!((v1.requests(), v2.requests()), (0, 3));
}

#[test]
fn h2_11_a_body_behind_a_get_arrives_or_is_refused() {
    let bed = Bed::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for (at, (heard, got)) in bed
            .each(|frames| {
                frames.request(1, &pseudo(method, "/"), false);
                frames.send(&frame(DATA, 0, 1, b"hel"));
                frames.send(&frame(DATA, END_STREAM, 1, b"lo"));
            })
            .into_iter()
            .enumerate()
        {
            let whole = bed.versions[at]
                .recent()
                .pop()
                .is_some_and(|echo| echo.length == 5);
            let fine = got == 1 && whole || heard.is_refused() && got == 0;
            assert!(fine, "{method}: {heard:?}");
        }
    }
}

#[test]
fn h2_12_trailers_say_nothing_that_a_head_says() {
    let bed = Bed::new();
    let trailers = [
        ("host", "evil"),
        ("content-length", "99"),
        ("te", "trailers"),
        ("authorization", "Bearer evil"),
        ("cookie", "a=evil"),
        ("content-type", "evil/evil"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-tidegate-lane", "evil"),
        ("x-user-id", "evil"),
        ("x-ssl-client-verify", "evil"),
        ("x-fine", "1"),
    ];
    for trailer in trailers {
        for (at, (heard, got)) in bed
            .each(|frames| {
                frames.request(1, &pseudo("POST", "/"), false);
                frames.send(&frame(DATA, 0, 1, b"hello"));
                frames.block(1, &literals([trailer]), true);
            })
            .into_iter()
            .enumerate()
        {
            if heard.is_refused() {
                assert_eq!(got, 0, "{trailer:?}");
                continue;
            }
            let echo = bed.versions[at].recent().pop().unwrap();
            assert!(
                !echo.trailers.has(trailer.0) || trailer.0 == "x-fine",
                "{:?}",
                echo.trailers
            );
            let values = echo.fields.all(trailer.0);
            assert!(
                !values.contains(&trailer.1),
                "{trailer:?} in the head: {:?}",
                echo.fields
            );
        }
    }
}

#[test]
fn h2_13_a_method_is_a_word() {
    let bed = Bed::new();
    for method in [
        "GET / HTTP/1.1\r\nX: y",
        "GET /admin HTTP/1.1\r\nHost: t\r\n\r\nGET",
        "GET\r\n",
        "GET /",
        "GET\t",
        "G\u{e9}T",
        "GET?",
        "\"GET\"",
        "CONNECT",
        "TRACE",
    ] {
        bed.refuses(method, |frames| {
            frames.request(1, &pseudo(method, "/"), true);
        });
    }
}

#[test]
fn h2_14_names_with_an_underscore_end_at_an_edge_listener() {
    let bed = Bed::new();
    for name in [
        "x_user_id",
        "x_forwarded_for",
        "x-forwarded_proto",
        "content_length",
        "transfer_encoding",
        "x_tidegate_lane",
        "ssl_client_verify",
        "anything_else",
        "_",
    ] {
        let fields: Vec<_> = pseudo("POST", "/")
            .into_iter()
            .chain([(name, "6")])
            .collect();
        for (at, (heard, got)) in bed
            .each(|frames| {
                frames.request(1, &fields, true);
            })
            .into_iter()
            .enumerate()
        {
            if heard.is_refused() {
                assert_eq!(got, 0, "{name}");
                continue;
            }
            let echo = bed.versions[at].recent().pop().unwrap();
            assert!(!echo.fields.has(name), "{:?}", echo.fields);
        }
    }
}

#[test]
fn trailers_and_the_end_of_an_answer_need_no_window() {
    let bed = Bed::new();
    for listener in ["in", "two"] {
        // A window of five bytes, and an answer of five.
        let mut frames = Frames::with_settings(bed.proxy.address(listener), &[(4, 5)]);
        let target = "/?bytes=5&chunks=1&trailers=1";
        frames.request(1, &pseudo("GET", target), true);
        let mut ended = false;
        while let Some((_, flags, of, _)) = frames.next(Duration::from_secs(3)) {
            ended |= of == 1 && flags & END_STREAM != 0;
            if ended {
                break;
            }
        }
        assert!(ended, "{listener}: who has all of it is told so");
    }
}

#[test]
fn a_body_that_is_to_be_asked_for_is_asked_for() {
    let bed = Bed::new();
    for listener in ["in", "two"] {
        let mut frames = Frames::open(bed.proxy.address(listener));
        let mut fields = pseudo("POST", "/");
        fields.extend([("expect", "100-continue"), ("content-length", "5")]);
        frames.request(1, &fields, false);
        let (kind, flags, of, block) = frames.next(Duration::from_secs(3)).expect("an answer");
        assert_eq!((kind, of, flags & END_STREAM), (HEADERS, 1, 0));
        assert_eq!(status(&block), Some(100), "{listener}");
        frames.send(&frame(DATA, END_STREAM, 1, b"hello"));
        let heard = frames.hear(1);
        assert_eq!(heard.status, Some(200), "{listener}: {heard:?}");
    }
}

#[test]
fn answers_that_nobody_takes_hold_up_nobody_elses() {
    let bed = Bed::new();
    let address = bed.proxy.address("two");
    let greedy: Vec<_> = (0..4)
        .map(|_| {
            let mut frames = Frames::with_settings(address, &[(4, 0)]);
            for n in 0..20 {
                frames.request(2 * n + 1, &pseudo("GET", "/?bytes=4000000"), true);
            }
            frames
        })
        .collect();
    until("all have asked", || bed.versions[1].recent().len() >= 80);
    let mut honest = Frames::open(address);
    honest.request(1, &pseudo("GET", "/?bytes=5"), true);
    let heard = honest.hear(1);
    assert_eq!(
        (heard.status, heard.body.len()),
        (Some(200), 5),
        "{heard:?}"
    );
    drop(greedy);
}
