//! The seats of a door: so many connections at one time. Where all are taken, whoever has asked nothing for longest
//! gives way to whoever comes, so that no crowd of silent strangers keeps a probe out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Connections open at one time, for each address.
pub const MAX_CONNECTIONS: usize = 256;

/// The connections of one door.
#[derive(Debug, Default)]
pub struct Seats {
    taken: Vec<(Arc<Seat>, AbortHandle)>,
    line: Arc<Line>,
}

/// One connection's place.
#[derive(Debug)]
pub struct Seat {
    /// Requests under way.
    requests: AtomicUsize,
    /// Its place among the silent: taken when it came, and again by the end of each request.
    silent_since: AtomicU64,
    line: Arc<Line>,
}

/// Where silent connections stand, the one that has been silent longest first.
#[derive(Debug, Default)]
struct Line {
    next: AtomicU64,
    /// A request has ended.
    grown: Notify,
}

impl Line {
    fn join(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Seats {
    /// A seat for somebody new, once there is room. Says whether somebody had to give way.
    pub async fn free(&mut self) -> (Arc<Seat>, bool) {
        let mut gave_way = false;
        loop {
            self.taken.retain(|(_, task)| !task.is_finished());
            if self.taken.len() < MAX_CONNECTIONS {
                let seat = Seat {
                    requests: AtomicUsize::new(0),
                    silent_since: AtomicU64::new(self.line.join()),
                    line: Arc::clone(&self.line),
                };
                return (Arc::new(seat), gave_way);
            }
            if self.dismiss() {
                gave_way = true;
            } else {
                // Every seat has a request under way, and each of these has a bound.
                self.line.grown.notified().await;
            }
        }
    }

    /// Remembers who sits there.
    pub fn take(&mut self, seat: Arc<Seat>, task: AbortHandle) {
        self.taken.push((seat, task));
    }

    /// Closes the connection that has been silent longest, if one is silent.
    pub fn dismiss(&mut self) -> bool {
        let silent = self.taken.iter().enumerate().filter_map(|(at, (seat, _))| {
            let idle = seat.requests.load(Ordering::Relaxed) == 0;
            idle.then(|| (seat.silent_since.load(Ordering::Relaxed), at))
        });
        let Some((_, longest)) = silent.min() else {
            return false;
        };
        self.taken.swap_remove(longest).1.abort();
        true
    }
}

impl Seat {
    /// A request begins; it is under way until the result is dropped.
    pub fn request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

/// A request that has begun and not ended.
#[derive(Debug)]
pub struct UnderWay(Arc<Seat>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Seat {
            requests,
            silent_since,
            line,
        } = &*self.0;
        silent_since.store(line.join(), Ordering::Relaxed);
        requests.fetch_sub(1, Ordering::Relaxed);
        line.grown.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    async fn sit(seats: &mut Seats) -> (Arc<Seat>, tokio::task::JoinHandle<()>, bool) {
        let (seat, gave_way) = seats.free().await;
        let task = tokio::spawn(pending());
        seats.take(Arc::clone(&seat), task.abort_handle());
        (seat, task, gave_way)
    }

    #[tokio::test]
    async fn who_asked_nothing_for_longest_gives_way_and_nobody_else() {
        let mut seats = Seats::default();
        let mut first = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let (seat, task, gave_way) = sit(&mut seats).await;
            assert!(!gave_way);
            first.push((seat, task));
        }
        let busy = first[0].0.request();
        drop(first[1].0.request());
        assert!(sit(&mut seats).await.2);
        tokio::task::yield_now().await;
        let gone: Vec<usize> = (0..first.len())
            .filter(|at| first[*at].1.is_finished())
            .collect();
        assert_eq!(gone, [2], "one was busy, and one has just asked");
        drop(busy);
    }

    #[tokio::test]
    async fn where_everybody_is_busy_the_next_one_waits_for_the_end_of_a_request() {
        let mut seats = Seats::default();
        let mut requests = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            requests.push(sit(&mut seats).await.0.request());
        }
        let waits = tokio::time::timeout(Duration::from_millis(20), seats.free()).await;
        assert!(waits.is_err());
        requests.pop();
        assert!(seats.free().await.1);
    }
}
