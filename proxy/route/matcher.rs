//! What a text must be, compiled.

use memchr::memmem::Finder;
use tidegate_config as config;

use super::pattern::Pattern;
use super::query;

/// A condition on the values of a header, a cookie or a query parameter. Of several values one must match.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    Regex(Pattern),
    Present(bool),
}

impl Text {
    pub(super) fn compile(written: &config::TextMatch) -> Self {
        match written {
            config::TextMatch::Exact(text) => Self::Exact(text.as_bytes().into()),
            config::TextMatch::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            config::TextMatch::Contains(text) => {
                Self::Contains(Box::new(Finder::new(text).into_owned()))
            }
            config::TextMatch::Regex(regex) => Self::Regex(Pattern::new(regex)),
            config::TextMatch::Present(wanted) => Self::Present(*wanted),
        }
    }

    /// Asked of values as they are.
    pub(super) fn holds<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Present(wanted) => values.next().is_some() == *wanted,
            _ => values.any(|value| self.is(value)),
        }
    }

    /// Asked of values that are percent-encoded.
    pub(super) fn holds_decoded<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Present(wanted) => values.next().is_some() == *wanted,
            Self::Exact(text) => values.any(|value| query::equals(value, text)),
            Self::Prefix(text) => values.any(|value| query::starts_with(value, text)),
            Self::Contains(_) | Self::Regex(_) => {
                values.any(|value| query::with_decoded(value, |v| self.is(v)))
            }
        }
    }

    fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Contains(finder) => finder.find(value).is_some(),
            // Expressions are written for text: bytes that are none match none.
            Self::Regex(pattern) => {
                std::str::from_utf8(value).is_ok_and(|text| pattern.is_match(text))
            }
            Self::Present(wanted) => *wanted,
        }
    }

    /// What is wanted, in words that follow "wanted".
    pub(super) fn describe(&self) -> String {
        let shown = |bytes: &[u8]| format!("\"{}\"", String::from_utf8_lossy(bytes));
        match self {
            Self::Exact(text) => format!("exactly {}", shown(text)),
            Self::Prefix(text) => format!("something that begins with {}", shown(text)),
            Self::Contains(finder) => format!("something that contains {}", shown(finder.needle())),
            Self::Regex(pattern) => format!("something that matches /{}/", pattern.as_str()),
            Self::Present(true) => "any value".into(),
            Self::Present(false) => "none".into(),
        }
    }
}
