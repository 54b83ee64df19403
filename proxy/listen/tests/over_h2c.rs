use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::net::TcpStream;

use super::bed::{Bed, read_until, reset, run, say, version};
use crate::record::FailureKind;

const H2C: &str = ", protocol: h2c";
const POST: &str = "POST /app HTTP/1.1\r\nHost: a\r\n";

/// How long a version takes before it reads, that has better things to do.
const SLOW: Duration = Duration::from_millis(200);

/// What a version of HTTP/2 saw of a request's body.
#[derive(Debug, Default)]
struct Saw {
    bytes: Vec<u8>,
    ended: bool,
    reset: bool,
}

/// Gives each request to `answer`, then reads its body.
async fn serve(
    stream: TcpStream,
    saw: Rc<RefCell<Saw>>,
    reads_after: Duration,
    answer: impl Fn(&mut h2::server::SendResponse<Bytes>),
) {
    let mut connection = h2::server::handshake(stream).await.expect("a handshake");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        answer(&mut respond);
        let saw = saw.clone();
        tokio::task::spawn_local(async move {
            let mut body = request.into_body();
            tokio::time::sleep(reads_after).await;
            while let Some(data) = body.data().await {
                match data {
                    Ok(data) => {
                        let _ = body.flow_control().release_capacity(data.len());
                        saw.borrow_mut().bytes.extend_from_slice(&data);
                    }
                    Err(_) => {
                        saw.borrow_mut().reset = true;
                        return;
                    }
                }
            }
            saw.borrow_mut().ended = true;
            let gone = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            saw.borrow_mut().reset |= gone.is_ok();
        });
    }
}

async fn until(saw: &RefCell<Saw>, fits: impl Fn(&Saw) -> bool) {
    while !fits(&saw.borrow()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_body_that_outlives_its_exchange_reads_nothing_of_the_next_request() {
    run(async {
        let saw = Rc::new(RefCell::new(Saw::default()));
        let kept = saw.clone();
        let endpoint = version(move |_, stream| {
            serve(stream, kept.clone(), SLOW, |respond| {
                let _ = respond.send_response(Response::new(()), true);
            })
        })
        .await;
        let bed = Bed::before(endpoint, "", H2C, "").await;
        let mut caller = bed.caller().await;
        // More than the version lets come before it reads: the rest of the body waits for room.
        let most = "x".repeat(100_000);
        say(
            &mut caller,
            &format!("{POST}Content-Length: 101000\r\n\r\n{most}"),
        )
        .await;
        let seen = read_until(&mut caller, "\r\n\r\n").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        let left = "x".repeat(1000);
        let next = "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
        say(&mut caller, &format!("{left}{next}")).await;
        let seen = read_until(&mut caller, "hello").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        tokio::time::sleep(2 * SLOW).await;
        say(&mut caller, "secret").await;
        say(&mut caller, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let seen = read_until(&mut caller, "hello").await;
        assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
        until(&saw, |saw| saw.reset || saw.ended).await;
        let saw = saw.borrow();
        let body = String::from_utf8_lossy(&saw.bytes);
        assert!(!body.contains("secret"), "it read what is not its own");
        assert!(!saw.ended, "half of a body is none");
    });
}

#[test]
fn a_caller_that_goes_away_after_its_upload_is_noticed() {
    run(async {
        let saw = Rc::new(RefCell::new(Saw::default()));
        let kept = saw.clone();
        let endpoint =
            version(move |_, stream| serve(stream, kept.clone(), Duration::ZERO, |_| {})).await;
        let bed = Bed::before(endpoint, "", H2C, "").await;
        let mut caller = bed.caller().await;
        say(&mut caller, &format!("{POST}Content-Length: 5\r\n\r\nhe")).await;
        until(&saw, |saw| saw.bytes == b"he").await;
        say(&mut caller, "llo").await;
        until(&saw, |saw| saw.ended).await;
        reset(caller);
        until(&saw, |saw| saw.reset).await;
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Reset), 0);
    });
}

#[test]
fn a_caller_that_goes_away_in_its_upload_is_noticed_and_blamed() {
    run(async {
        let saw = Rc::new(RefCell::new(Saw::default()));
        let kept = saw.clone();
        let endpoint =
            version(move |_, stream| serve(stream, kept.clone(), Duration::ZERO, |_| {})).await;
        let bed = Bed::before(endpoint, "", H2C, "").await;
        let mut caller = bed.caller().await;
        say(&mut caller, &format!("{POST}Content-Length: 5\r\n\r\nhe")).await;
        until(&saw, |saw| saw.bytes == b"he").await;
        reset(caller);
        until(&saw, |saw| saw.reset).await;
        bed.counted(1).await;
        assert_eq!(bed.failures(FailureKind::Reset), 0);
    });
}

#[test]
fn trailers_and_bodies_without_a_length_cross_over() {
    run(async {
        let saw = Rc::new(RefCell::new(Saw::default()));
        let kept = saw.clone();
        let endpoint = version(move |_, stream| {
            serve(stream, kept.clone(), Duration::ZERO, |respond| {
                let mut stream = respond
                    .send_response(Response::new(()), false)
                    .expect("a stream");
                let _ = stream.send_data(Bytes::from_static(b"body"), false);
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                trailers.insert("content-length", http::HeaderValue::from_static("7"));
                let _ = stream.send_trailers(trailers);
            })
        })
        .await;
        let bed = Bed::before(endpoint, "", H2C, "").await;
        let mut caller = bed.caller().await;
        let ask =
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
        say(&mut caller, &ask).await;
        let seen = read_until(&mut caller, "0\r\ngrpc-status: 0\r\n\r\n").await;
        assert!(
            seen.ends_with("4\r\nbody\r\n0\r\ngrpc-status: 0\r\n\r\n"),
            "{seen}"
        );
        until(&saw, |saw| saw.ended).await;
        assert_eq!(saw.borrow().bytes, b"abc");
    });
}

#[test]
fn an_answer_to_head_has_no_body_whatever_the_version_sends() {
    run(async {
        let saw = Rc::new(RefCell::new(Saw::default()));
        let kept = saw.clone();
        let endpoint = version(move |_, stream| {
            serve(stream, kept.clone(), Duration::ZERO, |respond| {
                let mut stream = respond
                    .send_response(Response::new(()), false)
                    .expect("a stream");
                let _ = stream.send_data(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), true);
            })
        })
        .await;
        let bed = Bed::before(endpoint, "", H2C, "").await;
        let mut caller = bed.caller().await;
        say(&mut caller, "HEAD /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let seen = super::bed::rest(&mut caller).await;
        assert!(seen.matches("HTTP/1.1").count() <= 1, "{seen}");
    });
}
