//! The file and the rollouts: an edit keeps those whose plan is the same, and a start finds them where they stood.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Map;
use tidegate_config::{self as config, Action, Plan, Service, Share, Split, Target};

use super::book::{Actor, Book, Shared, now};
use super::memory::{self, Terms};
use super::recalled::Known;
use super::running::Running;
use crate::control::journal::{Entry, IfFailed, Latch, Write, WriteError};
use crate::release::{Key, Phase, Rollout};
use crate::snapshot::Snapshot;

/// Rollouts that have left the file are remembered, the newest so many.
const PARTED_MAX: usize = 1000;

/// What an edit or a start changed of a rollout.
struct Change {
    /// How it stood.
    before: Rollout,
    /// The number of a growth that was called off.
    called_off: Option<u64>,
    actor: Actor,
}

impl Shared {
    /// Puts a snapshot in force with the rollouts of its file, each at the weight that it has.
    pub(super) fn reconcile(&self, book: &mut Book, snapshot: Snapshot) {
        let moment = now();
        let config = Arc::clone(&snapshot.config);
        self.warn_of_forgetting(book, &config);
        let old_config = std::mem::replace(&mut book.config, Arc::clone(&config));
        book.revision = snapshot.revision;
        let mut old: HashMap<String, Running> = book
            .running
            .drain(..)
            .map(|running| (running.name.clone(), running))
            .collect();
        let mut changed = Vec::new();
        for (at, plan) in config.rollouts.iter().enumerate() {
            let (running, before) = match old.remove(&plan.name) {
                Some(running) => {
                    let was = old_config.rollouts.iter().find(|old| old.name == plan.name);
                    self.edit(running, was, plan, &config, moment)
                }
                None => {
                    let before = weight_before(&old_config, &config, plan);
                    self.begin(book, plan, &config, before, moment)
                }
            };
            book.running.push(running);
            changed.extend(before.map(|change| (at, change)));
        }
        let plans = book.running.iter().zip(&config.rollouts);
        book.in_force = plans
            .map(|(running, plan)| running.in_force(plan))
            .collect();
        self.live
            .publish(snapshot.with_rollouts(book.in_force.clone()));
        for running in old.into_values() {
            let was = old_config
                .rollouts
                .iter()
                .find(|old| old.name == running.name);
            let unguarded = was.is_some_and(|was| is_plain_split(&config, &old_config, was));
            if unguarded && running.state.is_live() {
                self.let_go(book, &running);
            } else {
                if unguarded {
                    let name = &running.name;
                    let line = "its guard was taken away although it is rolled back: the file alone decides, and sends users to the candidate again";
                    tracing::warn!(rollout = name, "{name}: {line}");
                    book.history.alert(name, line);
                }
                self.part(book, running, moment);
            }
        }
        if std::mem::take(&mut book.recalled.first) {
            self.part_unseen(book, moment);
        }
        for (at, change) in changed {
            self.news(book, at, &change.before, change.called_off, &change.actor);
        }
        for at in 0..book.running.len() {
            self.guarded(book, at, |shared, book| {
                shared.look_at(book, at, Duration::ZERO);
            });
        }
    }

    /// A rollout that stays in the file, and what the edit changed of it.
    fn edit(
        &self,
        mut running: Running,
        was: Option<&config::Rollout>,
        plan: &config::Rollout,
        config: &config::Config,
        moment: Duration,
    ) -> (Running, Option<Change>) {
        if let Some(was) = was {
            running.go_over_to(was, plan);
        }
        let next = follow(&running.state, plan, config, moment);
        let terms = Terms::of(plan, &config.services[plan.service], next.attempt());
        if terms != running.terms {
            running.read_into(&self.ledger, moment);
            running.begin_evidence(plan, terms, moment);
        } else {
            running.fit_apart(plan, moment);
        }
        let before = std::mem::replace(&mut running.state, next);
        let stands = running.state.stands_as(&before);
        let called_off = if stands {
            None
        } else {
            running.pending.take().map(|pending| pending.entry.seq)
        };
        let change = (!stands).then(|| Change {
            before,
            called_off,
            actor: Actor::file(),
        });
        (running, change)
    }

    /// A rollout that comes into the file.
    fn begin(
        &self,
        book: &mut Book,
        plan: &config::Rollout,
        config: &config::Config,
        before: Share,
        moment: Duration,
    ) -> (Running, Option<Change>) {
        let key = key(plan, config);
        let known = book.recalled.state(&plan.name, key, moment);
        let is_known = known.is_some();
        let Known { was, state } = known.unwrap_or_else(|| {
            let fresh = Rollout::new(key, moment);
            Known {
                state: fresh.taken_over(before, moment),
                was: fresh,
            }
        });
        if !is_known && before > Share::ZERO {
            self.keep_place(&plan.name, &key);
        }
        let actor = if state.stands_as(&was) {
            Actor::file()
        } else {
            Actor::engine()
        };
        let state = follow(&state, plan, config, moment);
        if is_known {
            tracing::info!(
                rollout = plan.name,
                "{}: goes on where it stood: {} at {}; {}",
                plan.name,
                state.phase(),
                state.weight(),
                state.reason()
            );
        }
        let id = self.ledger.rollout(&plan.name);
        let terms = Terms::of(plan, &config.services[plan.service], state.attempt());
        let counts = self.ledger.rollout_counts(id);
        let pace = self.ledger.slow_bound(id);
        let mut running = Running::new(plan, id, pace, state, counts, terms, moment);
        let remembered = book.recalled.evidence.remove(&plan.name);
        if remembered.is_some_and(|evidence| memory::restore(&mut running, &evidence)) {
            running.fit_apart(plan, moment);
        } else if is_known && running.state.started().is_some() {
            running.units_lost(moment);
        }
        // What the journal does not know yet is written and told as any other change.
        let change = (!running.state.stands_as(&was)).then_some(Change {
            before: was,
            called_off: None,
            actor,
        });
        (running, change)
    }

    /// A split whose guard was taken away: the file decides on its weight from now on, and there is nothing to remember.
    fn let_go(&self, book: &mut Book, running: &Running) {
        let name = &running.name;
        tracing::warn!(
            rollout = name,
            "{name}: its guard was taken away; the file alone decides on its weight"
        );
        book.history.alert(name, "its guard was taken away");
        if let Some(journal) = self.own.journal() {
            // Where the journal is closed the process is on its way out.
            let _ = journal.forget(name);
        }
    }

    /// Somebody is on the candidate already: the place for its latch is made at once.
    fn keep_place(&self, name: &str, key: &Key) {
        let told = name.to_owned();
        let done = move |result: Result<(), WriteError>| {
            if let Err(error) = result {
                tracing::error!(
                    rollout = told,
                    "{told}: a rollback has no place on the disk yet: {error}"
                );
            }
        };
        if let Some(journal) = self.own.journal()
            && let Err(refused) = journal.reserve(name, &key.to_string(), Box::new(done))
        {
            tracing::error!(
                rollout = name,
                "{name}: a rollback has no place on the disk yet: {refused}"
            );
        }
    }

    /// A rollout that has left the file: nobody is on its candidate any more. It is remembered, so that it does not begin
    /// again when it comes back.
    fn part(&self, book: &mut Book, running: Running, moment: Duration) {
        let before = running.state.clone();
        let state = before.removed(moment);
        let called_off = running.pending.as_ref().map(|pending| pending.entry.seq);
        let changed = !state.stands_as(&before);
        // It is told with a place of its own in the book, for this moment alone.
        let at = book.running.len();
        book.running.push(Running {
            state,
            pending: None,
            ..running
        });
        if changed {
            self.news(book, at, &before, called_off, &Actor::file());
        }
        let running = book.running.pop().expect("it was just put there");
        let (name, state) = (running.name.clone(), running.state.clone());
        book.recalled.states.insert(name, state);
        if !running.telling.is_empty() {
            book.parting.push(running);
        }
        while book.recalled.states.len() > PARTED_MAX {
            let oldest = book
                .recalled
                .states
                .iter()
                .min_by_key(|(_, state)| state.since());
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            book.recalled.states.remove(&name);
            if let Some(journal) = self.own.journal() {
                // Where the journal is closed the process is on its way out.
                let _ = journal.forget(&name);
            }
        }
    }

    /// Rollouts that left the file while nobody was there to see it: they are rolled back as those are that leave it now.
    fn part_unseen(&self, book: &mut Book, moment: Duration) {
        let Some(journal) = self.own.journal() else {
            return;
        };
        let states = &mut book.recalled.states;
        for (name, state) in states.iter_mut().filter(|(_, state)| state.is_live()) {
            let from = state.weight().percent();
            *state = state.removed(moment);
            let entry = Entry {
                seq: journal.next_seq(),
                at: Timestamp::now(),
                rollout: name.clone(),
                actor: Actor::file().name,
                from,
                to: 0.0,
                phase: state.phase().as_str().to_owned(),
                reason: state.reason().to_string(),
                revision: book.revision,
                more: Map::from_iter([
                    ("stage".to_owned(), state.stage().into()),
                    ("attempt".to_owned(), state.attempt().into()),
                ]),
            };
            let latch = Latch {
                rollout: name.clone(),
                key: state.key().to_string(),
                attempt: state.attempt(),
                at: entry.at,
                reason: entry.reason.clone(),
            };
            let write = Write {
                states: vec![(
                    name.clone(),
                    serde_json::to_vec(state).expect("a state is plain values"),
                )],
                evidence: Vec::new(),
                history: vec![entry.clone()],
                if_failed: IfFailed::Keep,
            };
            // Where the disk refuses, the journal says so and tries again; nobody is on this candidate in any case.
            let refused = [
                journal.latch(latch, Box::new(|_| ())).err(),
                journal.write(write, Box::new(|_| ())).err(),
            ];
            for refused in refused.into_iter().flatten() {
                tracing::error!(
                    rollout = name,
                    "{name}: the journal does not take it: {refused}"
                );
            }
            tracing::warn!(
                rollout = name,
                "{name}: {}; weight {from} % → 0 %, rolled back",
                entry.reason
            );
            book.history.announce(entry);
        }
    }

    fn warn_of_forgetting(&self, book: &mut Book, config: &config::Config) {
        if std::mem::take(&mut book.recalled.empty) && !config.rollouts.is_empty() {
            tracing::warn!(
                "NOTHING IS REMEMBERED: the state directory is empty. Fine at the first start; if it was emptied, what was rolled \
                 back before begins again: `tidegate rollout rollback NAME` stops it"
            );
        }
        let lost = std::mem::take(&mut book.recalled.lost_latches);
        if lost > 0 {
            tracing::error!(
                "{lost} places for rollbacks cannot be read, and nobody knows whose they are: look at `tidegate history` and \
                 at every rollout that is not rolled back, whether it should be"
            );
        }
        // Once: later it may not be true any more, and who comes into the file later says it for himself.
        if let Some(why) = book
            .recalled
            .unreadable
            .as_ref()
            .filter(|_| book.recalled.first)
        {
            tracing::error!(
                "the journal cannot be read ({why}): rollouts stay where nobody is on the candidate until somebody resumes them"
            );
        }
    }
}

/// The plain split of this rule, and the service it is about.
fn plain_split<'c>(config: &'c config::Config, rollout: &str) -> Option<(&'c Split, &'c Service)> {
    config.routes.iter().find_map(|route| {
        let rule = rollout
            .strip_prefix(route.name.as_str())?
            .strip_prefix('.')?;
        let Action::Forward(forward) = &route.action else {
            return None;
        };
        let rule = forward.rules.iter().find(|known| known.name == rule)?;
        match &rule.target {
            Target::Split(split) => Some((split, &config.services[forward.service])),
            Target::To(_) | Target::Rollout(_) => None,
        }
    })
}

/// The weight that the candidate of a guarded split had before the edit that guards it: with the same users in the same
/// slots. Nothing where the split was another one.
fn weight_before(old: &config::Config, new: &config::Config, plan: &config::Rollout) -> Share {
    let (Plan::Split(wanted), Some((split, service))) = (&plan.plan, plain_split(old, &plan.name))
    else {
        return Share::ZERO;
    };
    let now = &new.services[plan.service];
    let name = |version: usize| service.versions[version].name.as_str();
    let candidate = &now.versions[plan.candidate].name;
    let same = service.name == now.name
        && name(service.stable) == now.versions[now.stable].name
        && (&split.by, &split.salt) == (&plan.by, &plan.salt);
    // The slots of the only one besides stable begin at 0, as a candidate's do.
    let mut others = (0..split.weights.len())
        .filter(|version| *version != service.stable && split.weights[*version] > Share::ZERO);
    match (others.next(), others.next()) {
        (Some(only), None) if same && name(only) == candidate && service.versions.len() <= 2 => {
            split.weights[only].min(*wanted)
        }
        _ => Share::ZERO,
    }
}

/// Whether a guarded split is a plain one now: its guard was taken away, and the file decides.
fn is_plain_split(new: &config::Config, old: &config::Config, was: &config::Rollout) -> bool {
    matches!(was.plan, Plan::Split(_))
        && plain_split(new, &was.name)
            .is_some_and(|(_, service)| service.name == old.services[was.service].name)
}

/// What a rollout is remembered by.
fn key(plan: &config::Rollout, config: &config::Config) -> Key {
    let candidate = &config.services[plan.service].versions[plan.candidate];
    let tags = candidate
        .tags
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Key::new(plan, &candidate.name, tags)
}

/// The state under a file that may have changed.
fn follow(
    state: &Rollout,
    plan: &config::Rollout,
    config: &config::Config,
    moment: Duration,
) -> Rollout {
    if plan.is_superseded(config.services[plan.service].stable) {
        return match state.phase() {
            Phase::Superseded => state.clone(),
            _ => state.superseded(moment),
        };
    }
    state.edited(plan, key(plan, config), moment)
}
