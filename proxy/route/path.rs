//! Routes by path: an exact one, then the longest prefix, then an expression, then those that take any path.

use tidegate_config as config;

use super::fast_map::FastMap;
use super::pattern::Pattern;

/// What a path must be, compiled.
#[derive(Debug, Clone)]
pub(super) enum PathRule {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Pattern),
}

impl PathRule {
    pub(super) fn compile(written: &config::PathMatch) -> Self {
        match written {
            config::PathMatch::Exact(path) => Self::Exact(path.as_str().into()),
            config::PathMatch::Prefix(path) => Self::Prefix(path.as_str().into()),
            config::PathMatch::Regex(regex) => Self::Regex(Pattern::new(regex)),
        }
    }

    pub(super) fn covers(&self, path: &str) -> bool {
        match self {
            Self::Exact(wanted) => path == &**wanted,
            // The empty prefix is `/`: it covers everything, also the `*` of OPTIONS.
            Self::Prefix(wanted) => {
                let rest = path.strip_prefix(&**wanted);
                wanted.is_empty()
                    || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => pattern.is_match(path),
        }
    }

    /// In words that follow "wanted".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Exact(path) => format!("exactly \"{path}\""),
            Self::Prefix(path) if path.is_empty() => "the prefix \"/\"".into(),
            Self::Prefix(path) => format!("the prefix \"{path}\""),
            Self::Regex(pattern) => format!("something that matches /{}/", pattern.as_str()),
        }
    }
}

/// The prefixes of a path that end where a segment does, the shortest first, none longer than `longest`.
pub(super) fn prefixes(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let bytes = path.as_bytes();
    let ends = memchr::memchr_iter(b'/', bytes).filter(|at| *at > 0);
    let whole = (!bytes.is_empty()).then_some(bytes.len());
    std::iter::once(0)
        .chain(ends)
        .chain(whole)
        .take_while(move |end| *end <= longest)
        .map(move |end| &path[..end])
}

/// The routes of one host, by path. Lists are in the order written.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: FastMap<Box<[u8]>, Vec<u32>>,
    prefixes: FastMap<Box<[u8]>, Vec<u32>>,
    longest_prefix: usize,
    expressions: Vec<(Pattern, u32)>,
    any: Vec<u32>,
}

impl Paths {
    pub(super) fn add(&mut self, path: Option<&PathRule>, route: u32) {
        match path {
            None => self.any.push(route),
            Some(PathRule::Regex(pattern)) => self.expressions.push((pattern.clone(), route)),
            Some(PathRule::Exact(path)) => self
                .exact
                .entry(path.as_bytes().into())
                .or_default()
                .push(route),
            Some(PathRule::Prefix(path)) => {
                self.longest_prefix = self.longest_prefix.max(path.len());
                self.prefixes
                    .entry(path.as_bytes().into())
                    .or_default()
                    .push(route);
            }
        }
    }

    /// The most specific route for a path among those that `fits` lets pass.
    pub(super) fn find(&self, path: &str, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let first = |routes: &Vec<u32>| routes.iter().copied().find(|route| fits(*route));
        if !self.exact.is_empty()
            && let Some(route) = self.exact.get(path.as_bytes()).and_then(first)
        {
            return Some(route);
        }
        if !self.prefixes.is_empty() {
            let known = prefixes(path, self.longest_prefix);
            let longest = known
                .filter_map(|p| self.prefixes.get(p.as_bytes()).and_then(first))
                .last();
            if longest.is_some() {
                return longest;
            }
        }
        let expression = self
            .expressions
            .iter()
            .find(|(pattern, route)| fits(*route) && pattern.is_match(path));
        expression
            .map(|(_, route)| *route)
            .or_else(|| first(&self.any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        let prefix = PathRule::Prefix("/a".into());
        for (path, covered) in [
            ("/a", true),
            ("/a/", true),
            ("/a/b", true),
            ("/ab", false),
            ("/", false),
            ("/b/a", false),
        ] {
            assert_eq!(prefix.covers(path), covered, "{path}");
        }
        assert!(
            ["/", "/x", "*"]
                .iter()
                .all(|path| PathRule::Prefix("".into()).covers(path))
        );
    }

    #[test]
    fn prefixes_end_with_segments() {
        assert_eq!(
            prefixes("/a/bc/", 99).collect::<Vec<_>>(),
            ["", "/a", "/a/bc", "/a/bc/"]
        );
        assert_eq!(prefixes("/a/bc/", 4).collect::<Vec<_>>(), ["", "/a"]);
        assert_eq!(prefixes("/", 9).collect::<Vec<_>>(), ["", "/"]);
        assert_eq!(prefixes("", 9).collect::<Vec<_>>(), [""]);
    }
}
