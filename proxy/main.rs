//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tidegate::command::{
    Exit, check::Check, completions::Completions, demo::Demo, events::Events, explain::Explain,
    history::History, output, plan::Plan, replay::Replay, rollout::Rollout, run::Run,
    schema::Schema, status::Status,
};

/// An L7 proxy for gray releases: each request goes to the old or the new version of a service, by user, header, region
/// and weight, and edits of one file are in force within a second without a connection lost.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = tidegate::VERSION_LINE, max_term_width = 100, after_help = "Five minutes:
  tidegate check tidegate.yaml      is the file right?
  tidegate run                      serve by ./tidegate.yaml
  tidegate explain --header 'x-user-id: alice' http://shop.example.com/
                                    which version does alice get, and why?
  tidegate status                   how does the running one stand?
  tidegate rollout rollback shop-v2 everybody back to stable, now")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until a signal.
    Run(Run),
    /// See a gray release in half a minute, on this machine.
    Demo(Demo),
    /// Tell all that is wrong with a file.
    Check(Check),
    /// Tell where a request would go, and why.
    Explain(Explain),
    /// Show how a running one stands.
    Status(Status),
    /// Show what became of the rollouts of a running one, by whom and why.
    History(History),
    /// Show what happens in a running one, as it happens.
    Events(Events),
    /// Order a rollout of a running one: pause, resume, promote, approve, rollback, retry.
    Rollout(Rollout),
    /// Tell how long each stage of a rollout will need to see enough.
    Plan(Plan),
    /// Recompute recorded decisions, and tell which differ.
    Replay(Replay),
    /// Print the file's JSON Schema, for editors.
    Schema(Schema),
    /// Print a shell's completions.
    Completions(Completions),
}

fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Run(run) => run.run(),
        Command::Demo(demo) => demo.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Status(status) => status.run(),
        Command::History(history) => history.run(),
        Command::Events(events) => events.run(),
        Command::Rollout(rollout) => rollout.run(),
        Command::Plan(plan) => plan.run(),
        Command::Replay(replay) => replay.run(),
        Command::Schema(schema) => schema.run(),
        Command::Completions(completions) => completions.run(Line::command()),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            Exit::CANNOT.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }
}
