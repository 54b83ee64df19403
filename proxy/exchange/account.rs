//! The account of one exchange: opened when it is known where a request goes, settled exactly once on every way out:
//! at the answer's last byte, at a failure, or, when it is dropped open, because the caller went away.

use std::rc::Rc;
use std::time::Instant;

use super::entry::Entry;
use crate::record::{
    Blame, CLIENT_GONE, Failure, FailureKind, Outcome, Recorder, Series, WorkerLedger,
};
use crate::snapshot::View;
use crate::upstream::{Endpoint, Version};

/// An exchange that has not been settled yet; by default one of which nothing is owed.
#[derive(Debug, Default)]
pub struct Account {
    /// `None` once it is settled.
    recorder: Option<Recorder>,
    status: u16,
    version: Option<At>,
    /// The line of the access log, where one will be written.
    entry: Option<Box<Entry>>,
}

/// A version by its indexes, with the snapshot that they count in.
#[derive(Debug)]
struct At {
    view: Rc<View>,
    service: usize,
    version: usize,
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
            entry,
        }
    }

    /// A version takes the request: its endpoints are judged by how it ends.
    pub fn goes_to(&mut self, view: Rc<View>, service: usize, version: usize) {
        self.version = Some(At {
            view,
            service,
            version,
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

    /// The answer's head has come.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
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
        if let Some(version) = self.version() {
            version.endpoint_failed(endpoint, Instant::now());
        }
    }

    fn version(&self) -> Option<&Version> {
        let at = self.version.as_ref()?;
        at.view
            .snapshot
            .services
            .get(at.service)?
            .get(at.version)
            .map(|v| &**v)
    }

    fn settle(&mut self, failure: Option<Failure>) {
        if let Some(recorder) = self.recorder.take() {
            let outcome = recorder.settle_now(self.status, failure);
            self.write(&outcome);
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
