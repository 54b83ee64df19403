//! A bound on silence: fires when nothing has happened for so long. Progress costs one store, not a timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Watches for silence while a stream has nothing to give.
#[derive(Debug)]
pub struct Idle {
    limit: Option<Duration>,
    /// Something came since the timer was set; its moment is not noted, so silence is measured from the next wait.
    moved: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Fires after `limit` without progress; never where there is none.
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            moved: false,
            timer: None,
        }
    }

    /// From the next wait on, so long is allowed.
    pub fn allow(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// Something came.
    pub fn progress(&mut self) {
        self.moved = true;
    }

    /// Nothing came: ready once that has lasted for the limit.
    pub fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        match &mut self.timer {
            None => self.timer = Some(Box::pin(tokio::time::sleep(limit))),
            Some(timer) if self.moved => timer.as_mut().reset(Instant::now() + limit),
            Some(_) => {}
        }
        self.moved = false;
        self.timer
            .as_mut()
            .map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn silence_fires_and_progress_puts_it_off() {
        let mut idle = Idle::new(Some(Duration::from_secs(10)));
        let start = Instant::now();
        assert!(
            tokio::time::timeout(Duration::from_secs(9), poll_fn(|cx| idle.poll_pending(cx)))
                .await
                .is_err()
        );
        idle.progress();
        poll_fn(|cx| idle.poll_pending(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 19);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_fires() {
        let mut idle = Idle::new(None);
        let waited = tokio::time::timeout(
            Duration::from_secs(1 << 30),
            poll_fn(|cx| idle.poll_pending(cx)),
        )
        .await;
        assert!(waited.is_err());
    }
}
