//! `tidegate rollout`: orders to a rollout.

use clap::ValueEnum;
use serde_json::json;

use super::Exit;
use super::client::{Admin, segment};
use super::output::{self, Format};
use super::rollouts;

/// The arguments of `tidegate rollout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate rollout pause shop-v2 --reason 'looking at the logs'
  tidegate rollout rollback shop-v2
  tidegate rollout approve shop-v2 --admin http://10.0.0.7:9900 --token-file ~/.tidegate-token

Prints what is now true. The reason and the name stand in the history; where the proxy asks for
tokens, the token says who it was.
Exit: 0 done, 1 refused (no such rollout, its phase forbids it, the token may not),
2 where nobody answers.")]
pub struct Rollout {
    /// What it shall do.
    #[arg(value_enum)]
    verb: Verb,
    /// The rollout; a guarded split is ROUTE.RULE.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    admin: Admin,
    /// Why, for whoever reads the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who says so [default: your user name].
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// How the rollout is shown.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

/// What a rollout can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    /// Stay at this weight; guards go on watching.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Do not wait for the rest of this stage: one stage on.
    Promote,
    /// Let it enter the stage that wants an approval.
    Approve,
    /// Everybody back to stable, now; it stays back.
    Rollback,
    /// Begin again after a rollback, with other users first.
    Retry,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
        }
    }
}

impl Rollout {
    /// Orders, and tells what is now true.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let path = format!(
            "/api/v1/rollouts/{}/{}",
            segment(&self.name),
            self.verb.as_str()
        );
        let mut order = json!({});
        if let Some(reason) = &self.reason {
            order["reason"] = json!(reason);
        }
        if let Some(by) = self.by.clone().or_else(user) {
            order["by"] = json!(by);
        }
        let rollout = match self.admin.post(&path, &order) {
            Ok(rollout) => rollout,
            Err(error) => {
                output::complain(&error);
                return Ok(error.exit());
            }
        };
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&rollout)? + "\n",
            Format::Text => rollouts::sentence_of(&rollout) + "\n",
        })?;
        Ok(Exit::FINE)
    }
}

/// Who is at this terminal.
fn user() -> Option<String> {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty())
}
