//! What the users saw, and which promises that keeps. No clock and no network in here: both are told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_config::Share;

use super::load::user_id;
use super::trial::{Figures, Trial, TrialMoment};
use crate::route::slot::{Salt, slot};

/// An edit is in force so long after it was written, at the latest.
pub(super) const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);

/// How far the share of requests may lie from the one that was asked for. Users are few and some come more often, so
/// this is wider than the split itself, which is exact by user.
const SHARE_WITHIN: f64 = 4.0;

/// Ways to fail that are told apart.
pub(super) const FAILURES_TOLD: usize = 5;

/// One answer: whose, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Which request, from 1.
    pub(super) number: u64,
    pub(super) user: usize,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
}

/// A promise of the demo, and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) kept: bool,
    pub(super) text: String,
}

/// What happened since the last moment that was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    /// The candidate's share, in the file; `None` where somebody else edits it.
    pub(super) asked: Option<Share>,
    /// The candidate's share of the answers, in percent.
    pub(super) seen: Option<f64>,
    /// Users whose last answer came from the candidate.
    pub(super) users: usize,
    /// The median and the 99th percentile of each version.
    pub(super) latencies: [Option<(Duration, Duration)>; 2],
    /// Requests that failed, since the start.
    pub(super) failed: u64,
}

/// Watches every user. Versions are 0 for stable and 1 for the candidate.
#[derive(Debug)]
pub(super) struct Witness {
    /// By user.
    users: Vec<User>,
    /// The shares that the file asked for, and since when: the one at the start, and the edit's.
    first: Share,
    edit: Option<(Share, Instant)>,
    /// Answers by version, before the edit and after it was surely in force.
    answers: [[u64; 2]; 2],
    /// Since the last moment.
    latencies: [Vec<Duration>; 2],
    in_force_after: Option<Duration>,
    moved_back: u64,
    moved_on: u64,
    misplaced: u64,
    closed: u64,
    failures: BTreeMap<String, u64>,
    failed: u64,
    /// Once there is one, the last of them is told what happens: the edit's promises are over.
    trials: Vec<Trial>,
}

#[derive(Debug, Clone, Copy)]
struct User {
    slot: u32,
    last: Option<usize>,
    /// When the candidate's first answer had come.
    on_candidate: Option<Instant>,
}

impl Witness {
    /// A witness who knows of so many users, and that the file gives this share to the candidate.
    pub(super) fn new(users: usize, salt: &str, share: Share) -> Self {
        let salt = Salt::new(salt);
        let user = |user| User {
            slot: slot(user_id(user).as_bytes(), salt),
            last: None,
            on_candidate: None,
        };
        Self {
            users: (0..users).map(user).collect(),
            first: share,
            edit: None,
            answers: [[0; 2]; 2],
            latencies: [Vec::new(), Vec::new()],
            in_force_after: None,
            moved_back: 0,
            moved_on: 0,
            misplaced: 0,
            closed: 0,
            failures: BTreeMap::new(),
            failed: 0,
            trials: Vec::new(),
        }
    }

    /// The file is being edited: from `at` on, the candidate may have this share.
    pub(super) fn edited(&mut self, share: Share, at: Instant) {
        self.edit = Some((share, at));
    }

    /// A version answered a user.
    pub(super) fn answered(&mut self, seen: Seen, version: usize) {
        if let Some(trial) = self.trials.last_mut() {
            self.users[seen.user].last = Some(version);
            return trial.answered(seen, version);
        }
        self.latencies[version].push(seen.answered.duration_since(seen.sent));
        let user = &mut self.users[seen.user];
        if version == 0 {
            // Two requests of one user may overtake each other: only one that was sent after the candidate had answered
            // shows that the user went back.
            self.moved_back += u64::from(user.on_candidate.is_some_and(|since| seen.sent > since));
        } else {
            self.moved_on += u64::from(user.last == Some(0) && user.on_candidate.is_none());
            user.on_candidate.get_or_insert(seen.answered);
        }
        user.last = Some(version);
        let slot = user.slot;
        self.place(seen, slot, version);
    }

    /// Holds the answer against the published slot function.
    fn place(&mut self, seen: Seen, slot: u32, version: usize) {
        let on = |share: Share| usize::from(slot < share.parts());
        let (before, after) = (
            on(self.first),
            self.edit.map_or(on(self.first), |(share, _)| on(share)),
        );
        let expected = match self.edit {
            Some((_, at)) if seen.sent > at + IN_FORCE_WITHIN => {
                self.answers[1][version] += 1;
                [after, after]
            }
            Some((_, at)) if seen.answered >= at => [before, after],
            _ => {
                self.answers[0][version] += 1;
                [before, before]
            }
        };
        self.misplaced += u64::from(!expected.contains(&version));
        if let Some((_, at)) = self.edit.filter(|_| before != after && version == after) {
            let after = seen.answered.saturating_duration_since(at);
            self.in_force_after = Some(self.in_force_after.map_or(after, |known| known.min(after)));
        }
    }

    /// From now on a candidate is tried, and this is what the users see.
    pub(super) fn tries(&mut self, trial: Trial) {
        self.trials.push(trial);
    }

    /// The candidate got a request.
    pub(super) fn reached_candidate(&mut self, at: Instant) {
        if let Some(trial) = self.trials.last_mut() {
            trial.reached(at);
        }
    }

    /// The candidate failed the request of this number.
    pub(super) fn candidate_failed(&mut self, number: u64, at: Instant) {
        if let Some(trial) = self.trials.last_mut() {
            trial.broke(number, at);
        }
    }

    /// What happened in the trial since this was last asked; `None` where there is none.
    pub(super) fn trial_moment(&mut self) -> Option<TrialMoment> {
        self.trials.last_mut().map(Trial::moment)
    }

    /// What the trials came to.
    pub(super) fn figures(&self) -> Vec<Figures> {
        self.trials.iter().map(Trial::figures).collect()
    }

    /// A request was not answered as it should be.
    pub(super) fn failed(&mut self, number: u64, user: usize, why: &str) {
        if let Some(trial) = self.trials.last_mut() {
            return trial.failed(number, user, why);
        }
        self.failed += 1;
        if self.failures.len() < FAILURES_TOLD || self.failures.contains_key(why) {
            *self.failures.entry(why.to_owned()).or_default() += 1;
        }
    }

    /// The proxy closed a connection between two requests.
    pub(super) fn connection_closed(&mut self) {
        self.closed += 1;
    }

    /// How long after the edit a user first saw it.
    pub(super) fn in_force_after(&self) -> Option<Duration> {
        self.in_force_after
    }

    /// What happened since this was last asked.
    pub(super) fn moment(&mut self) -> Moment {
        let [stable, candidate] = self.latencies.each_ref().map(Vec::len);
        let all = stable + candidate;
        Moment {
            asked: Some(self.edit.map_or(self.first, |(share, _)| share)),
            seen: (all > 0).then(|| 100.0 * candidate as f64 / all as f64),
            users: self
                .users
                .iter()
                .filter(|user| user.last == Some(1))
                .count(),
            latencies: self
                .latencies
                .each_mut()
                .map(|latencies| quantiles(std::mem::take(latencies))),
            failed: self.failed,
        }
    }

    /// What was promised, and whether it held.
    pub(super) fn promises(&self) -> Vec<Promise> {
        let all: u64 = self.answers.iter().flatten().sum();
        let mut promises = vec![self.nothing_failed()];
        let edit = self.edit.map(|(share, _)| share);
        for (share, [stable, candidate]) in [Some(self.first), edit]
            .into_iter()
            .flatten()
            .zip(self.answers)
        {
            let seen = 100.0 * candidate as f64 / (stable + candidate).max(1) as f64;
            promises.push(Promise {
                kept: (seen - share.percent()).abs() <= SHARE_WITHIN,
                text: format!(
                    "{} asked for, {seen:.1} % of {} requests seen",
                    percent(share),
                    stable + candidate
                ),
            });
        }
        promises.push(Promise {
            kept: self.moved_back == 0,
            text: format!(
                "nobody moved back: {} users went from v1 to v2, {} back",
                self.moved_on, self.moved_back
            ),
        });
        promises.push(Promise {
            kept: self.misplaced == 0 && all > 0,
            text: match self.misplaced {
                0 => "every user was where the published slot function puts them".to_owned(),
                some => format!(
                    "{some} answers came from another version than the published slot function says"
                ),
            },
        });
        if edit.is_some() {
            promises.push(match self.in_force_after {
                Some(after) => Promise {
                    kept: after <= IN_FORCE_WITHIN,
                    text: format!(
                        "the edit was in force {} ms after it was written",
                        after.as_millis()
                    ),
                },
                None => Promise {
                    kept: false,
                    text: "the edit never came into force".to_owned(),
                },
            });
        }
        promises.extend(self.trials.iter().flat_map(Trial::promises));
        promises.push(Promise {
            kept: self.closed == 0,
            text: format!(
                "{} open connections were closed on their users",
                self.closed
            ),
        });
        promises
    }

    fn nothing_failed(&self) -> Promise {
        let answered = self.users.iter().filter(|user| user.last.is_some()).count();
        let mut text = format!(
            "{} requests failed; {answered} users were answered",
            self.failed
        );
        for (why, times) in &self.failures {
            text.push_str(&format!("\n         {times} × {why}"));
        }
        Promise {
            kept: self.failed == 0 && answered > 0,
            text,
        }
    }
}

/// A share as the demo writes it.
pub(super) fn percent(share: Share) -> String {
    format!("{} %", share.percent())
}

/// The median and the 99th percentile.
fn quantiles(mut latencies: Vec<Duration>) -> Option<(Duration, Duration)> {
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .copied()
    };
    Some((at(0.5)?, at(0.99)?))
}

#[cfg(test)]
mod tests {
    use super::super::trial::Terms;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn share(percent: u32) -> Share {
        Share::from_parts(percent * 1000).unwrap()
    }

    /// A witness, the moment of an edit from 10 % to 25 %, and for each user which version they belong to.
    struct Scene {
        witness: Witness,
        start: Instant,
        edit: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                witness: Witness::new(500, "shop.everyone", share(10)),
                start,
                edit: start + 5000 * MS,
            }
        }

        fn belongs(&self, user: usize, percent: u32) -> usize {
            usize::from(self.witness.users[user].slot < share(percent).parts())
        }

        fn answer(&mut self, user: usize, sent: Instant, version: usize) {
            self.witness.answered(
                Seen {
                    number: 0,
                    user,
                    sent,
                    answered: sent + 5 * MS,
                },
                version,
            );
        }

        /// Everybody asks once before the edit and once after it, and the proxy does as it should.
        fn plays_right() -> Self {
            let mut scene = Self::new();
            for user in 0..500 {
                scene.answer(user, scene.start + MS, scene.belongs(user, 10));
            }
            scene.witness.edited(share(25), scene.edit);
            for user in 0..500 {
                scene.answer(user, scene.edit + 300 * MS, scene.belongs(user, 25));
                scene.answer(user, scene.edit + 1500 * MS, scene.belongs(user, 25));
            }
            scene
        }

        fn broken(&self) -> Vec<String> {
            self.witness
                .promises()
                .into_iter()
                .filter(|promise| !promise.kept)
                .map(|promise| promise.text)
                .collect()
        }

        /// A user who changes version at the edit, and one who stays on the candidate.
        fn mover(&self) -> usize {
            (0..500)
                .find(|user| self.belongs(*user, 10) != self.belongs(*user, 25))
                .unwrap()
        }

        fn early(&self) -> usize {
            (0..500).find(|user| self.belongs(*user, 10) == 1).unwrap()
        }
    }

    #[test]
    fn a_proxy_that_does_as_it_should_keeps_every_promise() {
        let scene = Scene::plays_right();
        assert_eq!(scene.broken(), Vec::<String>::new());
        assert_eq!(scene.witness.in_force_after(), Some(305 * MS));
    }

    #[test]
    fn one_user_who_moves_back_breaks_the_promise() {
        let mut scene = Scene::plays_right();
        scene.answer(scene.early(), scene.edit + 2000 * MS, 0);
        let broken = scene.broken();
        assert!(
            broken
                .iter()
                .any(|text| text.starts_with("nobody moved back") && text.ends_with("1 back")),
            "{broken:?}"
        );
    }

    #[test]
    fn an_answer_that_was_overtaken_is_nobody_moving_back() {
        let mut scene = Scene::plays_right();
        let mover = scene.mover();
        let slow = Seen {
            number: 0,
            user: mover,
            sent: scene.edit + 299 * MS,
            answered: scene.edit + 400 * MS,
        };
        scene.witness.answered(slow, 0);
        assert_eq!(scene.broken(), Vec::<String>::new());
    }

    #[test]
    fn an_edit_that_reaches_a_user_too_late_breaks_the_promise() {
        let mut scene = Scene::new();
        scene.witness.edited(share(25), scene.edit);
        let mover = scene.mover();
        scene.answer(mover, scene.edit + 990 * MS, 0);
        assert_eq!(scene.witness.misplaced, 0);
        scene.answer(mover, scene.edit + 1001 * MS, 0);
        assert_eq!(scene.witness.misplaced, 1);
        scene.answer(mover, scene.edit + 1200 * MS, 1);
        assert!(
            scene
                .broken()
                .contains(&"the edit was in force 1205 ms after it was written".to_owned())
        );
    }

    #[test]
    fn one_request_that_fails_breaks_the_promise_and_says_why() {
        let mut scene = Scene::plays_right();
        scene.witness.failed(1, 1, "answered 502 Bad Gateway");
        assert_eq!(
            scene.broken(),
            ["1 requests failed; 500 users were answered\n         1 × answered 502 Bad Gateway"]
        );
    }

    #[test]
    fn one_connection_that_is_closed_breaks_the_promise() {
        let mut scene = Scene::plays_right();
        scene.witness.connection_closed();
        assert_eq!(scene.broken().len(), 1);
    }

    #[test]
    fn what_happens_in_a_trial_is_no_part_of_the_edit() {
        let mut scene = Scene::plays_right();
        scene.witness.tries(Trial::new(Terms {
            users: 500,
            salt: "shop-v2",
            share: share(25),
            fallback: false,
            from: scene.edit,
        }));
        scene.answer(scene.early(), scene.edit + 2000 * MS, 0);
        scene.witness.failed(1, 1, "answered 500");
        let broken = scene.broken();
        assert!(
            broken
                .iter()
                .all(|text| text.starts_with("without fallback: ")),
            "{broken:?}"
        );
        assert_eq!(scene.witness.figures()[0].errors, 1);
    }

    #[test]
    fn a_demo_that_saw_nothing_promises_nothing() {
        assert!(!Scene::new().broken().is_empty());
    }

    #[test]
    fn a_moment_tells_what_happened_since_the_last_one() {
        let mut scene = Scene::plays_right();
        let moment = scene.witness.moment();
        assert_eq!((moment.asked, moment.failed), (Some(share(25)), 0));
        assert_eq!(moment.latencies[0], Some((5 * MS, 5 * MS)));
        assert_eq!(
            moment.users,
            (0..500)
                .filter(|user| scene.belongs(*user, 25) == 1)
                .count()
        );
        assert_eq!(scene.witness.moment().seen, None);
    }
}
