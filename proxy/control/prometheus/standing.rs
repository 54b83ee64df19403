//! How one metric stands: good, bad and for how long, or unknown.
//!
//! Bad time is what lies between two bad answers with nothing else in between. A good answer ends it. No answer does
//! not: it neither proves the candidate good nor bad. The bad time that was seen is kept as it was, the silence is not
//! added to it, and while it lasts the rollout does not grow. Time is an argument: a monotonic moment, so that a clock
//! that is set cannot make a metric bad for an hour.

use std::time::{Duration, Instant};

use tidegate_config::plan::{Bad, PrometheusQuery};

use super::QUERY_TIMEOUT;

/// How a metric stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Its last value is not bad.
    Good {
        /// That value.
        value: f64,
    },
    /// Its last value is bad.
    Bad {
        /// That value.
        value: f64,
        /// For so long without a good one, silences left out.
        lasting: Duration,
        /// Whether that is as long as the guard says.
        fires: bool,
    },
    /// There is none.
    NoData {
        /// Why, in a sentence.
        why: String,
        /// For how long.
        lasting: Duration,
    },
}

impl Standing {
    /// In words: `pay_success is 0.93, below 0.98, for 130s`.
    pub fn sentence(&self, metric: &str, query: &PrometheusQuery) -> String {
        match self {
            Self::Good { value } => format!("{metric} is {}", short(*value)),
            Self::Bad { value, lasting, .. } => {
                let limit = match query.bad {
                    Bad::Above(limit) => format!("above {limit}"),
                    Bad::Below(limit) => format!("below {limit}"),
                };
                let value = short(*value);
                format!("{metric} is {value}, {limit}, for {}s", lasting.as_secs())
            }
            Self::NoData { why, lasting } => {
                format!("{metric} has no value for {}s: {why}", lasting.as_secs())
            }
        }
    }
}

/// What was answered so far.
#[derive(Debug)]
pub(super) struct Track {
    bad: Bad,
    /// For so long a value must be bad.
    needed: Duration,
    /// An answer says nothing about moments later than this after it.
    reach: Duration,
    /// Bad time seen since the last good value; `None` where there was no bad one since.
    seen: Option<Duration>,
    /// The last answer, and when it came.
    last: Option<(Last, Instant)>,
    /// The beginning of the present silence, or of everything.
    silent_since: Instant,
}

#[derive(Debug)]
enum Last {
    Good(f64),
    Bad(f64),
    Nothing(String),
}

impl Track {
    pub(super) fn new(query: &PrometheusQuery, now: Instant) -> Self {
        Self {
            bad: query.bad,
            needed: query.lasting,
            // Two periods, as one answer may be late, and the time of the answer itself.
            reach: query.every.saturating_mul(2).saturating_add(QUERY_TIMEOUT),
            seen: None,
            last: None,
            silent_since: now,
        }
    }

    /// Counts an answer: a number, never NaN, or why there is none.
    pub(super) fn saw(&mut self, answer: Result<f64, String>, now: Instant) {
        let last = match answer {
            Ok(value) if is_bad(self.bad, value) => {
                let more = match &self.last {
                    Some((Last::Bad(_), at)) => {
                        let gap = now.saturating_duration_since(*at);
                        // A machine that slept has not seen an hour of bad values.
                        if gap <= self.reach {
                            gap
                        } else {
                            Duration::ZERO
                        }
                    }
                    _ => Duration::ZERO,
                };
                let seen = self.seen.unwrap_or_default().saturating_add(more);
                self.seen = Some(seen);
                Last::Bad(value)
            }
            Ok(value) => {
                self.seen = None;
                Last::Good(value)
            }
            Err(why) => {
                if !matches!(self.last, None | Some((Last::Nothing(_), _))) {
                    self.silent_since = now;
                }
                Last::Nothing(why)
            }
        };
        self.last = Some((last, now));
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let Some((last, at)) = &self.last else {
            return Standing::NoData {
                why: "it was not answered yet".to_owned(),
                lasting: now.saturating_duration_since(self.silent_since),
            };
        };
        let age = now.saturating_duration_since(*at);
        match last {
            Last::Nothing(why) => Standing::NoData {
                why: why.clone(),
                lasting: now.saturating_duration_since(self.silent_since),
            },
            _ if age > self.reach => Standing::NoData {
                why: "its last value is too old, and the next one has not come".to_owned(),
                lasting: age,
            },
            Last::Good(value) => Standing::Good { value: *value },
            Last::Bad(value) => {
                let lasting = self.seen.unwrap_or_default();
                Standing::Bad {
                    value: *value,
                    lasting,
                    fires: lasting >= self.needed,
                }
            }
        }
    }
}

/// With four significant digits, so that a sentence does not hold sixteen.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let places = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.places$}");
    if places == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Strictly beyond the limit.
fn is_bad(bad: Bad, value: f64) -> bool {
    match bad {
        Bad::Above(limit) => value > limit,
        Bad::Below(limit) => value < limit,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(lasting: u64) -> PrometheusQuery {
        PrometheusQuery {
            url: "http://store:9090".to_owned(),
            authorities: None,
            query: "pay".to_owned(),
            every: seconds(15),
            bad: Bad::Below(0.98),
            lasting: seconds(lasting),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A track, and a clock that is moved by hand.
    struct Told {
        track: Track,
        now: Instant,
    }

    impl Told {
        fn new(lasting: u64) -> Self {
            let now = Instant::now();
            Self {
                track: Track::new(&query(lasting), now),
                now,
            }
        }

        /// So many seconds later this is answered; how it stands then.
        fn then(&mut self, later: u64, answer: Result<f64, &str>) -> Standing {
            self.now += seconds(later);
            self.track.saw(answer.map_err(str::to_owned), self.now);
            self.standing()
        }

        fn standing(&self) -> Standing {
            self.track.standing(self.now)
        }
    }

    const GOOD: Result<f64, &str> = Ok(0.99);
    const BAD: Result<f64, &str> = Ok(0.5);
    const NONE: Result<f64, &str> = Err("the query gives nothing");

    fn bad(lasting: u64, fires: bool) -> Standing {
        Standing::Bad {
            value: 0.5,
            lasting: seconds(lasting),
            fires,
        }
    }

    fn silent(lasting: u64) -> Standing {
        Standing::NoData {
            why: "the query gives nothing".to_owned(),
            lasting: seconds(lasting),
        }
    }

    #[test]
    fn a_metric_fires_once_it_was_bad_for_as_long_as_the_guard_says() {
        let mut told = Told::new(30);
        assert_eq!(told.then(0, GOOD), Standing::Good { value: 0.99 });
        assert_eq!(told.then(15, BAD), bad(0, false));
        assert_eq!(told.then(15, BAD), bad(15, false));
        assert_eq!(told.then(15, BAD), bad(30, true));
    }

    #[test]
    fn without_a_time_the_first_bad_value_fires() {
        assert_eq!(Told::new(0).then(0, BAD), bad(0, true));
    }

    #[test]
    fn the_limit_itself_is_not_bad() {
        assert_eq!(
            Told::new(0).then(0, Ok(0.98)),
            Standing::Good { value: 0.98 }
        );
        assert!(is_bad(Bad::Above(5.0), f64::INFINITY));
        assert!(!is_bad(Bad::Above(5.0), 5.0));
    }

    #[test]
    fn a_good_value_ends_what_was_bad() {
        let mut told = Told::new(30);
        told.then(0, BAD);
        told.then(15, BAD);
        assert_eq!(told.then(15, GOOD), Standing::Good { value: 0.99 });
        assert_eq!(told.then(15, BAD), bad(0, false));
    }

    #[test]
    fn silence_neither_ends_nor_lengthens_what_was_bad() {
        let mut told = Told::new(30);
        told.then(0, BAD);
        told.then(15, BAD);
        assert_eq!(told.then(15, NONE), silent(0));
        assert_eq!(told.then(15, NONE), silent(15));
        assert_eq!(told.then(600, Err("another reason")), {
            Standing::NoData {
                why: "another reason".to_owned(),
                lasting: seconds(615),
            }
        });
        assert_eq!(told.then(15, BAD), bad(15, false), "as it was before");
        assert_eq!(told.then(15, BAD), bad(30, true));
    }

    #[test]
    fn before_the_first_answer_nothing_is_known() {
        let mut told = Told::new(0);
        told.now += seconds(3);
        assert_eq!(
            told.standing(),
            Standing::NoData {
                why: "it was not answered yet".to_owned(),
                lasting: seconds(3)
            }
        );
        assert_eq!(told.then(1, NONE), silent(4), "silent from the beginning");
    }

    #[test]
    fn a_value_that_grew_old_is_none_and_sleep_is_no_bad_time() {
        let mut told = Told::new(3000);
        told.then(0, BAD);
        told.now += seconds(40);
        assert_eq!(told.standing(), bad(0, false), "two periods and a time-out");
        told.now += seconds(1);
        assert!(
            matches!(told.standing(), Standing::NoData { lasting, .. } if lasting == seconds(41)),
            "{:?}",
            told.standing()
        );
        assert_eq!(told.then(3600, BAD), bad(0, false));
    }

    #[test]
    fn each_standing_is_a_sentence() {
        for (standing, sentence) in [
            (Standing::Good { value: 0.99 }, "pay is 0.99"),
            (bad(130, true), "pay is 0.5, below 0.98, for 130s"),
            (
                silent(7),
                "pay has no value for 7s: the query gives nothing",
            ),
        ] {
            assert_eq!(standing.sentence("pay", &query(0)), sentence);
        }
    }

    #[test]
    fn a_value_is_told_with_as_many_digits_as_anybody_reads() {
        for (value, shown) in [
            (2.0 / 3.0, "0.6667"),
            (0.98, "0.98"),
            (0.000_012_345_6, "0.00001235"),
            (1_234_567.8, "1234568"),
            (-100.0, "-100"),
            (0.0, "0"),
            (f64::INFINITY, "inf"),
            (1e-300, "0"),
        ] {
            assert_eq!(short(value), shown);
        }
    }

    proptest! {
        #[test]
        fn a_metric_never_fires_without_bad_answers_that_cover_the_time(
            answers in proptest::collection::vec((0_u64..60, 0_u8..3), 1..100),
        ) {
            let mut told = Told::new(60);
            let (mut proven, mut bad_before) = (0, false);
            for (later, kind) in answers {
                let standing = told.then(later, [GOOD, BAD, NONE][usize::from(kind)]);
                match kind {
                    0 => proven = 0,
                    1 if bad_before => proven += later,
                    _ => {}
                }
                bad_before = kind == 1;
                if let Standing::Bad { lasting, fires, .. } = standing {
                    prop_assert!(lasting <= seconds(proven));
                    prop_assert_eq!(fires, lasting >= seconds(60));
                }
            }
        }
    }
}
