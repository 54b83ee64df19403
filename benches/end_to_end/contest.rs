//! Rounds: every contender in turn under the same load, again and again, so that whatever else the machine does meets
//! all of them alike and figures are compared inside a round.

use std::time::Duration;

use serde::Serialize;

use crate::load::{Bench, Stretch};
use crate::measure::{Cores, Spread, busy_nanos, cpu_nanos, family};
use crate::peers::Running;
use crate::workload::Workload;

/// Before each stretch that is measured: connections are made, pools and caches filled.
pub(crate) const WARM_UP: Duration = Duration::from_millis(700);
/// The origins without a proxy: what load and origins themselves can do. So often is enough for a ceiling.
const DIRECT_ROUNDS: usize = 3;

/// One contender in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    /// Answers a second.
    pub(crate) rate: f64,
    /// CPU microseconds of all the contender's threads, an answer.
    pub(crate) cpu_us: f64,
    /// Milliseconds from the request's first byte sent to the answer's last byte read, with every connection busy.
    pub(crate) p50_ms: f64,
    /// Likewise.
    pub(crate) p99_ms: f64,
    /// Share of its core that the contender had. Well below 1: it waited for the load, or other work took the core.
    pub(crate) core: f64,
    /// Share of both cores that work took which is neither the contender's nor ours.
    pub(crate) others: f64,
}

/// One contender in all rounds of a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contender: &'static str,
    /// By round; `None` where it failed or did not run.
    pub(crate) rounds: Vec<Option<Figures>>,
    /// What failed: a sentence each.
    pub(crate) failures: Vec<String>,
}

/// What to run.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) measured: Duration,
    pub(crate) cores: Cores,
}

/// What the kernel had counted at one end of a stretch.
struct Mark {
    contender: u64,
    ours: u64,
    both_cores: u64,
}

impl Plan {
    /// About how long a workload takes.
    pub(crate) fn lasts(&self, contenders: usize) -> Duration {
        (WARM_UP + self.measured)
            * u32::try_from(self.rounds * contenders + DIRECT_ROUNDS).unwrap_or(u32::MAX)
    }

    /// Runs one workload against everyone.
    pub(crate) fn run(
        &self,
        workload: &Workload,
        bench: &mut Bench,
        contenders: &[Running],
    ) -> Vec<Row> {
        let names = contenders.iter().map(|running| running.contender.name());
        let mut rows: Vec<Row> = names
            .chain(["direct"])
            .map(|contender| Row {
                contender,
                rounds: vec![None; self.rounds],
                failures: Vec::new(),
            })
            .collect();
        for round in 0..self.rounds {
            for turn in 0..contenders.len() {
                // Whoever goes first changes, so that nobody always follows the same neighbour.
                let place = (round + turn) % contenders.len();
                self.one(
                    workload,
                    bench,
                    Some(&contenders[place]),
                    round,
                    &mut rows[place],
                );
            }
            // The origins speak plain HTTP/1.1 only, and leave it to the proxy to end a connection.
            if round < DIRECT_ROUNDS
                && workload.streams.is_none()
                && !workload.close
                && !workload.tls
            {
                self.one(workload, bench, None, round, &mut rows[contenders.len()]);
            }
        }
        rows.retain(|row| !row.failures.is_empty() || row.rounds.iter().any(Option::is_some));
        rows
    }

    fn one(
        &self,
        workload: &Workload,
        bench: &mut Bench,
        running: Option<&Running>,
        round: usize,
        row: &mut Row,
    ) {
        match self.measure(workload, bench, running) {
            Ok(figures) => row.rounds[round] = Some(figures),
            Err(trouble) => {
                let said = running
                    .map(Running::last_words)
                    .filter(|said| !said.is_empty());
                let said = said
                    .map(|said| format!("; it said: {said}"))
                    .unwrap_or_default();
                eprintln!(
                    "FAILED: {} {} round {}: {trouble}{said}",
                    workload.name,
                    row.contender,
                    round + 1
                );
                row.failures.push(trouble);
            }
        }
    }

    fn measure(
        &self,
        workload: &Workload,
        bench: &mut Bench,
        running: Option<&Running>,
    ) -> Result<Figures, String> {
        let (address, processes) = match running {
            Some(running) => (running.address_for(workload), family(running.process())),
            None => (
                bench
                    .origins
                    .addresses()
                    .map_err(|error| error.to_string())?[0],
                Vec::new(),
            ),
        };
        let mark = || Mark {
            contender: cpu_nanos(&processes),
            ours: cpu_nanos(&[std::process::id()]),
            both_cores: busy_nanos(self.cores),
        };
        let (stretch, before, after) =
            bench.load(workload, address, WARM_UP, self.measured, mark)?;
        if running.is_some() {
            is_split_nine_to_one(&stretch)?;
        }
        figures(&stretch, &before, &after)
    }
}

fn figures(stretch: &Stretch, before: &Mark, after: &Mark) -> Result<Figures, String> {
    if stretch.answers == 0 {
        return Err("not one answer".into());
    }
    let (answers, seconds) = (stretch.answers as f64, stretch.lasted.as_secs_f64());
    let cpu_nanos = after.contender.saturating_sub(before.contender);
    let known = cpu_nanos + after.ours.saturating_sub(before.ours);
    let others = after
        .both_cores
        .saturating_sub(before.both_cores)
        .saturating_sub(known);
    let latency = |share: f64| {
        let at = (stretch.latencies.len().saturating_sub(1)) as f64 * share;
        stretch
            .latencies
            .get(at as usize)
            .map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e6)
    };
    Ok(Figures {
        rate: answers / seconds,
        cpu_us: cpu_nanos as f64 / 1e3 / answers,
        p50_ms: latency(0.5),
        p99_ms: latency(0.99),
        core: cpu_nanos as f64 / 1e9 / seconds,
        others: others as f64 / 1e9 / seconds / 2.0,
    })
}

/// A contender that does another job is not compared.
fn is_split_nine_to_one(stretch: &Stretch) -> Result<(), String> {
    /// Hashes that are not quite even are no failure.
    const TOLERATED: f64 = 0.02;
    let [v1, v2] = stretch.by_version.map(|answers| answers as f64);
    let all = v1 + v2;
    let by_chance = 5.0 * (0.1 * 0.9 / all.max(1.0)).sqrt();
    let share = v2 / all.max(1.0);
    if (share - 0.1).abs() <= TOLERATED + by_chance {
        return Ok(());
    }
    Err(format!(
        "{:.1} % of the requests went to v2 instead of 10 %",
        share * 100.0
    ))
}

/// How a row compares with another, round by round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ratios {
    pub(crate) rate: Spread,
    pub(crate) cpu: Spread,
}

impl Row {
    /// The spread of one figure over the rounds that succeeded.
    pub(crate) fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        Spread::of(self.rounds.iter().flatten().map(figure))
    }

    /// This row's figures over another's, of the same round. Two peers may be the better one in rate and in CPU.
    pub(crate) fn over(&self, in_rate: &Self, in_cpu: &Self) -> Ratios {
        let ratio = |other: &Self, figure: fn(&Figures) -> f64| {
            let pairs = self.rounds.iter().zip(&other.rounds);
            Spread::of(pairs.filter_map(|(ours, theirs)| {
                Some(figure(ours.as_ref()?) / figure(theirs.as_ref()?))
            }))
        };
        Ratios {
            rate: ratio(in_rate, |figures| figures.rate),
            cpu: ratio(in_cpu, |figures| figures.cpu_us),
        }
    }
}
