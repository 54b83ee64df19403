//! A process of its own, made from this test program: it can be killed, or kept from growing its files.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "TIDEGATE_TEST_JOURNAL_DIR";
const ACT: &str = "TIDEGATE_TEST_JOURNAL_ACT";

/// Not a promise: what the children of other tests do. Without one that asks, it does nothing.
#[test]
fn act() {
    let (Some(dir), Ok(act)) = (std::env::var_os(DIR), std::env::var(ACT)) else {
        return;
    };
    let dir = PathBuf::from(dir);
    match act.split_once(' ').unwrap_or((&act, "")) {
        ("open", _) => match Journal::open(&dir) {
            Ok(_) => say("opened"),
            Err(error) => say(&format!("refused: {error}")),
        },
        ("work", _) => killed::work(&dir),
        ("steps", number) => killed::work_to_step(&dir, number.parse().unwrap()),
        ("full", _) => full::act(&dir),
        ("brim", _) => full::brim(&dir),
        ("boot", _) => full::boot(&dir),
        other => panic!("no such act: {other:?}"),
    }
}

/// Tells the parent a line, past the test's own capture.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more where the parent has seen enough.
    let _ = out.write_all(format!("\n> {line}\n").as_bytes());
    let _ = out.flush();
}

pub(super) struct Child {
    process: std::process::Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Child {
    pub(super) fn start(dir: &Path, act: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::spawn(Self::command_of(&program, dir, act))
    }

    /// A write beyond a limit of the file size is to fail, not to end the process: that signal is ignored.
    pub(super) fn command_of(program: &Path, dir: &Path, act: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
            .arg(program)
            .args([
                "--exact",
                "control::journal::tests::child::act",
                "--nocapture",
            ])
            .env(DIR, dir)
            .env(ACT, act)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    pub(super) fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().expect("the test program starts again");
        let out = BufReader::new(process.stdout.take().unwrap());
        let lines = out.lines().map_while(Result::ok);
        let told = lines.filter_map(|line| line.strip_prefix("> ").map(str::to_owned));
        Self {
            process,
            lines: Box::new(told),
        }
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Option<String> {
        self.lines.next()
    }

    /// All lines until it ends by itself.
    pub(super) fn lines_to_end(mut self) -> Vec<String> {
        let lines = self.lines.by_ref().collect();
        self.process.wait().unwrap();
        lines
    }

    /// Kills it at once, and hears what it had told before.
    pub(super) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.by_ref().collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A test that fails leaves no process behind; one that has ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
