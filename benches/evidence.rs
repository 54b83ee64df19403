//! The evidence's tables, measured: what a break costs, how seldom a harmless candidate is rolled back, and what an event
//! costs the judge.
//!
//!     cargo bench --bench evidence                       everything, some minutes
//!     cargo bench --bench evidence -- harmless           10 000 rollouts of a harmless candidate
//!     cargo bench --bench evidence -- sudden moderate exhaustion better slow traffic cost
//!     cargo bench --bench evidence -- --runs 100         another number of runs

#![allow(clippy::print_stdout, reason = "a bench prints its tables")]

#[path = "../tests/evidence/world.rs"]
#[allow(unreachable_pub, reason = "it is a file of the tests too")]
mod world;

use std::time::{Duration, Instant};

use world::{Chance, Then, percent};

const SEED: u64 = 0x7469_6465;
const WEIGHTS: [f64; 4] = [1.0, 5.0, 25.0, 50.0];

/// Its name, what draws it, and the number of runs a cell that it needs.
type Table = (&'static str, fn(u64), u64);

const TABLES: [Table; 8] = [
    ("sudden", sudden, 2000),
    ("moderate", moderate, 500),
    ("exhaustion", exhaustion, 100),
    ("better", better, 100),
    ("slow", slow, 100),
    ("traffic", traffic, 200),
    ("harmless", harmless, 10_000),
    ("cost", cost, 1_000_000),
];

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = words.iter().any(|word| word == "--bench");
    words.retain(|word| word != "--bench");
    if !is_bench || words.iter().any(|word| word == "--test") {
        // Among the tests only whether it runs.
        words = vec!["--runs".to_owned(), "1".to_owned()];
    }
    let mut runs = None;
    if let Some(at) = words.iter().position(|word| word == "--runs") {
        runs = words.get(at + 1).and_then(|n| n.parse().ok());
        words.drain(at..(at + 2).min(words.len()));
    }
    for (name, table, usual) in TABLES {
        if words.is_empty() || words.iter().any(|word| word == name) {
            let started = Instant::now();
            println!("\n── {name} ──");
            table(runs.unwrap_or(usual));
            println!("({:.1} s)", started.elapsed().as_secs_f64());
        }
    }
}

/// Mean and 95th percentile.
fn summary(mut values: Vec<u64>) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    values.sort_unstable();
    let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
    format!(
        "{mean:.1}/{}",
        values[(values.len() * 95 / 100).min(values.len() - 1)]
    )
}

fn sudden(runs: u64) {
    println!(
        "users hit by a total break after so many earlier events: mean/95 %, and the mean of a plain product"
    );
    println!("| W | 0 | 100 | 1 000 | 10 000 | 100 000 |");
    for weight in [1.0, 5.0, 10.0, 25.0, 50.0, 75.0] {
        let mut row = format!("| {weight} %");
        for earlier in [0, 100, 1000, 10_000, 100_000] {
            let runs = if earlier < 10_000 {
                runs
            } else {
                runs * 1000 / earlier
            }
            .max(1);
            let mut chance = Chance::with_seed(SEED);
            let hits = (0..runs).filter_map(|_| {
                world::users_hit(percent(weight), earlier, f64::INFINITY, &mut chance)
            });
            row += &format!(" | {}", summary(hits.collect()));
            if earlier < 100_000 {
                let plain: Vec<u64> = (0..runs.min(50))
                    .map(|_| {
                        world::users_hit_by_plain_product(percent(weight), earlier, &mut chance)
                    })
                    .collect();
                row += &format!(
                    " ({:.0})",
                    plain.iter().sum::<u64>() as f64 / plain.len() as f64
                );
            }
        }
        println!("{row} |");
    }
}

fn moderate(runs: u64) {
    println!(
        "users hit where the candidate's users fail so many times as often: after no and after 1 000 earlier events"
    );
    println!("| risk | 5 %: 0 | 1 000 | 25 %: 0 | 1 000 | 50 %: 0 | 1 000 |");
    for risk in [2.0, 1.61, 4.0, 2.2, 5.0, 4.14] {
        let mut row = format!("| {risk}");
        for weight in [5.0, 25.0, 50.0] {
            for earlier in [0, 1000] {
                let mut chance = Chance::with_seed(SEED);
                let hits = (0..runs)
                    .filter_map(|_| world::users_hit(percent(weight), earlier, risk, &mut chance));
                row += &format!(" | {}", summary(hits.collect()));
            }
        }
        println!("{row} |");
    }
}

fn exhaustion(runs: u64) {
    println!("a total break after a day of failures: share found (mean hits, mean epoch)");
    println!("| users, rate a minute | 5 % | 25 % | 50 % |");
    for (users, rate) in [(2000, 0.01), (300, 0.01), (2000, 0.0005)] {
        let mut row = format!("| {users}, {} %", rate * 100.0);
        for weight in [5.0, 25.0, 50.0] {
            let mut chance = Chance::with_seed(SEED);
            let found: Vec<_> = (0..runs)
                .filter_map(|_| {
                    world::break_after_exhaustion(users, percent(weight), rate, &mut chance)
                })
                .collect();
            row += &found_of(&found, runs);
        }
        println!("{row} |");
    }
}

fn found_of(found: &[world::Found], runs: u64) -> String {
    if found.is_empty() {
        return " | 0".to_owned();
    }
    let n = found.len() as f64;
    let hits = found.iter().map(|f| f.hits as f64).sum::<f64>() / n;
    let epoch = found.iter().map(|f| f64::from(f.epoch)).sum::<f64>() / n;
    format!(
        " | {:.2} ({hits:.1}, {epoch:.1})",
        found.len() as f64 / runs as f64
    )
}

fn better(runs: u64) {
    println!(
        "rolled back after up to an hour in which stable hurt a share of users: share (mean hits, mean epoch)"
    );
    println!("| then | W | 5 % hurt | 20 % | 50 % |");
    for then in [Then::OutageOfTheSame, Then::OutageOfAll, Then::Break] {
        for weight in WEIGHTS {
            let mut row = format!("| {then:?} | {weight} %");
            for hurt in [0.05, 0.2, 0.5] {
                let mut chance = Chance::with_seed(SEED);
                let found: Vec<_> = (0..runs)
                    .filter_map(|_| world::after_better(percent(weight), hurt, then, &mut chance))
                    .collect();
                row += &found_of(&found, runs);
            }
            println!("{row} |");
        }
    }
}

fn slow(runs: u64) {
    println!(
        "found to be slower within 20 minutes: share, and of those mean seconds and users hit"
    );
    println!("| W | times 1 | times 1.3 | times 2 |");
    for weight in [5.0, 25.0, 50.0] {
        let mut row = format!("| {weight} %");
        for factor in [1.0, 1.3, 2.0] {
            let mut chance = Chance::with_seed(SEED);
            let found: Vec<_> = (0..runs)
                .filter_map(|_| world::slower(percent(weight), factor, &mut chance))
                .collect();
            if found.is_empty() {
                row += " | 0";
                continue;
            }
            let n = found.len() as f64;
            let seconds = found.iter().map(|f| f.0.as_secs_f64()).sum::<f64>() / n;
            let hits = found.iter().map(|f| f.1 as f64).sum::<f64>() / n;
            let share = found.len() as f64 / runs as f64;
            row += &format!(" | {share:.2} ({seconds:.0} s, {hits:.1})");
        }
        println!("{row} |");
    }
}

fn traffic(runs: u64) {
    println!("users hit by a total break at 1 000 requests a second, counts and all: mean/95 %");
    println!("| W | at once | after 10 min, clean | after 10 min, 0.1 % failing |");
    for weight in WEIGHTS {
        let mut row = format!("| {weight} %");
        for (base, quiet) in [(0.0, 0), (0.0, 600), (0.001, 600)] {
            let mut chance = Chance::with_seed(SEED);
            let quiet = Duration::from_secs(quiet);
            let hits = (0..runs).map(|_| {
                world::hits_at_a_thousand_a_second(percent(weight), base, quiet, &mut chance)
            });
            row += &format!(" | {}", summary(hits.collect()));
        }
        println!("{row} |");
    }
}

fn harmless(runs: u64) {
    println!(
        "{runs} rollouts of a harmless candidate: share with E/(d(d+1)) ever at least c (allowed: 1/c)"
    );
    println!("| users | 20 | 100 | 1 000 | 2 000 | rolled back | events a rollout |");
    for users in [600, 60, 12] {
        let mut chance = Chance::with_seed(SEED);
        let worlds: Vec<_> = (0..runs)
            .map(|_| world::harmless_rollout(users, &mut chance))
            .collect();
        let mut row = format!("| {users}");
        for level in [20.0, 100.0, 1000.0, 2000.0] {
            let above = worlds.iter().filter(|w| w.highest >= level).count();
            row += &format!(" | {:.4}", above as f64 / runs as f64);
        }
        let back = worlds.iter().filter(|w| w.rolled_back).count();
        let events = worlds.iter().map(|w| w.events).sum::<u64>() / runs.max(1);
        println!("{row} | {back} | {events} |");
        // The 99 % bound of one in a thousand, over 10 000 rollouts.
        assert!(
            runs < 10_000 || back as u64 * 10_000 <= 18 * runs,
            "the evidence is not valid"
        );
    }
}

fn cost(events: u64) {
    let mut chance = Chance::with_seed(SEED);
    let started = Instant::now();
    let found = world::users_hit(percent(50.0), events, f64::INFINITY, &mut chance);
    let each = started.elapsed().as_nanos() / u128::from(events.max(1));
    println!(
        "{each} ns an event of a new user, over {events} of them ({found:?} users were hit at the end)"
    );
}
