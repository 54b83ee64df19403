//! gRPC passes as it is: HTTP/2 end to end, trailers, streams in both directions at once. The real library has its say
//! in `clients`.

use std::time::Duration;

use crate::harness::{Backend, H2Client, Proxy, Scripted, Site, grpc_frame};

const CALL: &[&str] = &["content-type: application/grpc", "te: trailers"];

fn one() -> (Backend, Proxy) {
    let g1 = Backend::h2c("g1");
    let proxy = Proxy::start(
        &Site::new()
            .service("protocol: h2c", &[("g1", g1.endpoint())])
            .rules("[]"),
    );
    (g1, proxy)
}

#[test]
fn a_call_has_its_answer_and_its_trailers() {
    let (g1, proxy) = one();
    let mut client = H2Client::open(proxy.address("in"));
    for n in 0..20 {
        let message = grpc_frame(format!("message {n}").as_bytes());
        let answer = client.request("POST", "/shop.Cart/Add", CALL, &message);
        assert_eq!((answer.status, &answer.body), (200, &message));
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert_eq!(answer.trailers.get("grpc-status"), Some("0"));
        assert_eq!(answer.trailers.get("grpc-message"), Some("done"));
    }
    let seen = g1.recent().pop().unwrap();
    assert_eq!(
        seen.header("te"),
        "trailers",
        "a gRPC server insists on it: {:?}",
        seen.fields
    );
    assert_eq!(seen.target, "/shop.Cart/Add");
}

#[test]
fn failures_in_trailers_and_in_a_head_alone_pass_unchanged() {
    let (_g1, proxy) = one();
    let mut client = H2Client::open(proxy.address("in"));
    let headers = [
        "content-type: application/grpc",
        "te: trailers",
        "x-grpc-status: 13",
    ];
    let late = client.request("POST", "/a.B/C", &headers, &grpc_frame(b"x"));
    assert_eq!(
        (late.status, late.trailers.get("grpc-status")),
        (200, Some("13"))
    );
    let headers = [
        "content-type: application/grpc",
        "te: trailers",
        "x-grpc-status: 5",
        "x-trailers-only: 1",
    ];
    let mut call = client.stream("POST", "/a.B/C", &headers);
    let _ = call.send(Vec::new(), true);
    let at_once = call.finish().unwrap();
    assert_eq!((at_once.status, at_once.header("grpc-status")), (200, "5"));
}

#[test]
fn both_sides_of_a_stream_talk_at_once() {
    let (_g1, proxy) = one();
    let mut client = H2Client::open(proxy.address("in"));
    let mut call = client.stream("POST", "/a.B/Chat", CALL);
    for n in 0..50 {
        let message = grpc_frame(format!("{n}").repeat(n + 1).as_bytes());
        call.send(message.clone(), false).unwrap();
        let mut back = Vec::new();
        while back.len() < message.len() {
            back.extend(call.data().unwrap().expect("the stream is open"));
        }
        assert_eq!(
            back, message,
            "message {n} comes back before the next is sent"
        );
    }
    call.send(Vec::new(), true).unwrap();
    assert_eq!(call.data().unwrap(), None);
    assert_eq!(call.trailers().unwrap().get("grpc-status"), Some("0"));
}

#[test]
fn many_calls_share_a_connection_and_do_not_wait_for_each_other() {
    let (g1, proxy) = one();
    let mut client = H2Client::open(proxy.address("in"));
    let mut open: Vec<_> = (0..40)
        .map(|_| client.stream("POST", "/a.B/Chat", CALL))
        .collect();
    for (n, call) in open.iter_mut().enumerate().rev() {
        let message = grpc_frame(format!("call {n}").as_bytes());
        call.send(message.clone(), true).unwrap();
        let answer = call.finish().unwrap();
        assert_eq!((answer.status, answer.body), (200, message));
    }
    assert!(
        g1.connections() <= 4,
        "they are multiplexed: {} connections for 40 calls",
        g1.connections()
    );
}

#[test]
fn a_stream_may_be_silent_longer_than_a_request_may_last() {
    let g1 = Backend::h2c("g1");
    let site = Site::new()
        .service("protocol: h2c", &[("g1", g1.endpoint())])
        .route("timeouts: { request: 400ms, stream_idle: 1500ms }", "[]");
    let proxy = Proxy::start(&site);
    let mut client = H2Client::open(proxy.address("in"));
    let mut call = client.stream("POST", "/a.B/Chat", CALL);
    call.send(grpc_frame(b"one"), false).unwrap();
    assert!(call.data().unwrap().is_some());
    client.idle(Duration::from_millis(800));
    call.send(grpc_frame(b"two"), false).unwrap();
    assert!(
        call.data().unwrap().is_some(),
        "the head was there in time, the rest obeys stream_idle"
    );
    client.idle(Duration::from_millis(2500));
    let ended = call.data();
    assert!(ended.is_err(), "and stream_idle ends it: {ended:?}");
}

#[test]
fn a_client_that_cancels_its_call_cancels_it_at_the_version() {
    let backend = Backend::h2c("g1");
    let proxy = Proxy::start(
        &Site::new()
            .service("protocol: h2c", &[("g1", backend.endpoint())])
            .rules("[]"),
    );
    let mut client = H2Client::open(proxy.address("in"));
    let mut call = client.stream("POST", "/a.B/Chat", CALL);
    call.send(grpc_frame(b"one"), false).unwrap();
    assert!(call.data().unwrap().is_some());
    call.cancel();
    client.idle(Duration::from_millis(50));
    assert_eq!(
        client
            .request("POST", "/a.B/C", CALL, &grpc_frame(b"x"))
            .status,
        200,
        "the connection lives on"
    );
    proxy.counts(
        "tidegate_requests_total",
        &[("version", "g1"), ("code", "200")],
        1.0,
    );
    assert_eq!(
        proxy.metrics().sum("tidegate_failures_total", &[]),
        0.0,
        "nobody's failure"
    );
}

#[test]
fn an_h2c_version_that_is_not_there_or_speaks_something_else_is_told_in_http() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let wrong = Scripted::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let slow = Scripted::start(|scene, _| scene.wait_for_end());
    for (endpoint, statuses) in [
        (gone.to_string(), &[503][..]),
        (wrong.endpoint(), &[502]),
        (slow.endpoint(), &[504, 502]),
    ] {
        let site = Site::new()
            .service(
                "protocol: h2c\npool: { connect: 500ms }",
                &[("g1", endpoint)],
            )
            .route("timeouts: { request: 1s }", "[]");
        let proxy = Proxy::start(&site);
        let answer =
            H2Client::open(proxy.address("in")).request("POST", "/a.B/C", CALL, &grpc_frame(b"x"));
        assert!(
            statuses.contains(&answer.status),
            "{} instead of {statuses:?}",
            answer.status
        );
    }
}
