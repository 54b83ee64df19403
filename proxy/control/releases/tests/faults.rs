//! A fault of the program in one rollout.

use std::time::Duration;

use super::world::{STAGES, World, file, light_dir, planned};
use crate::control::journal::Steps;

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
