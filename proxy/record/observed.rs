//! The promise that an exchange is counted once, whatever becomes of it.

use std::time::Instant;

use crate::record::{CLIENT_GONE, Failure, FailureKind, Outcome, Series, VersionId, WorkerLedger};

/// Counts one exchange, exactly once: when it is settled, or when it is dropped because nobody waits for it any more.
///
/// Whoever carries an answer's body to its client holds this. Making, settling and dropping it allocate nothing.
#[derive(Debug)]
#[must_use = "dropped, it counts a client that went away"]
pub struct Recorder {
    ledger: WorkerLedger,
    started: Instant,
    series: Series,
    stand_in: Option<(VersionId, Instant)>,
    settled: bool,
}

impl Recorder {
    /// Begins to watch an exchange whose head was read at `started`.
    pub fn new(ledger: WorkerLedger, series: Series, started: Instant) -> Self {
        Self {
            ledger,
            started,
            series,
            stand_in: None,
            settled: false,
        }
    }

    /// Where it is counted.
    #[must_use]
    pub fn ledger(&self) -> &WorkerLedger {
        &self.ledger
    }

    /// When the request's head was read.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it will be counted as.
    #[must_use]
    pub fn series(&self) -> Series {
        self.series
    }

    /// It is known by now where the request goes.
    pub fn set_series(&mut self, series: Series) {
        self.series = series;
    }

    /// The version that was chosen has failed like this, and `other` answers in its place from now on. Each is timed and
    /// judged for what it did; the request itself stays one, of the version that was chosen.
    pub fn falls_back(&mut self, outcome: &Outcome, other: VersionId) {
        self.ledger.settle_version(self.series.version, outcome);
        self.ledger.fallback(self.series.version);
        self.stand_in = Some((other, Instant::now()));
    }

    /// Counts the exchange as it ended.
    pub fn settle(mut self, outcome: &Outcome) {
        self.record(outcome);
    }

    /// Counts the exchange as one that ends now, and tells what was counted.
    pub fn settle_now(mut self, status: u16, failure: Option<Failure>) -> Outcome {
        let outcome = Outcome {
            status,
            failure,
            duration: self.started.elapsed(),
        };
        self.record(&outcome);
        outcome
    }

    fn record(&mut self, outcome: &Outcome) {
        self.settled = true;
        let Some((other, since)) = self.stand_in else {
            return self.ledger.settle(self.series, outcome);
        };
        self.ledger.settle_request(self.series, outcome.status);
        let duration = since.elapsed();
        self.ledger.settle_version(
            other,
            &Outcome {
                duration,
                ..*outcome
            },
        );
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        // A panic unwinds through here as well; it must not pass for a client that lost patience.
        let (status, kind) = if std::thread::panicking() {
            (500, FailureKind::Internal)
        } else {
            (CLIENT_GONE, FailureKind::Aborted)
        };
        self.record(&Outcome {
            status,
            failure: Some(kind.failure()),
            duration: self.started.elapsed(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::record::{Ledger, Reason, RouteId};

    fn recorder(ledger: &Arc<Ledger>, worker: &WorkerLedger) -> Recorder {
        let series = Series {
            listener: ledger.listener("l"),
            route: RouteId::NONE,
            version: ledger.version("s", "v"),
        };
        Recorder::new(worker.clone(), series, Instant::now())
    }

    fn statuses(ledger: &Ledger) -> Vec<(u16, u64)> {
        ledger
            .requests()
            .iter()
            .map(|r| (r.status, r.count))
            .collect()
    }

    #[test]
    fn a_settled_exchange_is_counted_once() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let outcome = recorder(&ledger, &worker).settle_now(200, None);
        assert_eq!(outcome.status, 200);
        recorder(&ledger, &worker).settle(&outcome);
        assert_eq!(statuses(&ledger), [(200, 2)]);
    }

    #[test]
    fn after_its_first_use_counting_allocates_nothing() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let series = recorder(&ledger, &worker).series();
        let exchange = || {
            worker.connections(series.listener, 1);
            worker.upstream_connections(series.version, 1);
            worker.refuse(series.listener, Reason::NoRoute);
            worker.fallback(series.version);
            drop(Recorder::new(worker.clone(), series, Instant::now()));
            Recorder::new(worker.clone(), series, Instant::now())
                .settle_now(502, Some(FailureKind::Reset.failure()));
        };
        exchange();
        let counted = allocation_counter::measure(|| (0..1000).for_each(|_| exchange()));
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }

    #[test]
    fn a_request_that_another_version_answered_is_one_request_and_each_version_did_its_part() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let mut recorder = recorder(&ledger, &worker);
        let (chosen, other) = (recorder.series().version, ledger.version("s", "stable"));
        recorder.falls_back(&Outcome::answered(503, Duration::from_secs(2)), other);
        recorder.settle_now(200, None);
        assert_eq!(statuses(&ledger), [(200, 1)], "its caller saw a 200");
        let (failed, stood_in) = (ledger.totals(chosen), ledger.totals(other));
        assert_eq!(
            (failed.requests(), failed.failures(), failed.fallbacks),
            (1, 1, 1)
        );
        assert_eq!(
            (stood_in.requests(), stood_in.failures(), stood_in.fallbacks),
            (1, 0, 0)
        );
        assert!(
            stood_in.duration_sum() < Duration::from_secs(2),
            "not the other's time"
        );
    }

    #[test]
    fn an_abandoned_exchange_is_a_499_that_counts_against_nobody() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let abandoned = recorder(&ledger, &worker);
        let version = abandoned.series().version;
        drop(abandoned);
        assert_eq!(statuses(&ledger), [(499, 1)]);
        assert_eq!(ledger.totals(version).failures(), 0);
    }

    #[test]
    fn a_panic_does_not_pass_for_a_client_that_went_away() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let held = recorder(&ledger, &worker);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = held;
            std::panic::resume_unwind(Box::new("as a bug would"));
        }));
        assert!(caught.is_err());
        assert_eq!(statuses(&ledger), [(500, 1)]);
    }
}
