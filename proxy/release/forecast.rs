//! How long the stages of a plan will take at a given traffic, and what the comparison can be expected to see in them.

use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::plan::{Carries, Plan, Rollout, Stage, Stages};

use super::evidence::outlook::{hits_expected, hits_of_a_total_break};
use super::evidence::{Budget, Metric, users_needed};
use super::words::{percent, span};

/// What can be expected of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// One for each stage; the one weight of a guarded split is one that is never over.
    pub stages: Vec<Expected>,
    /// How long the bake lasts; `None` where it is never over for want of requests.
    pub bake: Option<Duration>,
    /// From the first stage to success; `None` where that is never reached. People, windows and gates take longer.
    pub total: Option<Duration>,
    /// What an operator should think about, in sentences.
    pub warnings: Vec<String>,
}

/// What can be expected of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// From 1.
    pub stage: usize,
    /// What the candidate gets in it.
    pub carries: Carries,
    /// Requests of the candidate a second.
    pub rate: f64,
    /// Until hold and requests are both there; `None`: never.
    pub lasts: Option<Duration>,
    /// How the comparison finds a candidate that fails every request; `None`: it does not.
    pub total_break: Option<Detection>,
    /// How it finds one that fails twice as often as stable; `None`: it does not.
    pub doubling: Option<Detection>,
    /// From so many active users on the comparison can be expected to see anything.
    pub users_needed: Option<u64>,
}

/// A regression that is found: means, where each user has one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Users whose request fails until then.
    pub users: u64,
    /// Requests of the candidate until then.
    pub requests: u64,
    /// After so long; `None`: never, at this traffic.
    pub after: Option<Duration>,
}

/// What can be expected of a plan at so many requests a second, of which such a share (0 to 1) fails on stable.
#[must_use]
pub fn forecast(plan: &Rollout, rate: f64, error_rate: f64) -> Forecast {
    let world = World::new(plan, rate, error_rate);
    let (stages, bake, total) = match &plan.plan {
        Plan::Split(weight) => {
            let mut only = world.expected(1, Carries::Weight(*weight), Duration::ZERO, 0);
            only.lasts = None;
            (vec![only], None, None)
        }
        Plan::Stages(stages) => world.of_stages(stages),
    };
    let mut forecast = Forecast {
        stages,
        bake,
        total,
        warnings: world.warnings_of_comparison(),
    };
    for stage in &forecast.stages {
        forecast.warnings.extend(world.warnings_of(stage));
    }
    if let Plan::Stages(stages) = &plan.plan {
        forecast
            .warnings
            .extend(warnings_of_time(stages, &forecast));
    }
    forecast
}

/// What a forecast assumes.
struct World<'a> {
    plan: &'a Rollout,
    rate: f64,
    error_rate: f64,
    /// What the comparison of errors may spend, and the least excess that counts; `None` where nothing is compared.
    compares: Option<(f64, Share)>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Rollout, rate: f64, error_rate: f64) -> Self {
        let compare = plan.guard.compare.filter(|_| !plan.shares_salt);
        let is_rate = rate.is_finite() && rate > 0.0;
        Self {
            plan,
            rate: if is_rate { rate } else { 0.0 },
            // Not `clamp` alone: what is no number fails nothing.
            error_rate: if error_rate.is_nan() {
                0.0
            } else {
                error_rate.clamp(0.0, 1.0)
            },
            compares: compare.map(|compare| {
                let alpha = Budget::new(compare.false_rollback).of(Metric::Errors);
                (alpha, compare.min_excess)
            }),
        }
    }

    fn of_stages(&self, stages: &Stages) -> (Vec<Expected>, Option<Duration>, Option<Duration>) {
        let expect = |(index, stage): (usize, &Stage)| {
            self.expected(index + 1, stage.carries, stage.hold, stage.min_requests)
        };
        let expected: Vec<_> = stages.stages.iter().enumerate().map(expect).collect();
        let bake = match (stages.stages.last(), expected.last()) {
            (Some(last), Some(of_last)) if !stages.bake.is_zero() => {
                lasts(stages.bake, last.min_requests.max(1), of_last.rate)
            }
            _ => Some(Duration::ZERO),
        };
        let times = expected.iter().map(|stage| stage.lasts).chain([bake]);
        let total = times.sum::<Option<Duration>>();
        (expected, bake, total)
    }

    fn expected(&self, stage: usize, carries: Carries, hold: Duration, least: u64) -> Expected {
        let share = match carries {
            Carries::Weight(share) | Carries::Mirror(share) => share,
            // Its hold begins when the candidate has them all.
            Carries::ByEndpoints => Share::FULL,
        };
        let rate = self.rate * part_of(share);
        let weight = match carries {
            Carries::Weight(weight) => weight,
            Carries::Mirror(_) | Carries::ByEndpoints => Share::ZERO,
        };
        Expected {
            stage,
            carries,
            rate,
            lasts: lasts(hold, least, rate),
            total_break: self.total_break(weight, rate),
            doubling: self.doubling(weight, rate),
            users_needed: self.compares.and_then(|_| users_needed(weight)),
        }
    }

    fn total_break(&self, weight: Share, rate: f64) -> Option<Detection> {
        let (alpha, min_excess) = self.compares?;
        let users = hits_of_a_total_break(alpha, min_excess, weight)?;
        Some(detection(users as f64, 1.0, rate))
    }

    fn doubling(&self, weight: Share, rate: f64) -> Option<Detection> {
        let (alpha, min_excess) = self.compares?;
        let doubled = (2.0 * self.error_rate).min(1.0);
        if doubled - self.error_rate < part_of(min_excess) {
            return None;
        }
        let users = hits_expected(alpha, weight, self.error_rate, doubled)?;
        Some(detection(users, doubled, rate))
    }

    fn warnings_of_comparison(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.plan.shares_salt {
            warnings
                .push("another rollout shares the salt: only thresholds guard this one".to_owned());
        } else if self.plan.guard.compare.is_none() {
            warnings.push("`compare: false`: only thresholds guard this rollout".to_owned());
        }
        if let Some((_, min_excess)) = self.compares
            && self.error_rate < part_of(min_excess)
        {
            warnings.push(format!(
                "a doubling of so few errors is less than `min_excess` ({}) and is not rolled back",
                percent(min_excess)
            ));
        }
        warnings
    }

    fn warnings_of(&self, stage: &Expected) -> Vec<String> {
        let mut warnings = Vec::new();
        let number = stage.stage;
        let is_split = matches!(self.plan.plan, Plan::Split(_));
        if self.compares.is_some()
            && stage.total_break.is_none()
            && let Carries::Weight(weight) = stage.carries
            && weight > Share::ZERO
        {
            warnings.push(format!(
                "stage {number}: at {} the comparison has too few users on stable; thresholds and the absolute test keep watch",
                percent(weight)
            ));
        }
        if let (Some(users), Some(_)) = (stage.users_needed, stage.total_break) {
            warnings.push(format!(
                "stage {number}: with fewer than about {users} active users the comparison sees nothing"
            ));
        }
        if !is_split && stage.lasts.is_none() {
            warnings.push(format!(
                "stage {number} never sees its requests at this traffic: it holds until somebody promotes it"
            ));
        }
        if let (Some(lasts), Some(doubling)) = (stage.lasts, stage.doubling)
            && doubling.after.is_none_or(|after| after > lasts)
        {
            let after = doubling
                .after
                .map_or("never".to_owned(), |after| format!("after {}", span(after)));
            warnings.push(format!(
                "stage {number} lasts {}, but a doubling of errors is expected to be seen {after}",
                span(lasts)
            ));
        }
        warnings
    }
}

/// Bounds of the plan that it will meet before its end.
fn warnings_of_time(stages: &Stages, forecast: &Forecast) -> Vec<String> {
    let mut warnings = Vec::new();
    for (stage, expected) in stages.stages.iter().zip(&forecast.stages) {
        if let Some(most) = stage.max_hold
            && expected.lasts.is_none_or(|lasts| lasts > most)
        {
            warnings.push(format!(
                "stage {} pauses: its requests are not there within `max_hold` ({})",
                expected.stage,
                span(most)
            ));
        }
    }
    let weighted = stages.stages.iter().zip(&forecast.stages);
    let weighted = weighted.filter(|(stage, _)| !matches!(stage.carries, Carries::Mirror(_)));
    let since_first = weighted
        .map(|(_, expected)| expected.lasts)
        .chain([forecast.bake]);
    let since_first = since_first.sum::<Option<Duration>>();
    if let Some(deadline) = stages.deadline
        && since_first.is_none_or(|time| time > deadline)
    {
        warnings.push(format!(
            "it is not finished within its deadline ({}), and is rolled back then",
            span(deadline)
        ));
    }
    warnings
}

fn detection(users: f64, candidate_fails: f64, rate: f64) -> Detection {
    let requests = (users / candidate_fails).ceil();
    Detection {
        users: users.ceil() as u64,
        requests: requests as u64,
        after: time_for(requests, rate),
    }
}

fn lasts(hold: Duration, requests: u64, rate: f64) -> Option<Duration> {
    Some(time_for(requests as f64, rate)?.max(hold))
}

fn time_for(requests: f64, rate: f64) -> Option<Duration> {
    if requests <= 0.0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(requests / rate).ok()
}

fn part_of(share: Share) -> f64 {
    f64::from(share.parts()) / f64::from(Share::FULL.parts())
}

#[cfg(test)]
mod tests {
    use tidegate_config::SplitBy;
    use tidegate_config::plan::{Compare, Failures, Guard, OnRegression, Windows};

    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn share(percent: u32) -> Share {
        Share::from_parts(percent * 1000).unwrap()
    }

    fn stage(weight: u32, hold: u64, min_requests: u64) -> Stage {
        Stage {
            carries: Carries::Weight(share(weight)),
            hold: secs(hold),
            min_requests,
            max_hold: None,
            approve: false,
        }
    }

    fn rollout(plan: Plan) -> Rollout {
        Rollout {
            name: "shop-v2".into(),
            service: 0,
            candidate: 1,
            by: SplitBy::User,
            salt: "shop-v2".into(),
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

    fn shop() -> Rollout {
        rollout(Plan::Stages(Box::new(Stages {
            stages: vec![
                stage(1, 600, 200),
                stage(5, 1200, 500),
                stage(50, 1800, 50),
                stage(100, 0, 0),
            ],
            bake: secs(3600),
            deadline: Some(secs(86_400)),
            windows: Windows::default(),
            gates: Vec::new(),
        })))
    }

    fn staged(plan: &mut Rollout) -> &mut Stages {
        match &mut plan.plan {
            Plan::Stages(stages) => stages,
            Plan::Split(_) => unreachable!(),
        }
    }

    #[test]
    fn busy_stages_last_as_long_as_their_hold_and_quiet_ones_until_their_requests_are_there() {
        let busy = forecast(&shop(), 1000.0, 0.005);
        let lasts: Vec<_> = busy.stages.iter().map(|stage| stage.lasts).collect();
        assert_eq!(lasts, [600, 1200, 1800, 0].map(|n| Some(secs(n))));
        assert_eq!(busy.total, Some(secs(7200)));

        let quiet = forecast(&shop(), 1.0, 0.005);
        assert_eq!(
            quiet.stages[0].lasts,
            Some(secs(20_000)),
            "200 requests at 1 % of 1 a second"
        );
        assert_eq!(quiet.stages[1].lasts, Some(secs(10_000)));
    }

    #[test]
    fn a_total_break_and_a_doubling_are_seen_after_so_many_users() {
        let busy = forecast(&shop(), 1000.0, 0.005);
        let broken: Vec<_> = busy
            .stages
            .iter()
            .map(|stage| stage.total_break.map(|found| found.users))
            .collect();
        assert_eq!(broken, [Some(3), Some(4), Some(15), None]);
        assert_eq!(
            busy.stages[1].total_break.unwrap().after,
            Some(Duration::from_millis(80))
        );
        let doubling = busy.stages[1].doubling.unwrap();
        assert!((48..=64).contains(&doubling.users), "{doubling:?}");
        assert!((4800..=6400).contains(&doubling.requests), "{doubling:?}");
        assert!(
            (96..=130).contains(&doubling.after.unwrap().as_secs()),
            "{doubling:?}"
        );
        assert_eq!(busy.stages[1].users_needed, Some(200));
    }

    #[track_caller]
    fn warns(forecast: &Forecast, of: &str) {
        let found = forecast.warnings.iter().any(|warning| warning.contains(of));
        assert!(found, "{of}: {:#?}", forecast.warnings);
    }

    #[test]
    fn what_will_not_work_is_told() {
        let mut shop = shop();
        staged(&mut shop).stages[0].max_hold = Some(secs(7200));
        let quiet = forecast(&shop, 0.1, 0.005);
        warns(
            &quiet,
            "stage 1 pauses: its requests are not there within `max_hold` (2h)",
        );
        warns(&quiet, "not finished within its deadline (1d)");
        warns(&quiet, "stage 2: with fewer than about 200 active users");
        warns(
            &quiet,
            "stage 4: at 100 % the comparison has too few users on stable",
        );
        warns(
            &forecast(&shop, 10.0, 0.005),
            "but a doubling of errors is expected to be seen after",
        );
        warns(
            &forecast(&shop, 10.0, 0.0001),
            "less than `min_excess` (0.1 %)",
        );

        let none = forecast(&shop, 0.0, 0.005);
        assert_eq!(none.total, None);
        warns(&none, "stage 1 never sees its requests");

        shop.shares_salt = true;
        let shared = forecast(&shop, 1000.0, 0.005);
        warns(&shared, "shares the salt");
        assert!(
            shared
                .stages
                .iter()
                .all(|stage| stage.total_break.is_none() && stage.doubling.is_none())
        );
        shop.shares_salt = false;
        shop.guard.compare = None;
        warns(&forecast(&shop, 1000.0, 0.005), "compare: false");
    }

    #[test]
    fn a_guarded_split_is_one_stage_that_is_never_over() {
        let split = forecast(&rollout(Plan::Split(share(20))), 200.0, 0.005);
        assert_eq!(
            (split.stages.len(), split.stages[0].lasts, split.total),
            (1, None, None)
        );
        assert!(split.stages[0].total_break.is_some());
        assert!(
            !split
                .warnings
                .iter()
                .any(|warning| warning.contains("never sees"))
        );
    }

    #[test]
    fn numbers_that_are_none_do_no_harm() {
        for rate in [
            f64::NAN,
            f64::INFINITY,
            -1.0,
            0.0,
            f64::MIN_POSITIVE,
            f64::MAX,
        ] {
            for errors in [f64::NAN, -1.0, 0.0, 0.5, 1.0, 7.0] {
                assert_eq!(forecast(&shop(), rate, errors).stages.len(), 4);
            }
        }
    }
}
