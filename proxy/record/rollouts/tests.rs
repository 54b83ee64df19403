//! Counting and telling, over workers.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan::{Failures, Guard, Latency};

use crate::record::{
    Arm, Assignment, CLIENT_GONE, Ended, FailureKind, INCIDENTS_MAX, Ledger, Measure, Outcome,
    VersionId,
};

fn share(percent: u32) -> Share {
    Share::from_parts(percent * 1000).unwrap()
}

fn measure(ledger: &Ledger) -> Measure {
    let guard = Guard {
        failures: Failures::default(),
        error_rate: None,
        latency: Some(Latency {
            quantile: Share::HALF,
            above: Duration::from_millis(800),
            window: Duration::from_secs(30),
            min_requests: 1,
        }),
        consecutive_failures: None,
        compare: None,
        metrics: Vec::new(),
    };
    Measure::new(&guard, ledger.slow_bound(ledger.rollout("shop-v2")))
}

fn assigned(ledger: &Ledger, arm: Arm, unit: Option<u64>) -> Assignment {
    Assignment {
        rollout: ledger.rollout("shop-v2"),
        attempt: 1,
        revision: 7,
        arm,
        version: VersionId::NONE,
        unit,
        slot: 3,
        candidate: share(5),
        stable: share(95),
        cohorts: 0,
    }
}

fn ended(status: u16, millis: u64) -> Ended {
    Ended {
        outcome: Outcome::answered(status, Duration::from_millis(millis)),
        grpc: None,
        fallback: false,
    }
}

#[test]
fn every_request_of_every_worker_is_in_the_sums_by_the_arm_it_was_assigned_to() {
    let ledger = Ledger::new(2);
    let measure = measure(&ledger);
    let (a, b) = (ledger.worker(0), ledger.worker(1));
    let (stable, candidate) = (
        assigned(&ledger, Arm::Stable, Some(1)),
        assigned(&ledger, Arm::Candidate, Some(2)),
    );
    (0..10).for_each(|_| a.weigh(&stable, &measure, &ended(200, 3)));
    a.weigh(&candidate, &measure, &ended(200, 900));
    b.weigh(&candidate, &measure, &ended(503, 3));
    let mut refused = ended(503, 1);
    refused.outcome.failure = Some(FailureKind::Connect.failure());
    b.weigh(&candidate, &measure, &refused);
    let mut left = ended(CLIENT_GONE, 3);
    left.outcome.failure = Some(FailureKind::Aborted.failure());
    b.weigh(&candidate, &measure, &left);
    b.weigh_mirrored(stable.rollout, 1, &measure, &ended(500, 1));

    let counts = ledger.rollout_counts(stable.rollout);
    let of = |c: crate::record::ArmCounts| [c.requests, c.failures, c.connect, c.over];
    assert_eq!(of(counts.stable), [10, 0, 0, 0]);
    assert_eq!(
        of(counts.candidate),
        [3, 2, 1, 1],
        "who left early is nobody's"
    );
    assert_eq!(of(counts.mirrored), [1, 1, 0, 0]);

    let times = ledger.rollout_times(stable.rollout);
    assert_eq!(times.steps(Arm::Stable).map(|(_, n)| n).sum::<u64>(), 10);
    let slow: Vec<_> = times.steps(Arm::Candidate).collect();
    assert_eq!(
        slow.len(),
        1,
        "failures that came fast are no times: {slow:?}"
    );
    assert!(slow[0].0 >= Duration::from_millis(900) && slow[0].0 < Duration::from_millis(957));
    assert_eq!(times.both().count(), 2);
    assert_eq!(times.since(&times).both().count(), 0);
}

#[test]
fn an_edit_or_a_worker_that_starts_again_loses_no_count() {
    let ledger = Ledger::new(1);
    let measure = measure(&ledger);
    let candidate = assigned(&ledger, Arm::Candidate, None);
    for attempt in [1, 2] {
        let worker = ledger.worker(0);
        worker.weigh(
            &Assignment {
                attempt,
                ..candidate
            },
            &measure,
            &ended(200, 1),
        );
    }
    assert_eq!(
        ledger.rollout_counts(candidate.rollout).candidate.requests,
        2
    );
}

#[test]
fn the_judge_is_told_of_failures_and_slow_requests_of_both_arms_and_of_one_in_a_thousand() {
    let ledger = Ledger::new(1);
    let incidents = ledger.incidents().expect("nobody listens yet");
    assert!(ledger.incidents().is_none(), "one judge");
    let measure = measure(&ledger);
    let worker = ledger.worker(0);
    let (stable, candidate) = (
        assigned(&ledger, Arm::Stable, Some(1)),
        assigned(&ledger, Arm::Candidate, Some(2)),
    );
    worker.weigh(&candidate, &measure, &ended(200, 3));
    let sample = incidents.try_recv().expect("the first is in the sample");
    assert!(sample.sampled && !sample.error && !sample.slow);
    assert_eq!(
        (sample.assignment, sample.status, sample.run),
        (candidate, 200, 0)
    );

    for length in 1..=3 {
        worker.weigh(&candidate, &measure, &ended(503, 3));
        let told = incidents.try_recv().expect("a failure");
        assert!(told.error && told.sampled && !told.connect && !told.slow);
        assert_eq!((told.run, told.kind), (length, Some(FailureKind::Status)));
        let counted = ledger.rollout_counts(candidate.rollout).candidate.failures;
        assert_eq!(counted, u64::from(length), "counted before it is told");
    }
    worker.weigh(&stable, &measure, &ended(200, 3));
    incidents.try_recv().expect("stable's first sample");
    worker.weigh(&stable, &measure, &ended(503, 3));
    let told = incidents.try_recv().expect("stable's failure");
    assert!(told.error && !told.sampled && told.run == 0);
    assert_eq!(
        ledger.rollout_run(candidate.rollout, 1),
        3,
        "stable's end no run"
    );
    worker.weigh(&candidate, &measure, &ended(200, 3));
    assert_eq!(ledger.rollout_run(candidate.rollout, 1), 0);

    ledger
        .slow_bound(stable.rollout)
        .set(Some(Duration::from_millis(10)));
    worker.weigh(&stable, &measure, &ended(200, 11));
    let told = incidents.try_recv().expect("a slow one");
    assert!(told.slow && !told.error);
    let counted = ledger.rollout_counts(stable.rollout);
    assert_eq!(
        (counted.stable.slow, counted.candidate.slow),
        (1, 0),
        "counted before it is told"
    );

    let before = ledger.rollout_counts(candidate.rollout).candidate.requests;
    (before..2000).for_each(|_| worker.weigh(&candidate, &measure, &ended(200, 3)));
    let samples = incidents.try_iter().filter(|told| told.sampled).count();
    assert_eq!(samples, 1, "the thousand and first");
    assert_eq!(ledger.dropped_incidents(), 0);
}

#[test]
fn where_nobody_is_on_the_candidate_a_failure_of_stable_says_nothing() {
    let ledger = Ledger::new(1);
    let incidents = ledger.incidents().expect("nobody listens yet");
    let measure = measure(&ledger);
    let nobody = Assignment {
        candidate: Share::ZERO,
        stable: Share::FULL,
        ..assigned(&ledger, Arm::Stable, Some(1))
    };
    let worker = ledger.worker(0);
    (0..50).for_each(|_| worker.weigh(&nobody, &measure, &ended(503, 1)));
    assert_eq!(ledger.rollout_counts(nobody.rollout).stable.failures, 50);
    assert_eq!(incidents.try_iter().filter(|told| !told.sampled).count(), 0);
}

#[test]
fn a_judge_who_is_stuck_loses_the_newest_of_both_arms_and_no_count() {
    let ledger = Ledger::new(1);
    let _stuck = ledger.incidents().expect("nobody listens yet");
    let measure = measure(&ledger);
    let worker = ledger.worker(0);
    let candidate = assigned(&ledger, Arm::Candidate, Some(2));
    for _ in 0..INCIDENTS_MAX + 10 {
        worker.weigh(&candidate, &measure, &ended(503, 1));
    }
    assert_eq!(ledger.dropped_incidents(), 10);
    let counts = ledger.rollout_counts(candidate.rollout);
    assert_eq!(counts.candidate.failures, INCIDENTS_MAX as u64 + 10);
}

#[test]
fn the_judge_who_sleeps_wakes_at_the_first_failure() {
    let ledger = Ledger::new(1);
    let incidents = ledger.incidents().expect("nobody listens yet");
    let judge = std::thread::spawn(move || incidents.recv_timeout(Duration::from_secs(30)));
    let measure = measure(&ledger);
    let worker = ledger.worker(0);
    worker.weigh(
        &assigned(&ledger, Arm::Candidate, None),
        &measure,
        &ended(503, 1),
    );
    assert!(judge.join().unwrap().expect("told").error);
}

#[test]
fn users_are_counted_by_window_over_all_workers() {
    let ledger = Ledger::new(2);
    let measure = measure(&ledger);
    let (a, b) = (ledger.worker(0), ledger.worker(1));
    let rollout = ledger.rollout("shop-v2");
    for user in 0..100_u64 {
        let unit = user.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let user = assigned(&ledger, Arm::Candidate, Some(unit));
        a.weigh(&user, &measure, &ended(200, 1));
        b.weigh(&user, &measure, &ended(200, 1));
        let nobody = assigned(&ledger, Arm::Stable, None);
        a.weigh(&nobody, &measure, &ended(200, 1));
    }
    let closed = ledger.turn_rollout_window(rollout);
    let of = |arm, window| ledger.rollout_units(rollout, arm, window);
    assert!((95..=105).contains(&of(Arm::Candidate, closed)));
    assert!(
        (90..=110).contains(&of(Arm::Stable, closed)),
        "each request is a unit"
    );
    assert_eq!(of(Arm::Candidate, closed + 1), 0);
    a.weigh(
        &assigned(&ledger, Arm::Candidate, Some(1)),
        &measure,
        &ended(200, 1),
    );
    assert_eq!(of(Arm::Candidate, closed + 1), 1);
    assert!((95..=105).contains(&of(Arm::Candidate, closed)), "kept");
}

#[test]
fn weighing_allocates_nothing_not_even_telling_the_judge() {
    let ledger = Ledger::new(1);
    let incidents = ledger.incidents().expect("nobody listens yet");
    let measure = Arc::new(measure(&ledger));
    let worker = ledger.worker(0);
    let candidate = assigned(&ledger, Arm::Candidate, Some(2));
    let nobody = assigned(&ledger, Arm::Stable, None);
    worker.weigh(&candidate, &measure, &ended(200, 1));
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            worker.weigh(&candidate, &measure, &ended(200, 3));
            worker.weigh(&nobody, &measure, &ended(200, 3));
            worker.weigh(&candidate, &measure, &ended(503, 3));
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    assert!(incidents.try_iter().filter(|told| told.error).count() == 1000);
}

#[test]
fn what_an_earlier_attempt_left_behind_is_not_counted_for_the_next() {
    let ledger = Ledger::new(1);
    let incidents = ledger.incidents().expect("nobody listens yet");
    let measure = measure(&ledger);
    let worker = ledger.worker(0);
    let first = assigned(&ledger, Arm::Candidate, Some(2));
    let of_stable = assigned(&ledger, Arm::Stable, Some(1));
    let second = Assignment {
        attempt: 2,
        ..first
    };
    worker.weigh(&first, &measure, &ended(200, 3));
    ledger.slow_bound(first.rollout).set_attempt(2);
    let before = ledger.rollout_counts(first.rollout);
    let times = ledger.rollout_times(first.rollout);
    let window = ledger.turn_rollout_window(first.rollout) + 1;
    incidents.try_iter().for_each(drop);
    for late in [first, of_stable] {
        (0..200).for_each(|_| worker.weigh(&late, &measure, &ended(504, 15_000)));
    }
    worker.weigh_mirrored(first.rollout, 1, &measure, &ended(504, 15_000));
    assert_eq!(ledger.rollout_counts(first.rollout), before);
    let since = ledger.rollout_times(first.rollout).since(&times);
    assert_eq!(since.both().count(), 0);
    assert_eq!(
        ledger.rollout_units(first.rollout, Arm::Candidate, window),
        0
    );
    assert_eq!(ledger.rollout_run(first.rollout, 2), 0);
    assert!(incidents.try_recv().is_err(), "no evidence either");

    worker.weigh(&second, &measure, &ended(503, 3));
    let since = ledger.rollout_counts(first.rollout).since(&before);
    assert_eq!((since.candidate.requests, since.candidate.failures), (1, 1));
    assert!(incidents.try_recv().expect("its failure").error);
}
