//! What was decided outlives the process, whatever becomes of its disk; and what was lost with it is said.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::harness::{Backend, Launch, Mood, Planned, Proxy, Site, Steady, Tells, until};

const HALF: &str = "stages: [{ weight: 50%, hold: 10m }, { weight: 100% }]";

fn unguarded() -> (Backend, Site) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())]);
    (v1, site)
}

/// Which version answers each of these users.
fn versions(proxy: &Proxy, users: usize) -> BTreeMap<String, String> {
    let mut conn = proxy.connect();
    let answered = (0..users).map(|number| {
        let user = format!("user-{number}");
        let answer = conn.get("/", &[&format!("x-user-id: {user}")]);
        (user, answer.version().to_owned())
    });
    answered.collect()
}

/// The slot as the documentation gives it.
fn slot(user: &str, salt: &str) -> u64 {
    let hash = xxh3_64_with_seed(user.as_bytes(), xxh3_64(salt.as_bytes()));
    ((u128::from(hash) * 100_000) >> 64) as u64
}

#[track_caller]
fn are_by_salt(seen: &BTreeMap<String, String>, salt: &str, weight: u64) {
    for (user, version) in seen {
        let expected = if slot(user, salt) < weight {
            "v2"
        } else {
            "v1"
        };
        assert_eq!(version, expected, "{user} by the salt {salt}");
    }
}

#[test]
fn nothing_is_guarded_where_nothing_can_be_remembered() {
    let planned = Planned::by(HALF);
    let (code, log) = Launch::new(&planned.site)
        .state_dir("/dev/null/state")
        .fails();
    assert_eq!(code, 2, "{log}");
    for said in [
        "/dev/null/state",
        "cannot be written to",
        "shop-v2",
        "--state-dir",
    ] {
        assert!(log.contains(said), "{said:?} in {log}");
    }

    let (_v1, site) = unguarded();
    let proxy = Launch::new(&site).state_dir("/dev/null/state").start();
    proxy.logs(&["WARN", "cannot be written to", "nothing is guarded"]);
    assert_eq!(proxy.get("/", &[]).status, 200);
    let problems = proxy.bad_edit(&planned.site.yaml());
    assert_eq!(problems[0]["code"], "T504", "{problems:?}");
    assert_eq!(proxy.get("/", &[]).status, 200);
}

#[test]
fn a_state_directory_belongs_to_one_process() {
    let planned = Planned::by(HALF);
    let proxy = planned.start();
    let state = proxy.state().to_str().unwrap().to_owned();
    let (code, log) = Launch::new(&planned.site).state_dir(&state).fails();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("in use by another tidegate"), "{log}");
    proxy.reaches("holding", 50.0);
}

#[test]
fn the_state_is_where_the_file_says_or_beside_it() {
    let planned = Planned::by(HALF);
    for (name, site) in [
        ("state", planned.site.clone()),
        (
            "elsewhere/kept",
            planned.site.clone().with(
                "runtime",
                "{ workers: 1, drain: { min: 0s, max: 5s }, state_dir: ./elsewhere/kept }",
            ),
        ),
    ] {
        let mut proxy = Launch::new(&site).state_of_file(name).start();
        proxy.reaches("holding", 50.0);
        assert!(
            proxy.folder().join(name).join("journal.redb").is_file(),
            "{name}"
        );
        proxy.obeys("rollback");
        proxy.finish();
        proxy.start_again();
        proxy.stays("rolled_back", 0.0);
    }
}

#[test]
fn a_lost_journal_leaves_nobody_on_a_candidate_until_somebody_says_so() {
    let planned = Planned::by(HALF);
    let rollouts = format!(
        "[{{ name: shop-v2, service: app, candidate: v2, by: user, {HALF} }}, {{ name: back, service: app, candidate: v2, by: random, {HALF} }}]"
    );
    let site = planned.site.clone().with("rollouts", &rollouts).rules(
        "[{ name: some, when: { header: { name: x-some, exact: \"1\" } }, rollout: back }, { name: everyone, rollout: shop-v2 }]",
    );
    let mut proxy = Proxy::start(&site);
    proxy.reaches("holding", 50.0);
    assert_eq!(
        proxy
            .ask("POST", "/api/v1/rollouts/back/rollback", "")
            .status,
        200
    );
    proxy.kill();
    fs::write(
        proxy.state().join("journal.redb"),
        b"garbage ".repeat(10_000),
    )
    .unwrap();
    proxy.start_again();
    proxy.logs(&["ERROR", "the journal cannot be read"]);
    let paused = proxy.stays("paused", 0.0);
    let reason = paused["reason"].as_str().unwrap();
    assert!(
        reason.contains("journal cannot be read") && reason.contains("`resume`"),
        "{paused}"
    );
    let back = proxy.ask("GET", "/api/v1/rollouts/back", "").json();
    assert_eq!(back["phase"], "rolled_back", "{back}");
    assert!(
        versions(&proxy, 100)
            .values()
            .all(|version| version == "v1")
    );
    let last = proxy.told().pop().expect("the pause is told");
    assert_eq!(last["phase"], "paused", "{last}");
    // Somebody may start it once more before somebody looks.
    proxy.kill();
    proxy.start_again();
    proxy.stays("paused", 0.0);
    proxy.obeys("resume");
    proxy.reaches("holding", 50.0);
    assert_eq!(proxy.order("retry").status, 409);
}

#[test]
fn a_lost_file_of_latches_is_told_and_the_journal_knows_enough() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    proxy.obeys("rollback");
    proxy.finish();
    fs::write(proxy.state().join("latches"), b"garbage ".repeat(16 * 1024)).unwrap();
    proxy.start_again();
    proxy.logs(&["ERROR", "places for rollbacks cannot be read"]);
    proxy.stays("rolled_back", 0.0);
    proxy.obeys("retry");
    proxy.reaches("holding", 50.0);
    proxy.obeys("rollback");
    proxy.kill();
    proxy.start_again();
    proxy.stays("rolled_back", 0.0);
}

#[test]
fn an_emptied_state_directory_is_told_loudly() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    proxy.kill();
    fs::remove_dir_all(proxy.state()).unwrap();
    proxy.start_again();
    proxy.logs(&["WARN", "NOTHING IS REMEMBERED"]);
}

#[test]
fn a_changed_plan_tries_other_users_and_the_old_one_stays_back() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    are_by_salt(&versions(&proxy, 200), "shop-v2", 50_000);
    proxy.obeys("rollback");

    let other = Planned::plan(&planned.site, &HALF.replace("50%", "40%"));
    proxy.edit(&other);
    let second = proxy.reaches("holding", 40.0);
    assert_eq!(second["attempt"], 2, "{second}");
    are_by_salt(&versions(&proxy, 200), "shop-v2#2", 40_000);
    assert_eq!(proxy.order("retry").status, 409, "it is not rolled back");

    proxy.edit(&planned.site);
    let back = proxy.reaches("rolled_back", 0.0);
    assert!(
        back["reason"]
            .as_str()
            .unwrap()
            .contains("rolled back before"),
        "{back}"
    );
    assert!(
        versions(&proxy, 100)
            .values()
            .all(|version| version == "v1")
    );

    let services = format!(
        "[{{ name: app, stable: v1, versions: [{{ name: v1, endpoints: [\"{}\"] }}, {{ name: v2, endpoints: [\"{}\"], tags: {{ build: \"2\" }} }}] }}]",
        planned.v1.endpoint(),
        planned.v2.endpoint()
    );
    proxy.edit(&planned.site.clone().with("services", &services));
    let third = proxy.reaches("holding", 50.0);
    assert_eq!(third["attempt"], 3, "{third}");
    are_by_salt(&versions(&proxy, 200), "shop-v2#3", 50_000);
    proxy.kill();
    proxy.start_again();
    proxy.reaches("holding", 50.0);
    are_by_salt(&versions(&proxy, 200), "shop-v2#3", 50_000);
}

#[test]
fn a_rollout_that_leaves_the_file_leaves_nobody_on_its_candidate() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let without = planned
        .site
        .clone()
        .without("rollouts")
        .rules("[{ name: everyone, to: v1 }]");
    proxy.edit(&without);
    assert!(
        versions(&proxy, 100)
            .values()
            .all(|version| version == "v1")
    );
    assert_eq!(proxy.told().last().unwrap()["phase"], "rolled_back");
    proxy.edit(&planned.site);
    proxy.stays("rolled_back", 0.0);
    assert!(
        versions(&proxy, 100)
            .values()
            .all(|version| version == "v1")
    );
    proxy.kill();
    proxy.start_again();
    proxy.stays("rolled_back", 0.0);
    proxy.obeys("retry");
    proxy.reaches("holding", 50.0);
}

#[test]
fn an_unrelated_edit_keeps_stage_time_and_evidence() {
    let planned =
        Planned::by("stages: [{ weight: 50%, hold: 10m, min_requests: 100000 }, { weight: 100% }]");
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    let load = Steady::new(300, 4).start(proxy.address("in"));
    load.reaches(600);
    load.finish();
    let counted = |seen: &Value| {
        (
            seen["hold"]["requests"].as_u64().unwrap(),
            seen["guards"]["compare"]["errors"]["candidate"]["requests"]
                .as_u64()
                .unwrap(),
        )
    };
    until("the requests are counted", || {
        counted(&proxy.rollout()).0 > 200
    });
    let before = proxy.rollout();
    assert!(counted(&before).1 > 200, "{before}");
    let edited = planned.site.clone().rules(
        "[{ name: testers, when: { header: { name: x-beta, exact: \"1\" } }, to: v2 }, { name: everyone, rollout: shop-v2 }]",
    );
    proxy.edit(&edited);
    let same = |after: &Value, what: &str| {
        for key in ["phase", "stage", "weight", "attempt", "since", "started"] {
            assert_eq!(after[key], before[key], "{key} after {what}");
        }
        assert!(
            counted(after).0 >= counted(&before).0 && counted(after).1 >= counted(&before).1,
            "after {what}: {after}, before: {before}"
        );
    };
    same(&proxy.rollout(), "an edit");
    assert_eq!(proxy.rollout()["forced"][0], "app.testers → v2");
    proxy.finish();
    proxy.start_again();
    same(&proxy.rollout(), "a restart");
}

#[test]
fn evidence_outlives_a_kill_and_what_was_nearly_enough_is_enough_soon() {
    let planned = Planned::by(HALF);
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    planned.v2.turn(Mood::Fails(500));
    let errors = |proxy: &Proxy| proxy.rollout()["guards"]["compare"]["errors"].clone();
    let hit = |seen: &Value| seen["candidate_users"].as_u64().unwrap();
    let mut asked = (0..).filter(|number| slot(&format!("user-{number}"), "shop-v2") < 50_000);
    let fail = |proxy: &Proxy, number: i32| {
        proxy.get("/", &[&format!("x-user-id: user-{number}")]);
    };
    for number in asked.by_ref().take(8) {
        fail(&proxy, number);
    }
    until("they are heard", || hit(&errors(&proxy)) == 8);
    let before = errors(&proxy);
    // What came in is on the disk within a second.
    std::thread::sleep(Duration::from_secs(1));
    proxy.kill();
    proxy.start_again();
    let after = errors(&proxy);
    assert_eq!(after, before);
    let mut more = 0;
    while proxy.rollout()["phase"] == "holding" {
        more += 1;
        assert!(more < 30, "{}", proxy.rollout());
        fail(&proxy, asked.next().unwrap());
    }
    let seen = proxy.reaches("rolled_back", 0.0);
    assert!(
        hit(&seen["guards"]["compare"]["errors"]) >= 8 && more < 20,
        "{more} more: {seen}"
    );
}

#[test]
fn whatever_somebody_orders_a_kill_takes_nothing_back() {
    let planned = Planned::by(
        "stages: [{ weight: 10%, hold: 10m }, { weight: 20%, hold: 10m }, { weight: 50%, hold: 10m }, { weight: 100% }], bake: 10m",
    );
    let mut proxy = planned.start();
    let mut chance = fastrand::Rng::with_seed(11);
    let (mut done, mut back) = (0, 0);
    for kill in 0..25 {
        let mut last = proxy.rollout();
        let count = chance.usize(1..8);
        let mut under_way = "";
        for turn in 0..count {
            let orders = [
                "promote", "promote", "promote", "pause", "resume", "rollback", "retry",
            ];
            let order = orders[chance.usize(..orders.len())];
            if turn + 1 == count && chance.bool() {
                // The last one is not waited for.
                let mut conn = crate::harness::Conn::open(proxy.admin());
                conn.with_admin_host(proxy.admin()).send(format!(
                    "POST /api/v1/rollouts/shop-v2/{order} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
                    proxy.admin()
                ));
                under_way = order;
                std::thread::sleep(Duration::from_micros(chance.u64(..20_000)));
                break;
            }
            let answer = proxy.order(order);
            if answer.status == 200 {
                (last, done) = (answer.json(), done + 1);
            } else {
                assert_eq!(answer.status, 409, "{}", answer.text());
            }
        }
        proxy.kill();
        proxy.start_again();
        let now = proxy.rollout();
        let said = format!("kill {kill}, under way {under_way:?}: {last} was told, now {now}");
        let weight = |seen: &Value| seen["weight"].as_f64().unwrap();
        if weight(&now) > weight(&last) {
            let told = proxy.told().pop().unwrap();
            assert_eq!(told["to"], now["weight"], "{said}: {told}");
        }
        if last["phase"] == "rolled_back" && under_way != "retry" {
            assert_eq!(now["phase"], "rolled_back", "{said}");
            back += 1;
        }
        if last["phase"] == "paused" && under_way.is_empty() {
            assert_eq!(
                (&now["phase"], &now["weight"]),
                (&last["phase"], &last["weight"]),
                "{said}"
            );
        }
        assert!(
            weight(&now) >= weight(&last) || under_way == "rollback",
            "a stage is lost: {said}"
        );
    }
    assert!(done > 20 && back > 0, "{done} orders, {back} times back");
}

#[test]
fn on_a_full_disk_nothing_grows_and_a_rollback_outlives_a_kill() {
    let planned = Planned::by(
        "stages: [{ weight: 50%, hold: 10m, min_requests: 1 }, { weight: 100% }], guard: { consecutive_failures: 5 }",
    );
    let mut proxy = planned.start();
    proxy.reaches("holding", 50.0);
    proxy.kill();
    // The size of a file stands for that of the disk: what makes one longer fails.
    proxy.after("trap '' XFSZ; ulimit -f 16");
    proxy.start_again();
    let load = Steady::new(100, 2).start(proxy.address("in"));
    load.reaches(50);
    load.finish();
    proxy.reaches("holding", 50.0);
    proxy.obeys("promote");
    // It ramps from the order on; why it gets no further is known when the write has failed.
    proxy.logs(&["ERROR", "the weight stays at 50"]);
    let held = proxy.reaches("ramping", 50.0);
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("the journal cannot be written"), "{held}");
    planned.v2.turn(Mood::Fails(500));
    let load = Steady::new(200, 4).start(proxy.address("in"));
    let back = proxy.reaches("rolled_back", 0.0);
    let records = load.finish();
    assert!(records.errors() > 0, "{back}");
    planned.v2.turn(Mood::Well);
    proxy.kill();
    proxy.after("");
    proxy.start_again();
    let back = proxy.stays("rolled_back", 0.0);
    assert!(!back["reason"].as_str().unwrap().is_empty(), "{back}");
    let last = proxy
        .told()
        .pop()
        .expect("it is told, though the disk had no room for it");
    assert_eq!(last["phase"], "rolled_back", "{last}");
    std::thread::sleep(Duration::from_millis(50));
}
