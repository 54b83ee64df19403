//! A fault of the program in one rollout.

use std::time::Duration;

use super::world::{SOON, STAGES, World, file, light_dir, planned};
use crate::control::journal::{IfFailed, Journal, Steps, Write};
use crate::release::{Order, Phase};

#[test]
fn a_state_that_makes_no_sense_leaves_nobody_on_the_candidate_until_somebody_says_so() {
    let dir = light_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let write = Write {
        states: vec![("shop-v2".to_owned(), b"of another program".to_vec())],
        evidence: Vec::new(),
        history: Vec::new(),
        if_failed: IfFailed::Keep,
    };
    journal.write(write, Box::new(|_| ())).unwrap();
    assert!(journal.close(SOON));
    let world = World::open(dir.path(), file(1, &planned(STAGES)), Steps::default());
    world.settle();
    world.look(Duration::from_secs(3600), 1000);
    world.settle();
    assert_eq!(world.stands(), Some((Phase::Paused, 0.0, 1)));
    let last = world.releases.history(None).pop().unwrap();
    assert!(last.reason.contains("cannot be read"), "{last:?}");
    world.order(Order::Resume).unwrap();
    world.climbs_to(5.0);
    world.close();
}

#[test]
fn whoever_broke_while_he_held_the_book_leaves_it_as_it_was() {
    let dir = light_dir();
    let world = World::open(dir.path(), file(1, &planned(STAGES)), Steps::default());
    world.climbs_to(5.0);
    let releases = world.releases.clone();
    let broken = std::thread::spawn(move || {
        let _book = releases.shared().book();
        panic!("of a test");
    });
    broken.join().unwrap_err();
    world.alarm();
    assert_eq!(world.weight(), 0.0);
    world.settle();
    assert_eq!(world.stands(), Some((Phase::RolledBack, 0.0, 1)));
    world.close();
}

#[test]
fn a_look_that_breaks_off_is_told_once_and_holds_up_nobody() {
    let dir = light_dir();
    let two = format!(
        "[{{ name: shop-v2, service: shop, candidate: v2, by: user, {STAGES} }}, {{ name: broken, service: shop, candidate: v2, by: random, {STAGES} }}]"
    );
    let world = World::open(dir.path(), file(1, &two), Steps::default());
    world.settle();
    let mut heard = world.releases.listen();
    {
        // A plan that is not there any more while its rollout is: nothing of the kind may happen, and here it does.
        let mut book = world.releases.shared().book();
        book.config = file(1, &planned(STAGES));
    }
    for _ in 0..3 {
        world.releases.look();
    }
    let mut alerts = Vec::new();
    while let Ok(event) = heard.try_recv() {
        if event.kind == "alert" {
            alerts.push(event.body["message"].as_str().unwrap().to_owned());
        }
    }
    let [told] = alerts.as_slice() else {
        panic!("told once: {alerts:?}");
    };
    assert!(told.contains("broken: a fault of tidegate"), "{told}");
    // The other one is judged on.
    world.releases.shared().book().running.truncate(1);
    world.climbs_to(5.0);
    world.look(Duration::ZERO, 0);
    world.alarm();
    assert_eq!(world.weight(), 0.0);
}
