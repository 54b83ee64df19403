//! `tidegate completions`: what a shell needs to complete the command's words.

use clap_complete::Shell;

use super::{Exit, output};

/// The arguments of `tidegate completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh  > ~/.zfunc/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish")]
pub struct Completions {
    /// The shell that reads them.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the shell's script for the whole command line.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self, mut command: clap::Command) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "tidegate", &mut script);
        output::print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::FINE)
    }
}
