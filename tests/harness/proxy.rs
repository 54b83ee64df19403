//! The proxy as an operator runs it: a file in a folder, a child process, its log, its admin API.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::site::Site;
use super::wait::{eventually, soon};
use super::{Answer, Conn, Metrics};

/// What an edit may take.
pub const EDIT: Duration = Duration::from_millis(1000);
const START: Duration = Duration::from_secs(15);
/// Longer than any drain that a test configures.
const LEAVE: Duration = Duration::from_secs(20);

/// How to start it, where the defaults do not do.
pub struct Launch {
    yaml: String,
    folder: TempDir,
    file: PathBuf,
    state: PathBuf,
    before: String,
    /// Whether the state's place is told on the command line, or left to the file.
    tells_state: bool,
    stdout: Option<Stdio>,
}

impl Launch {
    pub fn new(site: &Site) -> Self {
        Self::text(&site.yaml())
    }

    pub fn text(yaml: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-test-")
            .tempdir()
            .expect("a folder for the test");
        let file = folder.path().join("tidegate.yaml");
        Self {
            yaml: yaml.to_owned(),
            state: folder.path().join("state"),
            folder,
            file,
            before: String::new(),
            tells_state: true,
            stdout: None,
        }
    }

    /// The folder that the file will stand in, to put others beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another place for the file, inside the folder.
    pub fn file(mut self, name: &str) -> Self {
        self.file = self.folder.path().join(name);
        self
    }

    /// Another place for the state.
    pub fn state_dir(mut self, path: &str) -> Self {
        self.state = path.into();
        self
    }

    /// Leaves the place for the state to the file: this one, inside the folder.
    pub fn state_of_file(mut self, name: &str) -> Self {
        self.state = self.folder.path().join(name);
        self.tells_state = false;
        self
    }

    /// A shell command that goes before, such as `ulimit -n 64`.
    pub fn after(mut self, shell: &str) -> Self {
        self.before = format!("{shell}; ");
        self
    }

    pub fn stdout(mut self, to: Stdio) -> Self {
        self.stdout = Some(to);
        self
    }

    /// Writes the file (unless the test has put one there) and starts the process; does not wait for it.
    pub fn spawn(self) -> Proxy {
        if !self.file.exists() {
            fs::write(&self.file, &self.yaml).expect("the folder can be written");
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let stdout = self.stdout.unwrap_or_else(Stdio::piped);
        let (child, readers) = run(
            &self.before,
            &self.file,
            self.tells_state.then_some(&*self.state),
            self.folder.path(),
            &[],
            stdout,
            &log,
        );
        Proxy {
            child,
            yaml: self.yaml,
            folder: self.folder,
            file: self.file,
            state: self.state,
            before: self.before,
            tells_state: self.tells_state,
            log,
            readers,
            admin: None,
            left: None,
            exit: 0,
        }
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Proxy {
        let mut proxy = self.spawn();
        proxy.wait_ready();
        proxy
    }

    /// Starts it, expecting that it ends by itself; its exit code and its log.
    pub fn fails(self) -> (i32, String) {
        let mut proxy = self.spawn();
        let code = proxy.wait(START);
        for reader in proxy.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        proxy.exit = code;
        (code, proxy.log().join("\n"))
    }
}

/// Starts the binary; what it writes is gathered in `log`.
fn run(
    before: &str,
    file: &Path,
    state: Option<&Path>,
    folder: &Path,
    more: &[&str],
    stdout: Stdio,
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, Vec<JoinHandle<()>>) {
    let mut command = if before.is_empty() {
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
    } else {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("{before}exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_tidegate"));
        shell
    };
    command.arg("run").arg("--config").arg(file);
    if let Some(state) = state {
        command.arg("--state-dir").arg(state);
    }
    command.args(["--log-format", "json"]).args(more);
    command.current_dir(folder).stdin(Stdio::null());
    command.stdout(stdout).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut readers = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        readers.push(collect(pipe, log));
    }
    if let Some(pipe) = child.stderr.take() {
        readers.push(collect(pipe, log));
    }
    (child, readers)
}

/// A process that has handed over. It ends by itself, and with the test at the latest.
pub struct Former(Child);

impl Former {
    /// Its end by itself; its exit code (-1 when a signal ended it).
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> i32 {
        let status = eventually("the old process has left", within, || {
            match self.0.try_wait() {
                Ok(Some(status)) => Ok(status),
                other => Err(format!("{other:?}")),
            }
        });
        status.code().unwrap_or(-1)
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it is our child");
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        // It is gone, or it goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running proxy. When the test is over it is told to leave, and must do so cleanly and with exit code 0 (or what
/// [`Proxy::will_exit_with`] says).
pub struct Proxy {
    child: Child,
    yaml: String,
    folder: TempDir,
    file: PathBuf,
    state: PathBuf,
    before: String,
    tells_state: bool,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    admin: Option<SocketAddr>,
    left: Option<ExitStatus>,
    exit: i32,
}

impl Proxy {
    pub fn start(site: &Site) -> Self {
        Launch::new(site).start()
    }

    /// Waits for readyz.
    pub fn wait_ready(&mut self) {
        eventually("the proxy is ready", START, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.left = Some(status);
                panic!(
                    "the proxy left at once ({status}):\n{}\nthe file:\n{}",
                    self.log().join("\n"),
                    self.yaml
                );
            }
            self.admin = self
                .admin
                .or_else(|| self.logged_address("admin listening", None));
            let Some(admin) = self.admin else {
                return Err("no `admin listening` in the log".to_owned());
            };
            let answer = Conn::try_open(admin)
                .and_then(|mut conn| {
                    conn.with_admin_host(admin)
                        .try_request("GET", "/readyz", &[], b"")
                })
                .map_err(|e| e.to_string())?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("readyz {}", answer.status))
            }
        });
    }

    fn logged_address(&self, message: &str, listener: Option<&str>) -> Option<SocketAddr> {
        self.entries().iter().rev().find_map(|entry| {
            let is = word(entry, "message") == Some(message)
                && listener.is_none_or(|name| word(entry, "listener") == Some(name));
            is.then(|| word(entry, "address").and_then(|a| a.parse().ok()))?
        })
    }

    /// Where the listener of this name accepts; waits for it to come up.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        eventually(&format!("listener {listener} is up"), START, || {
            self.logged_address("listening", Some(listener))
                .ok_or_else(|| self.log().join("\n"))
        })
    }

    /// A connection to the listener `in`.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::open(self.address("in"))
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str, headers: &[&str]) -> Answer {
        self.connect().get(target, headers)
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the proxy was waited for")
    }

    /// A request to the admin API.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push("Content-Type: application/json");
        }
        let mut conn = Conn::open(self.admin());
        conn.with_admin_host(self.admin())
            .request(method, target, &headers, body.as_bytes())
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.ask("GET", "/api/v1/status", "").json()
    }

    /// `/api/v1/config`.
    #[track_caller]
    pub fn config(&self) -> Value {
        self.ask("GET", "/api/v1/config", "").json()
    }

    #[track_caller]
    pub fn revision(&self) -> u64 {
        let config = self.config();
        config["revision"]
            .as_u64()
            .unwrap_or_else(|| panic!("a revision in {config}"))
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let page = self.ask("GET", "/metrics", "");
        assert_eq!(page.status, 200, "/metrics");
        Metrics::parse(&page.text())
    }

    /// Waits until a sum of series reaches a value exactly.
    #[track_caller]
    pub fn counts(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        eventually(
            &format!("{name}{labels:?} = {expected}"),
            Duration::from_secs(5),
            || {
                let metrics = self.metrics();
                let sum = metrics.sum(name, labels);
                if sum == expected {
                    return Ok(());
                }
                let all: Vec<_> = metrics
                    .matching(name, &[])
                    .map(|s| format!("{:?} {}", s.labels, s.value))
                    .collect();
                Err(format!("{sum}; all series of it: {all:#?}"))
            },
        );
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the file beside and renames it into place, as editors and deployment tools do.
    pub fn write(&self, yaml: &str) {
        let beside = self.folder.path().join(".next");
        fs::write(&beside, yaml).expect("the folder can be written");
        fs::rename(&beside, &self.file).expect("a rename inside a folder");
    }

    /// Replaces the file and waits until it is in force; within the contract's second. Returns how long it took.
    #[track_caller]
    pub fn edit(&self, site: &Site) -> Duration {
        let before = self.revision();
        let start = Instant::now();
        self.write(&site.yaml());
        self.in_force_after(before, start)
    }

    /// Waits until a revision later than `before` is in force, and the log says so.
    #[track_caller]
    pub fn in_force_after(&self, before: u64, start: Instant) -> Duration {
        eventually(
            "the edit is in force",
            soon(Duration::from_secs(12)),
            || {
                let config = self.config();
                let later = config["revision"].as_u64().is_some_and(|r| r > before);
                if later && config["ok"] == true {
                    Ok(())
                } else {
                    Err(config.to_string())
                }
            },
        );
        let took = start.elapsed();
        assert!(
            took <= soon(EDIT),
            "an edit is in force within a second, this one took {took:?}"
        );
        // Where listeners are is read from the log, whose lines come through a pipe.
        eventually("the log tells of the edit", START, || {
            let told = |entry: &Value| entry["revision"].as_u64().is_some_and(|r| r > before);
            match self.entries().iter().any(told) {
                true => Ok(()),
                false => Err(self.log().join("\n")),
            }
        });
        took
    }

    /// Writes a bad file and waits until it was refused; the problems as told by the API.
    #[track_caller]
    pub fn bad_edit(&self, yaml: &str) -> Vec<Value> {
        let rejected = self.metrics().sum("tidegate_config_rejected_total", &[]);
        self.write(yaml);
        eventually("the edit is refused", Duration::from_secs(5), || {
            if self.metrics().sum("tidegate_config_rejected_total", &[]) > rejected {
                Ok(())
            } else {
                Err(self.config().to_string())
            }
        });
        let config = self.config();
        assert_eq!(
            config["ok"], false,
            "the file on disk is not the one in force: {config}"
        );
        config["problems"].as_array().cloned().unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the proxy is our child");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The end of the process by itself; its exit code (-1 when a signal ended it).
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> i32 {
        if let Some(status) = self.left {
            return status.code().unwrap_or(-1);
        }
        let status = eventually("the proxy has left", within, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                other => Err(format!(
                    "{other:?}; its log ends with {:#?}",
                    tail(&self.log())
                )),
            }
        });
        self.left = Some(status);
        status.code().unwrap_or(-1)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.left.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM and a clean end, now.
    #[track_caller]
    pub fn finish(&mut self) {
        if self.left.is_none() {
            self.signal(Signal::TERM);
        }
        let code = self.wait(LEAVE);
        assert_eq!(
            code,
            self.exit,
            "exit code after a drain; the log ends with {:#?}",
            tail(&self.log())
        );
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the proxy is our child");
        self.left = Some(self.child.wait().expect("the proxy is our child"));
    }

    /// Starts it once more after its end, with the same file and state, and waits until it is ready. Its log begins anew.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.left.is_some(), "it runs");
        self.spawn_again();
        self.wait_ready();
    }

    /// The same without waiting.
    pub fn spawn_again(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        self.log = Arc::default();
        (self.left, self.admin) = (None, None);
        let (child, readers) = run(
            &self.before,
            &self.file,
            self.tells_state.then_some(&*self.state),
            self.folder.path(),
            &[],
            Stdio::piped(),
            &self.log,
        );
        (self.child, self.readers) = (child, readers);
    }

    /// Starts another process that takes over from this one; does not wait for it. Its log goes on where this one's is.
    pub fn spawn_successor(&mut self) -> Child {
        let (child, readers) = run(
            &self.before,
            &self.file,
            self.tells_state.then_some(&*self.state),
            self.folder.path(),
            &["--take-over"],
            Stdio::piped(),
            &self.log,
        );
        self.readers.extend(readers);
        child
    }

    /// Starts another process and waits until it has taken over: from here on this is the new one. The old one.
    #[track_caller]
    pub fn take_over(&mut self) -> Former {
        let old = u64::try_from(self.pid().as_raw_pid()).expect("a pid");
        let child = self.spawn_successor();
        let new = u64::from(child.id());
        eventually("the new process has taken over", START, || {
            let entries = self.entries();
            let told = |key: &str, pid: u64, text: &str| {
                entries.iter().any(|entry| {
                    entry[key] == pid && word(entry, "message").is_some_and(|m| m.contains(text))
                })
            };
            if told("predecessor", old, "took over") && told("successor", new, "handed over") {
                Ok(())
            } else {
                Err(self.log().join("\n"))
            }
        });
        Former(std::mem::replace(&mut self.child, child))
    }

    /// A shell command that goes before the next start; nothing for none.
    pub fn after(&mut self, shell: &str) {
        self.before = match shell {
            "" => String::new(),
            shell => format!("{shell}; "),
        };
    }

    /// Where its state is.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What the drain at the end of the test will exit with, where it is not 0.
    pub fn will_exit_with(&mut self, code: i32) {
        self.exit = code;
    }

    /// Everything it has written, both streams.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panicked").clone()
    }

    /// The lines that are JSON objects.
    pub fn entries(&self) -> Vec<Value> {
        self.log()
            .iter()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect()
    }

    /// Waits for a log line that holds all these texts.
    #[track_caller]
    pub fn logs(&self, texts: &[&str]) -> String {
        eventually(
            &format!("a log line with {texts:?}"),
            Duration::from_secs(5),
            || {
                let log = self.log();
                let found = log.iter().find(|l| texts.iter().all(|t| l.contains(t)));
                found.cloned().ok_or_else(|| format!("{:#?}", tail(&log)))
            },
        )
    }

    /// Kilobytes of memory in use.
    pub fn resident_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .and_then(|l| l.trim().split(' ').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// What it has used of processors, to a hundredth of a second.
    pub fn processor_time(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let behind_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks = behind_name.split(' ').skip(11).take(2);
        Duration::from_millis(10 * ticks.flat_map(str::parse::<u64>).sum::<u64>())
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!(
                "the proxy's log ends with:\n{}",
                tail(&self.log()).join("\n")
            );
            return;
        }
        if self.left.is_none() {
            self.signal(Signal::TERM);
            let start = Instant::now();
            while self.left.is_none() && start.elapsed() < LEAVE {
                self.left = self.child.try_wait().ok().flatten();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let code = self.left.and_then(|s| s.code());
        if self.left.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let log = self.log();
        let is_fault = |l: &&String| l.contains("panicked at") || l.contains("has not ended");
        let faults: Vec<_> = log.iter().filter(is_fault).collect();
        assert!(faults.is_empty(), "a fault of the proxy: {faults:#?}");
        assert!(
            code == Some(self.exit) || self.left.and_then(|s| s.code()) == Some(self.exit),
            "a clean drain ends with {}, this one with {:?}; the log ends with {:#?}",
            self.exit,
            self.left,
            tail(&log)
        );
    }
}

impl Conn {
    /// The admin API answers only to its own name.
    pub fn with_admin_host(&mut self, admin: SocketAddr) -> &mut Self {
        self.set_host(&admin.to_string());
        self
    }
}

/// Runs another command of the binary to its end; `stdin` goes in.
pub fn command(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input may have left already.
    let _ = child
        .stdin
        .take()
        .expect("a pipe was asked for")
        .write_all(stdin.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

fn word<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry
        .get(key)
        .or_else(|| entry.get("fields")?.get(key))?
        .as_str()
}

fn tail(log: &[String]) -> Vec<String> {
    log[log.len().saturating_sub(30)..].to_vec()
}

fn collect(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().expect("no reader panicked").push(line);
        }
    })
}
