use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

    fn lease(&self, worker: usize) -> Lease {
        let endpoint = &self.version.endpoints[0];
        self.workers[worker].pool(&self.version, endpoint).lease()
    }

    async fn connected(&self, worker: usize) -> Result<Lease, ConnectError> {
        let mut lease = self.lease(worker);
        lease.connect(false).await.map(|()| lease)
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
        lease.connect(true).await.expect("a place");
        assert!(!lease.is_reused(), "it may be as dead as the one before");
        assert_eq!(
            bed.version.endpoints[0].connections(),
            2,
            "nor one too many"
        );
    });
}
