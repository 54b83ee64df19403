//! The demo's words on the terminal: plain lines, with colours only where somebody sees them.

use std::fmt::{self, Display};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_config::Share;

use super::stage::{ROLLOUT, Stage};
use super::trial::{Figures, TrialMoment};
use super::witness::{Moment, Promise, percent};

/// Tells what happens. A reader that has gone is no reason to stop: what counts is the exit code.
#[derive(Debug)]
pub(super) struct Teller<W> {
    out: W,
    colour: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "1;31";

impl<W: Write> Teller<W> {
    pub(super) fn new(out: W, colour: bool) -> Self {
        Self { out, colour }
    }

    pub(super) fn opens(&mut self, users: usize) {
        let title = self.paint(BOLD, "tidegate demo");
        self.say(format_args!(
            "{title}: two versions of a shop, one proxy, {users} users\n"
        ));
    }

    pub(super) fn introduces(&mut self, stage: &Stage, [v1, v2]: [SocketAddr; 2]) {
        let (proxy, file) = (stage.address, stage.file.display());
        self.say(format_args!("  v1     http://{v1}  stable"));
        self.say(format_args!("  v2     http://{v2}  candidate"));
        self.say(format_args!(
            "  proxy  http://{proxy}  tidegate run --config {file}"
        ));
        self.say(format_args!(
            "  try    curl -H 'x-user-id: user-7' http://{proxy}/"
        ));
    }

    /// The title of an act.
    pub(super) fn act(&mut self, title: &str) {
        let title = self.paint(BOLD, title);
        self.say(format_args!("\n{title}\n"));
    }

    pub(super) fn columns(&mut self) {
        let line = "    time   v2 asked    v2 seen   users on v2   v1 p50 / p99 ms   v2 p50 / p99 ms   failed";
        let line = self.paint(DIM, line);
        self.say(line);
    }

    pub(super) fn moment(&mut self, at: Duration, moment: &Moment) {
        let asked = moment.asked.map_or("-".to_owned(), percent);
        let seen = moment
            .seen
            .map_or("-".to_owned(), |seen| format!("{seen:.1} %"));
        let [v1, v2] = moment.latencies.map(|latency| {
            latency.map_or("-".to_owned(), |(p50, p99)| {
                format!("{:.1} / {:.1}", millis(p50), millis(p99))
            })
        });
        let users = moment.users;
        let failed = format!("{:>6}", moment.failed);
        let failed = if moment.failed > 0 {
            self.paint(RED, failed)
        } else {
            failed
        };
        self.say(format_args!(
            "{}{asked:>11}{seen:>11}{users:>14}{v1:>18}{v2:>18}   {failed}",
            Clock(at)
        ));
    }

    pub(super) fn trial_columns(&mut self) {
        let line = "    time    weight   v1 answers   v2 answers   v2 failures   errors seen by users   v1 for v2";
        let line = self.paint(DIM, line);
        self.say(line);
    }

    pub(super) fn trial_moment(
        &mut self,
        at: Duration,
        weight: Option<Share>,
        moment: TrialMoment,
    ) {
        let weight = weight.map_or("-".to_owned(), percent);
        let TrialMoment {
            answers: [v1, v2],
            failed,
            errors,
            in_its_place,
        } = moment;
        let errors_told = format!("{errors:>23}");
        let errors_told = if errors > 0 {
            self.paint(RED, errors_told)
        } else {
            errors_told
        };
        self.say(format_args!(
            "{}{weight:>10}{v1:>13}{v2:>13}{failed:>14}{errors_told}{in_its_place:>12}",
            Clock(at)
        ));
    }

    /// Something that happens now.
    pub(super) fn note(&mut self, at: Duration, words: &str) {
        let words = self.paint(BOLD, words);
        self.say(format_args!("{}   {words}", Clock(at)));
    }

    /// Something bad that happens now.
    pub(super) fn alarm(&mut self, at: Duration, words: &str) {
        let words = self.paint(RED, words);
        self.say(format_args!("{}   {words}", Clock(at)));
    }

    /// The proxy's own words.
    pub(super) fn quote(&mut self, words: &str) {
        self.say(format_args!("           its words: {words}"));
    }

    /// What somebody at a terminal would write.
    pub(super) fn command(&mut self, line: &str) {
        self.say(format_args!("           $ {line}"));
    }

    /// What the trials came to, side by side.
    pub(super) fn figures(&mut self, figures: &[Figures]) {
        if figures.is_empty() {
            return;
        }
        let title = self.paint(BOLD, "What users saw while v2 failed every request");
        self.say(format_args!("\n{title}\n"));
        let head = figures.iter().map(|of| match of.fallback {
            false => "without fallback",
            true => "fallback: stable",
        });
        self.row("", head.map(str::to_owned));
        let took = |of: &Figures| {
            of.took
                .map_or("-".to_owned(), |took| format!("{} ms", took.as_millis()))
        };
        self.row("first failure → weight 0", figures.iter().map(took));
        let number = |of: fn(&Figures) -> u64| figures.iter().map(move |one| of(one).to_string());
        self.row("users hit (saw an error)", number(|of| of.users_hit as u64));
        self.row("errors that users saw", number(|of| of.errors));
        self.row("requests that v2 failed", number(|of| of.failed));
        self.row("answered by v1 in v2's place", number(|of| of.in_its_place));
        let note = "as its users and v2 saw it, not as the proxy says; weight 0: the last request that v2 got";
        let note = self.paint(DIM, note);
        self.say(format_args!("\n  {note}"));
    }

    fn row(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let values: String = values.map(|value| format!("{value:>20}")).collect();
        self.say(format_args!("  {name:<28}{values}"));
    }

    pub(super) fn edited(&mut self, at: Duration, from: Share, to: Share) {
        let what = format!("the file is edited: v2 {} → {}", percent(from), percent(to));
        let what = self.paint(BOLD, what);
        self.say(format_args!("{}   {what}", Clock(at)));
    }

    pub(super) fn in_force(&mut self, at: Duration, after: Duration) {
        let what = format!(
            "the edit is in force: a user saw it {} ms after it was written",
            after.as_millis()
        );
        let what = self.paint(BOLD, what);
        self.say(format_args!("{}   {what}", Clock(at)));
    }

    pub(super) fn promises(&mut self, promises: &[Promise]) {
        self.say("");
        for Promise { kept, text } in promises {
            let word = if *kept {
                self.paint(GREEN, "ok    ")
            } else {
                self.paint(RED, "FAILED")
            };
            self.say(format_args!("  {word} {text}"));
        }
    }

    pub(super) fn stays(&mut self, stage: &Stage, [_, v2]: [SocketAddr; 2]) {
        let (file, admin) = (stage.file.display(), stage.admin);
        self.say(format_args!(
            "\nit stays up until Ctrl-C; the admin API is at http://{admin}; try, in another terminal:\n"
        ));
        for (command, what) in [
            (
                format!("tidegate status --admin http://{admin}"),
                "why it stands where it stands",
            ),
            (
                format!("tidegate history {ROLLOUT} --admin http://{admin}"),
                "all that happened",
            ),
            (
                format!("tidegate rollout retry {ROLLOUT} --admin http://{admin}"),
                "it grows again",
            ),
            (
                format!("curl http://{v2}/break"),
                "v2 fails again, and goes back again",
            ),
            (format!("curl http://{v2}/mend"), ""),
        ] {
            let what = self.paint(DIM, what);
            self.say(format_args!("  {command:<62} {what}"));
        }
        self.say(format_args!("  edit {file}\n"));
    }

    pub(super) fn interrupted(&mut self) {
        self.say("\ninterrupted before the end: nothing was shown to hold");
    }

    pub(super) fn died(&mut self, words: &str) {
        let what = self.paint(RED, "the proxy ended by itself");
        self.say(format_args!("\n{what}; its last words:\n{words}"));
    }

    fn paint(&self, colour: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    fn say(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

/// Seconds since the traffic began.
struct Clock(Duration);

impl Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.0} s", self.0.as_secs_f64())
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(colour: bool, tell: impl FnOnce(&mut Teller<Vec<u8>>)) -> String {
        let mut teller = Teller::new(Vec::new(), colour);
        tell(&mut teller);
        String::from_utf8(teller.out).unwrap()
    }

    #[test]
    fn there_is_no_colour_where_nobody_sees_it() {
        let promise = [Promise {
            kept: false,
            text: "x".into(),
        }];
        assert_eq!(
            told(false, |teller| teller.promises(&promise)),
            "\n  FAILED x\n"
        );
        assert!(told(true, |teller| teller.promises(&promise)).contains("\x1b[1;31mFAILED\x1b[0m"));
    }

    #[test]
    fn the_figures_stand_side_by_side() {
        let without = Figures {
            fallback: false,
            took: Some(Duration::from_millis(68)),
            failed: 7,
            users_hit: 7,
            errors: 7,
            in_its_place: 0,
        };
        let with = Figures {
            fallback: true,
            took: Some(Duration::from_millis(71)),
            failed: 8,
            users_hit: 0,
            errors: 0,
            in_its_place: 8,
        };
        let text = told(false, |teller| teller.figures(&[without, with]));
        let rows: Vec<Vec<char>> = text
            .lines()
            .skip(4)
            .map(|line| line.chars().collect())
            .collect();
        let values = |n: usize| {
            let value = |from: usize| rows[n][from..from + 20].iter().collect::<String>();
            (value(30).trim().to_owned(), value(50).trim().to_owned())
        };
        let expected = [
            ("68 ms", "71 ms"),
            ("7", "0"),
            ("7", "0"),
            ("7", "8"),
            ("0", "8"),
        ];
        let expected = expected.map(|(left, right)| (left.to_owned(), right.to_owned()));
        assert_eq!((0..5).map(values).collect::<Vec<_>>(), expected, "{text}");
        let widths: Vec<_> = text
            .lines()
            .skip(3)
            .take(6)
            .map(|line| line.chars().count())
            .collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn the_columns_stand_over_their_values() {
        let latency = Some((Duration::from_micros(6100), Duration::from_micros(31_400)));
        let moment = Moment {
            asked: Share::from_parts(25_000),
            seen: Some(24.8),
            users: 431,
            latencies: [latency, latency],
            failed: 0,
        };
        let text = told(false, |teller| {
            teller.columns();
            teller.moment(Duration::from_secs(12), &moment);
        });
        let ends = |line: &str, word: &str| line.find(word).unwrap() + word.len();
        let (head, row) = text.split_once('\n').unwrap();
        for (column, value) in [
            ("time", "12 s"),
            ("v2 asked", "25 %"),
            ("v2 seen", "24.8 %"),
            ("users on v2", "431"),
        ] {
            assert_eq!(ends(head, column), ends(row, value), "{column}\n{text}");
        }
        let moment = TrialMoment {
            answers: [312, 99],
            failed: 7,
            errors: 6,
            in_its_place: 1,
        };
        let trial = told(false, |teller| {
            teller.trial_columns();
            teller.trial_moment(Duration::from_secs(12), Share::from_parts(25_000), moment);
        });
        let (trial_head, trial_row) = trial.split_once('\n').unwrap();
        for (column, value) in [
            ("time", "12 s"),
            ("weight", "25 %"),
            ("v1 answers", "312"),
            ("v2 answers", "99"),
            ("v2 failures", " 7"),
            ("errors seen by users", " 6"),
            ("v1 for v2", " 1\n"),
        ] {
            let value_ends = ends(trial_row, value) - usize::from(value.ends_with('\n'));
            assert_eq!(ends(trial_head, column), value_ends, "{column}\n{trial}");
        }
        assert_eq!(
            ends(head, "v1 p50 / p99 ms"),
            ends(row, "6.1 / 31.4"),
            "{text}"
        );
    }
}
