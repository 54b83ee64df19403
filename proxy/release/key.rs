//! What a rollback is remembered by: the latch key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_config::plan::{Carries, Plan, Rollout};
use xxhash_rust::xxh3::Xxh3;

/// The latch key: two digests, the first of *who* is tried on *whom* (the rollout's name, the candidate with its tags, the
/// salt), the second of *how* (stages, or the weight of a split). What was rolled back under a key stays back under it.
/// Endpoints, guards, windows, gates, bake and deadline are in neither.
///
/// As text, `<32 hex digits>-<32 hex digits>`, the same in every process and on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    subject: u128,
    plan: u128,
}

impl Key {
    /// The key of a rollout; `candidate` is the name of the version, `tags` are its tags in any order.
    pub fn new<'a>(
        rollout: &Rollout,
        candidate: &str,
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut tags: Vec<_> = tags.into_iter().collect();
        tags.sort_unstable();
        let mut subject = Digest::default();
        subject
            .text(&rollout.name)
            .text(candidate)
            .text(&rollout.salt);
        for (name, value) in tags {
            subject.text(name).text(value);
        }
        Self {
            subject: subject.finish(),
            plan: plan(&rollout.plan),
        }
    }

    /// Whether both are about the same candidate and the same users, by whatever steps.
    #[must_use]
    pub fn is_same_subject(&self, other: &Self) -> bool {
        self.subject == other.subject
    }
}

fn plan(plan: &Plan) -> u128 {
    let mut digest = Digest::default();
    match plan {
        Plan::Split(weight) => {
            digest.text("split").number(weight.parts().into());
        }
        Plan::Stages(stages) => {
            digest.text("stages");
            for stage in &stages.stages {
                match stage.carries {
                    Carries::Weight(share) => digest.text("weight").number(share.parts().into()),
                    Carries::ByEndpoints => digest.text("by_endpoints").number(0),
                    Carries::Mirror(share) => digest.text("mirror").number(share.parts().into()),
                };
                digest
                    .number(stage.hold.as_millis() as u64)
                    .number(stage.min_requests)
                    // One more than it is, so that none differs from zero.
                    .number(stage.max_hold.map_or(0, |most| 1 + most.as_millis() as u64))
                    .number(stage.approve.into());
            }
        }
    }
    digest.finish()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:032x}", self.subject, self.plan)
    }
}

/// A text that is no latch key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no latch key: expected two numbers of 32 hex digits with a `-` between them")]
pub struct BadKey;

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (subject, plan) = text.split_once('-').ok_or(BadKey)?;
        let number = |digits: &str| {
            let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex
                .then(|| u128::from_str_radix(digits, 16).ok())
                .flatten()
                .ok_or(BadKey)
        };
        Ok(Self {
            subject: number(subject)?,
            plan: number(plan)?,
        })
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A digest of a list in which no two lists look alike: every text goes in after its length.
#[derive(Default)]
struct Digest(Xxh3);

impl Digest {
    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn finish(&self) -> u128 {
        self.0.digest128()
    }
}
