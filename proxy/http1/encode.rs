//! Heads and chunks: from `http` types to bytes.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, Version, request, response};

use super::framing::Decoder;

/// How a body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none, and none is announced.
    None,
    /// Its length is told in the head.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Its end is the connection's.
    UntilClose,
}

/// Writes a request's head. Headers that frame or concern the connection must be gone from it, but for those that an
/// upgrade needs.
pub fn request(out: &mut Vec<u8>, head: &request::Parts, framing: Framing) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(
        head.uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .as_bytes(),
    );
    out.extend_from_slice(b" HTTP/1.1\r\n");
    headers(out, &head.headers);
    length(out, framing);
    out.extend_from_slice(b"\r\n");
}

/// An answer's head on its way to a caller.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead<'a> {
    /// Status and headers. Headers that frame are its own only where it has no body (HEAD, 304).
    pub parts: &'a response::Parts,
    /// What follows.
    pub framing: Framing,
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// What the caller speaks.
    pub caller: Version,
}

/// Writes an answer's head.
pub fn answer(out: &mut Vec<u8>, head: AnswerHead<'_>) {
    let status = head.parts.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    headers(out, &head.parts.headers);
    length(out, head.framing);
    if !head.parts.headers.contains_key(header::DATE) {
        date(out);
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        match (head.keep_alive, head.caller) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, Version::HTTP_10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, _) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        line(out, name.as_str(), value);
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn length(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            let _ = write!(out, "content-length: {length}\r\n"); // a Vec takes everything
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// Begins a chunk of `length` bytes, which must not be 0; the chunk ends in CR LF.
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    let _ = write!(out, "{length:x}\r\n"); // a Vec takes everything
}

/// Ends a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        headers(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

/// `Date`.
fn date(out: &mut Vec<u8>) {
    out.extend_from_slice(b"date: ");
    now(out);
    out.extend_from_slice(b"\r\n");
}

/// The moment, as HTTP writes it; made once a second.
pub fn now(out: &mut Vec<u8>) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *second = now;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

impl From<&Decoder> for Framing {
    /// A body goes on as it came.
    fn from(decoder: &Decoder) -> Self {
        match decoder {
            Decoder::Done => Self::None,
            Decoder::Length(length) => Self::Length(*length),
            Decoder::Chunked(_) => Self::Chunked,
            Decoder::UntilClose => Self::UntilClose,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_it_is_read() {
        let request = http::Request::post("/a?b=c")
            .header("host", "x")
            .body(())
            .expect("a request");
        let mut out = Vec::new();
        super::request(&mut out, &request.into_parts().0, Framing::Length(5));
        assert_eq!(
            out,
            b"POST /a?b=c HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_has_a_date_and_says_whether_the_connection_stays() {
        let response = http::Response::builder()
            .status(404)
            .body(())
            .expect("a response");
        let parts = response.into_parts().0;
        let head = |keep_alive, caller| AnswerHead {
            parts: &parts,
            framing: Framing::Chunked,
            keep_alive,
            caller,
        };
        let mut out = Vec::new();
        answer(&mut out, head(false, Version::HTTP_11));
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.starts_with("HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\ndate: "),
            "{text}"
        );
        assert!(text.ends_with("GMT\r\nconnection: close\r\n\r\n"), "{text}");
        let mut out = Vec::new();
        answer(&mut out, head(true, Version::HTTP_10));
        assert!(out.ends_with(b"connection: keep-alive\r\n\r\n"));
    }
}
