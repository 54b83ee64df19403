//! `tidegate schema`: the file's shape as JSON Schema.

use tidegate_config as config;

use super::{Exit, output};

/// The arguments of `tidegate schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate schema > tidegate.schema.json
  # then, as the first line of tidegate.yaml, for editors with a YAML language server:
  # yaml-language-server: $schema=./tidegate.schema.json")]
pub struct Schema {}

impl Schema {
    /// Prints the schema.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let mut text = serde_json::to_string_pretty(&config::schema())?;
        text.push('\n');
        output::print(&text)?;
        Ok(Exit::FINE)
    }
}
