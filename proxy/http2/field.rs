//! One field of a head, understood once: what the table of the compression knows is not read again for each request.

use bytes::Bytes;
use http::Method;
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;

/// A field.
#[derive(Debug, Clone)]
pub enum Field {
    /// `:method`.
    Method(Method),
    /// `:scheme`.
    Scheme(Scheme),
    /// `:path`: begins with `/`, or is `*`; has no fragment.
    Path(PathAndQuery),
    /// `:authority`. What a host is, the screen knows.
    Authority(HeaderValue),
    /// A regular one.
    Line(HeaderName, HeaderValue),
    /// One that no request may have (RFC 9113 §8.2.1, §8.3).
    Malformed,
}

/// What a field's name is, for one that is sent with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:path`.
    Path,
    /// `:authority`.
    Authority,
    /// A regular one.
    Line(HeaderName),
    /// No name, or a pseudo field's that no request may have.
    Malformed,
}

/// `:scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Of this proxy's requests.
    Http,
    /// Encrypted, at least on its first hop.
    Https,
}

impl Name {
    /// A name as it was sent: lower case, and of a pseudo field one that requests have.
    pub fn parse(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            // A colon in front or inside is no token.
            _ => HeaderName::from_lowercase(name).map_or(Self::Malformed, Self::Line),
        }
    }
}

impl Field {
    /// The field `name` with a value as it was sent.
    pub fn new(name: Name, value: Bytes) -> Self {
        match name {
            Name::Method => Method::from_bytes(&value).map_or(Self::Malformed, Self::Method),
            Name::Scheme => scheme(&value).map_or(Self::Malformed, Self::Scheme),
            Name::Path => path(value).map_or(Self::Malformed, Self::Path),
            Name::Authority => line(value).map_or(Self::Malformed, Self::Authority),
            Name::Line(name) => {
                line(value).map_or(Self::Malformed, |value| Self::Line(name, value))
            }
            Name::Malformed => Self::Malformed,
        }
    }

    /// The same, which whoever sends it on must not put into a table either (RFC 7541 §7.1.3).
    pub fn sensitive(mut self) -> Self {
        if let Self::Line(_, value) = &mut self {
            value.set_sensitive(true);
        }
        self
    }
}

/// A value holds no control character but the tab, and neither begins nor ends in blanks (RFC 9113 §8.2.1).
fn line(value: Bytes) -> Option<HeaderValue> {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return None;
    }
    HeaderValue::from_maybe_shared(value).ok()
}

fn path(value: Bytes) -> Option<PathAndQuery> {
    // A fragment is the client's alone: whoever reads on behind it, and whoever does not, disagree.
    let begins = value.first() == Some(&b'/') || &value[..] == b"*";
    if !begins || memchr::memchr(b'#', &value).is_some() {
        return None;
    }
    PathAndQuery::from_maybe_shared(value).ok()
}

/// Anything else is asked of the wrong proxy.
fn scheme(value: &[u8]) -> Option<Scheme> {
    match value {
        b"http" => Some(Scheme::Http),
        b"https" => Some(Scheme::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(name: &str, value: &str) -> bool {
        let value = Bytes::copy_from_slice(value.as_bytes());
        !matches!(
            Field::new(Name::parse(name.as_bytes()), value),
            Field::Malformed
        )
    }

    #[test]
    fn what_could_become_another_line_is_no_field() {
        for (name, value) in [
            ("x-a", "b\r\nx-inj: 1"),
            ("x-a", "b\nc"),
            ("x-a", "b\rc"),
            ("x-a", "b\0c"),
            ("x-a", " b"),
            ("x-a", "b\t"),
            ("X-A", "b"),
            ("x a", "b"),
            ("x:a", "b"),
            ("", "b"),
            (":status", "200"),
            (":foo", "b"),
            (":path", ""),
            (":path", "hello"),
            (":path", "/a b"),
            (":path", "/a\0b"),
            (":path", "/a#b"),
            (":path", "http://evil/x"),
            (":path", "*x"),
            (":method", ""),
            (":method", "GET /x HTTP/1.1\r\nX: "),
            (":scheme", ""),
            (":scheme", "ftp"),
            (":scheme", "http://evil/?x="),
            (":authority", "t\r\nx: y"),
        ] {
            assert!(!fits(name, value), "{name:?}: {value:?}");
        }
        for (name, value) in [
            ("x-a", ""),
            ("x-a", "b \t c"),
            ("x_a", "\u{e9}"),
            (":path", "/"),
            (":path", "*"),
            (":path", "/a?b=c"),
            (":method", "M-SEARCH"),
            (":scheme", "https"),
            (":authority", "a:80"),
        ] {
            assert!(fits(name, value), "{name:?}: {value:?}");
        }
    }
}
