//! What is remembered comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::*;

#[test]
fn a_directory_that_was_never_used_is_made_for_its_owner_alone_and_says_that_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/state");
    let (journal, restored) = open(&state);
    assert!(restored.empty);
    reserve(&journal, "shop").unwrap();
    write(&journal, kept(&[("shop", "holding")])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in fs::read_dir(&state).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    close(&journal);
    let (journal, restored) = open(&state);
    assert!(!restored.empty, "a used directory is not empty");
    close(&journal);
}

#[test]
fn everything_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    reserve(&journal, "shop").unwrap();
    let at = "2026-11-21T10:00:00.123456789Z".parse().unwrap();
    let first = entry(journal.next_seq(), at);
    write(
        &journal,
        Write {
            history: vec![first.clone()],
            evidence: vec![("app".to_owned(), b"start".to_vec())],
            ..kept(&[("shop", "holding at 5 %"), ("app", "waiting")])
        },
    )
    .unwrap();
    journal.snapshot("shop", b"all so far".to_vec()).unwrap();
    assert_eq!(
        journal.evidence("shop", vec![b"1".to_vec(), b"2".to_vec()]),
        0
    );
    assert_eq!(journal.evidence("shop", vec![b"3".to_vec()]), 0);
    latch(&journal, rolled_back("shop", 1)).unwrap();
    close(&journal);

    let (journal, restored) = open(dir.path());
    assert_eq!(
        states(&restored),
        [("app", "waiting"), ("shop", "holding at 5 %")]
    );
    assert_eq!(
        restored.evidence["shop"].snapshot.as_deref(),
        Some(&b"all so far"[..])
    );
    assert_eq!(restored.evidence["shop"].events, [b"1", b"2", b"3"]);
    assert_eq!(
        restored.evidence["app"].snapshot.as_deref(),
        Some(&b"start"[..])
    );
    assert_eq!(restored.latches, [rolled_back("shop", 1)]);
    assert_eq!(restored.history, [first]);
    assert!(restored.doubtful.is_empty() && restored.unreadable.is_none());
    assert_eq!(journal.next_seq(), 2, "numbers of history go on");

    // And on it goes, in the same place.
    assert_eq!(journal.evidence("shop", vec![b"4".to_vec()]), 0);
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(restored.evidence["shop"].events, [b"1", b"2", b"3", b"4"]);
    journal.snapshot("shop", b"anew".to_vec()).unwrap();
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(
        restored.evidence["shop"].snapshot.as_deref(),
        Some(&b"anew"[..])
    );
    assert!(
        restored.evidence["shop"].events.is_empty(),
        "a snapshot replaces the events"
    );
    close(&journal);
}

#[test]
fn evidence_alone_is_written_within_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    assert_eq!(journal.evidence("shop", vec![b"1".to_vec()]), 0);
    wait_until("the event reaches the disk by itself", || {
        fs::read(dir.path().join("journal.redb"))
            .unwrap()
            .windows(4)
            .any(|bytes| bytes == b"shop")
    });
    close(&journal);
}

#[test]
fn a_state_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    // The lock belongs to the open file, not to the process: a second one within it is refused like another process.
    let refused = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    let me = format!("(process {})", std::process::id());
    assert!(refused.to_string().contains(&me), "{refused}");

    let other = child::Child::start(dir.path(), "open");
    let told = other.lines_to_end();
    assert!(
        told.contains(&format!("refused: {refused}")),
        "another process: {told:?}"
    );

    close(&journal);
    open(dir.path()).0.close(SOON);
}

#[test]
fn a_directory_that_cannot_be_written_to_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    fs::write(&file, "not a directory").unwrap();
    let refused = Journal::open(&file).unwrap_err();
    assert!(
        matches!(refused, OpenError::NotWritable { .. }),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("cannot be written to"),
        "{refused}"
    );

    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::getuid().is_root() {
        // Root may write everywhere; a child that is somebody else may not.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        let program = dir.path().join("tests");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = child::Child::command_of(&program, &closed, "open");
        command.uid(65_534).gid(65_534).current_dir("/");
        let told = child::Child::spawn(command).lines_to_end();
        let told = told.join("\n");
        assert!(told.contains("cannot be written to"), "{told}");
    } else {
        let refused = Journal::open(&closed).unwrap_err();
        assert!(
            matches!(refused, OpenError::NotWritable { .. }),
            "{refused}"
        );
    }
}

#[test]
fn history_is_bounded_by_count_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let more = HISTORY_ENTRIES + 50;
    for part in (1..=more).collect::<Vec<_>>().chunks(100) {
        let history = part.iter().map(|seq| entry(*seq, start)).collect();
        write(
            &journal,
            Write {
                history,
                ..kept(&[])
            },
        )
        .unwrap();
    }
    close(&journal);
    let (journal, restored) = open(dir.path());
    let seqs: Vec<_> = restored.history.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (51..=more).collect::<Vec<_>>(), "the newest are kept");

    let history = vec![
        entry(more + 1, start + HISTORY_AGE),
        entry(more + 2, start + HISTORY_AGE),
    ];
    write(
        &journal,
        Write {
            history,
            ..kept(&[])
        },
    )
    .unwrap();
    let a_second_later = start + HISTORY_AGE + Duration::from_secs(1);
    let history = vec![entry(more + 3, a_second_later)];
    write(
        &journal,
        Write {
            history,
            ..kept(&[])
        },
    )
    .unwrap();
    close(&journal);
    let (journal, restored) = open(dir.path());
    let seqs: Vec<_> = restored.history.iter().map(|entry| entry.seq).collect();
    assert_eq!(
        seqs,
        [more + 1, more + 2, more + 3],
        "what is older than 90 days goes"
    );
    close(&journal);
}

#[test]
fn a_forgotten_rollout_leaves_nothing_but_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for rollout in ["app", "shop"] {
        reserve(&journal, rollout).unwrap();
        latch(&journal, rolled_back(rollout, 1)).unwrap();
        assert_eq!(journal.evidence(rollout, vec![b"1".to_vec()]), 0);
    }
    let history = vec![entry(1, Timestamp::UNIX_EPOCH)];
    write(
        &journal,
        Write {
            history,
            ..kept(&[("app", "x"), ("shop", "x")])
        },
    )
    .unwrap();
    journal.forget("shop").unwrap();
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(states(&restored), [("app", "x")]);
    assert_eq!(restored.latches, [rolled_back("app", 1)]);
    assert_eq!(restored.evidence.keys().collect::<Vec<_>>(), ["app"]);
    assert_eq!(restored.history.len(), 1);
    // Its place is used again.
    for number in 0..15 {
        reserve(&journal, &format!("other-{number}")).unwrap();
    }
    assert_eq!(
        fs::metadata(dir.path().join("latches")).unwrap().len(),
        16 * 8_192
    );
    close(&journal);
}

#[test]
fn a_rollout_that_comes_back_while_it_is_forgotten_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for _ in 0..50 {
        reserve(&journal, "shop").unwrap();
        write(&journal, kept(&[("shop", "x")])).unwrap();
        journal.forget("shop").unwrap();
        reserve(&journal, "shop").unwrap();
        latch(&journal, rolled_back("shop", 7)).unwrap();
    }
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(restored.latches, [rolled_back("shop", 7)]);
    close(&journal);
}

#[test]
fn a_latch_counts_until_a_newer_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    for attempt in 1..=5 {
        let (journal, restored) = open(dir.path());
        let before = (attempt > 1).then(|| rolled_back("shop", attempt - 1));
        assert_eq!(restored.latches, Vec::from_iter(before));
        // A place for the next attempt does not lift the latch of the last one.
        reserve(&journal, "shop").unwrap();
        close(&journal);
        let (journal, restored) = open(dir.path());
        assert_eq!(restored.latches.len(), usize::from(attempt > 1));
        latch(&journal, rolled_back("shop", attempt)).unwrap();
        close(&journal);
    }
}

#[test]
fn a_latch_without_room_for_its_plan_is_refused_before_a_weight_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let (done, told) = answer();
    journal.reserve("shop", &"k".repeat(4_000), done).unwrap();
    assert!(matches!(heard(&told), Err(WriteError::TooLong(_))));
    // A reason is cut, wherever its characters end.
    reserve(&journal, "shop").unwrap();
    let long = Latch {
        reason: "\u{1}é\"".repeat(3_000),
        ..rolled_back("shop", 1)
    };
    latch(&journal, long.clone()).unwrap();
    close(&journal);
    let (journal, restored) = open(dir.path());
    let reason = &restored.latches[0].reason;
    assert!(
        long.reason.starts_with(reason) && reason.len() > 300,
        "{} bytes",
        reason.len()
    );
    assert!(journal.health().is_fine());
    close(&journal);
}

#[test]
fn a_thousand_rollouts_get_their_places_and_keep_their_latches() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut waiting = Vec::new();
    for number in 0..1_000 {
        let (done, told) = answer();
        journal
            .reserve(&format!("rollout-{number}"), "key", done)
            .unwrap();
        waiting.push(told);
    }
    waiting.iter().for_each(|told| heard(told).unwrap());
    for number in (0..1_000).step_by(100) {
        latch(&journal, rolled_back(&format!("rollout-{number}"), 1)).unwrap();
    }
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(restored.latches.len(), 10);
    close(&journal);
}
