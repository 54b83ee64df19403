//! Killed at every step on the disk, on every way that a rollout can take: what was announced stays true.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_config::Config;

use super::world::{BAKE, HOLD, STAGES, World, file, light_dir, planned};
use crate::control::journal::{IfFailed, Steps, Write, WriteError};
use crate::release::{Order, Phase};

const DIR: &str = "TIDEGATE_TEST_RELEASES_DIR";
const ACT: &str = "TIDEGATE_TEST_RELEASES_ACT";
/// More than any way has.
const STEPS_MOST: usize = 3_000;

/// The files of the way, by number.
fn files(number: usize) -> Arc<Config> {
    match number {
        0 => file(1, &planned(STAGES)),
        1 => file(1, &planned(&STAGES.replace("bake: 1h", "bake: 50m"))),
        2 => file(2, &planned(STAGES)),
        _ => file(2, "[]"),
    }
}

/// Tells the parent a line, past the test's own capture.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more where the parent has seen enough.
    let _ = out.write_all(format!("\n> {line}\n").as_bytes());
    let _ = out.flush();
}

/// The log, told to the parent as it is written, on the thread that writes it.
struct Log;

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        say(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Not a promise: what the children of other tests do. Without one that asks, it does nothing.
#[test]
fn act() {
    let (Some(dir), Ok(act)) = (std::env::var_os(DIR), std::env::var(ACT)) else {
        return;
    };
    let (what, number) = act.split_once(' ').expect("an act and its last step");
    let number: usize = number.parse().expect("a number");
    let (taken, armed) = (
        AtomicUsize::new(0),
        Arc::new(AtomicBool::new(what != "full")),
    );
    let counts = Arc::clone(&armed);
    let steps = Steps::told_to(move |_| {
        if counts.load(Ordering::SeqCst) && taken.fetch_add(1, Ordering::SeqCst) + 1 == number {
            std::process::abort();
        }
    });
    tracing_subscriber::fmt()
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| Log)
        .init();
    let dir = Path::new(&dir);
    let boots = what.strip_prefix("boot-");
    let number = boots.map_or(0, |number| number.parse().expect("a file"));
    let world = World::open(dir, files(number), steps);
    match what {
        "way" => way(world),
        "full" => full(&world, dir, &armed),
        _ => {
            world.settle();
            world.close();
        }
    }
    say("to the end");
    std::process::exit(0);
}

fn ordered(world: &World, order: Order) {
    say(&format!("order {order}"));
    world.order(order).unwrap_or_else(|why| panic!("{why}"));
}

/// The next stage by time and requests; `settled` or on its way.
fn hold_over(world: &World) {
    world.look(HOLD, 5);
    world.settle();
    world.look(Duration::ZERO, 0);
    world.settle();
}

/// Every transition that a rollout can take, some of them before the one before is written down.
fn way(mut world: World) {
    world.settle();
    world.climbs_to(5.0);
    hold_over(&world);
    ordered(&world, Order::Approve);
    world.settle();
    world.climbs_to(25.0);
    ordered(&world, Order::Pause);
    world.settle();
    ordered(&world, Order::Resume);
    world.settle();
    ordered(&world, Order::Promote);
    ordered(&world, Order::Pause);
    world.settle();
    ordered(&world, Order::Resume);
    world.settle();
    world.climbs_to(100.0);
    say("file 1");
    world.edit(files(1));
    world.settle();
    say("alarm");
    world.alarm();
    world.settle();

    ordered(&world, Order::Retry);
    world.settle();
    world.climbs_to(5.0);
    say("cohort");
    world.cohort_alarm(0);
    world.settle();
    ordered(&world, Order::Approve);
    world.settle();
    say("file 2");
    world.edit(files(2));
    world.settle();
    world.climbs_to(5.0);
    say("file 3");
    world.edit(files(3));
    world.settle();
    say("file 2");
    world.edit(files(2));
    world.settle();

    ordered(&world, Order::Retry);
    world.look(Duration::ZERO, 0);
    say("alarm");
    world.alarm();
    world.settle();
    ordered(&world, Order::Retry);
    ordered(&world, Order::Rollback);
    world.settle();
    ordered(&world, Order::Retry);
    world.settle();
    world.climbs_to(5.0);
    ordered(&world, Order::Approve);
    hold_over(&world);
    world.climbs_to(25.0);
    hold_over(&world);
    world.climbs_to(100.0);
    world.look(BAKE, 1_000_000);
    world.settle();
    assert_eq!(world.stands().unwrap().0, Phase::Succeeded);
    ordered(&world, Order::Rollback);
    world.settle();
    world.close();
}

/// No file of this process grows beyond so many bytes.
fn room(bytes: u64) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = Some(bytes);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

/// Fills the journal until the disk has no room.
fn fill(world: &World) {
    for number in 0..200 {
        let (done, told) = std::sync::mpsc::sync_channel(1);
        let write = Write {
            states: vec![(format!("big-{number}"), vec![b' '; 100_000])],
            evidence: Vec::new(),
            history: Vec::new(),
            if_failed: IfFailed::Keep,
        };
        let answer =
            Box::new(move |answer: Result<(), WriteError>| done.send(answer).unwrap_or(()));
        world.journal().write(write, answer).unwrap();
        if told.recv_timeout(super::world::SOON).unwrap().is_err() {
            return;
        }
    }
    panic!("the disk has room for ever");
}

/// The disk is full before the second stage, and before the rollback.
fn full(world: &World, dir: &Path, armed: &AtomicBool) {
    world.climbs_to(5.0);
    ordered(world, Order::Approve);
    world.settle();
    room(fs::metadata(dir.join("journal.redb")).unwrap().len());
    fill(world);
    assert!(!world.disk_is_fine());
    armed.store(true, Ordering::SeqCst);
    world.look(HOLD, 5);
    world.settle();
    assert_eq!(world.weight(), 5.0, "nothing grows on a full disk");
    let view = world.releases.view("shop-v2").unwrap();
    assert!(
        view["reason"]
            .as_str()
            .unwrap()
            .contains("cannot be written"),
        "{view}"
    );
    say("alarm");
    world.alarm();
    assert_eq!(world.weight(), 0.0, "going back needs no disk");
    world.settle();
}

fn run(dir: &Path, act: &str) -> Vec<String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -c 0; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "control::releases::tests::killed::act",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(ACT, act)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines = out
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("> ").map(str::to_owned))
        .collect();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!said.contains("panicked"), "{act}: {said}");
    lines
}

/// What was announced before the end.
#[derive(Debug, Default)]
struct Announced {
    phase: String,
    weight: f64,
    /// The file that was in force, or about to be.
    file: usize,
    /// What was under way since: orders, alarms, edits.
    since: Vec<String>,
}

impl Announced {
    fn by(lines: &[String]) -> Self {
        let mut known = Self::default();
        for line in lines {
            if let Some(number) = line.strip_prefix("file ") {
                known.file = number.parse().unwrap();
            }
            // `shop-v2: goes on where it stood: holding at 25 %; …`
            if let Some(stands) = line.strip_prefix("shop-v2: goes on where it stood: ") {
                let (phase, rest) = stands.split_once(" at ").unwrap();
                let weight = rest.split_once('%').unwrap().0.trim();
                known.weight = weight.parse().unwrap();
                known.phase = phase.replace('_', " ");
                known.since.clear();
                continue;
            }
            let announced = line
                .strip_prefix("shop-v2: ")
                .and_then(|line| line.rsplit_once("; weight "));
            let Some((_, movement)) = announced else {
                known.since.push(line.clone());
                continue;
            };
            // `5 % → 25 %, holding rollout="shop-v2"`
            let (weights, phase) = movement.split_once(" %, ").unwrap();
            let weight = weights.rsplit_once("→ ").map_or(weights, |(_, to)| to);
            known.weight = weight.parse().unwrap();
            phase
                .split(" rollout=")
                .next()
                .unwrap()
                .clone_into(&mut known.phase);
            known.since.clear();
        }
        known
    }

    fn is_under_way(&self, what: &[&str]) -> bool {
        self.since
            .iter()
            .any(|line| what.iter().any(|what| line.starts_with(what)))
    }

    /// A new book in the same directory stands by what was announced.
    fn holds_in(&self, dir: &Path, at: &str) {
        let world = World::open(dir, files(self.file), Steps::default());
        let (weight, stands) = (world.weight(), world.stands());
        let said = format!("{at}: announced {self:?}, now {stands:?} at {weight} %");
        let Some((phase, ..)) = stands else {
            assert_eq!(self.file, 3, "{said}");
            world.close();
            // It has left the file: when it returns it is back.
            let world = World::open(dir, files(2), Steps::default());
            assert_eq!(
                world.stands().map(|(phase, ..)| phase),
                Some(Phase::RolledBack),
                "{said}"
            );
            return world.close();
        };
        if weight > self.weight {
            let told = world.releases.history(Some("shop-v2")).pop().unwrap();
            assert_eq!(told.to, weight, "{said}: what was written down is told");
            assert!(
                !["rolled back", "paused"].contains(&self.phase.as_str())
                    || self.is_under_way(&["order retry", "order resume", "file 2"]),
                "{said}"
            );
        }
        if weight < self.weight {
            assert!(
                self.is_under_way(&["alarm", "order rollback", "file 2"]),
                "a stage is lost: {said}"
            );
        }
        if self.phase == "rolled back" {
            assert!(
                phase == Phase::RolledBack || self.is_under_way(&["order retry", "file 2"]),
                "{said}"
            );
        }
        if self.phase == "paused" {
            assert!(
                phase == Phase::Paused || self.is_under_way(&["order", "alarm", "file 2"]),
                "{said}"
            );
        }
        if phase == Phase::RolledBack {
            world.settle();
            let last = world.releases.history(Some("shop-v2")).pop().unwrap();
            assert_eq!(last.phase, "rolled_back", "{said}: the history knows");
        }
        world.close();
    }
}

/// What a start said, after what was said before. That it came to its end is not the end of the way.
fn lines_of_boot(lines: &mut Vec<String>, boot: &[String]) {
    lines.extend(boot.iter().filter(|line| *line != "to the end").cloned());
}

/// Kills at every step of which the number leaves this rest.
fn kill_at_every_step(act: &str, rest: usize, of: usize, least: usize) {
    for number in (1..STEPS_MOST).filter(|number| number % of == rest) {
        let dir = light_dir();
        let mut lines = run(dir.path(), &format!("{act} {number}"));
        let announced = Announced::by(&lines);
        // The start after it is killed as well, each time at another step.
        if number % 3 == 0 {
            let boot = format!("boot-{} {}", announced.file, number % 29 + 1);
            lines_of_boot(&mut lines, &run(dir.path(), &boot));
        }
        Announced::by(&lines).holds_in(dir.path(), &format!("step {number}"));
        if lines.iter().any(|line| line == "to the end") {
            assert!(number > least, "every step is told: {number}");
            return;
        }
    }
    panic!("the way has an end");
}

#[test]
fn what_was_announced_survives_an_end_at_every_odd_step_of_every_transition() {
    kill_at_every_step("way", 1, 2, 200);
}

#[test]
fn what_was_announced_survives_an_end_at_every_even_step_of_every_transition() {
    kill_at_every_step("way", 0, 2, 200);
}

#[test]
fn on_a_full_disk_nothing_grows_and_what_goes_back_is_remembered_at_every_step() {
    let dir = light_dir();
    let lines = run(dir.path(), "full 100000");
    let told = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(told("the weight stays at 5"), "{lines:#?}");
    assert!(told("weight 5 % → 0 %, rolled back"), "{lines:#?}");
    assert!(
        !told("NOT WRITTEN DOWN"),
        "the latch is written in place: {lines:#?}"
    );
    assert!(told("to the end"), "{lines:#?}");
    Announced::by(&lines).holds_in(dir.path(), "at the end");
    kill_at_every_step("full", 0, 1, 3);
}
