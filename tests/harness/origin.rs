//! A strict origin that records everything it receives, for the protocol cases: it forgives nothing, so what a lenient
//! origin would have overlooked becomes a finding.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::wire::{Reader, is_token, latin1};

/// A running origin.
pub struct Origin {
    pub address: SocketAddr,
    stage: Arc<Stage>,
}

struct Stage {
    record: Mutex<Record>,
    open: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// What the next request is answered with, and what has arrived since.
#[derive(Default)]
struct Record {
    reply: Option<Vec<u8>>,
    close: bool,
    early: bool,
    used: bool,
    in_pieces: bool,
    seen: SeenByOrigin,
}

/// What arrived.
#[derive(Debug, Clone, Default)]
pub struct SeenByOrigin {
    pub requests: Vec<Complete>,
    /// What a strict origin objects to.
    pub violations: Vec<String>,
    /// Every byte, as Latin-1.
    pub raw: String,
    /// Bytes that never became a request.
    pub left: Vec<String>,
}

/// One complete request.
#[derive(Debug, Clone, Default)]
pub struct Complete {
    pub line: String,
    /// With the line before and a CRLF behind each line.
    pub head: String,
    pub body: String,
    /// The trailer lines, each with its CRLF.
    pub trailers: String,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let stage = Arc::new(Stage {
            record: Mutex::default(),
            open: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let inside = stage.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if inside.stop.load(SeqCst) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                if let Ok(copy) = stream.try_clone() {
                    inside.open.lock().expect("no thread panicked").push(copy);
                }
                let stage = inside.clone();
                std::thread::spawn(move || {
                    let mut reader = Reader::new(stream);
                    if serve(&mut reader, &stage).is_err() && !reader.buffer.is_empty() {
                        let left = latin1(&reader.buffer[..reader.buffer.len().min(200)]);
                        stage.record().seen.left.push(left);
                    }
                });
            }
        });
        Self { address, stage }
    }

    /// Forgets everything and answers the next request with `reply` (a plain 200 where there is none), closing after
    /// it or answering before the body as asked.
    pub fn reset(&self, reply: Option<Vec<u8>>, close: bool, early: bool) {
        *self.stage.record() = Record {
            reply,
            close,
            early,
            ..Record::default()
        };
    }

    /// The next reply goes out a few bytes at a time.
    pub fn in_pieces(&self, in_pieces: bool) {
        self.stage.record().in_pieces = in_pieces;
    }

    /// Closes every connection that is open.
    pub fn drop_connections(&self) {
        for stream in self
            .stage
            .open
            .lock()
            .expect("no thread panicked")
            .drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The proxy sees the end before the next case uses a connection.
        std::thread::sleep(Duration::from_millis(30));
    }

    pub fn seen(&self) -> SeenByOrigin {
        self.stage.record().seen.clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stage.stop.store(true, SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        self.drop_connections();
    }
}

impl Stage {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no thread panicked")
    }

    fn object(&self, violation: String) {
        self.record().seen.violations.push(violation);
    }
}

fn serve(reader: &mut Reader<TcpStream>, stage: &Stage) -> io::Result<()> {
    loop {
        let head = until(reader, stage, b"\r\n\r\n")?;
        if head.starts_with(b"PRI * HTTP/2.0") {
            stage.object("h2 preface at origin".into());
            return Err(ErrorKind::InvalidData.into());
        }
        let framing = strict_head(&head, stage);
        let early = {
            let record = stage.record();
            record.early.then(|| record.reply.clone()).flatten()
        };
        if let Some(reply) = early {
            reader.stream.write_all(&reply)?;
            std::thread::sleep(Duration::from_millis(100));
            let _ = reader.stream.shutdown(Shutdown::Both);
            return Ok(());
        }
        if framing.expect {
            reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let (body, trailers) = read_body(reader, stage, &framing)?;
        let mut request = Complete {
            line: framing.line.clone(),
            head: latin1(&head),
            body,
            trailers,
        };
        request.head += "\r\n";
        let (reply, close, in_pieces) = {
            let mut record = stage.record();
            record.seen.requests.push(request);
            let first = !std::mem::replace(&mut record.used, true);
            (
                record.reply.clone().filter(|_| first),
                record.close,
                record.in_pieces,
            )
        };
        if let Some(reply) = reply {
            if in_pieces {
                write_in_pieces(&mut reader.stream, &reply)?;
            } else {
                reader.stream.write_all(&reply)?;
            }
            if close {
                std::thread::sleep(Duration::from_millis(20));
                let _ = reader.stream.shutdown(Shutdown::Both);
                return Ok(());
            }
        } else {
            let ok = if framing.head_method { "" } else { "ok" };
            let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\n";
            reader.stream.write_all(format!("{plain}{ok}").as_bytes())?;
            if framing.http10 && !framing.keep_alive {
                let _ = reader.stream.shutdown(Shutdown::Both);
                return Ok(());
            }
        }
    }
}

#[derive(Default)]
struct Framing {
    line: String,
    head_method: bool,
    http10: bool,
    keep_alive: bool,
    chunked: bool,
    length: Option<usize>,
    expect: bool,
}

/// Reads and records up to and without `mark`.
fn until(reader: &mut Reader<TcpStream>, stage: &Stage, mark: &[u8]) -> io::Result<Vec<u8>> {
    loop {
        if let Some(at) = super::wire::find(&reader.buffer, mark) {
            let taken = reader.buffer[..at].to_vec();
            reader.buffer.drain(..at + mark.len());
            return Ok(taken);
        }
        more(reader, stage)?;
    }
}

fn take(reader: &mut Reader<TcpStream>, stage: &Stage, n: usize) -> io::Result<Vec<u8>> {
    while reader.buffer.len() < n {
        more(reader, stage)?;
    }
    Ok(reader.buffer.drain(..n).collect())
}

fn more(reader: &mut Reader<TcpStream>, stage: &Stage) -> io::Result<()> {
    let before = reader.buffer.len();
    if !reader.fill()? || reader.buffer.len() > 40_000_000 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    stage.record().seen.raw += &latin1(&reader.buffer[before..]);
    Ok(())
}

fn strict_head(head: &[u8], stage: &Stage) -> Framing {
    let mut found = Vec::new();
    if bare_cr(head) {
        found.push("bare CR".to_owned());
    }
    if head
        .iter()
        .enumerate()
        .any(|(i, b)| *b == b'\n' && (i == 0 || head[i - 1] != b'\r'))
    {
        found.push("bare LF".to_owned());
    }
    if head.contains(&0) {
        found.push("NUL".to_owned());
    }
    let text = latin1(head);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or("").to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let version = words.last().copied().unwrap_or("");
    if words.len() != 3 || !is_name(words[0]) || !matches!(version, "HTTP/1.0" | "HTTP/1.1") {
        found.push(format!("request line {line:?}"));
    }
    if words.len() == 3 && (words[1].is_empty() || words[1].bytes().any(|b| b <= b' ' || b == 0x7f))
    {
        found.push("target".to_owned());
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    for field in lines.filter(|l| !l.is_empty()) {
        match field.split_once(':') {
            _ if field.starts_with([' ', '\t']) => found.push("fold".to_owned()),
            Some((name, value)) if is_name(name) => {
                fields.push((
                    name.to_ascii_lowercase(),
                    value.trim_matches([' ', '\t']).to_owned(),
                ));
            }
            _ => found.push(format!("field {field:?}")),
        }
    }
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .collect::<Vec<_>>()
    };
    let (hosts, lengths) = (all("host"), all("content-length"));
    let codings: Vec<String> = all("transfer-encoding")
        .iter()
        .map(|t| t.to_ascii_lowercase())
        .collect();
    let http10 = version == "HTTP/1.0";
    if hosts.len() != 1 && !http10 {
        found.push(format!("{} Host", hosts.len()));
    }
    if !lengths.is_empty() && !codings.is_empty() {
        found.push("CL+TE".to_owned());
    }
    let digits = |s: &String| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if lengths.len() > 1 || !lengths.iter().all(digits) {
        found.push(format!("CL {lengths:?}"));
    }
    if !codings.is_empty() && codings.join(", ") != "chunked" {
        found.push(format!("TE {codings:?}"));
    }
    if !codings.is_empty() && http10 {
        found.push("TE in 1.0".to_owned());
    }
    for violation in found {
        stage.object(violation);
    }
    Framing {
        head_method: words.first() == Some(&"HEAD"),
        http10,
        keep_alive: all("connection")
            .iter()
            .any(|c| c.to_ascii_lowercase().contains("keep-alive")),
        chunked: codings.join(", ").ends_with("chunked"),
        length: lengths.first().and_then(|l| l.parse().ok()),
        expect: all("expect")
            .first()
            .is_some_and(|e| e.to_ascii_lowercase().contains("100-continue")),
        line,
    }
}

fn read_body(
    reader: &mut Reader<TcpStream>,
    stage: &Stage,
    framing: &Framing,
) -> io::Result<(String, String)> {
    if !framing.chunked {
        let body = take(reader, stage, framing.length.unwrap_or(0))?;
        return Ok((latin1(&body), String::new()));
    }
    let (mut body, mut trailers) = (Vec::new(), String::new());
    loop {
        let line = until(reader, stage, b"\n")?;
        let Some(size) = chunk_size(&line) else {
            stage.object(format!("chunk line {:?}", latin1(&line)));
            return Err(ErrorKind::InvalidData.into());
        };
        if size == 0 {
            break;
        }
        body.extend(take(reader, stage, size)?);
        let end = take(reader, stage, 2)?;
        if end != b"\r\n" {
            stage.object(format!("chunk end {end:?}"));
            return Err(ErrorKind::InvalidData.into());
        }
    }
    loop {
        let line = until(reader, stage, b"\n")?;
        if line == b"\r" {
            return Ok((latin1(&body), trailers));
        }
        let text = latin1(&line);
        trailers += &format!("{text}\n");
        if !text.ends_with('\r')
            || text.contains('\0')
            || !text.split_once(':').is_some_and(|(n, _)| is_name(n))
        {
            stage.object(format!("trailer {text:?}"));
        }
    }
}

/// The size of a chunk line that ends with CR (its LF is gone); extensions of printable bytes are let through.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let extension: Vec<u8> = line[digits..]
        .iter()
        .copied()
        .skip_while(|b| matches!(b, b' ' | b'\t'))
        .collect();
    let printable = extension
        .iter()
        .all(|b| matches!(b, b'\t' | 0x20..=0x7e | 0x80..));
    if line.len() > digits && (extension.first() != Some(&b';') || !printable) {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

/// Writes a few bytes at a time, with a moment between, so that the peer reads them apart; at most some hundred pieces.
pub fn write_in_pieces(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let size = bytes.len().div_ceil(600).max(1);
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = (size + fastrand::usize(..=2 * size)).min(rest.len());
        stream.write_all(&rest[..n])?;
        rest = &rest[n..];
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

pub fn bare_cr(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .enumerate()
        .any(|(i, b)| *b == b'\r' && bytes.get(i + 1) != Some(&b'\n'))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}
