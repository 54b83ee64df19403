//! One attack against one contender: before, during, after.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::attacker::Done;
use super::kinds::{Attack, Speaks};
use super::newcomers::{Newcomers, Welcome};
use super::quota::Quota;
use crate::load::{Bench, Honest, Met};
use crate::measure::{Cores, cpu_nanos, family, resident};
use crate::peers::{Contender, Ready, Running};
use crate::tls;
use crate::workload::HONEST;

/// Pools fill, caches warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// Each connection busy, before the attack.
const BEFORE: Duration = Duration::from_secs(2);
/// The attack unfolds.
const ONSET: Duration = Duration::from_secs(3);
/// Each connection busy, under attack.
const BUSY: Duration = Duration::from_secs(4);
/// By the clock, under attack.
const CLOCK: Duration = Duration::from_secs(3);
/// Of what was served before: what is asked by the clock.
const HALF: f64 = 0.5;
/// Between two looks at whether the throughput is back.
const LOOK: Duration = Duration::from_millis(250);
/// After so long it is not waited for any more.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Of what was served before: it is back.
const BACK: f64 = 0.9;

/// What came of one attack on one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) contender: &'static str,
    /// Answers a second, each connection busy.
    pub(crate) before: f64,
    pub(crate) during: f64,
    /// Share of what was asked by the clock that was answered under attack.
    pub(crate) answered: f64,
    /// Share of it that was turned away with a status of our own making.
    pub(crate) turned_away: f64,
    /// Milliseconds under attack, by the clock.
    pub(crate) p99_ms: f64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) newcomers: Welcome,
    /// Resident bytes: before the attack and the most since.
    pub(crate) memory_before: u64,
    pub(crate) memory_peak: u64,
    /// Cores that the contender was busy on, under attack and the load by the clock.
    pub(crate) core: f64,
    /// Seconds until the throughput was back; `None`: it was not.
    pub(crate) recovered_s: Option<f64>,
    pub(crate) attack: Done,
    /// What Tidegate counted as refused meanwhile.
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// A contender with its honest callers.
pub(super) struct Siege {
    running: Running,
    honest: Honest,
}

impl Siege {
    /// Starts a contender and lets its callers connect.
    pub(super) fn lay(
        bench: &mut Bench,
        ready: &Ready,
        folder: &Path,
        cores: Cores,
    ) -> Result<Self, String> {
        let origins = bench
            .origins
            .addresses()
            .map_err(|error| error.to_string())?;
        let running = ready.start_besieged(folder, origins, cores)?;
        let mut honest = bench.gather(&HONEST, running.address, running.h2c_address)?;
        bench.ask(&mut honest, None, WARM_UP)?;
        Ok(Self { running, honest })
    }

    /// Lets it be attacked.
    pub(super) fn stand(
        &mut self,
        bench: &mut Bench,
        attack: &Attack,
        quota: Option<&Quota>,
    ) -> Result<Outcome, String> {
        let (running, honest) = (&self.running, &mut self.honest);
        let family = family(running.process());
        let before = bench.ask(honest, None, BEFORE)?;
        let refused = refusals(running);
        let memory_before = reset_peak(&family)?;
        let to = match attack.speaks {
            Speaks::Http1 => running.address,
            Speaks::Http2 => running.h2c_address,
            Speaks::Tls => running.tls_address,
        };
        let attacker = Attacker::start(attack, to, quota)?;
        // Newcomers knock where the attack is.
        let (door, tls) = match attack.speaks {
            Speaks::Tls => (running.tls_address, Some(tls::http1())),
            Speaks::Http1 | Speaks::Http2 => (running.address, None),
        };
        let onset = bench.ask(honest, None, ONSET)?;
        let newcomers = Newcomers::send(door, tls);
        let busy = bench.ask(honest, None, BUSY)?;
        let rate = before.rate() * HALF;
        let cpu = cpu_nanos(&family);
        let clock = bench.ask(honest, Some(rate), CLOCK)?;
        let cpu = cpu_nanos(&family) - cpu;
        let newcomers = newcomers.end();
        let done = attacker.stop()?;
        let recovered_s = recover(bench, honest, before.rate())?;
        let asked = rate * clock.lasted.as_secs_f64();
        let turned_away = told(&clock.failures) as f64 / asked;
        let mut failures = onset.failures;
        for (kind, count) in busy.failures.iter().chain(&clock.failures) {
            *failures.entry(kind.clone()).or_default() += count;
        }
        Ok(Outcome {
            contender: running.contender.name(),
            before: before.rate(),
            during: busy.rate(),
            answered: (clock.answers as f64 / asked).min(1.0),
            turned_away,
            p99_ms: p99_ms(&clock),
            failures,
            newcomers,
            memory_before,
            memory_peak: peak(&family)?,
            core: cpu as f64 / 1e9 / clock.lasted.as_secs_f64(),
            recovered_s,
            attack: done,
            refusals: since(refusals(running), &refused),
        })
    }
}

/// Seconds until honest callers have what they had.
fn recover(bench: &mut Bench, honest: &mut Honest, before: f64) -> Result<Option<f64>, String> {
    let from = Instant::now();
    while from.elapsed() < GIVE_UP {
        let began = from.elapsed();
        if bench.ask(honest, None, LOOK)?.rate() >= before * BACK {
            return Ok(Some(began.as_secs_f64()));
        }
    }
    Ok(None)
}

/// Requests that were answered with a refusal.
fn told(failures: &BTreeMap<String, u64>) -> u64 {
    let statuses = ["\"HTTP/1.1 4", "\"HTTP/1.1 503"];
    let told = failures
        .iter()
        .filter(|(kind, _)| statuses.iter().any(|status| kind.contains(status)));
    told.map(|(_, count)| count).sum()
}

fn p99_ms(met: &Met) -> f64 {
    let at = met.latencies.len().saturating_sub(1) as f64 * 0.99;
    met.latencies
        .get(at as usize)
        .map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e6)
}

/// Begins a new peak of memory; tells what is resident now.
fn reset_peak(processes: &[u32]) -> Result<u64, String> {
    let mut now = 0;
    for process in processes {
        fs::write(format!("/proc/{process}/clear_refs"), "5")
            .map_err(|error| format!("the peak of process {process}: {error}"))?;
        now += resident(*process).map_err(|error| error.to_string())?;
    }
    Ok(now)
}

/// The most that was resident since, each process at its own time.
fn peak(processes: &[u32]) -> Result<u64, String> {
    let mut sum = 0;
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status"));
        let status = status.map_err(|error| format!("process {process} is gone: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        sum += kib.ok_or("no VmHWM in a process's status")? * 1024;
    }
    Ok(sum)
}

/// What Tidegate says it has refused, by reason.
fn refusals(running: &Running) -> BTreeMap<String, u64> {
    if running.contender != Contender::Tidegate {
        return BTreeMap::new();
    }
    let page = metrics(running.admin).unwrap_or_default();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("tidegate_refusals_total{"));
    rows.filter_map(|row| {
        let reason = row.split("reason=\"").nth(1)?.split('"').next()?;
        let count = row.rsplit(' ').next()?.parse::<f64>().ok()?;
        Some((reason.to_owned(), count as u64))
    })
    .fold(BTreeMap::new(), |mut sums, (reason, count)| {
        *sums.entry(reason).or_default() += count;
        sums
    })
}

fn since(now: BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.into_iter()
        .map(|(reason, count)| {
            let before = before.get(&reason).copied().unwrap_or(0);
            (reason, count.saturating_sub(before))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn metrics(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// The attacking process. Dropping it ends it.
struct Attacker {
    child: Child,
}

impl Attacker {
    fn start(attack: &Attack, to: SocketAddr, quota: Option<&Quota>) -> Result<Self, String> {
        let trouble = |error| format!("starting the attacker: {error}");
        let program = std::env::current_exe().map_err(trouble)?;
        let mut command = Command::new(program);
        command.args([
            "--bench",
            "--attacker",
            attack.name,
            "--to",
            &to.to_string(),
        ]);
        if quota.is_some() {
            command.arg("--throttled");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut attacker = Self {
            child: child.map_err(trouble)?,
        };
        if let Some(quota) = quota {
            quota.hold(attacker.child.id())?;
        }
        let go = attacker
            .child
            .stdin
            .as_mut()
            .map(|go| go.write_all(b"go\n"));
        go.expect("its standard input is a pipe").map_err(trouble)?;
        Ok(attacker)
    }

    fn stop(mut self) -> Result<Done, String> {
        drop(self.child.stdin.take());
        let said = self.child.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        BufReader::new(said)
            .read_line(&mut line)
            .map_err(|error| format!("the attacker: {error}"))?;
        serde_json::from_str(&line).map_err(|error| format!("the attacker said {line:?}: {error}"))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
