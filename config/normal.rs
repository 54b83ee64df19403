//! One normalised path (RFC 3986 §6.2.2): it is what rules match and what the version gets, so that no other spelling of a
//! path reaches what a rule keeps closed. The paths of the file have the same form.
//!
//! Dot segments are resolved and runs of slashes become one. What a path may hold as it is (RFC 3986 §3.3) is written as
//! it is, all else as an escape in upper case. Only an escaped `;`, `=`, `&` or `+` stays one: some read a meaning into
//! them, and then not into their escapes. So does an encoded slash (`%2F`), where the listener lets it through. A dot
//! segment with parameters (`..;x`) is refused: some take them off and climb, others do not.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// `%` without two hexadecimal digits, `%00`, a backslash, `.;` or `..;`, or not beginning with a slash.
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
    if decoded
        .split('/')
        .any(|s| s.starts_with(".;") || s.starts_with("..;"))
    {
        return Err(BadPath::Malformed);
    }
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
            b'/' | b'.' if previous == b'/' => return false,
            b'/' => {}
            _ if !is_plain(byte) => return false,
            _ => {}
        }
        previous = byte;
    }
    true
}

fn decode(path: &[u8], encoded_slash: bool) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
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
                    c if is_plain(c) && !b";=&+".contains(&c) => out.push(char::from(c)),
                    c => escape(&mut out, c),
                }
            }
            b'/' => out.push('/'),
            c if is_plain(*c) => out.push(char::from(*c)),
            c => escape(&mut out, *c),
        }
    }
    Ok(out)
}

/// `pchar` of RFC 3986 §3.3, without escapes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
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
            ("/aé", "/a%C3%A9"),
            ("/%40a%3A%21", "/@a:!"),
            ("/a{b}|\"^`<>", "/a%7Bb%7D%7C%22%5E%60%3C%3E"),
            ("/a;b=c&d+e", "/a;b=c&d+e"),
            ("/a%3bb%3Dc%26d%2be", "/a%3Bb%3Dc%26d%2Be"),
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
        fn the_normal_form_is_normal(path in "/[a-c./%2eEfF5é@{;\\\\]{0,24}", slash: bool) {
            if let Ok(once) = normalise(&path, slash) {
                let twice = normalise(&once, slash).expect("a normal path is a path");
                prop_assert_eq!(twice.as_ref(), once.as_ref());
                prop_assert!(!once.contains("//") && !once.contains("/../") && !once.contains("/./"));
            }
        }
    }
}
