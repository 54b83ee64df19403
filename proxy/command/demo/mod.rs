//! `tidegate demo`: a gray release in half a minute, on this machine and with nothing but this program.
//!
//! Two versions of a shop, the proxy in a process of its own, as anybody would run it, and the traffic of two thousand
//! users. In the middle the file is edited, and the demo watches what becomes of every single user. It promises what
//! it shows: where a promise does not hold, it says so and ends with 1.
//!
//! - `stage`: the file on disk, and its edit
//! - `versions`: the two versions
//! - `child`: the proxy's process
//! - `load`: the users
//! - `witness`: what they saw, and which promises that keeps
//! - `teller`: words on the terminal

mod child;
mod load;
mod stage;
mod teller;
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
use child::Child;
use load::Load;
use stage::Stage;
use teller::Teller;
use versions::Versions;
use witness::{Promise, Witness};

/// How long the proxy may take to serve after it was started.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to leave: its own bound is 2 s, see the file.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

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
            first: (percent(10), Duration::from_secs(8)),
            second: (percent(25), Duration::from_secs(10)),
            tell_every: Duration::from_secs(1),
            stay,
        }
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
    let versions = Versions::start()
        .await
        .context("cannot listen on 127.0.0.1")?;
    teller.opens(script.users);
    let (stage, mut proxy) = raise(script, &versions, start).await?;
    teller.introduces(&stage, versions.addresses);

    let witness = Rc::new(RefCell::new(Witness::new(
        script.users,
        stage::SALT,
        script.first.0,
    )));
    let load = Load::start(script, stage.address, &witness);
    let ending = tokio::select! {
        told = tell(script, &stage, proxy.as_mut(), &witness, teller) => told?,
        () = signals.wait() => Ending::Interrupted,
    };
    let mut promises = witness.borrow().promises();
    match ending {
        Ending::Finished if script.stay => {
            teller.promises(&promises);
            teller.stays(&stage);
            stay(script, proxy.as_mut(), &witness, teller, &mut signals).await;
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
    for _ in 0..STARTS_MAX {
        let stage = Stage::build(versions.addresses, script.first.0)
            .context("cannot write a temporary file")?;
        let mut proxy = start(&stage.file)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if load::status(stage.admin, "/readyz").await == Some(200) {
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

/// Tells what happens, and edits the file in the middle of it.
async fn tell<W: io::Write>(
    script: &Script,
    stage: &Stage,
    proxy: &mut dyn Proxy,
    witness: &RefCell<Witness>,
    teller: &mut Teller<W>,
) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let edit_at = began + script.first.1;
    teller.columns();
    if let Some(words) = watch(script, proxy, witness, teller, began, edit_at).await {
        return Ok(Ending::Died(words));
    }

    let (from, to) = (script.first.0, script.second.0);
    // Before the write, not after it: the edit may be in force before we hear that it is written.
    witness.borrow_mut().edited(to, Instant::now());
    stage.edit(to).context("cannot edit the file")?;
    teller.edited(began.elapsed(), from, to);

    let died = watch(
        script,
        proxy,
        witness,
        teller,
        began,
        edit_at + script.second.1,
    )
    .await;
    Ok(died.map_or(Ending::Finished, Ending::Died))
}

/// A line each while until the end; `Some` where the proxy ends before, with its last words.
async fn watch<W: io::Write>(
    script: &Script,
    proxy: &mut dyn Proxy,
    witness: &RefCell<Witness>,
    teller: &mut Teller<W>,
    began: Instant,
    end: Instant,
) -> Option<String> {
    let mut told_edit = witness.borrow().in_force_after().is_some();
    while Instant::now() < end {
        sleep(
            script
                .tell_every
                .min(end.saturating_duration_since(Instant::now())),
        )
        .await;
        if let Some(words) = proxy.ended() {
            return Some(words);
        }
        let mut witness = witness.borrow_mut();
        if let Some(after) = witness.in_force_after().filter(|_| !told_edit) {
            told_edit = true;
            teller.in_force(began.elapsed(), after);
        }
        teller.moment(began.elapsed(), &witness.moment());
    }
    None
}

/// Goes on without judging, since the file now belongs to whoever watches.
async fn stay<W: io::Write>(
    script: &Script,
    proxy: &mut dyn Proxy,
    witness: &RefCell<Witness>,
    teller: &mut Teller<W>,
    signals: &mut Signals,
) {
    let began = Instant::now();
    teller.columns();
    loop {
        tokio::select! {
            () = sleep(script.tell_every) => {}
            () = signals.wait() => return,
        }
        let mut moment = witness.borrow_mut().moment();
        moment.asked = None;
        teller.moment(began.elapsed(), &moment);
        if proxy.ended().is_some() {
            return;
        }
    }
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
