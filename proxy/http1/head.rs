//! Heads of requests and answers: from bytes to `http` types, with what they say about their bodies and connections.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version, request, response};
use memchr::memmem::{self, Finder};

use super::chunked::Chunked;
use super::framing::Decoder;

/// Lines of a head that are parsed without touching the heap.
const LINES: usize = 100;
/// A head that is still coming is looked at up to here: what is wrong is wrong early, and a long one is not read again and
/// again.
const LOOKED_AT: usize = 2 * 1024;
/// Interim answers before the final one (RFC 9110 §15.2); a version that sends more is broken.
pub const INTERIM_MOST: usize = 16;

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version, headers.
    pub parts: request::Parts,
    /// Its body.
    pub body: Decoder,
    /// The caller would go on after it.
    pub keep_alive: bool,
    /// It waits for a word before it sends its body.
    pub expects_continue: bool,
    /// It asks to go on as something else: what follows at once may be that already.
    pub asks_upgrade: bool,
}

/// An answer's head.
#[derive(Debug)]
pub struct AnswerHead {
    /// Status, version, headers.
    pub parts: response::Parts,
    /// Its body.
    pub body: Decoder,
    /// The version would go on after it.
    pub keep_alive: bool,
}

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In bytes, up to and with the empty line.
    pub bytes: usize,
    /// In lines.
    pub lines: usize,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// It is not HTTP/1.
    Malformed,
    /// Another version of HTTP.
    Version,
    /// Too many lines, or too many bytes.
    TooLarge {
        /// The first line alone is too long.
        target: bool,
    },
    /// The body's length is told in a way that can be read in two.
    Framing,
    /// A transfer coding that is not spoken here.
    Coding,
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge { target: false },
            httparse::Error::Version => Self::Version,
            _ => Self::Malformed,
        }
    }
}

impl HeadError {
    /// A line that names no HTTP at all, such as the header of the PROXY protocol, is no other version of it.
    fn of_request(self, head: &[u8]) -> Self {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
        let third = || {
            line.split(|byte| *byte == b' ')
                .nth(2)
                .and_then(|word| word.get(..5))
        };
        let names_http = || third().is_some_and(|word| word.eq_ignore_ascii_case(b"http/"));
        match self {
            Self::Version if !names_http() => Self::Malformed,
            error => error,
        }
    }
}

/// Takes a request's head out of `buffer`, of which so much was seen before; `None` when it is not whole.
///
/// # Errors
/// [`HeadError`].
pub(super) fn request(
    buffer: &mut BytesMut,
    seen: usize,
    bounds: Bounds,
) -> Result<Option<RequestHead>, HeadError> {
    let Some(head) = take_head(buffer, seen, bounds.bytes)? else {
        if seen >= LOOKED_AT {
            return Ok(None);
        }
        let (mut lines, part) = ([httparse::EMPTY_HEADER; LINES], looked_at(buffer));
        let parsed = httparse::Request::new(&mut lines).parse(part);
        return check_part(part, parsed).map_err(|error| error.of_request(part));
    };
    if has_bare_line_feed(&head) {
        return Err(HeadError::Malformed);
    }
    let mut stack = [const { MaybeUninit::uninit() }; LINES];
    let mut heap = Vec::new();
    let mut parsed = httparse::Request::new(&mut []);
    let lines = room(&mut stack, &mut heap, bounds.lines);
    let whole = parsed.parse_with_uninit_headers(&head, lines);
    if whole.map_err(|error| refined(error, &head))?.is_partial() {
        return Err(HeadError::Malformed);
    }
    let method = Method::from_bytes(parsed.method.unwrap_or("").as_bytes());
    let method = method.map_err(|_| HeadError::Malformed)?;
    let target = head.slice_ref(parsed.path.unwrap_or("").as_bytes());
    // A fragment is the client's alone (RFC 9112 §3.2): whoever reads on behind it, and whoever does not, disagree.
    if memchr::memchr(b'#', &target).is_some() {
        return Err(HeadError::Malformed);
    }
    let uri = uri(&method, target)?;
    let version = version(parsed.version);
    let mut said = Said::default();
    let headers = headers(&head, parsed.headers, &mut said)?;
    let body = said.request_body(version)?;
    // A body without a length, in HTTP/1.0, is none (RFC 9112 §6.3); but its sender may have thought otherwise.
    let is_unclear = version == Version::HTTP_10 && said.lengths == 0 && carries_body(&method);
    let keep_alive = said.keeps_alive(version) && !is_unclear;
    let expects_continue = said.expects_continue && version == Version::HTTP_11 && !body.is_done();
    let mut parts = http::Request::new(()).into_parts().0;
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(Some(RequestHead {
        parts,
        body,
        keep_alive,
        expects_continue,
        asks_upgrade: said.upgrade && said.names_upgrade && version == Version::HTTP_11,
    }))
}

/// The target. OPTIONS of an absolute one with neither path nor query is about the server (RFC 9112 §3.2.4).
fn uri(method: &Method, target: Bytes) -> Result<Uri, HeadError> {
    let is_server = *method == Method::OPTIONS
        && memmem::find(&target, b"://")
            .is_some_and(|at| memchr::memchr2(b'/', b'?', &target[at + 3..]).is_none());
    let uri = Uri::from_maybe_shared(target).map_err(|_| HeadError::Malformed)?;
    if !is_server {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).map_err(|_| HeadError::Malformed)
}

/// Methods whose requests are expected to have a body.
fn carries_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Takes an answer's head out of `buffer`; `None` when it is not whole. What was asked decides whether there is a body.
/// One that is wrong stays in `buffer`.
///
/// # Errors
/// [`HeadError`].
pub fn answer(
    buffer: &mut BytesMut,
    asked: &Method,
    bytes: usize,
) -> Result<Option<AnswerHead>, HeadError> {
    let Some(head) = take_head(buffer, 0, bytes)? else {
        let (mut lines, part) = ([httparse::EMPTY_HEADER; LINES], looked_at(buffer));
        return check_part(part, httparse::Response::new(&mut lines).parse(part));
    };
    let read = whole_answer(&head, asked);
    if read.is_err() {
        put_back(buffer, &head);
    }
    read.map(Some)
}

/// Somebody may want to tell what could not be read.
#[cold]
fn put_back(buffer: &mut BytesMut, head: &[u8]) {
    let behind = std::mem::replace(buffer, BytesMut::from(head));
    buffer.extend_from_slice(&behind);
}

fn whole_answer(head: &Bytes, asked: &Method) -> Result<AnswerHead, HeadError> {
    if has_bare_line_feed(head) {
        return Err(HeadError::Malformed);
    }
    let mut stack = [const { MaybeUninit::uninit() }; LINES];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    if config
        .parse_response_with_uninit_headers(&mut parsed, head, &mut stack)?
        .is_partial()
    {
        return Err(HeadError::Malformed);
    }
    let status = StatusCode::from_u16(parsed.code.unwrap_or(0));
    let status = status.map_err(|_| HeadError::Malformed)?;
    let version = version(parsed.version);
    let mut said = Said::default();
    let mut headers = headers(head, parsed.headers, &mut said)?;
    let body = said.answer_body(asked, status, version)?;
    // Where both lengths were told, or one for a body that cannot be, the next answer could begin anywhere (RFC 9112
    // §6.3).
    let framed = said.codings > 0 || said.length.is_some_and(|length| length > 0);
    let doubtful =
        (said.codings > 0 && said.length.is_some()) || (framed && status == StatusCode::NO_CONTENT);
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH); // RFC 9110 §8.6
    } else if said.lengths > 1 {
        // The same more than once goes on once (RFC 9110 §8.6).
        headers.insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(said.length.unwrap_or(0)),
        );
    }
    let keep_alive = said.keeps_alive(version) && !doubtful && body != Decoder::UntilClose;
    let mut parts = http::Response::new(()).into_parts().0;
    (parts.status, parts.version, parts.headers) = (status, version, headers);
    Ok(AnswerHead {
        parts,
        body,
        keep_alive,
    })
}

/// The empty line behind a head; made once, for making it costs more than finding.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// The bytes up to and with the empty line, if it is there. In what was seen before it did not end.
fn take_head(buffer: &mut BytesMut, seen: usize, most: usize) -> Result<Option<Bytes>, HeadError> {
    let from = seen.saturating_sub(3);
    let end = HEAD_END.find(&buffer[from..]).map(|at| from + at + 4);
    match end {
        Some(end) if end <= most => Ok(Some(buffer.split_to(end).freeze())),
        None if buffer.len() <= most => Ok(None),
        _ => {
            let seen = &buffer[..buffer.len().min(most)];
            match memchr::memchr2(b'\n', b' ', seen) {
                // Not even a method has an end.
                None => Err(HeadError::Malformed),
                Some(_) => Err(HeadError::TooLarge {
                    target: memchr::memchr(b'\n', seen).is_none(),
                }),
            }
        }
    }
}

/// What of a head that is not whole is looked at.
fn looked_at(buffer: &[u8]) -> &[u8] {
    &buffer[..buffer.len().min(LOOKED_AT)]
}

/// A head that is not whole may be wrong already: whoever speaks something else need not wait to hear so.
fn check_part<T>(part: &[u8], parsed: httparse::Result<usize>) -> Result<Option<T>, HeadError> {
    match parsed {
        Ok(_) if has_bare_line_feed(part) => Err(HeadError::Malformed),
        // More lines than there is room for here may still be allowed; the bound on bytes holds.
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(None),
        Err(error) => Err(refined(error, part)),
    }
}

/// Only where a version of HTTP stands it can be another one: a target with a blank in it is none.
fn refined(error: httparse::Error, head: &[u8]) -> HeadError {
    let mut words = head.splitn(3, |b| *b == b' ');
    let version = match error {
        httparse::Error::Version if head.starts_with(b"HTTP/") => words.next(),
        httparse::Error::Version => words.nth(2),
        error => return error.into(),
    };
    let is_version = version
        .and_then(|v| v.strip_prefix(b"HTTP/"))
        .is_some_and(|v| v.first().is_some_and(u8::is_ascii_digit));
    if is_version {
        HeadError::Version
    } else {
        HeadError::Malformed
    }
}

/// Room for as many lines as are allowed.
fn room<'a, 'b>(
    stack: &'a mut [MaybeUninit<httparse::Header<'b>>; LINES],
    heap: &'a mut Vec<MaybeUninit<httparse::Header<'b>>>,
    most: usize,
) -> &'a mut [MaybeUninit<httparse::Header<'b>>] {
    if most <= LINES {
        return &mut stack[..most];
    }
    heap.resize_with(most, MaybeUninit::uninit);
    heap
}

/// A line feed without a carriage return: some take it for a line's end, others do not (RFC 9112 §2.2).
pub(super) fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

fn headers(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    said: &mut Said,
) -> Result<HeaderMap, HeadError> {
    // Room for what the proxy adds, so that the map is not made twice.
    let mut map = spare::take();
    map.reserve(fields.len() + ADDED);
    for field in fields {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value));
        let value = value.map_err(|_| HeadError::Malformed)?;
        said.note(&name, field.value)?;
        map.append(name, value);
    }
    Ok(map)
}

/// An empty map, with room from its last use.
pub fn spare() -> HeaderMap {
    spare::take()
}

/// Gives a map back that is not needed any more: most messages then find one that is large enough.
pub fn recycle(map: HeaderMap) {
    spare::give(map);
}

/// Header maps between two messages.
mod spare {
    use std::cell::RefCell;

    use http::HeaderMap;

    /// Maps that a worker keeps.
    const KEPT: usize = 64;
    /// A map that has grown larger than this is not kept.
    const LARGEST: usize = 64;

    thread_local! {
        static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> HeaderMap {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give(mut map: HeaderMap) {
        if map.capacity() == 0 || map.capacity() > LARGEST {
            return;
        }
        map.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(map);
            }
        });
    }
}

/// Headers that the proxy adds to a request.
const ADDED: usize = 8;

/// What a head says about its body and its connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    lengths: usize,
    codings: usize,
    chunked: bool,
    /// Not `chunked` once, but of known codings or of none: no list of codings at all.
    misspelt: bool,
    upgrade: bool,
    names_upgrade: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Said {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), HeadError> {
        match *name {
            header::CONTENT_LENGTH => {
                let length = length(value).ok_or(HeadError::Framing)?;
                if self.length.is_some_and(|known| known != length) {
                    return Err(HeadError::Framing);
                }
                self.length = Some(length);
                self.lengths += 1;
            }
            header::TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.misspelt = !self.chunked && value.split(|b| *b == b',').all(is_trivial);
            }
            header::UPGRADE => self.upgrade = true,
            header::CONNECTION => {
                for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.names_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            header::EXPECT => {
                self.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    /// One length, or chunked once and alone, and that not in HTTP/1.0 (RFC 9112 §6.1).
    fn request_body(&self, version: Version) -> Result<Decoder, HeadError> {
        match (self.codings, self.length) {
            (0, None | Some(0)) => Ok(Decoder::Done),
            (0, Some(length)) => Ok(Decoder::Length(length)),
            (1, None) if self.chunked && version == Version::HTTP_11 => {
                Ok(Decoder::Chunked(Chunked::default()))
            }
            (1, None) if !self.chunked && !self.misspelt => Err(HeadError::Coding),
            _ => Err(HeadError::Framing),
        }
    }

    fn answer_body(
        &self,
        asked: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<Decoder, HeadError> {
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if *asked == Method::HEAD || bodiless {
            return Ok(Decoder::Done);
        }
        match (self.codings, self.length) {
            (0, Some(0)) => Ok(Decoder::Done),
            (0, Some(length)) => Ok(Decoder::Length(length)),
            (0, None) => Ok(Decoder::UntilClose),
            (1, _) if self.chunked && version == Version::HTTP_11 => {
                Ok(Decoder::Chunked(Chunked::default()))
            }
            _ => Err(HeadError::Coding),
        }
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// A coding that may not be named beside another one, or none.
fn is_trivial(coding: &[u8]) -> bool {
    let coding = coding.trim_ascii();
    coding.is_empty()
        || coding.eq_ignore_ascii_case(b"chunked")
        || coding.eq_ignore_ascii_case(b"identity")
}

/// `1*DIGIT` that fits (RFC 9110 §8.6).
pub fn length(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::heads::Heads;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 4000,
        lines: 100,
    };

    fn read(text: &str) -> Result<Option<RequestHead>, HeadError> {
        Heads::default().next(&mut BytesMut::from(text), BOUNDS)
    }

    fn answered(text: &str, asked: Method) -> Result<Option<AnswerHead>, HeadError> {
        answer(&mut BytesMut::from(text), &asked, 1000)
    }

    #[test]
    fn a_head_over_its_bound_is_refused_whole_or_not() {
        let too_large = |target| Err(HeadError::TooLarge { target });
        let field = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(BOUNDS.bytes));
        let target = format!("GET /{}", "a".repeat(BOUNDS.bytes));
        for end in ["", "\r\n", "\r\n\r\n"] {
            assert_eq!(read(&format!("{field}{end}")).map(drop), too_large(false));
            assert_eq!(read(&format!("{target}{end}")).map(drop), too_large(true));
        }
        let endless = "G".repeat(2 * BOUNDS.bytes);
        assert_eq!(read(&endless).map(drop), Err(HeadError::Malformed));
        let lines = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        assert_eq!(read(&lines).map(drop), too_large(false));
        let field = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(1000));
        assert_eq!(answered(&field, Method::GET).map(drop), too_large(false));
    }

    #[test]
    fn an_answer_tells_its_length_once() {
        let read = |lines: &str| {
            let text = format!("HTTP/1.1 {lines}\r\n\r\n");
            let head = answered(&text, Method::GET).expect(lines).expect(lines);
            let told = head.parts.headers.get_all("content-length").iter().count();
            (told, head.body, head.keep_alive)
        };
        let twice = "Content-Length: 5\r\nContent-Length: 5";
        assert_eq!(
            read(&format!("200 OK\r\n{twice}")),
            (1, Decoder::Length(5), true)
        );
        assert_eq!(
            read("204 No Content\r\nContent-Length: 5"),
            (0, Decoder::Done, false),
            "what follows may be a body all the same"
        );
        assert_eq!(
            read("204 No Content\r\nContent-Length: 0"),
            (0, Decoder::Done, true)
        );
    }

    #[test]
    fn a_request_says_what_follows_it() {
        let chunked = Decoder::Chunked(Chunked::default());
        for (text, body, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Decoder::Done, true),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Decoder::Done, true),
            ("GET / HTTP/1.0\r\n\r\n", Decoder::Done, false),
            (
                "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                Decoder::Done,
                true,
            ),
            (
                "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
                Decoder::Done,
                false,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
                Decoder::Length(3),
                true,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n",
                Decoder::Length(3),
                true,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
                chunked,
                true,
            ),
        ] {
            let head = read(text).expect(text).expect(text);
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{text:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        use HeadError::{Coding, Framing, Malformed, Version};
        for (lines, error) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked", Framing),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3", Framing),
            ("Content-Length: 3\r\nContent-Length: 4", Framing),
            ("Content-Length: 3, 3", Framing),
            ("Content-Length: +3", Framing),
            ("Content-Length:", Framing),
            ("Content-Length: 0x3", Framing),
            ("Content-Length: 18446744073709551616", Framing),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Framing,
            ),
            ("Transfer-Encoding: chunked, chunked", Framing),
            ("Transfer-Encoding: identity, chunked", Framing),
            ("Transfer-Encoding:", Framing),
            ("Transfer-Encoding: gzip, chunked", Coding),
            ("Transfer-Encoding: identity", Framing),
            ("Transfer-Encoding: \x0bchunked", Malformed),
            ("Transfer-Encoding : chunked", Malformed),
            ("A: b\n", Malformed),
            ("A: b\r\n c", Malformed),
            ("A: b\rc", Malformed),
            ("A: \0", Malformed),
            (": b", Malformed),
            ("A b", Malformed),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
            assert_eq!(read(&text).err(), Some(error), "{lines:?}");
        }
        for (line, error) in [
            ("GET / HTTP/2.0", Version),
            ("GET / HTTP/1.2", Version),
            ("GET /", Malformed),
            ("GET  / HTTP/1.1", Malformed),
            ("G\u{e9}T / HTTP/1.1", Malformed),
            ("PROXY TCP4 6.6.6.6 127.0.0.1 1 80", Malformed),
            ("PROXY GET / HTTP/1.1", Malformed),
            ("GET / HTP/1.1", Malformed),
            ("GET / http/1.1", Malformed),
        ] {
            assert_eq!(
                read(&format!("{line}\r\n\r\n")).err(),
                Some(error),
                "{line:?}"
            );
        }
        assert_eq!(
            read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err(),
            Some(Framing)
        );
    }

    #[test]
    fn what_is_wrong_is_said_before_it_is_whole() {
        assert_eq!(
            read("GET / HTTP/1.1\nHost: a\n\n").err(),
            Some(HeadError::Malformed)
        );
        assert_eq!(read("\x16\x03\x01\x02").err(), Some(HeadError::Malformed));
        let fragment = "GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n";
        assert_eq!(read(fragment).err(), Some(HeadError::Malformed));
        assert!(
            read("GET / HTTP/1.1\r\nHo")
                .expect("so far so good")
                .is_none()
        );
    }

    #[test]
    fn an_answer_says_what_follows_it() {
        for (lines, asked, body, keep_alive) in [
            (
                "200 OK\r\nContent-Length: 3",
                Method::GET,
                Decoder::Length(3),
                true,
            ),
            (
                "200 OK\r\nContent-Length: 3",
                Method::HEAD,
                Decoder::Done,
                true,
            ),
            (
                "304 X\r\nContent-Length: 3",
                Method::GET,
                Decoder::Done,
                true,
            ),
            ("204 X", Method::GET, Decoder::Done, true),
            ("200 OK", Method::GET, Decoder::UntilClose, false),
            (
                "200 OK\r\nConnection: close\r\nContent-Length: 0",
                Method::GET,
                Decoder::Done,
                false,
            ),
            (
                "200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
                Method::GET,
                Decoder::Chunked(Chunked::default()),
                false,
            ),
        ] {
            let text = format!("HTTP/1.1 {lines}\r\n\r\n");
            let head = answered(&text, asked).expect(lines).expect(lines);
            assert_eq!(
                (head.body, head.keep_alive),
                (body, keep_alive),
                "{lines:?}"
            );
        }
        let bad = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(answered(bad, Method::GET).err(), Some(HeadError::Framing));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Heads::default().next(&mut BytesMut::from(&input[..]), BOUNDS);
            let _ = answer(&mut BytesMut::from(&input[..]), &Method::GET, 1000);
        }

        #[test]
        fn lines_come_back_as_they_were(names in prop::collection::vec("[A-Za-z][A-Za-z0-9-]{0,12}", 0..20), value in "[ -~]{0,40}") {
            let lines: String = names.iter().map(|n| format!("x-{n}: {value}\r\n")).collect();
            let head = read(&format!("GET / HTTP/1.1\r\n{lines}\r\n")).expect("a head").expect("whole");
            prop_assert_eq!(head.parts.headers.len(), names.len());
            for (_, seen) in &head.parts.headers {
                prop_assert_eq!(seen.as_bytes(), value.trim().as_bytes());
            }
        }
    }
}
