//! Edits are noticed however they are made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tls::Pairs;
use crate::watch::read_by;
use crate::{Loaded, Pace, Watch, load, load_by};

/// Polls so rarely that only events can be what is noticed.
const EVENTS: Pace = Pace {
    settle: Duration::from_millis(100),
    settle_at_most: Duration::from_millis(400),
    poll: Duration::from_secs(3600),
};

/// What a broken watch costs a test.
const PATIENCE: Duration = Duration::from_secs(20);

fn text(weight: u32) -> String {
    format!(
        "version: 1
listeners: [{{ name: in, address: 127.0.0.1:8080 }}]
services:
  - {{ name: app, stable: v1, versions: [{{ name: v1, endpoints: [\"127.0.0.1:1\"] }}, {{ name: v2, endpoints: [\"127.0.0.1:2\"] }}] }}
routes:
  - {{ service: app, rules: [{{ split: {{ weights: {{ v2: {weight}%, v1: {}% }} }} }}] }}
",
        100 - weight
    )
}

struct Edited {
    folder: tempfile::TempDir,
    watch: Watch,
}

impl Edited {
    /// A folder with a file at 1 %, watched.
    fn new(pace: Pace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidegate.yaml"), text(1)).unwrap();
        Self::watching(folder, pace)
    }

    fn watching(folder: tempfile::TempDir, pace: Pace) -> Self {
        let path = folder.path().join("tidegate.yaml");
        let initial = load(&path).unwrap();
        assert_eq!(initial.problems, []);
        let watch = Watch::start_at(&path, &initial, pace);
        Self { folder, watch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn next(&mut self) -> Loaded {
        tokio::time::timeout(PATIENCE, self.watch.next(&Pairs::default()))
            .await
            .expect("the edit is noticed")
    }

    /// The next state that is told must be the file at this weight; nothing may be told before.
    async fn comes_to(&mut self, weight: u32) {
        let loaded = self.next().await;
        assert_eq!(weight_of(&loaded), Some(weight), "{:?}", loaded.problems);
    }
}

/// The candidate's weight in percent; `None` for a bad file.
fn weight_of(loaded: &Loaded) -> Option<u32> {
    let crate::Action::Forward(forward) = &loaded.config.as_ref()?.routes[0].action else {
        return None;
    };
    let crate::Target::Split(split) = &forward.rules[0].target else {
        return None;
    };
    Some(split.weights[1].parts() / 1000)
}

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn an_atomic_rename_and_a_write_in_place_are_noticed_again_and_again() {
    let mut edited = Edited::new(EVENTS);
    for weight in [2, 3] {
        rename_over(&edited.path("tidegate.yaml"), &text(weight));
        edited.comes_to(weight).await;
        fs::write(edited.path("tidegate.yaml"), text(weight + 10)).unwrap();
        edited.comes_to(weight + 10).await;
    }
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_told_and_does_not_end_the_watch() {
    let mut edited = Edited::new(EVENTS);
    let path = edited.path("tidegate.yaml");
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let told = edited.next().await;
    assert!(told.config.is_none());
    assert!(told.problems[0].message.contains("a pipe"), "{told:?}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, text(2)).unwrap();
    edited.comes_to(2).await;
}

#[tokio::test]
async fn a_swap_of_the_data_link_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, weight| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("tidegate.yaml"), text(weight)).unwrap();
    };
    put("..1", 1);
    put("..2", 2);
    put("..3", 3);
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/tidegate.yaml", folder.path().join("tidegate.yaml")).unwrap();
    let mut edited = Edited::watching(folder, EVENTS);
    for weight in [2, 3] {
        symlink(format!("..{weight}"), edited.path("..data_tmp")).unwrap();
        fs::rename(edited.path("..data_tmp"), edited.path("..data")).unwrap();
        edited.comes_to(weight).await;
    }
    fs::write(edited.path("..3/tidegate.yaml"), text(4)).unwrap();
    edited.comes_to(4).await;
}

#[tokio::test]
async fn a_bad_file_is_told_once_and_a_good_one_again() {
    let mut edited = Edited::new(EVENTS);
    let path = edited.path("tidegate.yaml");
    let whole = text(2);

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let half = edited.next().await;
    assert!(
        half.config.is_none() && !half.problems.is_empty(),
        "half written"
    );

    fs::write(&path, "").unwrap();
    assert_eq!(edited.next().await.problems[0].code, "T100", "emptied");

    fs::remove_file(&path).unwrap();
    let gone = edited.next().await;
    assert_eq!(
        (gone.problems[0].code, gone.config.is_none()),
        ("T401", true),
        "deleted"
    );

    // Other files come and go: what was told is not told again.
    fs::write(edited.path("other"), "").unwrap();
    fs::write(&path, text(1)).unwrap();
    edited.comes_to(1).await;
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_not_told() {
    let mut edited = Edited::new(EVENTS);
    rename_over(&edited.path("tidegate.yaml"), &text(1));
    let nothing = tokio::time::timeout(
        EVENTS.settle_at_most * 4,
        edited.watch.next(&Pairs::default()),
    )
    .await;
    assert!(
        nothing.is_err(),
        "told: {:?}",
        nothing.map(|loaded| loaded.problems)
    );
    rename_over(&edited.path("tidegate.yaml"), &text(2));
    edited.comes_to(2).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("conf");
    let path = folder.join("tidegate.yaml");
    fs::create_dir(&folder).unwrap();
    fs::write(&path, text(1)).unwrap();
    let mut watch = Watch::start_at(&path, &load(&path).unwrap(), EVENTS);
    let next = async |watch: &mut Watch| {
        tokio::time::timeout(PATIENCE, watch.next(&Pairs::default()))
            .await
            .expect("noticed")
    };

    let new = outer.path().join("conf.new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("tidegate.yaml"), text(2)).unwrap();
    fs::rename(&folder, outer.path().join("conf.old")).unwrap();
    fs::rename(&new, &folder).unwrap();
    assert_eq!(weight_of(&next(&mut watch).await), Some(2));
    fs::write(&path, text(3)).unwrap();
    assert_eq!(weight_of(&next(&mut watch).await), Some(3));

    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(next(&mut watch).await.problems[0].code, "T401");
    fs::create_dir(&folder).unwrap();
    fs::write(&path, text(4)).unwrap();
    assert_eq!(weight_of(&next(&mut watch).await), Some(4));
}

#[tokio::test]
async fn whatever_the_file_names_is_a_part_of_it() {
    let mut edited = Edited::new(EVENTS);
    let path = edited.path("tidegate.yaml");
    let main = format!("{}runtime: {{ include: [\"more/*.yaml\"] }}\n", text(5));
    fs::write(&path, main).unwrap();
    edited.comes_to(5).await;
    // The folder appears after the pattern that looks into it.
    fs::create_dir(edited.path("more")).unwrap();

    let users = "identity: { user: [{ client_address: true }] }\nroutes: [{ name: x, service: app, match: { hosts: [a.b] }, rules: [{ to: v1, when: { user: { file: users } } }] }]\n";
    fs::write(edited.path("more/a.yaml"), users).unwrap();
    let missing = edited.next().await;
    assert_eq!(
        missing.problems[0].code, "T401",
        "a new file that the pattern matches, which names one that is not there"
    );

    for list in ["1", "1\n2"] {
        fs::write(edited.path("more/users"), list).unwrap();
        let loaded = edited.next().await;
        assert_eq!(loaded.problems, []);
        assert_eq!(loaded.config.unwrap().routes.len(), 2);
    }

    fs::remove_file(edited.path("more/a.yaml")).unwrap();
    assert_eq!(edited.next().await.config.unwrap().routes.len(), 1);
}

#[tokio::test]
async fn an_edit_before_the_watch_began_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, text(1)).unwrap();
    let initial = load(&path).unwrap();
    fs::write(&path, text(2)).unwrap();
    let mut edited = Edited {
        watch: Watch::start_at(&path, &initial, EVENTS),
        folder,
    };
    edited.comes_to(2).await;
}

#[tokio::test]
async fn where_no_events_come_a_look_at_the_bytes_finds_the_edit() {
    let mut edited = Edited::new(Pace {
        poll: Duration::from_millis(20),
        ..EVENTS
    });
    edited.watch.deafen();
    fs::write(edited.path("tidegate.yaml"), text(2)).unwrap();
    edited.comes_to(2).await;
    fs::write(edited.path("tidegate.yaml"), text(3)).unwrap();
    edited.comes_to(3).await;
}

#[tokio::test]
async fn a_forced_read_tells_what_is_there_and_the_watch_does_not_tell_it_again() {
    let mut edited = Edited::new(EVENTS);
    assert_eq!(
        weight_of(&edited.watch.reload(&Pairs::default()).await),
        Some(1),
        "changed or not"
    );
    fs::write(edited.path("tidegate.yaml"), text(2)).unwrap();
    assert_eq!(
        weight_of(&edited.watch.reload(&Pairs::default()).await),
        Some(2)
    );
    fs::write(edited.path("tidegate.yaml"), text(3)).unwrap();
    edited.comes_to(3).await;
}

#[tokio::test]
async fn dropping_the_wait_loses_no_edit() {
    let mut edited = Edited::new(EVENTS);
    fs::write(edited.path("tidegate.yaml"), text(2)).unwrap();
    let told = tokio::time::timeout(PATIENCE, async {
        let none = Pairs::default();
        loop {
            tokio::select! {
                biased;
                loaded = edited.watch.next(&none) => return loaded,
                () = tokio::time::sleep(Duration::from_millis(7)) => {}
            }
        }
    });
    assert_eq!(
        weight_of(&told.await.expect("the edit is noticed")),
        Some(2)
    );
}

#[tokio::test]
async fn a_file_that_is_back_as_soon_as_it_was_found_missing_is_noticed() {
    let mut edited = Edited::new(EVENTS);
    let path = edited.path("tidegate.yaml");
    fs::remove_file(&path).unwrap();
    let gone = read_by(&path, |path, reader| {
        let missing = load_by(path, reader, &Pairs::default());
        fs::write(path, text(2)).unwrap();
        missing
    });
    assert_eq!(gone.problems[0].code, "T401");
    edited.watch = Watch::start_at(&path, &gone, EVENTS);
    edited.comes_to(2).await;
}

#[tokio::test]
async fn a_fault_of_the_loader_is_told_once_and_the_edit_after_it_is_noticed() {
    let mut edited = Edited::new(EVENTS);
    let path = edited.path("tidegate.yaml");
    let fault = read_by(&path, |path, reader| {
        load_by(path, reader, &Pairs::default())?;
        panic!("of the test")
    });
    assert_eq!(fault.problems[0].code, "T999");
    let message = &fault.problems[0].message;
    assert!(
        message.ends_with("the edit is refused: of the test"),
        "{message}"
    );
    edited.watch = Watch::start_at(&path, &fault, EVENTS);
    let again = tokio::time::timeout(
        EVENTS.settle_at_most * 4,
        edited.watch.next(&Pairs::default()),
    )
    .await;
    assert!(again.is_err(), "what has not changed is not read again");
    fs::write(&path, text(2)).unwrap();
    edited.comes_to(2).await;
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_nobody_else_and_no_edit_is_lost() {
    let mut edited = Edited::new(EVENTS);
    let hangs = edited.watch.hang();
    for _ in 0..3 {
        // Time passes only where the thread is free.
        let told = tokio::time::timeout(
            Duration::from_millis(20),
            edited.watch.next(&Pairs::default()),
        )
        .await;
        assert!(told.is_err(), "nothing is told of a disk that hangs");
    }
    fs::write(edited.path("tidegate.yaml"), text(2)).unwrap();
    drop(hangs);
    edited.comes_to(2).await;
}

#[tokio::test]
async fn a_forced_read_does_not_wait_for_a_look_that_hangs() {
    let mut edited = Edited::new(EVENTS);
    let hangs = edited.watch.hang();
    let told = tokio::time::timeout(
        Duration::from_millis(20),
        edited.watch.next(&Pairs::default()),
    )
    .await;
    assert!(told.is_err());
    fs::write(edited.path("tidegate.yaml"), text(2)).unwrap();
    let forced = tokio::time::timeout(PATIENCE, edited.watch.reload(&Pairs::default())).await;
    assert_eq!(weight_of(&forced.expect("the file can be read")), Some(2));
    fs::write(edited.path("tidegate.yaml"), text(3)).unwrap();
    edited.comes_to(3).await;
    drop(hangs);
}
