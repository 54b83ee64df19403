//! Notices edits: of the file, of what it includes, and of every file that they name.
//!
//! A watch belongs to one task, the one that puts configurations into force, and every read goes through it: the ones
//! that an edit causes ([`Watch::next`]) and the ones that somebody asks for ([`Watch::reload`]). So no read can
//! overtake another, and what was told last is what was read last.
//!
//! Folders are watched, never files: an editor renames over a file, and a watch on it would stay with the old one.
//! What an event says is not looked at, because Kubernetes swaps a link and the file's own name never occurs; any
//! event may be an edit, and the bytes decide. Where no events come (network file systems, bind mounts), a look at the
//! bytes every [`Pace::poll`] finds the edit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::reader::Reader;
use crate::reader::{self, Dependency};
use crate::tls::Pairs;
use crate::{Loaded, load_by};

/// Events must be silent for so long before the files are read: an edit is often several events.
const SETTLE: Duration = Duration::from_millis(200);
/// After so long they are read even if the events go on.
const SETTLE_AT_MOST: Duration = Duration::from_millis(500);
/// The files are compared so often where no event comes.
const POLL: Duration = Duration::from_secs(10);
/// A look that takes longer hangs: a read that somebody asks for does not wait for it any more.
const HANGS: Duration = Duration::from_secs(1);
/// Where no file could be opened for want of descriptors, it is tried again so soon.
const STARVED_RETRY: Duration = Duration::from_millis(200);
/// Between two lines in the log about that.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The most links that one path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// How long a watch waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Events must be silent for so long: an edit is often several events. Default 200 ms.
    pub settle: Duration,
    /// But no longer than this since the first. Default 500 ms.
    pub settle_at_most: Duration,
    /// The files are compared so often without any event. Default 10 s.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: SETTLE,
            settle_at_most: SETTLE_AT_MOST,
            poll: POLL,
        }
    }
}

/// Watches a configuration file and all that it depends on.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    pace: Pace,
    /// What was told last, good or bad.
    told: u64,
    dependencies: Vec<Dependency>,
    /// What is watched. `None` before the first look, and while a look has it.
    folders: Option<Folders>,
    /// Holds at most one event, which is enough: it says that there were some.
    changed: Arc<Notify>,
    /// The look that is under way. It goes on when whoever waits for it does not.
    look: Option<JoinHandle<Seen>>,
    /// When to look, once an event came: silence since then, or at the latest.
    due: Option<Due>,
    next_poll: Instant,
    /// When it was last told that files cannot be opened.
    said_starved: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    silent: Instant,
    latest: Instant,
}

impl Watch {
    /// Watches a file that was just loaded. Changes since then are found too.
    pub fn start(path: &Path, initial: &Loaded) -> Self {
        Self::start_at(path, initial, Pace::default())
    }

    /// [`Self::start`] at another pace.
    pub fn start_at(path: &Path, initial: &Loaded, pace: Pace) -> Self {
        Self {
            path: path.to_owned(),
            pace,
            told: initial.fingerprint,
            dependencies: initial.dependencies.clone(),
            folders: None,
            changed: Arc::new(Notify::new()),
            look: None,
            due: None,
            next_poll: Instant::now() + pace.poll,
            said_starved: None,
        }
    }

    /// The next state of the files that differs from the one told last. A file that is gone, empty or half written is
    /// told like any other bad edit, once, and looked at again at the next event. A pair of `in_force` stays as it is while
    /// its files are none.
    ///
    /// Dropping the future loses nothing: the next call goes on where this one was.
    pub async fn next(&mut self, in_force: &Pairs) -> Loaded {
        loop {
            // A look that is under way is waited for first: events that come meanwhile are for the one after it.
            let task = if self.look.is_some() || self.folders.is_none() {
                Task::Arm
            } else {
                self.settled().await;
                Task::Compare(self.told)
            };
            let Some(loaded) = self.look(task, in_force).await else {
                continue;
            };
            if loaded.starved {
                // Nobody's mistake, and nothing is known of the edit: what was told stays told.
                self.starve(&loaded);
                continue;
            }
            // The look may have seen an edit half done, and the read none at all.
            let is_told = loaded.fingerprint == self.told;
            self.accept(&loaded);
            if !is_told {
                return loaded;
            }
        }
    }

    /// Reads the files now, whether they changed or not. `in_force` as for [`Self::next`].
    pub async fn reload(&mut self, in_force: &Pairs) -> Loaded {
        if self.look.is_some() {
            // It has the folders. What it saw does not count: it is read again.
            let _ = timeout(HANGS, self.look(Task::Read, in_force)).await;
            self.look = None;
        }
        loop {
            if let Some(loaded) = self.look(Task::Read, in_force).await {
                if loaded.starved {
                    // Whoever asked must be told, so that what comes after it is news.
                    self.told = loaded.fingerprint;
                    self.starve(&loaded);
                } else {
                    self.accept(&loaded);
                }
                return loaded;
            }
        }
    }

    /// Takes its ears away, as a network file system does.
    #[cfg(test)]
    pub(crate) fn deafen(&mut self) {
        self.folders = Some(Folders {
            watcher: None,
            ..Folders::new(&self.changed)
        });
    }

    /// Makes a look due that hangs until the other end is dropped, as on a network file system.
    #[cfg(test)]
    pub(crate) fn hang(&mut self) -> std::sync::mpsc::SyncSender<()> {
        let (held, hang) = std::sync::mpsc::sync_channel(1);
        let folders = self
            .folders
            .get_or_insert_with(|| Folders::new(&self.changed));
        folders.hang = Some(hang);
        self.next_poll = Instant::now();
        held
    }

    /// Waits until events came and went silent, or until it is time to look without any.
    async fn settled(&mut self) {
        loop {
            let now = Instant::now();
            let until = self
                .due
                .map_or(self.next_poll, |due| due.silent.min(due.latest));
            if until <= now {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => {
                    let now = Instant::now();
                    let latest = self.due.map_or(now + self.pace.settle_at_most, |due| due.latest);
                    self.due = Some(Due { silent: now + self.pace.settle, latest });
                }
                () = sleep_until(until) => return,
            }
        }
    }

    /// Waits for the look that is under way, or else for one with this task. The folders that count then are watched.
    async fn look(&mut self, task: Task, in_force: &Pairs) -> Option<Loaded> {
        let look = self.look.get_or_insert_with(|| {
            let (folders, changed) = (self.folders.take(), Arc::clone(&self.changed));
            let (path, dependencies) = (self.path.clone(), self.dependencies.clone());
            let in_force = in_force.clone();
            // It waits for disks, and on network file systems for other machines: never on the task's own thread.
            tokio::task::spawn_blocking(move || {
                let folders = folders.unwrap_or_else(|| Folders::new(&changed));
                task.look(&path, &dependencies, folders, &in_force)
            })
        });
        let seen = look.await.unwrap_or_else(|error| {
            let fault = error
                .try_into_panic()
                .unwrap_or_else(|error| Box::new(error.to_string()));
            Seen {
                loaded: Some(Loaded::faulty(&self.path, &*fault, Reader::of_files())),
                folders: Folders::new(&self.changed),
                is_new: false,
            }
        });
        self.look = None;
        self.folders = Some(seen.folders);
        self.due = None;
        self.next_poll = Instant::now() + self.pace.poll;
        if seen.is_new {
            // It may have changed before it was watched: one more look.
            self.changed.notify_one();
        }
        seen.loaded
    }

    /// Looks again soon, at what was known before.
    fn starve(&mut self, loaded: &Loaded) {
        let now = Instant::now();
        let at = now + STARVED_RETRY;
        self.due = Some(Due {
            silent: at,
            latest: at,
        });
        if self.said_starved.is_none_or(|said| now >= said + SAY_EVERY) {
            self.said_starved = Some(now);
            let problem = loaded.problems.first().map(|problem| &problem.message);
            tracing::warn!(
                problem,
                "files cannot be read for want of file descriptors; they are tried again every {STARVED_RETRY:?}; raise \
                 the limit of open files"
            );
        }
    }

    fn accept(&mut self, loaded: &Loaded) {
        self.told = loaded.fingerprint;
        self.dependencies.clone_from(&loaded.dependencies);
    }
}

/// What a look is for, besides watching the folders that count.
enum Task {
    Arm,
    /// Reads the files if they are not what was told.
    Compare(u64),
    Read,
}

/// What a look brought.
#[derive(Debug)]
struct Seen {
    /// What was read, if it was.
    loaded: Option<Loaded>,
    folders: Folders,
    /// Whether a folder is watched that was not before.
    is_new: bool,
}

impl Task {
    /// All that asks the disk. `folders` are those watched so far.
    fn look(
        self,
        path: &Path,
        dependencies: &[Dependency],
        mut folders: Folders,
        in_force: &Pairs,
    ) -> Seen {
        let reads = match self {
            Self::Arm => false,
            Self::Compare(told) => reader::fingerprint(dependencies) != told,
            Self::Read => true,
        };
        let load = |path: &Path, reader: &mut Reader| load_by(path, reader, in_force);
        let loaded = reads.then(|| read_by(path, load));
        let count = loaded.as_ref().map(|loaded| &*loaded.dependencies);
        let is_new = folders.arm(count.unwrap_or(dependencies));
        Seen {
            loaded,
            folders,
            is_new,
        }
    }
}

/// Reads the file by `load`. A fault of it is told of what it had read by then, and again once that has changed.
pub(crate) fn read_by(
    path: &Path,
    load: impl FnOnce(&Path, &mut Reader) -> io::Result<Loaded>,
) -> Loaded {
    let mut reader = Reader::of_files();
    match catch_unwind(AssertUnwindSafe(|| load(path, &mut reader))) {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => Loaded::unreadable(path, &error, reader),
        Err(panic) => Loaded::faulty(path, &*panic, reader),
    }
}

/// The folders that are watched.
struct Folders {
    /// `None` where the system gives no watch: then polling finds edits.
    watcher: Option<RecommendedWatcher>,
    /// By path; device and inode tell a folder that was replaced.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Told already, so that a folder that cannot be watched is told once.
    complained: BTreeSet<PathBuf>,
    #[cfg(test)]
    hang: Option<std::sync::mpsc::Receiver<()>>,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folders")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl Folders {
    /// None yet. Whatever happens in them is told to `changed`.
    fn new(changed: &Arc<Notify>) -> Self {
        let signal = Arc::clone(changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading causes access events, which would wake us for ever. Whatever else it is, an overflow or
            // an error too, may be an edit.
            if !matches!(
                event,
                Ok(notify::Event {
                    kind: EventKind::Access(_),
                    ..
                })
            ) {
                signal.notify_one();
            }
        });
        let watcher = watcher.map_err(|error| {
            tracing::warn!(%error, "cannot watch files: edits are found by looking every {POLL:?}");
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeMap::new(),
            complained: BTreeSet::new(),
            #[cfg(test)]
            hang: None,
        }
    }

    /// Watches exactly the folders that these dependencies lead through; says whether one is new.
    fn arm(&mut self, dependencies: &[Dependency]) -> bool {
        #[cfg(test)]
        let _ = self.hang.take().map(|hang| hang.recv());
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let mut wanted = BTreeMap::new();
        for folder in dependencies
            .iter()
            .flat_map(|dependency| folders_of(&dependency.watched()))
        {
            if let Ok(about) = fs::metadata(&folder) {
                wanted.insert(folder, (about.dev(), about.ino()));
            }
        }
        self.watched.retain(|folder, identity| {
            let keep = wanted.get(folder) == Some(identity);
            if !keep {
                // It may be gone already, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
            keep
        });
        let mut is_new = false;
        for (folder, identity) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.complained.remove(&folder);
                    self.watched.insert(folder, identity);
                    is_new = true;
                }
                Err(error) if self.complained.insert(folder.clone()) => {
                    let folder = folder.display();
                    tracing::warn!(%error, %folder, "cannot watch a folder: edits in it are found by looking every {POLL:?}");
                }
                Err(_) => {}
            }
        }
        is_new
    }
}

/// The real folders whose changes can change what a path leads to: the one that it is in, and each that holds a link
/// on its way. Where the way ends early, the last folder that exists: what is missing will appear there.
fn folders_of(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let Ok(absolute) = std::path::absolute(path) else {
        return folders;
    };
    let mut ahead: Vec<PathBuf> = steps(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        match step.components().next() {
            Some(Component::RootDir) => here = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                here.pop();
            }
            Some(Component::Normal(name)) => {
                let next = here.join(name);
                match fs::symlink_metadata(&next) {
                    Ok(about) if about.is_symlink() => {
                        folders.insert(here.clone());
                        links += 1;
                        let Ok(target) = fs::read_link(&next) else {
                            return folders;
                        };
                        if links > MOST_LINKS {
                            return folders;
                        }
                        ahead.extend(steps(&target));
                    }
                    Ok(about) if about.is_dir() => here = next,
                    _ => break,
                }
            }
            _ => {}
        }
    }
    folders.insert(here);
    folders
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}
