use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinHandle;

use super::bed::{Bed, read_until, run, say, until, version};

/// More than a connection holds on its way.
const LARGE: usize = 2_000_000;
const BRIEF: &str = ", timeouts: { idle: 500ms }";

/// A version of large answers, and how many of its connections are open.
async fn generous() -> (SocketAddr, Rc<Cell<usize>>) {
    let open = Rc::new(Cell::new(0));
    let count = open.clone();
    let address = version(move |_, mut stream| {
        let open = count.clone();
        async move {
            open.set(open.get() + 1);
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                say(&mut stream, &head).await;
                say(&mut stream, &"x".repeat(LARGE)).await;
            }
            open.set(open.get() - 1);
        }
    })
    .await;
    (address, open)
}

/// A caller who gives each stream so much room, and says something all the time.
async fn caller(bed: &Bed, room: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let (requests, mut connection) = h2::client::Builder::new()
        .initial_window_size(room)
        .initial_connection_window_size(16 << 20)
        .handshake(bed.caller().await)
        .await
        .expect("a handshake");
    let mut pings = connection.ping_pong().expect("taken once");
    tokio::task::spawn_local(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    (requests, ended)
}

async fn ask(requests: &mut SendRequest<Bytes>) -> RecvStream {
    let request = Request::get("http://a/app").body(()).expect("a request");
    let (answer, _) = requests.send_request(request, true).expect("a stream");
    answer.await.expect("an answer").into_body()
}

#[test]
fn a_caller_that_makes_no_room_for_answers_holds_no_version_and_no_connection() {
    run(async {
        let (endpoint, open) = generous().await;
        let bed = Bed::before(endpoint, BRIEF, "", "").await;
        let (mut requests, ended) = caller(&bed, 0).await;
        let mut unread = Vec::new();
        for _ in 0..10 {
            unread.push(ask(&mut requests).await);
        }
        until(|| open.get() == 10).await;
        until(|| open.get() == 0).await;
        ended.await.expect("it ends");
        bed.counted(10).await;
    });
}

#[test]
fn an_answer_that_nobody_reads_breaks_off_and_the_others_go_on() {
    run(async {
        let (endpoint, open) = generous().await;
        let bed = Bed::before(endpoint, BRIEF, "", "").await;
        let (mut requests, _ended) = caller(&bed, 64 * 1024).await;
        let mut unread = ask(&mut requests).await;
        let mut read = ask(&mut requests).await;
        until(|| open.get() == 2).await;
        let mut got = 0;
        while let Some(data) = read.data().await {
            let length = data.expect("it goes on").len();
            got += length;
            let _ = read.flow_control().release_capacity(length);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        assert_eq!(got, LARGE);
        until(|| open.get() == 1).await;
        let ends = loop {
            match unread.data().await {
                Some(Ok(data)) => drop(unread.flow_control().release_capacity(data.len())),
                end => break end,
            }
        };
        assert!(ends.is_some(), "half of an answer is none");
    });
}

#[test]
fn a_caller_that_reads_slowly_gets_all_of_a_long_answer() {
    run(async {
        let (endpoint, _open) = generous().await;
        let bed = Bed::before(endpoint, BRIEF, "", "").await;
        let (mut requests, _ended) = caller(&bed, 16 * 1024).await;
        let mut read = ask(&mut requests).await;
        // A piece of the version's would take five times the bound.
        let mut got = 0;
        while got < 400_000 {
            let length = read.data().await.expect("more").expect("it goes on").len();
            got += length;
            let _ = read.flow_control().release_capacity(length);
            tokio::time::sleep(Duration::from_millis(length as u64 / 100)).await;
        }
    });
}
