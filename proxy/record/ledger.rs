//! All counts of the process: names on one side, a shard for each worker on the other.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
#[expect(
    clippy::disallowed_types,
    reason = "names are looked up when the configuration changes and at a scrape"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_config::Config;

use crate::record::ids::{Name, Names, OTHER};
use crate::record::rollouts::{RolloutCell, Rollouts, units};
use crate::record::worker::{SeriesKey, Shard};
use crate::record::{
    Arm, Handshake, Incident, ListenerId, Reason, RolloutCounts, RolloutId, RolloutTimes, RouteId,
    SlowBound, Totals, VersionId, WorkerLedger,
};

/// Every count since the start of the process. Workers write to it through their [`WorkerLedger`]; anybody reads.
#[derive(Debug)]
pub struct Ledger {
    #[expect(
        clippy::disallowed_types,
        reason = "names are looked up when the configuration changes and at a scrape"
    )]
    names: Mutex<Registry>,
    shards: Vec<Arc<Shard>>,
    rollouts: Arc<Rollouts>,
}

#[derive(Debug)]
struct Registry {
    listeners: Names<String>,
    routes: Names<String>,
    versions: Names<(String, String)>,
    rollouts: Names<String>,
}

impl Ledger {
    /// A ledger for so many workers, with nothing in it.
    #[must_use]
    #[expect(
        clippy::disallowed_types,
        reason = "names are looked up when the configuration changes and at a scrape"
    )]
    pub fn new(workers: usize) -> Arc<Self> {
        let names = Registry {
            listeners: Names::new(),
            routes: Names::new(),
            versions: Names::new(),
            rollouts: Names::new(),
        };
        let rollouts = Arc::new(Rollouts::default());
        Arc::new(Self {
            names: Mutex::new(names),
            shards: (0..workers)
                .map(|_| Arc::new(Shard::new(Arc::clone(&rollouts))))
                .collect(),
            rollouts,
        })
    }

    /// The end that worker `index` writes; it is to be called on that worker's thread.
    ///
    /// # Panics
    /// If there is no such worker, or its end is in use: two writers would lose counts.
    #[must_use]
    pub fn worker(&self, index: usize) -> WorkerLedger {
        WorkerLedger::take(&self.shards[index]).expect("each worker takes its ledger once")
    }

    /// A listener's number, for the life of the process.
    pub fn listener(&self, name: &str) -> ListenerId {
        ListenerId(self.names().listeners.id(name.to_owned(), "listener"))
    }

    /// A listener goes on under another name, and its counts with it.
    pub fn rename_listener(&self, id: ListenerId, name: &str) {
        self.names().listeners.rename(id.0, name.to_owned());
    }

    /// A route's number, for the life of the process.
    pub fn route(&self, name: &str) -> RouteId {
        RouteId(self.names().routes.id(name.to_owned(), "route"))
    }

    /// The number of a version of a service, for the life of the process.
    pub fn version(&self, service: &str, version: &str) -> VersionId {
        VersionId(
            self.names()
                .versions
                .id((service.to_owned(), version.to_owned()), "version"),
        )
    }

    /// A rollout's number, for the life of the process.
    pub fn rollout(&self, name: &str) -> RolloutId {
        RolloutId(self.names().rollouts.id(name.to_owned(), "rollout"))
    }

    /// Above which time a rollout's requests are slow: the judge sets it, the workers read it.
    pub fn slow_bound(&self, id: RolloutId) -> Arc<SlowBound> {
        Arc::clone(&self.rollouts.get(id).slow)
    }

    /// The judge's end of the queue of incidents; `None` if somebody has it. Until it is taken, incidents are counted as
    /// dropped.
    pub fn incidents(&self) -> Option<Receiver<Incident>> {
        self.rollouts.queue.open()
    }

    /// Incidents that found no room in the queue, or no judge.
    pub fn dropped_incidents(&self) -> u64 {
        self.rollouts.queue.dropped()
    }

    /// The counts of one rollout over all workers.
    #[must_use]
    pub fn rollout_counts(&self, id: RolloutId) -> RolloutCounts {
        let mut counts = RolloutCounts::default();
        for cell in self.rollout_cells(id) {
            cell.add_to(&mut counts);
        }
        counts
    }

    /// Its requests by time, over all workers.
    #[must_use]
    pub fn rollout_times(&self, id: RolloutId) -> RolloutTimes {
        let mut times = RolloutTimes::default();
        for cell in self.rollout_cells(id) {
            times.add(&cell);
        }
        times
    }

    /// Failures of its candidate one after the other, in this attempt.
    #[must_use]
    pub fn rollout_run(&self, id: RolloutId, attempt: u32) -> u32 {
        self.rollouts.get(id).run.length(attempt)
    }

    /// Begins the next window of counting users; the number of the one that has ended, for [`Ledger::rollout_units`].
    pub fn turn_rollout_window(&self, id: RolloutId) -> u32 {
        self.rollouts.get(id).turn()
    }

    /// About how many users an arm had in a window (standard error 3.3 %). A window is kept until the next but one begins.
    #[must_use]
    pub fn rollout_units(&self, id: RolloutId, arm: Arm, window: u32) -> u64 {
        let cells = self.rollout_cells(id);
        units(cells.iter().map(|cell| &**cell), window, arm)
    }

    fn rollout_cells(&self, id: RolloutId) -> Vec<Arc<RolloutCell>> {
        let shards = self.shards.iter();
        shards
            .filter_map(|shard| shard.cells().rollouts.get(&id).cloned())
            .collect()
    }

    /// Shows the names of the configuration in force and no others. What has left is counted on unseen, and shows
    /// again with its old counts if its name returns, so that a counter never falls.
    pub fn retain(&self, config: &Config) {
        let listeners: HashSet<_> = config.listeners.iter().map(|l| l.name.as_str()).collect();
        let routes: HashSet<_> = config.routes.iter().map(|r| r.name.as_str()).collect();
        let versions: HashSet<_> = config
            .services
            .iter()
            .flat_map(|s| {
                s.versions
                    .iter()
                    .map(|v| (s.name.as_str(), v.name.as_str()))
            })
            .collect();
        let mut names = self.names();
        names
            .listeners
            .retain(|name| listeners.contains(name.as_str()));
        names.routes.retain(|name| routes.contains(name.as_str()));
        names
            .versions
            .retain(|(service, version)| versions.contains(&(service.as_str(), version.as_str())));
    }

    /// The counts of one version over all workers.
    #[must_use]
    pub fn totals(&self, version: VersionId) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            if let Some(tally) = shard.cells().versions.get(&version) {
                tally.add_to(&mut totals);
            }
        }
        totals
    }

    /// Every shown line of `tidegate_requests_total`.
    pub(crate) fn requests(&self) -> Vec<Requests> {
        let mut sums = BTreeMap::<SeriesKey, u64>::new();
        for shard in &self.shards {
            for (key, count) in &shard.cells().requests {
                *sums.entry(*key).or_default() += count.0.load(Ordering::Relaxed);
            }
        }
        let names = self.names();
        let label = |key: SeriesKey, count| {
            let series = key.series();
            let (service, version) = names.version_labels(series.version)?;
            let listener = word(names.listeners.name(series.listener.0))?;
            let route = word(names.routes.name(series.route.0))?;
            Some(Requests {
                listener,
                route,
                service,
                version,
                status: key.status(),
                count,
            })
        };
        sums.into_iter()
            .filter_map(|(key, count)| label(key, count))
            .collect()
    }

    /// The counts of every shown version, used or not.
    pub(crate) fn versions(&self) -> Vec<(String, String, Totals)> {
        let ids: Vec<_> = self
            .names()
            .versions
            .shown()
            .map(VersionId)
            .chain([VersionId::OTHER])
            .collect();
        let row = |id| {
            let totals = self.totals(id);
            if id == VersionId::OTHER && totals == Totals::default() {
                return None;
            }
            let (service, version) = self.names().version_labels(id)?;
            Some((service, version, totals))
        };
        ids.into_iter().filter_map(row).collect()
    }

    /// The counts of every shown listener, used or not.
    pub(crate) fn listeners(&self) -> Vec<Listening> {
        let mut sums = BTreeMap::<ListenerId, Listening>::new();
        let shown: Vec<_> = self.names().listeners.shown().collect();
        sums.extend(
            shown
                .iter()
                .map(|id| (ListenerId(*id), Listening::default())),
        );
        for shard in &self.shards {
            for (id, door) in &shard.cells().listeners {
                let sum = sums.entry(*id).or_default();
                sum.connections += door.connections.load(Ordering::Relaxed);
                add(&mut sum.refusals.0, &door.refusals);
                add(&mut sum.handshakes.0, &door.handshakes);
            }
        }
        let names = self.names();
        let row = |(id, sum): (ListenerId, Listening)| {
            let listener = word(names.listeners.name(id.0))?;
            Some(Listening { listener, ..sum })
        };
        sums.into_iter().filter_map(row).collect()
    }

    fn names(&self) -> MutexGuard<'_, Registry> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn version_labels(&self, id: VersionId) -> Option<(String, String)> {
        match self.versions.name(id.0) {
            Name::Shown((service, version)) => Some((service.clone(), version.clone())),
            Name::Other => Some((OTHER.to_owned(), OTHER.to_owned())),
            Name::None => Some((String::new(), String::new())),
            Name::Hidden => None,
        }
    }
}

fn add(sums: &mut [u64], counts: &[AtomicU64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.load(Ordering::Relaxed);
    }
}

fn word(name: Name<&String>) -> Option<String> {
    match name {
        Name::Shown(name) => Some(name.clone()),
        Name::Other => Some(OTHER.to_owned()),
        Name::None => Some(String::new()),
        Name::Hidden => None,
    }
}

/// A line of `tidegate_requests_total`.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) listener: String,
    pub(crate) route: String,
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) count: u64,
}

/// What happened at a listener.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    pub(crate) listener: String,
    pub(crate) connections: i64,
    /// By the discriminant of [`Reason`].
    pub(crate) refusals: Counts<{ Reason::COUNT }>,
    /// By the discriminant of [`Handshake`].
    pub(crate) handshakes: Counts<{ Handshake::ALL.len() }>,
}

/// Counts of a closed set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts<const N: usize>(pub(crate) [u64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use proptest::prelude::*;
    use tidegate_config as config;

    use super::*;
    use crate::record::{FailureKind, Outcome, Series};

    /// One settle: listener, route, version, status, what failed, microseconds.
    type Event = (usize, usize, usize, u16, Option<usize>, u64);

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = (
            0..3usize,
            0..4usize,
            0..5usize,
            200..206u16,
            prop::option::of(0..FailureKind::ALL.len()),
            0..40_000_000u64,
        );
        prop::collection::vec(event, 0..300)
    }

    fn outcome(event: &Event) -> Outcome {
        let failure = event.4.map(|kind| FailureKind::ALL[kind].failure());
        Outcome {
            status: event.3,
            failure,
            duration: Duration::from_micros(event.5),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_totals_of_all_workers_are_what_one_would_count_by_hand(workers in prop::collection::vec(events(), 1..4)) {
            let ledger = Ledger::new(workers.len());
            let listeners: Vec<_> = (0..3).map(|i| ledger.listener(&format!("l{i}"))).collect();
            let routes: Vec<_> = (0..4).map(|i| ledger.route(&format!("r{i}"))).collect();
            let versions: Vec<_> = (0..5).map(|i| ledger.version("s", &format!("v{i}"))).collect();
            std::thread::scope(|scope| {
                for (index, events) in workers.iter().enumerate() {
                    let (ledger, listeners, routes, versions) = (&ledger, &listeners, &routes, &versions);
                    scope.spawn(move || {
                        let worker = ledger.worker(index);
                        for event in events {
                            let series = Series { listener: listeners[event.0], route: routes[event.1], version: versions[event.2] };
                            worker.settle(series, &outcome(event));
                        }
                    });
                }
            });

            let mut by_series = HashMap::new();
            for event in workers.iter().flatten() {
                *by_series.entry((format!("l{}", event.0), format!("r{}", event.1), format!("v{}", event.2), event.3)).or_insert(0) += 1;
            }
            let seen: HashMap<_, _> =
                ledger.requests().into_iter().map(|r| ((r.listener, r.route, r.version, r.status), r.count)).collect();
            prop_assert_eq!(seen, by_series);

            for (i, id) in versions.iter().enumerate() {
                let mine: Vec<_> = workers.iter().flatten().filter(|event| event.2 == i).collect();
                let totals = ledger.totals(*id);
                prop_assert_eq!(totals.requests(), mine.len() as u64);
                prop_assert_eq!(totals.failures(), mine.iter().filter(|e| outcome(e).is_version_failure()).count() as u64);
                prop_assert_eq!(totals.duration_sum(), mine.iter().map(|e| Duration::from_micros(e.5)).sum::<Duration>());
            }
        }
    }

    #[test]
    fn whoever_reads_in_the_middle_never_sees_more_failures_than_requests() {
        const SETTLES: u64 = 200_000;
        let ledger = Ledger::new(1);
        let series = Series {
            listener: ledger.listener("l"),
            route: ledger.route("r"),
            version: ledger.version("s", "v"),
        };
        std::thread::scope(|scope| {
            let ledger = &ledger;
            scope.spawn(move || {
                let worker = ledger.worker(0);
                for _ in 0..SETTLES {
                    worker.settle(series, &Outcome::answered(503, Duration::from_millis(3)));
                }
            });
            loop {
                let totals = ledger.totals(series.version);
                assert!(
                    totals.failures() <= totals.requests(),
                    "{} of {}",
                    totals.failures(),
                    totals.requests()
                );
                if totals.failures() == SETTLES {
                    break;
                }
            }
        });
    }

    #[test]
    fn gauges_of_several_workers_add_up() {
        let ledger = Ledger::new(2);
        let (listener, version) = (ledger.listener("l"), ledger.version("s", "v"));
        let (a, b) = (ledger.worker(0), ledger.worker(1));
        a.connections(listener, 1);
        a.connections(listener, 1);
        b.connections(listener, 1);
        a.connections(listener, -1);
        b.upstream_connections(version, 1);
        b.fallback(version);
        a.refuse(listener, Reason::Draining);
        let door = &ledger.listeners()[0];
        assert_eq!(
            (door.connections, door.refusals.0[Reason::Draining as usize]),
            (2, 1)
        );
        let totals = ledger.totals(version);
        assert_eq!((totals.connections, totals.fallbacks), (1, 1));
    }

    /// A configuration with one route and one version.
    fn config(route: &str, version: &str) -> Config {
        let second = Duration::from_secs(1);
        let listener = config::Listener {
            name: "l".into(),
            address: ([127, 0, 0, 1], 0).into(),
            profile: config::Profile::Edge,
            http1: true,
            h2c: false,
            h2: false,
            tls: None,
            client_address: config::ClientAddress::default(),
            limits: config::Limits {
                connections: 1,
                connections_per_client: None,
                header_bytes: 1,
                header_count: 1,
                target_bytes: 1,
                body_bytes: None,
                h2_streams: 1,
            },
            timeouts: config::ListenerTimeouts {
                handshake: Duration::ZERO,
                header: second,
                body_idle: second,
                idle: second,
            },
            trusted_headers: Vec::new(),
        };
        let service = config::Service {
            name: "s".into(),
            stable: 0,
            versions: vec![config::Version {
                name: version.into(),
                endpoints: Vec::new(),
                tags: BTreeMap::new(),
            }],
            protocol: config::Protocol::Http1,
            balance: config::Balance::LeastRequest,
            pool: config::Pool {
                max_per_endpoint: NonZeroUsize::MIN,
                idle: second,
                connect: second,
            },
            health: config::Health::default(),
        };
        let respond = config::Respond {
            status: 200,
            body: String::new(),
            content_type: String::new(),
        };
        let route = config::Route {
            name: route.into(),
            matches: config::RouteMatch::default(),
            action: config::Action::Respond(respond),
            request_headers: config::HeaderEdits::default(),
            response_headers: config::HeaderEdits::default(),
        };
        Config {
            rollouts: Vec::new(),
            runtime: config::Runtime {
                state_dir: None,
                workers: None,
                drain: config::Drain {
                    min: second,
                    max: second,
                },
            },
            admin: config::Admin {
                address: ([127, 0, 0, 1], 0).into(),
                probes: None,
                tokens: Vec::new(),
            },
            access_log: None,
            geo: None,
            listeners: vec![listener],
            identity: Vec::new(),
            services: vec![service],
            routes: vec![route],
        }
    }

    #[test]
    fn a_name_that_leaves_the_configuration_leaves_the_page_and_returns_with_its_counts() {
        let ledger = Ledger::new(1);
        let worker = ledger.worker(0);
        let series = || Series {
            listener: ledger.listener("l"),
            route: ledger.route("r"),
            version: ledger.version("s", "v1"),
        };
        let settle = || worker.settle(series(), &Outcome::answered(200, Duration::ZERO));
        let shown = || {
            ledger
                .requests()
                .iter()
                .map(|r| r.count)
                .collect::<Vec<_>>()
        };

        settle();
        ledger.retain(&config("r", "v1"));
        assert_eq!(shown(), [1]);
        ledger.retain(&config("r", "v2"));
        assert_eq!((shown(), ledger.versions().len()), (vec![], 0));
        ledger.retain(&config("other", "v1"));
        assert!(shown().is_empty());
        assert_eq!(
            ledger.versions()[0].2.requests(),
            1,
            "a route that leaves takes nothing from its version"
        );
        settle();
        assert_eq!(shown(), [2]);
    }

    #[test]
    fn a_worker_that_starts_again_counts_on_where_the_last_one_stopped() {
        let ledger = Ledger::new(1);
        let series = Series {
            listener: ledger.listener("l"),
            route: RouteId::NONE,
            version: ledger.version("s", "v"),
        };
        for _ in 0..2 {
            let worker = ledger.worker(0);
            worker.settle(series, &Outcome::answered(200, Duration::ZERO));
        }
        assert_eq!(ledger.requests()[0].count, 2);
        assert_eq!(ledger.totals(series.version).requests(), 2);
    }

    #[test]
    #[should_panic(expected = "each worker takes its ledger once")]
    fn a_worker_ledger_has_one_holder() {
        let ledger = Ledger::new(1);
        let _held = ledger.worker(0);
        let _ = ledger.worker(0);
    }

    #[test]
    fn ten_thousand_strange_statuses_make_no_more_series_than_there_are_statuses() {
        let ledger = Ledger::new(1);
        let series = Series {
            listener: ledger.listener("l"),
            route: RouteId::NONE,
            version: VersionId::NONE,
        };
        let worker = ledger.worker(0);
        for status in 0..10_000 {
            worker.settle(series, &Outcome::answered(status, Duration::ZERO));
        }
        let requests = ledger.requests();
        assert_eq!(requests.len(), 900);
        assert_eq!(requests.iter().map(|r| r.count).sum::<u64>(), 10_000);
    }
}
