//! `tidegate check`: is this file right? All problems at once.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tidegate_config::{self as config, Loaded, Severity};

use super::Exit;
use super::output::{self, Format};

/// More than any file that people write; a mistaken `check -` of a disk must end.
const STDIN_BYTES: u64 = 64 << 20;
/// What standard input is called in problems.
const STDIN: &str = "<stdin>";

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
            Format::Text => told(self.name(), &loaded, errors, output::colours(&io::stdout())),
        };
        output::print(&text)?;
        Ok(if loaded.config.is_some() {
            Exit::FINE
        } else {
            Exit::NO
        })
    }
}

impl Check {
    fn name(&self) -> &Path {
        if self.file == Path::new("-") {
            Path::new(STDIN)
        } else {
            &self.file
        }
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
    Ok(config::parse(&text, STDIN, Path::new(".")))
}

fn told(file: &Path, loaded: &Loaded, errors: usize, colour: bool) -> String {
    let mut text = output::rendered(&loaded.problems, colour);
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
    for listener in loaded.config.iter().flat_map(|config| &config.listeners) {
        for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            let pair = &certificate.pair;
            text.push_str(&format!(
                "  listener {}: certificate {} ends {} ({})\n",
                listener.name,
                pair.cert.display(),
                pair.not_after,
                pair.names.join(", ")
            ));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }]
routes:
  - service: app
    rules: [{ to: v1 }]
";

    fn text(file: &str) -> String {
        let loaded = config::parse(file.as_bytes(), "gate.yaml", Path::new("."));
        let errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .count();
        told(Path::new("gate.yaml"), &loaded, errors, false)
    }

    #[test]
    fn a_file_that_is_fine_says_what_is_in_it() {
        assert_eq!(
            text(FILE),
            "gate.yaml: fine (listeners: 1, services: 1, routes: 1)\n"
        );
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_places_and_counted() {
        let shown = text(
            &FILE
                .replace("to: v1", "to: v2")
                .replace("stable: v1", "stable: v3"),
        );
        for promised in [
            "gate.yaml:3:33: error[",
            "gate.yaml:6:19: error[",
            "^^",
            "gate.yaml: 2 errors\n",
        ] {
            assert!(shown.contains(promised), "{promised:?} is not in\n{shown}");
        }
        assert!(!shown.contains('\x1b'), "no colours where nobody sees them");
    }
}
