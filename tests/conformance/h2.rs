//! HTTP/2 by prior knowledge toward a strict HTTP/1.1 origin, written frame by frame, so that anything may stand
//! anywhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use regex::bytes::RegexBuilder;

use super::is_well;
use crate::harness::{Origin, Proxy, SeenByOrigin, Site};

const LANES: usize = 6;
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";

/// What must become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Refused: 4xx or 501, RST_STREAM, GOAWAY or a closed connection, and nothing complete at the origin.
    Malformed,
    /// 200, and one complete request at the origin.
    Forward,
    /// One or the other.
    Either,
    /// The origin never sees a complete request.
    NeverComplete,
}
use Expect::{Either, Forward, Malformed, NeverComplete};

struct Case {
    id: &'static str,
    title: &'static str,
    fields: Vec<(String, String)>,
    expect: Expect,
    data: Option<&'static str>,
    trailers: Vec<(&'static str, &'static str)>,
    /// The body that the origin must have seen.
    body: Option<&'static str>,
    /// Further statuses that will do.
    statuses: &'static [u16],
    /// What the origin's bytes must not match, what its heads must not, what its bytes must.
    never: &'static str,
    never_in_head: &'static str,
    must: &'static str,
    any_host: bool,
}

/// A POST to `/p`, with these pseudo fields in other places: an empty slice of values leaves one out.
fn base(changes: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/p"),
        (":authority", "t"),
    ]
    .iter()
    .filter_map(
        |(name, value)| match changes.iter().find(|(n, _)| n == name) {
            Some((_, None)) => None,
            Some((_, Some(other))) => Some(((*name).to_owned(), (*other).to_owned())),
            None => Some(((*name).to_owned(), (*value).to_owned())),
        },
    )
    .collect()
}

fn case(id: &'static str, title: &'static str, expect: Expect) -> Case {
    Case {
        id,
        title,
        fields: base(&[]),
        expect,
        data: None,
        trailers: Vec::new(),
        body: None,
        statuses: &[],
        never: "",
        never_in_head: "",
        must: "",
        any_host: false,
    }
}

impl Case {
    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        let field = self
            .fields
            .iter_mut()
            .find(|(n, _)| n == name)
            .expect("a pseudo field");
        value.clone_into(&mut field.1);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    fn only(mut self, fields: &[(&str, &str)]) -> Self {
        self.fields = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        self
    }

    fn data(mut self, data: &'static str) -> Self {
        self.data = Some(data);
        self
    }

    fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    fn or(mut self, statuses: &'static [u16]) -> Self {
        self.statuses = statuses;
        self
    }

    fn never(mut self, pattern: &'static str) -> Self {
        self.never = pattern;
        self
    }

    fn never_in_head(mut self, pattern: &'static str) -> Self {
        self.never_in_head = pattern;
        self
    }

    fn must(mut self, pattern: &'static str) -> Self {
        self.must = pattern;
        self
    }

    fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }
}

/// RFC 9113 §8.1 to §8.3, RFC 9110 §6 to §9, and the attacks that come in by a downgrade.
fn cases() -> Vec<Case> {
    let mut all = fields_and_values();
    all.extend(framing());
    all.extend(pseudo_fields());
    all.extend(whole_messages());
    all
}

fn fields_and_values() -> Vec<Case> {
    vec![
        case("d-01", "plain POST", Forward)
            .field("content-length", "5")
            .data("hello")
            .body("hello"),
        case("d-02", "plain GET", Forward).set(":method", "GET"),
        case("d-03", "CRLF and a new header in a value", Malformed).field("x-a", "b\r\nX-Inj: 1"),
        case("d-04", "a whole request in a value", Malformed)
            .field("x-a", &format!("b\r\n\r\n{SMUGGLED}")),
        case("d-05", "LF in a value", Malformed).field("x-a", "b\nX-Inj: 1"),
        case("d-06", "CR in a value", Malformed).field("x-a", "b\rX-Inj: 1"),
        case("d-07", "NUL in a value", Malformed).field("x-a", "b\0c"),
        case("d-08", "value starts with a space", Either).field("x-a", " b"),
        case("d-09", "value ends with a tab", Either).field("x-a", "b\t"),
        case("d-10", "name in upper case", Malformed).field("X-A", "b"),
        case("d-11", "space in a name", Malformed).field("x a", "b"),
        case("d-12", "colon and CRLF in a name", Malformed).field("x-a: c\r\nx-b", "b"),
        case("d-13", "colon inside a name", Malformed).field("x:a", "b"),
        case("d-14", "CRLF in a name", Malformed).field("x-a\r\nx-b", "b"),
        case("d-15", "empty name", Malformed).field("", "b"),
        case("d-16", "high byte in a name", Malformed).field("x-\u{85}", "b"),
        case("d-17", "NUL in a name", Malformed).field("x\0a", "b"),
        case(
            "d-18",
            "transfer-encoding with a space in its name",
            Malformed,
        )
        .field("transfer-encoding ", "chunked")
        .data("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
        case("d-20", "transfer-encoding: chunked", Malformed)
            .field("transfer-encoding", "chunked")
            .data("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
        case("d-21", "connection: keep-alive", Malformed).field("connection", "keep-alive"),
        case("d-22", "keep-alive", Malformed).field("keep-alive", "timeout=5"),
        case("d-23", "proxy-connection", Malformed).field("proxy-connection", "keep-alive"),
        case("d-24", "upgrade", Malformed).field("upgrade", "websocket"),
        case("d-25", "te: gzip", Malformed).field("te", "gzip"),
        case("d-26", "te: trailers", Forward).field("te", "trailers"),
    ]
}

fn framing() -> Vec<Case> {
    vec![
        case("d-30", "content-length smaller than the data", Malformed)
            .field("content-length", "0")
            .data(SMUGGLED),
        case("d-31", "content-length larger than the data", NeverComplete)
            .field("content-length", "50")
            .data("hello"),
        case("d-32", "content-length 5 and no data", Malformed).field("content-length", "5"),
        case("d-33", "content-length is a word", Malformed)
            .field("content-length", "abc")
            .data("hello"),
        case("d-34", "content-length with plus", Malformed)
            .field("content-length", "+5")
            .data("hello"),
        case("d-35", "two different content-lengths", Malformed)
            .field("content-length", "5")
            .field("content-length", "6")
            .data("hello"),
        case("d-36", "two equal content-lengths", Either)
            .field("content-length", "5")
            .field("content-length", "5")
            .data("hello"),
        case("d-37", "content-length: 5, 5", Either)
            .field("content-length", "5, 5")
            .data("hello"),
        case("d-38", "empty content-length", Malformed)
            .field("content-length", "")
            .data("hello"),
        case("d-39", "GET with data and no content-length", Either)
            .set(":method", "GET")
            .data("hello")
            .body("hello"),
        case("d-40", "HEAD with data that looks like a request", Either)
            .set(":method", "HEAD")
            .data(SMUGGLED)
            .or(&[200]),
        case("d-41", "POST with data and no content-length", Forward)
            .data("hello")
            .body("hello"),
        case(
            "d-42",
            "POST without data and without content-length",
            Either,
        )
        .body("")
        .or(&[411]),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    vec![
        case("p-01", "path with CRLF and a header", Malformed)
            .set(":path", "/a HTTP/1.1\r\nHost: evil\r\nX-Inj: 1"),
        case("p-02", "path with a space", Malformed).set(":path", "/a b"),
        case("p-03", "empty path", Malformed).set(":path", ""),
        case("p-04", "path without a leading slash", Malformed).set(":path", "hello"),
        case("p-05", "path with a fragment is not sent on", Either)
            .set(":path", "/a#b")
            .never(r"^POST [^ ]*#"),
        case("p-06", "NUL in the path", Malformed).set(":path", "/a\0b"),
        case("p-07", "tab in the path", Malformed).set(":path", "/a\tb"),
        case("p-08", "asterisk path with GET", Malformed)
            .set(":method", "GET")
            .set(":path", "*"),
        case("p-09", "absolute URI as path", Malformed)
            .set(":path", "http://evil/x")
            .never(r"(?im)^host: evil"),
        case("p-10", "method with a space and a path", Malformed)
            .set(":method", "GET /admin HTTP/1.1\r\nX: "),
        case("p-11", "method with a question mark", Malformed).set(":method", "GET?"),
        case("p-12", "empty method", Malformed).set(":method", ""),
        case("p-13", "scheme that carries a URL", Either)
            .set(":scheme", "http://evil/?x=")
            .never("evil"),
        case("p-14", "scheme with CRLF", Malformed).set(":scheme", "http\r\nx: y"),
        case("p-15", "authority with CRLF", Malformed).set(":authority", "t\r\nX-Inj: 1"),
        case("p-16", "authority with a space", Malformed).set(":authority", "t evil"),
        case("p-17", "authority with user info", Malformed).set(":authority", "u:p@t"),
        case("p-18", "authority with a slash", Malformed).set(":authority", "t/evil"),
        case("p-19", "no authority and no host", Either)
            .without(":authority")
            .any_host(),
        case("p-20", "authority and a different host", Either)
            .field("host", "evil")
            .never(r"(?im)^host:.*evil"),
        case("p-21", "two host fields, no authority", Malformed)
            .without(":authority")
            .field("host", "a")
            .field("host", "b"),
        case("p-22", "authority twice", Malformed).only(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/p"),
            (":authority", "t"),
            (":authority", "evil"),
        ]),
        case("p-23", "path twice", Malformed).only(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/p"),
            (":path", "/smuggled"),
            (":authority", "t"),
        ]),
        case("p-24", "method twice", Malformed).only(&[
            (":method", "POST"),
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/p"),
            (":authority", "t"),
        ]),
        case("p-25", "no method", Malformed).without(":method"),
        case("p-26", "no path", Malformed).without(":path"),
        case("p-27", "no scheme", Malformed).without(":scheme"),
        case("p-28", "pseudo field behind a regular one", Malformed).only(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/p"),
            ("x-a", "b"),
            (":authority", "t"),
        ]),
        case("p-29", "unknown pseudo field", Malformed).field(":foo", "b"),
        case("p-30", ":status in a request", Malformed).field(":status", "200"),
        case("p-31", "pseudo field in the trailers", NeverComplete)
            .data("hello")
            .trailer(":path", "/smuggled"),
        case("p-32", ":protocol without the setting", Malformed)
            .set(":method", "CONNECT")
            .field(":protocol", "websocket"),
        case("p-33", "CONNECT with a path", Malformed).set(":method", "CONNECT"),
        case("p-34", "CONNECT to another host", Malformed)
            .only(&[(":method", "CONNECT"), (":authority", "x:443")]),
        case("p-35", "OPTIONS *", Either)
            .set(":method", "OPTIONS")
            .set(":path", "*")
            .or(&[200, 204, 404, 405]),
    ]
}

fn whole_messages() -> Vec<Case> {
    let mut many = case("f-05", "5000 small fields", Either).or(&[431, 400, 200]);
    for n in 0..5000 {
        many = many.field(&format!("x-{n}"), "v");
    }
    vec![
        case("f-01", "cookie crumbs are joined", Forward)
            .set(":method", "GET")
            .field("cookie", "a=1")
            .field("cookie", "b=2")
            .must(r"(?im)^cookie: a=1; b=2\r$"),
        case(
            "f-02",
            "framing fields in the trailers are not merged",
            Either,
        )
        .data("hello")
        .trailer("content-length", "99")
        .trailer("transfer-encoding", "chunked")
        .never_in_head(r"(?i)content-length: 99"),
        case("f-03", "trailers with a CRLF value", NeverComplete)
            .data("hello")
            .trailer("x-t", "a\r\nX-Inj: 1"),
        case("f-04", "plain trailers", Forward)
            .data("hello")
            .trailer("x-t", "1")
            .body("hello"),
        many,
        case("f-06", "one field of 900 KiB", Malformed).field("x-a", &"v".repeat(900_000)),
        case("f-07", "expect: 100-continue does not hang", Either)
            .field("expect", "100-continue")
            .field("content-length", "5")
            .data("hello")
            .body("hello")
            .or(&[417]),
        case("f-08", "path of 7 KiB is carried", Forward)
            .set(":method", "GET")
            .set(":path", &format!("/{}", "a".repeat(7000))),
        case("f-09", "high bytes in a value", Either)
            .set(":method", "GET")
            .field("x-a", "a\u{e9}b"),
        case(
            "f-10",
            "x-forwarded-for from outside does not stand alone",
            Forward,
        )
        .set(":method", "GET")
        .field("x-forwarded-for", "6.6.6.6"),
    ]
}

#[test]
fn every_http_2_case_ends_as_the_protocol_and_safety_demand() {
    let origins: Vec<_> = (0..LANES).map(|_| Origin::start()).collect();
    let proxy = Proxy::start(&lanes(&origins));
    let addresses: Vec<_> = (0..LANES)
        .map(|n| proxy.address(&format!("in{n}")))
        .collect();
    let (all, next, wrong) = (cases(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for (origin, address) in origins.iter().zip(&addresses) {
            scope.spawn(|| {
                while let Some(case) = all.get(next.fetch_add(1, SeqCst)) {
                    origin.drop_connections();
                    origin.reset(None, false, false);
                    let heard = talk(case, *address);
                    std::thread::sleep(Duration::from_millis(50));
                    let mut why = judge(case, &heard, &origin.seen());
                    origin.drop_connections();
                    origin.reset(None, false, false);
                    if !is_well(*address) {
                        why.push("the proxy is not well afterwards".into());
                    }
                    if !why.is_empty() {
                        wrong.lock().unwrap().push(format!(
                            "{} {}: {}",
                            case.id,
                            case.title,
                            why.join("; ")
                        ));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

fn lanes(origins: &[Origin]) -> Site {
    let (mut listeners, mut services, mut routes) = (String::new(), String::new(), String::new());
    for (n, origin) in origins.iter().enumerate() {
        listeners += &format!("\n  - {{ name: in{n}, address: \"127.0.0.{}:0\" }}", n + 1);
        let text = Site::service_text(&format!("s{n}"), "", &[("v1", origin.address.to_string())]);
        services += &format!("\n{}", text.trim_matches('\n'));
        routes += &format!("\n  - {{ match: {{ listener: in{n} }}, service: s{n}, rules: [] }}");
    }
    Site::new()
        .without("identity")
        .with("listeners", &listeners)
        .with("services", &services)
        .with("routes", &routes)
}

/// What came back.
#[derive(Debug, Default)]
struct Heard {
    status: Option<u16>,
    refused: bool,
    events: Vec<String>,
}

fn judge(case: &Case, heard: &Heard, seen: &SeenByOrigin) -> Vec<String> {
    let mut why = Vec::new();
    let violations: Vec<_> = seen
        .violations
        .iter()
        .filter(|v| !(case.any_host && v.ends_with(" Host")))
        .take(2)
        .cloned()
        .collect();
    if !violations.is_empty() {
        why.push(format!("UNSAFE origin saw: {}", violations.join("; ")));
    }
    if seen.requests.iter().any(|r| r.line.contains(" /smuggled")) {
        why.push("UNSAFE smuggled request at origin".into());
    }
    if found(r"(?im)^x-inj:", &seen.raw) {
        why.push("UNSAFE injected header at origin".into());
    }
    if !case.never.is_empty() && found(case.never, &seen.raw) {
        why.push(format!(
            "UNSAFE origin got what it must not: {}",
            case.never
        ));
    }
    if !case.never_in_head.is_empty()
        && seen
            .requests
            .iter()
            .any(|r| found(case.never_in_head, &r.head))
    {
        why.push(format!("UNSAFE origin head has {}", case.never_in_head));
    }
    let n = seen.requests.len();
    let by_status = heard
        .status
        .is_some_and(|s| (400..600).contains(&s) && !matches!(s, 502..=504));
    let by_frame = heard.refused && heard.status.is_none_or(|s| s >= 400);
    let refused = (by_status || by_frame) && n == 0;
    let body_fits = case
        .body
        .is_none_or(|b| seen.requests.first().is_some_and(|r| r.body == b));
    let must = case.must.is_empty() || found(case.must, &seen.raw);
    let forwarded =
        heard.status == Some(200) && n == 1 && body_fits && must && seen.left.is_empty();
    let listed = heard.status.is_some_and(|s| case.statuses.contains(&s)) && n <= 1;
    let fine = match case.expect {
        Malformed => refused,
        Forward => forwarded,
        Either => refused || forwarded || listed,
        NeverComplete => n == 0,
    };
    if !fine {
        let body = seen
            .requests
            .first()
            .map(|r| r.body.chars().take(20).collect::<String>());
        why.push(format!(
            "status {:?} {:?} origin {n} body {body:?}",
            heard.status, heard.events
        ));
    }
    why
}

fn found(pattern: &str, text: &str) -> bool {
    let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .unwrap()
        .is_match(&bytes)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HPACK literals without indexing and without Huffman: any byte may stand anywhere.
fn literals<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
            length(&mut block, bytes.len());
            block.extend(bytes);
        }
    }
    block
}

fn length(block: &mut Vec<u8>, mut n: usize) {
    if n < 127 {
        block.push(n as u8);
        return;
    }
    block.push(127);
    n -= 127;
    while n >= 128 {
        block.push((n % 128 + 128) as u8);
        n /= 128;
    }
    block.push(n as u8);
}

fn request(case: &Case) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(4, 0, 0, b""));
    let block = literals(case.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let end = case.data.is_none() && case.trailers.is_empty();
    let mut pieces = block.chunks(16384).enumerate().peekable();
    while let Some((n, piece)) = pieces.next() {
        let last = if pieces.peek().is_none() { 4 } else { 0 };
        let (kind, flags) = if n == 0 {
            (1, last | u8::from(end))
        } else {
            (9, last)
        };
        out.extend(frame(kind, flags, 1, piece));
    }
    if let Some(data) = case.data {
        out.extend(frame(
            0,
            u8::from(case.trailers.is_empty()),
            1,
            data.as_bytes(),
        ));
    }
    if !case.trailers.is_empty() {
        out.extend(frame(1, 5, 1, &literals(case.trailers.iter().copied())));
    }
    out
}

fn talk(case: &Case, address: SocketAddr) -> Heard {
    let mut heard = Heard::default();
    let Ok(mut stream) = TcpStream::connect(address) else {
        return heard;
    };
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut writer = stream.try_clone().expect("a socket");
    let _ = writer.set_write_timeout(Some(Duration::from_secs(3)));
    let bytes = request(case);
    let sending = std::thread::spawn(move || {
        let _ = writer.write_all(&bytes);
    });
    let (start, mut last) = (Instant::now(), Instant::now());
    let (mut buffer, mut piece, mut done) = (Vec::new(), vec![0; 65536], false);
    // An answer that is complete is given a moment for what may follow it.
    while last.elapsed() < Duration::from_millis(if done { 150 } else { 5000 })
        && start.elapsed() < Duration::from_secs(10)
    {
        match stream.read(&mut piece) {
            Ok(0) => {
                heard.refused = true;
                heard.events.push("closed".into());
                break;
            }
            Ok(n) => {
                last = Instant::now();
                buffer.extend_from_slice(&piece[..n]);
                done |= frames(&mut buffer, &mut stream, &mut heard);
            }
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => {
                heard.refused = true;
                heard.events.push("reset".into());
                break;
            }
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = sending.join();
    heard
}

/// Takes whole frames off the buffer; whether the answer to the request is complete.
fn frames(buffer: &mut Vec<u8>, stream: &mut TcpStream, heard: &mut Heard) -> bool {
    let mut done = false;
    while buffer.len() >= 9 {
        let size = u32::from_be_bytes([0, buffer[0], buffer[1], buffer[2]]) as usize;
        let (kind, flags) = (buffer[3], buffer[4]);
        let id = u32::from_be_bytes([buffer[5], buffer[6], buffer[7], buffer[8]]) & 0x7fff_ffff;
        if buffer.len() < 9 + size {
            break;
        }
        let payload: Vec<u8> = buffer.drain(..9 + size).skip(9).collect();
        match kind {
            4 if flags & 1 == 0 => drop(stream.write_all(&frame(4, 1, 0, b""))),
            6 if flags & 1 == 0 => drop(stream.write_all(&frame(6, 1, 0, &payload))),
            3 => {
                heard.refused = true;
                heard.events.push(format!("RST_STREAM {payload:?}"));
                done |= id == 1;
            }
            7 => {
                heard.refused = true;
                heard.events.push(format!("GOAWAY {:?}", payload.get(4..8)));
            }
            1 if id == 1 => {
                let status = status(&payload);
                heard.events.push(format!("{status:?}"));
                heard.status = heard.status.or(status.filter(|s| *s >= 200));
                done |= flags & 1 == 1;
            }
            0 if id == 1 => done |= flags & 1 == 1,
            _ => {}
        }
    }
    done
}

/// The `:status` of a header block: it is the first field of every answer.
fn status(block: &[u8]) -> Option<u16> {
    // A change of the table's size may stand before it.
    let mut block = block;
    while block.first().is_some_and(|b| b & 0xe0 == 0x20) {
        block = &block[1..];
    }
    let first = *block.first()?;
    if let 0x88..=0x8e = first {
        return Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]);
    }
    if !matches!(first, 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e) {
        return None;
    }
    let size = usize::from(block.get(1)? & 0x7f);
    let text = block.get(2..2 + size)?;
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    digits(text)
}

/// Three digits in the Huffman code of HPACK: 0, 1 and 2 have five bits, the others six.
fn digits(text: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let value = |n: usize| {
            bits.get(at..at + n)
                .map(|b| b.iter().fold(0_u16, |v, bit| v << 1 | u16::from(*bit)))
        };
        let five = value(5)?;
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            let six = value(6)?;
            at += 6;
            six.checked_sub(0b01_1001)? + 3
        };
        number = number * 10 + digit;
    }
    Some(number)
}
