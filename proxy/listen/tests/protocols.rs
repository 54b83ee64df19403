//! Which protocol a caller speaks is read from its first bytes, however they come.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::bed::{Bed, OK, read_until, rest, run, say, version};
use crate::http2::frame::PREFACE;

async fn bed() -> Bed {
    let endpoint = version(async |_, mut stream| {
        read_until(&mut stream, "\r\n\r\n").await;
        say(&mut stream, OK).await;
    })
    .await;
    Bed::before(endpoint, "", "", "").await
}

#[test]
fn the_first_bytes_may_come_one_by_one() {
    run(async {
        let bed = bed().await;
        let mut caller = bed.caller().await;
        for byte in b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n" {
            caller.write_all(&[*byte]).await.expect("taken");
            tokio::task::yield_now().await;
        }
        let seen = read_until(&mut caller, "\r\n\r\n").await;
        assert!(
            seen.starts_with("HTTP/1.1 400 "),
            "a target of its own: {seen}"
        );

        let mut caller = bed.caller().await;
        for byte in PREFACE.iter().chain(b"\0\0\0\x04\0\0\0\0\0") {
            caller.write_all(&[*byte]).await.expect("taken");
            tokio::task::yield_now().await;
        }
        let mut settings = [0; 9];
        caller.read_exact(&mut settings).await.expect("a frame");
        assert_eq!((settings[3], settings[4]), (4, 0), "{settings:?}");
    });
}

#[test]
fn half_of_a_preface_is_no_request() {
    run(async {
        let bed = bed().await;
        let mut caller = bed.caller().await;
        caller.write_all(&PREFACE[..10]).await.expect("taken");
        caller.shutdown().await.expect("an end");
        let seen = rest(&mut caller).await;
        assert!(seen.starts_with("HTTP/1.1 400 "), "{seen}");
    });
}

#[test]
fn what_came_with_the_first_bytes_is_not_lost() {
    run(async {
        let bed = bed().await;
        let mut caller = bed.caller().await;
        let hello = "GET /hello HTTP/1.1\r\nHost: a\r\n";
        let both = format!("{hello}\r\n{hello}Connection: close\r\n\r\n");
        say(&mut caller, &both).await;
        let seen = rest(&mut caller).await;
        assert_eq!(seen.matches("HTTP/1.1 200 ").count(), 2, "{seen}");
    });
}
