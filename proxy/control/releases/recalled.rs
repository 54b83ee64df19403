//! What is known of rollouts that are not in the file, or were not yet: what the journal said at the start, and those that
//! have left the file since.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidegate_config as config;

use crate::control::journal::{Evidence, Latch, Restored};
use crate::release::{Key, Reason, Rollout};

/// What is known of rollouts that are not in the file, or were not yet.
#[derive(Debug)]
pub(super) struct Recalled {
    pub states: BTreeMap<String, Rollout>,
    /// Where the process before this one had them, which may be later than what it could write down.
    later: BTreeMap<String, Rollout>,
    /// States that are there and make no sense, and why.
    unread: BTreeMap<String, String>,
    pub evidence: HashMap<String, Evidence>,
    latches: BTreeMap<String, Latch>,
    doubtful: Vec<String>,
    /// Latches of which not even the rollout is known.
    pub lost_latches: usize,
    /// The journal could not be read at the start: why.
    pub unreadable: Option<String>,
    /// Nothing was there at the start.
    pub empty: bool,
    /// No file was met yet.
    pub first: bool,
}

impl Recalled {
    /// What the journal says.
    pub(super) fn new(restored: Restored) -> Self {
        let (mut states, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for (name, bytes) in restored.states {
            match serde_json::from_slice::<Rollout>(&bytes) {
                Ok(state) => {
                    states.insert(name, state);
                }
                Err(error) => {
                    tracing::error!(rollout = name, "{name}: its state cannot be read: {error}");
                    unread.insert(name, error.to_string());
                }
            }
        }
        let mut latches = BTreeMap::<String, Latch>::new();
        for latch in restored.latches {
            let newer = |known: &Latch| known.attempt > latch.attempt;
            if !latches.get(&latch.rollout).is_some_and(newer) {
                latches.insert(latch.rollout.clone(), latch);
            }
        }
        let later = restored.later.into_iter();
        let later =
            later.filter_map(|(name, state)| Some((name, serde_json::from_str(&state).ok()?)));
        Self {
            states,
            later: later.collect(),
            unread,
            evidence: restored.evidence,
            latches,
            doubtful: restored.doubtful,
            lost_latches: restored.latches_unreadable,
            unreadable: restored.unreadable,
            empty: restored.empty,
            first: true,
        }
    }

    /// Where a rollout stood before it came into the file; `None` for one that nobody knows.
    pub(super) fn state(&mut self, name: &str, key: Key, now: Duration) -> Option<Known> {
        let written = self.states.remove(name);
        let unread = self.unread.remove(name);
        let latch = self.latches.remove(name);
        let later = self.later.remove(name);
        let doubts = self.doubtful.len();
        self.doubtful.retain(|doubtful| doubtful != name);
        let doubtful = self.doubtful.len() < doubts;
        let plain = |text: &str| Reason {
            cause: None,
            text: text.to_owned().into(),
        };
        let was = written.clone().unwrap_or_else(|| Rollout::new(key, now));
        let state = match (&written, latch) {
            (_, Some(latch)) => {
                let key = latch.key.parse().unwrap_or(key);
                was.recalled(key, latch.attempt, plain(&latch.reason), now)
            }
            (Some(state), None) => state.clone(),
            (None, None) if later.is_some() => was.clone(),
            (None, None) => {
                // Who comes into the file later was not in that journal.
                let unreadable = self.unreadable.as_ref().filter(|_| self.first);
                let why = match (unreadable, unread) {
                    (Some(why), _) => format!("the journal cannot be read ({why})"),
                    (None, Some(why)) => format!("its state in the journal cannot be read ({why})"),
                    (None, None) => return None,
                };
                was.unsure(&why, now)
            }
        };
        let state = later.unwrap_or(state);
        // The newer half of its place is torn: an older rollback says nothing about this attempt.
        let state = if doubtful && carries(&state) {
            let text = "its place for a rollback is damaged: it may have been rolled back";
            state.recalled(state.key(), state.attempt(), plain(text), now)
        } else {
            state
        };
        Some(Known { was, state })
    }
}

/// What the journal says of a rollout, and what follows from that and its latch.
pub(super) struct Known {
    /// As the journal says.
    pub was: Rollout,
    /// As it must be.
    pub state: Rollout,
}

fn carries(state: &Rollout) -> bool {
    state.weight() > config::Share::ZERO || state.mirror() > config::Share::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Phase;

    const NOW: Duration = Duration::from_secs(1);

    fn key(digit: char) -> Key {
        let half = digit.to_string().repeat(32);
        format!("{half}-{half}").parse().unwrap()
    }

    fn restored(state: &Rollout, latch: Option<Latch>, doubtful: bool) -> Recalled {
        Recalled::new(Restored {
            states: vec![("shop-v2".to_owned(), serde_json::to_vec(state).unwrap())],
            latches: latch.into_iter().collect(),
            doubtful: doubtful.then(|| "shop-v2".to_owned()).into_iter().collect(),
            ..Restored::default()
        })
    }

    /// The second attempt, with users on the candidate.
    fn second() -> Rollout {
        let share = config::Share::FIFTH;
        let first = Rollout::new(key('a'), NOW).taken_over(share, NOW);
        let back = first.recalled(key('a'), 1, Reason::default(), NOW);
        let plan = split();
        back.edited(&plan, key('b'), NOW).taken_over(share, NOW)
    }

    fn split() -> config::Rollout {
        let text = "version: 1
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }] }]
routes: [{ service: app, rules: [{ name: all, split: { by: random, weights: { v2: 20%, v1: 80% }, guard: {} } }] }]
";
        let loaded = config::parse(text.as_bytes(), "gate.yaml", std::path::Path::new("."));
        loaded.config.expect("a good file").rollouts.remove(0)
    }

    #[test]
    fn a_torn_place_counts_as_a_rollback_also_where_an_older_one_is_readable() {
        let state = second();
        assert_eq!(state.attempt(), 2);
        let older = Latch {
            rollout: "shop-v2".to_owned(),
            key: key('a').to_string(),
            attempt: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            reason: "the first time".to_owned(),
        };
        let known = |doubtful| {
            let mut recalled = restored(&state, Some(older.clone()), doubtful);
            recalled.state("shop-v2", key('b'), NOW).unwrap().state
        };
        assert_eq!(known(false).phase(), Phase::Holding, "an older latch alone");
        assert_eq!(known(true).phase(), Phase::RolledBack);
    }

    #[test]
    fn a_doubt_is_asked_once() {
        let mut recalled = restored(&second(), None, true);
        let first = recalled.state("shop-v2", key('b'), NOW).unwrap().state;
        assert_eq!(first.phase(), Phase::RolledBack);
        recalled.states.insert("shop-v2".to_owned(), second());
        let again = recalled.state("shop-v2", key('b'), NOW).unwrap().state;
        assert_eq!(again.phase(), Phase::Holding);
    }
}
