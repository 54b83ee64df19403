//! The page that Prometheus reads: every metric's name, meaning and labels, and nothing on the request path.
//!
//! A scrape adds up the workers' cells and publishes the sums through the `metrics` facade. Labels are names of the
//! configuration, statuses and words of closed sets: what a caller sends never becomes a label.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "written at an edit and at a health check, read at a scrape"
)]
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::record::process::ProcessFacts;
use crate::record::{
    BOUNDS, CertificateEnd, EndpointHealth, FailureKind, Handshake, Ledger, Reason, RolloutState,
    Totals,
};
use crate::transport::fault::Fault;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric as the page announces it.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
    labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $unit:ident [$($label:literal),*] $help:literal;)*) => {
        $(const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help, labels: &[$($label),*],
        };)*
        /// Every metric there is.
        const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    REQUESTS = Counter "tidegate_requests_total" Count ["listener", "route", "service", "version", "code"]
        "Requests that have ended, by what the client saw; 499 is a client that went away.";
    DURATION = Histogram "tidegate_request_duration_seconds" Seconds ["service", "version"]
        "From a request's head to the end of its answer.";
    FAILURES = Counter "tidegate_failures_total" Count ["service", "version", "kind"]
        "Requests that failed by the fault of the version they were sent to.";
    UPSTREAM_HANDSHAKES = Counter "tidegate_upstream_handshake_failures_total" Count ["service", "version", "reason"]
        "TLS handshakes with endpoints that failed; the requests count as connect failures.";
    FALLBACKS = Counter "tidegate_fallbacks_total" Count ["service", "version"]
        "Requests of this version that another version answered in its place.";
    CONNECTIONS = Gauge "tidegate_connections" Count ["listener"]
        "Open connections of clients.";
    UPSTREAM = Gauge "tidegate_upstream_connections" Count ["service", "version"]
        "Open connections to endpoints.";
    REFUSALS = Counter "tidegate_refusals_total" Count ["listener", "reason"]
        "Requests and connections that the proxy turned away itself.";
    HANDSHAKES = Counter "tidegate_tls_handshakes_total" Count ["listener", "result", "version"]
        "TLS handshakes of clients that have ended, by how.";
    CERTIFICATE_END = Gauge "tidegate_tls_certificate_not_after_timestamp_seconds" Seconds ["listener", "certificate"]
        "When a certificate ends that clients are shown, in Unix time.";
    HEALTHY = Gauge "tidegate_endpoint_healthy" Count ["service", "version", "endpoint"]
        "1 where an endpoint receives requests, 0 where health checks keep it from them.";
    ROLLOUT_WEIGHT = Gauge "tidegate_rollout_weight" Count ["rollout"]
        "The candidate's share of users, in percent.";
    ROLLOUT_PHASE = Gauge "tidegate_rollout_phase" Count ["rollout", "phase"]
        "1 for the phase that a rollout is in, 0 for the others.";
    ROLLOUT_EVIDENCE = Gauge "tidegate_rollout_evidence" Count ["rollout", "metric"]
        "How far the evidence against the candidate has come: 0 at the start, it acts at 1.";
    ROLLBACKS = Counter "tidegate_rollbacks_total" Count ["rollout", "reason"]
        "Rollouts that went back, by what sent them.";
    REVISION = Gauge "tidegate_config_revision" Count []
        "The revision of the configuration in force.";
    RELOADS = Counter "tidegate_config_reloads_total" Count []
        "Edits that came into force.";
    REJECTED = Counter "tidegate_config_rejected_total" Count []
        "Edits that were rejected and changed nothing.";
    AGE = Gauge "tidegate_config_age_seconds" Seconds []
        "How long the configuration has been in force.";
    INCIDENTS_DROPPED = Counter "tidegate_incidents_dropped_total" Count []
        "Failures and slow requests of rollouts that the judge could not be told of: too many waited. They are counted all the same.";
    LOG_DROPPED = Counter "tidegate_access_log_dropped_total" Count []
        "Access-log lines that were lost because they could not be written in time.";
    CPU = Counter "process_cpu_seconds_total" Seconds []
        "Processor time that the process has used.";
    RESIDENT = Gauge "process_resident_memory_bytes" Bytes []
        "Memory in use.";
    VIRTUAL = Gauge "process_virtual_memory_bytes" Bytes []
        "Address space in use.";
    OPEN_FDS = Gauge "process_open_fds" Count []
        "Open file descriptors.";
    MAX_FDS = Gauge "process_max_fds" Count []
        "File descriptors that may be open.";
    STARTED = Gauge "process_start_time_seconds" Seconds []
        "When the process started, in Unix time.";
    THREADS = Gauge "process_threads" Count []
        "Threads.";
}

/// Counts of rollbacks that are kept for rollouts that have left the file, in case they come back.
const ROLLBACKS_MAX: usize = 10_000;

/// Every phase of a rollout, so that a page can say which ones it is not in.
pub const PHASES: [&str; 9] = [
    "pending",
    "waiting",
    "ramping",
    "holding",
    "paused",
    "baking",
    "succeeded",
    "rolled_back",
    "superseded",
];

/// The metrics of one process. Control tells it what only control knows, the rest it reads from the [`Ledger`].
#[derive(Debug)]
pub struct Metrics {
    ledger: Arc<Ledger>,
    log_dropped: Arc<AtomicU64>,
    rejected: AtomicU64,
    #[expect(
        clippy::disallowed_types,
        reason = "written at an edit and at a health check, read at a scrape"
    )]
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    revision: u64,
    reloads: u64,
    since: Instant,
    endpoints: Vec<EndpointHealth>,
    certificates: Vec<CertificateEnd>,
    rollouts: Vec<RolloutState>,
    rollbacks: BTreeMap<(String, &'static str), u64>,
}

impl Metrics {
    /// Metrics of what this ledger counts, for a process whose first configuration is coming into force as `revision`.
    #[must_use]
    #[expect(
        clippy::disallowed_types,
        reason = "written at an edit and at a health check, read at a scrape"
    )]
    pub fn new(ledger: Arc<Ledger>, revision: u64) -> Self {
        let told = Told {
            revision,
            reloads: 0,
            since: Instant::now(),
            endpoints: Vec::new(),
            certificates: Vec::new(),
            rollouts: Vec::new(),
            rollbacks: BTreeMap::new(),
        };
        Self {
            ledger,
            log_dropped: Arc::default(),
            rejected: AtomicU64::new(0),
            told: Mutex::new(told),
        }
    }

    /// Where the access log counts the lines that it loses.
    #[must_use]
    pub fn log_dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.log_dropped)
    }

    /// An edit came into force.
    pub fn reloaded(&self, revision: u64) {
        self.told(|told| {
            told.revision = revision;
            told.reloads += 1;
            told.since = Instant::now();
        });
    }

    /// An edit was rejected.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Every endpoint there is. The ones told before and not now are gone from the page.
    pub fn endpoints(&self, endpoints: Vec<EndpointHealth>) {
        self.told(|told| told.endpoints = endpoints);
    }

    /// Every certificate that clients are shown. The ones told before and not now are gone from the page.
    pub fn certificates(&self, certificates: Vec<CertificateEnd>) {
        self.told(|told| told.certificates = certificates);
    }

    /// Every rollout there is. The ones told before and not now are gone from the page.
    pub fn rollouts(&self, rollouts: Vec<RolloutState>) {
        self.told(|told| told.rollouts = rollouts);
    }

    /// A rollout went back; `reason` is one of a closed set of words.
    pub fn rolled_back(&self, rollout: &str, reason: &'static str) {
        self.told(|told| {
            if told.rollbacks.len() >= ROLLBACKS_MAX {
                let shown: HashSet<_> = told.rollouts.iter().map(|at| &at.rollout).collect();
                told.rollbacks.retain(|(name, _), _| shown.contains(name));
            }
            *told
                .rollbacks
                .entry((rollout.to_owned(), reason))
                .or_default() += 1;
        });
    }

    /// The page, in Prometheus' text format, sorted so that two pages can be compared by eye.
    #[must_use]
    pub fn render(&self) -> String {
        let page = Page::new();
        self.publish_traffic(&page);
        self.publish_told(&page);
        let process = ProcessFacts::read();
        publish_process(&page, &process);

        let mut text = page.sorted();
        durations(&mut text, &self.ledger.versions());
        if let Some(seconds) = process.cpu_seconds {
            announce(&mut text, &CPU);
            line(&mut text, CPU.name, &[], seconds);
        }
        text
    }

    fn publish_traffic(&self, page: &Page) {
        for row in self.ledger.requests() {
            let code = row.status.to_string();
            page.counter(
                &REQUESTS,
                &[&row.listener, &row.route, &row.service, &row.version, &code],
                row.count,
            );
        }
        for (service, version, totals) in self.ledger.versions() {
            for kind in FailureKind::ALL {
                let failures = totals.failures_of(kind);
                if failures > 0 {
                    page.counter(&FAILURES, &[&service, &version, kind.as_str()], failures);
                }
            }
            for (reason, count) in Fault::WORDS.into_iter().zip(totals.handshakes) {
                if count > 0 {
                    page.counter(&UPSTREAM_HANDSHAKES, &[&service, &version, reason], count);
                }
            }
            page.counter(&FALLBACKS, &[&service, &version], totals.fallbacks);
            page.gauge(&UPSTREAM, &[&service, &version], totals.connections as f64);
        }
        for row in self.ledger.listeners() {
            page.gauge(&CONNECTIONS, &[&row.listener], row.connections as f64);
            for reason in Reason::all() {
                let refusals = row.refusals.0[reason as usize];
                if refusals > 0 {
                    page.counter(&REFUSALS, &[&row.listener, reason.as_str()], refusals);
                }
            }
            for how in Handshake::ALL {
                let count = row.handshakes.0[how as usize];
                if count > 0 {
                    let (result, version) = how.labels();
                    page.counter(&HANDSHAKES, &[&row.listener, result, version], count);
                }
            }
        }
    }

    fn publish_told(&self, page: &Page) {
        self.told(|told| {
            page.gauge(&REVISION, &[], told.revision as f64);
            page.counter(&RELOADS, &[], told.reloads);
            page.gauge(&AGE, &[], told.since.elapsed().as_secs_f64());
            for at in &told.endpoints {
                page.gauge(
                    &HEALTHY,
                    &[&at.service, &at.version, &at.endpoint],
                    f64::from(u8::from(at.healthy)),
                );
            }
            for at in &told.certificates {
                page.gauge(
                    &CERTIFICATE_END,
                    &[&at.listener, &at.certificate],
                    at.not_after as f64,
                );
            }
            publish_rollouts(page, told);
        });
        page.counter(&REJECTED, &[], self.rejected.load(Ordering::Relaxed));
        page.counter(&INCIDENTS_DROPPED, &[], self.ledger.dropped_incidents());
        page.counter(&LOG_DROPPED, &[], self.log_dropped.load(Ordering::Relaxed));
    }

    fn told<T>(&self, with: impl FnOnce(&mut Told) -> T) -> T {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn publish_rollouts(page: &Page, told: &Told) {
    for at in &told.rollouts {
        page.gauge(&ROLLOUT_WEIGHT, &[&at.rollout], at.weight);
        for phase in PHASES {
            let is = f64::from(u8::from(phase == at.phase));
            page.gauge(&ROLLOUT_PHASE, &[&at.rollout, phase], is);
        }
        for (metric, progress) in &at.evidence {
            page.gauge(&ROLLOUT_EVIDENCE, &[&at.rollout, metric], *progress);
        }
    }
    let shown = |name: &str| told.rollouts.iter().any(|at| at.rollout == name);
    for ((rollout, reason), count) in told.rollbacks.iter().filter(|((name, _), _)| shown(name)) {
        page.counter(&ROLLBACKS, &[rollout, reason], *count);
    }
}

fn publish_process(page: &Page, facts: &ProcessFacts) {
    let whole = |n: Option<u64>| n.map(|n| n as f64);
    for (metric, value) in [
        (&RESIDENT, whole(facts.resident_bytes)),
        (&VIRTUAL, whole(facts.virtual_bytes)),
        (&OPEN_FDS, whole(facts.open_fds)),
        (&MAX_FDS, whole(facts.max_fds)),
        (&STARTED, facts.start_seconds),
        (&THREADS, whole(facts.threads)),
    ] {
        if let Some(value) = value {
            page.gauge(metric, &[], value);
        }
    }
}

/// One scrape. The recorder is made anew for each: it cannot forget a series, and a version that has left the
/// configuration should leave the page.
struct Page(PrometheusRecorder);

static METADATA: Metadata<'static> = Metadata::new("tidegate", Level::INFO, None);

impl Page {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            let (name, help) = (
                KeyName::from_const_str(metric.name),
                SharedString::const_str(metric.help),
            );
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, Some(metric.unit), help),
                Kind::Gauge => recorder.describe_gauge(name, Some(metric.unit), help),
                Kind::Histogram => recorder.describe_histogram(name, Some(metric.unit), help),
            }
        }
        Self(recorder)
    }

    /// Added, not set: a name that happens to be written like the word for "other" must not hide its counts.
    fn counter(&self, metric: &Metric, values: &[&str], value: u64) {
        self.0
            .register_counter(&key(metric, values), &METADATA)
            .increment(value);
    }

    fn gauge(&self, metric: &Metric, values: &[&str], value: f64) {
        self.0
            .register_gauge(&key(metric, values), &METADATA)
            .set(value);
    }

    /// The text, metric by metric in the order of names.
    fn sorted(&self) -> String {
        let text = self.0.handle().render();
        let mut blocks: Vec<_> = text
            .split("\n\n")
            .map(str::trim)
            .filter(|block| !block.is_empty())
            .collect();
        blocks.sort_unstable();
        let mut sorted = String::with_capacity(text.len());
        for block in blocks {
            let (mut head, mut series): (Vec<_>, Vec<_>) =
                block.lines().partition(|line| line.starts_with('#'));
            series.sort_unstable();
            head.append(&mut series);
            for line in head {
                sorted.push_str(line);
                sorted.push('\n');
            }
            sorted.push('\n');
        }
        sorted
    }
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    // The exporter takes a doubled backslash for one that is escaped already, so each is doubled here.
    let label =
        |(name, value): (&&'static str, &&str)| Label::new(*name, value.replace('\\', r"\\"));
    Key::from_parts(
        metric.name,
        metric
            .labels
            .iter()
            .zip(values)
            .map(label)
            .collect::<Vec<_>>(),
    )
}

/// The histogram, written here because the exporter takes single observations only, not buckets that are counted.
fn durations(text: &mut String, versions: &[(String, String, Totals)]) {
    if versions.is_empty() {
        return;
    }
    announce(text, &DURATION);
    let [bucket, sum, count] =
        ["bucket", "sum", "count"].map(|part| format!("{}_{part}", DURATION.name));
    for (service, version, totals) in versions {
        let labels = [("service", service.as_str()), ("version", version.as_str())];
        let mut below = 0;
        for ((_, le), counted) in BOUNDS.iter().zip(totals.durations()) {
            below += counted;
            line(text, &bucket, &[labels[0], labels[1], ("le", le)], below);
        }
        line(
            text,
            &bucket,
            &[labels[0], labels[1], ("le", "+Inf")],
            totals.requests(),
        );
        line(text, &sum, &labels, totals.duration_sum().as_secs_f64());
        line(text, &count, &labels, totals.requests());
    }
    text.push('\n');
}

fn announce(text: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let (name, help) = (metric.name, metric.help);
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    text.push_str(name);
    for (i, (label, value)) in labels.iter().enumerate() {
        let value = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(
            text,
            "{}{label}=\"{value}\"",
            if i == 0 { '{' } else { ',' }
        );
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::record::{Outcome, Series};

    /// A ledger where everything has happened once.
    fn busy(names: [&str; 4]) -> Metrics {
        let [listener, route, service, version] = names;
        let ledger = Ledger::new(1);
        let series = Series {
            listener: ledger.listener(listener),
            route: ledger.route(route),
            version: ledger.version(service, version),
        };
        let worker = ledger.worker(0);
        for kind in FailureKind::ALL {
            let failure = Some(kind.failure());
            worker.settle(
                series,
                &Outcome {
                    status: 502,
                    failure,
                    duration: Duration::from_millis(3),
                },
            );
        }
        for reason in Reason::all() {
            worker.refuse(series.listener, reason);
        }
        worker.connections(series.listener, 1);
        worker.upstream_connections(series.version, 2);
        worker.handshake_failed(series.version, &Fault::Authority);
        worker.shook(series.listener, Handshake::Full13);
        worker.fallback(series.version);
        let metrics = Metrics::new(ledger, 1);
        metrics.reloaded(2);
        metrics.rejected();
        metrics.rollouts(vec![RolloutState {
            rollout: route.to_owned(),
            weight: 12.5,
            phase: "holding",
            evidence: vec![("errors".to_owned(), 0.25)],
        }]);
        metrics.rolled_back(route, "error_rate");
        metrics.certificates(vec![CertificateEnd {
            listener: listener.into(),
            certificate: route.into(),
            not_after: 1,
        }]);
        metrics.endpoints(vec![EndpointHealth {
            service: service.into(),
            version: version.into(),
            endpoint: "[::1]:80".into(),
            healthy: true,
        }]);
        metrics
    }

    fn types(text: &str) -> BTreeMap<&str, &str> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' '))
            .collect()
    }

    #[test]
    fn the_page_has_the_metrics_of_the_contract_with_their_labels_and_no_others() {
        let text = busy(["edge", "shop", "checkout", "v2"]).render();
        let expected = [
            ("process_cpu_seconds_total", "counter"),
            ("process_max_fds", "gauge"),
            ("process_open_fds", "gauge"),
            ("process_resident_memory_bytes", "gauge"),
            ("process_start_time_seconds", "gauge"),
            ("process_threads", "gauge"),
            ("process_virtual_memory_bytes", "gauge"),
            ("tidegate_access_log_dropped_total", "counter"),
            ("tidegate_config_age_seconds", "gauge"),
            ("tidegate_config_rejected_total", "counter"),
            ("tidegate_config_reloads_total", "counter"),
            ("tidegate_config_revision", "gauge"),
            ("tidegate_connections", "gauge"),
            ("tidegate_endpoint_healthy", "gauge"),
            ("tidegate_failures_total", "counter"),
            ("tidegate_fallbacks_total", "counter"),
            ("tidegate_incidents_dropped_total", "counter"),
            ("tidegate_refusals_total", "counter"),
            ("tidegate_request_duration_seconds", "histogram"),
            ("tidegate_requests_total", "counter"),
            ("tidegate_rollbacks_total", "counter"),
            ("tidegate_rollout_evidence", "gauge"),
            ("tidegate_rollout_phase", "gauge"),
            ("tidegate_rollout_weight", "gauge"),
            (
                "tidegate_tls_certificate_not_after_timestamp_seconds",
                "gauge",
            ),
            ("tidegate_tls_handshakes_total", "counter"),
            ("tidegate_upstream_connections", "gauge"),
            ("tidegate_upstream_handshake_failures_total", "counter"),
        ];
        assert_eq!(types(&text), BTreeMap::from(expected));
        for line in [
            r#"tidegate_requests_total{listener="edge",route="shop",service="checkout",version="v2",code="502"} 15"#,
            r#"tidegate_failures_total{service="checkout",version="v2",kind="connect_timeout"} 1"#,
            r#"tidegate_fallbacks_total{service="checkout",version="v2"} 1"#,
            r#"tidegate_upstream_handshake_failures_total{service="checkout",version="v2",reason="authority"} 1"#,
            r#"tidegate_connections{listener="edge"} 1"#,
            r#"tidegate_upstream_connections{service="checkout",version="v2"} 2"#,
            r#"tidegate_refusals_total{listener="edge",reason="no_route"} 1"#,
            r#"tidegate_endpoint_healthy{service="checkout",version="v2",endpoint="[::1]:80"} 1"#,
            r#"tidegate_request_duration_seconds_bucket{service="checkout",version="v2",le="0.0025"} 0"#,
            r#"tidegate_request_duration_seconds_bucket{service="checkout",version="v2",le="0.005"} 15"#,
            r#"tidegate_request_duration_seconds_bucket{service="checkout",version="v2",le="+Inf"} 15"#,
            r#"tidegate_request_duration_seconds_sum{service="checkout",version="v2"} 0.045"#,
            r#"tidegate_request_duration_seconds_count{service="checkout",version="v2"} 15"#,
            r#"tidegate_rollout_weight{rollout="shop"} 12.5"#,
            r#"tidegate_rollout_phase{rollout="shop",phase="holding"} 1"#,
            r#"tidegate_rollout_phase{rollout="shop",phase="rolled_back"} 0"#,
            r#"tidegate_rollout_evidence{rollout="shop",metric="errors"} 0.25"#,
            r#"tidegate_rollbacks_total{rollout="shop",reason="error_rate"} 1"#,
            "tidegate_config_revision 2",
            "tidegate_config_reloads_total 1",
            "tidegate_config_rejected_total 1",
            "tidegate_incidents_dropped_total 0",
            "tidegate_access_log_dropped_total 0",
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "the page should have\n{line}\nbut is\n{text}"
            );
        }
    }

    #[test]
    fn every_metric_is_told_once_with_its_meaning() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        let text = busy(["l", "r", "s", "v"]).render();
        for metric in ALL {
            let help = format!("# HELP {} {}", metric.name, metric.help);
            assert_eq!(
                text.lines().filter(|line| **line == help).count(),
                1,
                "{help}\n{text}"
            );
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_label() {
        for name in [
            "a\"} 1\nevil_total{x=\"",
            "back\\slash",
            "two\\\\",
            "line\nbreak",
            "end\\",
            "\\\"",
            "\\n",
        ] {
            let text = busy([name, name, name, name]).render();
            let escaped = name
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let label = format!("service=\"{escaped}\",version=\"{escaped}\"");
            for metric in [
                "tidegate_requests_total",
                "tidegate_fallbacks_total",
                "tidegate_request_duration_seconds_sum",
            ] {
                let hit = text
                    .lines()
                    .any(|line| line.starts_with(metric) && line.contains(&label));
                assert!(hit, "{metric} of {name:?} should hold {label}:\n{text}");
            }
            assert!(!types(&text).contains_key("evil_total"));
            assert!(text.lines().all(|line| !line.starts_with("evil")));
        }
    }

    #[test]
    fn a_version_without_requests_is_on_the_page_with_zeros() {
        let ledger = Ledger::new(1);
        ledger.version("checkout", "v2");
        ledger.listener("edge");
        let text = Metrics::new(ledger, 1).render();
        assert!(
            text.contains(
                r#"tidegate_request_duration_seconds_count{service="checkout",version="v2"} 0"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"tidegate_connections{listener="edge"} 0"#),
            "{text}"
        );
    }

    #[test]
    fn endpoints_that_are_no_longer_told_leave_the_page() {
        let metrics = busy(["l", "r", "s", "v"]);
        metrics.endpoints(Vec::new());
        assert!(!metrics.render().contains("tidegate_endpoint_healthy{"));
    }
}
