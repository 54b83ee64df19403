//! A candidate that is worse is found after a handful of users, and one that is not is left in peace: by simulation, with
//! seeds, so that each run is the same. `cargo bench --bench evidence` draws the tables whole.

mod world;

use std::time::Duration;

use world::{Chance, Found, Then, percent};

const SEED: u64 = 0x7469_6465;

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len() as f64
}

/// Mean users hit by a total break after so many events that fell on both versions alike.
fn hits(weight: f64, earlier: u64, risk: f64, runs: usize) -> f64 {
    let mut chance = Chance::with_seed(SEED);
    let hits: Vec<u64> = (0..runs)
        .filter_map(|_| world::users_hit(percent(weight), earlier, risk, &mut chance))
        .collect();
    assert_eq!(hits.len(), runs, "rolled back before the break");
    mean(&hits)
}

/// Within 15 % of the published table.
fn assert_near(what: &str, measured: f64, wanted: f64) {
    assert!(
        (measured / wanted - 1.0).abs() <= 0.15,
        "{what}: {measured:.1} users were hit, not about {wanted}"
    );
}

#[test]
fn a_total_break_hits_a_handful_of_users_however_long_all_was_well_before() {
    const TABLE: [(f64, [f64; 4]); 6] = [
        (1.0, [3.0, 4.9, 5.0, 6.0]),
        (5.0, [4.1, 6.0, 7.1, 8.1]),
        (10.0, [5.1, 7.9, 9.0, 10.0]),
        (25.0, [8.0, 12.7, 14.7, 15.8]),
        (50.0, [15.1, 23.8, 27.0, 30.1]),
        (75.0, [35.1, 52.7, 60.9, 68.9]),
    ];
    for (weight, row) in TABLE {
        for ((earlier, runs), wanted) in [(0, 100), (100, 100), (1000, 40), (10_000, 8)]
            .into_iter()
            .zip(row)
        {
            let measured = hits(weight, earlier, f64::INFINITY, runs);
            assert_near(
                &format!("{weight} % after {earlier} events"),
                measured,
                wanted,
            );
        }
    }
}

#[test]
fn without_fresh_capital_the_same_break_would_hit_hundreds() {
    for (weight, wanted) in [(5.0, 144.0), (50.0, 1174.0)] {
        let mut chance = Chance::with_seed(SEED);
        let hits: Vec<u64> = (0..10)
            .map(|_| world::users_hit_by_plain_product(percent(weight), 10_000, &mut chance))
            .collect();
        assert_near(&format!("{weight} %, plain product"), mean(&hits), wanted);
    }
}

#[test]
fn a_candidate_that_is_somewhat_worse_is_found_too() {
    // Users fail so many times as often; after no and after 1 000 earlier events.
    for (weight, risk, at_once, later) in [
        (5.0, 4.0, 18.0, 29.0),
        (25.0, 4.0, 26.0, 42.0),
        (50.0, 4.0, 41.0, 69.0),
        (5.0, 2.0, 56.0, 81.0),
        (25.0, 5.0, 21.0, 35.0),
    ] {
        let what = format!("{weight} %, {risk} times as often");
        assert_near(&what, hits(weight, 0, risk, 200), at_once);
        assert_near(
            &format!("{what}, later"),
            hits(weight, 1000, risk, 60),
            later,
        );
    }
}

#[test]
fn a_total_break_is_found_after_a_day_in_which_nearly_everybody_has_failed_once() {
    for (weight, most) in [(5.0, 21.0), (25.0, 35.0), (50.0, 62.0)] {
        let mut chance = Chance::with_seed(SEED);
        let runs = 8;
        let found: Vec<Found> = (0..runs)
            .filter_map(|_| world::break_after_exhaustion(2000, percent(weight), 0.01, &mut chance))
            .collect();
        assert_eq!(found.len(), runs, "{weight} %: not every break was found");
        assert!(
            found.iter().all(|found| found.epoch > 10),
            "users are counted anew many times a day"
        );
        let hits: Vec<u64> = found.iter().map(|found| found.hits).collect();
        assert!(
            mean(&hits) <= most,
            "{weight} %: {:.1} users were hit",
            mean(&hits)
        );
    }
}

#[test]
fn a_candidate_that_was_better_is_not_rolled_back_for_an_outage_of_both() {
    let (mut runs, mut rolled_back) = (0, 0);
    for then in [Then::OutageOfTheSame, Then::OutageOfAll] {
        for weight in [1.0, 5.0, 25.0, 50.0] {
            for hurt in [0.05, 0.2, 0.5] {
                let mut chance = Chance::with_seed(SEED);
                for _ in 0..5 {
                    runs += 1;
                    let found = world::after_better(percent(weight), hurt, then, &mut chance);
                    rolled_back += u32::from(found.is_some());
                }
            }
        }
    }
    assert!(
        rolled_back * 100 <= runs * 3,
        "{rolled_back} of {runs} were rolled back"
    );
}

#[test]
fn a_candidate_that_was_better_and_then_breaks_is_found() {
    for (weight, most) in [(1.0, 26.0), (5.0, 24.0), (25.0, 36.0), (50.0, 64.0)] {
        for hurt in [0.05, 0.5] {
            let mut chance = Chance::with_seed(SEED);
            let hits: Vec<u64> = (0..5)
                .filter_map(|_| {
                    world::after_better(percent(weight), hurt, Then::Break, &mut chance)
                })
                .map(|found| found.hits)
                .collect();
            assert_eq!(
                hits.len(),
                5,
                "{weight} %, {hurt} hurt: not every break was found"
            );
            assert!(
                mean(&hits) <= most,
                "{weight} %, {hurt} hurt: {:.1} users",
                mean(&hits)
            );
        }
    }
}

#[test]
fn at_a_thousand_requests_a_second_a_break_hits_no_more_users_for_the_excess_that_must_be_material()
{
    for (weight, at_once, later) in [(1.0, 3.0, 5.0), (5.0, 4.1, 7.1), (25.0, 8.0, 14.1)] {
        for (base, quiet, wanted) in [(0.0, 0, at_once), (0.0, 300, at_once), (0.001, 300, later)] {
            let mut chance = Chance::with_seed(SEED);
            let quiet = Duration::from_secs(quiet);
            let hits: Vec<u64> = (0..5)
                .map(|_| {
                    world::hits_at_a_thousand_a_second(percent(weight), base, quiet, &mut chance)
                })
                .collect();
            assert_near(
                &format!("{weight} %, {base} fail, after {quiet:?}"),
                mean(&hits),
                wanted,
            );
        }
    }
}

#[test]
fn a_candidate_of_twice_the_time_is_found_and_one_of_the_same_time_is_not() {
    for (factor, least, most) in [(1.0, 0, 0), (2.0, 5, 6)] {
        let mut chance = Chance::with_seed(SEED);
        let found = (0..6).filter(|_| world::slower(percent(25.0), factor, &mut chance).is_some());
        let found = found.count();
        assert!(
            (least..=most).contains(&found),
            "{factor} times: {found} of 6"
        );
    }
}

/// The same world as the bench's 10 000 rollouts.
#[test]
fn a_harmless_candidate_is_left_in_peace() {
    const ROLLOUTS: usize = 500;
    let mut chance = Chance::with_seed(SEED);
    let worlds: Vec<_> = (0..ROLLOUTS)
        .map(|_| world::harmless_rollout(60, &mut chance))
        .collect();
    let events = worlds.iter().map(|world| world.events).sum::<u64>();
    assert!(
        events > 500_000,
        "{events} events are too few to say anything"
    );
    let rolled_back = worlds.iter().filter(|world| world.rolled_back).count();
    assert_eq!(rolled_back, 0, "of {ROLLOUTS}");
    // One in twenty may see this; three times the standard deviation on top.
    let high = worlds.iter().filter(|world| world.highest >= 20.0).count();
    assert!(high <= 40, "{high} of {ROLLOUTS} saw evidence of 20");
}
