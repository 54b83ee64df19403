//! Tidegate beside nginx, HAProxy and Envoy, doing the same job on one core each.
//!
//!     cargo bench --bench end_to_end
//!     cargo bench --bench end_to_end -- --workloads W1,W3 --rounds 10 --seconds 2 --peers nginx,haproxy --json
//!     cargo bench --bench end_to_end -- --idle 10000
//!     cargo bench --bench end_to_end -- --callgrind
//!     cargo bench --bench end_to_end -- --edits 5
//!     cargo bench --bench end_to_end -- --attack [rapid-reset …]
//!
//! The tour: `workload` is what is sent; `peers` finds and starts the contenders, `job` is what they are told to do and
//! `install` gets those that are missing; `load` with its `clients` (over `http1` and `h2c`) and `origin` are the two ends
//! of every run, in one thread that never sleeps (`poll`); `contest` runs the rounds; `measure` reads what the kernel counted; `table` tells it.
//! `idle`, `callgrind`, `edits` (with its `company`) and `attack` are four other questions to the same machinery.
//!
//! Everything listens on 127.0.0.1 and ends by itself. What was started is ended, and the temporary folder removed.

mod attack;
mod callgrind;
mod clients;
mod company;
mod contest;
mod edits;
mod h2c;
mod http1;
mod idle;
mod install;
mod job;
mod load;
mod measure;
mod origin;
mod peers;
mod poll;
mod table;
mod tls;
mod workload;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use attack::kinds::Attack;
use contest::Plan;
use load::{Bench, INTERRUPTED};
use measure::{Cores, Priority};
use peers::{Contender, Ready};
use workload::Workload;

/// Measures Tidegate beside nginx, HAProxy and Envoy, one core each.
///
/// TIDEGATE_BIN names another tidegate than this tree's release build.
#[derive(Parser)]
#[command(name = "cargo bench --bench end_to_end --")]
struct Arguments {
    /// Which traffic: W1, W1h, W2, W3, W4; over TLS: T1, T3; HTTP/2: H2c, H2 (over TLS).
    #[arg(long, value_delimiter = ',', default_value = "W1,W1h,W2,W3,W4,T1,T3,H2c,H2", value_parser = workload_named)]
    workloads: Vec<Workload>,
    /// How often everyone is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each time.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Beside whom: nginx, haproxy, envoy.
    #[arg(long, value_delimiter = ',', default_value = "nginx,haproxy,envoy", value_parser = peer_named)]
    peers: Vec<Contender>,
    /// Instead: resident memory for each of so many idle keep-alive connections.
    #[arg(long, value_name = "CONNECTIONS")]
    idle: Option<usize>,
    /// Instead: instructions a request, under valgrind.
    #[arg(long, conflicts_with = "idle")]
    callgrind: bool,
    /// Instead: a hundred edits in a row under load by the clock at half of the capacity, and the same without edits, so
    /// many pairs. Fails where a request fails, a connection is closed or an edit is not in force within a second.
    #[arg(long, value_name = "PAIRS", conflicts_with_all = ["idle", "callgrind"], value_parser = clap::value_parser!(u16).range(1..=100))]
    edits: Option<u16>,
    /// Instead: what honest callers keep under these attacks (all of them, where none is named), beside nginx. Fails
    /// where they keep less than nine tenths and less than with nginx, where memory outgrows its bound, or where it does
    /// not recover within 5 s.
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',', conflicts_with_all = ["idle", "callgrind", "edits"], value_parser = attack::kinds::named)]
    attack: Option<Vec<Attack>>,
    /// Figures as JSON, round by round.
    #[arg(long)]
    json: bool,
    /// Cargo says this when it measures, and does not when it only wants to know whether the program starts.
    #[arg(long, hide = true)]
    bench: bool,
    /// The bare server of `--idle`.
    #[arg(long, hide = true)]
    bare_server: bool,
    /// The attacker of `--attack`.
    #[arg(long, hide = true, requires = "to", value_parser = attack::kinds::named)]
    attacker: Option<Attack>,
    /// Whom it attacks.
    #[arg(long, hide = true)]
    to: Option<SocketAddr>,
    /// The system keeps it to its share.
    #[arg(long, hide = true)]
    throttled: bool,
    /// What else cargo's test runners say.
    #[arg(hide = true, allow_hyphen_values = true)]
    ignored: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.bare_server {
        return ended(
            idle::serve_bare()
                .map(|()| true)
                .map_err(|error| error.to_string()),
        );
    }
    if let (Some(attack), Some(to)) = (&arguments.attacker, arguments.to) {
        let outcome = attack::attacker::attack(attack, to, arguments.throttled);
        return ended(outcome.map(|()| true).map_err(|error| error.to_string()));
    }
    if !arguments.bench {
        eprintln!("nothing measured: start it with cargo bench --bench end_to_end");
        return ExitCode::SUCCESS;
    }
    ended(run(&arguments))
}

fn ended(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked. `Ok(false)`: figures were told, but some rounds failed.
fn run(arguments: &Arguments) -> Result<bool, String> {
    watch_for_signals();
    let files = measure::most_files();
    let cores = Cores::choose()?;
    let folder = tempfile::Builder::new().prefix("tidegate-bench-").tempdir();
    let folder = folder.map_err(|error| format!("a temporary folder: {error}"))?;
    let tidegate = Contender::Tidegate.prepare();
    if let Some(attacks) = &arguments.attack {
        return besiege(arguments, attacks, cores, folder.path(), &tidegate?);
    }
    let mut bench = Bench::new().map_err(|error| format!("opening the origins: {error}"))?;

    if let Some(connections) = arguments.idle {
        let room = usize::try_from(files)
            .unwrap_or(usize::MAX)
            .saturating_sub(1000);
        if connections > room {
            return Err(format!(
                "{connections} connections need more than the {files} files this system allows: --idle {room}"
            ));
        }
        let idle = idle::measure(&mut bench, &tidegate?, folder.path(), cores, connections)?;
        return tell(&if arguments.json {
            pretty(&json!(idle))
        } else {
            idle::text(&idle)
        });
    }
    if arguments.callgrind {
        let tidegate = tidegate?;
        let counted = arguments.workloads.iter().map(|workload| {
            callgrind::count(&mut bench, &tidegate, folder.path(), cores, workload)
        });
        let counted: Vec<_> = counted.collect::<Result<_, _>>()?;
        return tell(&if arguments.json {
            pretty(&json!(counted))
        } else {
            callgrind::text(&counted)
        });
    }
    if let Some(pairs) = arguments.edits {
        let edits = edits::measure(&mut bench, &tidegate?, folder.path(), cores, pairs.into())?;
        return tell(&if arguments.json {
            pretty(&json!(edits))
        } else {
            edits::text(&edits)
        });
    }
    contest(arguments, cores, folder.path(), tidegate, &mut bench)
}

fn besiege(
    arguments: &Arguments,
    attacks: &[Attack],
    cores: Cores,
    folder: &std::path::Path,
    tidegate: &Ready,
) -> Result<bool, String> {
    let attacks = if attacks.is_empty() {
        &attack::kinds::ALL
    } else {
        attacks
    };
    let nginx = Contender::Nginx.prepare();
    let verdicts = attack::measure(tidegate, &nginx, folder, cores, attacks)?;
    if arguments.json {
        tell(&pretty(&json!(verdicts)))?;
    } else {
        let told: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
        tell(&told.join("\n"))?;
    }
    Ok(verdicts.iter().all(|verdict| verdict.against.is_empty()))
}

fn contest(
    arguments: &Arguments,
    cores: Cores,
    folder: &std::path::Path,
    tidegate: Result<Ready, String>,
    bench: &mut Bench,
) -> Result<bool, String> {
    let origins = bench
        .origins
        .addresses()
        .map_err(|error| error.to_string())?;
    let plan = Plan {
        rounds: arguments.rounds.into(),
        measured: Duration::from_secs_f64(arguments.seconds.clamp(0.1, 60.0)),
        cores,
    };
    let mut prepared = vec![(Contender::Tidegate, tidegate)];
    prepared.extend(arguments.peers.iter().map(|peer| (*peer, peer.prepare())));

    let _priority = Priority::raise();
    let (mut running, mut skipped, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for (contender, ready) in prepared {
        let started =
            ready.and_then(|ready| Ok((ready.start(folder, origins, cores, &[])?, ready.version)));
        match started {
            Ok((started, version)) => {
                versions.push((contender.name(), version));
                running.push(started);
            }
            Err(why) => {
                eprintln!("skipped: {}: {why}", contender.name());
                skipped.push((contender.name(), why));
            }
        }
    }
    if running.is_empty() {
        return Err("nobody to measure".into());
    }
    let lasts =
        plan.lasts(running.len()) * u32::try_from(arguments.workloads.len()).unwrap_or(u32::MAX);
    eprintln!(
        "{} rounds of {:?} on core {}, load and origins on core {}: about {} s in all",
        plan.rounds,
        plan.measured,
        cores.proxy,
        cores.load,
        lasts.as_secs()
    );

    let (mut text, mut values, mut whole) = (String::new(), Vec::new(), true);
    for workload in &arguments.workloads {
        eprintln!("{}: {} …", workload.name, workload.what);
        let rows = plan.run(workload, bench, &running);
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        whole &= rows.iter().all(|row| row.failures.is_empty());
        text.push_str(&table::text(workload, &rows));
        values.push(table::json(workload, &rows));
    }
    for (contender, why) in &skipped {
        text.push_str(&format!("\nskipped: {contender}: {why}"));
    }
    for (contender, version) in &versions {
        text.push_str(&format!("\n{contender}: {version}"));
    }
    text.push_str(table::LEGEND);
    let json = || pretty(&json!({ "workloads": values, "skipped": skipped, "versions": versions }));
    tell(&if arguments.json { json() } else { text })?;
    Ok(whole)
}

fn tell(text: &str) -> Result<bool, String> {
    writeln!(std::io::stdout(), "{text}")
        .map(|()| true)
        .map_err(|error| format!("standard output: {error}"))
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value can be written")
}

/// SIGINT and SIGTERM end the run at the next turn, on the ordinary way out: children ended, folder removed.
fn watch_for_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (mut interrupt, mut terminate) = (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            );
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
            Ok::<(), std::io::Error>(())
        })
    });
}

fn workload_named(name: &str) -> Result<Workload, String> {
    let known = workload::ALL
        .iter()
        .find(|workload| workload.name.eq_ignore_ascii_case(name));
    known.copied().ok_or_else(|| {
        format!(
            "there are {}",
            workload::ALL.map(|workload| workload.name).join(", ")
        )
    })
}

fn peer_named(name: &str) -> Result<Contender, String> {
    let known = Contender::ALL
        .into_iter()
        .find(|peer| *peer != Contender::Tidegate && peer.name() == name);
    known.ok_or_else(|| "there are nginx, haproxy, envoy".into())
}
