//! The account of one exchange: opened when it is known where a request goes, settled exactly once on every way out:
//! at the answer's last byte, at a failure, or, when it is dropped open, because the caller went away.

use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, response};

use super::entry::Entry;
use crate::record::{
    Blame, CLIENT_GONE, Ended, Failure, FailureKind, Measure, Outcome, Recorder, Series,
    WorkerLedger,
};
use crate::route::{Choice, Drawn};
use crate::snapshot::View;
use crate::upstream::{Endpoint, Version};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// An exchange that has not been settled yet; by default one of which nothing is owed.
#[derive(Debug, Default)]
pub struct Account {
    /// `None` once it is settled.
    recorder: Option<Recorder>,
    status: u16,
    version: Option<At>,
    /// The answer's `grpc-status`, where it is asked for.
    grpc: Option<u16>,
    /// The line of the access log, where one will be written.
    entry: Option<Box<Entry>>,
}

/// A version by its indexes, with the snapshot that they count in.
#[derive(Debug)]
struct At {
    view: Rc<View>,
    service: usize,
    version: usize,
    /// The rollout that it is evidence for.
    lot: Option<Drawn>,
    /// That was told already.
    is_weighed: bool,
}

impl At {
    fn version(&self) -> Option<&Version> {
        let service = self.view.snapshot.services.get(self.service)?;
        service.get(self.version).map(|v| &**v)
    }

    /// What its rollout measures by.
    fn measure(&self) -> Option<&Measure> {
        let rollout = self.view.snapshot.rollouts.get(self.lot?.rollout)?;
        Some(&rollout.measure)
    }
}

impl Account {
    /// Opens the account of a request that began at `started`.
    pub fn open(
        ledger: &WorkerLedger,
        series: Series,
        started: Instant,
        entry: Option<Box<Entry>>,
    ) -> Self {
        let recorder = Some(Recorder::new(ledger.clone(), series, started));
        Self {
            recorder,
            status: 0,
            version: None,
            grpc: None,
            entry,
        }
    }

    /// A version takes the request: its endpoints are judged by how it ends, and so is the rollout that chose it.
    pub fn goes_to(&mut self, view: Rc<View>, choice: &Choice) {
        self.version = Some(At {
            view,
            service: choice.service,
            version: choice.version,
            lot: choice.lot,
            is_weighed: false,
        });
    }

    /// Where it goes is known.
    pub fn set_series(&mut self, series: Series) {
        if let Some(recorder) = &mut self.recorder {
            recorder.set_series(series);
        }
    }

    /// Whether the access log will say something.
    pub fn has_entry(&self) -> bool {
        self.entry.is_some()
    }

    /// Whether an answer that has come so far is a failure to its rollout, by its head.
    pub fn fails_by_head(&self) -> bool {
        let measure = self.version.as_ref().and_then(At::measure);
        measure.is_some_and(|measure| measure.fails_by_answer(self.status, self.grpc))
    }

    /// A failure that is told when it happens, and not when the exchange has ended: whether somebody stands in must not
    /// change when the rollout is told. Whatever becomes of the exchange, it is not told again. `status` is what the caller
    /// would have seen.
    pub fn fails(&mut self, kind: FailureKind, status: u16) {
        self.fails_now(kind, status, false);
    }

    fn fails_now(&mut self, kind: FailureKind, status: u16, fallback: bool) -> Option<Outcome> {
        let recorder = self.recorder.as_ref()?;
        let outcome = Outcome {
            status,
            failure: Some(kind.failure()),
            duration: recorder.started().elapsed(),
        };
        let ledger = recorder.ledger().clone();
        self.weigh(&ledger, outcome, fallback);
        Some(outcome)
    }

    /// The version that was chosen failed, and another one of its service answers in its place from now on: the rollout is
    /// told of the failure at once. `status` is what the caller would have seen.
    pub fn falls_back(&mut self, kind: FailureKind, status: u16, other: usize) {
        let Some(outcome) = self.fails_now(kind, status, true) else {
            return;
        };
        if let (Some(recorder), Some(at)) = (&mut self.recorder, &mut self.version) {
            at.version = other;
            if let Some(version) = at.version() {
                recorder.falls_back(&outcome, version.id);
            }
        }
        (self.status, self.grpc) = (0, None);
        if let Some(entry) = &mut self.entry {
            entry.fell_back();
        }
    }

    /// The answer's head has come.
    pub fn heard(&mut self, answer: &response::Parts, http2: bool) {
        self.status = answer.status.as_u16();
        // gRPC is HTTP/2; where nothing else comes, the head is what would have been the trailers.
        if http2 {
            self.says(&answer.headers);
        }
    }

    /// Trailers, which may say how a call of gRPC ended.
    pub fn says(&mut self, fields: &HeaderMap) {
        let asks = |at: &At| at.measure().is_some_and(Measure::asks_for_grpc);
        if self.version.as_ref().is_some_and(asks)
            && let Some(status) = fields.get(GRPC_STATUS)
        {
            self.grpc = status
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok());
        }
    }

    /// What the access log will say, where it will say something.
    pub fn entry(&mut self) -> Option<&mut Entry> {
        self.entry.as_deref_mut()
    }

    /// The exchange ended as the version meant it to. A status of 500 and above is its failure all the same.
    pub fn succeed(mut self, endpoint: &Endpoint) {
        let failure = (self.status >= 500).then(|| FailureKind::Status.failure());
        if failure.is_some() {
            self.endpoint_failed(endpoint);
        } else {
            endpoint.succeeded();
        }
        self.settle(failure);
    }

    /// The answer broke off after its head.
    pub fn fail(mut self, kind: FailureKind, endpoint: &Endpoint) {
        if kind.blame() == Blame::Version {
            self.endpoint_failed(endpoint);
        }
        self.settle(Some(kind.failure()));
    }

    /// There is no answer but the proxy's own.
    pub fn refuse(mut self, status: u16, failure: Option<Failure>) {
        self.status = status;
        self.settle(failure);
    }

    /// One try failed: the endpoint is judged at once, whatever becomes of the request.
    pub fn endpoint_failed(&self, endpoint: &Endpoint) {
        if let Some(version) = self.version.as_ref().and_then(At::version) {
            version.endpoint_failed(endpoint, Instant::now());
        }
    }

    fn settle(&mut self, failure: Option<Failure>) {
        let Some(recorder) = self.recorder.take() else {
            return;
        };
        let ledger = self.is_evidence().then(|| recorder.ledger().clone());
        let outcome = recorder.settle_now(self.status, failure);
        if let Some(ledger) = ledger {
            self.weigh(&ledger, outcome, false);
        }
        self.write(&outcome);
    }

    fn is_evidence(&self) -> bool {
        let at = self.version.as_ref();
        at.is_some_and(|at| at.lot.is_some() && !at.is_weighed)
    }

    /// Tells its rollout how it ended, once.
    #[inline(never)]
    fn weigh(&mut self, ledger: &WorkerLedger, outcome: Outcome, fallback: bool) {
        let Some(at) = &mut self.version else { return };
        let Some(drawn) = at.lot.filter(|_| !at.is_weighed) else {
            return;
        };
        at.is_weighed = true;
        let snapshot = &at.view.snapshot;
        let ended = Ended {
            outcome,
            grpc: self.grpc,
            fallback,
        };
        // Those of its own snapshot: what is late counts as it was routed.
        if let (Some(rollout), Some(version)) = (snapshot.rollouts.get(drawn.rollout), at.version())
        {
            let assignment = rollout.assignment(&drawn, version.id, snapshot.revision);
            ledger.weigh(&assignment, &rollout.measure, &ended);
        }
    }

    fn write(&mut self, outcome: &Outcome) {
        if let Some(entry) = self.entry.take() {
            entry.write(outcome);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            self.status = CLIENT_GONE;
            self.settle(Some(FailureKind::Aborted.failure()));
        }
    }
}
