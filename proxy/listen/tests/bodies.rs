use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::bed::{Bed, OK, read_until, rest, run, say, until, version};
use crate::record::FailureKind;
use crate::upstream::crowd::MANY;

const POST: &str = "POST /app HTTP/1.1\r\nHost: a\r\n";

#[test]
fn a_long_upload_is_not_a_slow_version() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            read_until(&mut stream, "the end").await;
            say(&mut stream, OK).await;
        })
        .await;
        let bed = Bed::before(endpoint, "", "", ", timeouts: { request: 300ms }").await;
        let mut caller = bed.caller().await;
        say(&mut caller, &format!("{POST}Content-Length: 17\r\n\r\n")).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            say(&mut caller, ".").await;
        }
        say(&mut caller, "the end").await;
        let seen = read_until(&mut caller, "ok").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Timeout), 0);
    });
}

#[test]
fn a_version_that_says_nothing_after_an_upload_is_too_slow() {
    run(async {
        let endpoint = version(async |_, mut stream| drop(rest(&mut stream).await)).await;
        let bed = Bed::before(endpoint, "", "", ", timeouts: { request: 300ms }").await;
        let mut caller = bed.caller().await;
        say(
            &mut caller,
            &format!("{POST}Content-Length: 5\r\n\r\nhello"),
        )
        .await;
        let seen = read_until(&mut caller, "request_timeout\n").await;
        assert!(seen.starts_with("HTTP/1.1 504 "), "{seen}");
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Timeout), 1);
    });
}

#[test]
fn a_caller_that_stops_in_its_body_is_to_blame_for_it() {
    run(async {
        let endpoint = version(async |_, mut stream| drop(rest(&mut stream).await)).await;
        let bed = Bed::before(
            endpoint,
            ", timeouts: { body_idle: 200ms }",
            "",
            ", timeouts: { request: 100ms, try: 100ms }",
        )
        .await;
        let mut caller = bed.caller().await;
        say(&mut caller, &format!("{POST}Content-Length: 5\r\n\r\nhel")).await;
        let seen = read_until(&mut caller, "slow_body\n").await;
        assert!(seen.starts_with("HTTP/1.1 408 "), "{seen}");
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Timeout), 0);
    });
}

#[test]
fn in_a_crowd_a_body_takes_no_connection_of_a_version_before_it_comes() {
    run(async {
        let taken = Rc::new(Cell::new(0));
        let came = Rc::new(RefCell::new(Vec::new()));
        let (count, bodies) = (taken.clone(), came.clone());
        let endpoint = version(move |number, mut stream| {
            count.set(number + 1);
            let bodies = bodies.clone();
            async move {
                let seen = read_until(&mut stream, "the end").await;
                let body = seen.split_once("\r\n\r\n").expect("a head").1;
                bodies.borrow_mut().push(body.to_owned());
                say(
                    &mut stream,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                )
                .await;
            }
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let post = async |framing: &str| {
            let mut caller = bed.caller().await;
            say(&mut caller, &format!("{POST}{framing}\r\n\r\n")).await;
            caller
        };
        let mut crowd = Vec::new();
        for number in 0..MANY {
            crowd.push(post("Content-Length: 9000").await);
            until(|| taken.get() == number + 1).await;
        }
        let mut long = post("Content-Length: 9000").await;
        let mut short = post("Content-Length: 12").await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            say(&mut long, ".").await;
            say(&mut short, ".").await;
        }
        let mut talks = post("Transfer-Encoding: chunked").await;
        until(|| taken.get() > MANY).await;
        assert_eq!(taken.get(), MANY + 1, "the one that announced no length");
        let long_rest = format!("{}the end", "x".repeat(9000 - 5 - 7));
        for (caller, end) in [
            (&mut talks, "7\r\nthe end\r\n0\r\n\r\n"),
            (&mut short, "the end"),
            (&mut long, &long_rest),
        ] {
            say(caller, end).await;
            let seen = read_until(caller, "ok").await;
            assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        }
        let long = format!(".....{}the end", "x".repeat(9000 - 5 - 7));
        let all = ["7\r\nthe end\r\n0\r\n\r\n", ".....the end", &long];
        assert_eq!(*came.borrow(), all, "as they were sent");

        drop(crowd);
        until(|| came.borrow().len() == MANY + 3).await;
        let _slow = post("Content-Length: 9000").await;
        until(|| taken.get() > MANY + 1).await;
    });
}

#[test]
fn both_directions_move_while_the_caller_reads_nothing() {
    const MUCH: usize = 12 << 20;
    run(async {
        let endpoint = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            let (mut from, mut to) = stream.split();
            let reading = async {
                let mut piece = vec![0; 1 << 16];
                loop {
                    match from.read(&mut piece).await {
                        Ok(n) if n > 0 && piece[n - 1] != b'z' => {}
                        _ => break,
                    }
                }
            };
            let writing = async {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                to.write_all(head.as_bytes()).await.expect("written");
                let piece = "x".repeat(0x10000);
                for _ in 0..MUCH >> 16 {
                    let _ = to
                        .write_all(format!("10000\r\n{piece}\r\n").as_bytes())
                        .await;
                }
            };
            tokio::join!(reading, writing);
            say(&mut stream, "0\r\n\r\n").await;
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let mut caller = bed.caller().await;
        say(
            &mut caller,
            &format!("{POST}Content-Length: {MUCH}\r\n\r\n"),
        )
        .await;
        let mut much = vec![b'y'; MUCH];
        much[MUCH - 1] = b'z';
        let taken = caller.write_all(&much).await;
        taken.expect("all of it is taken");
        assert!(
            rest_of_answer(&mut caller).await >= MUCH,
            "and all of the answer comes"
        );
    });
}

async fn rest_of_answer(caller: &mut tokio::net::TcpStream) -> usize {
    let (mut seen, mut piece) = (0, vec![0; 1 << 16]);
    let mut tail = Vec::new();
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        match caller.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                seen += n;
                tail.extend_from_slice(&piece[..n]);
                let keep = tail.len().saturating_sub(16);
                tail.drain(..keep);
            }
        }
    }
    seen
}

#[test]
fn an_upload_that_breaks_under_its_answer_is_not_the_versions_failure() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            say(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
            )
            .await;
            rest(&mut stream).await;
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let mut caller = bed.caller().await;
        say(
            &mut caller,
            &format!("{POST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"),
        )
        .await;
        let seen = read_until(&mut caller, "begun").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        say(&mut caller, "no chunk\r\n").await;
        assert_eq!(rest(&mut caller).await, "", "the answer breaks off with it");
        bed.counted(1).await;
        for kind in FailureKind::ALL
            .iter()
            .filter(|k| **k != FailureKind::Aborted)
        {
            assert_eq!(bed.failures(*kind), 0, "{}", kind.as_str());
        }
    });
}

#[test]
fn an_early_answer_ends_the_upload_and_not_the_connection() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            say(&mut stream, OK).await;
            assert!(
                !rest(&mut stream).await.contains("GET"),
                "a request in a body's place"
            );
        })
        .await;
        let bed = Bed::before(endpoint, "", "", "").await;
        let mut caller = bed.caller().await;
        say(
            &mut caller,
            &format!("{POST}Content-Length: 1000\r\n\r\n0123456789"),
        )
        .await;
        let seen = read_until(&mut caller, "ok").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        let left = "x".repeat(990);
        say(
            &mut caller,
            &format!("{left}GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
        .await;
        let seen = read_until(&mut caller, "hello").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
    });
}

#[test]
fn who_waits_for_a_word_gets_it_only_where_its_body_is_wanted() {
    run(async {
        let endpoint = version(async |_, mut stream| {
            let head = read_until(&mut stream, "hello").await;
            assert!(!head.contains("expect"), "answered here: {head}");
            say(&mut stream, OK).await;
        })
        .await;
        let bed = Bed::before(endpoint, ", limits: { body_bytes: 100B }", "", "").await;
        let mut caller = bed.caller().await;
        say(
            &mut caller,
            &format!("{POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
        )
        .await;
        let seen = read_until(&mut caller, "\r\n\r\n").await;
        assert_eq!(seen, "HTTP/1.1 100 Continue\r\n\r\n");
        say(&mut caller, "hello").await;
        assert!(
            read_until(&mut caller, "ok")
                .await
                .starts_with("HTTP/1.1 200 ")
        );

        for target in ["/hello", "/nowhere", "/app"] {
            let mut caller = bed.caller().await;
            let ask = format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n"
            );
            say(&mut caller, &ask).await;
            let seen = rest(&mut caller).await;
            assert!(!seen.contains(" 100 "), "{target}: {seen}");
            assert!(
                seen.contains("connection: close"),
                "its body may come or not: {seen}"
            );
        }
    });
}

#[test]
fn a_body_that_grows_over_the_limit_is_413_and_ends_both_connections() {
    run(async {
        let endpoint = version(async |_, mut stream| drop(rest(&mut stream).await)).await;
        let bed = Bed::before(endpoint, ", limits: { body_bytes: 100B }", "", "").await;
        let mut caller = bed.caller().await;
        let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
        say(
            &mut caller,
            &format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        )
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        say(&mut caller, &chunk).await;
        let seen = rest(&mut caller).await;
        assert!(seen.starts_with("HTTP/1.1 413 "), "{seen}");
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Reset), 0);
    });
}

#[test]
fn what_there_is_of_a_broken_answer_is_passed_on() {
    run(async {
        for (said, seen_at_least) in [
            ("Content-Length: 100\r\n\r\nhello", "hello"),
            (
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "5\r\nhello\r\n",
            ),
            (
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
                "5\r\nhello\r\n",
            ),
        ] {
            let endpoint = version(move |_, mut stream| async move {
                read_until(&mut stream, "\r\n\r\n").await;
                say(&mut stream, &format!("HTTP/1.1 200 OK\r\n{said}")).await;
            })
            .await;
            let bed = Bed::before(endpoint, "", "", "").await;
            for _ in 0..20 {
                let mut caller = bed.caller().await;
                say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
                let seen = rest(&mut caller).await;
                assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{said}: {seen:?}");
                assert!(seen.ends_with(seen_at_least), "{said}: {seen:?}");
            }
        }
    });
}
