//! Files that are damaged: told, set aside, never believed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;

/// So many damages are tried on each file.
const DAMAGES: usize = 400;

/// A directory with a history of its own: its bytes, and what each version of the state was.
fn a_used_directory() -> (Vec<u8>, Vec<u8>) {
    let dir = light_dir();
    let (journal, _) = open(dir.path());
    for rollout in ["app", "shop", "pay"] {
        reserve(&journal, rollout).unwrap();
    }
    for version in 1..=9 {
        let state = version.to_string();
        let history = vec![entry(version, Timestamp::UNIX_EPOCH)];
        let states = kept(&[("app", &state), ("shop", &state)]);
        let evidence = vec![("shop".to_owned(), state.as_bytes().repeat(3_000))];
        write(
            &journal,
            Write {
                history,
                evidence,
                ..states
            },
        )
        .unwrap();
    }
    for (rollout, attempt) in [("shop", 1), ("shop", 2), ("app", 1)] {
        latch(&journal, rolled_back(rollout, attempt)).unwrap();
    }
    close(&journal);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    (read("journal.redb"), read("latches"))
}

/// Something that happens to a file.
fn damage(bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) -> String {
    let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    // Mostly where something stands: the rest of the file is blank.
    let at = if chance.u8(0..4) == 0 {
        chance.usize(0..bytes.len())
    } else {
        used[chance.usize(0..used.len())]
    };
    match chance.u8(0..5) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            let page = at / 4_096 * 4_096;
            let end = (page + 4_096).min(bytes.len());
            bytes[page..end].fill(0);
            format!("page {page} blank")
        }
        2 => {
            let sector = at / 512 * 512;
            let end = (sector + 512).min(bytes.len());
            bytes[sector..end].fill_with(|| chance.u8(..));
            format!("sector {sector} garbled")
        }
        3 => {
            let (from, page) = (
                chance.usize(0..bytes.len()) / 4_096 * 4_096,
                at / 4_096 * 4_096,
            );
            let end = (from + 4_096).min(bytes.len());
            if page + (end - from) <= bytes.len() {
                bytes.copy_within(from..end, page);
            }
            format!("page {from} written to {page}")
        }
        _ => {
            let bit = 1 << chance.u8(0..8);
            bytes[at] ^= bit;
            format!("byte {at} ^ {bit}")
        }
    }
}

fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().contains("unreadable-"))
        .collect()
}

#[test]
fn a_damaged_journal_is_set_aside_or_read_as_it_once_was_and_latches_are_read_all_the_same() {
    let (journal_bytes, latch_bytes) = a_used_directory();
    let mut chance = fastrand::Rng::with_seed(7);
    let (mut unreadable, mut whole, mut older) = (0, 0, 0);
    for _ in 0..DAMAGES {
        let mut bytes = journal_bytes.clone();
        let what = damage(&mut bytes, &mut chance);
        let dir = light_dir();
        fs::write(dir.path().join("journal.redb"), &bytes).unwrap();
        fs::write(dir.path().join("latches"), &latch_bytes).unwrap();
        let (journal, restored) = open(dir.path());
        assert_eq!(restored.latches.len(), 2, "{what}");
        if let Some(told) = &restored.unreadable {
            unreadable += 1;
            assert!(told.contains("unreadable-"), "{told}");
            assert_eq!(
                fs::read(&set_aside(dir.path())[0]).unwrap(),
                bytes,
                "{what}: kept as it was"
            );
            assert!(restored.states.is_empty() && restored.history.is_empty());
        } else {
            let version = restored.history.last().map_or(0, |entry| entry.seq);
            let state = version.to_string();
            assert_eq!(
                states(&restored),
                [("app", &*state), ("shop", &*state)],
                "{what}"
            );
            let evidence = state.as_bytes().repeat(3_000);
            assert_eq!(restored.evidence["shop"].snapshot, Some(evidence), "{what}");
            whole += usize::from(version == 9);
            older += usize::from(version < 9);
        }
        // And it can be written to.
        write(&journal, kept(&[("app", "after")])).unwrap();
        close(&journal);
        let (journal, restored) = open(dir.path());
        assert_eq!(restored.unreadable, None, "{what}");
        assert_eq!(states(&restored)[0], ("app", "after"), "{what}");
        close(&journal);
    }
    assert!(
        unreadable > 50 && whole > 50,
        "{unreadable} set aside, {whole} read, {older} older"
    );
    eprintln!("{unreadable} set aside, {whole} read, {older} read as they were before");
}

#[test]
fn a_damaged_latch_is_never_another_one() {
    let (_, latch_bytes) = a_used_directory();
    let mut chance = fastrand::Rng::with_seed(11);
    let (mut whole, mut doubted, mut unreadable) = (0, 0, 0);
    for _ in 0..DAMAGES {
        let mut bytes = latch_bytes.clone();
        let what = damage(&mut bytes, &mut chance);
        let dir = light_dir();
        fs::write(dir.path().join("latches"), &bytes).unwrap();
        let (journal, restored) = open(dir.path());
        let unused = restored.latches.is_empty() && bytes.len() < 8_192;
        assert!(
            restored.unreadable.is_some() || unused,
            "{what}: no journal is there"
        );
        let written = [
            rolled_back("shop", 1),
            rolled_back("shop", 2),
            rolled_back("app", 1),
        ];
        for latch in &restored.latches {
            assert!(written.contains(latch), "{what}: {latch:?}");
        }
        let has = |latch: &Latch| restored.latches.contains(latch);
        whole += usize::from(has(&written[1]) && has(&written[2]));
        doubted += usize::from(!restored.doubtful.is_empty());
        unreadable += usize::from(restored.latches_unreadable > 0);
        // Places can be had and latches written as before.
        reserve(&journal, "new").unwrap();
        latch(&journal, rolled_back("new", 1)).unwrap();
        latch(&journal, rolled_back("shop", 3)).unwrap();
        close(&journal);
        let (journal, restored) = open(dir.path());
        assert!(restored.latches.contains(&rolled_back("new", 1)), "{what}");
        assert!(restored.latches.contains(&rolled_back("shop", 3)), "{what}");
        close(&journal);
    }
    assert!(
        whole > 50 && doubted > 20,
        "{whole} whole, {doubted} doubted, {unreadable} unreadable"
    );
}

#[test]
fn a_latch_torn_while_it_was_written_is_doubted_and_the_one_before_stands() {
    let dir = light_dir();
    let (journal, _) = open(dir.path());
    reserve(&journal, "shop").unwrap();
    close(&journal);
    let file = dir.path().join("latches");
    let mut before = fs::read(&file).unwrap();
    for attempt in 1..=4 {
        let (journal, _) = open(dir.path());
        latch(&journal, rolled_back("shop", attempt)).unwrap();
        close(&journal);
        let after = fs::read(&file).unwrap();
        // Of what was written only some sectors reached the disk.
        let changed: Vec<_> = (0..after.len())
            .filter(|at| before[*at] != after[*at])
            .collect();
        let (first, last) = (changed[0], changed[changed.len() - 1]);
        for cut in first + 1..=last {
            let mut torn = before.clone();
            torn[..cut].copy_from_slice(&after[..cut]);
            if torn == after {
                continue;
            }
            let torn_dir = light_dir();
            fs::write(torn_dir.path().join("latches"), &torn).unwrap();
            let directory = Arc::new(directory::Directory::take(torn_dir.path()).unwrap());
            let (_, found) = slots::Slots::open(&directory, Steps::default()).unwrap();
            assert_eq!(found.doubtful, ["shop"], "attempt {attempt}, cut at {cut}");
            let stands = (attempt > 1).then(|| rolled_back("shop", attempt - 1));
            assert_eq!(found.latches, Vec::from_iter(stands));
        }
        before = after;
    }
}

#[test]
fn a_journal_of_another_version_is_set_aside_and_says_so() {
    let dir = light_dir();
    let (journal, _) = open(dir.path());
    close(&journal);
    let database = redb::Database::open(dir.path().join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (journal, restored) = open(dir.path());
    let told = restored.unreadable.unwrap();
    assert!(
        told.contains("format 2") && told.contains("this one reads 1"),
        "{told}"
    );
    close(&journal);
}

#[test]
fn a_lost_journal_is_told_until_something_is_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.redb"), "nonsense").unwrap();
    for _ in 0..3 {
        let (journal, restored) = open(dir.path());
        assert!(restored.unreadable.is_some() && !restored.empty);
        close(&journal);
    }
    let (journal, _) = open(dir.path());
    write(&journal, kept(&[("shop", "paused")])).unwrap();
    reserve(&journal, "shop").unwrap();
    close(&journal);
    let (journal, restored) = open(dir.path());
    assert_eq!(restored.unreadable, None);
    close(&journal);
    for file in set_aside(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    fs::remove_file(dir.path().join("journal.redb")).unwrap();
    let (journal, restored) = open(dir.path());
    assert_eq!(
        restored.unreadable.as_deref(),
        Some("journal.redb is missing")
    );
    close(&journal);
}

#[test]
fn only_the_newest_damaged_files_are_kept() {
    let dir = light_dir();
    for _ in 0..8 {
        fs::write(dir.path().join("journal.redb"), "nonsense").unwrap();
        let (journal, restored) = open(dir.path());
        assert!(restored.unreadable.is_some());
        close(&journal);
    }
    assert_eq!(set_aside(dir.path()).len(), 4);
}
