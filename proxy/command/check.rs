//! `tidegate check`: is this file right? All problems at once.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tidegate_config::{self as config, Loaded, Severity};

use super::Exit;
use super::output::{self, Format};

/// More than any file that people write; a mistaken `check -` of a disk must end.
const STDIN_BYTES: u64 = 64 << 20;

/// The arguments of `tidegate check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate check tidegate.yaml
  tidegate check tidegate.yaml --format json | jq -r '.[].message'
  helm template . | tidegate check -             # relative paths are relative to the current folder

Exit: 0 where the file can be used (there may be warnings), 1 where it has errors, 2 where it cannot be read.")]
pub struct Check {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// How problems are told.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

impl Check {
    /// Checks the file and prints what is wrong.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let loaded = match read(&self.file) {
            Ok(loaded) => loaded,
            Err(error) => {
                output::complain(format_args!(
                    "{}: cannot be read: {error}",
                    self.file.display()
                ));
                return Ok(Exit::CANNOT);
            }
        };
        let errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count();
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(&loaded.problems)? + "\n",
            Format::Text => told(&self.file, &loaded, errors, output::colours(&io::stdout())),
        };
        output::print(&text)?;
        Ok(if loaded.config.is_some() {
            Exit::FINE
        } else {
            Exit::NO
        })
    }
}

fn read(file: &Path) -> io::Result<Loaded> {
    if file != Path::new("-") {
        return config::load(file);
    }
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .take(STDIN_BYTES)
        .read_to_end(&mut text)?;
    Ok(config::parse(&text, "<stdin>", Path::new(".")))
}

fn told(file: &Path, loaded: &Loaded, errors: usize, colour: bool) -> String {
    let mut text = String::new();
    for problem in &loaded.problems {
        text.push_str(&problem.render(colour));
        text.push('\n');
    }
    let warnings = loaded.problems.len() - errors;
    let file = file.display();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    text.push_str(&match (&loaded.config, warnings) {
        (Some(config), 0) => format!("{file}: fine ({})\n", summary(config)),
        (Some(config), n) => format!(
            "{file}: fine, with {} ({})\n",
            count(n, "warning"),
            summary(config)
        ),
        (None, 0) => format!("{file}: {}\n", count(errors, "error")),
        (None, n) => format!(
            "{file}: {}, {}\n",
            count(errors, "error"),
            count(n, "warning")
        ),
    });
    text
}

fn summary(config: &config::Config) -> String {
    let (listeners, services, routes) = (
        config.listeners.len(),
        config.services.len(),
        config.routes.len(),
    );
    format!("listeners: {listeners}, services: {services}, routes: {routes}")
}
