//! What the kernel says about a process, which core runs what, and the statistics of a handful of rounds.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for the contender, one for the load and the origins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(crate) fn choose() -> Result<Self, String> {
        let allowed = sched_getaffinity(None)
            .map_err(|error| format!("asking for this process's cores: {error}"))?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(proxy), Some(load)) => Ok(Self { proxy, load }),
            _ => Err(
                "two cores are needed: one for the proxy, one for the load and the origins".into(),
            ),
        }
    }
}

/// Binds this thread, and what it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("moving to core {core}: {error}"))
}

/// Puts this session ahead of the machine's other work for as long as it lives, where the system permits it.
pub(crate) struct Priority {
    autogroup: Option<String>,
}

/// The scheduler's groups by session: without this, `nice` counts only inside the session.
const AUTOGROUP: &str = "/proc/self/autogroup";

impl Priority {
    pub(crate) fn raise() -> Self {
        let before = fs::read_to_string(AUTOGROUP).ok();
        let before = before.and_then(|text| text.trim().rsplit(' ').next().map(str::to_owned));
        let autogroup = before.filter(|_| fs::write(AUTOGROUP, "-19").is_ok());
        if rustix::process::nice(-10).is_err() || autogroup.is_none() {
            eprintln!(
                "note: no right to raise the priority: other work on this machine will show in the figures"
            );
        }
        Self { autogroup }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(before) = &self.autogroup {
            let _ = fs::write(AUTOGROUP, before);
        }
    }
}

/// Nanoseconds on a core of all threads of these processes, from the scheduler's own clock.
pub(crate) fn cpu_nanos(processes: &[u32]) -> u64 {
    let tasks = processes
        .iter()
        .filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok())
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Nanoseconds that these cores have been busy with anything, the hypervisor's other guests included.
pub(crate) fn busy_nanos(cores: Cores) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let nanos_a_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let of_core = |core: usize| {
        let name = format!("cpu{core} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .unwrap_or_default();
        let ticks: Vec<u64> = line
            .split(' ')
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        // user, nice, system, (idle, waiting,) interrupts, soft interrupts, stolen
        [0, 1, 2, 5, 6, 7]
            .iter()
            .filter_map(|column| ticks.get(*column))
            .sum::<u64>()
    };
    (of_core(cores.proxy) + of_core(cores.load)) * nanos_a_tick
}

/// A process and all that it started, at this moment.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut at = 0;
    while at < family.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", family[at]))
            .into_iter()
            .flatten()
            .flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| {
                text.split_whitespace()
                    .filter_map(|id| id.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        family.extend(children);
        at += 1;
    }
    family
}

/// Resident bytes of a process.
pub(crate) fn resident(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in the process's status"))
}

/// Raises the bound on open files as far as it goes, for this process and what it starts; tells the bound.
pub(crate) fn most_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    // Refused only where the bound is already there.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: hard,
            maximum: hard,
        },
    );
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The value below which this share of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = last as f64 * share;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// The middle of some values, and the quartiles around it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: quantile(&values, 0.5),
            lower: quantile(&values, 0.25),
            upper: quantile(&values, 0.75),
        }
    }
}
