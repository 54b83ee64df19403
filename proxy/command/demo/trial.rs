//! A candidate that starts to fail, as its users and the candidate itself saw it. No clock and no network in here, and
//! not a word from the proxy: both are told from outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidegate_config::Share;

use super::load::user_id;
use super::witness::{FAILURES_TOLD, Promise, Seen};
use crate::route::slot::{Salt, slot};

/// From the candidate's first failure to its last request, at most. It takes a handful of requests, so that is a matter
/// of the traffic; this leaves room for a machine that has other things to do.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// Users that may see an error before everybody is back, in a hundred of all.
const HIT_PERCENT: usize = 2;

/// The candidate is believed to be left alone once so many of its users were answered without it.
const LEFT_ALONE_FOR: u64 = 50;

/// What a trial of the candidate is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Everybody who asks.
    pub(super) users: usize,
    /// The rollout's salt in this attempt.
    pub(super) salt: &'static str,
    /// The share of users in whose sight the candidate fails.
    pub(super) share: Share,
    /// Whether stable answers in the candidate's place.
    pub(super) fallback: bool,
    /// Whoever asks later and is not in that share has no business on the candidate.
    pub(super) from: Instant,
}

/// One attempt of the rollout, watched from outside.
#[derive(Debug)]
pub(super) struct Trial {
    terms: Terms,
    salt: Salt,
    /// Requests that the candidate failed.
    failed: u64,
    /// Those of them, by number, whose user has no answer yet.
    open: BTreeSet<u64>,
    first_failure: Option<Instant>,
    last_request: Option<Instant>,
    /// Answers that its users had since then.
    without_it: u64,
    users_hit: BTreeSet<usize>,
    errors: u64,
    why: BTreeMap<String, u64>,
    in_its_place: u64,
    strangers: u64,
    /// Since the last moment.
    answers: [u64; 2],
}

/// What happened since the last moment that was told, and the sums so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TrialMoment {
    /// Answers of each version since then.
    pub(super) answers: [u64; 2],
    /// So far: requests that the candidate failed.
    pub(super) failed: u64,
    /// So far: errors that users saw.
    pub(super) errors: u64,
    /// So far: requests that stable answered in the candidate's place.
    pub(super) in_its_place: u64,
}

/// What a trial came to: a column of the table at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figures {
    /// Whether stable answered in the candidate's place.
    pub(super) fallback: bool,
    /// From the first failure to the last request on the candidate.
    pub(super) took: Option<Duration>,
    /// Requests that the candidate failed.
    pub(super) failed: u64,
    /// Users that saw an error.
    pub(super) users_hit: usize,
    /// Errors that users saw.
    pub(super) errors: u64,
    /// Requests that stable answered in the candidate's place.
    pub(super) in_its_place: u64,
}

impl Trial {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            salt: Salt::new(terms.salt),
            failed: 0,
            open: BTreeSet::new(),
            first_failure: None,
            last_request: None,
            without_it: 0,
            users_hit: BTreeSet::new(),
            errors: 0,
            why: BTreeMap::new(),
            in_its_place: 0,
            strangers: 0,
            answers: [0; 2],
        }
    }

    /// The candidate got a request.
    pub(super) fn reached(&mut self, at: Instant) {
        self.last_request = Some(at);
        self.without_it = 0;
    }

    /// The candidate failed the request of this number.
    pub(super) fn broke(&mut self, number: u64, at: Instant) {
        self.failed += 1;
        self.open.insert(number);
        self.first_failure.get_or_insert(at);
    }

    /// A version answered a user well.
    pub(super) fn answered(&mut self, seen: Seen, version: usize) {
        self.answers[version] += 1;
        let is_the_candidates =
            slot(user_id(seen.user).as_bytes(), self.salt) < self.terms.share.parts();
        let in_its_place = self.open.remove(&seen.number);
        if version == 1 {
            let is_stranger = !is_the_candidates && seen.sent > self.terms.from;
            self.strangers += u64::from(is_stranger);
        } else if in_its_place {
            self.in_its_place += 1;
        } else if is_the_candidates && self.last_request.is_some_and(|last| seen.sent > last) {
            self.without_it += 1;
        }
    }

    /// A user saw an error.
    pub(super) fn failed(&mut self, number: u64, user: usize, why: &str) {
        self.open.remove(&number);
        self.users_hit.insert(user);
        self.errors += 1;
        if self.why.len() < FAILURES_TOLD || self.why.contains_key(why) {
            *self.why.entry(why.to_owned()).or_default() += 1;
        }
    }

    /// What happened since this was last asked.
    pub(super) fn moment(&mut self) -> TrialMoment {
        let answers = std::mem::take(&mut self.answers);
        let Figures {
            failed,
            errors,
            in_its_place,
            ..
        } = self.figures();
        TrialMoment {
            answers,
            failed,
            errors,
            in_its_place,
        }
    }

    /// What it came to.
    pub(super) fn figures(&self) -> Figures {
        let took = self.first_failure.zip(self.last_request);
        Figures {
            fallback: self.terms.fallback,
            took: took.map(|(first, last)| last.saturating_duration_since(first)),
            failed: self.failed,
            users_hit: self.users_hit.len(),
            errors: self.errors,
            in_its_place: self.in_its_place,
        }
    }

    /// Whether the candidate is left alone: its users ask, and are answered without it.
    pub(super) fn is_back(&self) -> bool {
        self.first_failure.is_some() && self.without_it >= LEFT_ALONE_FOR
    }

    /// What was promised, and whether it held.
    pub(super) fn promises(&self) -> Vec<Promise> {
        let with = if self.terms.fallback {
            "with fallback"
        } else {
            "without fallback"
        };
        let mut promises = vec![
            self.went_back(with),
            self.left_alone(with),
            self.hurt_few(with),
        ];
        if self.strangers > 0 {
            let (strangers, share) = (self.strangers, self.terms.share);
            promises.push(Promise {
                kept: false,
                text: format!(
                    "{with}: {strangers} answers of v2 went to users beyond the {share} that the rollout may reach"
                ),
            });
        }
        promises
    }

    fn went_back(&self, with: &str) -> Promise {
        match self.figures().took.filter(|_| self.is_back()) {
            Some(took) => Promise {
                kept: took <= BACK_WITHIN,
                text: format!(
                    "{with}: rolled back {} ms after v2's first failure",
                    took.as_millis()
                ),
            },
            None => Promise {
                kept: false,
                text: format!("{with}: v2 was not rolled back"),
            },
        }
    }

    fn left_alone(&self, with: &str) -> Promise {
        Promise {
            kept: self.is_back(),
            text: format!(
                "{with}: v2 got no request after that, while its users asked {} times",
                self.without_it
            ),
        }
    }

    fn hurt_few(&self, with: &str) -> Promise {
        let Figures {
            failed,
            users_hit,
            errors,
            in_its_place,
            ..
        } = self.figures();
        let users = self.terms.users;
        let (kept, mut text) = if self.terms.fallback {
            (
                errors == 0 && failed > 0 && in_its_place == failed,
                format!(
                    "{with}: v2 failed {failed} requests, v1 answered {in_its_place} of them, {users_hit} users saw an error"
                ),
            )
        } else {
            (
                errors == failed && failed > 0 && users_hit * 100 <= users * HIT_PERCENT,
                format!(
                    "{with}: {users_hit} of {users} users saw an error, before everybody was back on v1"
                ),
            )
        };
        if !kept {
            for (why, times) in &self.why {
                text.push_str(&format!("\n         {times} × {why}"));
            }
        }
        Promise { kept, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A trial at 25 %, its users and the others.
    struct Scene {
        trial: Trial,
        start: Instant,
        theirs: Vec<usize>,
        others: Vec<usize>,
        number: u64,
    }

    impl Scene {
        fn new(fallback: bool) -> Self {
            let (share, start) = (Share::from_parts(25_000).unwrap(), Instant::now());
            let terms = Terms {
                users: 2000,
                salt: "shop-v2",
                share,
                fallback,
                from: start,
            };
            let trial = Trial::new(terms);
            let is_theirs =
                |user: &usize| slot(user_id(*user).as_bytes(), trial.salt) < share.parts();
            let (theirs, others) = (0..2000).partition(is_theirs);
            Self {
                trial,
                start,
                theirs,
                others,
                number: 0,
            }
        }

        fn seen(&mut self, user: usize, at: u32) -> Seen {
            self.number += 1;
            let sent = self.start + at * MS;
            Seen {
                number: self.number,
                user,
                sent,
                answered: sent + MS,
            }
        }

        /// The candidate gets a request of its n-th user and fails it; the user sees that, or stable's answer.
        fn breaks(&mut self, nth: usize, at: u32) {
            let seen = self.seen(self.theirs[nth], at);
            self.trial.reached(seen.sent);
            self.trial.broke(seen.number, seen.answered);
            if self.trial.terms.fallback {
                self.trial.answered(seen, 0);
            } else {
                self.trial.failed(seen.number, seen.user, "answered 500");
            }
        }

        /// So many of the candidate's users ask, and stable answers.
        fn asks_stable(&mut self, times: usize, at: u32) {
            for nth in 0..times {
                let seen = self.seen(self.theirs[nth], at);
                self.trial.answered(seen, 0);
            }
        }

        fn goes_right(fallback: bool) -> Self {
            let mut scene = Self::new(fallback);
            for nth in 0..7 {
                scene.breaks(nth, 10 * nth as u32);
            }
            scene.asks_stable(60, 200);
            scene
        }

        fn broken(&self) -> Vec<String> {
            let promises = self.trial.promises().into_iter();
            promises
                .filter(|promise| !promise.kept)
                .map(|promise| promise.text)
                .collect()
        }
    }

    #[test]
    fn a_rollback_after_a_handful_of_users_keeps_every_promise() {
        for fallback in [false, true] {
            let scene = Scene::goes_right(fallback);
            assert_eq!(scene.broken(), Vec::<String>::new());
            let (hit, in_place) = if fallback { (0, 7) } else { (7, 0) };
            assert_eq!(
                scene.trial.figures(),
                Figures {
                    fallback,
                    took: Some(59 * MS),
                    failed: 7,
                    users_hit: hit,
                    errors: hit as u64,
                    in_its_place: in_place,
                }
            );
        }
    }

    #[test]
    fn a_candidate_that_goes_on_getting_requests_breaks_the_promise() {
        let mut scene = Scene::goes_right(false);
        scene.breaks(8, 300);
        assert!(!scene.trial.is_back());
        assert_eq!(
            scene.broken(),
            [
                "without fallback: v2 was not rolled back",
                "without fallback: v2 got no request after that, while its users asked 0 times"
            ]
        );
    }

    #[test]
    fn a_rollback_that_comes_late_breaks_the_promise() {
        let mut scene = Scene::goes_right(false);
        scene.breaks(8, 2500);
        scene.asks_stable(60, 2600);
        assert_eq!(
            scene.broken(),
            ["without fallback: rolled back 2499 ms after v2's first failure"]
        );
    }

    #[test]
    fn one_error_in_spite_of_the_fallback_breaks_the_promise_and_says_why() {
        let mut scene = Scene::goes_right(true);
        scene.trial.failed(0, 4, "answered 502 Bad Gateway");
        let broken = scene.broken();
        assert_eq!(broken.len(), 1);
        assert!(
            broken[0].ends_with("1 users saw an error\n         1 × answered 502 Bad Gateway"),
            "{broken:?}"
        );
    }

    #[test]
    fn an_error_that_the_candidate_did_not_make_breaks_the_promise() {
        let mut scene = Scene::goes_right(false);
        scene.trial.failed(0, 4, "answered 503");
        assert_eq!(scene.broken().len(), 1);
    }

    #[test]
    fn somebody_whom_the_rollout_may_not_reach_breaks_the_promise() {
        let mut scene = Scene::goes_right(false);
        let stranger = scene.others[0];
        let seen = scene.seen(stranger, 5);
        scene.trial.answered(seen, 1);
        assert_eq!(scene.broken().len(), 1);
    }

    #[test]
    fn a_trial_that_saw_nothing_promises_nothing() {
        assert_eq!(Scene::new(true).broken().len(), 3);
        assert!(!Scene::new(false).trial.is_back());
    }
}
