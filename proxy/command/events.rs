//! `tidegate events`: what happens, a line each, as it happens.

use std::io;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Exit;
use super::client::Admin;
use super::event_stream::Event;
use super::output::{self, Format};
use super::words::{count, list, moment, movement, phase_colour, plain, sentence, word};

/// The arguments of `tidegate events`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate events                                shifts, edits and alerts, until Ctrl-C
  tidegate events --format json | jq -r 'select(.event == \"shift\").reason'

JSON is an object a line: the one that the API sends, with its kind as \"event\".
Exit: 0 after Ctrl-C, 1 where it is refused, 2 where nobody answers or the proxy goes away.")]
pub struct Events {
    #[command(flatten)]
    admin: Admin,
    /// How it is shown.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

impl Events {
    /// Listens and shows.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let colour = output::colours(&io::stdout());
        let mut written = Ok(true);
        let ended = self.admin.follow("/api/v1/events", |event| {
            let line = match self.format {
                Format::Json => object(event),
                Format::Text => told(event, Timestamp::now(), colour),
            };
            written = output::print_on(&(line + "\n"));
            match written {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) | Err(_) => ControlFlow::Break(()),
            }
        });
        written?;
        Ok(match ended {
            Ok(()) => Exit::FINE,
            Err(error) => {
                output::complain(&error);
                error.exit()
            }
        })
    }
}

/// The event on one line of JSON.
fn object(event: &Event) -> String {
    let mut object = match serde_json::from_str(&event.text) {
        Ok(Value::Object(object)) => object,
        Ok(other) => Map::from_iter([("data".to_owned(), other)]),
        Err(_) => Map::from_iter([("data".to_owned(), json!(event.text))]),
    };
    object.insert("event".to_owned(), json!(event.kind));
    Value::Object(object).to_string()
}

/// The event on one line for people. One that does not say when it was is as old as its arrival.
fn told(event: &Event, now: Timestamp, colour: bool) -> String {
    let body: Value = serde_json::from_str(&event.text).unwrap_or_default();
    let at = match &body["at"] {
        Value::Null => format!("{now:.0}"),
        at => moment(at),
    };
    let kind = plain(&event.kind);
    let mut parts = Vec::new();
    if let Some(rollout) = sentence(&body["rollout"]) {
        parts.push(rollout);
    }
    match event.kind.as_str() {
        "shift" => parts.extend(shift(&body, colour)),
        "missed" => parts.push(format!(
            "{} events came faster than they were read; the history has the shifts",
            count(&body["events"])
        )),
        _ => {
            let message = message(&body).unwrap_or_else(|| plain(&event.text));
            // A message that names its rollout first, as the log does, has named it.
            let named = parts
                .first()
                .and_then(|name| message.strip_prefix(&format!("{name}: ")));
            parts.push(named.unwrap_or(&message).to_owned());
        }
    }
    let kind = match (event.kind.as_str(), colour) {
        ("alert", true) => format!("\x1b[1;31m{kind:<5}\x1b[0m"),
        _ => format!("{kind:<5}"),
    };
    format!("{at}  {kind}  {}", parts.join("  "))
}

fn shift(body: &Value, colour: bool) -> Vec<String> {
    let phase = word(&body["phase"]);
    let phase = match phase_colour(&phase).filter(|_| colour) {
        Some(code) => format!("\x1b[{code}m{phase}\x1b[0m"),
        None => phase,
    };
    let by = format!("by {}", word(&body["actor"]));
    let mut parts = vec![movement(&body["from"], &body["to"]), phase, by];
    parts.extend(sentence(&body["reason"]));
    parts
}

/// What an edit or an alert says of itself.
fn message(body: &Value) -> Option<String> {
    let told = ["message", "reason"]
        .iter()
        .find_map(|name| sentence(&body[name]));
    let changes: Vec<String> = list(&body["changes"]).iter().map(word).collect();
    let told = told.or_else(|| (!changes.is_empty()).then(|| changes.join(", ")))?;
    Some(match body["revision"].as_u64() {
        Some(revision) => format!("revision {revision}  {told}"),
        None => told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, body: Value) -> Event {
        Event {
            kind: kind.to_owned(),
            text: body.to_string(),
        }
    }

    fn noon() -> Timestamp {
        "2026-01-02T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_shift_tells_from_where_to_where_by_whom_and_why() {
        let shift = event(
            "shift",
            json!({ "at": "2026-01-02T03:04:05.678Z", "rollout": "shop-v2", "actor": "engine", "from": 5, "to": 0,
                    "phase": "rolled_back", "reason": "candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)" }),
        );
        assert_eq!(
            told(&shift, noon(), false),
            "2026-01-02T03:04:05Z  shift  shop-v2  5 % → 0 %  rolled_back  by engine  \
             candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)"
        );
        assert!(told(&shift, noon(), true).contains("\x1b[1;31mrolled_back\x1b[0m"));
    }

    #[test]
    fn an_alert_or_an_edit_tells_its_message_and_what_is_unknown_is_shown_as_it_came() {
        let alert = event(
            "alert",
            json!({ "rollout": "shop-v2", "message": "shop-v2: cannot grow" }),
        );
        assert_eq!(
            told(&alert, noon(), false),
            "2026-01-02T12:00:00Z  alert  shop-v2  cannot grow"
        );
        let edit = event(
            "edit",
            json!({ "revision": 4, "message": "routes +0 ~1 −0" }),
        );
        assert_eq!(
            told(&edit, noon(), false),
            "2026-01-02T12:00:00Z  edit   revision 4  routes +0 ~1 −0"
        );
        let missed = event("missed", json!({ "events": 12 }));
        assert!(
            told(&missed, noon(), false)
                .contains("missed  12 events came faster than they were read")
        );
        let odd = event("odd", json!({ "n": 1 }));
        assert_eq!(
            told(&odd, noon(), false),
            "2026-01-02T12:00:00Z  odd    {\"n\":1}"
        );
    }

    #[test]
    fn json_is_an_object_a_line_with_what_the_proxy_sent() {
        let line = object(&event("shift", json!({ "to": 0 })));
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({ "event": "shift", "to": 0 })
        );
        let text = Event {
            kind: "odd".to_owned(),
            text: "a\nb".to_owned(),
        };
        assert!(!object(&text).contains('\n'));
    }
}
