//! The evidence against its reference vectors, and against whatever may happen to it.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_config::Share;

use super::absolute::{Users, Window};
use super::capital::{EVENTS_PAID, fresh_capital};
use super::units::MOST_UNITS;
use super::*;

const MIN_EXCESS: u32 = 100;

fn share(parts: u32) -> Share {
    Share::from_parts(parts).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A comparison of errors that minds every difference.
fn errors() -> Comparison {
    Comparison::new(
        Budget::default().of(Metric::Errors),
        Share::ZERO,
        Duration::ZERO,
    )
}

fn event(unit: u64, parts: u32, arm: Arm, at: Duration) -> Event {
    Event {
        unit: Some(unit),
        arm,
        candidate: share(parts),
        stable: share(100_000 - parts),
        at,
    }
}

/// Feeds new units at one moment: weight and arm of each, 1 for the candidate.
fn feed(comparison: &mut Comparison, events: &[(u32, u8)]) -> Vec<f64> {
    let mut logs = Vec::new();
    for (n, &(parts, arm)) in events.iter().enumerate() {
        let arm = [Arm::Stable, Arm::Candidate][usize::from(arm)];
        comparison.event(&event(n as u64, parts, arm, Duration::ZERO));
        logs.push(comparison.reading().evidence.log10());
    }
    logs
}

/// log10 E after each event; the numbers were computed apart from this code, with 50 digits.
#[rustfmt::skip]
#[test]
fn the_reference_vectors_hold() {
    type Vector = (&'static [(u32, u8)], &'static [f64]);
    let cases: [Vector; 5] = [
        (&[(5000, 1); 6],
         &[0.643524995146, 1.77827842491, 2.98956292375, 4.22953587598, 5.48348610363, 6.74590704303]),
        (&[(5000, 0), (5000, 0), (5000, 0), (5000, 0), (5000, 1), (5000, 1), (5000, 1), (5000, 1)],
         &[-0.47982254089, -0.550503407603, -0.599514559422, -0.639483352388, -0.15194300577, 0.541084157526,
           1.47203728851, 2.56965382526]),
        (&[(1000, 0), (1000, 1), (5000, 0), (5000, 1), (25000, 0), (25000, 1), (50000, 1), (50000, 1)],
         &[-0.381633296966, 0.711170050968, 0.282000666361, 1.21772282258, 0.484086666077, 0.943024867975,
           1.19629018771, 1.45398250733]),
        (&[(75000, 1), (75000, 1), (75000, 0), (75000, 1), (75000, 0), (75000, 0)],
         &[-0.176925311142, -0.068808003371, -0.694579775849, -0.60692242012, -0.930847847389, -1.16464666425]),
        (&[(10000, 0), (10000, 0), (10000, 0), (10000, 0), (10000, 0), (10000, 0), (10000, 0), (10000, 0),
           (10000, 0), (10000, 0), (10000, 1), (100000, 1), (10000, 1), (1, 1)],
         &[-0.542138981587, -0.639797988816, -0.709336001187, -0.76691488308, -0.817474672701, -0.863219772293,
           -0.905384520263, -0.944757207348, -0.981880644561, -1.01714660567, -0.71600378637, -0.71600378637,
           -0.306032132877, 1.69055749702]),
    ];
    for (case, (events, wanted)) in cases.iter().enumerate() {
        // Without α nothing is found, so that the vectors go on beyond the threshold.
        let mut comparison = Comparison::new(0.0, Share::ZERO, Duration::ZERO);
        for (n, (got, wanted)) in feed(&mut comparison, events).iter().zip(*wanted).enumerate() {
            assert!((got - wanted).abs() < 1e-9, "vector {case}, event {n}: {got}, not {wanted}");
        }
        let mut acting = errors();
        feed(&mut acting, events);
        let found = matches!(acting.finding(), Finding::Worse(_));
        assert_eq!(found, case == 0, "only the first vector crosses");
        if found {
            assert_eq!(acting.reading().candidate_units, 4, "it crosses at the fourth event, and stays there");
        }
    }
}

#[test]
fn the_fresh_capital_adds_up_to_one() {
    // Added from the small end, so that rounding does not show.
    let sum: f64 = (0..=EVENTS_PAID + 10).rev().map(fresh_capital).sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    assert_eq!(fresh_capital(EVENTS_PAID + 1), 0.0);
}

#[test]
fn the_parts_of_alpha_add_up_to_it() {
    let budget = Budget::new(share(100));
    let metrics: f64 = Metric::ALL.iter().map(|metric| budget.of(*metric)).sum();
    let all = metrics + budget.absolute() + 7.0 * budget.cohort(7);
    assert!((all - 0.001).abs() < 1e-15, "{all}");
    assert!((errors().reading().threshold - 4000.0).abs() < 1e-9);
}

#[test]
fn a_user_counts_once_on_whichever_version() {
    let mut comparison = errors();
    for n in 0..50 {
        comparison.event(&event(7, 5000, Arm::Candidate, seconds(n)));
        comparison.event(&event(7, 9000, Arm::Stable, seconds(n)));
    }
    let reading = comparison.reading();
    assert_eq!((reading.candidate_units, reading.stable_units), (1, 0));
}

#[test]
fn requests_without_a_user_count_each() {
    let mut comparison = errors();
    for n in 0..4 {
        let mut event = event(0, 5000, Arm::Candidate, seconds(n));
        event.unit = None;
        comparison.event(&event);
    }
    assert!(matches!(comparison.finding(), Finding::Worse(r) if r.candidate_units == 4));
}

#[test]
fn where_nothing_can_be_compared_an_event_leaves_no_trace() {
    let mut comparison = errors();
    let before = comparison.clone();
    for (candidate, stable) in [(0, 100_000), (100_000, 0), (0, 0), (30_000, 0)] {
        for arm in [Arm::Stable, Arm::Candidate] {
            comparison.event(&Event {
                unit: Some(1),
                arm,
                candidate: share(candidate),
                stable: share(stable),
                at: seconds(1),
            });
        }
    }
    assert_eq!(comparison, before);
}

#[test]
fn with_three_versions_the_weight_is_the_candidates_share_of_the_two() {
    let (mut three, mut two) = (errors(), errors());
    let mut with_another = event(1, 10_000, Arm::Candidate, Duration::ZERO);
    with_another.stable = share(30_000);
    three.event(&with_another);
    two.event(&event(1, 25_000, Arm::Candidate, Duration::ZERO));
    assert_eq!(three.reading().evidence, two.reading().evidence);
}

#[test]
fn an_epoch_ends_when_most_who_fail_have_failed_before() {
    let mut comparison = errors();
    let fail = |comparison: &mut Comparison, minute: u64| {
        for unit in 0..40 {
            comparison.event(&event(unit, 5000, Arm::Stable, seconds(minute * 60)));
        }
    };
    (0..10).for_each(|minute| fail(&mut comparison, minute));
    assert_eq!(
        comparison.reading().epoch,
        1,
        "no epoch is shorter than ten minutes"
    );
    (10..14).for_each(|minute| fail(&mut comparison, minute));
    let reading = comparison.reading();
    assert_eq!(reading.epoch, 2);
    assert!((reading.threshold - 12_000.0).abs() < 1e-9);
    assert!(
        reading.stable_units > 0,
        "users who failed before count again"
    );
}

#[test]
fn the_rule_that_ends_epochs_and_windows_does_not_see_arms() {
    let mut rng = fastrand::Rng::with_seed(1);
    let events: Vec<Event> = (0..20_000)
        .map(|n| event(rng.u64(..300), 20_000, Arm::Stable, seconds(n)))
        .collect();
    let (mut one, mut other) = (Comparison::new(0.0, Share::ZERO, Duration::ZERO), errors());
    for event in &events {
        one.event(&Event {
            arm: [Arm::Stable, Arm::Candidate][rng.usize(..2)],
            ..*event
        });
        other.event(event);
        assert_eq!(one.reading().epoch, other.reading().epoch);
    }
    assert!(one.reading().epoch > 3);
}

#[test]
fn the_memory_of_users_is_bounded() {
    let mut comparison = errors();
    for unit in 0..MOST_UNITS as u64 + 5 {
        comparison.event(&event(unit, 5000, Arm::Stable, seconds(1)));
    }
    let reading = comparison.reading();
    assert_eq!((reading.epoch, reading.stable_units), (2, 5));
}

#[test]
fn lost_users_cost_an_epoch_and_are_never_met_with_the_old_stakes() {
    let mut comparison = errors();
    feed(&mut comparison, &[(5000, 1); 3]);
    comparison.units_lost(seconds(5));
    let reading = comparison.reading();
    assert_eq!((reading.epoch, reading.evidence), (2, 0.0));
}

#[test]
fn who_was_better_is_judged_by_a_fresh_window_too() {
    let mut comparison = errors();
    // Stable hurts 400 users, the candidate at 25 % nobody.
    for unit in 0..400 {
        comparison.event(&event(unit, 25_000, Arm::Stable, seconds(unit)));
    }
    assert!(comparison.reading().better_seen);
    // An outage meets everybody; only those of the candidate have not failed yet.
    let mut at = 500;
    for unit in 400..430 {
        for known in 0..4 {
            at += 1;
            comparison.event(&event(
                (unit * 7 + known) % 400,
                25_000,
                Arm::Stable,
                seconds(at),
            ));
        }
        comparison.event(&event(unit, 25_000, Arm::Candidate, seconds(at)));
    }
    let reading = comparison.reading();
    assert!(
        reading.is_worse(),
        "the evidence alone is deceived: {reading:?}"
    );
    assert!(matches!(comparison.finding(), Finding::Suspect(_)));
    assert!(
        reading.progress() < 1.0,
        "what is suspected has not tripped"
    );
    // A break that is the candidate's own is found all the same.
    let hit = (1000..1040).position(|unit| {
        let event = event(unit, 25_000, Arm::Candidate, seconds(at + 1));
        matches!(comparison.event(&event), Finding::Worse(_))
    });
    assert!(hit.is_some_and(|hit| hit <= 20), "{hit:?}");
}

#[test]
fn a_small_difference_is_told_but_rolls_nothing_back() {
    let mut comparison = Comparison::new(0.0005, share(MIN_EXCESS), Duration::ZERO);
    // Ten failures on the candidate, none on stable, but one in 20 000 requests each.
    let quiet = Counts {
        stable: Served {
            requests: 380_000,
            bad: 0,
        },
        candidate: Served {
            requests: 20_000,
            bad: 1,
        },
    };
    for n in 0..10 {
        comparison.count(&quiet);
        comparison.event(&event(n, 5000, Arm::Candidate, seconds(n)));
    }
    assert!(matches!(comparison.finding(), Finding::Suspect(r) if !r.is_material));
}

#[test]
fn a_break_after_a_long_quiet_time_at_high_traffic_is_material_at_once() {
    let mut comparison = Comparison::new(0.0005, share(MIN_EXCESS), Duration::ZERO);
    // 50 minutes at 5 000 requests a second, looked at every 100 ms, nothing fails: the fresh window is open all the time.
    for _ in 0..30_000 {
        comparison.count(&Counts {
            stable: Served {
                requests: 475,
                bad: 0,
            },
            candidate: Served {
                requests: 25,
                bad: 0,
            },
        });
    }
    let at = seconds(3000);
    let hits = (1..).find(|&n| {
        comparison.count(&Counts {
            stable: Served {
                requests: 19,
                bad: 0,
            },
            candidate: Served {
                requests: 1,
                bad: 1,
            },
        });
        matches!(
            comparison.event(&event(n, 5000, Arm::Candidate, at)),
            Finding::Worse(_)
        )
    });
    assert_eq!(hits, Some(4), "as many as after no requests at all");
}

#[test]
fn counts_that_come_after_the_event_still_find() {
    let mut comparison = Comparison::new(0.0005, share(MIN_EXCESS), Duration::ZERO);
    feed(&mut comparison, &[(5000, 1); 4]);
    assert!(matches!(comparison.finding(), Finding::Suspect(_)));
    let finding = comparison.count(&Counts {
        stable: Served {
            requests: 76,
            bad: 0,
        },
        candidate: Served {
            requests: 4,
            bad: 4,
        },
    });
    let Finding::Worse(reading) = finding else {
        panic!("{finding:?}")
    };
    assert_eq!(
        reading.to_string(),
        "4 users were hit on the candidate and 0 on stable (candidate 4 of 4 requests, stable 0 of 76); evidence 16964 (acts at \
         4000)"
    );
    assert_eq!(reading.progress(), 1.0);
}

#[test]
fn nothing_is_slow_while_caches_are_cold() {
    let mut evidence = Evidence::new(Budget::default(), Share::ZERO, Duration::ZERO);
    evidence.grew(seconds(100));
    let fail = |evidence: &mut Evidence, metric, at| {
        evidence.event(metric, &event(at, 5000, Arm::Candidate, seconds(at)));
        evidence.reading(metric).candidate_units
    };
    assert_eq!(fail(&mut evidence, Metric::Slow, 110), 0);
    assert_eq!(
        fail(&mut evidence, Metric::Errors, 110),
        1,
        "errors are never skipped"
    );
    assert_eq!(fail(&mut evidence, Metric::Slow, 130), 1);
}

#[test]
fn the_absolute_test_finds_what_the_table_says() {
    // Share of failing users, what stable had, and the windows until action: at once and after 1 000 quiet ones.
    for (share, stable, at_once, later) in [
        (1000, 0, 3..=3, 4..=5),
        (100, 0, 4..=5, 8..=8),
        (1000, 5, 3..=3, 5..=5),
        (1000, 25, 4..=4, 8..=8),
        (500, 25, 6..=6, 10..=10),
    ] {
        for (quiet, wanted) in [(0, at_once), (1000, later)] {
            let mut test = Absolute::new(Budget::default().absolute());
            test.stable(Users {
                active: 1000,
                failing: stable,
            });
            test.watch(Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut window = |test: &mut Absolute, failing| {
                now += seconds(10);
                let users = Users {
                    active: 1000,
                    failing,
                };
                assert_eq!(test.look(now, users), Window::Over);
            };
            (0..quiet).for_each(|_| window(&mut test, 0));
            assert!(!test.has_found());
            let windows = (1..1000).find(|_| {
                window(&mut test, share);
                test.has_found()
            });
            let windows = windows.expect("it is found");
            assert!(
                wanted.contains(&windows),
                "{share} of 1000 fail, stable had {stable}: {windows} windows after {quiet}, not {wanted:?}"
            );
        }
    }
}

#[test]
fn a_window_of_few_users_waits_and_is_dropped() {
    let mut test = Absolute::new(1e-4);
    let all_fail = |active| Users {
        active,
        failing: active,
    };
    assert_eq!(
        test.look(seconds(1), all_fail(100)),
        Window::Over,
        "not at 100 % yet"
    );
    test.watch(seconds(0));
    assert_eq!(test.allowed(), Some(0.005));
    assert_eq!(test.look(seconds(9), all_fail(100)), Window::Open);
    assert_eq!(test.look(seconds(599), all_fail(19)), Window::Open);
    assert_eq!(test.look(seconds(600), all_fail(19)), Window::Over);
    assert_eq!(test.evidence(), 0.0, "a dropped window bets nothing");
    test.stable(Users {
        active: 100,
        failing: 100,
    });
    test.watch(seconds(700));
    assert_eq!(test.allowed(), Some(0.005), "what is allowed is frozen");
}

#[test]
fn a_journal_that_was_damaged_is_refused() {
    let mut comparison = errors();
    feed(&mut comparison, &[(5000, 1); 3]);
    let good = serde_json::to_value(&comparison).unwrap();
    let broken = [
        ("alpha", serde_json::json!(f64::NAN.to_bits())),
        ("min_excess", serde_json::json!(100_001)),
        ("better", serde_json::json!({"steps": 3, "stakes": [1, 2]})),
        (
            "worse",
            serde_json::json!({"steps": 3, "stakes": [f64::INFINITY.to_bits()]}),
        ),
    ];
    for (key, value) in broken {
        let mut bad = good.clone();
        bad[key] = value;
        serde_json::from_value::<Comparison>(bad).expect_err(key);
    }
    assert_eq!(
        serde_json::from_value::<Comparison>(good).unwrap(),
        comparison
    );
}

/// Anything that may happen to the evidence.
#[derive(Debug, Clone)]
enum Happening {
    Event(Metric, Event),
    Count(Metric, Counts),
    Grew(Duration),
    UnitsLost(Duration),
    Times(Duration, Vec<(Duration, u64)>),
    Stable(Users),
    Watch(Duration),
    Look(Duration, Users),
}

fn happen(evidence: &mut Evidence, happening: &Happening) {
    match happening.clone() {
        Happening::Event(metric, event) => drop(evidence.event(metric, &event)),
        Happening::Count(metric, counts) => drop(evidence.count(metric, &counts)),
        Happening::Grew(now) => evidence.grew(now),
        Happening::UnitsLost(now) => evidence.units_lost(now),
        Happening::Times(now, times) => evidence.pace_mut().count(now, times),
        Happening::Stable(users) => evidence.absolute_mut().stable(users),
        Happening::Watch(now) => evidence.absolute_mut().watch(now),
        Happening::Look(now, users) => drop(evidence.absolute_mut().look(now, users)),
    }
}

fn any_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => (0..100_000_u64).prop_map(Duration::from_secs),
        1 => any::<Duration>(),
    ]
}

fn any_share() -> impl Strategy<Value = Share> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(5_000),
        Just(99_999),
        Just(100_000),
        0..=100_000_u32
    ]
    .prop_map(share)
}

fn any_metric() -> impl Strategy<Value = Metric> {
    prop::sample::select(&Metric::ALL[..])
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..2000_u64, 1 => any::<u64>()]
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let unit = prop_oneof![
        1 => Just(None),
        6 => (0..60_u64).prop_map(Some),
        3 => any::<u64>().prop_map(Some)
    ];
    let arm = prop::sample::select(&[Arm::Stable, Arm::Candidate][..]);
    let event = (unit, arm, any_share(), any_share(), any_time()).prop_map(
        |(unit, arm, candidate, stable, at)| Event {
            unit,
            arm,
            candidate,
            stable,
            at,
        },
    );
    let served =
        || (any_number(), any_number()).prop_map(|(requests, bad)| Served { requests, bad });
    let counts = (served(), served()).prop_map(|(stable, candidate)| Counts { stable, candidate });
    let users =
        || (any_number(), any_number()).prop_map(|(active, failing)| Users { active, failing });
    let times = prop::collection::vec((any_time(), any_number()), 0..4);
    prop_oneof![
        20 => (any_metric(), event).prop_map(|(metric, event)| Happening::Event(metric, event)),
        4 => (any_metric(), counts).prop_map(|(metric, counts)| Happening::Count(metric, counts)),
        1 => any_time().prop_map(Happening::Grew),
        1 => any_time().prop_map(Happening::UnitsLost),
        2 => (any_time(), times).prop_map(|(now, times)| Happening::Times(now, times)),
        1 => users().prop_map(Happening::Stable),
        1 => any_time().prop_map(Happening::Watch),
        3 => (any_time(), users()).prop_map(|(now, users)| Happening::Look(now, users)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_numbers_stay_numbers_and_a_restart_changes_nothing(
        happenings in prop::collection::vec(any_happening(), 0..300),
        restart in any::<prop::sample::Index>(),
        false_rollback in any_share(),
        min_excess in any_share(),
    ) {
        let budget = Budget::new(false_rollback);
        let mut evidence = Evidence::new(budget, min_excess, Duration::ZERO);
        let mut restored = evidence.clone();
        let restart = restart.index(happenings.len() + 1);
        for (n, happening) in happenings.iter().enumerate() {
            if n == restart {
                let journal = serde_json::to_vec(&restored).unwrap();
                restored = serde_json::from_slice(&journal).unwrap();
            }
            if let Happening::Event(_, event) = happening {
                let journal = serde_json::to_vec(event).unwrap();
                prop_assert_eq!(&serde_json::from_slice::<Event>(&journal).unwrap(), event);
            }
            let found = Metric::ALL.map(|metric| matches!(evidence.finding(metric), Finding::Worse(_)));
            happen(&mut evidence, happening);
            happen(&mut restored, happening);
            for metric in Metric::ALL {
                let reading = evidence.reading(metric);
                for number in [reading.evidence, reading.threshold, reading.fresh, reading.progress()] {
                    prop_assert!(number.is_finite() && number >= 0.0, "{:?}", reading);
                }
                prop_assert!(reading.progress() <= 1.0);
                let is_found = matches!(evidence.finding(metric), Finding::Worse(_));
                prop_assert_eq!(is_found, reading.acts(), "what is found stays so");
                prop_assert!(is_found || !found[metric as usize]);
            }
            prop_assert!(evidence.absolute().evidence().is_finite());
        }
        prop_assert_eq!(evidence, restored);
    }

    #[test]
    fn a_mirror_that_always_fails_on_stable_never_rolls_back(
        weights in prop::collection::vec(1..100_000_u32, 1..200),
    ) {
        let mut comparison = errors();
        for (unit, parts) in weights.into_iter().enumerate() {
            let event = event(unit as u64, parts, Arm::Stable, seconds(unit as u64));
            prop_assert_eq!(comparison.event(&event), Finding::Nothing);
        }
    }
}
