//! What counts as a failure of a rollout, and as too slow: the file's words, made ready so that a success costs a few
//! loads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::plan::{Failures, Guard};

use crate::record::{Blame, FailureKind, Outcome, SlowBound};

/// Statuses have three digits, and none is above this.
const STATUS_WORDS: usize = 16;
/// A tunnel lasts for as long as its two ends like it: its time says nothing.
const SWITCHING: u16 = 101;
const NEVER: u64 = u64::MAX;

/// What counts as a failure of one rollout, and as too slow.
#[derive(Debug)]
pub struct Measure {
    /// Bit by bit.
    statuses: [u64; STATUS_WORDS],
    /// By the discriminant of [`FailureKind`].
    kinds: u32,
    grpc: BTreeSet<u16>,
    /// `guard.latency.above`, in microseconds.
    above: u64,
    slow: Arc<SlowBound>,
}

/// How a request of a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// As the version that it was assigned to ended it.
    pub outcome: Outcome,
    /// The answer's `grpc-status`, where it had one.
    pub grpc: Option<u16>,
    /// Whether stable was asked in the candidate's place.
    pub fallback: bool,
}

/// What that was. All `false` is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Finding {
    pub(crate) failed: bool,
    /// It failed because there was no connection.
    pub(crate) connect: bool,
    /// Above the slow bound.
    pub(crate) slow: bool,
    /// Above `guard.latency.above`.
    pub(crate) over: bool,
    /// Its time says something about how fast the version is; a failure that came fast does not.
    pub(crate) timed: bool,
}

const fn bit(kind: FailureKind) -> u32 {
    1 << kind as u32
}

const CONNECT: u32 =
    bit(FailureKind::Connect) | bit(FailureKind::ConnectTimeout) | bit(FailureKind::NoEndpoint);
/// A pool that stays full is a version that does not answer: its answers are what holds the connections.
const TIMEOUT: u32 =
    bit(FailureKind::Timeout) | bit(FailureKind::StreamIdle) | bit(FailureKind::PoolFull);
const RESET: u32 =
    bit(FailureKind::Reset) | bit(FailureKind::Garbage) | bit(FailureKind::Truncated);

impl Measure {
    /// By what a guard says, and by a bound that the judge moves.
    pub fn new(guard: &Guard, slow: Arc<SlowBound>) -> Self {
        let Failures {
            statuses: written,
            connect,
            timeout,
            reset,
            grpc,
        } = &guard.failures;
        let mut statuses = [0; STATUS_WORDS];
        for status in written {
            if let Some(word) = statuses.get_mut(usize::from(*status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
        let of = |wanted: bool, kinds: u32| if wanted { kinds } else { 0 };
        let above = guard.latency.map_or(NEVER, |l| micros(l.above));
        Self {
            statuses,
            kinds: of(*connect, CONNECT) | of(*timeout, TIMEOUT) | of(*reset, RESET),
            grpc: grpc.clone(),
            above,
            slow,
        }
    }

    /// Whether an answer with this status, and this `grpc-status` if any, is a failure.
    pub fn fails_by_answer(&self, status: u16, grpc: Option<u16>) -> bool {
        let word = self.statuses.get(usize::from(status / 64));
        word.is_some_and(|word| word >> (status % 64) & 1 == 1)
            || grpc.is_some_and(|grpc| self.grpc.contains(&grpc))
    }

    /// Whether any `grpc-status` is a failure: only then it need be read.
    pub fn asks_for_grpc(&self) -> bool {
        !self.grpc.is_empty()
    }

    /// What this end is to the rollout; `None` where the version had no part in it.
    pub(crate) fn find(&self, ended: &Ended) -> Option<Finding> {
        let Outcome {
            status,
            failure,
            duration,
        } = ended.outcome;
        let has_time = status != SWITCHING;
        let took = micros(duration);
        let slow = has_time && self.slow.is_below(took);
        let over = has_time && took > self.above;
        let mut finding = Finding {
            slow,
            over,
            timed: has_time,
            ..Finding::default()
        };
        match failure {
            None => finding.failed = self.fails_by_answer(status, ended.grpc),
            Some(failure) if failure.blame != Blame::Version => {
                // Who goes away in time has other reasons. Who has waited for too long has told us something.
                let lost_patience = failure.kind == FailureKind::Aborted && (slow || over);
                return lost_patience.then_some(finding);
            }
            Some(failure) if failure.kind == FailureKind::Status => {
                finding.failed = self.fails_by_answer(status, ended.grpc);
            }
            Some(failure) => {
                finding.failed = self.kinds & bit(failure.kind) != 0;
                finding.connect = finding.failed && CONNECT & bit(failure.kind) != 0;
            }
        }
        if finding.failed {
            let waited = failure.is_some_and(|f| TIMEOUT & bit(f.kind) != 0);
            finding.timed &= slow || over || waited;
        }
        Some(finding)
    }
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_config::Share;
    use tidegate_config::plan::Latency;

    use super::*;
    use crate::record::CLIENT_GONE;

    fn guard(failures: Failures) -> Guard {
        Guard {
            failures,
            error_rate: None,
            latency: Some(Latency {
                quantile: Share::HALF,
                above: Duration::from_millis(800),
                window: Duration::from_secs(30),
                min_requests: 100,
            }),
            consecutive_failures: None,
            compare: None,
            metrics: Vec::new(),
        }
    }

    fn measure(failures: Failures) -> Measure {
        Measure::new(&guard(failures), Arc::default())
    }

    fn answered(status: u16, grpc: Option<u16>) -> Ended {
        Ended {
            outcome: Outcome::answered(status, Duration::from_millis(3)),
            grpc,
            fallback: false,
        }
    }

    fn broken(kind: FailureKind, millis: u64) -> Ended {
        Ended {
            outcome: Outcome {
                status: CLIENT_GONE,
                failure: Some(kind.failure()),
                duration: Duration::from_millis(millis),
            },
            grpc: None,
            fallback: false,
        }
    }

    #[test]
    fn by_default_a_5xx_no_connection_a_timeout_a_reset_and_four_of_grpc_are_failures() {
        let measure = measure(Failures::default());
        for status in 100..1000 {
            let failed = measure.find(&answered(status, None)).unwrap().failed;
            assert_eq!(failed, (500..600).contains(&status), "{status}");
        }
        for grpc in 0..20 {
            let failed = measure.find(&answered(200, Some(grpc))).unwrap().failed;
            assert_eq!(failed, [2, 4, 13, 14].contains(&grpc), "grpc {grpc}");
        }
        for kind in FailureKind::ALL {
            let found = measure.find(&broken(kind, 1));
            let is_versions = kind.blame() == Blame::Version;
            assert_eq!(
                found.is_some(),
                is_versions,
                "{kind:?}: who had a part in it"
            );
            if is_versions && kind != FailureKind::Status {
                assert!(found.unwrap().failed, "{kind:?}");
            }
        }
    }

    #[test]
    fn what_the_file_does_not_call_a_failure_is_none() {
        let measure = measure(Failures {
            statuses: [429, 503].into(),
            connect: false,
            timeout: true,
            reset: false,
            grpc: BTreeSet::new(),
        });
        let failed = |ended: &Ended| measure.find(ended).unwrap().failed;
        assert!(failed(&answered(429, None)) && failed(&answered(503, Some(0))));
        assert!(!failed(&answered(500, None)) && !failed(&answered(200, Some(13))));
        assert!(!failed(&broken(FailureKind::Connect, 1)));
        assert!(!failed(&broken(FailureKind::Reset, 1)));
        assert!(failed(&broken(FailureKind::Timeout, 1)));
        assert!(!measure.asks_for_grpc());
    }

    #[test]
    fn a_request_without_a_connection_is_told_apart() {
        let measure = measure(Failures::default());
        for kind in [
            FailureKind::Connect,
            FailureKind::ConnectTimeout,
            FailureKind::NoEndpoint,
        ] {
            assert!(measure.find(&broken(kind, 1)).unwrap().connect, "{kind:?}");
        }
        assert!(
            !measure
                .find(&broken(FailureKind::Reset, 1))
                .unwrap()
                .connect
        );
    }

    #[test]
    fn who_goes_away_counts_for_nothing_unless_he_had_waited_too_long() {
        let slow = Arc::new(SlowBound::default());
        let measure = Measure::new(&guard(Failures::default()), slow.clone());
        assert_eq!(measure.find(&broken(FailureKind::Aborted, 800)), None);
        let over = measure.find(&broken(FailureKind::Aborted, 801)).unwrap();
        assert!(over.over && !over.slow && !over.failed && over.timed);
        slow.set(Some(Duration::from_millis(50)));
        assert_eq!(measure.find(&broken(FailureKind::Aborted, 50)), None);
        let found = measure.find(&broken(FailureKind::Aborted, 51)).unwrap();
        assert!(found.slow && !found.over && !found.failed);
        let ours = broken(FailureKind::LocalResources, 10_000);
        assert_eq!(measure.find(&ours), None, "ours, however long it took");
    }

    #[test]
    fn a_failure_that_came_fast_tells_nothing_about_time_and_neither_does_a_tunnel() {
        let measure = measure(Failures::default());
        assert!(measure.find(&answered(200, None)).unwrap().timed);
        assert!(!measure.find(&answered(500, None)).unwrap().timed);
        assert!(
            measure
                .find(&broken(FailureKind::Timeout, 5))
                .unwrap()
                .timed
        );
        assert!(
            measure
                .find(&broken(FailureKind::Reset, 900))
                .unwrap()
                .timed
        );
        let hours = Duration::from_secs(7200);
        let tunnel = Ended {
            outcome: Outcome::answered(101, hours),
            ..answered(101, None)
        };
        assert_eq!(measure.find(&tunnel), Some(Finding::default()));
    }
}
