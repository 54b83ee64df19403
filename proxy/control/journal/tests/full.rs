//! A full disk. A limit on the size of files stands for it, which everybody may set: what makes a file longer fails, what
//! is written in place succeeds. Where a disk may be mounted, a small one is filled as well.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::{Child, say};
use super::*;

/// No file of this process grows beyond so many bytes; `None`: the disk has room again.
fn room(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn length(dir: &Path) -> u64 {
    fs::metadata(dir.join("journal.redb")).unwrap().len()
}

/// Fills the journal until the disk has no room; how long the last state was.
fn fill(journal: &Journal) -> Result<(), WriteError> {
    for number in 0..200 {
        let big = "x".repeat(100_000);
        write(journal, kept(&[(&format!("big-{number}"), &big)]))?;
    }
    Ok(())
}

/// The child of the first promise: each line that it says is one of them.
pub(super) fn act(dir: &Path) {
    let (journal, _) = open(dir);
    reserve(&journal, "shop").unwrap();
    write(&journal, kept(&[("shop", "holding at 5 %")])).unwrap();
    room(Some(length(dir)));

    let refused = fill(&journal).expect_err("the disk has no room");
    assert!(matches!(refused, WriteError::Disk(_)), "{refused}");
    say(&format!("refused: {refused}"));
    let Health::Failing { why, states, .. } = journal.health() else {
        panic!("a full disk is told");
    };
    assert!(states > 0 && why == refused.to_string());

    let big = "y".repeat(100_000);
    let grown = write(&journal, growth(&[("shop", &big)])).expect_err("no growth on a full disk");
    say(&format!("no growth: {grown}"));

    let started = Instant::now();
    latch(&journal, rolled_back("shop", 1)).expect("a latch needs no room");
    say(&format!("latched in {} ms", started.elapsed().as_millis()));

    // What is to be kept waits, the newest of each rollout alone; it was refused, and says so.
    for version in ["1", "2", "3"] {
        let state = format!("rolled back {version} {}", "z".repeat(100_000));
        let (done, told) = answer();
        journal.write(kept(&[("shop", &state)]), done).unwrap();
        heard(&told).expect_err("it is still full");
    }
    room(None);
    wait_until("the disk is tried again", || journal.health().is_fine());
    say("fine again");
    std::process::abort();
}

#[test]
fn on_a_full_disk_a_rollback_is_remembered_nothing_grows_and_afterwards_the_newest_state_is_written()
 {
    let dir = tempfile::tempdir().unwrap();
    let lines = Child::start(dir.path(), "full").lines_to_end();
    let told = lines.join("\n");
    assert!(
        told.contains("refused: ") && told.contains("no growth: "),
        "{told}"
    );
    assert!(
        told.contains("latched in ") && told.contains("fine again"),
        "{told}"
    );
    // The process ended itself: only what was durable is there.
    let (journal, restored) = open(dir.path());
    assert_eq!(restored.latches, [rolled_back("shop", 1)]);
    let states = states(&restored);
    let (_, shop) = states
        .iter()
        .find(|(rollout, _)| *rollout == "shop")
        .unwrap();
    assert!(shop.starts_with("rolled back 3 "), "{}", &shop[..20]);
    close(&journal);
}

/// The child of the second promise: it starts where there is no room at all.
pub(super) fn boot(dir: &Path) {
    room(Some(0));
    let (journal, restored) = open(dir);
    say(&format!(
        "{:?} {:?}",
        restored.unreadable,
        states(&restored)
    ));
    say(&format!("latches {}", restored.latches.len()));
    if let Health::Failing { why, .. } = journal.health() {
        say(&format!("failing: {why}"));
    }
    let refused = write(&journal, growth(&[("shop", "grown")])).expect_err("no room");
    say(&format!("no growth: {refused}"));
    room(None);
    wait_until("the disk is tried again", || journal.health().is_fine());
    write(&journal, growth(&[("shop", "grown")])).expect("there is room");
    say("grown");
    close(&journal);
}

#[test]
fn a_start_on_a_full_disk_after_a_kill_remembers_everything() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Child::start(dir.path(), "full");
    drop(worker.lines_to_end());
    let (journal, _) = open(dir.path());
    write(&journal, kept(&[("shop", "holding at 25 %")])).unwrap();
    for number in 0..200 {
        let _ = journal.forget(&format!("big-{number}"));
    }
    close(&journal);
    // Left as by a kill: whoever opens it must repair it, and that writes.
    let file = dir.path().join("journal.redb");
    let bytes = fs::read(&file).unwrap();
    let (journal, _) = open(dir.path());
    write(&journal, kept(&[("shop", "holding at 25 %")])).unwrap();
    let in_use = fs::read(&file).unwrap();
    close(&journal);
    for bytes in [bytes, in_use] {
        fs::write(&file, bytes).unwrap();
        let lines = Child::start(dir.path(), "boot").lines_to_end();
        assert_eq!(
            lines[0], r#"None [("shop", "holding at 25 %")]"#,
            "{lines:?}"
        );
        assert_eq!(lines[1], "latches 1", "{lines:?}");
        assert_eq!(lines.last().unwrap(), "grown", "{lines:?}");
        let (journal, restored) = open(dir.path());
        assert_eq!(states(&restored), [("shop", "grown")]);
        close(&journal);
    }
}

/// The child of the third promise: `dir` is a disk of a few megabytes.
pub(super) fn brim(dir: &Path) {
    let state = dir.join("state");
    let (journal, _) = open(&state);
    reserve(&journal, "shop").unwrap();
    write(&journal, kept(&[("shop", "holding at 5 %")])).unwrap();
    let ballast = dir.join("ballast");
    let filled = fs::write(&ballast, vec![1; 64 << 20]).expect_err("the disk is small");
    say(&format!("filled: {filled}"));

    let refused = fill(&journal).expect_err("the disk has no room");
    say(&format!("refused: {refused}"));
    latch(&journal, rolled_back("shop", 1)).expect("a latch needs no room");
    close(&journal);
    let (journal, restored) = open(&state);
    assert_eq!((restored.unreadable, restored.latches.len()), (None, 1));
    fill(&journal).expect_err("the disk has no room");
    let (done, told) = answer();
    let back = format!("rolled back {}", "z".repeat(100_000));
    journal.write(kept(&[("shop", &back)]), done).unwrap();
    heard(&told).expect_err("it is still full");
    fs::remove_file(&ballast).unwrap();
    wait_until("the disk is tried again", || journal.health().is_fine());
    close(&journal);
    let (journal, restored) = open(&state);
    let states = states(&restored);
    assert!(
        states
            .iter()
            .any(|(_, state)| state.starts_with("rolled back "))
    );
    close(&journal);
    say("to the end");
}

#[test]
fn a_small_disk_that_is_really_full_behaves_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let command = Child::command_of(&program, dir.path(), "brim");
    // The mount is this child's alone, and goes with it.
    let script = r#"mount -t tmpfs -o size=6m tidegate "$0" && exec "$@""#;
    let inside = [command.get_program().to_owned()]
        .into_iter()
        .chain(command.get_args().map(ToOwned::to_owned))
        .collect::<Vec<_>>();
    let mut outside = std::process::Command::new("unshare");
    outside
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(dir.path())
        .args(inside)
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let lines = Child::spawn(outside).lines_to_end();
    if lines.is_empty() {
        // The promise is held by the tests above; here the machine allows no mount.
        eprintln!("no disk may be mounted here: not tried on one that is really full");
        return;
    }
    assert!(lines[0].contains("filled: "), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "to the end", "{lines:?}");
}
