//! What happens while a growth is being written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::world::{BAKE, HOLD, SOON, STAGES, World, file, light_dir, planned};
use crate::control::journal::{Step, Steps};
use crate::release::{Order, Phase};

/// A disk that takes its time: while `shut`, it stops before this step.
struct Slow(Arc<AtomicBool>);

impl Slow {
    fn before(step: Step) -> (Self, Steps) {
        let shut = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&shut);
        let steps = Steps::told_to(move |taken| {
            let until = Instant::now() + SOON;
            while taken == step && seen.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::yield_now();
            }
        });
        (Self(shut), steps)
    }

    fn shut(&self, shut: bool) {
        self.0.store(shut, Ordering::SeqCst);
    }
}

fn again(dir: &tempfile::TempDir) -> World {
    World::open(dir.path(), file(1, &planned(STAGES)), Steps::default())
}

#[test]
fn a_growth_that_was_called_off_before_its_latch_had_a_place_is_never_written() {
    let dir = light_dir();
    let (slow, steps) = Slow::before(Step::Reserve);
    slow.shut(true);
    let world = World::open(dir.path(), file(1, &planned(STAGES)), steps);
    world.look(HOLD, 0);
    assert_eq!(world.stands().unwrap().0, Phase::Ramping);
    world.order(Order::Pause).unwrap();
    slow.shut(false);
    // The pause is announced, and whatever else was under way has come to its end.
    world.settle();
    let (done, told) = std::sync::mpsc::sync_channel(1);
    let after = Box::new(move |answer| done.send(answer).unwrap_or(()));
    world.journal().reserve("another", "key", after).unwrap();
    told.recv_timeout(SOON).unwrap().unwrap();
    world.close();
    let world = again(&dir);
    assert_eq!(world.stands(), Some((Phase::Paused, 0.0, 1)));
    let last = world.releases.history(None).pop().unwrap();
    assert_eq!((last.phase.as_str(), last.to), ("paused", 0.0), "{last:?}");
    world.close();
}

#[test]
fn an_approval_in_mid_growth_is_kept_and_told() {
    let dir = light_dir();
    let (slow, steps) = Slow::before(Step::Begin);
    let world = World::open(dir.path(), file(1, &planned(STAGES)), steps);
    slow.shut(true);
    world.look(HOLD, 0);
    world.order(Order::Approve).unwrap();
    slow.shut(false);
    world.settle();
    world.climbs_to(5.0);
    world.look(HOLD, 5);
    world.settle();
    world.climbs_to(25.0);
    let history = world.releases.history(None);
    assert!(
        history.iter().any(|entry| entry.actor == "ada"),
        "{history:?}"
    );
    world.close();
}

#[test]
fn a_cohort_that_goes_back_in_mid_growth_is_back_at_once_and_for_good() {
    let dir = light_dir();
    let (slow, steps) = Slow::before(Step::Begin);
    let world = World::open(dir.path(), file(1, &planned(STAGES)), steps);
    world.climbs_to(5.0);
    world.order(Order::Approve).unwrap();
    world.settle();
    slow.shut(true);
    world.look(HOLD, 5);
    assert_eq!(world.stands().unwrap().0, Phase::Ramping);
    world.cohort_alarm(0);
    assert_eq!(world.cohorts_back(), 1, "it waits for no disk");
    slow.shut(false);
    world.settle();
    world.climbs_to(25.0);
    assert_eq!(
        world.cohorts_back(),
        1,
        "the growth does not bring it forward"
    );
    let history = world.releases.history(None);
    let told = history
        .iter()
        .find(|entry| entry.reason.contains("cohort eu"));
    assert!(told.is_some(), "why it went back: {history:?}");
    world.close();
    let world = again(&dir);
    assert_eq!(world.cohorts_back(), 1);
    world.close();
}

#[test]
fn cohorts_that_are_back_stay_back_wherever_they_stand_in_the_file() {
    let dir = light_dir();
    let mut world = again(&dir);
    world.climbs_to(5.0);
    world.cohort_alarm(1);
    world.settle();
    assert_eq!(world.cohorts_back(), 0b10);
    let other_way_round = STAGES
        .replace("name: eu", "name: x")
        .replace("name: us", "name: eu")
        .replace("name: x", "name: us");
    assert_ne!(other_way_round, STAGES);
    world.edit(file(1, &planned(&other_way_round)));
    assert_eq!(world.cohorts_back(), 0b01, "us is the first one now");
    world.settle();
    world.close();
    let world = again(&dir);
    assert_eq!(world.cohorts_back(), 0b10, "and the second one again");
    world.close();
}

#[test]
fn an_edit_in_mid_growth_neither_loses_the_step_nor_repeats_it() {
    let dir = light_dir();
    let (slow, steps) = Slow::before(Step::Begin);
    let mut world = World::open(dir.path(), file(1, &planned(STAGES)), steps);
    world.climbs_to(5.0);
    world.order(Order::Approve).unwrap();
    world.settle();
    slow.shut(true);
    world.look(HOLD, 5);
    world.edit(file(1, &planned(&STAGES.replace("bake: 1h", "bake: 2h"))));
    assert_eq!(world.weight(), 5.0);
    slow.shut(false);
    world.settle();
    world.climbs_to(25.0);
    world.look(HOLD, 5);
    world.settle();
    world.climbs_to(100.0);
    world.look(BAKE, 1_000_000);
    world.settle();
    assert_eq!(world.stands().unwrap().0, Phase::Baking, "two hours by now");
    let holding = world.releases.history(None);
    let steps: Vec<f64> = holding
        .iter()
        .filter(|entry| entry.from < entry.to)
        .map(|entry| entry.to)
        .collect();
    assert_eq!(steps, [5.0, 25.0, 100.0]);
    world.close();
}

#[test]
fn a_rollout_that_leaves_the_file_stays_back_when_it_returns() {
    for while_down in [false, true] {
        let dir = light_dir();
        let mut world = again(&dir);
        world.climbs_to(5.0);
        if while_down {
            world.close();
            world = World::open(dir.path(), file(1, "[]"), Steps::default());
        } else {
            world.edit(file(1, "[]"));
        }
        assert_eq!(world.weight(), 0.0);
        world.settle();
        let history = world.releases.history(Some("shop-v2"));
        assert_eq!(history.last().unwrap().phase, "rolled_back", "{history:?}");
        world.edit(file(1, &planned(STAGES)));
        assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 1)));
        world.close();
        let world = again(&dir);
        world.look(HOLD, 5);
        assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 1)));
        world.close();
    }
}
