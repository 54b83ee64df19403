//! Runs `h1_cases.json`; its `schema` says what the classes and invariants mean.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regex::bytes::RegexBuilder;
use serde::Deserialize;
use serde_json::Value;

use super::is_well;
use super::parse::{Parsed, Part, parse};
use crate::harness::{Origin, Proxy, SeenByOrigin, Site, bare_cr, latin1, write_in_pieces};

/// Cases run side by side, each lane with a listener and an origin of its own.
const LANES: usize = 6;
/// What comes is looked at when it is there; this is how long nothing may come.
const WINDOW: Duration = Duration::from_secs(5);
/// What may still come after an answer is waited for so long.
const AFTERMATH: Duration = Duration::from_millis(200);

/// What the proxy decided where the protocol leaves it to the proxy. A change here is a change for users.
const POLICY: &[(&str, &str)] = &[
    ("rl-028", "answered 400"),   // raw UTF-8 in the path
    ("rl-043", "answered 400"),   // absolute form with another scheme
    ("rl-049", "answered 405"),   // TRACE
    ("rl-058", "answered 400"),   // encoded NUL in the path
    ("rl-068", "forwarded, 200"), // 200 empty lines, then a request
    ("rl-069", "answered 400"),   // 1 MiB without any line end
    ("ho-004", "answered 400"),   // empty Host
    ("hf-020", "answered 400"),   // control byte 0x01 in the value
    ("hf-021", "answered 400"),   // DEL in the value
    ("hf-029", "forwarded, 200"), // 100 small headers are carried
    ("hf-032", "answered 431"),   // one header of 1 MiB
    ("hf-039", "answered 400"),   // vertical tab before the value
    ("ch-052", "answered 400"),   // extension of 4 KiB
    ("ch-054", "answered 400"),   // extensions of 64 KiB in all over 64 chunks
    ("co-012", "forwarded, 200"), // Connection names Authorization
    ("co-031", "forwarded, 200"), // X-Forwarded-For from outside cannot stand alone
    ("rs-033", "answered 502"),   // an answer with a header of 1 MiB
    ("rs-034", "answered 502"),   // an answer's head of 8 MiB that never ends
];

/// Advice of the RFCs that is not followed, on purpose.
const NOT_FOLLOWED: &[&str] = &[];

#[derive(Deserialize)]
struct Document {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) id: String,
    title: String,
    level: String,
    pub(super) send: Value,
    expect: Expect,
    pub(super) origin: Option<String>,
    #[serde(default)]
    origin_close: bool,
    two_phase: Option<String>,
    #[serde(default)]
    head: bool,
    #[serde(default = "once")]
    repeat: usize,
}

fn once() -> usize {
    1
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Expect {
    cls: String,
    status: Option<Vec<Value>>,
    must_close: bool,
    must_stay_open: bool,
    close_ok: bool,
    wait_ok: bool,
    body_reject_ok: bool,
    origin_body: Option<String>,
    origin_must: Vec<String>,
    origin_must_not: Vec<String>,
    origin_head_must_not: Vec<String>,
    client_must_not: Vec<String>,
    client_body: Option<String>,
    client_max_cl: Option<usize>,
    statuses: Vec<String>,
    origin_n: Option<usize>,
    origin_n_max: Option<usize>,
    origin_any_host: bool,
    origin_te_ok: bool,
    allow_binary: bool,
    no_1xx: bool,
    early: bool,
    phase2: Option<String>,
}

/// What one case showed.
struct Outcome {
    why: Vec<String>,
    /// `reject`, `forward` or `other`, for the policy table.
    choice: String,
}

/// What the client received in the first phase and, where there was one, in the second.
struct Heard {
    data: Vec<u8>,
    closed: bool,
    second: Option<Second>,
}

struct Second {
    data: Vec<u8>,
    closed: bool,
    new_at_origin: String,
}

#[test]
fn every_http_1_case_ends_as_the_protocol_and_safety_demand() {
    let cases = cases();
    let outcomes = run_all(&cases, Pace::Whole, Way::Edge);
    judge_all(&cases, &outcomes);
    let mut changed = Vec::new();
    for case in cases.iter().filter(|c| c.level == "POLICY") {
        let choice = &outcomes[&case.id].choice;
        let decided = POLICY.iter().find(|(id, _)| *id == case.id);
        if decided.is_none_or(|(_, decided)| decided != choice) {
            changed.push(format!(
                "(\"{}\", \"{choice}\"), // {}",
                case.id, case.title
            ));
        }
    }
    assert!(
        changed.is_empty(),
        "decided otherwise than the table says:\n{}",
        changed.join("\n")
    );
}

#[test]
fn it_makes_no_difference_how_the_bytes_are_cut_into_pieces() {
    let cases = cases();
    judge_all(&cases, &run_all(&cases, Pace::Pieces, Way::Edge));
}

#[test]
fn every_http_1_case_ends_so_on_a_sidecar_too() {
    let cases = cases();
    judge_all(&cases, &run_all(&cases, Pace::Whole, Way::Sidecar));
}

#[test]
fn every_http_1_case_ends_so_with_http_2_on_the_way() {
    let cases = cases();
    judge_all(&cases, &run_all(&cases, Pace::Whole, Way::ThroughHttp2));
}

pub(super) fn cases() -> Vec<Case> {
    let document: Document =
        serde_json::from_str(include_str!("h1_cases.json")).expect("the cases are JSON");
    document.cases
}

/// How bytes are written, on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once.
    Whole,
    /// A few at a time.
    Pieces,
}

/// What stands between the client and the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A proxy that strangers call.
    Edge,
    /// One that known peers call.
    Sidecar,
    /// The first, and behind it over HTTP/2 the second.
    ThroughHttp2,
}

fn run_all(cases: &[Case], pace: Pace, way: Way) -> BTreeMap<String, Outcome> {
    let origins: Vec<_> = (0..LANES).map(|_| Origin::start()).collect();
    let endpoints: Vec<_> = origins.iter().map(|o| o.address).collect();
    // What the first one adds does not take the second one's room.
    let roomy = "sidecar, limits: { header_count: 200, header_bytes: 128KiB }";
    let profile = match way {
        Way::Edge => "edge",
        Way::Sidecar => "sidecar",
        Way::ThroughHttp2 => roomy,
    };
    let proxy = Proxy::start(&lanes_to(&endpoints, profile, ""));
    let (proxy, _behind) = if way == Way::ThroughHttp2 {
        let inner: Vec<_> = (0..LANES)
            .map(|n| proxy.address(&format!("in{n}")))
            .collect();
        let outer = Proxy::start(&lanes_to(&inner, "edge", "protocol: h2c"));
        (outer, Some(proxy))
    } else {
        (proxy, None)
    };
    let addresses: Vec<_> = (0..LANES)
        .map(|n| proxy.address(&format!("in{n}")))
        .collect();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for (origin, address) in origins.iter().zip(&addresses) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, SeqCst)) {
                    let outcome = run(case, pace, *address, origin);
                    outcomes.lock().unwrap().insert(case.id.clone(), outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

pub(super) fn lanes(origins: &[Origin]) -> Site {
    let endpoints: Vec<_> = origins.iter().map(|o| o.address).collect();
    lanes_to(&endpoints, "edge", "")
}

/// A listener of this profile before each endpoint, whose service has these keys more.
fn lanes_to(endpoints: &[SocketAddr], profile: &str, more: &str) -> Site {
    let (mut listeners, mut services, mut routes) = (String::new(), String::new(), String::new());
    for (n, endpoint) in endpoints.iter().enumerate() {
        listeners += &format!(
            "\n  - {{ name: in{n}, address: \"127.0.0.{}:0\", profile: {profile} }}",
            n + 1
        );
        let text = Site::service_text(&format!("s{n}"), more, &[("v1", endpoint.to_string())]);
        services += &format!("\n{}", text.trim_matches('\n'));
        routes += &format!("\n  - {{ match: {{ listener: in{n} }}, service: s{n}, rules: [] }}");
    }
    Site::new()
        .without("identity")
        .with("listeners", &listeners)
        .with("services", &services)
        .with("routes", &routes)
}

#[track_caller]
fn judge_all(cases: &[Case], outcomes: &BTreeMap<String, Outcome>) {
    let mut wrong = Vec::new();
    for case in cases {
        let why = &outcomes[&case.id].why;
        let excused = NOT_FOLLOWED.contains(&case.id.as_str());
        if why.is_empty() && excused {
            wrong.push(format!("{} is followed now: take it off the list", case.id));
        }
        if !why.is_empty() && (!excused || is_unsafe(why)) {
            let mark = if is_unsafe(why) { "UNSAFE " } else { "" };
            let why = why.join("; ");
            wrong.push(format!(
                "{mark}{} [{}] {}: {why}",
                case.id, case.level, case.title
            ));
        }
    }
    let (n, all) = (wrong.len(), cases.len());
    assert!(
        wrong.is_empty(),
        "{n} of {all} cases:\n{}",
        wrong.join("\n")
    );
}

fn is_unsafe(why: &[String]) -> bool {
    let marks = [
        "origin saw:",
        "SMUGGLED",
        "must not",
        "raw bytes",
        "client got",
        "CR/LF/NUL",
        "UNHEALTHY",
        "CL+TE",
        "wrong body",
        "origin head has",
        "left over",
        "complete at origin",
        "saw a complete",
        "more answers",
    ];
    why.iter().any(|w| marks.iter().any(|m| w.contains(m)))
}

fn run(case: &Case, pace: Pace, address: SocketAddr, origin: &Origin) -> Outcome {
    let mut outcome = Outcome {
        why: Vec::new(),
        choice: String::new(),
    };
    for _ in 0..case.repeat {
        origin.drop_connections();
        origin.reset(
            case.origin.as_deref().map(expand),
            case.origin_close,
            case.expect.early,
        );
        origin.in_pieces(pace == Pace::Pieces);
        match talk(case, pace, address, origin) {
            Ok(heard) => {
                std::thread::sleep(Duration::from_millis(30));
                let seen = origin.seen();
                outcome = judge(case, &heard, &seen);
            }
            Err(e) => outcome.why.push(format!("connect: {e}")),
        }
        if !outcome.why.is_empty() {
            break;
        }
    }
    origin.drop_connections();
    origin.reset(None, false, false);
    if !is_well(address) {
        outcome.why.push("PROXY UNHEALTHY AFTER THE CASE".into());
    }
    outcome
}

/// `{{rep:X:N}}` is X repeated N times; each character is one byte.
pub(super) fn expand(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    while let Some(start) = text.find("{{rep:") {
        let body = &text[start + 6..];
        let end = (0..body.len())
            .filter(|i| body.is_char_boundary(*i) && body[*i..].starts_with("}}"))
            .find(|i| {
                body[..*i]
                    .rsplit_once(':')
                    .is_some_and(|(_, n)| n.parse::<usize>().is_ok())
            })
            .expect("a macro ends");
        let (piece, times) = body[..end].rsplit_once(':').expect("a macro has a number");
        let repeated = piece.repeat(times.parse().expect("a number"));
        text = format!("{}{repeated}{}", &text[..start], &body[end + 2..]);
    }
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
        .collect()
}

/// A client that reads while it writes.
pub(super) struct Talk {
    stream: TcpStream,
    heard: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl Talk {
    pub(super) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let heard = Arc::new(Mutex::new((Vec::new(), false)));
        let (mut reader, into) = (stream.try_clone()?, heard.clone());
        std::thread::spawn(move || {
            let mut piece = vec![0; 65536];
            loop {
                match reader.read(&mut piece) {
                    Ok(n) if n > 0 => into.lock().unwrap().0.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            into.lock().unwrap().1 = true;
        });
        Ok(Self { stream, heard })
    }

    pub(super) fn now(&self) -> (Vec<u8>, bool) {
        self.heard.lock().unwrap().clone()
    }

    fn size(&self) -> (usize, bool) {
        let heard = self.heard.lock().unwrap();
        (heard.0.len(), heard.1)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // A peer that refuses early closes while we write; its answer is what counts.
        let _ = self.stream.write_all(bytes);
    }

    /// No more will be sent.
    pub(super) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn send_at(&mut self, pace: Pace, bytes: &[u8]) {
        match pace {
            Pace::Whole => self.send(bytes),
            // An error is an early refusal, as above.
            Pace::Pieces => drop(write_in_pieces(&mut self.stream, bytes)),
        }
    }

    /// Until the connection closes, all `answers` are complete and a moment has passed, or the window ends.
    pub(super) fn wait(&self, window: Duration, answers: usize, head: bool) {
        let (mut end, start) = (Instant::now() + window, Instant::now());
        let (mut size, mut settled) = (0, false);
        while Instant::now() < end {
            let (now, closed) = self.size();
            if closed {
                return;
            }
            if now != size {
                size = now;
                end = end.max(Instant::now() + AFTERMATH);
                let parsed = parse(&self.now().0, false, head);
                settled =
                    parsed.finals().len() >= answers && parsed.parts.iter().all(|p| p.complete);
            }
            if settled && start.elapsed() > window.min(AFTERMATH) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn talk(case: &Case, pace: Pace, address: SocketAddr, origin: &Origin) -> std::io::Result<Heard> {
    let mut talk = Talk::open(address)?;
    let steps = match &case.send {
        Value::Array(steps) => steps.clone(),
        text => vec![serde_json::json!({ "bytes": text })],
    };
    for step in &steps {
        if let Some(bytes) = step["bytes"].as_str() {
            talk.send_at(pace, &expand(bytes));
        } else if let Some(bytes) = step["dribble"].as_str() {
            let pause = Duration::from_millis(step["ms"].as_u64().unwrap_or(1));
            for byte in expand(bytes) {
                talk.send(&[byte]);
                std::thread::sleep(pause);
            }
        } else if let Some(ms) = step["wait_ms"].as_u64() {
            let (size, end) = (talk.size().0, Instant::now() + Duration::from_millis(ms));
            while Instant::now() < end && talk.size() == (size, false) {
                std::thread::sleep(Duration::from_millis(5));
            }
        } else if step["shutdown"] == true {
            let _ = talk.stream.shutdown(Shutdown::Write);
        }
    }
    let quick = matches!(case.expect.cls.as_str(), "wait" | "incomplete");
    talk.wait(
        if quick {
            Duration::from_millis(600)
        } else {
            WINDOW
        },
        case.expect.statuses.len().max(1),
        case.head,
    );
    if case.expect.must_close {
        let end = Instant::now() + Duration::from_secs(5);
        while !talk.size().1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let (data, closed) = talk.now();
    let second = case.two_phase.as_deref().map(|bytes| {
        let before = origin.seen().raw.len();
        if !closed {
            talk.send_at(pace, &expand(bytes));
            let end = Instant::now() + Duration::from_millis(800);
            while Instant::now() < end && !talk.size().1 {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let (all, closed) = talk.now();
        let new_at_origin = origin.seen().raw.get(before..).unwrap_or("").to_owned();
        Second {
            data: all[data.len()..].to_vec(),
            closed,
            new_at_origin,
        }
    });
    Ok(Heard {
        data,
        closed,
        second,
    })
}

fn status_matches(status: Option<u16>, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match status {
        None => pattern == "close",
        Some(status) => match pattern.strip_suffix("xx") {
            Some(class) => (status / 100).to_string() == class,
            None => *pattern == status.to_string(),
        },
    })
}

fn any_of(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|p| (*p).to_owned()).collect()
}

/// The one pattern with a look-ahead is a question of its own.
fn found(pattern: &str, text: &str) -> bool {
    let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
    if pattern == r"\r(?!\n)" {
        return bare_cr(&bytes);
    }
    let pattern = pattern.replace(r"\0", r"\x00");
    let regex = RegexBuilder::new(&pattern)
        .unicode(false)
        .build()
        .unwrap_or_else(|e| panic!("{pattern}: {e}"));
    regex.is_match(&bytes)
}

/// What is judged: the case, the client's side, the origin's side.
struct View<'a> {
    expect: &'a Expect,
    parsed: &'a Parsed,
    finals: Vec<&'a Part>,
    closed: bool,
    seen: &'a SeenByOrigin,
}

impl View<'_> {
    fn status(&self) -> Option<u16> {
        self.finals.first().map(|p| p.status)
    }

    fn rejected(&self, extra: &[&str]) -> Vec<String> {
        let mut why = Vec::new();
        let default = || any_of(&["4xx", "501", "505"]);
        let listed = self.expect.status.as_ref();
        let mut ok = listed.map_or_else(default, |l| {
            l.iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect()
        });
        ok.extend(any_of(extra));
        match self.status() {
            None if !(self.expect.close_ok || self.expect.cls == "reject-body") => {
                why.push(
                    if self.closed {
                        "closed without an answer"
                    } else {
                        "no answer"
                    }
                    .into(),
                );
            }
            None if !self.closed => why.push("no answer, still open".into()),
            None => {}
            Some(status) if !status_matches(Some(status), &ok) => {
                why.push(format!("status {status}"))
            }
            Some(_) => {}
        }
        if let Some(first) = self.seen.requests.first() {
            let n = self.seen.requests.len();
            why.push(format!(
                "{n} complete request(s) at origin: {:?}",
                &first.line[..first.line.len().min(60)]
            ));
        }
        if self.expect.must_close && !self.closed && why.is_empty() {
            why.push("connection left open".into());
        }
        why
    }

    fn forwarded(&self) -> Vec<String> {
        let mut why = Vec::new();
        let requests = &self.seen.requests;
        if !self.status().is_some_and(|s| (200..300).contains(&s)) {
            why.push(format!("status {:?}", self.status()));
        }
        if requests.len() != self.expect.origin_n.unwrap_or(1) {
            why.push(format!("{} requests at origin", requests.len()));
        }
        if let Some(left) = self.seen.left.iter().find(|l| !l.trim().is_empty()) {
            why.push(format!("left over at origin {left:?}"));
        }
        for must in &self.expect.origin_must {
            if !requests.iter().any(|r| found(must, &r.head)) {
                why.push(format!("origin lacks {must}"));
            }
        }
        if let Some(body) = &self.expect.origin_body
            && requests.first().map(|r| &r.body) != Some(&latin1(&expand(body)))
        {
            why.push(format!(
                "body {:?}",
                requests
                    .first()
                    .map(|r| r.body.chars().take(40).collect::<String>())
            ));
        }
        if self.expect.must_close && !self.closed {
            why.push("connection left open".into());
        }
        if self.expect.must_stay_open && self.closed {
            why.push("connection closed".into());
        }
        if self.expect.no_1xx && self.parsed.interim() > 0 {
            why.push("1xx sent".into());
        }
        if self.finals.first().is_some_and(|p| !p.complete) {
            why.push("answer cut".into());
        }
        why
    }
}

fn judge(case: &Case, heard: &Heard, seen: &SeenByOrigin) -> Outcome {
    let expect = &case.expect;
    let mut parsed = parse(&heard.data, heard.closed, case.head);
    if expect.allow_binary {
        parsed.violations.clear();
        parsed.left.clear();
    }
    let view = View {
        expect,
        parsed: &parsed,
        finals: parsed.finals(),
        closed: heard.closed,
        seen,
    };
    let mut why = always(&view, heard);
    let forwarded = view.forwarded();
    let choice = match view.status() {
        Some(status) if forwarded.is_empty() => format!("forwarded, {status}"),
        Some(status) => format!("answered {status}"),
        None if heard.closed => "closed".to_owned(),
        None => "nothing".to_owned(),
    };
    why.extend(by_class(&view, forwarded));
    if let Some(second) = &heard.second {
        why.extend(second_phase(expect, second));
    }
    Outcome { why, choice }
}

/// What no case may show.
fn always(view: &View<'_>, heard: &Heard) -> Vec<String> {
    let (expect, seen) = (view.expect, view.seen);
    let mut why = Vec::new();
    let violations: Vec<_> = seen
        .violations
        .iter()
        .filter(|v| {
            !(expect.origin_any_host && v.ends_with(" Host")
                || expect.origin_te_ok && v.starts_with("TE ["))
        })
        .take(3)
        .cloned()
        .collect();
    if !violations.is_empty() {
        why.push(format!("origin saw: {}", violations.join("; ")));
    }
    if seen.requests.iter().any(|r| r.line.contains(" /smuggled")) {
        why.push("SMUGGLED request at origin".into());
    }
    for never in expect
        .origin_must_not
        .iter()
        .filter(|p| found(p, &seen.raw))
    {
        why.push(format!("origin got what it must not: {never}"));
    }
    for never in &expect.origin_head_must_not {
        if seen.requests.iter().any(|r| found(never, &r.head)) {
            why.push(format!("origin head has {never}"));
        }
    }
    for never in &expect.client_must_not {
        let second = heard
            .second
            .as_ref()
            .is_some_and(|s| found(never, &latin1(&s.data)));
        if found(never, &latin1(&heard.data)) || second {
            why.push(format!("client got {never}"));
        }
    }
    why
}

fn by_class(view: &View<'_>, forwarded: Vec<String>) -> Vec<String> {
    let (expect, status, n) = (view.expect, view.status(), view.seen.requests.len());
    let mut why = Vec::new();
    match expect.cls.as_str() {
        "reject" => why = view.rejected(&[]),
        "reject-body" => {
            why = view.rejected(&["502", "503", "400"]);
            if expect.wait_ok && status.is_none() && n == 0 {
                why.clear();
            }
        }
        "forward" => why = forwarded,
        "either" => {
            let mut refused = view.rejected(if expect.body_reject_ok { &["502"] } else { &[] });
            if n == 0 && status.is_none() && (view.closed && expect.close_ok || expect.wait_ok) {
                refused.clear();
            }
            if !refused.is_empty() && !forwarded.is_empty() {
                let (a, b) = (refused.join("; "), forwarded.join("; "));
                why.push(format!("neither refused ({a}) nor forwarded safely ({b})"));
            }
        }
        "local" => {
            if n > 0 {
                why.push("reached origin".into());
            }
            if status.is_none() && !(view.closed && expect.close_ok) && view.parsed.parts.is_empty()
            {
                why.push("no answer".into());
            }
        }
        "local-or-forward" if status.is_none() => why.push("no answer".into()),
        "local-or-forward" => {}
        "wait" => {
            let listed = expect
                .status
                .iter()
                .flatten()
                .map(|v| v.as_str().unwrap_or("").to_owned());
            let listed: Vec<_> = listed.collect();
            if n > 0 {
                why.push("complete at origin".into());
            }
            match status {
                Some(status) if !status_matches(Some(status), &listed) => {
                    why.push(format!("answered {status}"))
                }
                None if view.closed => why.push("closed".into()),
                _ => {}
            }
        }
        "incomplete" => {
            if n > 0 {
                why.push("origin saw a complete request".into());
            }
            if status.is_some_and(|s| s < 400) {
                why.push(format!("status {status:?}"));
            }
        }
        "seq" => why = sequence(view),
        other => why = answer_class(view, other),
    }
    why
}

fn sequence(view: &View<'_>) -> Vec<String> {
    let (expect, n) = (view.expect, view.seen.requests.len());
    let mut why = Vec::new();
    if expect.origin_n.is_some_and(|want| n != want)
        || expect.origin_n_max.is_some_and(|most| n > most)
    {
        why.push(format!("{n} requests at origin"));
    }
    for (i, pattern) in expect.statuses.iter().enumerate() {
        let status = view.finals.get(i).map(|p| p.status);
        let patterns: Vec<_> = pattern.split('|').map(str::to_owned).collect();
        if !status_matches(status, &patterns) {
            why.push(format!("answer {}: {status:?} not {pattern}", i + 1));
            break;
        }
        if status.is_none() && !view.closed {
            why.push("no answer, left open".into());
            break;
        }
    }
    if view.finals.len() > expect.statuses.len() {
        why.push("more answers than requests".into());
    }
    if expect.must_close && !view.closed {
        why.push("left open".into());
    }
    why
}

/// The classes about an origin that misbehaves.
fn answer_class(view: &View<'_>, class: &str) -> Vec<String> {
    let (expect, status) = (view.expect, view.status());
    let mut why = Vec::new();
    let failed = status_matches(status, &any_of(&["502", "500", "503", "504"]));
    let cut = view.finals.first().is_some_and(|p| !p.complete);
    match class {
        "resp-502" if !failed => why.push(format!("status {status:?}")),
        "resp-abort" if !failed => {
            if view.finals.first().is_some_and(|p| p.complete) {
                why.push("client saw a complete answer".into());
            } else if !view.closed {
                why.push("cut answer, connection left open".into());
            }
        }
        "resp-either" if !failed => {
            if status.is_none() {
                why.push("no answer".into());
            }
            why.extend(view.parsed.violations.clone());
            if cut {
                why.push("answer cut".into());
            }
            let lengths = view
                .finals
                .first()
                .map_or(0, |p| p.all("content-length").len());
            if expect.client_max_cl.is_some_and(|most| lengths > most) {
                why.push("Content-Length twice to client".into());
            }
        }
        "resp-forward" => {
            let listed = expect.status.clone().unwrap_or_else(|| vec!["200".into()]);
            let listed: Vec<_> = listed
                .iter()
                .map(|v| v.as_str().unwrap_or("").to_owned())
                .collect();
            if !status_matches(status, &listed) {
                why.push(format!("status {status:?}"));
            }
            why.extend(view.parsed.violations.clone());
            if cut {
                why.push("answer cut".into());
            }
            if !latin1(&view.parsed.left).trim().is_empty() {
                why.push(format!(
                    "left over at client {:?}",
                    latin1(&view.parsed.left)
                ));
            }
            if let Some(body) = &expect.client_body {
                let got = view.finals.first().map(|p| latin1(&p.body));
                if got.as_ref() != Some(body) {
                    why.push(format!("client body {got:?}"));
                }
            }
        }
        "resp-502" | "resp-abort" | "resp-either" => {}
        other => why.push(format!("no such class: {other}")),
    }
    why
}

fn second_phase(expect: &Expect, second: &Second) -> Vec<String> {
    let wanted = expect.phase2.as_deref().unwrap_or("200");
    if wanted == "no-origin-bytes" {
        let raw = &second.new_at_origin;
        return if raw.is_empty() {
            vec![]
        } else {
            vec![format!("raw bytes reached the origin: {raw:?}")]
        };
    }
    if second.data.is_empty() && second.closed {
        return Vec::new();
    }
    let parsed = parse(&second.data, second.closed, false);
    match parsed.finals().first() {
        Some(part) if part.status.to_string() == wanted && part.body == b"ok" => vec![],
        Some(part) if part.status.to_string() == wanted => {
            vec![format!(
                "second answer has the wrong body {:?}",
                latin1(&part.body)
            )]
        }
        other => vec![format!("second answer {:?}", other.map(|p| p.status))],
    }
}
