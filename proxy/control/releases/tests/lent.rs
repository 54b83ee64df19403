//! The journal changes hands: what went back meanwhile is remembered, whoever has it in the end, and nothing grows that is
//! not written down.

use std::path::Path;
use std::time::Duration;

use super::world::{SOON, STAGES, World, file, light_dir, planned};
use crate::control::journal::{Journal, Steps};
use crate::control::releases::book::{Actor, NotSo};
use crate::release::{Order, Phase};

fn at_five(dir: &Path) -> World {
    let world = World::open(dir, file(1, &planned(STAGES)), Steps::default());
    world.climbs_to(5.0);
    world
}

fn again(dir: &Path) -> World {
    World::open(dir, file(1, &planned(STAGES)), Steps::default())
}

fn take_back(world: &World, dir: &Path) {
    let (journal, restored) = Journal::open(dir).unwrap();
    world.releases.take_back(journal, restored);
}

#[test]
fn what_goes_back_while_the_journal_is_away_is_back_in_the_process_that_takes_over() {
    let dir = light_dir();
    let world = at_five(dir.path());
    assert!(world.releases.lend(SOON));
    world.alarm();
    assert_eq!(world.weight(), 0.0, "in force at once");
    let states = world.releases.freeze(7);
    let later = states.into_iter().map(|one| (one.rollout, one.state));
    let asked = world
        .releases
        .order("shop-v2", Order::Pause, &Actor::engine());
    assert!(matches!(asked, Err(NotSo::HandedOver(7))), "{asked:?}");

    let config = file(1, &planned(STAGES));
    let heir = World::open_after(dir.path(), config, Steps::default(), later.collect());
    assert_eq!(heir.stands(), Some((Phase::RolledBack, 0.0, 1)));
    heir.settle();
    let entries = heir.releases.history(Some("shop-v2"));
    assert!(entries.is_sorted_by_key(|entry| entry.seq), "{entries:?}");
    assert_eq!(entries.last().unwrap().phase, "rolled_back");
    heir.close();
    assert_eq!(
        again(dir.path()).stands(),
        Some((Phase::RolledBack, 0.0, 1))
    );
}

#[test]
fn what_goes_back_while_the_journal_is_away_is_written_down_when_it_is_here_again() {
    for is_told_meanwhile in [false, true] {
        let dir = light_dir();
        let world = at_five(dir.path());
        assert!(world.releases.lend(SOON));
        world.alarm();
        if is_told_meanwhile {
            // What waits for the disk for too long is told as not written down.
            std::thread::sleep(Duration::from_millis(1100));
            world.look(Duration::ZERO, 0);
            world.releases.look();
        }
        take_back(&world, dir.path());
        assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 1)));
        world.settle();
        let last = world.releases.history(Some("shop-v2")).pop().unwrap();
        assert!(last.seq > 0 && last.phase == "rolled_back", "{last:?}");
        // A kill: only what is on the disk counts.
        let copy = light_dir();
        for name in ["journal.redb", "latches"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        assert_eq!(
            again(copy.path()).stands(),
            Some((Phase::RolledBack, 0.0, 1))
        );
    }
}

#[test]
fn nothing_grows_while_the_journal_is_away_and_all_goes_on_afterwards() {
    let dir = light_dir();
    let world = again(dir.path());
    assert!(world.releases.lend(SOON));
    let before = world.weight();
    for _ in 0..5 {
        world.look(Duration::from_secs(1), 10);
    }
    assert_eq!(world.weight(), before);
    take_back(&world, dir.path());
    world.climbs_to(5.0);
    world.close();
    assert_eq!(again(dir.path()).weight(), 5.0);
}

#[test]
fn what_the_other_process_sent_back_stays_back_where_it_does_not_take_over() {
    let dir = light_dir();
    let world = at_five(dir.path());
    assert!(world.releases.lend(SOON));
    let _ = world.releases.freeze(7);
    let other = again(dir.path());
    other.alarm();
    other.settle();
    other.close();
    world.releases.thaw();
    take_back(&world, dir.path());
    world.settle();
    assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 1)));
    assert_eq!(world.weight(), 0.0);
    world.close();
    assert_eq!(
        again(dir.path()).stands(),
        Some((Phase::RolledBack, 0.0, 1))
    );
}

#[test]
fn the_last_requests_of_the_old_process_meet_the_weights_of_the_new_one() {
    let dir = light_dir();
    let old = at_five(dir.path());
    assert!(old.releases.lend(SOON));
    let _ = old.releases.freeze(7);
    old.releases.hand_over();
    let new = again(dir.path());
    old.releases.follow(&new.releases.standing());
    assert_eq!(old.weight(), 5.0);
    new.alarm();
    old.releases.follow(&new.releases.standing());
    assert_eq!(old.weight(), 0.0);
    // Nothing of its own moves it.
    old.releases.look();
    assert_eq!(old.weight(), 0.0);
    let gone = World::open(light_dir().path(), file(1, "[]"), Steps::default());
    old.releases.follow(&gone.releases.standing());
    assert_eq!(old.weight(), 0.0, "what has left the file carries nobody");
}
