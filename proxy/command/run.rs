//! `tidegate run`: the proxy, until a signal.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use tidegate_config::Problem;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::logs::{LogFormat, Logs};
use super::{Exit, output};
use crate::app::{Again, App, End, Options, Signal, StartError};
use crate::control::controller::tell;

/// Signals that may wait to be taken. More of them would say nothing new.
const SIGNALS_WAITING: usize = 8;

/// The arguments of `tidegate run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate run                                   # ./tidegate.yaml
  tidegate run --config /etc/tidegate/tidegate.yaml --log-format json
  TIDEGATE_LOG=debug tidegate run                # one line a connection and more

While it runs, edits of the file are in force within a second; a bad edit changes nothing.
  SIGTERM, SIGINT   drain and leave; a second one: leave at once
  SIGHUP            read the file now
  SIGUSR1           open the access log again
  SIGUSR2           upgrade: start the program again, which takes over without losing a connection

Exit: 0 after a clean drain, 1 for a bad file or where connections had to be cut, 2 where the
file cannot be read or an address cannot be bound.")]
pub struct Run {
    /// The file.
    #[arg(long, value_name = "FILE", default_value = "tidegate.yaml")]
    config: PathBuf,
    /// Where state is kept; made where it is missing.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Take over from the process that runs with this state directory: it hands over its sockets and its rollouts, and
    /// leaves when its last request has ended.
    #[arg(long)]
    take_over: bool,
    /// How log lines look, on standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,
}

impl Run {
    /// Runs the proxy.
    ///
    /// # Errors
    /// Where the machine does not give what every process needs.
    pub fn run(self) -> anyhow::Result<Exit> {
        let logs = Logs::start(self.log_format).context("cannot start the log")?;
        if cfg!(debug_assertions) {
            tracing::warn!(
                "THIS IS A DEBUG BUILD: many times slower than `cargo build --release`; do not measure it or serve with it"
            );
        }
        tracing::info!(commit = crate::COMMIT, "tidegate {} starts", crate::VERSION);
        raise_file_limit();
        // One thread for control, admin and probes: the workers have their own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let options = Options {
            config: self.config,
            state_dir: self.state_dir,
            take_over: self.take_over,
            again: Again::as_started()
                .inspect_err(|error| tracing::warn!(%error, "SIGUSR2 will not upgrade: {error}"))
                .ok(),
        };
        let exit = runtime.block_on(async {
            // Before anything else: a signal that comes while the file is read must not be lost.
            let signals = listen_for_signals()?;
            match App::bind(options).await {
                Ok(bound) => Ok(match bound.serve(signals).await {
                    End::Clean => Exit::FINE,
                    End::Cut(_) | End::AtOnce | End::Broken => Exit::NO,
                }),
                Err(error) => Ok(refuse_to_start(&error, self.log_format, &logs)),
            }
        });
        // A file being read on a blocking thread must not hold the end.
        runtime.shutdown_background();
        exit
    }
}

fn refuse_to_start(error: &StartError, format: LogFormat, logs: &Logs) -> Exit {
    match error {
        StartError::Problems(problems) => {
            tell_problems(problems, format, logs);
            let count = problems.len();
            tracing::error!(
                problems = count,
                "not started: the file has problems; `tidegate check` shows them"
            );
            Exit::NO
        }
        StartError::Machine(problems) => {
            tell_problems(problems, format, logs);
            tracing::error!("not started: {error}");
            Exit::CANNOT
        }
        other => {
            tracing::error!("not started: {other}");
            Exit::CANNOT
        }
    }
}

/// A collector wants one event a problem; a person wants the line and the caret.
fn tell_problems(problems: &[Problem], format: LogFormat, logs: &Logs) {
    match format {
        LogFormat::Json => problems.iter().for_each(tell),
        LogFormat::Text => {
            let colour = output::colours(&io::stderr());
            logs.say(output::rendered(problems, colour));
        }
    }
}

/// Every connection is a file descriptor, twice; the soft limit is often 1024 for the sake of programs from the eighties.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let shown =
        |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(
            "up to {} open files (was {})",
            shown(limit.maximum),
            shown(limit.current)
        ),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files above {}", shown(limit.current))
        }
    }
}

fn listen_for_signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, signals) = mpsc::channel(SIGNALS_WAITING);
    // A file that may not grow any more is an error of that write, told where it happens; it must not end the process.
    let mut too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    tokio::spawn(async move { while too_large.recv().await.is_some() {} });
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Leave),
        (SignalKind::interrupt(), Signal::Leave),
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::user_defined1(), Signal::ReopenLog),
        (SignalKind::user_defined2(), Signal::Upgrade),
    ] {
        let (mut stream, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                // Where so many wait already, one more says nothing new.
                let _ = sender.try_send(meaning);
            }
        });
    }
    Ok(signals)
}
