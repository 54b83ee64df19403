//! One worker: a thread with its own runtime, sockets, connections and pools. It shares nothing with the others but what
//! never changes.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::handshake::Handshakes;
use super::listener::{Closing, Listener};
use super::presence::Crowd;
use super::pulse::Order;
use super::pulses::{Pulses, SWEEP};
use crate::exchange::Gate;
use crate::exchange::entry::Log;
use crate::record::{ListenerId, WorkerLedger};
use crate::snapshot::{ListenerKey, Live, Viewer};
use crate::upstream::Pools;

/// One worker, as its tasks see it.
pub struct Worker {
    /// Through which requests pass.
    pub gate: Rc<Gate>,
    /// What its connections are doing.
    pub pulses: Pulses,
    /// The proxy is leaving.
    pub leaving: Rc<Cell<bool>>,
    /// TLS handshakes under way.
    pub handshakes: Rc<Handshakes>,
    /// Callers that are being told that there is no room.
    pub telling: Rc<Cell<usize>>,
}

/// What control tells a worker.
pub enum Command {
    /// Accept on this socket until `close`.
    Listen {
        /// Bound and listening.
        socket: std::net::TcpListener,
        /// How snapshots know the listener.
        key: ListenerKey,
        /// What it is counted under.
        id: ListenerId,
        /// Who is connected.
        crowd: Arc<Crowd>,
        /// Tells when and how it is to close.
        close: watch::Receiver<Closing>,
    },
    /// Whoever asks for something is asked to close: by its answer, over HTTP/2 by GOAWAY.
    Leave,
    /// Idle connections close now, busy ones after their request.
    CloseIdle,
    /// Everything ends now.
    Stop,
}

/// What a worker begins with.
pub struct Start {
    /// What is in force.
    pub live: Live,
    /// Its counters.
    pub ledger: WorkerLedger,
    /// Where its lines go.
    pub log: Log,
    /// What it is told.
    pub commands: mpsc::Receiver<Command>,
    /// Becomes true when tunnels must end.
    pub cut: watch::Receiver<bool>,
}

impl Worker {
    /// Works until told to stop. Must run on a local runtime.
    pub async fn run(start: Start) {
        let pools = Rc::new(Pools::new(start.ledger.clone()));
        let viewer = Viewer::new(&start.live, pools.clone());
        let worker = Rc::new(Self {
            gate: Rc::new(Gate::new(viewer, start.ledger, start.log, start.cut)),
            pulses: Pulses::new(Instant::now()),
            leaving: Rc::default(),
            handshakes: Rc::default(),
            telling: Rc::default(),
        });
        tokio::task::spawn_local(worker.handshakes.clone().run());
        let mut commands = start.commands;
        let mut sweeping = pin!(worker.pulses.sweep_for_ever());
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let now = Instant::now();
                    // Also lets go of connections to endpoints that an edit removed while no request came.
                    worker.gate.viewer().view();
                    worker.gate.viewer().sweep(now);
                    pools.sweep(now);
                }
                never = &mut sweeping => match never {},
                () = pools.wanted() => pools.yield_up(),
                command = commands.recv() => match command {
                    Some(command) => if !worker.follow(command) { return },
                    None => return,
                },
            }
        }
    }

    /// Whether there is more to do.
    fn follow(self: &Rc<Self>, command: Command) -> bool {
        match command {
            Command::Listen {
                socket,
                key,
                id,
                crowd,
                close,
            } => match TcpListener::from_std(socket) {
                Ok(socket) => {
                    let listener = Listener {
                        worker: self.clone(),
                        key,
                        id,
                        crowd,
                        door: Rc::default(),
                        close,
                    };
                    tokio::task::spawn_local(listener.run(socket));
                }
                Err(error) => {
                    tracing::error!(address = %key.address(), %error, "cannot watch a socket")
                }
            },
            Command::Leave => self.leaving.set(true),
            Command::CloseIdle => self.pulses.order(Order::Leave),
            Command::Stop => return false,
        }
        true
    }
}
