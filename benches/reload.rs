//! What an edit costs, by the size of the file: reading and checking it, compiling it into a snapshot beside the one in
//! force, publishing that, and taking it in on a worker. And what reading through a worker's window costs while edits
//! come as fast as they can.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::control::compile::compile;
use tidegate::record::Ledger;
use tidegate::snapshot::{Live, Snapshot, Viewer};
use tidegate::upstream::Pools;
use tidegate_config::Config;

/// Routes of a file, each with two rules, and as many endpoints.
const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// Endpoints of one version; ten thousand behind one name is nobody's file.
const ENDPOINTS: usize = 10;

/// A file of so many routes, and endpoints in versions of [`ENDPOINTS`].
fn file(size: usize, weight: u32) -> String {
    let mut text = String::from(
        "version: 1\nlisteners: [{ name: in, address: 127.0.0.1:8080, trusted_headers: [x-user-id] }]\n\
         identity: { user: [{ header: x-user-id }] }\nservices:\n",
    );
    let services = size.div_ceil(2 * ENDPOINTS);
    for service in 0..services {
        let endpoints = |version: usize| {
            let all = (0..ENDPOINTS).map(|n| {
                format!(
                    "\"10.{version}.{}.{}:{}\"",
                    service / 250,
                    service % 250,
                    3000 + n
                )
            });
            all.collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            text,
            "  - {{ name: s{service}, stable: v1, versions: [{{ name: v1, endpoints: [{}] }}, {{ name: v2, endpoints: [{}] }}] }}",
            endpoints(1),
            endpoints(2),
        );
    }
    text.push_str("routes:\n");
    for route in 0..size {
        let _ = writeln!(
            text,
            "  - {{ name: r{route}, match: {{ path: {{ prefix: /area/{route} }} }}, service: s{}, rules: [\
             {{ name: testers, when: {{ header: {{ name: x-beta, exact: \"{route}\" }} }}, to: v2 }}, \
             {{ name: everyone, split: {{ by: user, weights: {{ v2: {weight}%, v1: {}% }} }} }}] }}",
            route % services,
            100 - weight,
        );
    }
    text
}

fn checked(text: &str) -> Arc<Config> {
    let loaded = tidegate_config::parse(text.as_bytes(), "tidegate.yaml", Path::new("."));
    Arc::new(loaded.config.expect("the bench's own file is right"))
}

fn snapshot(config: &Arc<Config>, old: Option<&Snapshot>, ledger: &Ledger) -> Snapshot {
    compile(
        config.clone(),
        None,
        old.map_or(1, |old| old.revision + 1),
        old,
        ledger,
    )
}

fn edits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reload");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let texts = [file(size, 10), file(size, 25)];
        let configs = [checked(&texts[0]), checked(&texts[1])];
        let ledger = Ledger::new(1);
        let live = Live::new(snapshot(&configs[0], None, &ledger));
        let viewer = Viewer::new(&live, Rc::new(Pools::new(ledger.worker(0))));
        let mut turn = 0;
        let mut next = || {
            turn ^= 1;
            snapshot(&configs[turn], Some(&live.current()), &ledger)
        };

        group.bench_function(BenchmarkId::new("check", size), |b| {
            b.iter(|| checked(black_box(&texts[1])));
        });
        group.bench_function(BenchmarkId::new("compile", size), |b| b.iter(&mut next));
        group.bench_function(BenchmarkId::new("compile and publish", size), |b| {
            b.iter(|| live.publish(next()));
        });
        group.bench_function(BenchmarkId::new("take in on a worker", size), |b| {
            b.iter_custom(|times| {
                let mut all = Duration::ZERO;
                for _ in 0..times {
                    live.publish(next());
                    let from = std::time::Instant::now();
                    black_box(viewer.view());
                    all += from.elapsed();
                }
                all
            });
        });
    }
    group.finish();
}

/// A worker's window is asked once a request.
fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("view");
    for edited in [false, true] {
        let config = checked(&file(1_000, 10));
        let ledger = Ledger::new(1);
        let live = Live::new(snapshot(&config, None, &ledger));
        let stop = Arc::new(AtomicBool::new(false));
        let editor = edited.then(|| {
            let (live, stop, config) = (live.clone(), stop.clone(), config.clone());
            std::thread::spawn(move || {
                let ledger = Ledger::new(1);
                while !stop.load(Ordering::Relaxed) {
                    live.publish(snapshot(&config, Some(&live.current()), &ledger));
                }
            })
        });
        let viewer = Viewer::new(&live, Rc::new(Pools::new(ledger.worker(0))));
        let name = if edited {
            "while edits come"
        } else {
            "nothing changes"
        };
        group.bench_function(name, |b| b.iter(|| black_box(viewer.view())));
        stop.store(true, Ordering::Relaxed);
        if let Some(editor) = editor {
            editor.join().expect("the editor only publishes");
        }
    }
    group.finish();
}

criterion_group!(benches, edits, reads);
criterion_main!(benches);
