//! Writing for people and scripts: one piece at the end, colours only where somebody sees them, and a reader that
//! leaves early (`tidegate check … | head`) is no failure.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use tidegate_config::Problem;

/// How a command's answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Whether this stream wants colours: a terminal does, unless `NO_COLOR` is set.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Writes a command's whole answer to standard output.
///
/// # Errors
/// Where it cannot be written; not where the reader has had enough.
pub fn print(text: &str) -> io::Result<()> {
    print_on(text).map(|_| ())
}

/// Writes a piece of a longer answer to standard output, and says whether somebody still reads.
///
/// # Errors
/// Where it cannot be written; not where the reader has had enough.
pub fn print_on(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(gone) if gone.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Problems as people read them, an empty line after each.
pub fn rendered(problems: &[Problem], colour: bool) -> String {
    problems
        .iter()
        .map(|problem| problem.render(colour) + "\n")
        .collect()
}

/// Tells what kept a command from its work on standard error; where that is closed there is nobody to tell.
pub fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "tidegate: {text}");
}

/// Tells problems at length on standard error, as they are.
pub fn complain_at_length(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
