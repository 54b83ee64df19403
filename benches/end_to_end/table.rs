//! The figures as text for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::contest::Row;
use crate::measure::Spread;
use crate::peers::Contender;
use crate::workload::Workload;

/// The peers among the rows that are best, in rate and in CPU: those that ratios are taken to.
fn best(rows: &[Row]) -> Option<(&Row, &Row)> {
    let ours = Contender::Tidegate.name();
    let peers = || {
        rows.iter()
            .filter(move |row| row.contender != ours && row.contender != "direct")
            .filter(|row| row.is_measured())
    };
    let rate = |row: &Row| row.spread(|figures| figures.rate).median;
    let cpu = |row: &Row| row.spread(|figures| figures.cpu_us).median;
    let in_rate = peers().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let in_cpu = peers().min_by(|a, b| cpu(a).total_cmp(&cpu(b)))?;
    Some((in_rate, in_cpu))
}

impl Row {
    fn is_measured(&self) -> bool {
        self.rounds.iter().any(Option::is_some)
    }
}

/// One workload as a table.
pub(crate) fn text(workload: &Workload, rows: &[Row]) -> String {
    let mut table = String::new();
    let best = best(rows);
    let _ = writeln!(table, "\n{}: {}", workload.name, workload.what);
    let (in_rate, in_cpu) = match best {
        Some((in_rate, in_cpu)) => (
            format!("req/s ÷ {}", in_rate.contender),
            format!("CPU ÷ {}", in_cpu.contender),
        ),
        None => (String::new(), String::new()),
    };
    let _ = writeln!(
        table,
        "  {:10} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6}  {:22}  {:22}",
        "", "req/s", "CPU µs", "p50 ms", "p99 ms", "core", "others", in_rate, in_cpu
    );
    for row in rows {
        let _ = write!(table, "  {:10} ", row.contender);
        if !row.is_measured() {
            let _ = writeln!(
                table,
                "failed: {}",
                row.failures.first().map_or("", String::as_str)
            );
            continue;
        }
        let median = |figure: fn(&crate::contest::Figures) -> f64| row.spread(figure).median;
        let _ = write!(table, "{:9.0} ", median(|f| f.rate));
        if row.contender == "direct" {
            let _ = writeln!(
                table,
                "{:>9} {:9.2} {:9.2}",
                "–",
                median(|f| f.p50_ms),
                median(|f| f.p99_ms)
            );
            continue;
        }
        let _ = write!(
            table,
            "{:9.1} {:9.2} {:9.2} {:5.0}% {:5.0}%",
            median(|f| f.cpu_us),
            median(|f| f.p50_ms),
            median(|f| f.p99_ms),
            median(|f| f.core) * 100.0,
            median(|f| f.others) * 100.0
        );
        if let Some((in_rate, in_cpu)) = best {
            let ratios = row.over(in_rate, in_cpu);
            let _ = write!(
                table,
                "  {:22}  {:22}",
                spread(ratios.rate),
                spread(ratios.cpu)
            );
        }
        if !row.failures.is_empty() {
            let _ = write!(table, "  {} rounds FAILED", row.failures.len());
        }
        let _ = writeln!(table);
    }
    table
}

/// Reads with every table.
pub(crate) const LEGEND: &str = "
Medians over the rounds. Ratios are taken inside a round, against the better peer (in req/s, in CPU): median [quartiles].
CPU µs: of all threads of the contender, an answer. Latencies are those of a saturated proxy: every connection asks again
at once. core: share of its core that the contender had; well below 100 %, it waited for the load or for other work on
this machine, and only its CPU figure counts. others: share of both cores taken by work that is neither the contender's
nor the load's; above a few %, measure again on a quiet machine. direct: load and origins without a proxy, the ceiling.
";

/// One workload for programs, round by round.
pub(crate) fn json(workload: &Workload, rows: &[Row]) -> Value {
    let best = best(rows);
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let ratios = best.filter(|_| row.contender != "direct").map(|(in_rate, in_cpu)| row.over(in_rate, in_cpu));
            json!({ "contender": row.contender, "rounds": row.rounds, "failures": row.failures, "ratios": ratios })
        })
        .collect();
    json!({
        "workload": workload.name,
        "what": workload.what,
        "better_peer": best.map(|(in_rate, in_cpu)| json!({ "rate": in_rate.contender, "cpu": in_cpu.contender })),
        "rows": rows,
    })
}

fn spread(spread: Spread) -> String {
    let Spread {
        median,
        lower,
        upper,
    } = spread;
    format!("{median:.2} [{lower:.2}–{upper:.2}]")
}
