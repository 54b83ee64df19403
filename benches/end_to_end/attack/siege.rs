//! One attack against one contender: beside one that is left in peace, and after it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::attacker::Done;
use super::ballast::Ballast;
use super::kinds::{Attack, Speaks};
use super::newcomers::{Newcomers, Welcome};
use super::quota::Quota;
use super::turns::{Side, Turn, Turns};
use crate::load::{Bench, Honest, Met};
use crate::measure::{Cores, cpu_nanos, family, resident};
use crate::peers::{Contender, Ready, Running};
use crate::tls;
use crate::workload::HONEST;

/// Pools fill, caches warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// The attack unfolds: with a fifth of a core eight thousand connections are opened in five seconds.
const ONSET: Duration = Duration::from_secs(6);
/// Turns of the one that is attacked and of the one beside it, until what is kept is known so well,
const KNOWN: f64 = 0.01;
/// at least so many,
const FEWEST: usize = 30;
/// and at most so many. Short ones: a machine whose pace doubles for some seconds then does so for both.
const TURNS: usize = 90;
/// A turn of the one beside: the shorter one, for the attacker rests meanwhile, and makes up for it afterwards.
const REST: Duration = Duration::from_millis(100);
/// A turn under attack.
const FIGHT: Duration = Duration::from_millis(300);
/// Of each turn, before it counts: what the other one has left behind is worked off, the attack is in full swing.
const SETTLE: Duration = Duration::from_millis(25);
/// By the clock, under attack.
const CLOCK: Duration = Duration::from_secs(4);
/// Of what is served by the one beside: what is asked by the clock.
const HALF: f64 = 0.5;
/// Each of the two, at a look at whether the throughput is back.
const LOOK: Duration = Duration::from_millis(250);
/// After so long it is not waited for any more.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Of what is served without an attack: it is back.
const BACK: f64 = 0.9;

/// What came of one attack on one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) contender: &'static str,
    /// Each connection busy: without an attack and with it, in turns.
    pub(crate) turns: Turns,
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

/// A contender with its honest callers and its origins.
struct Camp {
    running: Running,
    bench: Bench,
    honest: Honest,
}

impl Camp {
    /// Starts a contender and lets its callers connect.
    fn pitch(ready: &Ready, folder: &Path, cores: Cores) -> Result<Self, String> {
        let mut bench = Bench::new().map_err(|error| error.to_string())?;
        let origins = bench.origins.addresses();
        let origins = origins.map_err(|error| error.to_string())?;
        let running = ready.start_besieged(folder, origins, cores)?;
        let mut honest = bench.gather(&HONEST, running.address, running.h2c_address)?;
        bench.ask(&mut honest, None, WARM_UP)?;
        Ok(Self {
            running,
            bench,
            honest,
        })
    }

    /// Its processes.
    fn family(&self) -> Vec<u32> {
        family(self.running.process())
    }

    /// Its callers ask for so long: so many requests a second by the clock, or each as soon as it is answered.
    fn ask(&mut self, rate: Option<f64>, time: Duration) -> Result<Met, String> {
        self.bench.ask(&mut self.honest, rate, time)
    }

    /// A turn, each caller as soon as it is answered.
    fn turn(&mut self, time: Duration) -> Result<Met, String> {
        self.ask(None, SETTLE)?;
        self.ask(None, time)
    }
}

/// A contender that is attacked, and the same again that is not: the two are asked in turns, while the attacker rests in
/// every other one and a [`Ballast`] has its share of the load's core.
pub(super) struct Siege {
    attacked: Camp,
    beside: Camp,
}

impl Siege {
    /// Starts both.
    pub(super) fn lay(ready: &Ready, folder: &Path, cores: Cores) -> Result<Self, String> {
        Ok(Self {
            attacked: Camp::pitch(ready, folder, cores)?,
            beside: Camp::pitch(ready, &folder.join("beside"), cores)?,
        })
    }

    /// Lets the one be attacked.
    pub(super) fn stand(
        &mut self,
        attack: &Attack,
        quota: Option<&Quota>,
    ) -> Result<Outcome, String> {
        let family = self.attacked.family();
        let refused = refusals(&self.attacked.running);
        let memory_before = reset_peak(&family)?;
        let running = &self.attacked.running;
        // Newcomers knock where the attack is.
        let (to, knocks, tls) = match attack.speaks {
            Speaks::Http1 => (running.address, running.address, None),
            Speaks::Http2 => (running.h2c_address, running.address, None),
            Speaks::Tls => (running.tls_address, running.tls_address, Some(tls::http1())),
        };
        let attacker = Attacker::start(attack, to, quota)?;
        let onset = self.attacked.ask(None, ONSET)?;
        let mut failures = onset.failures;
        let turns = self.take_turns(&attacker, &mut failures)?;
        let rate = turns.beside.rate * HALF;
        let newcomers = Newcomers::send(knocks, tls);
        let proxy = Busy::since_now(family.clone());
        let clock = self.attacked.ask(Some(rate), CLOCK)?;
        let core = proxy.cores();
        let newcomers = newcomers.end(|| self.attacked.ask(Some(rate), SETTLE).map(drop))?;
        let done = attacker.stop()?;
        let recovered_s = self.recover()?;
        let asked = rate * clock.lasted.as_secs_f64();
        let turned_away = told(&clock.failures) as f64 / asked;
        count(&mut failures, &clock.failures);
        Ok(Outcome {
            contender: self.attacked.running.contender.name(),
            turns,
            answered: (clock.answers as f64 / asked).min(1.0),
            turned_away,
            p99_ms: p99_ms(&clock),
            failures,
            newcomers,
            memory_before,
            memory_peak: peak(&family)?,
            core,
            recovered_s,
            attack: done,
            refusals: since(refusals(&self.attacked.running), &refused),
        })
    }

    /// Turns until enough is known; what failed in them is added to `failures`.
    fn take_turns(
        &mut self,
        attacker: &Attacker,
        failures: &mut BTreeMap<String, u64>,
    ) -> Result<Turns, String> {
        let (attacked, beside) = (self.attacked.family(), self.beside.family());
        let mut all = Vec::with_capacity(TURNS);
        let mut turns = Turns::default();
        while turns.count < FEWEST || (turns.count < TURNS && turns.error > KNOWN) {
            let taken = Busy::since_now(vec![attacker.child.id()]);
            let proxy = Busy::since_now(attacked.clone());
            let met = self.attacked.turn(FIGHT)?;
            count(failures, &met.failures);
            let during = Side {
                rate: met.rate(),
                proxy: proxy.cores(),
                taken: taken.cores(),
            };
            attacker.rest(true)?;
            let ballast = Ballast::take(during.taken);
            let proxy = Busy::since_now(beside.clone());
            let met = self.beside.turn(REST)?;
            let beside = Side {
                rate: met.rate(),
                proxy: proxy.cores(),
                taken: ballast.end(),
            };
            attacker.rest(false)?;
            if let Some(failure) = met.failures.keys().next() {
                return Err(format!("the one that is left in peace: {failure}"));
            }
            all.push(Turn { during, beside });
            turns = Turns::of(&all);
        }
        Ok(turns)
    }

    /// Seconds until honest callers have what those beside have; `None`: they had not.
    fn recover(&mut self) -> Result<Option<f64>, String> {
        let from = Instant::now();
        // It was not asked while the other one was asked by the clock.
        self.beside.ask(None, SETTLE)?;
        while from.elapsed() < GIVE_UP {
            let began = from.elapsed();
            let rate = self.attacked.ask(None, LOOK)?.rate();
            if rate >= self.beside.turn(LOOK)?.rate() * BACK {
                return Ok(Some(began.as_secs_f64()));
            }
        }
        Ok(None)
    }
}

/// How busy processes are from now on.
struct Busy {
    processes: Vec<u32>,
    from: Instant,
    had: u64,
}

impl Busy {
    fn since_now(processes: Vec<u32>) -> Self {
        let had = cpu_nanos(&processes);
        Self {
            processes,
            from: Instant::now(),
            had,
        }
    }

    /// Cores, in the mean.
    fn cores(&self) -> f64 {
        let nanos = cpu_nanos(&self.processes).saturating_sub(self.had);
        nanos as f64 / self.from.elapsed().as_nanos() as f64
    }
}

/// Adds what failed to what failed before.
fn count(failures: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (kind, count) in more {
        *failures.entry(kind.clone()).or_default() += count;
    }
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

    /// Stops it for a while, or lets it go on.
    fn rest(&self, rests: bool) -> Result<(), String> {
        let signal = if rests { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|error| format!("stopping the attacker for a while: {error}"))
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
