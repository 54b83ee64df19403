//! HTTP/1.1 as it stands on the wire, read strictly: whatever a lenient peer would have forgiven is an error here.

use std::io::{self, ErrorKind, Read};

/// Header or trailer lines in the order received; values are kept byte for byte as Latin-1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first line of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every line of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// Whether there is a line of this name.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// A final answer, and what came before it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Statuses of the interim answers (1xx) that preceded it.
    pub interim: Vec<u16>,
}

impl Answer {
    /// The value of a header line, or "".
    pub fn header(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or("")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("a JSON body ({e}), got {}: {}", self.status, self.text()))
    }

    /// Which version answered.
    pub fn version(&self) -> &str {
        self.header("x-version")
    }
}

/// What a strict reader says about broken framing.
pub fn bad_framing(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

/// Reads messages from a stream, keeping what came too early for the next one.
pub struct Reader<S> {
    pub stream: S,
    /// Received and not yet consumed.
    pub buffer: Vec<u8>,
}

/// No test sends or expects a head beyond this.
const MAX_HEAD: usize = 16 << 20;

impl<S: Read> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads once; `false` at the end of the stream.
    pub fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 65536];
        let n = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }

    fn need(&mut self) -> io::Result<()> {
        if self.fill()? {
            Ok(())
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }

    /// Everything up to and without `mark`, which is consumed too.
    pub fn take_until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer[from..], mark) {
                let at = from + at;
                let taken = self.buffer[..at].to_vec();
                self.buffer.drain(..at + mark.len());
                return Ok(taken);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(bad_framing("a head without an end"));
            }
            from = self.buffer.len().saturating_sub(mark.len());
            self.need()?;
        }
    }

    /// Exactly so many bytes.
    pub fn take(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < n {
            self.need()?;
        }
        Ok(self.buffer.drain(..n).collect())
    }

    /// Everything up to the end of the stream.
    pub fn take_rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// A chunked body and its trailers; extensions are refused because nobody here has a use for them.
    pub fn take_chunked(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.take_until(b"\r\n")?;
            let size = std::str::from_utf8(&line)
                .ok()
                .filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|s| usize::from_str_radix(s, 16).ok())
                .ok_or_else(|| {
                    bad_framing(format!("chunk size {:?}", String::from_utf8_lossy(&line)))
                })?;
            if size == 0 {
                break;
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(bad_framing("a chunk that does not end with CRLF"));
            }
        }
        let mut trailers = Fields::default();
        loop {
            let line = self.take_until(b"\r\n")?;
            if line.is_empty() {
                return Ok((body, trailers));
            }
            trailers.0.push(field(&line)?);
        }
    }

    /// One final answer to a request; `head` says that the request was HEAD.
    pub fn answer(&mut self, head: bool) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let (status, fields) = parse_answer_head(&self.take_until(b"\r\n\r\n")?)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let mut answer = Answer {
                status,
                fields,
                interim,
                ..Answer::default()
            };
            self.body_of(&mut answer, head)?;
            return Ok(answer);
        }
    }

    fn body_of(&mut self, answer: &mut Answer, head: bool) -> io::Result<()> {
        let codings = answer.fields.all("transfer-encoding");
        let lengths = answer.fields.all("content-length");
        if !codings.is_empty() && !lengths.is_empty() {
            return Err(bad_framing("Content-Length beside Transfer-Encoding"));
        }
        if lengths.len() > 1 || codings.len() > 1 {
            return Err(bad_framing("a framing field twice"));
        }
        if head || matches!(answer.status, 101 | 204 | 304) {
            return Ok(());
        }
        if let Some(coding) = codings.first() {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(bad_framing(format!("Transfer-Encoding: {coding}")));
            }
            (answer.body, answer.trailers) = self.take_chunked()?;
        } else if let Some(length) = lengths.first() {
            let length = length
                .parse()
                .map_err(|_| bad_framing(format!("Content-Length: {length}")))?;
            answer.body = self.take(length)?;
        } else {
            answer.body = self.take_rest()?;
        }
        Ok(())
    }
}

/// Status and the fields of an answer's head (without its last empty line).
fn parse_answer_head(head: &[u8]) -> io::Result<(u16, Fields)> {
    let (line, fields) = split_head(head)?;
    let line = latin1(&line);
    if !line.starts_with("HTTP/1.0 ") && !line.starts_with("HTTP/1.1 ") {
        return Err(bad_framing(format!("status line {line:?}")));
    }
    let status = line
        .get(9..12)
        .and_then(|s| s.parse().ok())
        .filter(|_| matches!(line.as_bytes().get(12), None | Some(b' ')))
        .ok_or_else(|| bad_framing(format!("status line {line:?}")))?;
    Ok((status, fields))
}

/// The first line and the fields; bare CR, bare LF, NUL and folds are refused.
pub fn split_head(head: &[u8]) -> io::Result<(Vec<u8>, Fields)> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if lines
        .iter()
        .any(|l| l.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)))
    {
        return Err(bad_framing("a bare CR, LF or NUL in a head"));
    }
    let fields = lines[1..]
        .iter()
        .map(|l| field(l))
        .collect::<io::Result<_>>()?;
    Ok((lines[0].to_vec(), Fields(fields)))
}

fn field(line: &[u8]) -> io::Result<(String, String)> {
    let colon = line.iter().position(|b| *b == b':').unwrap_or(0);
    if colon == 0
        || !line[..colon].iter().all(|b| is_token(*b))
        || line.contains(&0)
        || line.contains(&b'\n')
    {
        return Err(bad_framing(format!("field line {:?}", latin1(line))));
    }
    let value = latin1(&line[colon + 1..]);
    Ok((
        latin1(&line[..colon]),
        value.trim_matches([' ', '\t']).to_owned(),
    ))
}

pub fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// Each byte as one character.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}
