//! Real clients of other makers, put beside the build by `tests/run`. One that is missing is a failure, never a silent
//! skip.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where a client was found.
pub struct Installed {
    pub program: PathBuf,
    envs: Vec<(&'static str, PathBuf)>,
}

/// Finds `python`, `node`, `curl`, `chromium` or `prometheus`.
#[track_caller]
pub fn installed(client: &str) -> Installed {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients");
    let (program, envs) = match client {
        "python" => (beside.join("python/bin/python3"), vec![]),
        "node" => {
            let modules = beside.join("node/node_modules");
            assert!(
                modules.join("ws").is_dir(),
                "{} is missing: run tests/run, it installs it",
                modules.display()
            );
            (on_path("node"), vec![("NODE_PATH", modules)])
        }
        "prometheus" => {
            let unpacked = beside.join("prometheus/usr/bin/prometheus");
            let system = on_path("prometheus");
            let found = if system.is_file() { system } else { unpacked };
            (found, vec![])
        }
        other => (on_path(other), vec![]),
    };
    assert!(
        program.is_file(),
        "{client} is missing ({}): run tests/run, it installs it",
        program.display()
    );
    Installed { program, envs }
}

fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|p| p.is_file())
        .unwrap_or_else(|| name.into())
}

impl Installed {
    /// Runs it to its end, within a bound; fails with what it wrote where it fails.
    #[track_caller]
    pub fn run(&self, args: &[&str], within: Duration) -> String {
        let output = self.output(args, within);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{} failed ({}):\n{out}\n{err}",
            self.program.display(),
            output.status
        );
        out.into_owned()
    }

    #[track_caller]
    pub fn output(&self, args: &[&str], within: Duration) -> Output {
        let mut child = Command::new(&self.program)
            .args(args)
            .envs(self.envs.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("an installed program starts");
        // Read while it runs: a full pipe would stop it.
        let pipes = (
            child.stdout.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        let (mut out, mut err) = pipes;
        let out = std::thread::spawn(move || all(&mut out));
        let err = std::thread::spawn(move || all(&mut err));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            if start.elapsed() > within {
                let _ = child.kill();
                let _ = child.wait();
                let err = String::from_utf8_lossy(&err.join().expect("a reader")).into_owned();
                panic!(
                    "{} did not end within {within:?}:\n{err}",
                    self.program.display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Output {
            status,
            stdout: out.join().expect("a reader"),
            stderr: err.join().expect("a reader"),
        }
    }
}

fn all(pipe: &mut impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}
