//! What happened: every exchange ends here, once.
//!
//! Going up the stairs: a worker counts an [`Outcome`] in its own [`WorkerLedger`], which nobody else writes; control
//! reads the sums of all workers from the [`Ledger`] when somebody asks, and [`Metrics`] prints them. Lines about
//! single requests go to the [`AccessLog`], whose thread does the writing, so that no request waits for a disk.
//!
//! - `outcome`: how an exchange ended, and whose fault it was
//! - `handshake`: how a TLS handshake ended
//! - `reason`: why the proxy refuses, in one table
//! - `ids`: small numbers for the names of the configuration
//! - `tally`: the counts of one version
//! - `rollouts`: what rollouts are judged by; `arm`: the two sides of one
//! - `ledger`: all counts, over all workers
//! - `worker`: the end that a worker writes
//! - `observed`: the promise that an exchange is counted once
//! - `metrics`: the page that Prometheus reads; `process` is its part about the process
//! - `access_log`: a JSON line a request

mod access_log;
mod arm;
mod handshake;
mod ids;
mod ledger;
mod metrics;
mod observed;
mod outcome;
mod process;
mod reason;
mod rollouts;
mod tally;
mod told;
mod worker;

pub use access_log::{AccessLog, Line, LogError, LogPen, OpenedLog, is_shown};
pub use arm::Arm;
pub use handshake::{CertificateEnd, Handshake};
pub use ids::{ListenerId, RolloutId, RouteId, VersionId};
pub use ledger::Ledger;
pub use metrics::{Metrics, PHASES};
pub use observed::Recorder;
pub use outcome::{Blame, CLIENT_GONE, Failure, FailureKind, Outcome};
pub use reason::Reason;
pub use rollouts::{
    ArmCounts, Assignment, Ended, INCIDENTS_MAX, Incident, Measure, RolloutCounts, RolloutTimes,
    SlowBound,
};
pub use tally::{BOUNDS, Totals};
pub use told::{EndpointHealth, RolloutState};
pub use worker::{Series, WorkerLedger};
