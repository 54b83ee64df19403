//! Which endpoint of a version takes the next request. Counts are this worker's own: workers share no counter, and each
//! one's share of the traffic is a fair sample of the whole.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tidegate_config::Balance;

use super::{Lease, Pool, Pools, Version};

/// A version's endpoints as one worker sees them.
#[derive(Debug)]
pub struct Balancer {
    pools: Vec<Rc<Pool>>,
    policy: Balance,
    next: Cell<usize>,
}

impl Balancer {
    /// The worker's pools for the endpoints of `version`.
    pub fn new(version: &Version, pools: &Pools) -> Self {
        Self {
            pools: version
                .endpoints
                .iter()
                .map(|e| pools.pool(version, e))
                .collect(),
            policy: version.balance,
            // Not with the first one on every worker and after every edit.
            next: Cell::new(fastrand::usize(..version.endpoints.len().max(1))),
        }
    }

    /// How many there are.
    pub fn endpoints(&self) -> usize {
        self.pools.len()
    }

    /// A hold on a healthy endpoint, on another than `avoid` where there is one; `None` when none is healthy.
    pub fn pick(
        &self,
        now: Instant,
        avoid: Option<u64>,
        chance: impl FnMut() -> u64,
    ) -> Option<Lease> {
        let pool = match &self.pools[..] {
            // One endpoint is the sidecar's case, and needs no choice.
            [one] => Some(one).filter(|p| p.endpoint.is_healthy(now)),
            all => choose(all, self.policy, &self.next, chance, |p| {
                p.endpoint.is_healthy(now) && avoid != Some(p.endpoint.id)
            })
            .or_else(|| all.iter().find(|p| p.endpoint.is_healthy(now))),
        };
        pool.map(Pool::lease)
    }
}

fn choose<'a>(
    pools: &'a [Rc<Pool>],
    policy: Balance,
    next: &Cell<usize>,
    mut chance: impl FnMut() -> u64,
    fits: impl Fn(&Pool) -> bool,
) -> Option<&'a Rc<Pool>> {
    match policy {
        Balance::RoundRobin => {
            let start = next.get();
            let turn = (0..pools.len())
                .map(|i| (start + i) % pools.len())
                .find(|i| fits(&pools[*i]))?;
            next.set((turn + 1) % pools.len());
            Some(&pools[turn])
        }
        Balance::LeastRequest => {
            // Most often all of them fit, and the first draw does without a look at each.
            if let Some((first, second)) = two_of(pools.len(), chance())
                && fits(&pools[first])
                && fits(&pools[second])
            {
                return Some(less_busy(&pools[first], &pools[second]));
            }
            let fitting = pools.iter().filter(|p| fits(p)).count();
            let nth = |n| pools.iter().filter(|p| fits(p)).nth(n);
            match two_of(fitting, chance()) {
                Some((first, second)) => Some(less_busy(nth(first)?, nth(second)?)),
                None => nth(0),
            }
        }
    }
}

fn less_busy<'a>(a: &'a Rc<Pool>, b: &'a Rc<Pool>) -> &'a Rc<Pool> {
    if b.in_flight() < a.in_flight() { b } else { a }
}

/// Two different numbers below `bound`; `None` where there are no two.
fn two_of(bound: usize, draw: u64) -> Option<(usize, usize)> {
    let first = below(draw as u32, bound)?;
    // Another one: drawn from those that are left, then moved past the first.
    let second = below((draw >> 32) as u32, bound - 1)?;
    Some((first, second + usize::from(second >= first)))
}

/// A number below `bound` from 32 random bits; `None` where there is none.
fn below(draw: u32, bound: usize) -> Option<usize> {
    (bound > 0).then(|| ((u64::from(draw) * bound as u64) >> 32) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::record::Ledger;
    use tidegate_config as config;

    fn version(policy: Balance, endpoints: u16) -> (Version, Pools) {
        let ledger = Ledger::new(1);
        let id = ledger.version("app", "v1");
        let address =
            |port| config::EndpointAddress::Ip(std::net::Ipv4Addr::LOCALHOST.into(), port);
        let endpoint = |port| {
            Arc::new(super::super::Endpoint::new(
                address(port),
                config::Protocol::Http1,
            ))
        };
        let pool = config::Pool {
            max_per_endpoint: std::num::NonZeroUsize::MIN,
            idle: std::time::Duration::from_secs(4),
            connect: std::time::Duration::from_secs(1),
        };
        let version = Version {
            service: "app".into(),
            name: "v1".into(),
            id,
            endpoints: (1..=endpoints).map(endpoint).collect(),
            balance: policy,
            pool,
            health: config::Health::default(),
        };
        (version, Pools::new(ledger.worker(0)))
    }

    #[test]
    fn round_robin_takes_turns_and_passes_over_the_unhealthy() {
        let (version, pools) = version(Balance::RoundRobin, 3);
        version.endpoints[1].set_probe(false);
        let balancer = Balancer::new(&version, &pools);
        let turn = || {
            balancer
                .pick(Instant::now(), None, || 0)
                .map(|l| l.endpoint().id)
        };
        let ids: Vec<_> = version.endpoints.iter().map(|e| Some(e.id)).collect();
        let turns = [turn(), turn(), turn(), turn()];
        let (first, second) = (turns[0], turns[1]);
        assert!(first != second && ids.contains(&first) && ids.contains(&second));
        assert!(!turns.contains(&ids[1]));
        assert_eq!(turns, [first, second, first, second]);
    }

    #[test]
    fn least_request_prefers_the_less_busy_of_two() {
        let (version, pools) = version(Balance::LeastRequest, 2);
        let balancer = Balancer::new(&version, &pools);
        let mut random = fastrand::Rng::with_seed(1);
        let held: Vec<_> = (0..100)
            .filter_map(|_| balancer.pick(Instant::now(), None, || random.u64(..)))
            .collect();
        let of_first = held
            .iter()
            .filter(|l| l.endpoint().id == version.endpoints[0].id)
            .count();
        assert_eq!(of_first, 50, "two endpoints stay level");
    }

    #[test]
    fn nobody_healthy_is_nobody() {
        let (version, pools) = version(Balance::LeastRequest, 2);
        version.endpoints.iter().for_each(|e| e.set_probe(false));
        assert!(
            Balancer::new(&version, &pools)
                .pick(Instant::now(), None, || 7)
                .is_none()
        );
    }

    #[test]
    fn a_second_try_goes_elsewhere_where_there_is_an_elsewhere() {
        let (version, pools) = version(Balance::LeastRequest, 2);
        let balancer = Balancer::new(&version, &pools);
        let first = version.endpoints[0].id;
        for draw in 0..64u64 {
            let lease = balancer
                .pick(Instant::now(), Some(first), || draw << 58 | draw)
                .expect("two are healthy");
            assert_ne!(lease.endpoint().id, first);
        }
        version.endpoints[1].set_probe(false);
        assert!(
            balancer.pick(Instant::now(), Some(first), || 0).is_some(),
            "the same one is better than none"
        );
    }
}
