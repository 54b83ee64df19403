//! Everything that a client received on one connection, split into answers.

use crate::harness::{bare_cr, is_token, latin1};

/// One answer, final or interim.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Its framing ended.
    pub complete: bool,
}

/// The answers, what follows the last one, and what a strict client objects to.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    pub parts: Vec<Part>,
    pub left: Vec<u8>,
    pub violations: Vec<String>,
}

impl Parsed {
    /// The final ones; a 101 is final too.
    pub fn finals(&self) -> Vec<&Part> {
        self.parts
            .iter()
            .filter(|p| p.status >= 200 || p.status == 101)
            .collect()
    }

    pub fn interim(&self) -> usize {
        self.parts
            .iter()
            .filter(|p| p.status < 200 && p.status != 101)
            .count()
    }
}

/// `head` says that the first request was HEAD.
pub fn parse(mut data: &[u8], closed: bool, head: bool) -> Parsed {
    let mut out = Parsed::default();
    let mut finals = 0;
    while !data.is_empty() {
        let Some(end) = find(data, b"\r\n\r\n") else {
            if find(data, b"\n\n").is_some() && data.starts_with(b"HTTP/") {
                out.violations.push("LF head to client".into());
            }
            break;
        };
        let (text, rest) = (latin1(&data[..end]), &data[end + 4..]);
        let mut lines = text.split("\r\n");
        let Some(status) = status_of(lines.next().unwrap_or("")) else {
            out.violations
                .push(format!("status line {:?}", &text[..text.len().min(60)]));
            break;
        };
        let bare_lf = data[..end]
            .iter()
            .enumerate()
            .any(|(i, b)| *b == b'\n' && (i == 0 || data[i - 1] != b'\r'));
        if bare_cr(&data[..end]) || bare_lf || data[..end].contains(&0) {
            out.violations.push("CR/LF/NUL in head to client".into());
        }
        let mut part = Part {
            status,
            complete: true,
            ..Part::default()
        };
        for line in lines {
            match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && name.bytes().all(is_token) => {
                    part.fields.push((
                        name.to_ascii_lowercase(),
                        value.trim_matches([' ', '\t']).to_owned(),
                    ));
                }
                _ => out.violations.push(format!("field to client {line:?}")),
            }
        }
        let (lengths, codings) = (part.all("content-length"), part.all("transfer-encoding"));
        if !lengths.is_empty() && !codings.is_empty() {
            out.violations.push("CL+TE to client".into());
        }
        if lengths.iter().any(|l| *l != lengths[0]) {
            out.violations.push("CL differ to client".into());
        }
        if status < 200 {
            data = rest;
            out.parts.push(part);
            if status == 101 {
                break;
            }
            continue;
        }
        let without_body = head && finals == 0 || matches!(status, 204 | 304);
        finals += 1;
        let mut after = rest;
        if without_body {
        } else if !codings.is_empty() {
            let (body, end) = chunked(rest, &mut out.violations);
            part.body = body;
            part.complete = end.is_some();
            after = end.map_or(&[], |end| &rest[end..]);
        } else if let Some(length) = lengths.first() {
            let length = length.parse().unwrap_or_else(|_| {
                out.violations.push("CL to client".into());
                0
            });
            let taken = rest.len().min(length);
            part.body = rest[..taken].to_vec();
            part.complete = taken == length;
            after = &rest[taken..];
        } else {
            part.body = rest.to_vec();
            part.complete = closed;
            after = &[];
        }
        let complete = part.complete;
        out.parts.push(part);
        data = after;
        if !complete {
            break;
        }
    }
    out.left = data.to_vec();
    out
}

impl Part {
    pub fn all(&self, name: &str) -> Vec<String> {
        self.fields
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .collect()
    }
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line
        .strip_prefix("HTTP/1.")
        .filter(|r| r.starts_with(['0', '1']))?
        .get(1..)?
        .strip_prefix(' ')?;
    let (code, reason) = (rest.get(..3)?, &rest[3..]);
    if !(reason.is_empty() || reason.starts_with(' ')) || !code.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    code.parse().ok()
}

/// The body so far, and where the message ends if it does.
fn chunked(data: &[u8], violations: &mut Vec<String>) -> (Vec<u8>, Option<usize>) {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(end) = find(&data[at..], b"\r\n") {
        let line = latin1(&data[at..at + end]);
        let Ok(size) = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
        else {
            violations.push("chunk to client".into());
            break;
        };
        at += end + 2;
        if size == 0 {
            while let Some(end) = find(&data[at..], b"\r\n") {
                at += end + 2;
                if end == 0 {
                    return (body, Some(at));
                }
            }
            break;
        }
        if data.len() - at < size + 2 {
            body.extend_from_slice(&data[at..data.len().min(at + size)]);
            break;
        }
        body.extend_from_slice(&data[at..at + size]);
        at += size + 2;
    }
    (body, None)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
