//! What it costs to count one exchange: alone, beside a second worker that counts the same version as fast as it can,
//! and while control reads the totals.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::record::{Ledger, Outcome, Series};

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

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = settle
}
criterion_main!(benches);
