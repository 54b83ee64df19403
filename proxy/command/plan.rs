//! `tidegate plan`: how long will each stage need to see enough? Offline, from the file and the traffic that is expected.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_config::plan::{Carries, Plan as Steps, Stage};
use tidegate_config::{self as config, Config, Rollout, Share};

use super::Exit;
use super::output::{self, Format};
use super::table::{self, Column, Table};
use super::words::NOTHING;
use crate::release::words::{count, percent, span};
use crate::release::{Detection, Expected, Forecast, forecast};

/// The arguments of `tidegate plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate plan --config tidegate.yaml shop-v2 --rps 200 --error-rate 0.5%
  tidegate plan app.everyone --rps 5 --error-rate 0% --format json | jq '.warnings'

--rps is what the rollout's rules get in all, stable and candidate together.
Times and users are means, for users with one request each: they say whether a plan fits its traffic,
and promise nothing.
Exit: 0 with an answer, 1 where the file is wrong or has no such rollout, 2 where it cannot be read.")]
pub struct Plan {
    /// The file.
    #[arg(long, value_name = "FILE", default_value = "tidegate.yaml")]
    config: PathBuf,
    /// Requests a second that the rollout's rules get, of both versions.
    #[arg(long, value_name = "N", value_parser = rate)]
    rps: f64,
    /// The share of them that fails today: 0.5%.
    #[arg(long, value_name = "P", value_parser = share)]
    error_rate: Share,
    /// How the answer looks.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// The rollout; a guarded split is ROUTE.RULE.
    #[arg(value_name = "NAME")]
    name: String,
}

impl Plan {
    /// Answers from the file.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let loaded = match config::load(&self.config) {
            Ok(loaded) => loaded,
            Err(error) => {
                output::complain(format_args!(
                    "{}: cannot be read: {error}",
                    self.config.display()
                ));
                return Ok(Exit::CANNOT);
            }
        };
        let Some(config) = loaded.config else {
            let colour = output::colours(&io::stderr());
            output::complain_at_length(&output::rendered(&loaded.problems, colour));
            return Ok(Exit::NO);
        };
        let mut rollouts = config.rollouts.iter();
        let Some(rollout) = rollouts.find(|rollout| rollout.name == self.name) else {
            output::complain(no_such(&self.name, &config));
            return Ok(Exit::NO);
        };
        let error_rate = f64::from(self.error_rate.parts()) / f64::from(Share::FULL.parts());
        let seen = Outlook {
            config: &config,
            rollout,
            rps: self.rps,
            error_rate: self.error_rate,
            forecast: forecast(rollout, self.rps, error_rate),
        };
        let out = io::stdout();
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&seen.json())? + "\n",
            Format::Text => seen.told(table::width(&out), output::colours(&out)),
        })?;
        Ok(Exit::FINE)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let number = number.filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "requests a second are a number above 0".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    text.parse()
        .map_err(|error: config::units::UnitError| format!("{error}; write it with its unit: 0.5%"))
}

fn no_such(name: &str, config: &Config) -> String {
    let names: Vec<&str> = config
        .rollouts
        .iter()
        .map(|rollout| rollout.name.as_str())
        .collect();
    if names.is_empty() {
        return format!(
            "there is no rollout {name:?}: the file has none, and no split with a guard"
        );
    }
    format!(
        "there is no rollout {name:?}; the file has {}",
        names.join(", ")
    )
}

/// What can be expected, of what, under which traffic.
struct Outlook<'a> {
    config: &'a Config,
    rollout: &'a Rollout,
    rps: f64,
    error_rate: Share,
    forecast: Forecast,
}

impl Outlook<'_> {
    fn told(&self, room: Option<usize>, colour: bool) -> String {
        let (service, stable, candidate) = self.names();
        let mut text = format!(
            "{}: service {service}, {stable} → {candidate}, at {} requests a second of which {} fail\n\n",
            self.rollout.name,
            self.rps,
            percent(self.error_rate),
        );
        let mut table = Table::new([
            Column::number("stage"),
            Column::name("weight"),
            Column::number("hold"),
            Column::number("requests"),
            Column::number("a second"),
            Column::number("lasts"),
            Column::name("total break found"),
            Column::name("doubling found"),
            Column::number("active users"),
        ]);
        for (index, expected) in self.forecast.stages.iter().enumerate() {
            let stage = self.stage(index);
            table.row([
                expected.stage.to_string().into(),
                carries(expected.carries).into(),
                stage
                    .map_or(NOTHING.to_owned(), |stage| span(stage.hold))
                    .into(),
                stage
                    .map_or(NOTHING.to_owned(), |stage| count(stage.min_requests))
                    .into(),
                short(expected.rate).into(),
                self.lasts(expected).into(),
                found(expected.total_break).into(),
                found(expected.doubling).into(),
                users(expected).map_or(NOTHING.to_owned(), count).into(),
            ]);
        }
        text.push_str(&table.render(room, colour));
        // Writing to a String cannot fail; the results are dropped for that reason.
        if self.stage(0).is_some() {
            let never = || "never: it holds until somebody promotes it".to_owned();
            let _ = match self.forecast.bake {
                Some(bake) if bake.is_zero() => writeln!(text, "\nbake   none"),
                bake => writeln!(text, "\nbake   {}", bake.map_or_else(never, span)),
            };
            let _ = writeln!(
                text,
                "total  {}",
                self.forecast.total.map_or_else(never, |total| {
                    format!("{} (approvals, windows and gates come on top)", span(total))
                })
            );
        }
        text.push_str(
            "\nfound: by the comparison with stable, after so many users met a failure; thresholds may be faster\n\
             total break: the candidate fails every request; doubling: it fails twice as often as stable\n\
             active users: with fewer of them the comparison sees nothing\n",
        );
        for (n, warning) in self.forecast.warnings.iter().enumerate() {
            let gap = if n == 0 { "\n" } else { "" };
            let word = if colour {
                "\x1b[1;33mwarning\x1b[0m"
            } else {
                "warning"
            };
            let _ = writeln!(text, "{gap}{word}: {warning}");
        }
        text
    }

    fn json(&self) -> Value {
        let (service, stable, candidate) = self.names();
        let stages = self.forecast.stages.iter().enumerate();
        let stages: Vec<Value> = stages
            .map(|(index, expected)| {
                let stage = self.stage(index);
                let (weight, mirror) = match expected.carries {
                    Carries::Weight(weight) => (json!(weight.percent()), Value::Null),
                    Carries::ByEndpoints => (json!("by_endpoints"), Value::Null),
                    Carries::Mirror(mirror) => (json!(0), json!(mirror.percent())),
                };
                json!({
                    "stage": expected.stage,
                    "weight": weight,
                    "mirror": mirror,
                    "hold_seconds": stage.map(|stage| stage.hold.as_secs_f64()),
                    "min_requests": stage.map(|stage| stage.min_requests),
                    "requests_per_second": expected.rate,
                    "lasts_seconds": seconds(expected.lasts),
                    "total_break": expected.total_break.map(detection),
                    "doubling": expected.doubling.map(detection),
                    "users_needed": users(expected),
                })
            })
            .collect();
        json!({
            "rollout": self.rollout.name,
            "service": service,
            "stable": stable,
            "candidate": candidate,
            "requests_per_second": self.rps,
            "error_rate": self.error_rate.percent(),
            "stages": stages,
            "bake_seconds": seconds(self.forecast.bake),
            "total_seconds": seconds(self.forecast.total),
            "warnings": self.forecast.warnings,
        })
    }

    fn names(&self) -> (&str, &str, &str) {
        let service = &self.config.services[self.rollout.service];
        let version = |index: usize| service.versions[index].name.as_str();
        (
            &service.name,
            version(service.stable),
            version(self.rollout.candidate),
        )
    }

    /// A stage as it is written; a guarded split has none.
    fn stage(&self, index: usize) -> Option<&Stage> {
        match &self.rollout.plan {
            Steps::Stages(stages) => stages.stages.get(index),
            Steps::Split(_) => None,
        }
    }

    fn lasts(&self, expected: &Expected) -> String {
        match expected.lasts {
            Some(lasts) => span(lasts),
            // A guarded split's one weight is for ever, and that is no trouble.
            None if self.stage(0).is_none() => "stays".to_owned(),
            None => "never over".to_owned(),
        }
    }
}

/// From so many active users on the comparison sees anything; `None` where no number would do.
fn users(expected: &Expected) -> Option<u64> {
    expected.total_break.and(expected.users_needed)
}

fn carries(carries: Carries) -> String {
    match carries {
        Carries::Weight(weight) => percent(weight),
        Carries::ByEndpoints => "by endpoints".to_owned(),
        Carries::Mirror(mirror) => format!("mirror {}", percent(mirror)),
    }
}

/// `4 users in 400ms`.
fn found(detection: Option<Detection>) -> String {
    let Some(detection) = detection else {
        return "not at all".to_owned();
    };
    let users = super::words::many(detection.users, "user", "users");
    match detection.after {
        Some(after) => format!("{users} in {}", span(after)),
        None => format!("{users}, never"),
    }
}

/// Two digits after the point where they say something.
fn short(rate: f64) -> String {
    if rate >= 100.0 {
        return count(rate.round() as u64);
    }
    let digits = if rate < 0.1 { 4 } else { 2 };
    let text = format!("{rate:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn detection(detection: Detection) -> Value {
    json!({
        "users": detection.users,
        "requests": detection.requests,
        "after_seconds": seconds(detection.after),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use config::SplitBy;
    use config::plan::{Compare, Failures, Guard, OnRegression, Stages, Windows};

    use super::*;

    const FILE: &str = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services:
  - name: shop
    stable: v1
    versions:
      - { name: v1, endpoints: [\"127.0.0.1:1\"] }
      - { name: v2, endpoints: [\"127.0.0.1:2\"] }
routes:
  - service: shop
    rules: [{ to: v1 }]
";

    fn rollout(name: &str, plan: Steps) -> Rollout {
        Rollout {
            name: name.to_owned(),
            service: 0,
            candidate: 1,
            by: SplitBy::User,
            salt: name.to_owned(),
            shares_salt: false,
            fallback: false,
            cohorts: Vec::new(),
            plan,
            guard: Guard {
                failures: Failures::default(),
                error_rate: None,
                latency: None,
                consecutive_failures: None,
                compare: Some(Compare::default()),
                metrics: Vec::new(),
            },
            on_regression: OnRegression::Rollback,
        }
    }

    fn stage(carries: Carries, hold: u64, min_requests: u64) -> Stage {
        Stage {
            carries,
            hold: Duration::from_secs(hold),
            min_requests,
            max_hold: None,
            approve: false,
        }
    }

    fn weight(percent: u32) -> Carries {
        Carries::Weight(Share::from_parts(percent * 1000).unwrap())
    }

    fn staged() -> Rollout {
        let stages = Stages {
            stages: vec![
                stage(weight(1), 600, 200),
                stage(weight(25), 10, 500),
                stage(weight(100), 0, 0),
            ],
            bake: Duration::from_secs(3600),
            deadline: None,
            windows: Windows::default(),
            gates: Vec::new(),
        };
        rollout("shop-v2", Steps::Stages(Box::new(stages)))
    }

    fn with_config<T>(rollout: Rollout, rps: f64, look: impl FnOnce(&Outlook<'_>) -> T) -> T {
        let mut config = config::parse(FILE.as_bytes(), "gate.yaml", Path::new("."))
            .config
            .unwrap();
        config.rollouts.push(rollout);
        look(&Outlook {
            config: &config,
            rollout: &config.rollouts[0],
            rps,
            error_rate: Share::from_parts(500).unwrap(),
            forecast: forecast(&config.rollouts[0], rps, 0.005),
        })
    }

    #[test]
    fn each_stage_tells_what_it_needs_and_how_long_that_takes() {
        let told = with_config(staged(), 20.0, |seen| seen.told(None, false));
        let line = |n: usize| {
            let words: Vec<&str> = told.lines().nth(n).unwrap().split_whitespace().collect();
            words.join(" ")
        };
        assert_eq!(
            line(0),
            "shop-v2: service shop, v1 → v2, at 20 requests a second of which 0.5 % fail"
        );
        // 200 requests at 0.2 a second take longer than the hold; 500 at 5 a second too.
        let stages = [
            "1 1 % 10m 200 0.2 16m 40s 3 users in 15s 55 users in 7h 30m 1 000",
            "2 25 % 10s 500 5 1m 40s 8 users in 2s 77 users in 25m 24s 40",
            "3 100 % 0s 0 20 0s not at all not at all -",
        ];
        assert_eq!([line(3), line(4), line(5)], stages, "{told}");
        assert!(told.contains("\nbake   1h\n"), "{told}");
        assert!(told.contains("\ntotal  1h 18m (approvals"), "{told}");
        assert!(
            told.contains("\nwarning: stage 1 lasts 16m 40s, but a doubling"),
            "{told}"
        );
        assert!(!told.contains('\x1b'), "no colours where nobody sees them");
    }

    #[test]
    fn json_tells_the_same_in_seconds() {
        let seen = with_config(staged(), 20.0, |seen| seen.json());
        assert_eq!(seen["stages"][0]["lasts_seconds"], 1000.0);
        assert_eq!(seen["stages"][0]["total_break"]["users"], 3);
        assert_eq!(
            seen["stages"][2]["total_break"],
            Value::Null,
            "nobody is left on stable"
        );
        assert_eq!(seen["bake_seconds"], 3600.0);
        assert_eq!(seen["error_rate"], 0.5);
        assert!(!seen["warnings"].as_array().unwrap().is_empty());
    }

    #[test]
    fn a_guarded_split_stays_and_has_no_end() {
        let split = rollout(
            "shop.everyone",
            Steps::Split(Share::from_parts(20_000).unwrap()),
        );
        let told = with_config(split, 200.0, |seen| seen.told(None, false));
        assert!(
            told.contains("    1  20 %       -         -        40  stays  "),
            "{told}"
        );
        assert!(!told.contains("bake"), "{told}");
    }

    #[test]
    fn without_such_a_rollout_the_names_that_there_are_are_told() {
        let told = with_config(staged(), 1.0, |seen| no_such("shop", seen.config));
        assert_eq!(told, "there is no rollout \"shop\"; the file has shop-v2");
    }

    #[test]
    fn traffic_and_errors_are_numbers_that_can_be() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "inf", "NaN", "many"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(share("0.5%"), Ok(Share::from_parts(500).unwrap()));
        assert!(share("0.5").unwrap_err().contains("0.5%"));
    }
}
