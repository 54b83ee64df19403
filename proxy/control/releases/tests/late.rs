//! What ends late, and what is slow: it is counted for what it was.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Share;

use super::world::{STAGES, World, file, light_dir, planned};
use crate::control::journal::Steps;
use crate::control::releases::book::now;
use crate::record::{Arm, Assignment, Ended, FailureKind, Outcome, VersionId};
use crate::release::evidence::Metric;
use crate::release::{Order, Phase};

/// A request as the snapshot in force routes it.
fn routed(world: &World, arm: Arm, unit: u64) -> Assignment {
    let rollout = world.live.current().rollouts[0].clone();
    Assignment {
        rollout: rollout.id,
        attempt: rollout.attempt,
        revision: 1,
        arm,
        version: VersionId::NONE,
        unit: Some(unit),
        slot: 3,
        candidate: Share::from_parts(5_000).unwrap(),
        stable: Share::from_parts(95_000).unwrap(),
        cohorts: 0,
    }
}

fn took(millis: u64, failure: Option<FailureKind>) -> Ended {
    Ended {
        outcome: Outcome {
            status: failure.map_or(200, |_| 504),
            failure: failure.map(FailureKind::failure),
            duration: Duration::from_millis(millis),
        },
        grpc: None,
        fallback: false,
    }
}

#[test]
fn slow_requests_are_among_the_requests_that_a_comparison_counts() {
    let dir = light_dir();
    let world = World::open(dir.path(), file(1, &planned(STAGES)), Steps::default());
    world.climbs_to(5.0);
    let worker = world.ledger.worker(0);
    let measure = Arc::clone(&world.live.current().rollouts[0].measure);
    world.live.current().rollouts[0]
        .pace
        .set(Some(Duration::from_millis(10)));
    for unit in 0..40 {
        let candidate = routed(&world, Arm::Candidate, unit);
        worker.weigh(&candidate, &measure, &took(50, None));
        let stable = routed(&world, Arm::Stable, 100 + unit);
        worker.weigh(&stable, &measure, &took(1, None));
    }
    {
        let mut book = world.releases.shared().book();
        book.running[0].read_into(&world.ledger, now());
        let evidence = book.running[0].evidence.as_ref().unwrap();
        let reading = evidence.reading(Metric::Slow);
        let counts = reading.counts;
        assert_eq!((counts.candidate.requests, counts.candidate.bad), (40, 40));
        assert_eq!(counts.stable.bad, 0);
        assert!(reading.is_material, "{reading:?}");
    }
    world.close();
}

#[test]
fn what_a_candidate_left_behind_does_not_roll_the_next_attempt_back() {
    let dir = light_dir();
    let world = World::open(dir.path(), file(1, &planned(STAGES)), Steps::default());
    world.climbs_to(5.0);
    let worker = world.ledger.worker(0);
    let measure = Arc::clone(&world.live.current().rollouts[0].measure);
    let late = routed(&world, Arm::Candidate, 7);
    world.alarm();
    world.settle();
    world.order(Order::Retry).unwrap();
    // Hundreds of requests hung on the candidate that is gone; only now their time is over.
    for _ in 0..300 {
        worker.weigh(&late, &measure, &took(15_000, Some(FailureKind::Timeout)));
    }
    world.climbs_to(5.0);
    for _ in 0..300 {
        worker.weigh(&late, &measure, &took(15_000, Some(FailureKind::Timeout)));
    }
    world.look(Duration::ZERO, 0);
    world.settle();
    assert_eq!(world.stands(), Some((Phase::Holding, 5.0, 2)));
    let own = routed(&world, Arm::Candidate, 7);
    assert_eq!(own.attempt, 2);
    for _ in 0..300 {
        worker.weigh(&own, &measure, &took(15_000, Some(FailureKind::Timeout)));
    }
    world.look(Duration::ZERO, 0);
    world.settle();
    assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 2)));
    world.close();
}
