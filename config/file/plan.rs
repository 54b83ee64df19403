//! `rollouts[]`, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ClockText, DurationText, Guard, MomentText, PathText, ShareText, UrlText, WeightText, When,
    ZoneText,
};

/// A release of one version, stage by stage. Rules name it by `rollout`; its state is kept apart from the file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollout {
    /// A name of its own among rollouts.
    pub(crate) name: String,
    /// The service whose version is tried.
    pub(crate) service: String,
    /// The version that is tried.
    pub(crate) candidate: String,
    /// What gives a request its place: `user`, `random`, `client_address`, `header:NAME` or `cookie:NAME`. Default:
    /// `user` where an `identity` is configured, else `random`.
    pub(crate) by: Option<String>,
    /// Equal salts put the same user in the same place, at the price of the comparison. Default: the name.
    pub(crate) salt: Option<String>,
    /// `stable`: an idempotent request that the candidate failed before its answer began is answered by stable.
    /// Default: the failure is passed on.
    pub(crate) fallback: Option<Fallback>,
    /// Parts of the users that are judged apart as well, at most 16: one may go back while the rest goes on. Default
    /// none.
    #[serde(default)]
    pub(crate) cohorts: Vec<Cohort>,
    /// By which steps the candidate gets its users. Mirror stages come first; weights grow. At least one gives a weight.
    pub(crate) stages: Vec<Stage>,
    /// For so long the candidate is watched at its last weight. A duration, default `0s`.
    pub(crate) bake: Option<DurationText>,
    /// Not finished so long after its first weight, it is rolled back. A duration, default none.
    pub(crate) deadline: Option<DurationText>,
    /// What a guard that fires does: `rollback` (default), `pause` or `alert`.
    pub(crate) on_regression: Option<OnRegression>,
    /// When weights may grow. Default: always. The way back never waits.
    pub(crate) windows: Option<Windows>,
    /// Who is asked before a stage. Default nobody.
    #[serde(default)]
    pub(crate) gates: Vec<Gate>,
    /// What sends the candidate back. Default: comparison with stable alone.
    pub(crate) guard: Option<Guard>,
}

/// Who answers in the candidate's place.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fallback {
    /// The service's stable version.
    Stable,
}

/// A part of the users that is judged apart as well.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cohort {
    /// A name of its own in the rollout.
    pub(crate) name: String,
    /// Who belongs to it.
    pub(crate) when: When,
}

/// One step: exactly one of `weight` and `mirror`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// The share of users that the candidate gets, or `by_endpoints`: its part of the healthy endpoints of both versions.
    pub(crate) weight: Option<WeightText>,
    /// Nobody gets the candidate's answers; it is sent copies of this share of the GET and HEAD requests.
    pub(crate) mirror: Option<ShareText>,
    /// At least for so long. A duration, default `0s`.
    pub(crate) hold: Option<DurationText>,
    /// And until so many requests of the candidate ended, 0 to 1000000000. Default 50; 0 for a last stage without `hold`.
    pub(crate) min_requests: Option<u64>,
    /// Longer than this it does not wait for requests: the rollout pauses. A duration, default none.
    pub(crate) max_hold: Option<DurationText>,
    /// Whether somebody must approve before this stage is entered. Default false.
    #[serde(default)]
    pub(crate) approve: bool,
}

/// What a guard that fires does.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnRegression {
    /// Everybody goes back to stable.
    Rollback,
    /// The weight stays, and somebody must decide.
    Pause,
    /// The weight stays and does not grow; it is told.
    Alert,
}

/// When weights may grow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Windows {
    /// One of these must be open, at most 32. Default: always.
    #[serde(default)]
    pub(crate) allow: Vec<Allow>,
    /// None of these may be, at most 100. Default: never.
    #[serde(default)]
    pub(crate) deny: Vec<Deny>,
}

/// A time of the day on some days of the week.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    /// The days on which it begins. Default: all seven.
    pub(crate) days: Option<Vec<Day>>,
    /// Its begin, from `00:00` to `23:59`.
    pub(crate) from: ClockText,
    /// Its end, up to `24:00`; one that is before `from` is the next day's.
    pub(crate) to: ClockText,
    /// Whose clocks: a name of the IANA database.
    pub(crate) zone: ZoneText,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// From one moment to another.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deny {
    /// A name of its own in the rollout; reasons tell it.
    pub(crate) name: String,
    /// Its begin.
    pub(crate) from: MomentText,
    /// Its end, after `from`.
    pub(crate) to: MomentText,
    /// Whose clocks: a name of the IANA database.
    pub(crate) zone: ZoneText,
}

/// Somebody who is asked by GET before a stage: 2xx is yes; anything else waits and is asked again.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gate {
    /// A name of its own in the rollout.
    pub(crate) name: String,
    /// The number of the stage that it stands before, from 1, mirror stages included.
    pub(crate) before_stage: u64,
    /// Where it is asked: `http://…` or `https://…`.
    pub(crate) http: UrlText,
    /// A PEM file with the authorities that vouch for it, where it is asked by https. Default: those of the machine.
    pub(crate) ca: Option<PathText>,
    /// For so long an answer is waited for. A duration, default `5s`.
    pub(crate) timeout: Option<DurationText>,
    /// What no answer means: `hold`, the only one and the default.
    pub(crate) on_error: Option<Hold>,
}

/// What is done where an answer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hold {
    /// The rollout stays where it is, and asks again.
    Hold,
}
