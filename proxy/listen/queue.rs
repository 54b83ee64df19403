//! The queue of a listening socket: whom the kernel has let in is served, also where the socket closes.
//!
//! A socket that closes takes its queue with it, and a caller may get in between the last look and the close. So first the
//! kernel lets nobody begin any more, then those who have begun get in, and then there is nobody left to lose.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::TcpListener;

use super::listener::is_of_one_caller;
use super::workers::BACKLOG;
use crate::descriptors::Use;

/// How long callers whose handshake has begun may take to end it. Over slower lines the kernel may still let one in too
/// late.
pub(super) const LAST_HANDSHAKES: Duration = Duration::from_millis(50);

/// The flags of a segment of TCP stand in its 14th byte (RFC 9293 §3.1).
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// From now on the kernel drops what begins a connection to this socket. Such a caller asks once more, a second later, when
/// the socket is closed, and is refused or let in by somebody else.
///
/// # Errors
/// Where the system knows no filters (bpf).
pub(super) fn let_nobody_begin(socket: &TcpListener) -> io::Result<()> {
    // Classic BPF, <linux/bpf_common.h>: load a byte, and, jump if equal, return.
    let only_syn = [
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN | ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(socket).attach_filter(&only_syn)
}

/// Closes a listening socket; who waits in its queue was let in by the kernel already, and is taken along. Nothing is
/// done between the last look and the close but the close.
pub(super) fn close_and_take(socket: TcpListener) -> Vec<(std::net::TcpStream, SocketAddr)> {
    let Ok(socket) = socket.into_std() else {
        return Vec::new();
    };
    let mut queue = Vec::new();
    while queue.len() < BACKLOG as usize {
        match socket.accept() {
            Ok((stream, _)) if Use::Requests.is_denied(&stream) => break,
            Ok(caller) => queue.push(caller),
            Err(error) if is_of_one_caller(&error) => {}
            Err(_) => break,
        }
    }
    drop(socket);
    queue.retain(|(stream, _)| stream.set_nonblocking(true).is_ok());
    queue
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listening() -> (TcpListener, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("its address");
        socket.set_nonblocking(true).expect("a socket");
        (TcpListener::from_std(socket).expect("a runtime"), address)
    }

    #[tokio::test]
    async fn the_whole_queue_is_served() {
        let (socket, address) = listening();
        // 128 is what the standard library lets wait.
        let callers: Vec<_> = (0..120)
            .map(|_| TcpStream::connect(address).expect("a place in the queue"))
            .collect();
        assert_eq!(close_and_take(socket).len(), callers.len());
        assert!(TcpStream::connect(address).is_err(), "and nobody else");
    }

    #[tokio::test]
    async fn who_comes_while_it_closes_is_not_let_in_and_thrown_out() {
        let (socket, address) = listening();
        let early = TcpStream::connect(address).expect("it listens");
        let_nobody_begin(&socket).expect("filters");
        let waits = Duration::from_millis(100);
        let late = TcpStream::connect_timeout(&address, waits);
        assert_eq!(
            late.map_err(|error| error.kind()).err(),
            Some(io::ErrorKind::TimedOut)
        );
        assert_eq!(close_and_take(socket).len(), 1);
        drop(early);
        let late = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        assert_eq!(
            late.map_err(|error| error.kind()).err(),
            Some(io::ErrorKind::ConnectionRefused)
        );
    }
}
