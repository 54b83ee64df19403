//! `tidegate history`: what became of the rollouts, by whom and why.

use std::io;

use serde_json::Value;

use super::Exit;
use super::client::{Admin, segment};
use super::output::{self, Format};
use super::rollouts;
use super::table::{self, Column, Table};
use super::words::{list, many, moment, movement, word};

/// So many entries are shown where nobody says how many.
const ENTRIES: usize = 50;

/// The arguments of `tidegate history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate history                               the last 50 entries of all rollouts, newest last
  tidegate history shop-v2 --limit 500
  tidegate history --format json | jq '.[] | select(.phase == \"rolled_back\")'

JSON is what the API answers: every entry that is kept, unless --limit says how many.
Exit: 0 with an answer, 1 where it is refused, 2 where nobody answers.")]
pub struct History {
    #[command(flatten)]
    admin: Admin,
    /// Of this rollout alone.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The last so many entries [default: 50; all in JSON].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How it is shown.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

impl History {
    /// Asks and shows.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let path = match &self.name {
            Some(name) => format!("/api/v1/history?rollout={}", segment(name)),
            None => "/api/v1/history".to_owned(),
        };
        let history = match self.admin.get(&path) {
            Ok(history) => history,
            Err(error) => {
                output::complain(&error);
                return Ok(error.exit());
            }
        };
        let (out, room) = (io::stdout(), table::width(&io::stdout()));
        output::print(&match (self.format, self.limit) {
            (Format::Json, None) => serde_json::to_string_pretty(&history)? + "\n",
            (Format::Json, Some(limit)) => {
                serde_json::to_string_pretty(last(list(&history), limit))? + "\n"
            }
            (Format::Text, limit) => {
                let limit = limit.unwrap_or(ENTRIES);
                screen(list(&history), limit, room, output::colours(&out))
            }
        })?;
        Ok(Exit::FINE)
    }
}

fn last(entries: &[Value], limit: usize) -> &[Value] {
    &entries[entries.len().saturating_sub(limit)..]
}

/// The last entries as people read them, oldest first.
fn screen(entries: &[Value], limit: usize, room: Option<usize>, colour: bool) -> String {
    if entries.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    let shown = last(entries, limit);
    let mut table = Table::new([
        Column::name("at"),
        Column::name("rollout"),
        Column::name("by"),
        Column::name("weight"),
        Column::name("phase"),
        Column::number("stage"),
        Column::number("revision"),
        // The last column: where the terminal is too narrow the line goes on below, whole.
        Column::name("reason"),
    ]);
    for entry in shown {
        table.row([
            moment(&entry["at"]).into(),
            word(&entry["rollout"]).into(),
            word(&entry["actor"]).into(),
            movement(&entry["from"], &entry["to"]).into(),
            rollouts::phase(&entry["phase"]),
            word(&entry["stage"]).into(),
            word(&entry["revision"]).into(),
            word(&entry["reason"]).into(),
        ]);
    }
    let mut text = String::new();
    let left_out = entries.len() - shown.len();
    if left_out > 0 {
        let earlier = many(left_out as u64, "earlier entry", "earlier entries");
        text = format!("{earlier} not shown: --limit {} shows all\n", entries.len());
    }
    text.push_str(&table.render(room, colour));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries() -> Vec<Value> {
        vec![
            json!({ "seq": 1, "at": "2026-01-02T03:04:05.678Z", "rollout": "shop-v2", "actor": "engine", "from": 0, "to": 1,
                    "phase": "holding", "reason": "stage 1 begins", "revision": 3, "stage": 1 }),
            json!({ "seq": 2, "at": "2026-01-02T03:14:05.678Z", "rollout": "shop-v2", "actor": "mia", "from": 1, "to": 0,
                    "phase": "rolled_back", "reason": "by mia: errors in the log" }),
        ]
    }

    #[test]
    fn the_table_tells_who_moved_what_and_why_oldest_first() {
        assert_eq!(
            screen(&entries(), 50, None, false),
            "at                    rollout  by      weight     phase        stage  revision  reason\n\
             2026-01-02T03:04:05Z  shop-v2  engine  0 % → 1 %  holding          1         3  stage 1 begins\n\
             2026-01-02T03:14:05Z  shop-v2  mia     1 % → 0 %  rolled_back      -         -  by mia: errors in the log\n"
        );
    }

    #[test]
    fn a_limit_keeps_the_newest_and_says_what_it_leaves_out() {
        let shown = screen(&entries(), 1, Some(40), false);
        assert!(
            shown.starts_with("1 earlier entry not shown: --limit 2 shows all\n"),
            "{shown}"
        );
        assert!(
            shown.contains("by mia: errors in the log") && !shown.contains("engine"),
            "{shown}"
        );
    }

    #[test]
    fn an_empty_history_says_so() {
        assert_eq!(screen(&[], 50, None, false), "nothing has happened yet\n");
    }
}
