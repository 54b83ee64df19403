//! A look at a rollout: what is seen of it and around it, and what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_config::plan::{MetricSource, Plan};
use tidegate_config::{self as config, Share};

use super::book::{Actor, Book, Shared, now};
use super::memory;
use crate::control::decisions::{Line, Record, Unit};
use crate::control::gates::{self, Due};
use crate::control::prometheus::Watched;
use crate::record::{Arm, Incident};
use crate::release::{Answer, Cause, Forbidden, Look, Order, Phase, Rollout};

/// How the candidate's endpoints are.
#[derive(Debug, Clone, Copy)]
enum Machines {
    /// Checks are asked for, and have not spoken of all of them yet.
    Unknown,
    /// Whether one is healthy, and their part of the healthy ones of both versions.
    Known { any: bool, part: Share },
}

/// What is to be seen of a rollout, owned: a [`Look`] borrows it.
struct Seen {
    now: Duration,
    elapsed: Duration,
    requests: u64,
    ward: super::ward::Ward,
    opening: crate::release::Opening,
    gate: Answer,
    endpoints: Option<Share>,
}

impl Seen {
    fn look(&self) -> Look<'_> {
        Look {
            now: self.now,
            elapsed: self.elapsed,
            requests: self.requests,
            alarm: self.ward.alarm.as_ref(),
            concern: self.ward.concern.as_deref(),
            opening: &self.opening,
            gate: &self.gate,
            endpoints: self.endpoints,
        }
    }
}

/// Whether it is paused by something that is never taken back.
fn is_found_for_good(state: &Rollout) -> bool {
    let cause = state.reason().cause.as_ref();
    state.phase() == Phase::Paused
        && cause.is_some_and(|cause| matches!(cause, Cause::Compare(_) | Cause::Absolute))
}

impl Shared {
    /// Takes in what the workers could not wait to tell, and looks at whom it is about.
    pub(super) fn hear(&self, book: &mut Book, incidents: &[Incident]) {
        let mut about = Vec::new();
        for incident in incidents {
            let id = incident.assignment.rollout;
            let Some(at) = book.running.iter().position(|running| running.id == id) else {
                continue; // it has left the file
            };
            let is_first = !about.contains(&at);
            if is_first {
                about.push(at);
            }
            self.guarded(book, at, |shared, book| {
                if is_first {
                    // Counts before the failures that are among them.
                    book.running[at].read_into(&shared.ledger, now());
                }
                book.running[at].hear(incident);
                shared.take_down(book, at, incident);
            });
        }
        for at in about {
            self.guarded(book, at, |shared, book| {
                shared.look_at(book, at, Duration::ZERO);
            });
        }
    }

    /// Writes a decision down, if it is one of those.
    fn take_down(&self, book: &Book, at: usize, incident: &Incident) {
        let Some(decisions) = self.decisions.as_ref().filter(|_| incident.sampled) else {
            return;
        };
        let (config, running) = (&book.config, &book.running[at]);
        let Some(plan) = config.rollouts.get(at) else {
            return;
        };
        let service = &config.services[plan.service];
        let name = |version: usize| service.versions[version].name.clone();
        let assignment = &incident.assignment;
        let version = match assignment.arm {
            Arm::Stable => service.stable,
            Arm::Candidate => plan.candidate,
        };
        let is_present = assignment.attempt == running.state.attempt();
        let nanos = i128::try_from(incident.at.as_nanos()).unwrap_or(i128::MAX);
        decisions.take(Line {
            record: Record {
                at: Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::MAX),
                revision: assignment.revision,
                rollout: running.name.clone(),
                attempt: assignment.attempt,
                salt: is_present.then(|| running.state.salt(plan).into_owned()),
                unit: assignment.unit.map(Unit),
                slot: Some(assignment.slot),
                candidate_weight: assignment.candidate.parts(),
                version: name(version),
                candidate: name(plan.candidate),
                stable: name(service.stable),
            },
            status: incident.status,
            failed: incident.error,
            kind: incident.kind.map(|kind| kind.as_str().to_owned()),
            fallback: incident.fallback,
            took_ms: incident.took.as_secs_f64() * 1000.0,
        });
    }

    /// Looks at one rollout: guards first, then everything else.
    pub(super) fn look_at(&self, book: &mut Book, at: usize, elapsed: Duration) {
        self.tell_late(&mut book.running[at], &mut book.history);
        if !book.running[at].state.is_live() {
            return;
        }
        let config = Arc::clone(&book.config);
        let plan = &config.rollouts[at];
        let seen = self.see(book, at, plan, elapsed);
        let next = book.running[at].state.look(plan, &seen.look());
        self.tell_alarm(book, at, &seen, &next);
        self.take(book, at, next, &Actor::engine());
    }

    /// Carries out an order.
    pub(super) fn obey(
        &self,
        book: &mut Book,
        at: usize,
        order: Order,
        actor: &Actor,
    ) -> Result<(), Forbidden> {
        // What has come since the last look belongs to the state before.
        self.look_at(book, at, Duration::ZERO);
        let config = Arc::clone(&book.config);
        let plan = &config.rollouts[at];
        let state = &book.running[at].state;
        if order == Order::Resume && is_found_for_good(state) {
            // What a comparison has found stays found. Somebody has looked at it and goes on all the same: from here on it is
            // looked at anew.
            let attempt = state.attempt();
            self.begin_attempt(book, at, &config, attempt);
        }
        let seen = self.see(book, at, plan, Duration::ZERO);
        let before = book.running[at].state.attempt();
        let next = book.running[at].state.obey(plan, order, &seen.look())?;
        let next = if actor.words.is_empty() {
            next
        } else {
            next.because(&actor.words)
        };
        if next.attempt() != before {
            self.begin_attempt(book, at, &config, next.attempt());
        }
        self.take(book, at, next, actor);
        Ok(())
    }

    /// Another attempt meets other users: what was known is about those before.
    pub(super) fn begin_attempt(
        &self,
        book: &mut Book,
        at: usize,
        config: &config::Config,
        attempt: u32,
    ) {
        let plan = &config.rollouts[at];
        let terms = memory::Terms::of(plan, &config.services[plan.service], attempt);
        let running = &mut book.running[at];
        running.read_into(&self.ledger, now());
        running.begin_evidence(plan, terms, now());
    }

    fn see(&self, book: &mut Book, at: usize, plan: &config::Rollout, elapsed: Duration) -> Seen {
        let moment = now();
        let endpoints = self.endpoints(plan);
        let running = &mut book.running[at];
        running.most = running.most.max(running.state.weight());
        running.read_into(&self.ledger, moment);
        running.read_times(&self.ledger, moment);
        running.read_users(&self.ledger, moment);
        let healthy = match endpoints {
            Machines::Unknown => true,
            Machines::Known { any, .. } => any,
        };
        running.thresholds.healthy(healthy);
        let mut ward = running.ward(plan, &self.queries, moment);
        // Whoever is on them already is not taken away for that, but nobody is sent to machines of which nothing is known.
        if ward.alarm.is_none() && matches!(endpoints, Machines::Unknown) {
            let why = "the candidate's endpoints have not been checked yet";
            ward.concern.get_or_insert_with(|| why.to_owned());
        }
        Seen {
            now: moment,
            elapsed,
            requests: std::mem::take(&mut running.requests),
            ward,
            opening: running.opening(plan, Timestamp::now()).clone(),
            gate: self.gate(running, plan),
            endpoints: match endpoints {
                Machines::Unknown => None,
                Machines::Known { part, .. } => Some(part),
            },
        }
    }

    /// How the candidate's endpoints are.
    fn endpoints(&self, plan: &config::Rollout) -> Machines {
        let now = Instant::now();
        let snapshot = self.live.current();
        let service = &snapshot.config.services[plan.service];
        let healthy = |version: usize| {
            let version = &snapshot.services[plan.service][version];
            version
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.is_healthy(now))
                .count() as u64
        };
        let hoped = service.health.active.is_some()
            && snapshot.services[plan.service][plan.candidate]
                .endpoints
                .iter()
                .any(|endpoint| endpoint.is_healthy(now) && !endpoint.was_probed());
        if hoped {
            return Machines::Unknown;
        }
        let (candidate, stable) = (healthy(plan.candidate), healthy(service.stable));
        let parts = (candidate * u64::from(Share::FULL.parts())).checked_div(candidate + stable);
        let share = parts.and_then(|parts| Share::from_parts(parts as u32));
        Machines::Known {
            any: candidate > 0,
            part: share.unwrap_or_default(),
        }
    }

    /// What the gates before the next stage have said, all of them together.
    fn gate(&self, running: &super::running::Running, plan: &config::Rollout) -> Answer {
        let (Some(stage), Plan::Stages(stages)) = (running.state.asks(plan), &plan.plan) else {
            return Answer::Unasked;
        };
        let mut all = Answer::Go { stage };
        for gate in stages
            .gates
            .iter()
            .filter(|gate| gate.before_stage == stage)
        {
            match self.gates.answer(&running.name, &gate.name, Instant::now()) {
                gates::Answer::Yes => {}
                gates::Answer::No(why) => return Answer::Wait { stage, why },
                gates::Answer::NotAsked => all = Answer::Unasked,
            }
        }
        all
    }

    /// Says which gates and metrics stores are to be asked now.
    pub(super) fn ask_around(&self, book: &Book) {
        let running = || book.running.iter().zip(&book.config.rollouts);
        let due = running().flat_map(|(running, plan)| {
            let stage = running.state.asks(plan);
            let gates = match &plan.plan {
                Plan::Stages(stages) => stages.gates.as_slice(),
                Plan::Split(_) => &[],
            };
            let due = gates
                .iter()
                .filter(move |gate| Some(gate.before_stage) == stage);
            due.map(|gate| Due {
                rollout: running.name.clone(),
                attempt: running.state.attempt(),
                gate: gate.clone(),
            })
        });
        self.gates.follow(due);
        let carries = |running: &super::running::Running| {
            let state = &running.state;
            state.is_live() && (state.weight() > Share::ZERO || state.mirror() > Share::ZERO)
        };
        let watched =
            running()
                .filter(|(running, _)| carries(running))
                .flat_map(|(running, plan)| {
                    plan.guard
                        .metrics
                        .iter()
                        .filter_map(|metric| match &metric.source {
                            MetricSource::Pushed => None,
                            MetricSource::Prometheus(query) => Some(Watched {
                                rollout: running.name.clone(),
                                attempt: running.state.attempt(),
                                metric: metric.name.clone(),
                                query: query.clone(),
                            }),
                        })
                });
        self.queries.follow(watched);
    }

    /// A guard that fires and does not move the weight is told once.
    fn tell_alarm(&self, book: &mut Book, at: usize, seen: &Seen, next: &Rollout) {
        let running = &mut book.running[at];
        let stays = seen
            .ward
            .alarm
            .clone()
            .filter(|_| next.is_live() && next.phase() != Phase::Paused);
        let same = |a: &crate::release::Verdict, b: &crate::release::Verdict| {
            a.cause == b.cause && a.cohort == b.cohort
        };
        let known = running
            .alarmed
            .as_ref()
            .zip(stays.as_ref())
            .is_some_and(|(a, b)| same(a, b));
        if let Some(alarm) = stays.as_ref().filter(|_| !known) {
            let (name, text) = (running.name.clone(), alarm.text.clone());
            let line = format!("{name}: {text}; the weight stays at {}", next.weight());
            tracing::warn!(rollout = name, cause = alarm.cause.as_str(), "{line}");
            running.alarmed = stays;
            return book.history.alert(&name, &line);
        }
        running.alarmed = stays;
    }
}
