//! A real book with a real journal, whose time, traffic and alarms are moved by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_config::{self as config, Config};
use tokio::runtime::{Builder, Runtime};

use crate::control::compile::compile;
use crate::control::journal::{Health, Journal, Steps};
use crate::control::releases::book::{Actor, Parts, Releases, now};
use crate::control::releases::memory::Note;
use crate::record::{Ledger, Metrics};
use crate::release::evidence::{Arm, Event};
use crate::release::{Counted, Forbidden, Order, Phase};
use crate::snapshot::Live;
use tidegate_config::Share;

/// Long enough for a busy machine; nothing waits so long where all is well.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// What every stage but the last holds.
pub(super) const HOLD: Duration = Duration::from_secs(600);
pub(super) const BAKE: Duration = Duration::from_secs(3600);

/// A file: `build` is a tag of the candidate, `rollouts` the list, in YAML.
pub(super) fn file(build: u32, rollouts: &str) -> Arc<Config> {
    let text = format!(
        "version: 1
listeners: [{{ name: in, address: '127.0.0.1:0', trusted_headers: [x-user-id] }}]
identity: {{ user: [{{ header: x-user-id }}] }}
services:
  - name: shop
    stable: v1
    versions:
      - {{ name: v1, endpoints: ['127.0.0.1:1'] }}
      - {{ name: v2, endpoints: ['127.0.0.1:2'], tags: {{ build: '{build}' }} }}
rollouts: {rollouts}
routes:
  - name: shop
    service: shop
    rules: [{}]
",
        if rollouts == "[]" {
            "{ name: everyone, to: v1 }"
        } else {
            "{ name: everyone, rollout: shop-v2 }"
        }
    );
    let loaded = config::parse(text.as_bytes(), "test.yaml", Path::new("."));
    let problems = loaded.problems;
    Arc::new(
        loaded
            .config
            .unwrap_or_else(|| panic!("{problems:?}\n{text}")),
    )
}

/// The rollout `shop-v2` with further keys.
pub(super) fn planned(more: &str) -> String {
    format!("[{{ name: shop-v2, service: shop, candidate: v2, by: user, {more} }}]")
}

pub(super) const STAGES: &str = "stages: [{ weight: 5%, hold: 10m, min_requests: 5 }, \
    { weight: 25%, hold: 10m, min_requests: 5, approve: true }, { weight: 100% }], bake: 1h, \
    cohorts: [{ name: eu, when: { header: { name: x-eu, exact: '1' } } }, { name: us, when: { header: { name: x-us, exact: '1' } } }], \
    guard: { error_rate: { above: 5%, window: 10s, min_requests: 50 } }";

/// A directory in memory where there is one: the book is opened hundreds of times.
pub(super) fn light_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// A book with one rollout, `shop-v2`.
pub(super) struct World {
    pub(super) releases: Releases,
    pub(super) ledger: Arc<Ledger>,
    pub(super) live: Live,
    revision: u64,
    _runtime: Runtime,
}

impl World {
    pub(super) fn open(dir: &Path, config: Arc<Config>, steps: Steps) -> Self {
        Self::open_after(dir, config, steps, Vec::new())
    }

    /// As the process that takes over from one that says this.
    pub(super) fn open_after(
        dir: &Path,
        config: Arc<Config>,
        steps: Steps,
        later: Vec<(String, String)>,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = Ledger::new(1);
        let live = Live::new(compile(config, None, 1, None, &ledger));
        let (journal, mut restored) = Journal::open_with(dir, steps).expect("the journal opens");
        restored.later = later;
        let parts = Parts {
            live: live.clone(),
            ledger: Arc::clone(&ledger),
            metrics: Arc::new(Metrics::new(Arc::clone(&ledger), 1)),
            journal: Some(journal),
            decisions: None,
            runtime: runtime.handle().clone(),
        };
        Self {
            releases: Releases::open(parts, restored),
            ledger,
            live,
            revision: 1,
            _runtime: runtime,
        }
    }

    pub(super) fn edit(&mut self, config: Arc<Config>) {
        self.revision += 1;
        let old = self.live.current();
        let next = compile(config, None, self.revision, Some(&old), &self.ledger);
        self.releases.put_in_force(next);
    }

    /// One look after so much time and so many requests of the candidate.
    pub(super) fn look(&self, elapsed: Duration, requests: u64) {
        let shared = self.releases.shared();
        let mut book = shared.book();
        for at in 0..book.running.len() {
            book.running[at].requests += requests;
            shared.look_at(&mut book, at, elapsed);
        }
        shared.tell_late_of_parted(&mut book);
        shared.save(&mut book, false);
    }

    /// Waits until nothing is under way: what happened is announced, growth is done or was refused.
    pub(super) fn settle(&self) {
        let until = Instant::now() + SOON;
        loop {
            {
                let book = self.releases.shared().book();
                let is_still = |running: &crate::control::releases::running::Running| {
                    running.telling.is_empty()
                        && running
                            .pending
                            .as_ref()
                            .is_none_or(|pending| pending.grown.is_none())
                };
                if book.running.iter().all(is_still) && book.parting.is_empty() {
                    return;
                }
            }
            assert!(Instant::now() < until, "nothing stays under way for ever");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Looks until it has this weight.
    pub(super) fn climbs_to(&self, percent: f64) {
        let until = Instant::now() + SOON;
        while self.weight() != percent {
            assert!(Instant::now() < until, "{percent} %: {:?}", self.stands());
            self.look(Duration::ZERO, 0);
            self.settle();
        }
    }

    pub(super) fn order(&self, order: Order) -> Result<(), Forbidden> {
        let shared = self.releases.shared();
        let mut book = shared.book();
        let actor = Actor {
            name: "ada".to_owned(),
            words: String::new(),
        };
        shared.obey(&mut book, 0, order, &actor)
    }

    /// The candidate fails far too many requests.
    pub(super) fn alarm(&self) {
        {
            let mut book = self.releases.shared().book();
            let bad = Counted {
                requests: 100,
                failures: 100,
                over: 0,
            };
            book.running[0].thresholds.count(now(), bad);
        }
        self.look(Duration::ZERO, 0);
    }

    /// The candidate fails the users of one cohort.
    pub(super) fn cohort_alarm(&self, cohort: usize) {
        {
            let mut book = self.releases.shared().book();
            let candidate = Share::from_parts(5_000).unwrap();
            for unit in 0..200 {
                let event = Event {
                    unit: Some(unit),
                    arm: Arm::Candidate,
                    candidate,
                    stable: Share::from_parts(95_000).unwrap(),
                    at: now(),
                };
                book.running[0].take_note(Note::Cohort(cohort, event));
            }
        }
        self.look(Duration::ZERO, 0);
    }

    /// In force: what the next request meets.
    pub(super) fn weight(&self) -> f64 {
        let snapshot = self.live.current();
        snapshot
            .rollouts
            .first()
            .map_or(0.0, |rollout| rollout.candidate.percent())
    }

    pub(super) fn cohorts_back(&self) -> u16 {
        self.live.current().rollouts[0].cohorts_back
    }

    /// `(phase, weight, attempt)` of the state; nothing where it has left the file.
    pub(super) fn stands(&self) -> Option<(Phase, f64, u32)> {
        let book = self.releases.shared().book();
        let state = &book.running.first()?.state;
        Some((state.phase(), state.weight().percent(), state.attempt()))
    }

    /// The journal, for tests that fill it.
    pub(super) fn journal(&self) -> Journal {
        self.releases.shared().own.journal().expect("it has one")
    }

    pub(super) fn disk_is_fine(&self) -> bool {
        matches!(self.journal().health(), Health::Fine)
    }

    /// Lets go of the directory.
    pub(super) fn close(self) {
        self.releases.close(SOON);
    }
}
