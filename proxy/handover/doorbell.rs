//! Where the new process rings: a Unix socket in the state directory, which only one process holds. It changes hands with
//! the rest, so that there is always exactly one who answers.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::line::Line;

/// The socket's name in the state directory.
pub const FILE: &str = "handover.sock";
/// Nobody but the owner may ring.
const MODE: u32 = 0o600;

/// Where the next process rings.
#[derive(Debug)]
pub struct Doorbell(UnixListener);

/// Why the other end is not to be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    /// It is another user's.
    #[error(
        "process {pid} belongs to user {uid}, and this one to user {ours}: only the same user may take over"
    )]
    OtherUser {
        /// The process.
        pid: u32,
        /// Its user.
        uid: u32,
        /// The user of this process.
        ours: u32,
    },
    /// The kernel does not say who it is.
    #[error("the system does not say who is at the other end: {0}")]
    Unknown(#[source] io::Error),
}

impl Doorbell {
    /// Hangs it up in the state directory, which this process must hold. One that a process left behind is replaced.
    ///
    /// # Errors
    /// Where the directory does not take a socket.
    pub fn hang(dir: &Path) -> io::Result<Self> {
        let held = File::open(dir)?;
        let new = through(&held, "handover.sock.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It gets its name when nobody else can ring any more.
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(MODE))?;
        fs::rename(&new, through(&held, FILE))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The one that was handed over.
    pub fn inherited(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// Rings at the process that holds this state directory.
    ///
    /// # Errors
    /// Where nobody does.
    pub fn ring(dir: &Path) -> io::Result<Line> {
        let held = File::open(dir)?;
        Line::over(UnixStream::connect(through(&held, FILE))?)
    }

    /// For the runtime that listens to it.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn socket(&self) -> io::Result<UnixListener> {
        self.0.try_clone()
    }

    /// Takes it down: this process ends, and nobody follows.
    pub fn take_down(self, dir: &Path) {
        // Where it stays, whoever rings learns that nobody is there.
        let _ = fs::remove_file(dir.join(FILE));
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who is at the other end, where it is the same user.
///
/// # Errors
/// Where it is not.
pub fn familiar(line: &Line) -> Result<u32, Stranger> {
    let peer = line.peer().map_err(Stranger::Unknown)?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or_default();
    let (uid, ours) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    if uid == ours {
        Ok(pid)
    } else {
        Err(Stranger::OtherUser { pid, uid, ours })
    }
}

/// A name in the directory, by way of its descriptor: a socket's path may have 107 bytes, a directory's many more.
fn through(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hangs_in_a_deep_directory_for_its_owner_alone_and_a_dead_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        assert!(Doorbell::ring(&deep).is_err(), "nobody is there");
        drop(Doorbell::hang(&deep).unwrap());
        assert!(Doorbell::ring(&deep).is_err(), "it died");
        let bell = Doorbell::hang(&deep).unwrap();
        let mode = fs::metadata(deep.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let line = Doorbell::ring(&deep).unwrap();
        assert_eq!(familiar(&line).unwrap(), std::process::id());
        bell.take_down(&deep);
        assert!(!deep.join(FILE).exists());
    }
}
