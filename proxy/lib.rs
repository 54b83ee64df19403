//! Tidegate, an L7 proxy for gray releases: the map for whoever comes next.
//!
//! # The rooms
//!
//! A room imports only from lower floors, and a test holds this table against the code (`tests/tidy.rs`).
//!
//! | floor | room | what happens there |
//! |---|---|---|
//! | 9 | `main` | arguments and exit codes |
//! | 8 | [`command`] | one file a subcommand |
//! | 7 | [`app`] | everything is made and handed to whoever needs it: the life of the process, downwards |
//! | 6 | [`listen`] | how bytes come in: workers, listeners, connections, leaving |
//! | 5 | [`exchange`] | one request and its answer; [`exchange::gate`] is the whole walk |
//! | 5 | [`control`] | the one writer: edits, orders, the admin API |
//! | 4 | [`snapshot`] | all that is in force at one moment, and the one pointer to it |
//! | 3 | [`route`] | where a request goes: pure and synchronous |
//! | 3 | [`upstream`] | how bytes go out: versions, endpoints, pools, tries, probes |
//! | 2 | [`release`] | the judgement: what was seen of a rollout, and what follows from it. Pure |
//! | 2 | [`http2`] | HTTP/2 on the wire, toward callers |
//! | 1 | [`record`] | what happened: counts, metrics, access log |
//! | 1 | [`http1`] | HTTP/1.1 on the wire, for both sides |
//! | 1 | [`handover`] | one process hands over to the next: the words, and the sockets themselves |
//! | 1 | [`descriptors`] | files and sockets: the last ones are kept for control |
//! | 0 | [`transport`] | what bytes travel over: a stream, plain or encrypted |
//!
//! Below them is the crate `tidegate-config`: from the bytes of a file to checked values. `exchange` and `listen` never
//! import `control`: the request path does not know who writes.
//!
//! # One request
//!
//! ```text
//! listen::listener            accept on this worker; bounds
//!   listen::connection        HTTP/1.1 (listen::http1 over http1::wire) or HTTP/2 (listen::http2 over http2::wire)
//!     exchange::Gate::pass    ── the walk ──
//!       Viewer::view          the snapshot in force: one relaxed load; the request keeps it to its end
//!       screen::admit         what a request must be; what outsiders may not say is taken away
//!       Table::decide         route → rule → version, by a Caller: no await, no lock, no allocation
//!       errand, attempt       which endpoint (upstream::balance), a connection of it (upstream::pool), there and back;
//!                             fallback: once more to stable where the candidate failed it; mirror: a copy to it
//!       answer                the body carries the Account of the exchange to its last byte, error or drop
//!     record::WorkerLedger    … where it is settled: once, on every way out; its rollout is told of it there too
//! ```
//!
//! # One edit
//!
//! `config::Watch` sees the folder change, waits until it is silent, reads and checks. The [`control::controller`] then
//! first does all that can fail (compile, bind, open) and after that all that cannot (publish, listen, tell), so an edit
//! happens whole or not at all. [`control::compile`] keeps the `Arc` of every version that stayed the same: its pools,
//! warm connections, health and counts stay with it. No socket is touched that the edit does not name.
//!
//! A shift of a rollout is less: the same snapshot with other [`snapshot::InForce`]s, which hold how many are on each
//! candidate. The table, the versions and every worker's pools stay the very same.
//!
//! # One upgrade
//!
//! ```text
//! app::upgrade                SIGUSR2: this program once more, with --take-over
//! app::start                  the new process: checks its file, rings at the old one, binds and opens all that can fail
//! app::succession             the old one: edits rest, the journal is closed, the sockets themselves change hands
//!   control::releases::lent   nothing grows meanwhile; what shrinks is in force and is told to the new one
//! app::leaving                the new one accepts: the old one drains, and follows its weights
//! ```
//!
//! Until the new one accepts, the old one can go on as if nothing had been; [`handover`] is what they say to each other.
//!
//! # One failure
//!
//! ```text
//! Account settles             an Incident: which unit, which side it was assigned to, by which weights
//!   control::releases::Judge  a thread of its own; it wakes at once, and looks ten times a second in any case
//!     feed                    counts first, then the failures that are among them → thresholds, release::evidence
//!     ward                    what all tests say together
//!     release::Rollout::look  the next state: a value; guards first
//!     change                  smaller: publish, then the latch, the journal, everybody is told
//!                             larger: the journal, everybody is told, then publish
//! ```
//!
//! The book of rollouts ([`control::releases::Releases`]) has one lock, which nobody holds while waiting for anything.
//! Edits of the file come through it too: so there is one writer of the snapshot, and a shift waits for no edit.
//!
//! # Two crossings
//!
//! Between the request path and control there is one way down and one way up. Down: [`snapshot::Live`], one `ArcSwap`
//! that only the book of rollouts writes; each worker looks at it through its own [`snapshot::Viewer`]. Up: the
//! [`record::Ledger`], cells that only one worker each writes and that control adds up when somebody asks; beside it two
//! bounded queues, of the access log and of [`record::Incident`]s, by which the judge of the rollouts wakes at once.
//! Control, admin API and probes run on a thread of their own; so do the judge, the journal, its latches, and logs.
//!
//! # What always holds
//!
//! - The choice of a version is a pure function of snapshot and request; the endpoint is chosen after it, and a version
//!   without one fails as itself: its users are not moved.
//! - A snapshot never changes. Whoever holds one sees one revision from the first byte of a request to the last.
//! - A worker is one thread; what it owns is `!Send` and shared with nobody: connections, pools, counters. The request
//!   path takes no lock.
//! - A weight is never larger than it was last announced, whatever ends the process; what was rolled back stays back.
//! - A bad edit changes nothing, and says so in the log, the API and a metric.
//! - Every exchange is counted exactly once, whatever becomes of it ([`record::Recorder`]).
//! - Every queue, wait and retry has a bound with a name.
//! - What can be read in two ways is refused, and the connection with it.
#![cfg_attr(
    fuzzing,
    allow(
        dead_code,
        unused_imports,
        reason = "the upper floors and the tests stay out, and what only they use is left alone"
    )
)]

#[cfg(not(fuzzing))]
pub mod app;
#[cfg(not(fuzzing))]
pub mod command;
#[cfg(not(fuzzing))]
pub mod control;
pub mod descriptors;
pub mod exchange;
pub mod handover;
pub mod http1;
pub mod http2;
pub mod listen;
pub mod record;
pub mod release;
pub mod route;
pub mod snapshot;
pub mod transport;
pub mod upstream;

/// What fuzzers feed, and promises that hold whatever they feed: `tests/fuzz`. Ordinary tests feed what they once found.
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "tests, which fuzzers share")]
#[path = "../tests/fuzz/targets/mod.rs"]
pub mod fuzz;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, or `unknown`.
pub const COMMIT: &str = env!("TIDEGATE_COMMIT");
/// Version, commit and build profile in one line.
pub const VERSION_LINE: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("TIDEGATE_COMMIT"),
    ", ",
    env!("TIDEGATE_PROFILE"),
    " build)"
);
