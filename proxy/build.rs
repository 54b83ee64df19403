//! Writes down which commit this binary was made from, so that `--version` can say it.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=TIDEGATE_COMMIT");
    // An image is built from a folder without `.git`: there the builder says it.
    let commit = env::var("TIDEGATE_COMMIT")
        .ok()
        .filter(|named| !named.trim().is_empty())
        .or_else(commit_of_the_checkout)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TIDEGATE_COMMIT={}", commit.trim());
    println!(
        "cargo::rustc-env=TIDEGATE_PROFILE={}",
        env::var("PROFILE").unwrap_or_default()
    );
}

fn commit_of_the_checkout() -> Option<String> {
    // The log of HEAD grows with every commit and checkout; HEAD itself often stays the same line.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let said = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|said| said.status.success())?;
    String::from_utf8(said.stdout)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
