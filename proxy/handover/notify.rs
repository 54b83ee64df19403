//! Whoever started the process is told when it is ready, and who it is now (`NOTIFY_SOCKET`, sd_notify(3)). Where nobody
//! wants to know, nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// This process is ready.
pub fn ready() {
    tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
}

/// Another process has taken over.
pub fn follows(pid: u32) {
    tell(&format!("MAINPID={pid}\n"));
}

/// This process is on its way out, and nobody follows.
pub fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(words: &str) {
    if let Some(to) = std::env::var_os(VARIABLE)
        && let Err(error) = send(&to, words)
    {
        tracing::warn!(%error, "{VARIABLE} is set, and cannot be told: {error}");
    }
}

fn send(to: &OsStr, words: &str) -> io::Result<()> {
    let address = match to.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service supervisor that does not read must not hold up a proxy.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("tidegate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let name = format!("@{name}");
        for (to, socket) in [(path.as_os_str(), by_path), (OsStr::new(&name), by_name)] {
            send(to, "READY=1\n").unwrap();
            let mut heard = [0; 16];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
    }
}
