//! Where a row is tried: one proxy with four lanes, each profile of a listener before each protocol of a version, and
//! behind each lane a version that records what it gets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::conformance::parse::{Parsed, Part, parse};
use crate::harness::{Backend, Fields, Origin, Proxy, Site, hash, latin1};

/// What comes, comes within this.
const PATIENCE: Duration = Duration::from_secs(8);
/// Sent behind a request, to see whether it is ever taken for one.
pub const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: t\r\n\r\n";
/// Sent before one, to see whether what was good stays so.
const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: t\r\n\r\n";

/// A proxy with its lanes.
pub struct Stand {
    pub proxy: Proxy,
    pub lanes: Vec<Lane>,
}

/// One way through it.
pub struct Lane {
    pub name: &'static str,
    pub edge: bool,
    pub http2: bool,
    pub address: SocketAddr,
    back: Back,
}

enum Back {
    Http1(Origin),
    Http2(Backend),
}

/// A complete request as a version got it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub fields: Fields,
    pub trailers: Fields,
    pub length: usize,
    pub hash: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or("")
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.has(name)
    }
}

/// What a caller heard on one connection, and whether it was closed.
pub struct Heard {
    pub parsed: Parsed,
    pub closed: bool,
}

impl Heard {
    pub fn statuses(&self) -> Vec<u16> {
        self.parsed.finals().iter().map(|p| p.status).collect()
    }
}

/// A request that went through.
pub struct Passed {
    pub lane: &'static str,
    pub edge: bool,
    pub http2: bool,
    pub seen: Seen,
    pub answer: Part,
}

impl Stand {
    pub fn new() -> Self {
        Self::with("", |site| site)
    }

    /// With further keys of each listener, in flow style, and whatever else `more` changes.
    pub fn with(listener: &str, more: impl FnOnce(Site) -> Site) -> Self {
        let kinds = [
            ("edge to HTTP/1.1", true, false),
            ("sidecar to HTTP/1.1", false, false),
            ("edge to HTTP/2", true, true),
            ("sidecar to HTTP/2", false, true),
        ];
        let (mut listeners, mut services, mut routes) =
            (String::new(), String::new(), String::new());
        let mut backs = Vec::new();
        for (n, (_, edge, http2)) in kinds.into_iter().enumerate() {
            let back = if http2 {
                Back::Http2(Backend::h2c("v1"))
            } else {
                Back::Http1(Origin::start())
            };
            let endpoint = match &back {
                Back::Http1(origin) => origin.address.to_string(),
                Back::Http2(backend) => backend.endpoint(),
            };
            let profile = if edge { "edge" } else { "sidecar" };
            let comma = if listener.is_empty() { "" } else { ", " };
            listeners += &format!(
                "\n  - {{ name: in{n}, address: \"127.0.0.{}:0\", profile: {profile}{comma}{listener} }}",
                n + 1
            );
            let protocol = if http2 { "protocol: h2c" } else { "" };
            let text = Site::service_text(&format!("s{n}"), protocol, &[("v1", endpoint)]);
            services += &format!("\n{}", text.trim_matches('\n'));
            routes +=
                &format!("\n  - {{ match: {{ listener: in{n} }}, service: s{n}, rules: [] }}");
            backs.push(back);
        }
        let site = Site::new()
            .with("listeners", &listeners)
            .with("services", &services)
            .with("routes", &routes);
        let proxy = Proxy::start(&more(site));
        let lanes = kinds
            .into_iter()
            .zip(backs)
            .enumerate()
            .map(|(n, ((name, edge, http2), back))| Lane {
                name,
                edge,
                http2,
                address: proxy.address(&format!("in{n}")),
                back,
            })
            .collect();
        Self { proxy, lanes }
    }

    /// Each of these inputs is turned away with one of `statuses` and the connection closed, whatever stands before or
    /// behind it and however it is cut; nothing of it reaches a version.
    #[track_caller]
    pub fn refuses<B: AsRef<[u8]>>(&self, statuses: &[u16], inputs: impl IntoIterator<Item = B>) {
        self.refuses_on(|_| true, statuses, inputs);
    }

    /// The same on the lanes that `which` picks.
    #[track_caller]
    pub fn refuses_on<B: AsRef<[u8]>>(
        &self,
        which: impl Fn(&Lane) -> bool,
        statuses: &[u16],
        inputs: impl IntoIterator<Item = B>,
    ) {
        let mut wrong = Vec::new();
        for input in inputs {
            let input = input.as_ref();
            for lane in self.lanes.iter().filter(|l| which(l)) {
                lane.refuses(input, statuses, &mut wrong);
            }
        }
        tell(wrong);
    }

    /// Each of these has a head that may go on and a body that is broken: no version ever sees it whole, the caller is
    /// told (or its connection ends), and nothing that follows is taken for a request.
    #[track_caller]
    pub fn breaks_off<B: AsRef<[u8]>>(&self, inputs: impl IntoIterator<Item = B>) {
        let mut wrong = Vec::new();
        for input in inputs {
            for lane in &self.lanes {
                lane.breaks_off(input.as_ref(), &mut wrong);
            }
        }
        tell(wrong);
    }

    /// The same for a request that nobody may send another one behind before it is answered.
    #[track_caller]
    pub fn passes_in_turn(&self, input: impl AsRef<[u8]>, line: &str, body: &str) -> Vec<Passed> {
        self.each_passes(input.as_ref(), line, body, true)
    }

    /// This request passes with this line and this body, framed once and by the proxy; the connection is in step after it.
    #[track_caller]
    pub fn passes(&self, input: impl AsRef<[u8]>, line: &str, body: &str) -> Vec<Passed> {
        self.each_passes(input.as_ref(), line, body, false)
    }

    #[track_caller]
    fn each_passes(&self, input: &[u8], line: &str, body: &str, in_turn: bool) -> Vec<Passed> {
        let mut wrong = Vec::new();
        let passed = self
            .lanes
            .iter()
            .filter_map(|lane| lane.passes(input, line, body, in_turn, &mut wrong))
            .collect();
        tell(wrong);
        passed
    }
}

#[track_caller]
fn tell(wrong: Vec<String>) {
    let (n, shown) = (wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(wrong.is_empty(), "{n} findings:\n{}", shown.join("\n"));
}

impl Lane {
    pub fn forget(&self) {
        match &self.back {
            Back::Http1(origin) => origin.reset(None, false, false),
            Back::Http2(backend) => backend.forget_recent(),
        }
    }

    /// Complete requests since [`Lane::forget`].
    pub fn seen(&self) -> Vec<Seen> {
        match &self.back {
            Back::Http1(origin) => origin
                .seen()
                .requests
                .iter()
                .map(|r| {
                    let mut words = r.line.split(' ');
                    let word = |w: Option<&str>| w.unwrap_or("").to_owned();
                    let body: Vec<u8> = r.body.chars().map(|c| c as u32 as u8).collect();
                    Seen {
                        method: word(words.next()),
                        target: word(words.next()),
                        fields: fields(r.head.split("\r\n").skip(1)),
                        trailers: fields(r.trailers.split("\r\n")),
                        length: body.len(),
                        hash: hash(&body),
                    }
                })
                .collect(),
            Back::Http2(backend) => backend
                .recent()
                .into_iter()
                .map(|e| Seen {
                    method: e.method,
                    target: e.target,
                    fields: e.fields,
                    trailers: e.trailers,
                    length: e.length,
                    hash: e.hash,
                })
                .collect(),
        }
    }

    /// What a strict version objects to, and every byte that came, where it speaks HTTP/1.1.
    pub fn objections(&self) -> Vec<String> {
        match &self.back {
            Back::Http1(origin) => origin.seen().violations,
            Back::Http2(_) => Vec::new(),
        }
    }

    fn raw(&self) -> String {
        match &self.back {
            Back::Http1(origin) => origin.seen().raw,
            Back::Http2(_) => String::new(),
        }
    }

    /// Sends all of it, closes the sending side if so asked, and listens until the connection closes.
    pub fn say(&self, bytes: &[u8]) -> Heard {
        self.say_by(bytes, bytes.len().max(1))
    }

    /// The same, so many bytes at a time.
    pub fn say_by(&self, bytes: &[u8], step: usize) -> Heard {
        self.say_and_then(bytes, step, b"")
    }

    /// The same, and `then` once there is a first answer.
    fn say_and_then(&self, bytes: &[u8], step: usize, then: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(self.address).expect("the listener accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let is_head = bytes.starts_with(b"HEAD ");
        let mut then = (!then.is_empty()).then_some(then);
        let mut writer = stream.try_clone().expect("a socket");
        let writes = bytes.to_vec();
        // Whoever refuses early closes while this still writes; what it said is what counts.
        let writing = std::thread::spawn(move || {
            writes
                .chunks(step)
                .all(|piece| writer.write_all(piece).is_ok())
        });
        let (mut data, mut closed) = (Vec::new(), true);
        let mut piece = vec![0; 65536];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    data.extend_from_slice(&piece[..n]);
                    let answered = |data| {
                        parse(data, false, is_head)
                            .finals()
                            .first()
                            .is_some_and(|p| p.complete)
                    };
                    if let Some(then) = then.take_if(|_| answered(&data)) {
                        // Whoever has closed meanwhile is found out by what it said.
                        let _ = stream.write_all(then);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(_) => {
                    closed = false;
                    break;
                }
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        let _ = writing.join();
        let parsed = parse(&data, closed, is_head);
        Heard { parsed, closed }
    }

    /// A plain request on a new connection gets its plain answer, and the version gets it as it is.
    pub fn is_well(&self) -> bool {
        self.forget();
        let heard = self.say(b"GET /well HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let seen = self.seen();
        heard.statuses() == [200] && heard.closed && seen.len() == 1 && seen[0].target == "/well"
    }

    fn refuses(&self, input: &[u8], statuses: &[u16], wrong: &mut Vec<String>) {
        let whole = [input, AFTER].concat();
        let behind = [BEFORE, input, AFTER].concat();
        let mut tries = vec![("alone", &whole, whole.len())];
        if !self.http2 {
            tries.push(("behind a good one", &behind, behind.len()));
            if input.len() < 1000 {
                tries.push(("byte by byte", &whole, 1));
            }
        }
        for (how, bytes, step) in tries {
            self.forget();
            let heard = self.say_by(bytes, step);
            let before = usize::from(how == "behind a good one");
            let seen: Vec<String> = self.seen().into_iter().map(|s| s.target).collect();
            let finals = heard.parsed.finals();
            let last = finals.last();
            let mut why = heard.parsed.violations.clone();
            why.extend(self.objections());
            if finals.len() != before + 1 {
                why.push(format!("{} answers {:?}", finals.len(), heard.statuses()));
            }
            if !last.is_some_and(|p| statuses.contains(&p.status)) {
                why.push(format!("status {:?}", last.map(|p| p.status)));
            }
            if last.is_none_or(|p| p.all("connection") != ["close"]) {
                why.push("does not say that it closes".into());
            }
            if last.is_none_or(|p| p.all("x-tidegate-refusal").len() != 1) {
                why.push("does not say why".into());
            }
            if !heard.closed {
                why.push("left open".into());
            }
            if seen != vec!["/before"; before] {
                why.push(format!("the version got {seen:?}"));
            }
            if before == 0 && !self.raw().is_empty() {
                why.push(format!("the version got bytes: {:?}", self.raw()));
            }
            self.add(wrong, why, how, input);
        }
    }

    fn breaks_off(&self, input: &[u8], wrong: &mut Vec<String>) {
        let whole = [input, AFTER].concat();
        for (how, step) in [("whole", whole.len()), ("byte by byte", 1)] {
            if step == 1 && (whole.len() > 1000 || self.http2) {
                continue;
            }
            self.forget();
            let heard = self.say_by(&whole, step);
            let mut why = heard.parsed.violations.clone();
            why.extend(self.objections());
            let finals = heard.parsed.finals();
            if finals.len() > 1 {
                why.push(format!("{} answers {:?}", finals.len(), heard.statuses()));
            }
            if finals
                .first()
                .is_some_and(|p| !(400..500).contains(&p.status) && p.complete)
            {
                why.push(format!("answers {:?}", heard.statuses()));
            }
            if !heard.closed {
                why.push("left open".into());
            }
            if !self.seen().is_empty() {
                why.push(format!("the version got it whole: {:?}", self.seen()));
            }
            self.add(wrong, why, how, input);
        }
    }

    fn passes(
        &self,
        input: &[u8],
        line: &str,
        body: &str,
        in_turn: bool,
        wrong: &mut Vec<String>,
    ) -> Option<Passed> {
        let then = b"GET /then HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let bytes = [input, then].concat();
        let (mut passed, mut steps) = (None, vec![("whole", bytes.len())]);
        if !self.http2 && bytes.len() < 1000 {
            steps.push(("byte by byte", 1));
        }
        for (how, step) in steps {
            self.forget();
            let heard = if in_turn {
                self.say_and_then(input, step, then)
            } else {
                self.say_by(&bytes, step)
            };
            let seen = self.seen();
            let mut why = heard.parsed.violations.clone();
            why.extend(self.objections());
            if heard.statuses() != [200, 200] || !heard.closed {
                why.push(format!("answers {:?}", heard.statuses()));
            }
            let lines: Vec<String> = seen
                .iter()
                .map(|s| format!("{} {}", s.method, s.target))
                .collect();
            if lines != [line, "GET /then"] {
                why.push(format!("the version got {lines:?}"));
            }
            if let (Some(first), Some(answer)) = (seen.first(), heard.parsed.finals().first()) {
                why.extend(self.misframed(first, body));
                passed = Some(Passed {
                    lane: self.name,
                    edge: self.edge,
                    http2: self.http2,
                    seen: first.clone(),
                    answer: (*answer).clone(),
                });
            }
            self.add(wrong, why, how, input);
        }
        passed
    }

    /// Exactly one framing, the proxy's own spelling of it, and exactly this body.
    pub fn misframed(&self, seen: &Seen, body: &str) -> Vec<String> {
        let mut why = Vec::new();
        let bytes: Vec<u8> = body.chars().map(|c| c as u32 as u8).collect();
        if seen.length != bytes.len() || seen.hash != hash(&bytes) {
            why.push(format!("the version got a body of {}", seen.length));
        }
        let lengths = seen.fields.all("content-length");
        let codings = seen.fields.all("transfer-encoding");
        let right = bytes.len().to_string();
        let fits = match (self.http2, lengths.as_slice(), codings.as_slice()) {
            (true, [], []) | (false, [], ["chunked"]) => true,
            (_, [length], []) => *length == right,
            (false, [], []) => bytes.is_empty(),
            _ => false,
        };
        if !fits {
            why.push(format!("framed by {lengths:?} and {codings:?}"));
        }
        why
    }

    fn add(&self, wrong: &mut Vec<String>, mut why: Vec<String>, how: &str, input: &[u8]) {
        if !self.is_well() {
            why.push("not well afterwards".into());
        }
        if !why.is_empty() {
            let shown = latin1(&input[..input.len().min(300)]);
            wrong.push(format!(
                "{} ({how}): {shown:?}\n    {}",
                self.name,
                why.join("; ")
            ));
        }
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Fields {
    Fields(
        lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_owned(), v.trim_matches([' ', '\t']).to_owned()))
            .collect(),
    )
}
