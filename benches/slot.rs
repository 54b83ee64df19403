//! What a slot costs, by the length of the key.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::route::slot::{Salt, slot};
use tidegate::route::split::Bounds;
use tidegate_config::Share;

fn slots(criterion: &mut Criterion) {
    let salt = Salt::new("app.everyone");
    let mut group = criterion.benchmark_group("slot");
    for length in [8, 36, 256, 1024] {
        let key = "k".repeat(length);
        group.bench_function(BenchmarkId::new("bytes", length), |b| {
            b.iter(|| slot(black_box(key.as_bytes()), salt))
        });
    }
    let weights = [80_000, 10_000, 10_000].map(|parts| Share::from_parts(parts).expect("a share"));
    let bounds = Bounds::new(&weights, 0);
    group.bench_function("version", |b| b.iter(|| bounds.version(black_box(50_000))));
    group.finish();
}

criterion_group!(benches, slots);
criterion_main!(benches);
