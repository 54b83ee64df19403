//! `tidegate demo`: a gray release in half a minute, on this machine and with nothing but this program.
//!
//! Two versions of a shop, the proxy in a process of its own, as anybody would run it, and the traffic of two thousand
//! users. A weight is edited; then a rollout grows by itself and its candidate starts to fail, once without and once
//! with a fallback. The demo watches what becomes of every single user: its figures are theirs, not the proxy's. It
//! promises what it shows: where a promise does not hold, it says so and ends with 1.
//!
//! - `acts`: what happens, one thing after the other
//! - `stage`: the file on disk, and its edits
//! - `versions`: the two versions
//! - `child`: the proxy's process
//! - `load`: the users
//! - `witness`: what they saw, and which promises that keeps
//! - `trial`: the same for a candidate that fails
//! - `teller`: words on the terminal

mod acts;
mod child;
mod load;
mod stage;
mod teller;
mod trial;
mod versions;
mod witness;

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidegate_config::Share;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::{Exit, output};
use acts::{Acts, Cut};
use child::Child;
use load::Load;
use stage::{Plan, Stage};
use teller::Teller;
use versions::Versions;
use witness::{Promise, Witness};

/// How long the proxy may take to serve after it was started.
const READY_WITHIN: Duration = Duration::from_secs(8);

/// How long it may take to leave: its own bound is 2 s, see the file.
const LEAVE_WITHIN: Duration = Duration::from_secs(4);

/// Ports are chosen before the proxy binds them; somebody may be faster.
const STARTS_MAX: usize = 3;

/// Between two looks at something that another process does.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The arguments of `tidegate demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is installed or changed: two small versions, the proxy and its users all run on 127.0.0.1,
and the file lies in a temporary folder.

Exit: 0 where every promise that was shown held, 1 where one did not, 2 where the demo could not begin."
)]
pub struct Demo {
    /// Keep it up afterwards, to play with the file, until Ctrl-C.
    #[arg(long)]
    stay: bool,
}

impl Demo {
    /// Shows the demo on standard output.
    ///
    /// # Errors
    /// Where this machine does not let a program listen on 127.0.0.1, write a temporary file or start itself.
    pub fn run(self) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut teller = Teller::new(io::stdout(), output::colours(&io::stdout()));
        let start = |file: &Path| Child::start(file).map(|child| Box::new(child) as Box<dyn Proxy>);
        LocalSet::new().block_on(
            &runtime,
            play(&Script::full(self.stay), &start, &mut teller),
        )
    }
}

/// What happens, and how long it takes.
#[derive(Debug, Clone, Copy)]
struct Script {
    users: usize,
    /// Connections that the users share.
    connections: usize,
    /// Requests a second, all together.
    rate: u32,
    /// The candidate's share, and for how long it has it.
    first: (Share, Duration),
    second: (Share, Duration),
    /// For how long the rollout holds at its first stage.
    hold: Duration,
    /// The rollout may take so long to its last weight, the hold aside.
    climb_within: Duration,
    /// Somebody waits so long for the proxy to say that it rolled back. What counts is what users saw, and when.
    told_within: Duration,
    /// For how long is watched what should stay as it is: before the candidate fails, and after it went back.
    settle: Duration,
    /// How often the proxy is asked where the rollout stands.
    ask_every: Duration,
    /// Between two lines on the terminal.
    tell_every: Duration,
    stay: bool,
}

impl Script {
    fn full(stay: bool) -> Self {
        let percent = |n: u32| Share::from_parts(n * 1000).expect("below 100 %");
        Self {
            users: 2000,
            connections: 24,
            rate: 400,
            first: (percent(10), Duration::from_secs(4)),
            second: (percent(25), Duration::from_secs(6)),
            hold: Duration::from_secs(2),
            climb_within: Duration::from_secs(6),
            told_within: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            ask_every: Duration::from_millis(50),
            tell_every: Duration::from_secs(1),
            stay,
        }
    }

    /// No play takes longer, short of an edit of the file that takes as long as the disk likes.
    #[cfg(test)]
    fn longest(&self) -> Duration {
        let edit = self.first.1 + self.second.1;
        let fail = self.hold + self.climb_within + self.told_within + 2 * self.settle;
        READY_WITHIN + edit + 2 * fail + self.settle + LEAVE_WITHIN
    }
}

/// A proxy that runs by a file.
trait Proxy {
    /// `Some` where it has ended, with its last words.
    fn ended(&mut self) -> Option<String>;
    /// Asks it to leave in order.
    fn leave(&mut self);
    /// `None` while it has not left yet; then whether it left in order.
    fn left(&mut self) -> Option<bool>;
}

/// Starts a proxy by a file.
type Start<'a> = &'a dyn Fn(&Path) -> anyhow::Result<Box<dyn Proxy>>;

/// Plays the script from the first line to the last.
async fn play<W: io::Write>(
    script: &Script,
    start: Start<'_>,
    teller: &mut Teller<W>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let witness = Rc::new(RefCell::new(Witness::new(
        script.users,
        stage::SALT,
        script.first.0,
    )));
    let versions = Versions::start(&witness)
        .await
        .context("cannot listen on 127.0.0.1")?;
    teller.opens(script.users);
    let (stage, mut proxy) = raise(script, &versions, start).await?;
    teller.introduces(&stage, versions.addresses);

    let load = Load::start(script, stage.address, &witness);
    let mut acts = Acts {
        script,
        stage: &stage,
        proxy: proxy.as_mut(),
        candidate: &versions.candidate,
        witness: &witness,
        teller,
        began: Instant::now(),
        weight: Share::ZERO,
    };
    let ending = tokio::select! {
        played = acts.play() => match played {
            Ok(()) => Ending::Finished,
            Err(Cut::Died(words)) => Ending::Died(words),
            Err(Cut::Failed(error)) => return Err(error),
        },
        () = signals.wait() => Ending::Interrupted,
    };
    let mut promises = witness.borrow().promises();
    if matches!(ending, Ending::Finished) {
        acts.teller.figures(&witness.borrow().figures());
    }
    match ending {
        Ending::Finished if script.stay => {
            acts.teller.promises(&promises);
            acts.teller.stays(&stage, versions.addresses);
            tokio::select! {
                () = acts.stay() => {}
                () = signals.wait() => {}
            }
            load.stop().await;
            let last = leave(proxy.as_mut()).await;
            teller.promises(std::slice::from_ref(&last));
            promises.push(last);
        }
        Ending::Finished => {
            load.stop().await;
            promises.push(leave(proxy.as_mut()).await);
            teller.promises(&promises);
        }
        Ending::Interrupted => {
            load.stop().await;
            leave(proxy.as_mut()).await;
            teller.interrupted();
            return Ok(Exit::NO);
        }
        Ending::Died(words) => {
            teller.died(&words);
            return Ok(Exit::NO);
        }
    }
    Ok(if promises.iter().all(|promise| promise.kept) {
        Exit::FINE
    } else {
        Exit::NO
    })
}

/// How the traffic ended.
#[derive(Debug)]
enum Ending {
    /// As the script says.
    Finished,
    /// Somebody had enough.
    Interrupted,
    /// The proxy is gone; its last words.
    Died(String),
}

/// Writes the file and starts the proxy by it, until it serves.
async fn raise(
    script: &Script,
    versions: &Versions,
    start: Start<'_>,
) -> anyhow::Result<(Stage, Box<dyn Proxy>)> {
    let mut last_words = String::new();
    let deadline = Instant::now() + READY_WITHIN;
    for _ in 0..STARTS_MAX {
        let stage = Stage::build(versions.addresses, &Plan::Split(script.first.0))
            .context("cannot write a temporary file")?;
        let mut proxy = start(&stage.file)?;
        loop {
            let ready = load::ask_admin(stage.admin, "GET", "/readyz", "").await;
            if ready.is_some_and(|(status, _)| status == 200) {
                return Ok((stage, proxy));
            }
            if let Some(words) = proxy.ended() {
                last_words = words;
                break;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the proxy does not serve after {READY_WITHIN:?}"
            );
            sleep(LOOK_AGAIN).await;
        }
    }
    anyhow::bail!("the proxy did not start; its last words:\n{last_words}")
}

/// Asks the proxy to leave and sees how it does.
async fn leave(proxy: &mut dyn Proxy) -> Promise {
    proxy.leave();
    let deadline = Instant::now() + LEAVE_WITHIN;
    while Instant::now() < deadline {
        if let Some(in_order) = proxy.left() {
            let how = if in_order {
                "in order"
            } else {
                "with an error"
            };
            return Promise {
                kept: in_order,
                text: format!("the proxy left {how} when it was asked to"),
            };
        }
        sleep(LOOK_AGAIN).await;
    }
    Promise {
        kept: false,
        text: format!("the proxy had not left {LEAVE_WITHIN:?} after it was asked to"),
    }
}

/// Ctrl-C and its like.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    seen: bool,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let (interrupt, terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        Ok(Self {
            interrupt,
            terminate,
            seen: false,
        })
    }

    async fn wait(&mut self) {
        if !self.seen {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            self.seen = true;
        }
    }
}

#[cfg(test)]
mod tests;
