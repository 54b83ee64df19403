//! A bound on retries: a share of what is asked, so that a version in trouble is not asked twice as much.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use tidegate_config::units::PARTS;
use tidegate_config::{self as config, Share};

use super::fallback;
use crate::record::{RolloutId, RouteId};

/// Seconds that are looked back on.
const SECONDS: usize = 10;
/// Retries a second that are always allowed, or a quiet route could never retry.
const FLOOR_A_SECOND: u64 = 3;

/// One worker's budgets: of retries by route, of fallbacks by rollout.
#[derive(Debug, Default)]
pub struct Budgets {
    routes: RefCell<HashMap<RouteId, Budget>>,
    rollouts: RefCell<HashMap<RolloutId, Budget>>,
}

impl Budgets {
    /// A request of a route that may retry.
    pub fn asked(&self, route: RouteId) {
        let now = Instant::now();
        let mut routes = self.routes.borrow_mut();
        routes
            .entry(route)
            .or_insert_with(|| Budget::new(now))
            .ask(now);
    }

    /// Takes one retry of a route.
    pub fn retry(&self, route: RouteId, retry: &config::Retry) -> bool {
        let now = Instant::now();
        let mut routes = self.routes.borrow_mut();
        routes
            .entry(route)
            .or_insert_with(|| Budget::new(now))
            .retry(now, retry.budget)
    }

    /// A request, of either side, of a rollout that may fall back.
    pub fn could_fall_back(&self, rollout: RolloutId, now: Instant) {
        let mut rollouts = self.rollouts.borrow_mut();
        rollouts
            .entry(rollout)
            .or_insert_with(|| Budget::new(now))
            .ask(now);
    }

    /// Takes one fallback of a rollout.
    pub fn fall_back(&self, rollout: RolloutId) -> bool {
        let now = Instant::now();
        let mut rollouts = self.rollouts.borrow_mut();
        rollouts
            .entry(rollout)
            .or_insert_with(|| Budget::new(now))
            .retry(now, fallback::BUDGET)
    }
}

/// Requests and retries (or fallbacks) of one route (or rollout) on one worker over the last seconds.
#[derive(Debug)]
pub struct Budget {
    start: Instant,
    newest: u64,
    asked: [u64; SECONDS],
    retried: [u64; SECONDS],
}

impl Budget {
    /// Nothing asked yet.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            newest: 0,
            asked: [0; SECONDS],
            retried: [0; SECONDS],
        }
    }

    /// One more request.
    pub fn ask(&mut self, now: Instant) {
        let slot = self.turn(now);
        self.asked[slot] += 1;
    }

    /// Takes one retry from the budget, if there is one left.
    pub fn retry(&mut self, now: Instant, share: Share) -> bool {
        let slot = self.turn(now);
        let asked: u64 = self.asked.iter().sum();
        let retried: u64 = self.retried.iter().sum();
        let by_share = asked * u64::from(share.parts()) / u64::from(PARTS);
        let allowed = retried < by_share.max(FLOOR_A_SECOND * SECONDS as u64);
        if allowed {
            self.retried[slot] += 1;
        }
        allowed
    }

    /// The present second's slot, with those emptied that have passed since.
    fn turn(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.start).as_secs();
        let passed = second.saturating_sub(self.newest).min(SECONDS as u64);
        for step in 1..=passed {
            let slot = ((self.newest + step) % SECONDS as u64) as usize;
            self.asked[slot] = 0;
            self.retried[slot] = 0;
        }
        if passed == SECONDS as u64 {
            self.asked = [0; SECONDS];
            self.retried = [0; SECONDS];
        }
        self.newest = self.newest.max(second);
        (self.newest % SECONDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn granted(budget: &mut Budget, now: Instant, tries: usize) -> usize {
        let share = "20%".parse().expect("a share");
        (0..tries).filter(|_| budget.retry(now, share)).count()
    }

    #[test]
    fn a_fifth_of_what_is_asked_may_be_asked_again() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        (0..1000).for_each(|_| budget.ask(now));
        assert_eq!(granted(&mut budget, now, 1000), 200);
    }

    #[test]
    fn a_quiet_route_may_retry_and_the_past_is_forgotten() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(granted(&mut budget, now, 1000), 30);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(9), 10), 0);
        assert_eq!(
            granted(&mut budget, now + Duration::from_secs(10), 1000),
            30
        );
        assert_eq!(
            granted(&mut budget, now + Duration::from_secs(1000), 1000),
            30
        );
    }
}
