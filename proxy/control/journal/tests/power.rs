//! A loss of power: of what was not yet durable, any sectors may have reached the disk and any may not.

use std::fs;
use std::sync::Arc;

use super::*;

/// What a disk writes whole.
const SECTOR: usize = 512;
/// So many losses are tried at each moment.
const LOSSES: usize = 8;
/// So many versions are written, each of another size.
const VERSIONS: u64 = 12;

/// The file as it was durable last, and as it would be after the sync that is about to be.
struct Moment {
    durable: Vec<u8>,
    written: Vec<u8>,
    version: u64,
}

fn text(version: u64) -> String {
    // Some fit where something was before, some make the file grow.
    format!("{version} ").repeat(1 + 40_000 * (version as usize % 4))
}

/// Writes version after version; every moment before a sync is kept.
fn moments(dir: &Path) -> Vec<Moment> {
    let file = dir.join("journal.redb");
    let (journal, _) = open(dir);
    close(&journal);
    let mut durable = fs::read(&file).unwrap();
    let seen = file.clone();
    let (tell, told) = sync_channel::<Vec<u8>>(64);
    let steps = Steps::told_to(move |step| {
        if step == Step::StoreSync {
            // Whoever closes the file at the end is not listened to any more.
            let _ = tell.try_send(fs::read(&seen).unwrap());
        }
    });
    let (journal, _) = Journal::open_with(dir, steps).unwrap();
    let mut moments = Vec::new();
    let mut take = |version| {
        for written in told.try_iter() {
            let durable = std::mem::replace(&mut durable, written.clone());
            moments.push(Moment {
                durable,
                written,
                version,
            });
        }
    };
    take(0);
    for version in 1..=VERSIONS {
        let history = vec![entry(version, Timestamp::UNIX_EPOCH)];
        let states = kept(&[("app", &text(version)), ("shop", &text(version))]);
        write(&journal, Write { history, ..states }).unwrap();
        take(version);
    }
    close(&journal);
    take(VERSIONS);
    moments
}

#[test]
fn a_loss_of_power_leaves_the_last_durable_state_or_the_one_under_way() {
    let worked = light_dir();
    let moments = moments(worked.path());
    assert!(
        moments.len() as u64 > VERSIONS,
        "every sync is seen: {}",
        moments.len()
    );
    let mut chance = fastrand::Rng::with_seed(5);
    let (mut before, mut after) = (0, 0);
    for (number, moment) in moments.iter().enumerate() {
        for loss in 0..LOSSES {
            let mut disk = moment.durable.clone();
            // The new length may have reached the disk, or only what lies within the old one.
            if chance.bool() {
                disk.resize(moment.written.len(), 0);
            }
            let share = [0.1, 0.5, 0.9, 1.0][loss % 4];
            for from in (0..disk.len().min(moment.written.len())).step_by(SECTOR) {
                let to = (from + SECTOR).min(disk.len()).min(moment.written.len());
                if chance.f64() < share {
                    disk[from..to].copy_from_slice(&moment.written[from..to]);
                }
            }
            let dir = light_dir();
            fs::write(dir.path().join("journal.redb"), &disk).unwrap();
            let directory = Arc::new(directory::Directory::take(dir.path()).unwrap());
            let (_, kept, trouble) =
                store::Store::open(directory, false, Steps::default()).unwrap();
            let context = format!("moment {number} of version {}, loss {loss}", moment.version);
            assert_eq!(kept.unreadable, None, "{context}");
            assert_eq!(trouble, None, "{context}");
            let version = kept.history.last().map_or(0, |entry| entry.seq);
            assert!(
                version == moment.version || version + 1 == moment.version,
                "{context}: version {version}"
            );
            before += usize::from(version < moment.version);
            after += usize::from(version == moment.version);
            for (rollout, state) in &kept.states {
                assert!(
                    *state == text(version).into_bytes(),
                    "{context}: {rollout} by half"
                );
            }
            assert_eq!(
                kept.states.len(),
                if version == 0 { 0 } else { 2 },
                "{context}"
            );
        }
    }
    assert!(before > 10 && after > 10, "{before} before, {after} after");
}
