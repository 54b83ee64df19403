//! Instructions a request, counted by valgrind: a figure that other work on the machine cannot move.
//!
//! Two runs that differ in nothing but the number of requests: what start-up and shutdown cost drops out of the
//! difference.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::install::{self, bounded};
use crate::load::Bench;
use crate::measure::Cores;
use crate::peers::Ready;
use crate::workload::Workload;

/// Requests of the shorter run: connections are made and pools filled by then.
const FEW: u64 = 2_000;
/// Requests of the longer run.
const MANY: u64 = 12_000;
/// Pairs of runs: the spread of the figure is told with it.
const TIMES: usize = 2;

/// User-space instructions for one request, from each pair of runs.
#[derive(Debug, Serialize)]
pub(crate) struct Instructions {
    pub(crate) workload: &'static str,
    pub(crate) each: Vec<f64>,
}

/// Counts one workload.
pub(crate) fn count(
    bench: &mut Bench,
    tidegate: &Ready,
    folder: &Path,
    cores: Cores,
    workload: &Workload,
) -> Result<Instructions, String> {
    let valgrind = install::debian("valgrind", "valgrind")?;
    let mut each = Vec::new();
    for time in 1..=TIMES {
        eprintln!(
            "{}: counting instructions, {time} of {TIMES} …",
            workload.name
        );
        let mut run = |requests| {
            total(
                bench, tidegate, folder, cores, workload, &valgrind, requests,
            )
        };
        let (few, many) = (run(FEW)?, run(MANY)?);
        each.push(many.saturating_sub(few) as f64 / (MANY - FEW) as f64);
    }
    Ok(Instructions {
        workload: workload.name,
        each,
    })
}

/// All instructions of a whole life with so many requests.
fn total(
    bench: &mut Bench,
    tidegate: &Ready,
    folder: &Path,
    cores: Cores,
    workload: &Workload,
    valgrind: &Path,
    requests: u64,
) -> Result<u64, String> {
    let counts = folder.join("callgrind.out");
    let wrapper = [
        valgrind.display().to_string(),
        "--tool=callgrind".into(),
        format!("--callgrind-out-file={}", counts.display()),
    ];
    let origins = bench
        .origins
        .addresses()
        .map_err(|error| error.to_string())?;
    let mut running = tidegate.start(folder, origins, cores, &wrapper)?;
    let address = running.address_for(workload);
    bench.exactly(workload, address, requests)?;
    running.stop();
    let text = bounded(
        Command::new("grep").args(["-m1", "^totals:"]).arg(&counts),
        Duration::from_secs(10),
    )?;
    text.trim_start_matches("totals:")
        .trim()
        .parse()
        .map_err(|_| format!("callgrind counted {text:?}"))
}

/// For people.
pub(crate) fn text(counted: &[Instructions]) -> String {
    let mut table = String::from("\ninstructions of tidegate a request (callgrind, user space)\n");
    for Instructions { workload, each } in counted {
        let each: Vec<String> = each.iter().map(|count| format!("{count:.0}")).collect();
        table.push_str(&format!("  {workload:5} {}\n", each.join("  ")));
    }
    table
}
