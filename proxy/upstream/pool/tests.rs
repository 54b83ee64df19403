use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_config as config;
use tokio::net::TcpListener;

use super::super::connect::ConnectError;
use super::super::{Endpoint, Version};
use super::{Lease, Pools};
use crate::record::Ledger;

/// A version of one endpoint, and the pools of two workers.
struct Bed {
    version: Version,
    workers: [Rc<Pools>; 2],
}

impl Bed {
    async fn with(max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::task::spawn_local(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
            }
        });
        let ledger = Ledger::new(2);
        let workers = [0, 1].map(|n| Rc::new(Pools::new(ledger.worker(n))));
        Self {
            version: version(address, max, &ledger),
            workers,
        }
    }

    /// The same with an endpoint that is spoken to in another way; whether it understands matters to nobody here.
    fn speaking(mut self, protocol: config::Protocol) -> Self {
        let address = self.version.endpoints[0].address.clone();
        self.version.endpoints = vec![Arc::new(Endpoint::new(address, protocol))];
        self
    }

    fn lease(&self, worker: usize) -> Lease {
        let endpoint = &self.version.endpoints[0];
        self.workers[worker].pool(&self.version, endpoint).lease()
    }

    async fn connected(&self, worker: usize) -> Result<Lease, ConnectError> {
        let mut lease = self.lease(worker);
        lease
            .connect(http::Version::HTTP_11, false, None)
            .await
            .map(|()| lease)
    }

    /// Connects and gives back, `count` connections at once.
    async fn warm(&self, worker: usize, count: usize) {
        let mut leases = Vec::new();
        for _ in 0..count {
            leases.push(self.connected(worker).await.expect("a place"));
        }
        leases.into_iter().for_each(Lease::release);
    }
}

fn version(address: SocketAddr, max: usize, ledger: &Ledger) -> Version {
    let address = config::EndpointAddress::Ip(Ipv4Addr::LOCALHOST.into(), address.port());
    Version {
        service: "app".into(),
        name: "v1".into(),
        id: ledger.version("app", "v1"),
        endpoints: vec![Arc::new(Endpoint::new(address, config::Protocol::Http1))],
        balance: config::Balance::RoundRobin,
        pool: config::Pool {
            max_per_endpoint: NonZeroUsize::new(max).expect("a bound"),
            idle: Duration::from_secs(60),
            connect: Duration::from_secs(1),
        },
        health: config::Health::default(),
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_last_try_never_goes_over_a_warm_connection_even_where_no_more_are_allowed() {
    run(async {
        let bed = Bed::with(2).await;
        bed.warm(0, 2).await;
        let mut lease = bed.lease(0);
        lease
            .connect(http::Version::HTTP_11, true, None)
            .await
            .expect("a place");
        assert!(!lease.is_reused(), "it may be as dead as the one before");
        assert_eq!(
            bed.version.endpoints[0].connections(),
            2,
            "nor one too many"
        );
    });
}

/// The worker's part: gives up what another one wants as soon as it is told.
fn obliging(pools: &Rc<Pools>) {
    let pools = pools.clone();
    tokio::task::spawn_local(async move {
        loop {
            pools.wanted().await;
            pools.yield_up();
        }
    });
}

#[test]
fn a_connection_that_one_worker_keeps_idle_makes_room_for_another_worker_at_once() {
    run(async {
        let bed = Bed::with(1).await;
        bed.workers.iter().for_each(obliging);
        for turn in 0..10 {
            let start = Instant::now();
            bed.warm(turn % 2, 1).await;
            let waited = start.elapsed();
            assert!(waited < Duration::from_millis(500), "{waited:?}");
        }
    });
}

#[test]
fn a_worker_that_was_not_told_makes_room_at_its_next_sweep() {
    for protocol in [config::Protocol::Http1, config::Protocol::H2c] {
        run(async {
            let bed = Rc::new(Bed::with(1).await.speaking(protocol));
            bed.warm(0, 1).await;
            let asks = bed.clone();
            let waits = tokio::task::spawn_local(async move { asks.connected(1).await });
            while bed.version.endpoints[0].wanted() == 0 {
                tokio::task::yield_now().await;
            }
            bed.workers
                .iter()
                .for_each(|pools| pools.sweep(Instant::now()));
            waits.await.expect("no panic").expect("a place");
        });
    }
}

#[test]
fn a_burst_on_one_worker_gets_what_a_burst_on_another_has_left() {
    run(async {
        let bed = Bed::with(50).await;
        bed.workers.iter().for_each(obliging);
        bed.warm(0, 50).await;
        let (bed, start) = (Rc::new(bed), Instant::now());
        let burst: Vec<_> = (0..50)
            .map(|_| {
                let bed = bed.clone();
                tokio::task::spawn_local(async move { bed.connected(1).await })
            })
            .collect();
        let mut held = Vec::new();
        for one in burst {
            held.push(one.await.expect("no panic").expect("a place"));
        }
        let waited = start.elapsed();
        assert!(waited < Duration::from_millis(500), "{waited:?}");
    });
}

#[test]
fn a_worker_whose_requests_never_pause_leaves_room_for_another_worker() {
    run(async {
        let bed = Rc::new(Bed::with(2).await);
        bed.workers.iter().for_each(obliging);
        for _ in 0..8 {
            let bed = bed.clone();
            tokio::task::spawn_local(async move {
                loop {
                    let lease = bed.connected(0).await.expect("a place");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    lease.release();
                    // Who has waited comes first.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        for _ in 0..10 {
            let lease = bed.connected(1).await.expect("a place");
            lease.release();
        }
    });
}

#[test]
fn workers_that_all_have_to_wait_keep_their_connections_warm() {
    run(async {
        let bed = Rc::new(Bed::with(4).await);
        bed.workers.iter().for_each(obliging);
        let (made, served) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let ends = Instant::now() + Duration::from_millis(500);
        let asking = (0..40).map(|n| {
            let (bed, made, served) = (bed.clone(), made.clone(), served.clone());
            tokio::task::spawn_local(async move {
                while Instant::now() < ends {
                    let lease = bed.connected(n % 2).await.expect("a place");
                    made.set(made.get() + usize::from(!lease.is_reused()));
                    served.set(served.get() + 1);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    lease.release();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        });
        for one in asking.collect::<Vec<_>>() {
            one.await.expect("no panic");
        }
        let (made, served) = (made.get(), served.get());
        assert!(
            made * 5 < served,
            "{made} connections for {served} requests"
        );
    });
}
