//! `tidegate status`: one screen about a running one: its rollouts, its file, who answers.

use std::fmt::Write as _;
use std::io;

use serde_json::Value;

use super::client::Admin;
use super::output::{self, Format};
use super::words::{count, list, sentence, word};
use super::{Exit, rollouts, table};

/// The arguments of `tidegate status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate status
  tidegate status --admin http://10.0.0.7:9900 --token-file ~/.tidegate-token
  tidegate status --format json | jq '.config.ok'
  tidegate status --format json | jq -r '.rollouts[] | \"\\(.name) \\(.phase) \\(.weight)\"'

Exit: 0 with an answer, 1 where it is refused, 2 where nobody answers.")]
pub struct Status {
    #[command(flatten)]
    admin: Admin,
    /// How it is shown.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

impl Status {
    /// Asks and shows.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let status = match self.admin.get("/api/v1/status") {
            Ok(status) => status,
            Err(error) => {
                output::complain(&error);
                return Ok(error.exit());
            }
        };
        let out = io::stdout();
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&status)? + "\n",
            Format::Text => screen(&status, table::width(&out), output::colours(&out)),
        })?;
        Ok(Exit::FINE)
    }
}

/// The status as people read it.
fn screen(status: &Value, room: Option<usize>, colour: bool) -> String {
    let mut text = rollouts::screen(list(&status["rollouts"]), room, colour);
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&process(status, colour));
    text
}

/// All but the rollouts.
fn process(status: &Value, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let mut text = String::new();
    let config = &status["config"];
    // Writing to a String cannot fail; the results are dropped for that reason.
    let _ = writeln!(
        text,
        "tidegate {}, {} since {}, {} workers",
        word(&status["version"]),
        word(&status["phase"]),
        word(&status["started_at"]),
        word(&status["workers"]),
    );
    let state = if config["ok"] == true {
        paint("32", "in force")
    } else {
        paint("1;31", "REFUSED: the revision before it stays in force")
    };
    let _ = writeln!(text, "file {}: {state}", word(&config["file"]));
    let _ = writeln!(
        text,
        "revision {} since {}",
        word(&status["revision"]),
        word(&config["loaded_at"])
    );
    for problem in list(&config["problems"]) {
        let place = match problem["line"].as_u64() {
            // The file as a whole.
            Some(0) | None => String::new(),
            Some(line) => format!(":{line}:{}", word(&problem["column"])),
        };
        let _ = writeln!(
            text,
            "  {}{place}: {}[{}]: {}",
            word(&problem["file"]),
            word(&problem["severity"]),
            word(&problem["code"]),
            word(&problem["message"]),
        );
    }
    let _ = writeln!(text, "\nlisteners");
    for listener in list(&status["listeners"]) {
        let _ = writeln!(
            text,
            "  {:<24} {}",
            word(&listener["name"]),
            word(&listener["address"])
        );
    }
    for certificate in list(&status["certificates"]) {
        let names = list(&certificate["names"]).iter().map(word);
        let _ = writeln!(
            text,
            "  {:<24} certificate {} ends {} ({})",
            word(&certificate["listener"]),
            word(&certificate["file"]),
            word(&certificate["not_after"]),
            names.collect::<Vec<_>>().join(", "),
        );
    }
    for service in list(&status["services"]) {
        let _ = writeln!(text, "\nservice {}", word(&service["name"]));
        for version in list(&service["versions"]) {
            let _ = writeln!(text, "  {}", line(version, &paint));
            for endpoint in list(&version["endpoints"]) {
                if let Some(why) = sentence(&endpoint["handshake_failure"]) {
                    let address = word(&endpoint["address"]);
                    let why = paint("31", &format!("handshake fails: {why}"));
                    let _ = writeln!(text, "    {address} {why}");
                }
            }
        }
    }
    text
}

/// `v2               1 312 requests, 97 failures, endpoints 1 of 2 healthy (down: 127.0.0.1:3002)`. Where nothing checks
/// them, nobody can say more than that they get requests.
fn line(version: &Value, paint: &dyn Fn(&str, &str) -> String) -> String {
    let endpoints = list(&version["endpoints"]);
    let down: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint["healthy"] != true)
        .map(|endpoint| word(&endpoint["address"]))
        .collect();
    let stable = if version["stable"] == true {
        " (stable)"
    } else {
        ""
    };
    let unchecked = endpoints
        .iter()
        .all(|endpoint| endpoint["checked"] == false);
    let how = if unchecked {
        "in use, not checked"
    } else {
        "healthy"
    };
    let name = format!("{}{stable}", word(&version["name"]));
    let mut line = format!(
        "{name:<24} {} requests, {} failures, endpoints {} of {} {how}",
        count(&version["requests"]),
        count(&version["failures"]),
        endpoints.len() - down.len(),
        endpoints.len(),
    );
    if !down.is_empty() {
        line.push_str(&paint("31", &format!(" (down: {})", down.join(", "))));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_tells_what_is_refused_and_who_is_down() {
        let status = json!({
            "version": "0.1.0", "phase": "serving", "started_at": "2026-01-02T03:04:05.678Z", "workers": 2, "revision": 7,
            "config": { "ok": false, "file": "gate.yaml", "loaded_at": "2026-01-02T03:04:05.678Z", "problems": [
                { "code": "T201", "severity": "error", "file": "gate.yaml", "line": 14, "column": 9, "message": "no v3" },
            ] },
            "rollouts": [{ "name": "app-v2", "phase": "holding", "reason": "holds at 5 %" }],
            "listeners": [{ "name": "in", "address": "127.0.0.1:8080" }],
            "services": [{ "name": "app", "versions": [
                { "name": "v1", "stable": true, "requests": 9, "failures": 0,
                  "endpoints": [{ "address": "127.0.0.1:1", "healthy": true }] },
                { "name": "v2", "stable": false, "requests": 1, "failures": 1,
                  "endpoints": [{ "address": "127.0.0.1:2", "healthy": false }] },
                { "name": "v3", "stable": false, "requests": 1, "failures": 1,
                  "endpoints": [{ "address": "127.0.0.1:3", "healthy": true, "checked": false,
                                  "handshake_failure": "its certificate has ended" }] },
            ] }],
        });
        let shown = screen(&status, None, false);
        for promised in [
            "file gate.yaml: REFUSED",
            "gate.yaml:14:9: error[T201]: no v3",
            "in                       127.0.0.1:8080",
            "v1 (stable)              9 requests, 0 failures, endpoints 1 of 1 healthy",
            "v2                       1 requests, 1 failures, endpoints 0 of 1 healthy (down: 127.0.0.1:2)",
            "v3                       1 requests, 1 failures, endpoints 1 of 1 in use, not checked\n",
            "    127.0.0.1:3 handshake fails: its certificate has ended\n",
        ] {
            assert!(shown.contains(promised), "{promised:?} is not in\n{shown}");
        }
        assert!(
            shown.starts_with("rollout  candidate")
                && shown.contains("\n  holds at 5 %\n\ntidegate 0.1.0"),
            "rollouts come first:\n{shown}"
        );
        assert!(!shown.contains('\x1b'), "no colours where nobody sees them");
    }
}
