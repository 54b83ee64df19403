//! That a connection is here: counted on its listener, and bounded for the listener and for each client address. The
//! counts are the whole process's; they are touched when a connection opens and when it closes, never by a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "taken when a connection opens or closes, only where clients are bounded"
)]
use std::sync::{Mutex, PoisonError};

use tidegate_config::Limits;

use crate::record::{ListenerId, Reason, WorkerLedger};

/// Who is connected to one listener, over all workers.
#[derive(Debug, Default)]
pub struct Crowd {
    open: AtomicUsize,
    #[expect(
        clippy::disallowed_types,
        reason = "taken when a connection opens or closes, only where clients are bounded"
    )]
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    /// Connections now open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets a connection in, or says which bound it would cross.
    ///
    /// # Errors
    /// The bound.
    pub fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &Limits,
        ledger: &WorkerLedger,
        listener: ListenerId,
    ) -> Result<Presence, Reason> {
        let below = |open| {
            if open < limits.connections {
                Some(open + 1)
            } else {
                None
            }
        };
        if self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .is_err()
        {
            return Err(Reason::Connections);
        }
        let client = whose(client);
        let counted = limits.connections_per_client.is_some();
        if let Some(max) = limits.connections_per_client
            && !self.enter_client(client, max)
        {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Reason::ClientConnections);
        }
        ledger.connections(listener, 1);
        let client = counted.then_some(client);
        Ok(Presence {
            crowd: self.clone(),
            client,
            ledger: ledger.clone(),
            listener,
        })
    }

    fn enter_client(&self, client: IpAddr, max: usize) -> bool {
        let mut clients = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let open = clients.entry(client).or_default();
        let fits = *open < max;
        *open += usize::from(fits);
        fits
    }

    fn leave_client(&self, client: IpAddr) {
        let mut clients = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = clients.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// Whom an address belongs to: of IPv6 its first 64 bits tell, and the rest is anything that they like.
fn whose(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// An open connection, until it is dropped.
#[derive(Debug)]
pub struct Presence {
    crowd: Arc<Crowd>,
    client: Option<IpAddr>,
    ledger: WorkerLedger,
    listener: ListenerId,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ledger.connections(self.listener, -1);
        self.crowd.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            self.crowd.leave_client(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Ledger;

    fn limits(connections: usize, of_a_client: usize) -> Limits {
        Limits {
            connections,
            connections_per_client: Some(of_a_client),
            header_bytes: 0,
            header_count: 0,
            target_bytes: 0,
            body_bytes: None,
            h2_streams: 0,
            min_rate: None,
        }
    }

    #[test]
    fn a_listener_and_a_client_hold_no_more_than_they_may() {
        let ledger = Ledger::new(1);
        let (worker, id) = (ledger.worker(0), ledger.listener("in"));
        let crowd = Arc::new(Crowd::default());
        let limits = limits(3, 2);
        let enter = |last: u8| crowd.enter(IpAddr::from([127, 0, 0, last]), &limits, &worker, id);
        let (a, b) = (enter(1), enter(1));
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(enter(1).err(), Some(Reason::ClientConnections));
        let c = enter(2);
        assert_eq!(enter(3).err(), Some(Reason::Connections));
        drop((a, c));
        assert!(enter(1).is_ok(), "who leaves makes room");
        drop(b);
        assert_eq!(crowd.open(), 0);
    }

    #[test]
    fn a_client_of_ipv6_has_one_network_and_not_one_address() {
        let ledger = Ledger::new(1);
        let (worker, id) = (ledger.worker(0), ledger.listener("in"));
        let crowd = Arc::new(Crowd::default());
        let limits = limits(10, 1);
        let enter = |address: &str| {
            let address = address.parse().expect("an address");
            crowd.enter(address, &limits, &worker, id)
        };
        let one = enter("2001:db8:0:1::1");
        assert!(one.is_ok());
        let same = enter("2001:db8:0:1:ffff::2");
        assert_eq!(same.err(), Some(Reason::ClientConnections));
        assert!(enter("2001:db8:0:2::1").is_ok(), "a neighbour");
    }
}
