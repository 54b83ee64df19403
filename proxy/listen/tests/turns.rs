use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::bed::{Bed, OK, read_until, reset, rest, run, say, version};
use crate::record::FailureKind;

/// Answers every request with `OK`.
async fn polite() -> SocketAddr {
    version(async |_, mut stream| {
        while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
            say(&mut stream, OK).await;
        }
    })
    .await
}

async fn plain(endpoint: SocketAddr) -> Bed {
    Bed::before(endpoint, "", "", "").await
}

#[test]
fn an_answer_of_our_own_to_head_has_a_length_and_no_body() {
    run(async {
        let bed = plain(polite().await).await;
        for (path, length) in [("/hello", 5), ("/nowhere", 19)] {
            let mut caller = bed.caller().await;
            let next = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            say(
                &mut caller,
                &format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n{next}"),
            )
            .await;
            let seen = rest(&mut caller).await;
            let (first, second) = seen.split_once("\r\n\r\n").expect("an answer");
            assert!(
                first.contains(&format!("content-length: {length}")),
                "the length that GET would have: {seen}"
            );
            assert!(second.starts_with("HTTP/1.1 200 OK\r\n"), "no body: {seen}");
            assert!(second.ends_with("hello"), "{seen}");
        }
    });
}

#[test]
fn requests_in_one_piece_are_answered_in_turn() {
    run(async {
        let bed = plain(polite().await).await;
        let mut caller = bed.caller().await;
        let posted = "POST /app HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let last = "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        say(
            &mut caller,
            &format!("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n{posted}{last}"),
        )
        .await;
        let seen = rest(&mut caller).await;
        let statuses: Vec<&str> = seen
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| &seen[at + 9..at + 12])
            .collect();
        assert_eq!(statuses, ["200", "200", "404"], "{seen}");
    });
}

#[test]
fn what_a_version_says_unasked_is_nobodys_answer() {
    run(async {
        let endpoint = version(async |number, mut stream| {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                say(&mut stream, &OK.replace("ok", &format!("{number}!"))).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                say(&mut stream, &OK.replace("ok", "xx")).await;
            }
        })
        .await;
        let bed = plain(endpoint).await;
        let mut caller = bed.caller().await;
        for number in 0..3 {
            say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let answer = read_until(&mut caller, "!").await;
            assert!(answer.ends_with(&format!("{number}!")), "{answer}");
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    });
}

#[test]
fn an_absolute_target_goes_on_as_a_path() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            let line = head.lines().next().unwrap_or_default();
            say(
                &mut stream,
                &format!("HTTP/1.1 200 OK\r\nX-Saw: {line}\r\nContent-Length: 0\r\n\r\n"),
            )
            .await;
        })
        .await;
        let bed = plain(endpoint).await;
        for (target, host, saw) in [
            ("http://a/app?x=1", "Host: a\r\n", "GET /app?x=1 HTTP/1.1"),
            ("http://a/app", "Host: b\r\n", "GET /app HTTP/1.1"),
            ("http://a/app", "", "400"),
            ("http://a?x=1", "Host: a\r\n", "404"),
        ] {
            let mut caller = bed.caller().await;
            say(
                &mut caller,
                &format!("GET {target} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            )
            .await;
            let seen = rest(&mut caller).await;
            assert!(seen.contains(saw), "{target}: {seen}");
        }
    });
}

#[test]
fn a_request_without_a_host_gets_one_on_its_way() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            let hosts = head.lines().filter(|l| l.starts_with("host: ")).count();
            say(
                &mut stream,
                &format!("HTTP/1.1 200 OK\r\nX-Hosts: {hosts}\r\nContent-Length: 0\r\n\r\n"),
            )
            .await;
        })
        .await;
        let bed = plain(endpoint).await;
        let mut caller = bed.caller().await;
        say(&mut caller, "GET /app HTTP/1.0\r\n\r\n").await;
        let seen = rest(&mut caller).await;
        assert!(seen.contains("x-hosts: 1"), "RFC 9112 §3.2: {seen}");
    });
}

#[test]
fn a_first_byte_that_stays_alone_is_told_that_it_took_too_long() {
    run(async {
        let bed = Bed::before(polite().await, ", timeouts: { header: 200ms }", "", "").await;
        for start in ["P", "GET / HT", "PRI * HTTP/2.0\r\n"] {
            let mut caller = bed.caller().await;
            say(&mut caller, start).await;
            let seen = rest(&mut caller).await;
            assert!(seen.starts_with("HTTP/1.1 408 "), "{start:?}: {seen}");
        }
    });
}

#[test]
fn a_protocol_that_nobody_asked_for_is_no_answer() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            let agreed =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
            say(&mut stream, agreed).await;
            rest(&mut stream).await;
        })
        .await;
        let bed = plain(endpoint).await;
        for ask in ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"] {
            let mut caller = bed.caller().await;
            say(
                &mut caller,
                &format!("GET /app HTTP/1.1\r\nHost: a\r\n{ask}\r\n"),
            )
            .await;
            let seen = read_until(&mut caller, "bad_answer\n").await;
            assert!(seen.starts_with("HTTP/1.1 502 "), "{seen}");
        }
        bed.counted(2).await;
        assert_eq!(bed.failures(FailureKind::Garbage), 2);
    });
}

#[test]
fn a_tunnel_carries_what_came_early_and_ends_with_either_side() {
    run(async {
        let endpoint = version(async |number, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
            say(&mut stream, agreed).await;
            let heard = read_until(&mut stream, "!").await;
            say(&mut stream, &heard).await;
            if number == 0 {
                reset(stream);
            }
        })
        .await;
        let bed = plain(endpoint).await;
        for _ in 0..2 {
            let mut caller = bed.caller().await;
            let ask = "GET /app HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nsent ahead!";
            say(&mut caller, ask).await;
            let seen = rest(&mut caller).await;
            assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
            assert!(seen.contains("\r\n\r\nearly"), "{seen}");
        }
    });
}

#[test]
fn a_target_over_https_is_none_of_a_plain_listeners_whoever_sends_it() {
    run(async {
        let trusted = ", client_address: { from: x-forwarded-for, trusted_proxies: [127.0.0.0/8] }";
        for (listener, status) in [("", "400"), (trusted, "400"), (", profile: sidecar", "400")] {
            let bed = Bed::before(polite().await, listener, "", "").await;
            let mut caller = bed.caller().await;
            let ask = "GET https://a/app HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            say(&mut caller, ask).await;
            let seen = rest(&mut caller).await;
            assert!(
                seen.starts_with(&format!("HTTP/1.1 {status} ")),
                "{listener}: {seen}"
            );
        }
    });
}

#[test]
fn who_came_in_by_a_listener_that_an_edit_has_removed_is_served_as_before() {
    run(async {
        let bed = plain(polite().await).await;
        let mut kept = bed.caller().await;
        let ask = "GET /app HTTP/1.1\r\nHost: a\r\n\r\n";
        say(&mut kept, ask).await;
        assert!(read_until(&mut kept, "ok").await.contains(" 200 "));
        bed.move_listener();
        for caller in [&mut kept, &mut bed.caller().await] {
            say(caller, ask).await;
            let seen = read_until(caller, "ok").await;
            assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        }
    });
}

#[test]
fn a_request_whose_answer_had_begun_is_never_sent_twice() {
    run(async {
        for begun in ["HTTP/1.1 200 O", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let asked = Rc::new(Cell::new(0));
            let count = asked.clone();
            let endpoint = version(move |_, mut stream| {
                let count = count.clone();
                async move {
                    read_until(&mut stream, "\r\n\r\n").await;
                    say(&mut stream, OK).await;
                    read_until(&mut stream, "\r\n\r\n").await;
                    count.set(count.get() + 1);
                    say(&mut stream, begun).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    reset(stream);
                }
            })
            .await;
            let bed = plain(endpoint).await;
            let mut caller = bed.caller().await;
            let ask = "GET /app HTTP/1.1\r\nHost: a\r\n\r\n";
            say(&mut caller, ask).await;
            assert!(read_until(&mut caller, "ok").await.contains(" 200 "));
            say(&mut caller, ask).await;
            let seen = read_until(&mut caller, "\n\r\n").await;
            assert!(seen.starts_with("HTTP/1.1 502 "), "{begun:?}: {seen}");
            assert_eq!(asked.get(), 1, "{begun:?}");
        }
    });
}
