//! A decision told step by step: what was tried, what was seen and what was wanted, for an operator who asks "why?".

use serde::Serialize;
use tidegate_config::units::PARTS;
use tidegate_config::{HostPattern, Share};

use super::caller::{Caller, parts};
use super::condition::{Asked, Condition};
use super::identity::KeySource;
use super::lot::Lots;
use super::matcher::Text;
use super::table::{Action, By, Choice, Decision, Forward, Rollout, Route, Split, Table, Target};
use super::{cookie, host, query};

/// Routes and rules that do not fit are told one by one up to this many of each.
const TOLD: usize = 50;

/// Where a request goes, and why. Serializes as the contract's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route's name; `None` is a 404.
    pub route: Option<String>,
    /// The rule's name; `None` where none matched or none was asked.
    pub rule: Option<String>,
    /// The service's name; `None` where the route answers by itself.
    pub service: Option<String>,
    /// The version's name.
    pub version: Option<String>,
    /// The user's slot; `None` where chance drew one or none was needed.
    pub slot: Option<u32>,
    /// `header x-user-id`, `cookie uid`, `assigned cookie tidegate_id`, `client address`, `random`.
    pub key_source: Option<String>,
    /// The steps in words.
    pub why: Vec<String>,
}

impl Table {
    /// Decides as [`Table::decide`] does, and tells how. For people: it takes its time and allocates.
    pub fn explain<L: Lots + ?Sized>(
        &self,
        caller: &Caller<'_>,
        lots: &L,
        chance: &mut dyn FnMut() -> u64,
    ) -> Explanation {
        // The same numbers serve the decision and the telling: at most one slot and the two halves of an ID are drawn.
        let drawn = [chance(), chance(), chance()];
        let again = || {
            let mut numbers = drawn.into_iter().cycle();
            move || numbers.next().unwrap_or_default()
        };
        let decision = self.decide(caller, lots, &mut again());
        let mut why = Vec::new();
        let mut explanation = Explanation {
            route: None,
            rule: None,
            service: None,
            version: None,
            slot: None,
            key_source: None,
            why: Vec::new(),
        };
        match decision {
            Decision::NotFound => {
                self.tell_routes(caller, None, &mut why);
                why.push("no route is for this request: 404".into());
            }
            Decision::Answer { route } => {
                self.tell_routes(caller, Some(route), &mut why);
                explanation.route = Some(self.routes[route].name.to_string());
                why.push(match self.routes[route].action {
                    Action::Redirect(status) => {
                        format!("the route answers by itself: a redirect with status {status}")
                    }
                    Action::Respond(status) => {
                        format!("the route answers by itself with status {status}")
                    }
                    Action::Forward(_) => "the route forwards".into(),
                });
            }
            Decision::Forward(choice) => {
                self.tell_routes(caller, Some(choice.route), &mut why);
                if let Action::Forward(forward) = &self.routes[choice.route].action {
                    let mut chance = again();
                    let mut asked = Asked::new(caller, &self.identity, &self.geo, &mut chance);
                    self.tell_rules(forward, &choice, &mut asked, &mut why);
                    self.tell_version(forward, &choice, lots, &mut asked, &mut why);
                    explanation = self.named(forward, &choice);
                }
            }
        }
        Explanation { why, ..explanation }
    }

    fn named(&self, forward: &Forward, choice: &Choice) -> Explanation {
        let service = &self.services[choice.service];
        Explanation {
            route: Some(self.routes[choice.route].name.to_string()),
            rule: choice.rule.map(|rule| forward.rules[rule].name.to_string()),
            service: Some(service.name.to_string()),
            version: Some(service.versions[choice.version].to_string()),
            slot: choice.slot,
            key_source: self.key_source(forward, choice),
            why: Vec::new(),
        }
    }

    /// What gave a choice its slot, in words: `header x-user-id`, `random`; `None` where no slot was asked for.
    pub fn key_source_name(&self, choice: &Choice) -> Option<String> {
        match &self.routes.get(choice.route)?.action {
            Action::Forward(forward) => self.key_source(forward, choice),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    fn key_source(&self, forward: &Forward, choice: &Choice) -> Option<String> {
        let rule = choice.rule.map(|rule| &forward.rules[rule]);
        let by = rule.and_then(|rule| self.by(&rule.target));
        Some(match (choice.key_source, by) {
            (KeySource::Nothing, _) => return None,
            (KeySource::User(number), _) => self.identity.describe(number),
            (KeySource::Assigned(number), _) => {
                format!("assigned {}", self.identity.describe(number))
            }
            (KeySource::Header, Some(By::Header(name))) => format!("header {name}"),
            (KeySource::Header, _) => "header".into(),
            (KeySource::Cookie, Some(By::Cookie(name))) => format!("cookie {name}"),
            (KeySource::Cookie, _) => "cookie".into(),
            (KeySource::ClientAddress, _) => "client address".into(),
            (KeySource::Random, _) => "random".into(),
        })
    }

    /// What a target gives slots by.
    fn by<'a>(&'a self, target: &'a Target) -> Option<&'a By> {
        match target {
            Target::To(_) => None,
            Target::Split(split) => Some(&split.by),
            Target::Rollout(number) => Some(&self.rollouts[*number].by),
        }
    }

    fn tell_routes(&self, caller: &Caller<'_>, chosen: Option<usize>, why: &mut Vec<String>) {
        let others = || (0..self.routes.len()).filter(|number| Some(*number) != chosen);
        for number in others().take(TOLD) {
            let route = &self.routes[number];
            let reason = self.refusal(route, caller);
            let reason =
                reason.unwrap_or_else(|| "fits too, but is less specific or written later".into());
            why.push(format!("route \"{}\": {reason}", route.name));
        }
        let more = others().count().saturating_sub(TOLD);
        if more > 0 {
            why.push(format!("{more} more routes that are not the one"));
        }
        if let Some(route) = chosen.map(|number| &self.routes[number]) {
            let host = route
                .hosts
                .iter()
                .find(|pattern| host::covers(pattern, caller.host));
            let host = host.map_or_else(
                || "any host".into(),
                |pattern| format!("host {}", shown_host(pattern)),
            );
            let path = route
                .path
                .as_ref()
                .map_or_else(|| "any path".into(), |p| format!("path {}", p.describe()));
            why.push(format!("route \"{}\" fits: {host}, {path}", route.name));
        }
    }

    /// Why a route is not for this request.
    fn refusal(&self, route: &Route, caller: &Caller<'_>) -> Option<String> {
        let listener = |number: usize| self.listeners.get(number).map_or("?", |name| name);
        if let Some(wanted) = route.listener.filter(|wanted| *wanted != caller.listener) {
            let seen = listener(caller.listener);
            return Some(format!(
                "the listener is \"{seen}\", wanted \"{}\"",
                listener(wanted)
            ));
        }
        if !route.hosts.is_empty()
            && !route
                .hosts
                .iter()
                .any(|pattern| host::covers(pattern, caller.host))
        {
            let wanted: Vec<String> = route.hosts.iter().map(shown_host).collect();
            return Some(format!(
                "the host is \"{}\", wanted {}",
                caller.host,
                wanted.join(" or ")
            ));
        }
        let path = route
            .path
            .as_ref()
            .filter(|path| !path.covers(caller.path))?;
        Some(format!(
            "the path is \"{}\", wanted {}",
            caller.path,
            path.describe()
        ))
    }

    fn tell_rules(
        &self,
        forward: &Forward,
        choice: &Choice,
        asked: &mut Asked<'_>,
        why: &mut Vec<String>,
    ) {
        let tried = &forward.rules[..choice.rule.unwrap_or(forward.rules.len())];
        for rule in tried.iter().take(TOLD) {
            let seen = rule
                .when
                .as_ref()
                .map_or_else(String::new, |condition| seen(condition, asked));
            why.push(format!("rule \"{}\" does not match: {seen}", rule.name));
        }
        if tried.len() > TOLD {
            why.push(format!(
                "{} more rules that do not match",
                tried.len() - TOLD
            ));
        }
        let Some(rule) = choice.rule.map(|rule| &forward.rules[rule]) else {
            return;
        };
        let seen = rule
            .when
            .as_ref()
            .map_or_else(|| "it has no conditions".into(), |c| seen(c, asked));
        why.push(format!("rule \"{}\" matches: {seen}", rule.name));
        if let (Some(By::User), Some(user)) = (self.by(&rule.target), asked.user()) {
            why.push(format!("the user is \"{}\"", shown(user.key.as_bytes())));
        }
    }

    fn tell_version<L: Lots + ?Sized>(
        &self,
        forward: &Forward,
        choice: &Choice,
        lots: &L,
        asked: &mut Asked<'_>,
        why: &mut Vec<String>,
    ) {
        let version = &self.services[choice.service].versions[choice.version];
        let Some(rule) = choice.rule.map(|rule| &forward.rules[rule]) else {
            why.push(format!(
                "no rule matches: to {version}, the service's stable"
            ));
            return;
        };
        match &rule.target {
            Target::To(_) => why.push(format!("the rule sends to {version}")),
            Target::Split(split) => self.tell_split(split, forward, choice, why),
            Target::Rollout(number) => {
                let rollout = &self.rollouts[*number];
                let standing = lots.lot(*number).map(|lot| {
                    let is_back = lot.is_back(rollout.cohorts(asked));
                    (lot.candidate(), is_back)
                });
                self.tell_rollout(rollout, standing, forward, choice, why);
            }
        }
    }

    fn tell_split(&self, split: &Split, forward: &Forward, choice: &Choice, why: &mut Vec<String>) {
        let versions = &self.services[choice.service].versions;
        let weights = (0..versions.len()).map(|number| (number, split.bounds.weight(number)));
        why.push(format!("the split: {}", shown_weights(versions, weights)));
        let Some(slot) = self.tell_slot("the split says so", forward, choice, why) else {
            return;
        };
        for (number, needed) in split.bounds.thresholds(slot) {
            let candidate = &versions[number];
            why.push(match needed {
                Some(needed) => on_from(slot, candidate, needed),
                None => format!(
                    "slot {}: never on {candidate} with the other weights as they are",
                    grouped(slot)
                ),
            });
        }
    }

    /// `standing` is the candidate's weight, and whether the request belongs to a cohort that is back.
    fn tell_rollout(
        &self,
        rollout: &Rollout,
        standing: Option<(Share, bool)>,
        forward: &Forward,
        choice: &Choice,
        why: &mut Vec<String>,
    ) {
        let name = &rollout.name;
        let versions = &self.services[choice.service].versions;
        let (candidate, stable) = (&versions[rollout.candidate], &versions[rollout.stable]);
        let Some((weight, is_back)) = standing.filter(|_| !rollout.is_superseded()) else {
            why.push(format!(
                "the rollout \"{name}\" is superseded: {stable} is the service's stable by now"
            ));
            return;
        };
        let left = Share::from_parts(PARTS - weight.parts()).unwrap_or_default();
        let weights = [(rollout.candidate, weight), (rollout.stable, left)];
        why.push(format!(
            "the rollout \"{name}\": {}",
            shown_weights(versions, weights)
        ));
        let slot = self.tell_slot("the rollout says so", forward, choice, why);
        if is_back {
            why.push(format!(
                "it belongs to a cohort that is back on {stable}, whatever its slot"
            ));
        } else if let Some(slot) = slot
            && let Some(needed) = Share::from_parts(slot + 1)
        {
            why.push(on_from(slot, candidate, needed));
        }
    }

    /// The slot and what it came from; `None` where chance drew one. `by_chance` is why a split may want that.
    fn tell_slot(
        &self,
        by_chance: &str,
        forward: &Forward,
        choice: &Choice,
        why: &mut Vec<String>,
    ) -> Option<u32> {
        let version = &self.services[choice.service].versions[choice.version];
        let Some(slot) = choice.slot else {
            let rule = choice.rule.map(|rule| &forward.rules[rule]);
            let cause = match rule.and_then(|rule| self.by(&rule.target)) {
                Some(By::Random) => by_chance,
                _ => "nobody says who it is",
            };
            why.push(format!(
                "each request draws a slot of its own ({cause}); this one drew {version}"
            ));
            return None;
        };
        let source = self.key_source(forward, choice).unwrap_or_default();
        why.push(format!(
            "slot {} of {}, from {source}: on {version}",
            grouped(slot),
            grouped(PARTS)
        ));
        Some(slot)
    }
}

fn on_from(slot: u32, version: &str, needed: Share) -> String {
    format!(
        "slot {} of {}: on {version} from a weight of {} %",
        grouped(slot),
        grouped(PARTS),
        needed.percent()
    )
}

/// Those above 0: `v1 90 %, v2 10 %`.
fn shown_weights(
    versions: &[Box<str>],
    weights: impl IntoIterator<Item = (usize, Share)>,
) -> String {
    let shown: Vec<String> = weights
        .into_iter()
        .filter(|(_, weight)| weight.parts() > 0)
        .map(|(number, weight)| format!("{} {} %", versions[number], weight.percent()))
        .collect();
    shown.join(", ")
}

/// What a condition saw and what it wanted: of an `all` that fails the first that does.
fn seen(condition: &Condition, asked: &mut Asked<'_>) -> String {
    let caller = asked.caller;
    match condition {
        Condition::All(list) => match list.iter().find(|inner| !inner.holds(asked)) {
            Some(failed) => seen(failed, asked),
            None => joined(list, asked, ", "),
        },
        Condition::Any(list) => match list.iter().find(|inner| inner.holds(asked)) {
            Some(held) => seen(held, asked),
            None => format!("none of: {}", joined(list, asked, "; ")),
        },
        Condition::Not(inner) => format!("not ({})", seen(inner, asked)),
        Condition::Header(name, text) => {
            let lines = caller.headers.get_all(name).iter();
            compared(
                &format!("header {name}"),
                lines.map(|line| shown(line.as_bytes())),
                text,
            )
        }
        Condition::Cookie(name, text) => {
            let values = cookie::values(caller.headers, name.as_bytes());
            compared(&format!("cookie {name}"), values.map(shown), text)
        }
        Condition::Query(name, text) => {
            let values = query::values(caller.query, name.as_bytes());
            compared(
                &format!("query parameter {name}"),
                values.map(|v| query::shown(v).into_owned()),
                text,
            )
        }
        Condition::Path(path) => format!(
            "the path is \"{}\", wanted {}",
            caller.path,
            path.describe()
        ),
        Condition::Method(methods) => {
            let wanted: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
            format!(
                "the method is {}, wanted {}",
                caller.method,
                wanted.join(" or ")
            )
        }
        Condition::Region(places) => {
            let region = asked.region();
            let known = [region.country, region.subdivision, region.continent]
                .into_iter()
                .flatten();
            let known: Vec<String> = known.map(|code| code.to_string()).collect();
            let known = if known.is_empty() {
                "not known".into()
            } else {
                known.join(" ")
            };
            let lists = [&places.countries, &places.subdivisions, &places.continents];
            let wanted: Vec<String> = lists
                .into_iter()
                .filter(|l| !l.is_empty())
                .map(|l| format!("{l:?}"))
                .collect();
            format!("the region is {known}, wanted {}", wanted.join(" and "))
        }
        Condition::Source(networks) => {
            let wanted: Vec<String> = networks
                .iter()
                .take(TOLD)
                .map(ToString::to_string)
                .collect();
            format!(
                "the client is {}, wanted one in {}",
                caller.client.to_canonical(),
                wanted.join(" or ")
            )
        }
        Condition::Certificate(part, text) => {
            let (what, of) = (part.described(), caller.certificate);
            compared(what, parts(of, *part).map(str::to_owned), text)
        }
        Condition::User(users) => {
            let user = asked.user().map(|user| shown(user.key.as_bytes()));
            let user = user.map_or_else(|| "not known".into(), |key| format!("\"{key}\""));
            format!("the user is {user}, wanted one of {} listed", users.len())
        }
    }
}

fn joined(list: &[Condition], asked: &mut Asked<'_>, between: &str) -> String {
    let told: Vec<String> = list
        .iter()
        .map(|condition| seen(condition, asked))
        .collect();
    told.join(between)
}

fn compared(what: &str, values: impl Iterator<Item = String>, text: &Text) -> String {
    let values: Vec<String> = values.map(|value| format!("\"{value}\"")).collect();
    let values = if values.is_empty() {
        "absent".into()
    } else {
        values.join(" and ")
    };
    format!("{what} is {values}, wanted {}", text.describe())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown_host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => format!("\"{name}\""),
        HostPattern::Suffix(name) => format!("\"*{name}\""),
    }
}

/// `12 345`
fn grouped(number: u32) -> String {
    match number.checked_div(1000).filter(|thousands| *thousands > 0) {
        Some(thousands) => format!("{} {:03}", grouped(thousands), number % 1000),
        None => number.to_string(),
    }
}
