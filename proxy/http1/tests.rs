//! The codec against a reader that is as simple as it can be: it sees a whole stream at once, allocates as it likes, and
//! shares no line with the codec. Streams are valid, or valid with a few bytes changed, and come in random pieces.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::framing::{Decoder, Piece};
use super::head::{self, Bounds};
use super::heads::Heads;

/// Fields behind a body, at most.
const TRAILERS: usize = 64;

const BOUNDS: Bounds = Bounds {
    bytes: 64 * 1024,
    lines: 100,
};

/// A message as both readers tell it.
#[derive(Debug, PartialEq, Eq, Default, Clone)]
pub(crate) struct Message {
    /// Method and target, or status.
    pub(crate) first: Vec<u8>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum End {
    /// After a whole message.
    Clean,
    /// Within one.
    Within,
    /// At what is no HTTP.
    Refused,
    /// At what the simple reader has no opinion about.
    Unknown,
}

pub(crate) type Read = (Vec<Message>, End);

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests with plain targets.
    Requests,
    /// Requests with any targets, which are not judged. The codec does not read them so.
    AnyRequests,
    /// Answers to GET.
    Answers,
    /// Answers to HEAD. The codec does not read them so.
    AnswersToHead,
}

impl Kind {
    fn is_answers(self) -> bool {
        matches!(self, Self::Answers | Self::AnswersToHead)
    }
}

// The codec.

fn by_codec(kind: Kind, stream: &[u8], cuts: &[usize]) -> Read {
    let mut pieces = pieces(stream, cuts).into_iter();
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    let mut heads = Heads::default();
    loop {
        let head = match kind {
            Kind::Requests | Kind::AnyRequests => heads.next(&mut buffer, BOUNDS).map(|head| {
                head.map(|h| {
                    let first = format!("{} {}", h.parts.method, h.parts.uri);
                    (first, h.parts.headers, h.body)
                })
            }),
            Kind::Answers | Kind::AnswersToHead => {
                head::answer(&mut buffer, &Method::GET, BOUNDS.bytes).map(|head| {
                    head.map(|h| (h.parts.status.as_str().to_owned(), h.parts.headers, h.body))
                })
            }
        };
        let (first, fields, mut body) = match head {
            Err(_) => return (messages, End::Refused),
            Ok(Some(head)) => head,
            Ok(None) => match pieces.next() {
                Some(more) => {
                    buffer.extend_from_slice(more);
                    continue;
                }
                None if buffer.is_empty() => return (messages, End::Clean),
                None => return (messages, End::Within),
            },
        };
        let mut message = Message {
            first: first.into_bytes(),
            fields: told(&fields),
            ..Message::default()
        };
        let mut closed = false;
        while !body.is_done() {
            match body.decode(&mut buffer, closed) {
                Err(super::framing::BodyError::Incomplete) => return (messages, End::Within),
                Err(_) => return (messages, End::Refused),
                Ok(Piece::Data(data)) => message.body.extend_from_slice(&data),
                Ok(Piece::Trailers(trailers)) => message.trailers = told(&trailers),
                Ok(Piece::End) => {}
                Ok(Piece::More) => match pieces.next() {
                    Some(more) => buffer.extend_from_slice(more),
                    None => closed = true,
                },
            }
        }
        messages.push(message);
    }
}

pub(crate) fn told(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut told: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    told.sort();
    told
}

fn pieces<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|pair| &stream[pair[0]..pair[1]])
        .filter(|piece| !piece.is_empty())
        .collect()
}

// The simple reader.

pub(crate) fn simply(kind: Kind, mut stream: &[u8]) -> Read {
    let mut messages = Vec::new();
    loop {
        if !kind.is_answers() {
            while let Some(rest) = stream.strip_prefix(b"\r\n") {
                stream = rest;
            }
        }
        if stream.is_empty() {
            return (messages, End::Clean);
        }
        match message(kind, stream) {
            Ok((message, rest)) => {
                messages.push(message);
                stream = rest;
            }
            Err(end) => return (messages, end),
        }
    }
}

pub(crate) fn message(kind: Kind, stream: &[u8]) -> Result<(Message, &[u8]), End> {
    let end = find(stream, b"\r\n\r\n").ok_or(End::Within)?;
    let (mut head, rest) = (&stream[..end + 2], &stream[end + 4..]);
    if kind.is_answers() {
        head = head.strip_prefix(b"\r\n").unwrap_or(head);
    }
    let mut lines = split(head);
    if lines.is_empty() {
        return Err(End::Refused);
    }
    let (first, minor, bodiless) = match kind {
        Kind::Requests | Kind::AnyRequests => request_line(kind, lines.remove(0))?,
        Kind::Answers => status_line(lines.remove(0))?,
        Kind::AnswersToHead => {
            let (first, minor, _) = status_line(lines.remove(0))?;
            (first, minor, true)
        }
    };
    if kind.is_answers() && lines.len() > BOUNDS.lines {
        return Err(End::Refused);
    }
    let mut fields = lines
        .into_iter()
        .map(field)
        .collect::<Result<Vec<_>, End>>()?;
    let all = |name: &str| -> Vec<Vec<u8>> {
        let fits = fields.iter().filter(|(n, _)| n == name);
        fits.map(|(_, v)| v.clone()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let mut length = None;
    for told in &lengths {
        let told = std::str::from_utf8(told).map_err(|_| End::Refused)?;
        let digits = !told.is_empty() && told.bytes().all(|b| b.is_ascii_digit());
        let told: u64 = told.parse().map_err(|_| End::Refused)?;
        if !digits || length.is_some_and(|known| known != told) {
            return Err(End::Refused);
        }
        length = Some(told);
    }
    let chunked = codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked");
    let (body, trailers, rest) = match (codings.len(), length) {
        _ if bodiless => (Vec::new(), Vec::new(), rest),
        (0, None) if kind.is_answers() => (rest.to_vec(), Vec::new(), &rest[rest.len()..]),
        (0, None) => (Vec::new(), Vec::new(), rest),
        (0, Some(length)) => {
            let length = usize::try_from(length).map_err(|_| End::Within)?;
            let body = rest.get(..length).ok_or(End::Within)?;
            (body.to_vec(), Vec::new(), &rest[length..])
        }
        (_, length) if chunked && minor == b'1' && (length.is_none() || kind.is_answers()) => {
            chunks(rest)?
        }
        _ => return Err(End::Refused),
    };
    if kind.is_answers() {
        if first == b"204" {
            fields.retain(|(name, _)| name != "content-length");
        } else if lengths.len() > 1 {
            fields.retain(|(name, _)| name != "content-length");
            let told = length.unwrap_or_default().to_string().into_bytes();
            fields.push(("content-length".into(), told));
        }
    }
    fields.sort();
    let message = Message {
        first,
        fields,
        body,
        trailers,
    };
    Ok((message, rest))
}

type Line = (Vec<u8>, u8, bool);

fn request_line(kind: Kind, line: &[u8]) -> Result<Line, End> {
    let parts: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(End::Refused);
    };
    let minor = minor(version)?;
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) || target.is_empty() {
        return Err(End::Refused);
    }
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._~-?=&".contains(b);
    let is_judged = kind != Kind::AnyRequests;
    if is_judged && (target[0] != b'/' || !target.iter().all(plain)) {
        return Err(End::Unknown);
    }
    Ok(([method, b" ", target].concat(), minor, false))
}

fn status_line(line: &[u8]) -> Result<Line, End> {
    let minor = minor(line.get(..8).ok_or(End::Refused)?)?;
    let (space, rest) = line[8..].split_first().ok_or(End::Refused)?;
    let code = rest.get(..3).ok_or(End::Refused)?;
    let reason = &rest[3..];
    if *space != b' '
        || !code.iter().all(u8::is_ascii_digit)
        || code[0] == b'0'
        || !(reason.is_empty() || reason[0] == b' ')
        || !reason.iter().all(|b| is_text(*b))
    {
        return Err(End::Refused);
    }
    let bodiless = code[0] == b'1' || code == b"204" || code == b"304";
    Ok((code.to_vec(), minor, bodiless))
}

fn minor(version: &[u8]) -> Result<u8, End> {
    match version {
        b"HTTP/1.0" => Ok(b'0'),
        b"HTTP/1.1" => Ok(b'1'),
        _ => Err(End::Refused),
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), End> {
    let colon = line.iter().position(|b| *b == b':').ok_or(End::Refused)?;
    let (name, mut value) = (&line[..colon], &line[colon + 1..]);
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) || !value.iter().all(|b| is_text(*b)) {
        return Err(End::Refused);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.to_vec()))
}

/// A chunk's line as RFC 9112 §7.1 spells it, of sizes that fit.
static CHUNK: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
    let (blanks, token) = (r"[ \t]*", r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+");
    let value = format!(r#"(?:{token}|"(?:[^"\\]|\\.)*")"#);
    let extension = format!("{blanks};{blanks}{token}(?:{blanks}={blanks}{value})?");
    regex::Regex::new(&format!(r"^([0-9A-Fa-f]{{1,16}})(?:{extension})*$")).expect("a pattern")
});

pub(crate) type Chunks<'a> = (Vec<u8>, Vec<(String, Vec<u8>)>, &'a [u8]);

pub(crate) fn chunks(mut rest: &[u8]) -> Result<Chunks<'_>, End> {
    let mut body = Vec::new();
    loop {
        let end = rest.iter().position(|b| *b == b'\r' || !is_text(*b));
        let end = end.ok_or(End::Within)?;
        match rest.get(end..end + 2) {
            Some(b"\r\n") => {}
            None if rest[end] == b'\r' => return Err(End::Within),
            _ => return Err(End::Refused),
        }
        let line = std::str::from_utf8(&rest[..end]).unwrap_or("é");
        if line == "é" {
            return Err(End::Unknown);
        }
        let Some(digits) = CHUNK.captures(line).and_then(|c| c.get(1)) else {
            return Err(End::Refused);
        };
        let digits = digits.as_str();
        let size = u64::from_str_radix(digits, 16).map_err(|_| End::Refused)?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| End::Within)?;
        body.extend_from_slice(rest.get(..size).ok_or(End::Within)?);
        rest = &rest[size..];
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Err(End::Within),
            _ => return Err(End::Refused),
        }
    }
    if let Some(rest) = rest.strip_prefix(b"\r\n") {
        return Ok((body, Vec::new(), rest));
    }
    let end = find(rest, b"\r\n\r\n").ok_or(End::Within)?;
    let trailers = split(&rest[..end + 2]);
    if trailers.len() > TRAILERS {
        return Err(End::Refused);
    }
    let trailers = trailers.into_iter().map(field);
    let mut trailers = trailers.collect::<Result<Vec<_>, End>>()?;
    trailers.sort();
    Ok((body, trailers, &rest[end + 4..]))
}

/// Lines that each end in CR LF, without it.
fn split(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines
}

pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|w| w == wanted)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

// Streams.

fn fields() -> impl Strategy<Value = String> {
    let field = ("[a-z][a-z0-9-]{0,9}", " ?", "[!-~][ -~]{0,9}[!-~]|")
        .prop_map(|(name, space, value)| format!("x-{name}:{space}{value}\r\n"));
    prop::collection::vec(field, 0..4).prop_map(|fields| fields.concat())
}

/// What frames a body, and the body.
fn body() -> impl Strategy<Value = (String, String)> {
    let bytes = "[a-zA-Z0-9 \r\n:]{0,30}";
    let chunk = (
        "[a-z0-9 \r\n]{1,20}",
        "|;[a-z]=[a-z]| ;[a-z]|;[a-z]=\"[a-z ]\"",
    );
    let chunks = prop::collection::vec(chunk, 0..4);
    prop_oneof![
        Just((String::new(), String::new())),
        bytes.prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        (chunks, fields(), "0{1,3}").prop_map(|(chunks, trailers, last)| {
            let chunk = |(data, extension): &(String, String)| {
                format!("{:x}{extension}\r\n{data}\r\n", data.len())
            };
            let chunks: String = chunks.iter().map(chunk).collect();
            let coding = "Transfer-Encoding: chunked\r\n".to_owned();
            (coding, format!("{chunks}{last}\r\n{trailers}\r\n"))
        }),
    ]
}

fn stream(kind: Kind) -> impl Strategy<Value = Vec<u8>> {
    let first = match kind {
        Kind::Requests | Kind::AnyRequests => {
            "(\r\n)?(GET|POST|PUT|HEAD|get) /[a-z0-9/]{0,8}(\\?a=b)? HTTP/1\\.1"
        }
        Kind::Answers | Kind::AnswersToHead => {
            "HTTP/1\\.1 (200 OK|204 No Content|304 X|404|103 Early Hints|599 )"
        }
    };
    let message = (first, fields(), body()).prop_map(|(first, fields, (framing, body))| {
        let bodiless = ["204", "304", "103"].iter().any(|s| first.contains(s));
        let body = if bodiless && first.starts_with("HTTP") {
            String::new()
        } else {
            body
        };
        format!("{first}\r\nHost: a\r\n{fields}{framing}\r\n{body}").into_bytes()
    });
    prop::collection::vec(message, 1..4).prop_map(|messages| messages.concat())
}

/// A change of a few bytes, at a place given as a share of the stream.
#[derive(Debug, Clone)]
enum Change {
    Put(usize, u8),
    Insert(usize, &'static str),
    Remove(usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop::sample::select(b"\r\n \t:;,0123456789afGx/+-\0\x7f\x80\xff\"".to_vec());
    let text = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        " ",
        "\r\n ",
        "\r\n\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "HTTP/1.0",
        "chunked, ",
        "GET / HTTP/1.1\r\n\r\n",
        "+",
        "0x",
    ]);
    prop_oneof![
        (any::<usize>(), byte).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<usize>(), text).prop_map(|(at, text)| Change::Insert(at, text)),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), 1usize..30).prop_map(|(at, length)| Change::Repeat(at, length)),
        any::<usize>().prop_map(Change::Cut),
    ]
}

fn changed(mut stream: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: usize| at % stream.len().max(1);
        if stream.is_empty() {
            return stream;
        }
        match *change {
            Change::Put(at, byte) => {
                let at = place(at);
                stream[at] = byte;
            }
            Change::Insert(at, text) => {
                let at = place(at);
                stream.splice(at..at, text.bytes());
            }
            Change::Remove(at) => {
                stream.remove(place(at));
            }
            Change::Repeat(at, length) => {
                let at = place(at);
                let end = (at + length).min(stream.len());
                let again = stream[at..end].to_vec();
                stream.splice(at..at, again);
            }
            Change::Cut(at) => stream.truncate(place(at)),
        }
    }
    stream
}

/// The codec may see sooner that a head goes wrong; in all else the two must agree.
pub(crate) fn agree(kind: Kind, stream: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let (expected, end) = simply(kind, stream);
    let (seen, ended) = by_codec(kind, stream, cuts);
    let shown = String::from_utf8_lossy(stream);
    if end == End::Unknown {
        prop_assert!(seen.starts_with(&expected) || seen == expected, "{shown:?}");
        return Ok(());
    }
    prop_assert_eq!(&seen, &expected, "{:?}", shown);
    let sooner = end == End::Within && ended == End::Refused;
    prop_assert!(ended == end || sooner, "{ended:?}, not {end:?}: {shown:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn requests_are_read_as_they_are_written(stream in stream(Kind::Requests), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let (_, end) = simply(Kind::Requests, &stream);
        prop_assert_eq!(end, End::Clean, "{:?}", String::from_utf8_lossy(&stream));
        agree(Kind::Requests, &stream, &cuts)?;
    }

    #[test]
    fn answers_are_read_as_they_are_written(stream in stream(Kind::Answers), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let (_, end) = simply(Kind::Answers, &stream);
        prop_assert_eq!(end, End::Clean, "{:?}", String::from_utf8_lossy(&stream));
        agree(Kind::Answers, &stream, &cuts)?;
    }

    #[test]
    fn requests_that_went_wrong_are_never_read_in_another_way(
        stream in stream(Kind::Requests),
        changes in prop::collection::vec(change(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        agree(Kind::Requests, &changed(stream, &changes), &cuts)?;
    }

    #[test]
    fn answers_that_went_wrong_are_never_read_in_another_way(
        stream in stream(Kind::Answers),
        changes in prop::collection::vec(change(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        agree(Kind::Answers, &changed(stream, &changes), &cuts)?;
    }

    #[test]
    fn what_is_read_and_written_again_reads_the_same(stream in stream(Kind::Requests)) {
        let (mut heads, mut buffer) = (Heads::default(), BytesMut::from(&stream[..]));
        let (mut once, mut written) = (Vec::new(), Vec::new());
        while let Some(mut head) = heads.next(&mut buffer, BOUNDS).expect("valid") {
            let framing = super::encode::Framing::from(&head.body);
            for name in ["content-length", "transfer-encoding"] {
                head.parts.headers.remove(name);
            }
            super::encode::request(&mut written, &head.parts, framing);
            let mut trailers = None;
            while head.body != Decoder::Done {
                match head.body.decode(&mut buffer, false).expect("valid") {
                    Piece::Data(data) if framing == super::encode::Framing::Chunked => {
                        super::encode::chunk_head(&mut written, data.len());
                        written.extend_from_slice(&data);
                        written.extend_from_slice(b"\r\n");
                    }
                    Piece::Data(data) => written.extend_from_slice(&data),
                    Piece::Trailers(fields) => trailers = Some(fields),
                    Piece::End | Piece::More => {}
                }
            }
            if framing == super::encode::Framing::Chunked {
                super::encode::last_chunk(&mut written, trailers.as_ref());
            }
            once.push(head.parts.uri);
        }
        let strip = |mut read: Read| {
            for message in &mut read.0 {
                message.fields.retain(|(name, _)| name != "content-length" && name != "transfer-encoding");
            }
            read
        };
        prop_assert_eq!(strip(simply(Kind::Requests, &written)), strip(simply(Kind::Requests, &stream)));
    }
}
