//! Business outcomes: what somebody else saw of a user, brought to the comparison as a failure is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tidegate_config::{self as config, Share};

use super::book::{Book, Releases, now};
use super::memory::Note;
use crate::release::Phase;
use crate::release::evidence::{Arm, Counts, Event, Served};
use crate::route::slot::{Salt, hash, spread};

/// One outcome, as `POST /api/v1/observations` brings it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The rollout's name.
    pub rollout: String,
    /// One of its guard's metrics that are `pushed`.
    pub metric: String,
    /// Whose outcome it is: the key that the rollout goes by, byte for byte as in the request.
    #[serde(default)]
    pub user: Option<String>,
    /// Or, where nobody knows the user: the version that served. Then each outcome is a unit of its own.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether it went badly.
    pub bad: bool,
}

/// Why outcomes are not taken; then none of them is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unobserved {
    /// No rollout has this name.
    #[error("there is no rollout {0:?}")]
    Rollout(String),
    /// The guard has no such metric.
    #[error(
        "the guard of rollout {rollout:?} has no metric {metric:?} with `pushed: true`, or the rollout is not compared"
    )]
    Metric {
        /// Whose.
        rollout: String,
        /// Which.
        metric: String,
    },
    /// The version is neither of the two.
    #[error("rollout {rollout:?} compares {stable:?} and {candidate:?}, not {version:?}")]
    Version {
        /// Whose.
        rollout: String,
        /// The two that would do.
        stable: String,
        /// The other.
        candidate: String,
        /// As told.
        version: String,
    },
    /// Neither or both.
    #[error("an outcome has a `user` or a `version`, one of the two")]
    Who,
    /// Not here any more.
    #[error("process {0} has taken over and counts from now on: tell it again")]
    HandedOver(u32),
}

impl Releases {
    /// Takes outcomes in, all or none.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn observe(&self, observations: &[Observation]) -> Result<(), Unobserved> {
        let shared = self.shared();
        let mut book = shared.book();
        if let Some(heir) = book.heir {
            return Err(Unobserved::HandedOver(heir));
        }
        let found: Vec<_> = observations
            .iter()
            .map(|one| find(&book, one))
            .collect::<Result<_, _>>()?;
        let mut about = BTreeSet::new();
        for (observation, (at, who)) in observations.iter().zip(found) {
            take(&mut book, at, observation, who);
            about.insert(at);
        }
        for at in about {
            shared.look_at(&mut book, at, Duration::ZERO);
        }
        Ok(())
    }
}

/// Who an outcome is about.
#[derive(Debug, Clone, Copy)]
enum Who {
    User(u64),
    Version(Arm),
}

fn find(book: &Book, one: &Observation) -> Result<(usize, Who), Unobserved> {
    let at = book
        .position(&one.rollout)
        .ok_or_else(|| Unobserved::Rollout(one.rollout.clone()))?;
    let (running, plan) = (&book.running[at], &book.config.rollouts[at]);
    if !running.pushed.iter().any(|(name, _)| *name == one.metric) {
        return Err(Unobserved::Metric {
            rollout: one.rollout.clone(),
            metric: one.metric.clone(),
        });
    }
    let who = match (&one.user, &one.version) {
        (Some(user), None) => {
            let salt = Salt::new(&running.state.salt(plan));
            Who::User(hash(user.trim().as_bytes(), salt))
        }
        (None, Some(version)) => Who::Version(arm_of(&book.config, plan, one, version)?),
        _ => return Err(Unobserved::Who),
    };
    Ok((at, who))
}

fn arm_of(
    config: &config::Config,
    plan: &config::Rollout,
    one: &Observation,
    version: &str,
) -> Result<Arm, Unobserved> {
    let service = &config.services[plan.service];
    let (stable, candidate) = (
        &service.versions[service.stable].name,
        &service.versions[plan.candidate].name,
    );
    if version == stable {
        Ok(Arm::Stable)
    } else if version == candidate {
        Ok(Arm::Candidate)
    } else {
        Err(Unobserved::Version {
            rollout: one.rollout.clone(),
            stable: stable.clone(),
            candidate: candidate.clone(),
            version: version.to_owned(),
        })
    }
}

fn take(book: &mut Book, at: usize, observation: &Observation, who: Who) {
    let running = &mut book.running[at];
    if matches!(
        running.state.phase(),
        Phase::RolledBack | Phase::Superseded | Phase::Succeeded
    ) {
        return; // it came late
    }
    let candidate = match who {
        Who::User(_) => running.state.weight(),
        // Nobody knows when it was routed. A weight that is too large is always on the safe side.
        Who::Version(_) => running.most.max(running.state.weight()),
    };
    let stable = Share::from_parts(Share::FULL.parts() - candidate.parts()).unwrap_or_default();
    let (unit, arm) = match who {
        Who::User(unit) => {
            let on_candidate = spread(unit) < candidate.parts();
            (
                Some(unit),
                if on_candidate {
                    Arm::Candidate
                } else {
                    Arm::Stable
                },
            )
        }
        Who::Version(arm) => (None, arm),
    };
    let served = Served {
        requests: 1,
        bad: u64::from(observation.bad),
    };
    let counts = match arm {
        Arm::Stable => Counts {
            stable: served,
            ..Counts::default()
        },
        Arm::Candidate => Counts {
            candidate: served,
            ..Counts::default()
        },
    };
    running.take_note(Note::PushedCount(observation.metric.clone(), counts));
    if observation.bad {
        let event = Event {
            unit,
            arm,
            candidate,
            stable,
            at: now(),
        };
        running.take_note(Note::Pushed(observation.metric.clone(), event));
    }
}
