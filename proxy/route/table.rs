//! The compiled routes, and the walk: host, path, rule, slot, version.
//!
//! A decision reads immutable memory and the request, nothing else. What it costs grows with the request, hardly with
//! the number of routes and rules (`benches/route.rs`).

use http::{HeaderMap, HeaderName};
use tidegate_config as config;

use super::caller::{Caller, Lines, lines};
use super::chance::AssignedId;
use super::condition::{Asked, Condition};
use super::cookie;
use super::host::Hosts;
use super::identity::{AddressText, Identity, Key, KeySource};
use super::index::Index;
use super::lot::{Drawn, Lot, Lots};
use super::path::PathRule;
use super::region::{Geo, Regions};
use super::slot::{Salt, hash, spread};
use super::split::Bounds;
use crate::record::Arm;

/// All routes, ready to decide. Immutable, shared by every worker.
#[derive(Debug)]
pub struct Table {
    hosts: Hosts,
    pub(super) routes: Box<[Route]>,
    pub(super) services: Box<[Service]>,
    pub(super) rollouts: Box<[Rollout]>,
    pub(super) identity: Identity,
    pub(super) geo: Geo,
    /// By listener.
    stripped: Box<[Box<[HeaderName]>]>,
    pub(super) listeners: Box<[Box<str>]>,
}

/// Where a request goes. Indexes are those of `Config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To a version of a service.
    Forward(Choice),
    /// The route answers by itself: a redirect, or words of its own.
    Answer {
        /// Index into `Config::routes`.
        route: usize,
    },
    /// No route is for this request.
    NotFound,
}

/// A version, and why it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Index into `Config::routes`.
    pub route: usize,
    /// Index into the route's rules; `None` where none matched and the service's stable has the request.
    pub rule: Option<usize>,
    /// Index into `Config::services`.
    pub service: usize,
    /// Index into the service's versions.
    pub version: usize,
    /// The user's slot; `None` where chance drew one, or none was needed.
    pub slot: Option<u32>,
    /// What the slot was computed from.
    pub key_source: KeySource,
    /// An ID that the visitor is given with the answer, as [`Table::assigned_cookie`]: somebody asked who the user is,
    /// and nobody knew.
    pub assigned: Option<AssignedId>,
    /// The rollout that it is evidence for. `None` for a request that a rule sent by force, whose cohort is back on stable,
    /// or whose rollout is superseded.
    pub lot: Option<Drawn>,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Box<str>,
    pub(super) listener: Option<usize>,
    pub(super) hosts: Box<[config::HostPattern]>,
    pub(super) path: Option<PathRule>,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Forward(Box<Forward>),
    Redirect(u16),
    Respond(u16),
}

#[derive(Debug)]
pub(super) struct Forward {
    pub(super) service: usize,
    pub(super) rules: Box<[Rule]>,
    index: Index,
    /// The first rule with a condition on the user: a request that gets so far was asked who it is.
    first_user_rule: usize,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Box<str>,
    pub(super) when: Option<Condition>,
    pub(super) target: Target,
}

#[derive(Debug)]
pub(super) enum Target {
    To(usize),
    Split(Split),
    /// Index into `Config::rollouts`.
    Rollout(usize),
}

/// A rollout but for its weight, which is its [`Lot`]'s.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) name: Box<str>,
    pub(super) by: By,
    pub(super) candidate: usize,
    pub(super) stable: usize,
    /// At most [`config::plan::MAX_COHORTS`].
    cohorts: Box<[Condition]>,
}

#[derive(Debug)]
pub(super) struct Split {
    pub(super) by: By,
    pub(super) salt: Salt,
    pub(super) bounds: Bounds,
}

#[derive(Debug)]
pub(super) enum By {
    User,
    Random,
    ClientAddress,
    Header(HeaderName),
    Cookie(Box<str>),
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Box<str>,
    pub(super) stable: usize,
    pub(super) versions: Box<[Box<str>]>,
}

impl Table {
    /// Compiles a checked configuration; it cannot fail. `regions` is its database, opened: [`Regions::open`].
    pub fn compile(config: &config::Config, regions: Option<Regions>) -> Self {
        let routes: Box<[Route]> = config
            .routes
            .iter()
            .map(|route| Route::compile(route, config))
            .collect();
        let mut hosts = Hosts::default();
        for (number, route) in (0u32..).zip(&routes) {
            hosts.add(&route.hosts, route.path.as_ref(), number);
        }
        let services = config.services.iter().map(|service| Service {
            name: service.name.as_str().into(),
            stable: service.stable,
            versions: service
                .versions
                .iter()
                .map(|version| version.name.as_str().into())
                .collect(),
        });
        Self {
            hosts,
            routes,
            services: services.collect(),
            rollouts: config
                .rollouts
                .iter()
                .map(|rollout| Rollout::compile(rollout, config))
                .collect(),
            identity: Identity::compile(config),
            geo: Geo::compile(config, regions),
            stripped: config
                .listeners
                .iter()
                .map(|listener| stripped(config, listener))
                .collect(),
            listeners: config
                .listeners
                .iter()
                .map(|listener| listener.name.as_str().into())
                .collect(),
        }
    }

    /// Where this request goes. `lots` are those of the rollouts of the same configuration. `chance` gives numbers that
    /// are even over 64 bits; it is asked only for random slots and for a visitor's new ID.
    pub fn decide<L: Lots + ?Sized>(
        &self,
        caller: &Caller<'_>,
        lots: &L,
        chance: &mut dyn FnMut() -> u64,
    ) -> Decision {
        let Some(number) = self.find_route(caller) else {
            return Decision::NotFound;
        };
        match &self.routes[number].action {
            Action::Redirect(_) | Action::Respond(_) => Decision::Answer { route: number },
            Action::Forward(forward) => {
                let mut asked = Asked::new(caller, &self.identity, &self.geo, chance);
                let rule = forward.index.first(&mut asked, |asked, rule| {
                    forward.rules[rule]
                        .when
                        .as_ref()
                        .is_none_or(|condition| condition.holds(asked))
                });
                Decision::Forward(self.choose(number, forward, rule, lots, &mut asked))
            }
        }
    }

    /// Headers that a listener removes because its callers must not decide with them: identity and region headers that
    /// it does not trust. Empty on a sidecar listener.
    pub fn stripped(&self, listener: usize) -> &[HeaderName] {
        self.stripped.get(listener).map_or(&[], |names| names)
    }

    /// The identity header of which a request to an edge listener has two lines that differ: a 400.
    pub fn conflict(&self, listener: usize, headers: &HeaderMap) -> Option<&HeaderName> {
        self.identity.conflict(listener, headers)
    }

    /// The name of the cookie that [`Choice::assigned`] is sent with.
    pub fn assigned_cookie(&self) -> Option<&str> {
        self.identity.assigned_cookie()
    }

    pub(super) fn find_route(&self, caller: &Caller<'_>) -> Option<usize> {
        let fits = |route: u32| {
            self.routes[route as usize]
                .listener
                .is_none_or(|l| l == caller.listener)
        };
        self.hosts
            .find(caller.host, caller.path, fits)
            .map(|route| route as usize)
    }

    fn choose<L: Lots + ?Sized>(
        &self,
        route: usize,
        forward: &Forward,
        rule: Option<usize>,
        lots: &L,
        asked: &mut Asked<'_>,
    ) -> Choice {
        let service = forward.service;
        let plain = |version| Choice {
            route,
            rule,
            service,
            version,
            slot: None,
            key_source: KeySource::Nothing,
            assigned: None,
            lot: None,
        };
        let mut choice = match rule.map(|rule| &forward.rules[rule].target) {
            None => plain(self.services[service].stable),
            Some(Target::To(version)) => plain(*version),
            Some(Target::Split(split)) => {
                let (number, key_source) = split.by.number(split.salt, asked);
                let slot = spread(number);
                Choice {
                    slot: (key_source != KeySource::Random).then_some(slot),
                    key_source,
                    ..plain(split.bounds.version(slot))
                }
            }
            Some(Target::Rollout(number)) => {
                let rollout = &self.rollouts[*number];
                match lots.lot(*number).filter(|_| !rollout.is_superseded()) {
                    Some(lot) => {
                        let lot = rollout.draw(*number, lot, asked);
                        Choice {
                            slot: lot.slot,
                            key_source: lot.key_source,
                            lot: lot.drawn,
                            ..plain(lot.version)
                        }
                    }
                    None => plain(rollout.stable),
                }
            }
        };
        // By the order of rules, not by which conditions happened to be looked at: the index may look at fewer.
        let condition_asked = rule.unwrap_or(forward.rules.len()) >= forward.first_user_rule;
        if (condition_asked || matches!(choice.key_source, KeySource::Assigned(_)))
            && let Some(Key::Assigned(id)) = asked.user().map(|user| user.key)
        {
            choice.assigned = Some(id);
        }
        choice
    }
}

/// What a rollout does with a request.
struct Placed {
    version: usize,
    slot: Option<u32>,
    key_source: KeySource,
    drawn: Option<Drawn>,
}

impl Rollout {
    fn compile(written: &config::Rollout, config: &config::Config) -> Self {
        Self {
            name: written.name.as_str().into(),
            by: By::compile(&written.by),
            candidate: written.candidate,
            stable: config.services[written.service].stable,
            cohorts: written
                .cohorts
                .iter()
                .take(config::plan::MAX_COHORTS)
                .map(|cohort| Condition::compile(&cohort.when))
                .collect(),
        }
    }

    /// The candidate is stable already: everybody goes there.
    pub(super) fn is_superseded(&self) -> bool {
        self.candidate == self.stable
    }

    /// Bit `i`: the request belongs to cohort `i`.
    pub(super) fn cohorts(&self, asked: &mut Asked<'_>) -> u16 {
        let bits = self.cohorts.iter().enumerate();
        bits.fold(0, |all, (bit, condition)| {
            all | u16::from(condition.holds(asked)) << bit
        })
    }

    fn draw(&self, rollout: usize, lot: &Lot, asked: &mut Asked<'_>) -> Placed {
        let (number, key_source) = self.by.number(lot.salt(), asked);
        let is_keyed = key_source != KeySource::Random;
        let slot = spread(number);
        let cohorts = self.cohorts(asked);
        // A cohort that is back had no chance to be on the candidate, so what becomes of it says nothing.
        let is_back = lot.is_back(cohorts);
        let arm = lot.arm(slot);
        let drawn = Drawn {
            rollout,
            unit: is_keyed.then_some(number),
            slot,
            arm,
            cohorts,
        };
        Placed {
            version: match arm {
                Arm::Candidate if !is_back => self.candidate,
                _ => self.stable,
            },
            slot: is_keyed.then_some(slot),
            key_source,
            drawn: (!is_back).then_some(drawn),
        }
    }
}

impl By {
    /// What a request's slot is made of: its key's hash, or chance where no key is found.
    fn number(&self, salt: Salt, asked: &mut Asked<'_>) -> (u64, KeySource) {
        let caller = asked.caller;
        let (key, source) = match self {
            Self::Random => (None, KeySource::Random),
            Self::User => {
                let user = asked.user();
                (
                    user.map(|user| user.key),
                    user.map_or(KeySource::Random, |user| user.source),
                )
            }
            Self::ClientAddress => (
                Some(Key::Address(AddressText::new(caller.client))),
                KeySource::ClientAddress,
            ),
            Self::Header(name) => match lines(caller.headers, name) {
                Lines::Agree(value) => (Some(Key::Sent(value)), KeySource::Header),
                Lines::Silent | Lines::Differ => (None, KeySource::Random),
            },
            Self::Cookie(name) => (
                cookie::answer(caller.headers, name.as_bytes()).map(Key::Sent),
                KeySource::Cookie,
            ),
        };
        match key {
            Some(key) => (hash(key.as_bytes(), salt), source),
            None => (asked.draw(), KeySource::Random),
        }
    }
}

impl Route {
    fn compile(written: &config::Route, config: &config::Config) -> Self {
        let action = match &written.action {
            config::Action::Forward(forward) => {
                Action::Forward(Box::new(Forward::compile(forward, config)))
            }
            config::Action::Redirect(redirect) => Action::Redirect(redirect.status),
            config::Action::Respond(respond) => Action::Respond(respond.status),
        };
        Self {
            name: written.name.as_str().into(),
            listener: written.matches.listener,
            hosts: written.matches.hosts.clone().into(),
            path: written.matches.path.as_ref().map(PathRule::compile),
            action,
        }
    }
}

impl Forward {
    fn compile(written: &config::Forward, config: &config::Config) -> Self {
        let stable = config.services[written.service].stable;
        let rules: Box<[Rule]> = written
            .rules
            .iter()
            .map(|rule| Rule::compile(rule, stable))
            .collect();
        let asks = |rule: &Rule| rule.when.as_ref().is_some_and(Condition::asks_for_user);
        Self {
            service: written.service,
            index: Index::new(rules.iter().map(|rule| rule.when.as_ref())),
            first_user_rule: rules.iter().position(asks).unwrap_or(usize::MAX),
            rules,
        }
    }
}

impl Rule {
    fn compile(written: &config::Rule, stable: usize) -> Self {
        let target = match &written.target {
            config::Target::To(version) => Target::To(*version),
            config::Target::Rollout(rollout) => Target::Rollout(*rollout),
            config::Target::Split(split) => Target::Split(Split {
                by: By::compile(&split.by),
                salt: Salt::new(&split.salt),
                bounds: Bounds::new(&split.weights, stable),
            }),
        };
        Self {
            name: written.name.as_str().into(),
            when: written.when.as_ref().map(Condition::compile),
            target,
        }
    }
}

impl By {
    fn compile(written: &config::SplitBy) -> Self {
        match written {
            config::SplitBy::User => Self::User,
            config::SplitBy::Random => Self::Random,
            config::SplitBy::ClientAddress => Self::ClientAddress,
            // A name that no request can carry leaves everybody to chance, as a header that is absent does.
            config::SplitBy::Header(name) => {
                HeaderName::from_bytes(name.as_bytes()).map_or(Self::Random, Self::Header)
            }
            config::SplitBy::Cookie(name) => Self::Cookie(name.as_str().into()),
        }
    }
}

fn stripped(config: &config::Config, listener: &config::Listener) -> Box<[HeaderName]> {
    if listener.profile == config::Profile::Sidecar {
        return Box::default();
    }
    let identity = config.identity.iter().filter_map(|source| match source {
        config::UserSource::Header(name) => Some(name),
        _ => None,
    });
    let deciding = identity.chain(config.geo.as_ref().and_then(|geo| geo.header.as_ref()));
    let untrusted = deciding.filter(|name| !listener.trusted_headers.contains(*name));
    let mut names: Vec<HeaderName> = untrusted
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names.into()
}
