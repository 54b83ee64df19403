//! Whole files, good and bad.

mod bad;
mod bad_rollouts;
mod good;
mod pairs;
mod permissions;
mod random;
mod releases;
mod several;
mod trust;
mod watching;

use std::path::Path;

use crate::{Config, Loaded, parse};

/// A file from standard input.
fn parsed(text: &str) -> Loaded {
    parse(text.as_bytes(), "tidegate.yaml", Path::new(""))
}

/// A file that must be good.
fn good(text: &str) -> Config {
    let loaded = parsed(text);
    let told: String = loaded
        .problems
        .iter()
        .map(|problem| problem.render(false))
        .collect();
    loaded
        .config
        .unwrap_or_else(|| panic!("the file is refused:\n{told}"))
}
