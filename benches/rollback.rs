//! How long a broken candidate keeps users, measured from outside: the real binary, real backends, 1 000 requests a second of
//! 10 000 users, 5 % of them on the candidate, which fails every request from one moment on.
//!
//!     cargo bench --bench rollback                       50 runs without fallback, 10 with
//!     cargo bench --bench rollback -- --runs 10          another number of runs
//!
//! Told are the time from the candidate's first bad answer to the last request that it was sent, the time until the API said
//! `rolled_back`, how many distinct users met a bad answer, and how many errors users saw.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the harness is that of the tests"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{Backend, Mood, Proxy, Site, Steady, Tells};

const RATE: usize = 1000;
const CONNECTIONS: usize = 16;
/// Before the break.
const QUIET: usize = 1000;
/// The longest that one run waits for a rollback.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one run showed.
struct Run {
    last_request: Duration,
    told: Duration,
    hit: usize,
    errors: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if !words.iter().any(|word| word == "--bench") {
        return; // `cargo test` calls every bench once
    }
    let runs: usize = words
        .iter()
        .position(|word| word == "--runs")
        .and_then(|at| words.get(at + 1)?.parse().ok())
        .unwrap_or(50);
    report(
        "without fallback",
        &(0..runs).map(|_| run("")).collect::<Vec<_>>(),
    );
    report(
        "fallback: stable",
        &(0..runs.div_ceil(5))
            .map(|_| run("fallback: stable, "))
            .collect::<Vec<_>>(),
    );
}

fn run(more: &str) -> Run {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .rules("[{ name: everyone, rollout: shop-v2 }]")
        .with(
            "rollouts",
            &format!(
                "[{{ name: shop-v2, service: app, candidate: v2, by: user, {more}stages: [{{ weight: 5%, hold: 10m }}], \
                 guard: {{ error_rate: {{ above: 5%, window: 30s, min_requests: 50 }} }} }}]"
            ),
        );
    let proxy = Proxy::start(&site);
    let load = Steady::new(RATE, CONNECTIONS).start(proxy.address("in"));
    load.reaches(QUIET);
    v2.turn(Mood::Fails(500));
    let begin = Instant::now();
    let told = loop {
        let seen = proxy.ask("GET", "/api/v1/rollouts/shop-v2", "").json();
        if seen["phase"] == "rolled_back" {
            break Instant::now();
        }
        assert!(begin.elapsed() < PATIENCE, "no rollback: {seen}");
        std::thread::sleep(Duration::from_millis(1));
    };
    std::thread::sleep(Duration::from_millis(200));
    let records = load.finish();
    let answered = v2.answered();
    let first = answered.first_bad.expect("it failed");
    let hit = answered.users_hit.len();
    // With a fallback the caller does not see who failed: the moment that was told is the bound.
    let last = records
        .iter()
        .filter(|record| !record.is_good())
        .map(|record| record.sent)
        .max()
        .unwrap_or(told);
    Run {
        last_request: last.saturating_duration_since(first),
        told: told.saturating_duration_since(first),
        hit,
        errors: records.errors(),
    }
}

fn report(what: &str, runs: &[Run]) {
    let count = runs.len();
    let at =
        |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let row = |name: &str, unit: &str, of: &dyn Fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        println!(
            "  {name:<44} {:>8.1} {:>8.1} {:>8.1} {unit}",
            at(&values, 0.5),
            at(&values, 0.95),
            at(&values, 1.0)
        );
    };
    println!("{what}, {count} runs                                    p50      p95      max");
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    row(
        "first failure to the candidate's last request",
        "ms",
        &|run| millis(run.last_request),
    );
    row("first failure to `rolled_back` in the API", "ms", &|run| {
        millis(run.told)
    });
    row("users who met a failing candidate", "", &|run| {
        run.hit as f64
    });
    row("errors that users saw", "", &|run| run.errors as f64);
}
