//! Kill -9, anywhere: what was acknowledged is there, and no transaction is there by half.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::child::{Child, say};
use super::*;

/// So many times the process is killed.
const KILLS: usize = 200;

/// Round after round, from where the directory stands: two states and a line of history that belong together, evidence
/// that goes before them, now and then a snapshot and a latch. Each is said when it was acknowledged.
pub(super) fn work(dir: &Path) {
    let (journal, restored) = open(dir);
    say("opened");
    let mut round = Seen::of(&restored).round;
    loop {
        round += 1;
        one_round(&journal, round);
    }
}

fn one_round(journal: &Journal, round: u64) {
    if round % 10 == 1 {
        reserve(journal, "a").unwrap();
    }
    if round.is_multiple_of(8) {
        journal
            .snapshot("a", round.to_string().into_bytes())
            .unwrap();
    } else {
        assert_eq!(
            journal.evidence("a", vec![round.to_string().into_bytes()]),
            0
        );
    }
    if round.is_multiple_of(3) {
        let attempt = u32::try_from(round).unwrap();
        latch(journal, rolled_back("a", attempt)).unwrap();
        say(&format!("latched {round}"));
    }
    let state = round.to_string();
    let history = vec![entry(round, Timestamp::UNIX_EPOCH)];
    let both = kept(&[("a", &state), ("b", &state)]);
    write(journal, Write { history, ..both }).unwrap();
    say(&format!("written {round}"));
}

/// A few rounds, up to a step at which the process ends itself.
pub(super) fn work_to_step(dir: &Path, number: usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let steps = Steps::told_to(move |_| {
        if taken.fetch_add(1, Ordering::SeqCst) + 1 == number {
            std::process::abort();
        }
    });
    let (journal, restored) = Journal::open_with(dir, steps).unwrap();
    let round = Seen::of(&restored).round;
    for round in round + 1..round + 5 {
        one_round(&journal, round);
    }
    journal.forget("a").unwrap();
    close(&journal);
    say("to the end");
}

/// What a directory remembers of the work.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    round: u64,
    latched: u64,
}

impl Seen {
    /// Reads it, and sees that it is whole.
    fn of(restored: &Restored) -> Self {
        assert_eq!(restored.unreadable, None);
        assert!(restored.doubtful.is_empty() && restored.latches_unreadable == 0);
        let state = |name: &str| {
            let mut all = restored.states.iter();
            let found = all.find(|(rollout, _)| rollout == name)?;
            Some(str::from_utf8(&found.1).unwrap().parse::<u64>().unwrap())
        };
        let b = state("b").unwrap_or_default();
        let a = state("a");
        let forgotten = a.is_none() && b > 0;
        assert!(
            forgotten || a.unwrap_or_default() == b,
            "half a transaction: {a:?}, {b}"
        );
        let last = restored.history.last().map_or(0, |entry| entry.seq);
        assert_eq!(last, b, "history and state are of one transaction");
        assert!(
            restored
                .history
                .windows(2)
                .all(|two| two[1].seq == two[0].seq + 1),
            "no line of history is missing"
        );
        if let Some(evidence) = restored.evidence.get("a") {
            let number = |bytes: &Vec<u8>| str::from_utf8(bytes).unwrap().parse::<u64>().unwrap();
            let mut numbers: Vec<_> = evidence
                .snapshot
                .iter()
                .chain(&evidence.events)
                .map(number)
                .collect();
            let newest = *numbers.last().unwrap();
            assert!(
                newest >= b || forgotten,
                "evidence {newest} went before state {b}"
            );
            numbers.dedup();
            assert!(
                numbers.windows(2).all(|two| two[1] == two[0] + 1),
                "no event is missing: {numbers:?}"
            );
        } else {
            assert!(forgotten || b == 0, "the evidence is gone");
        }
        let latched = restored
            .latches
            .iter()
            .map(|latch| u64::from(latch.attempt))
            .max();
        Self {
            round: b,
            latched: latched.unwrap_or_default(),
        }
    }
}

/// What was acknowledged, after what was before.
fn acknowledged(lines: &[String], before: &mut Seen) {
    for line in lines {
        if let Some(round) = line.strip_prefix("written ") {
            before.round = round.parse().unwrap();
        }
        if let Some(round) = line.strip_prefix("latched ") {
            before.latched = round.parse().unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let mut chance = fastrand::Rng::with_seed(0x71DE_6A7E);
    let mut dir = light_dir();
    let mut known = Seen {
        round: 0,
        latched: 0,
    };
    let mut rounds = 0;
    for kill in 0..KILLS {
        // A fresh directory now and then: its making is killed too.
        if kill % 20 == 0 {
            rounds += known.round;
            dir = light_dir();
            known = Seen {
                round: 0,
                latched: 0,
            };
        }
        let mut child = Child::start(dir.path(), "work");
        if kill % 4 != 0 {
            assert_eq!(child.next().as_deref(), Some("opened"), "kill {kill}");
        }
        thread::sleep(Duration::from_micros(chance.u64(0..30_000)));
        acknowledged(&child.kill(), &mut known);

        let (journal, restored) = open(dir.path());
        let seen = Seen::of(&restored);
        assert!(
            seen.round >= known.round,
            "kill {kill}: {seen:?}, acknowledged {known:?}"
        );
        assert!(
            seen.latched >= known.latched,
            "kill {kill}: {seen:?}, acknowledged {known:?}"
        );
        assert!(
            seen.round <= known.round + 1,
            "kill {kill}: {seen:?}, acknowledged {known:?}"
        );
        close(&journal);
        known = seen;
    }
    assert!(
        rounds > 100,
        "the children had time to work: {rounds} rounds"
    );
}

#[test]
fn what_was_acknowledged_survives_an_end_at_every_single_step() {
    for number in 1.. {
        assert!(number < 2_000, "the work has an end");
        let dir = light_dir();
        let lines = Child::start(dir.path(), &format!("steps {number}")).lines_to_end();
        let mut known = Seen {
            round: 0,
            latched: 0,
        };
        acknowledged(&lines, &mut known);
        let (journal, restored) = open(dir.path());
        let seen = Seen::of(&restored);
        assert!(
            seen.round >= known.round && seen.round <= known.round + 1,
            "step {number}: {seen:?}, acknowledged {known:?}"
        );
        let forgotten = !restored.states.iter().any(|(rollout, _)| rollout == "a");
        assert!(
            seen.latched >= known.latched || forgotten,
            "step {number}: {seen:?}, acknowledged {known:?}"
        );
        close(&journal);
        if lines.iter().any(|line| line == "to the end") {
            assert!(number > 50, "every step is told: {number}");
            assert!(
                restored.latches.is_empty(),
                "what was forgotten has no latch"
            );
            return;
        }
    }
}
