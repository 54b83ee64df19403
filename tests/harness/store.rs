//! A real Prometheus as a child process, and the page of numbers that it scrapes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::wait::{eventually, soon};
use super::{Conn, Scripted, installed};

const START: Duration = Duration::from_secs(15);

/// A page with gauges that a test sets.
pub struct Gauges {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    server: Scripted,
}

impl Gauges {
    pub fn start() -> Self {
        let values: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let shown = values.clone();
        let server = Scripted::start(move |scene, _| {
            loop {
                scene.request()?;
                let mut page = String::new();
                for (series, value) in shown.lock().expect("no test panicked here").iter() {
                    let _ = writeln!(page, "{series} {value}");
                }
                scene.write(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                ))?;
            }
        });
        Self { values, server }
    }

    /// Shows this series, such as `pay{user="1"}`, with this value.
    pub fn set(&self, series: &str, value: f64) {
        let mut values = self.values.lock().expect("no test panicked here");
        values.insert(series.to_owned(), value);
    }

    /// Shows it no more.
    pub fn remove(&self, series: &str) {
        let mut values = self.values.lock().expect("no test panicked here");
        values.remove(series);
    }
}

/// A Prometheus that scrapes some pages ten times a second. Dropped, it is gone.
pub struct Store {
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl Store {
    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn start(pages: &[&Gauges]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-store-")
            .tempdir()
            .expect("a folder for the test");
        let targets: Vec<_> = pages.iter().map(|page| page.server.endpoint()).collect();
        let config = format!(
            "global: {{ scrape_interval: 100ms, scrape_timeout: 100ms }}\n\
             scrape_configs: [{{ job_name: test, static_configs: [{{ targets: {targets:?} }}] }}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).expect("a folder of ours");
        let mut store = Self {
            address: free_port(),
            folder,
            child: None,
        };
        // A port that was free a moment ago may be taken by now: then another one is tried.
        for _ in 0..3 {
            if store.try_run() {
                return store;
            }
            store.address = free_port();
        }
        panic!("prometheus does not start:\n{}", store.log());
    }

    /// As an operator writes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it at once; the address stays its own.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, with what it had stored.
    #[track_caller]
    pub fn run_again(&mut self) {
        assert!(self.try_run(), "prometheus ended:\n{}", self.log());
    }

    /// Runs until it is ready; `false` where it ended instead.
    #[track_caller]
    fn try_run(&mut self) -> bool {
        let folder = self.folder.path();
        let log = fs::File::create(folder.join("log")).expect("a folder of ours");
        let child = Command::new(installed("prometheus").program)
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
            .arg(format!("--web.listen-address={}", self.address))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("an installed program starts");
        let child = self.child.insert(child);
        let address = self.address;
        let ready = eventually("prometheus is ready", soon(START), || {
            if child.try_wait().expect("our child").is_some() {
                return Ok(false);
            }
            let mut conn = Conn::try_open(address).map_err(|e| e.to_string())?;
            match conn.try_request("GET", "/-/ready", &[], b"") {
                Ok(answer) if answer.status == 200 => Ok(true),
                Ok(answer) => Err(format!("{}", answer.status)),
                Err(e) => Err(e.to_string()),
            }
        });
        if !ready {
            self.child = None;
        }
        ready
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Prometheus does not tell which port 0 became.
fn free_port() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("a bound socket")
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}
