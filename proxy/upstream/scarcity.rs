//! What the proxy itself lacks for one more connection. It is no endpoint's failure, however many requests it costs.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tidegate_config::EndpointAddress;

/// Between two lines in the log about the same thing.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scarcity {
    /// File descriptors, of the process or of the machine.
    Files,
    /// The kernel's memory.
    Memory,
    /// Local ports toward an endpoint.
    Ports,
}

impl Scarcity {
    /// What is lacking where a connection failed so; `None` where the other end is to blame.
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::NOMEM | Errno::NOBUFS => Some(Self::Memory),
            Errno::ADDRNOTAVAIL => Some(Self::Ports),
            _ => None,
        }
    }

    /// Tells the operator, unless that was done a moment ago.
    pub fn tell(self, endpoint: &EndpointAddress, error: &io::Error) {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if is_due(&NEXT, BEGAN.elapsed()) {
            tracing::error!(%endpoint, %error, "cannot connect to a version: {}", self.way_out());
        }
    }

    fn way_out(self) -> &'static str {
        match self {
            Self::Files => "raise the limit of open files or lower limits.connections",
            Self::Memory => "the kernel has no memory for another socket; lower limits.connections",
            Self::Ports => {
                "all local ports toward it are used up, or none of this machine's addresses fits; widen \
                 net.ipv4.ip_local_port_range, lower pool.max_per_endpoint or add endpoints"
            }
        }
    }
}

/// Whether it is time for a line; `next` is when the next one may be written, in milliseconds.
pub(super) fn is_due(next: &AtomicU64, now: Duration) -> bool {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let due = |next: u64| (next <= millis(now)).then(|| millis(now + SAY_EVERY));
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_here_is_told_apart_from_what_the_other_end_does() {
        let of = |errno: Errno| Scarcity::of(&errno.into());
        assert_eq!(of(Errno::MFILE), Some(Scarcity::Files));
        assert_eq!(of(Errno::NFILE), Some(Scarcity::Files));
        assert_eq!(of(Errno::NOMEM), Some(Scarcity::Memory));
        assert_eq!(of(Errno::NOBUFS), Some(Scarcity::Memory));
        assert_eq!(of(Errno::ADDRNOTAVAIL), Some(Scarcity::Ports));
        for theirs in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::NOENT,
        ] {
            assert_eq!(of(theirs), None);
        }
        assert_eq!(Scarcity::of(&io::ErrorKind::BrokenPipe.into()), None);
    }

    #[test]
    fn the_log_gets_one_line_in_ten_seconds() {
        let next = AtomicU64::new(0);
        let told = (0..250)
            .filter(|tenths| is_due(&next, Duration::from_millis(tenths * 100)))
            .count();
        assert_eq!(told, 3, "in 25 seconds");
    }
}
