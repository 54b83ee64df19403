//! `tidegate replay`: were recorded decisions right?

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Exit;
use super::output::{self, Format};
use super::words::{grouped, many, plain};
use crate::control::decisions::Record;

/// Bytes of a line; a record's are below a thousand.
const LINE_BYTES: u64 = 64 << 10;
/// So many lines that differ are told one by one; beyond that the number says enough.
const TOLD_MAX: usize = 10_000;

/// The arguments of `tidegate replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate replay state/decisions.jsonl
  zcat decisions-*.jsonl.gz | tidegate replay -

Each line is recomputed from itself: slot = (unit * 100000) >> 64, and the version is the candidate
where slot < candidate_weight.
A unit is xxh3_64(key, seed = xxh3_64(salt)); where there is none, chance drew the slot.
Exit: 0 where all agree, 1 where one differs or is no record, 2 where the file cannot be read.")]
pub struct Replay {
    /// Decision records, a line of JSON each; `-` is standard input.
    #[arg(value_name = "DECISIONS")]
    file: PathBuf,
    /// How the outcome is told.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

/// What became of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Outcome {
    decisions: u64,
    agree: u64,
    differ: u64,
    /// The first of them.
    differences: Vec<Differs>,
}

/// One that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Differs {
    line: u64,
    why: String,
}

impl Replay {
    /// Reads, recomputes, tells.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let outcome = if self.file == Path::new("-") {
            replayed(io::stdin().lock())
        } else {
            File::open(&self.file).and_then(|file| replayed(BufReader::new(file)))
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                output::complain(format_args!(
                    "{}: cannot be read: {error}",
                    self.file.display()
                ));
                return Ok(Exit::CANNOT);
            }
        };
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&outcome)? + "\n",
            Format::Text => outcome.told(),
        })?;
        Ok(if outcome.differ == 0 {
            Exit::FINE
        } else {
            Exit::NO
        })
    }
}

impl Outcome {
    fn take(&mut self, line: u64, recomputed: Result<(), String>) {
        self.decisions += 1;
        let Err(why) = recomputed else {
            self.agree += 1;
            return;
        };
        self.differ += 1;
        if self.differences.len() < TOLD_MAX {
            self.differences.push(Differs { line, why });
        }
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for Differs { line, why } in &self.differences {
            text.push_str(&format!("line {line}: {}\n", plain(why)));
        }
        let untold = self.differ - self.differences.len() as u64;
        if untold > 0 {
            text.push_str(&format!("and {} more\n", grouped(untold)));
        }
        let decisions = many(self.decisions, "decision", "decisions");
        text.push_str(&match self.differ {
            0 if self.decisions == 0 => "there are no decisions in it\n".to_owned(),
            0 => format!("{decisions}: all agree\n"),
            differ => format!(
                "{decisions}: {} agree, {} differ\n",
                grouped(self.agree),
                grouped(differ)
            ),
        });
        text
    }
}

fn replayed(mut lines: impl BufRead) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let taken = lines
            .by_ref()
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)?;
        if taken == 0 {
            return Ok(outcome);
        }
        let is_cut = taken as u64 == LINE_BYTES && line.last() != Some(&b'\n');
        if is_cut {
            lines.skip_until(b'\n')?;
            outcome.take(
                number,
                Err(format!(
                    "a line of more than {LINE_BYTES} bytes is no record"
                )),
            );
        } else if !line.trim_ascii().is_empty() {
            outcome.take(number, recomputed(&line));
        }
    }
}

fn recomputed(line: &[u8]) -> Result<(), String> {
    let record: Record =
        serde_json::from_slice(line).map_err(|error| format!("no record: {error}"))?;
    record
        .recompute()
        .map_err(|difference| difference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slot: u32, version: &str) -> String {
        format!(
            "{{\"at\":\"2026-01-02T03:04:05.678Z\",\"revision\":7,\"rollout\":\"shop-v2\",\"attempt\":1,\"unit\":null,\
             \"slot\":{slot},\"candidate_weight\":5000,\"version\":\"{version}\",\"candidate\":\"v2\",\"stable\":\"v1\"}}\n"
        )
    }

    #[test]
    fn decisions_that_agree_are_counted() {
        let text = line(4999, "v2") + "\n" + &line(5000, "v1");
        let outcome = replayed(text.as_bytes()).unwrap();
        assert_eq!(outcome.told(), "2 decisions: all agree\n");
        assert_eq!(
            replayed(&b""[..]).unwrap().told(),
            "there are no decisions in it\n"
        );
    }

    #[test]
    fn each_that_differs_is_told_with_its_line() {
        let text = line(4999, "v2") + &line(5000, "v2") + "torn {\n" + &line(1, "v2");
        let told = replayed(text.as_bytes()).unwrap().told();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[0],
            "line 2: slot 5000 at a candidate weight of 5000 hundred-thousandths is v1, recorded is v2"
        );
        assert!(lines[1].starts_with("line 3: no record: "), "{told}");
        assert_eq!(lines[2], "4 decisions: 2 agree, 2 differ");
    }

    #[test]
    fn a_line_without_end_differs_and_those_after_it_are_still_read() {
        let text = "x".repeat(LINE_BYTES as usize * 3) + "\n" + &line(1, "v2");
        let outcome = replayed(text.as_bytes()).unwrap();
        assert_eq!((outcome.agree, outcome.differ), (1, 1));
        assert_eq!(outcome.differences[0].line, 1);
    }

    #[test]
    fn a_million_differences_do_not_fill_the_screen() {
        let text = line(5000, "v2").repeat(TOLD_MAX + 2);
        let told = replayed(text.as_bytes()).unwrap().told();
        assert!(told.ends_with("\nand 2 more\n10 002 decisions: 0 agree, 10 002 differ\n"));
    }
}
