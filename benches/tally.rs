//! What it costs to count one exchange: alone, beside a second worker that counts the same version as fast as it can,
//! and while control reads the totals; and what a rollout adds.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::record::{Arm, Assignment, Ended, Ledger, Measure, Outcome, Series, VersionId};
use tidegate_config::Share;
use tidegate_config::plan::{Failures, Guard};

/// Two services of two versions behind four routes, answered with three statuses: what a small gateway counts.
fn exchanges(ledger: &Ledger) -> Vec<(Series, Outcome)> {
    let listener = ledger.listener("edge");
    let mut exchanges = Vec::new();
    for (i, status) in (0..64u64).zip([200, 200, 304, 404].into_iter().cycle()) {
        let route = ledger.route(&format!("route-{}", i % 4));
        let version = ledger.version(
            &format!("service-{}", i % 2),
            if i % 10 == 0 { "v2" } else { "v1" },
        );
        let outcome = Outcome::answered(status, Duration::from_micros(300 + 977 * i));
        exchanges.push((
            Series {
                listener,
                route,
                version,
            },
            outcome,
        ));
    }
    exchanges
}

/// Measures settles of worker 0 while another thread does `meanwhile` again and again.
fn measure(c: &mut Criterion, name: &str, meanwhile: Option<fn(&Arc<Ledger>)>) {
    let ledger = Ledger::new(2);
    let exchanges = exchanges(&ledger);
    let stop = Arc::new(AtomicBool::new(false));
    let other = meanwhile.map(|work| {
        let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work(&ledger);
            }
        })
    });
    let worker = ledger.worker(0);
    let mut next = exchanges.iter().cycle();
    c.bench_function(name, |b| {
        b.iter(|| {
            let (series, outcome) = next.next().expect("a cycle has no end");
            worker.settle(black_box(*series), black_box(outcome));
        });
    });
    stop.store(true, Ordering::Relaxed);
    if let Some(other) = other {
        other.join().expect("the other thread only counts");
    }
}

fn settle(c: &mut Criterion) {
    measure(c, "settle/1 worker", None);
    measure(
        c,
        "settle/2 workers",
        Some(|ledger| {
            let worker = ledger.worker(1);
            for (series, outcome) in exchanges(ledger).iter().cycle().take(1_000_000) {
                worker.settle(*series, outcome);
            }
        }),
    );
    measure(
        c,
        "settle/while control reads",
        Some(|ledger| {
            black_box(ledger.totals(ledger.version("service-0", "v1")));
        }),
    );
}

/// What a success of a rollout's request costs beside that.
fn weigh(c: &mut Criterion) {
    let ledger = Ledger::new(1);
    let rollout = ledger.rollout("shop-v2");
    let guard = Guard {
        failures: Failures::default(),
        error_rate: None,
        latency: None,
        consecutive_failures: None,
        compare: None,
        metrics: Vec::new(),
    };
    let measure = Measure::new(&guard, ledger.slow_bound(rollout));
    ledger.slow_bound(rollout).set(Some(Duration::from_secs(1)));
    let worker = ledger.worker(0);
    let assignments: Vec<_> = (0..64u64)
        .map(|i| Assignment {
            rollout,
            attempt: 1,
            revision: 1,
            arm: if i % 10 == 0 {
                Arm::Candidate
            } else {
                Arm::Stable
            },
            version: VersionId::NONE,
            unit: (i % 2 == 0).then_some(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            slot: 0,
            candidate: Share::FIFTH,
            stable: Share::HALF,
            cohorts: 0,
        })
        .collect();
    let ended = Ended {
        outcome: Outcome::answered(200, Duration::from_micros(777)),
        grpc: None,
        fallback: false,
    };
    let mut next = assignments.iter().cycle();
    c.bench_function("weigh/a success", |b| {
        b.iter(|| {
            let assignment = next.next().expect("a cycle has no end");
            worker.weigh(black_box(assignment), &measure, black_box(&ended));
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = settle, weigh
}
criterion_main!(benches);
