//! What speaks against a candidate, and why a rollout stands where it stands.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::evidence::Metric;

/// What sent a candidate back, or would.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Threshold: too many of its requests failed.
    ErrorRate,
    /// Threshold: too many of its requests were slow.
    Latency,
    /// Threshold: it failed too often in a row.
    ConsecutiveFailures,
    /// Threshold: none of its endpoints is healthy.
    NoEndpoint,
    /// Comparison: it fails more than stable does, in the sense of the metric.
    Compare(Metric),
    /// Comparison where nothing is left to compare with: more users fail than ever did.
    Absolute,
    /// What the proxy does not see by itself: the metric of this name.
    Business(String),
    /// Somebody asked for it.
    Operator,
    /// The file no longer has the rollout.
    File,
    /// It was not finished in time.
    Deadline,
}

impl Cause {
    /// The label of metrics and the word in histories.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::NoEndpoint => "no_endpoint",
            Self::Compare(Metric::Errors) => "compare_errors",
            Self::Compare(Metric::Slow) => "compare_slow",
            Self::Compare(Metric::Connect) => "compare_connect",
            Self::Absolute => "absolute",
            Self::Business(_) => "metric",
            Self::Operator => "operator",
            Self::File => "file",
            Self::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A guard fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which guard.
    pub cause: Cause,
    /// What was seen: `candidate 7.4 % errors of 1 312 requests in 30 s (allowed 5 %)`.
    pub text: String,
    /// The cohort that it speaks about, by its index; `None` is everybody.
    pub cohort: Option<usize>,
}

impl Verdict {
    /// A verdict about everybody.
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self {
            cause,
            text: text.into(),
            cohort: None,
        }
    }

    /// The same about one cohort alone.
    #[must_use]
    pub fn of_cohort(self, cohort: usize) -> Self {
        Self {
            cohort: Some(cohort),
            ..self
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Somebody's words in a reason are cut after so many characters.
pub const MAX_WORDS: usize = 500;

/// Why a rollout stands where it stands: one sentence for an operator, with numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reason {
    /// What went against the candidate, where something did.
    pub cause: Option<Cause>,
    /// The sentence.
    pub text: Cow<'static, str>,
}

impl Reason {
    /// A reason that blames nobody.
    pub(super) fn plain(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            cause: None,
            text: text.into(),
        }
    }

    /// What went against the candidate.
    pub(super) fn against(cause: Cause, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            cause: Some(cause),
            text: text.into(),
        }
    }

    /// The reason with somebody's own words after it.
    #[must_use]
    pub fn because(self, words: &str) -> Self {
        let words = words.trim();
        if words.is_empty() {
            return self;
        }
        // They end up in logs and on terminals, in one line.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let words: String = words.chars().take(MAX_WORDS).map(plain).collect();
        Self {
            text: format!("{}: {words}", self.text).into(),
            ..self
        }
    }
}

impl From<&Verdict> for Reason {
    fn from(verdict: &Verdict) -> Self {
        Self::against(verdict.cause.clone(), verdict.text.clone())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_word_and_is_read_back_from_a_journal() {
        let causes = [
            Cause::ErrorRate,
            Cause::Latency,
            Cause::ConsecutiveFailures,
            Cause::NoEndpoint,
            Cause::Compare(Metric::Errors),
            Cause::Compare(Metric::Slow),
            Cause::Compare(Metric::Connect),
            Cause::Absolute,
            Cause::Business("orders".into()),
            Cause::Operator,
            Cause::File,
            Cause::Deadline,
        ];
        let mut words: Vec<_> = causes.iter().map(Cause::as_str).collect();
        for cause in &causes {
            let written = serde_json::to_string(cause).unwrap();
            assert_eq!(&serde_json::from_str::<Cause>(&written).unwrap(), cause);
        }
        words.dedup();
        assert_eq!(words.len(), causes.len());
    }

    #[test]
    fn words_of_an_operator_follow_the_reason_and_are_bounded() {
        let reason = Reason::against(Cause::Operator, "rolled back by an operator");
        assert_eq!(reason.clone().because(" "), reason);
        assert_eq!(
            reason.clone().because(" too many complaints ").to_string(),
            "rolled back by an operator: too many complaints"
        );
        let long = reason.because(&"ü".repeat(10_000));
        assert!(long.text.chars().count() < MAX_WORDS + 40);
    }
}
