//! One normalised path (RFC 3986 §6.2.2): it is what rules match and what the version gets, so that no other spelling of a
//! path reaches what a rule keeps closed.
//!
//! Dot segments are resolved, runs of slashes become one, percent-encoded unreserved characters are decoded, other
//! escapes are written in upper case. An encoded slash (`%2F`) stays as it is where the listener lets it through.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// `%` without two hexadecimal digits, `%00`, a backslash, or not beginning with a slash.
    Malformed,
    /// `%2F` (or `%5C`) where the listener does not let it through.
    EncodedSlash,
}

/// The normal form of `path`, borrowed where it is that already.
///
/// # Errors
/// [`BadPath`].
pub fn normalise(path: &str, encoded_slash: bool) -> Result<Cow<'_, str>, BadPath> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(BadPath::Malformed);
    }
    let decoded = decode(path.as_bytes(), encoded_slash)?;
    Ok(Cow::Owned(resolve(&decoded)))
}

/// Begins with a slash and holds nothing that needs a second look.
fn is_normal(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'%' | b'\\' | 0 => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => {}
        }
        previous = byte;
    }
    true
}

fn decode(path: &[u8], encoded_slash: bool) -> Result<String, BadPath> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'\\' | 0 => return Err(BadPath::Malformed),
            b'%' => {
                let [high, low, tail @ ..] = tail else {
                    return Err(BadPath::Malformed);
                };
                rest = tail;
                match (hex(*high)? << 4) | hex(*low)? {
                    0 => return Err(BadPath::Malformed),
                    b'/' | b'\\' if !encoded_slash => return Err(BadPath::EncodedSlash),
                    c if c.is_ascii_alphanumeric() || b"-._~".contains(&c) => out.push(c),
                    _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            other => out.push(*other),
        }
    }
    String::from_utf8(out).map_err(|_| BadPath::Malformed)
}

fn hex(digit: u8) -> Result<u8, BadPath> {
    (digit as char)
        .to_digit(16)
        .map(|d| d as u8)
        .ok_or(BadPath::Malformed)
}

/// RFC 3986 §5.2.4, with runs of slashes taken as one.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/').skip(1) {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_slash || kept.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_path_has_one_form() {
        for (written, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/../admin", "/admin"),
            ("/%2e%2e/admin", "/admin"),
            ("/a/%2E/b", "/a/b"),
            ("//admin", "/admin"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/../..", "/"),
            ("/%41%7e", "/A~"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a;x=1/../b", "/b"),
            ("/.hidden", "/.hidden"),
            ("/a..b", "/a..b"),
            ("/...", "/..."),
        ] {
            assert_eq!(
                normalise(written, false).as_deref(),
                Ok(normal),
                "{written}"
            );
        }
    }

    #[test]
    fn an_encoded_slash_passes_only_where_it_may() {
        assert_eq!(normalise("/a%2fb", false), Err(BadPath::EncodedSlash));
        assert_eq!(normalise("/a%5cb", false), Err(BadPath::EncodedSlash));
        assert_eq!(normalise("/a%2fb", true).as_deref(), Ok("/a%2Fb"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for written in ["/%", "/%4", "/%zz", "/a%00", "/a\\b", "a/b", ""] {
            assert_eq!(
                normalise(written, true),
                Err(BadPath::Malformed),
                "{written}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "/[a-c./%2eEfF5\\\\]{0,24}", slash: bool) {
            if let Ok(once) = normalise(&path, slash) {
                let twice = normalise(&once, slash).expect("a normal path is a path");
                prop_assert_eq!(twice.as_ref(), once.as_ref());
                prop_assert!(!once.contains("//") && !once.contains("/../") && !once.contains("/./"));
            }
        }
    }
}
