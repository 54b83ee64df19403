//! What the operating system knows about this process: the `process_*` metrics that every exporter has.

use std::fs;
use std::sync::LazyLock;

use rustix::process::{Resource, getrlimit};

/// One look at `/proc`. A part that cannot be read is `None` and left out of the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) start_seconds: Option<f64>,
    pub(crate) threads: Option<u64>,
}

impl ProcessFacts {
    /// Looks now.
    pub(crate) fn read() -> Self {
        let mut facts = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|stat| {
                Self::parse(
                    &stat,
                    rustix::param::clock_ticks_per_second(),
                    page_bytes(),
                    *BOOTED,
                )
            })
            .unwrap_or_default();
        // The directory that is being read is one of the entries.
        facts.open_fds = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|fds| (fds.count() as u64).saturating_sub(1));
        facts.max_fds = getrlimit(Resource::Nofile).current;
        facts
    }

    /// Reads a line of `/proc/self/stat`, see proc_pid_stat(5).
    fn parse(stat: &str, ticks: u64, page: u64, booted: Option<u64>) -> Option<Self> {
        // The second field is the program's name in brackets and may hold spaces and brackets itself.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |in_ticks: u64| in_ticks as f64 / ticks.max(1) as f64;
        Some(Self {
            cpu_seconds: field(14)
                .zip(field(15))
                .map(|(user, system)| seconds(user + system)),
            threads: field(20),
            start_seconds: field(22)
                .zip(booted)
                .map(|(since_boot, booted)| booted as f64 + seconds(since_boot)),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page),
            ..Self::default()
        })
    }
}

/// When the machine was started, in seconds of Unix time. Read once: it wanders when the clock is set.
static BOOTED: LazyLock<Option<u64>> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
});

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat =
            "10 (a ) b(c)) S 1 1 1 0 -1 4194304 97 0 0 0 150 50 0 0 20 0 7 0 200 4096000 25 1844 1";
        let facts = ProcessFacts::parse(stat, 100, 4096, Some(1_000_000)).unwrap();
        assert_eq!(facts.cpu_seconds, Some(2.0));
        assert_eq!(facts.threads, Some(7));
        assert_eq!(facts.start_seconds, Some(1_000_002.0));
        assert_eq!(
            (facts.virtual_bytes, facts.resident_bytes),
            (Some(4_096_000), Some(102_400))
        );
    }

    #[test]
    fn this_process_is_plausible() {
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes.unwrap() > 100_000, "{facts:?}");
        assert!(
            facts.open_fds.unwrap() >= 3 && facts.threads.unwrap() >= 1,
            "{facts:?}"
        );
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        assert!(
            (now - facts.start_seconds.unwrap()).abs() < 3600.0,
            "{facts:?}"
        );
    }

    #[test]
    fn a_line_that_is_cut_short_gives_what_it_holds() {
        let facts = ProcessFacts::parse("10 (a) S 1 1", 100, 4096, None).unwrap();
        assert_eq!(facts, ProcessFacts::default());
        assert_eq!(ProcessFacts::parse("nonsense", 100, 4096, None), None);
    }
}
