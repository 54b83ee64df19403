//! The demo's words on the terminal: plain lines, with colours only where somebody sees them.

use std::fmt::{self, Display};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_config::Share;

use super::stage::Stage;
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
            "  try    curl -H 'x-user-id: user-7' http://{proxy}/\n"
        ));
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

    pub(super) fn stays(&mut self, stage: &Stage) {
        let (file, admin) = (stage.file.display(), stage.admin);
        self.say(format_args!(
            "\nit stays up until Ctrl-C; edit the weights and watch:\n  {file}"
        ));
        self.say(format_args!("  curl http://{admin}/metrics\n"));
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
        assert_eq!(
            ends(head, "v1 p50 / p99 ms"),
            ends(row, "6.1 / 31.4"),
            "{text}"
        );
    }
}
