//! What edits cost those who are served meanwhile: a hundred in a row under load by the clock at half of the capacity,
//! beside as long a time without any.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::company::{self, Company};
use crate::load::Bench;
use crate::measure::{Cores, Priority, Spread, busy_nanos, cpu_nanos, pin};
use crate::peers::{Ready, Running};
use crate::workload::MIXED;

/// Edits in a row.
const EDITS: u64 = 100;
/// As long as a hundred edits take, about: the first stretch without any.
const FIRST_STRETCH: Duration = Duration::from_secs(25);
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the capacity is measured.
const CAPACITY: Duration = Duration::from_secs(3);
/// Of the capacity.
const LOAD: f64 = 0.5;

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Edits {
    /// Answers a second with every connection busy.
    capacity: f64,
    pairs: Vec<Pair>,
    /// Messages that WebSocket and stream have carried, each opened once.
    echoes: [u64; 2],
    /// The slowest of them.
    longest_echo_ms: f64,
}

/// A stretch without edits and one with them.
#[derive(Debug, Serialize)]
struct Pair {
    without: Latency,
    with: Latency,
    /// The slowest of the edits, from the file's replacement to the first answer by it, in milliseconds.
    slowest_edit_ms: f64,
    median_edit_ms: f64,
}

/// Milliseconds from when a request was due to its answer's last byte.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    answers: usize,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// Share of both cores that work took which is neither the proxy's nor ours.
    others: f64,
}

/// One process, and so many pairs.
pub(crate) fn measure(
    bench: &mut Bench,
    tidegate: &Ready,
    folder: &Path,
    cores: Cores,
    pairs: usize,
) -> Result<Edits, String> {
    let trouble = |error: std::io::Error| error.to_string();
    let _priority = Priority::raise();
    pin(cores.load)?;
    let company = Company::open().map_err(trouble)?;
    let origins = bench.origins.addresses().map_err(trouble)?;
    let running = tidegate.start(folder, origins, cores, &[])?;
    let mut author = Author {
        proxy: running.address,
        admin: running.admin,
        origins,
        company: [company.socket, company.calls],
        written: 0,
    };
    // The routes of the two streams are the first edit.
    let first = company.spawn(company::edit(
        running.file.clone(),
        running.address,
        author.texts(1),
    ));
    let nothing = || ();
    let (stretch, (), ()) = bench.load(&MIXED, running.address, WARM_UP, CAPACITY, nothing)?;
    company.result(first)??;
    let capacity = stretch.answers as f64 / stretch.lasted.as_secs_f64();
    company.join(running.address);
    eprintln!(
        "capacity {capacity:.0} answers a second; {pairs} pairs at {:.0}",
        capacity * LOAD
    );

    let mut edits = Edits {
        capacity,
        pairs: Vec::new(),
        echoes: [0; 2],
        longest_echo_ms: 0.0,
    };
    let mut lasts = FIRST_STRETCH;
    for number in 0..pairs {
        let quiet = |bench: &mut Bench| {
            let others = Others::from_now(&running, cores);
            let without = stretch_without(bench, &running, capacity, lasts)?;
            Ok::<_, String>(others.beside(without))
        };
        // Whoever goes first changes.
        let before = if number.is_multiple_of(2) {
            Some(quiet(bench)?)
        } else {
            None
        };
        let from = Instant::now();
        let others = Others::from_now(&running, cores);
        let (with, mut took) = stretch_with(bench, &company, &running, capacity, &mut author)?;
        let with = others.beside(with);
        let lasted = from.elapsed();
        let without = before.map_or_else(|| quiet(bench), Ok)?;
        lasts = lasted;
        took.sort_unstable();
        let pair = Pair {
            without,
            with,
            slowest_edit_ms: took[took.len() - 1].as_secs_f64() * 1e3,
            median_edit_ms: took[took.len() / 2].as_secs_f64() * 1e3,
        };
        eprintln!("pair {}: {}", number + 1, pair.line());
        edits.pairs.push(pair);
        if let Some(broken) = company.broken() {
            return Err(format!("{broken}; it said: {}", running.last_words()));
        }
    }
    edits.echoes = company.echoes();
    edits.longest_echo_ms = company.longest_echo().as_secs_f64() * 1e3;
    Ok(edits)
}

fn stretch_without(
    bench: &mut Bench,
    running: &Running,
    capacity: f64,
    lasts: Duration,
) -> Result<Latency, String> {
    let from = Instant::now();
    let latencies = bench.by_the_clock(
        &MIXED,
        running.address,
        capacity * LOAD,
        WARM_UP,
        || (),
        || from.elapsed() > lasts,
    )?;
    Ok(Latency::of(&latencies))
}

fn stretch_with(
    bench: &mut Bench,
    company: &Company,
    running: &Running,
    capacity: f64,
    author: &mut Author,
) -> Result<(Latency, Vec<Duration>), String> {
    let editing = std::cell::OnceCell::new();
    let begin = || {
        let edits = company::edit(running.file.clone(), running.address, author.texts(EDITS));
        let _ = editing.set(company.spawn(edits));
    };
    let over = || {
        editing
            .get()
            .is_some_and(tokio::task::JoinHandle::is_finished)
    };
    let latencies = bench.by_the_clock(
        &MIXED,
        running.address,
        capacity * LOAD,
        WARM_UP,
        begin,
        over,
    );
    let latencies = latencies
        .map_err(|trouble| format!("during edits: {trouble}; it said: {}", running.last_words()))?;
    let took = company.result(editing.into_inner().expect("edits have begun"))?;
    let took = took.map_err(|trouble| format!("{trouble}; it said: {}", running.last_words()))?;
    Ok((Latency::of(&latencies), took))
}

/// Writes files that all serve the same traffic, and differ from one to the next in every way that may.
struct Author {
    proxy: SocketAddr,
    admin: SocketAddr,
    origins: [SocketAddr; 2],
    company: [SocketAddr; 2],
    written: u64,
}

impl Author {
    fn texts(&mut self, count: u64) -> Vec<(u64, String)> {
        let texts =
            (self.written + 1..=self.written + count).map(|number| (number, self.text(number)));
        let texts = texts.collect();
        self.written += count;
        texts
    }

    fn text(&self, number: u64) -> String {
        let (proxy, admin) = (self.proxy, self.admin);
        let ([v1, v2], [socket, calls]) = (self.origins, self.company);
        let weight = number % 101;
        let stable = 100 - weight;
        // An endpoint comes and goes, and with it the connections to it.
        let second = if number % 4 < 2 {
            format!(", \"{v1}\"")
        } else {
            String::new()
        };
        let listener = if number.is_multiple_of(5) {
            "  - { name: extra, address: 127.0.0.1:0 }\n"
        } else {
            ""
        };
        let rule = if number.is_multiple_of(3) {
            "      - { name: testers, when: { header: { name: x-beta, exact: \"1\" } }, to: v2 }\n"
        } else {
            ""
        };
        let service = if number.is_multiple_of(2) {
            format!(
                "  - {{ name: new, stable: v1, versions: [{{ name: v1, endpoints: [\"{v2}\"] }}] }}\n"
            )
        } else {
            String::new()
        };
        format!(
            r#"version: 1
runtime: {{ workers: 1, drain: {{ min: 0s, max: 1s }} }}
listeners:
  - {{ name: in, address: {proxy}, trusted_headers: [x-user-id] }}
{listener}admin: {{ address: {admin} }}
identity: {{ user: [{{ header: x-user-id }}, {{ client_address: true }}] }}
services:
  - name: app
    stable: v1
    pool: {{ connect: 5s }}
    versions:
      - {{ name: v1, endpoints: ["{v1}"] }}
      - {{ name: v2, endpoints: ["{v2}"{second}] }}
  - {{ name: socket, stable: v1, versions: [{{ name: v1, endpoints: ["{socket}"] }}] }}
  - {{ name: calls, stable: v1, protocol: h2c, versions: [{{ name: v1, endpoints: ["{calls}"] }}] }}
{service}routes:
  - {{ name: revision, match: {{ path: {{ exact: /revision }} }}, respond: {{ status: 200, body: "{number}" }} }}
  - {{ name: socket, match: {{ path: {{ prefix: /socket }} }}, service: socket }}
  - {{ name: calls, match: {{ path: {{ prefix: /calls }} }}, service: calls, timeouts: {{ request: none }} }}
  - name: app
    service: app
    response_headers: {{ set: {{ x-edit: "{number}" }} }}
    rules:
{rule}      - {{ name: everyone, split: {{ by: user, weights: {{ v2: {weight}%, v1: {stable}% }} }} }}
"#
        )
    }
}

impl Latency {
    fn of(sorted: &[u32]) -> Self {
        let at = |share: f64| {
            let at = (sorted.len().saturating_sub(1)) as f64 * share;
            sorted
                .get(at as usize)
                .map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e6)
        };
        Self {
            answers: sorted.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            others: 0.0,
        }
    }
}

/// What else these cores do meanwhile.
struct Others<'a> {
    running: &'a Running,
    cores: Cores,
    from: Instant,
    busy: u64,
    known: u64,
}

impl<'a> Others<'a> {
    fn from_now(running: &'a Running, cores: Cores) -> Self {
        Self {
            running,
            cores,
            from: Instant::now(),
            busy: busy_nanos(cores),
            known: Self::known(running),
        }
    }

    fn known(running: &Running) -> u64 {
        cpu_nanos(&[running.process(), std::process::id()])
    }

    fn beside(self, latency: Latency) -> Latency {
        let busy = busy_nanos(self.cores).saturating_sub(self.busy);
        let known = Self::known(self.running).saturating_sub(self.known);
        let nanos = self.from.elapsed().as_nanos() as f64 * 2.0;
        Latency {
            others: busy.saturating_sub(known) as f64 / nanos,
            ..latency
        }
    }
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.with.p99_ms / self.without.p99_ms
    }

    fn line(&self) -> String {
        let Self { without, with, .. } = self;
        format!(
            "p50 {:.2} → {:.2} ms, p99 {:.2} → {:.2} ms (× {:.2}), p99.9 {:.2} → {:.2} ms, longest {:.0} → {:.0} ms; {} answers; \
             an edit in force after {:.0} ms, the slowest {:.0} ms; others {:.0} → {:.0} %",
            without.p50_ms,
            with.p50_ms,
            without.p99_ms,
            with.p99_ms,
            self.ratio(),
            without.p999_ms,
            with.p999_ms,
            without.max_ms,
            with.max_ms,
            with.answers,
            self.median_edit_ms,
            self.slowest_edit_ms,
            without.others * 100.0,
            with.others * 100.0,
        )
    }
}

/// For people.
pub(crate) fn text(edits: &Edits) -> String {
    let mut text = String::new();
    let answers: usize = edits.pairs.iter().map(|pair| pair.with.answers).sum();
    let ratio = Spread::of(edits.pairs.iter().map(Pair::ratio));
    let _ = writeln!(
        text,
        "{} edits in a row under load, {} pairs; {}, at {:.0} answers a second (half of the capacity)",
        EDITS,
        edits.pairs.len(),
        MIXED.what,
        edits.capacity * LOAD
    );
    for pair in &edits.pairs {
        let _ = writeln!(text, "  {}", pair.line());
    }
    let _ = writeln!(
        text,
        "p99 with edits ÷ without: median {:.2} [{:.2}–{:.2}]\n\
         {answers} answers during edits: none failed, no connection was closed; one WebSocket and one stream carried {} and {} messages throughout, the slowest there and back in {:.0} ms\n\
         others: share of both cores taken by other work; where it differs within a pair, measure again on a quiet machine",
        ratio.median,
        ratio.lower,
        ratio.upper,
        edits.echoes[0],
        edits.echoes[1],
        edits.longest_echo_ms
    );
    text
}
