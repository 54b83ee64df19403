//! Bounded messages, and descriptors, over one Unix connection. Everything here waits, with a bound: not for a runtime's
//! thread.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, UCred, recvmsg, sendmsg, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message may be so long. The longest are the states of a thousand rollouts, some kilobytes each.
pub const MESSAGE_BYTES: usize = 16 << 20;
/// Descriptors that travel together; the kernel takes no more than 253.
const DESCRIPTORS_AT_ONCE: usize = 64;
/// How long the other side may leave a message in the socket unread.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// One Unix connection.
#[derive(Debug)]
pub struct Line(UnixStream);

/// Why nothing more is heard, or can be said.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It has closed the connection, or died.
    #[error("it is gone")]
    Gone,
    /// It says nothing.
    #[error("it has said nothing for {0:?}")]
    Silent(Duration),
    /// A message is longer than any may be.
    #[error("a message of {0} bytes, of {MESSAGE_BYTES} at most")]
    TooLong(usize),
    /// A message is not what was to come.
    #[error("a message that makes no sense here: {0}")]
    Nonsense(#[source] serde_json::Error),
    /// Fewer descriptors came than were promised.
    #[error("{came} of {promised} sockets came")]
    Missing {
        /// So many came.
        came: usize,
        /// So many were promised.
        promised: usize,
    },
    /// Anything else that the system says.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => Self::Gone,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent(TAKEN_WITHIN),
            _ => Self::Io(error),
        }
    }
}

impl Line {
    /// Over this connection.
    ///
    /// # Errors
    /// Where the system refuses to let it wait.
    pub fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(TAKEN_WITHIN))?;
        Ok(Self(stream))
    }

    /// Who is at the other end, as the kernel says.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn peer(&self) -> io::Result<UCred> {
        Ok(sockopt::socket_peercred(&self.0)?)
    }

    /// Says something.
    ///
    /// # Errors
    /// Where nobody takes it.
    pub fn say(&self, message: &impl Serialize) -> Result<(), Broken> {
        let text = serde_json::to_vec(message).map_err(Broken::Nonsense)?;
        let length = u32::try_from(text.len()).ok();
        let length = length.filter(|_| text.len() <= MESSAGE_BYTES);
        let length = length.ok_or(Broken::TooLong(text.len()))?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend(text);
        (&self.0).write_all(&whole)?;
        Ok(())
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// Where none comes in time, or another one.
    pub fn hear<T: DeserializeOwned>(&self, within: Duration) -> Result<T, Broken> {
        let until = Instant::now() + within;
        let mut length = [0; 4];
        self.fill(&mut length, within, until)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_BYTES {
            return Err(Broken::TooLong(length));
        }
        let mut text = vec![0; length];
        self.fill(&mut text, within, until)?;
        serde_json::from_slice(&text).map_err(Broken::Nonsense)
    }

    /// Gives descriptors away; ours stay open.
    ///
    /// # Errors
    /// Where nobody takes them.
    pub fn give(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        for some in descriptors.chunks(DESCRIPTORS_AT_ONCE) {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let fits = beside.push(SendAncillaryMessage::ScmRights(some));
            assert!(fits, "there is space for all of them");
            // Descriptors travel beside bytes, never alone.
            let byte = [IoSlice::new(&[0])];
            sendmsg(&self.0, &byte, &mut beside, SendFlags::NOSIGNAL).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Takes so many descriptors.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn take(&self, count: usize, within: Duration) -> Result<Vec<OwnedFd>, Broken> {
        let until = Instant::now() + within;
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            self.wait_until(within, until)?;
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut bytes = [IoSliceMut::new(&mut byte)];
            // None of them may leak into a program that somebody starts.
            let came = recvmsg(&self.0, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC);
            let came = came.map_err(io::Error::from)?;
            if came.bytes == 0 {
                return Err(Broken::Gone);
            }
            let before = taken.len();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    taken.extend(descriptors);
                }
            }
            // The kernel leaves out what it has no room for, in this process's table, say.
            let promised = (count - before).min(DESCRIPTORS_AT_ONCE);
            if taken.len() - before != promised {
                let came = taken.len();
                return Err(Broken::Missing {
                    came,
                    promised: count,
                });
            }
        }
        Ok(taken)
    }

    fn fill(&self, mut buffer: &mut [u8], within: Duration, until: Instant) -> Result<(), Broken> {
        while !buffer.is_empty() {
            self.wait_until(within, until)?;
            match (&self.0).read(buffer) {
                Ok(0) => return Err(Broken::Gone),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Broken::Silent(within));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next read ends then at the latest.
    fn wait_until(&self, within: Duration, until: Instant) -> Result<(), Broken> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Silent(within));
        }
        Ok(self.0.set_read_timeout(Some(left))?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().unwrap();
        (Line::over(one).unwrap(), Line::over(other).unwrap())
    }

    #[test]
    fn what_is_said_is_heard_and_the_sockets_themselves_change_hands() {
        let (old, new) = pair();
        let sockets: Vec<_> = (0..130)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        old.say(&sockets.len()).unwrap();
        let all: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        old.give(&all).unwrap();
        old.say(&"that was all").unwrap();
        let count: usize = new.hear(SOON).unwrap();
        let taken = new.take(count, SOON).unwrap();
        assert_eq!(new.hear::<String>(SOON).unwrap(), "that was all");
        let address = |socket: &std::net::TcpListener| socket.local_addr().unwrap();
        let before: Vec<_> = sockets.iter().map(address).collect();
        // Somebody waits in a queue while the first owner lets go.
        let _caller = std::net::TcpStream::connect(before[129]).unwrap();
        drop(sockets);
        let taken: Vec<_> = taken.into_iter().map(std::net::TcpListener::from).collect();
        assert_eq!(taken.iter().map(address).collect::<Vec<_>>(), before);
        assert!(taken[129].accept().is_ok());
    }

    #[test]
    fn nothing_is_waited_for_longer_than_its_bound_and_nothing_is_longer_than_its_bound() {
        let (old, new) = pair();
        let short = Duration::from_millis(20);
        assert!(matches!(new.hear::<u32>(short), Err(Broken::Silent(_))));
        // A message that dribbles is bounded as a whole.
        (&old.0).write_all(&[0, 0]).unwrap();
        assert!(matches!(new.hear::<u32>(short), Err(Broken::Silent(_))));
        let (old, new) = pair();
        (&old.0).write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(matches!(new.hear::<u32>(SOON), Err(Broken::TooLong(_))));
        let (old, new) = pair();
        old.say(&"words").unwrap();
        assert!(matches!(new.hear::<u32>(SOON), Err(Broken::Nonsense(_))));
        drop(old);
        assert!(matches!(new.hear::<u32>(SOON), Err(Broken::Gone)));
        assert!(matches!(new.take(1, SOON), Err(Broken::Gone)));
        assert!(matches!(new.say(&1), Err(Broken::Gone)));
    }

    #[test]
    fn bytes_without_the_sockets_that_were_promised_are_refused() {
        let (old, new) = pair();
        old.say(&1).unwrap();
        assert!(matches!(
            new.take(1, SOON),
            Err(Broken::Missing {
                came: 0,
                promised: 1
            })
        ));
    }
}
