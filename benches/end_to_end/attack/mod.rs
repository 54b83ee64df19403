//! Under attack: what honest callers keep while others do their worst, beside what they keep with nginx.
//!
//! `kinds` is which attacks there are, of `frames` that nobody honest sends; `attacker` is the process that makes them,
//! under `quota`, those of next to nothing by `drips`; `newcomers` come while it lasts; `siege` runs one attack against one
//! contender, in `turns` with another that is left in peace and has as much `ballast` as the attacker is; `verdict` judges.

pub(crate) mod attacker;
mod ballast;
mod drips;
mod frames;
pub(crate) mod kinds;
mod newcomers;
mod quota;
mod siege;
mod turns;
mod verdict;

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::load::INTERRUPTED;
use crate::measure::{Cores, pin};
use crate::peers::Ready;

use kinds::Attack;
use quota::Quota;
use siege::Siege;
pub(crate) use verdict::Verdict;

/// The attacker's share of a core.
const SHARE: f64 = 0.2;

/// What Tidegate may hold beside its connections, as the README says it.
const PROCESS: &str = "the process, beside its connections";

/// The bytes that the README's table allows this state.
fn stated_bytes(state: &str) -> Result<u64, String> {
    const README: &str = include_str!("../../../README.md");
    let row = README
        .lines()
        .find_map(|line| line.strip_prefix("| ")?.strip_prefix(state));
    let size = row.and_then(|row| row.split('|').nth(1)).map(str::trim);
    let bytes = size.and_then(|size| {
        let (number, unit) = size.split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match unit {
            "KiB" => Some(number << 10),
            "MiB" => Some(number << 20),
            _ => None,
        }
    });
    bytes.ok_or_else(|| format!("the README states no memory for {state:?}"))
}

/// Runs these attacks against Tidegate and against nginx, in turn.
pub(crate) fn measure(
    tidegate: &Ready,
    nginx: &Result<Ready, String>,
    folder: &Path,
    cores: Cores,
    attacks: &[Attack],
) -> Result<Vec<Verdict>, String> {
    let quota = Quota::take();
    eprintln!(
        "the attacker has {:.0} % of the load's core, by {}",
        SHARE * 100.0,
        if quota.is_some() {
            "a quota of the system (cgroup)"
        } else {
            "its own restraint (no control group could be made) and nice 19"
        }
    );
    if let Err(why) = nginx {
        eprintln!("skipped: nginx: {why}: only the fixed bounds are held");
    }
    // No raised priority here: both contenders are measured in the same run, and this one is long enough to be in the
    // way of whatever else the machine does.
    pin(cores.load)?;
    let mut verdicts = Vec::new();
    for attack in attacks {
        let stand = |ready: &Ready| {
            eprintln!("{}: {} …", attack.name, ready.contender.name());
            let mut siege = Siege::lay(ready, folder, cores)?;
            siege.stand(attack, quota.as_ref())
        };
        let ours = stand(tidegate);
        let theirs = match (nginx, &ours) {
            (Ok(nginx), Ok(_)) => stand(nginx)
                .inspect_err(|why| eprintln!("nginx: {why}: only the fixed bounds are held"))
                .ok(),
            _ => None,
        };
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let verdict = Verdict::of(*attack, ours, theirs)?;
        eprintln!("{verdict}");
        verdicts.push(verdict);
    }
    Ok(verdicts)
}
