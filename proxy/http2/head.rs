//! From fields to a request (RFC 9113 §8). What is not exactly one request is none: what goes on to a version is written
//! anew from what is held here, so nothing that was sent can become a line, or a message, of its own.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};

use super::field::{Field, Scheme};
use super::hpack::Sink;
use super::settings::Bounds;
use crate::http1::head::{length, spare};

/// Why fields are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// They are no HTTP (RFC 9113 §8.1.1).
    Malformed,
    /// They are too many, or too long.
    TooLarge,
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, headers.
    pub parts: request::Parts,
    /// How long its body says it is.
    pub length: Option<u64>,
}

impl RequestHead {
    /// Whether its body comes only after it was asked for (RFC 9110 §10.1.1).
    pub fn expects(&self) -> bool {
        let expected = self.parts.headers.get(header::EXPECT);
        expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }
}

/// The fields of one block, as far as they have come.
#[derive(Debug)]
pub struct Gathering {
    kind: Block,
    left: Bounds,
    error: Option<HeadError>,
    method: Option<Method>,
    scheme: Option<Scheme>,
    path: Option<PathAndQuery>,
    authority: Option<HeaderValue>,
    headers: HeaderMap,
    /// A regular field has come: no pseudo field may follow.
    regular: bool,
    length: Option<u64>,
    /// Of the cookie, what came before (RFC 9113 §8.2.3).
    cookie: Option<Crumbs>,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// A request begins with it.
    Head,
    /// A request ends with it.
    Trailers,
}

/// The pieces of a cookie.
#[derive(Debug)]
enum Crumbs {
    One(HeaderValue),
    More(BytesMut),
}

impl Gathering {
    /// Takes the fields of a block, up to the bounds.
    pub fn new(kind: Block, bounds: Bounds) -> Self {
        Self {
            kind,
            left: bounds,
            error: None,
            method: None,
            scheme: None,
            path: None,
            authority: None,
            headers: match kind {
                Block::Head => spare(),
                Block::Trailers => HeaderMap::new(),
            },
            regular: false,
            length: None,
            cookie: None,
        }
    }

    /// The request whose head this was. `ends` says that it has no body.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn request(mut self, ends: bool) -> Result<RequestHead, HeadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let method = self.method.ok_or(HeadError::Malformed)?;
        let uri = match (self.path, self.scheme) {
            // Asks for a connection, not for a resource (RFC 9113 §8.5). The gate says that there are none.
            (None, None) if method == Method::CONNECT => Uri::default(),
            (Some(path), Some(_)) if method != Method::CONNECT => {
                if path.path() == "*" && method != Method::OPTIONS {
                    return Err(HeadError::Malformed);
                }
                Uri::from(path)
            }
            _ => return Err(HeadError::Malformed),
        };
        if ends && self.length.is_some_and(|length| length > 0) {
            return Err(HeadError::Malformed);
        }
        if let Some(authority) = self.authority {
            tell_host(&mut self.headers, authority);
        }
        match self.cookie {
            Some(Crumbs::One(value)) => {
                self.headers.insert(header::COOKIE, value);
            }
            Some(Crumbs::More(joined)) => {
                let value = HeaderValue::from_maybe_shared(joined.freeze());
                let value = value.map_err(|_| HeadError::Malformed)?;
                self.headers.insert(header::COOKIE, value);
            }
            None => {}
        }
        let mut parts = http::Request::new(()).into_parts().0;
        (parts.method, parts.uri) = (method, uri);
        (parts.version, parts.headers) = (Version::HTTP_2, self.headers);
        Ok(RequestHead {
            parts,
            length: self.length,
        })
    }

    /// The trailers that this was.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn trailers(self) -> Result<HeaderMap, HeadError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.headers),
        }
    }

    fn fail(&mut self, error: HeadError) {
        // The first one, but for what can be read in no way at all: that is said rather than that it was too long.
        if self.error != Some(HeadError::Malformed) {
            self.error = Some(error);
        }
    }

    fn line(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), HeadError> {
        self.regular = true;
        match name {
            header::COOKIE if self.kind == Block::Head => {
                self.cookie = Some(join(self.cookie.take(), value));
                return Ok(());
            }
            header::CONTENT_LENGTH if self.kind == Block::Head => {
                let length = length(value.as_bytes()).ok_or(HeadError::Malformed)?;
                if self.length.is_some_and(|known| known != length) {
                    return Err(HeadError::Malformed);
                }
                self.length = Some(length);
            }
            header::TE if value.as_bytes() != b"trailers" => return Err(HeadError::Malformed),
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => {
                return Err(HeadError::Malformed);
            }
            ref name if is_of_connections(name) => return Err(HeadError::Malformed),
            _ => {}
        }
        self.headers
            .try_append(name, value)
            .map_err(|_| HeadError::TooLarge)?;
        Ok(())
    }
}

impl Sink for Gathering {
    #[inline]
    fn wants(&mut self, bytes: usize) -> bool {
        let fits = self.left.bytes.checked_sub(bytes);
        match fits {
            Some(left) => self.left.bytes = left,
            None => {
                self.left.bytes = 0;
                self.fail(HeadError::TooLarge);
            }
        }
        self.error.is_none()
    }

    fn take(&mut self, field: Field) {
        let taken = match field {
            Field::Line(name, value) => match self.left.lines.checked_sub(1) {
                Some(left) => {
                    self.left.lines = left;
                    self.line(name, value)
                }
                None => Err(HeadError::TooLarge),
            },
            Field::Malformed => Err(HeadError::Malformed),
            _ if self.regular || self.kind == Block::Trailers => Err(HeadError::Malformed),
            Field::Method(method) => once(&mut self.method, method),
            Field::Scheme(scheme) => once(&mut self.scheme, scheme),
            Field::Path(path) => once(&mut self.path, path),
            Field::Authority(authority) => once(&mut self.authority, authority),
        };
        if let Err(error) = taken {
            self.fail(error);
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), HeadError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Malformed),
    }
}

/// `:authority` is what `Host` is to HTTP/1.1, and stands in its place. Where both are sent and differ, both stay, and the
/// screen refuses what names two hosts.
fn tell_host(headers: &mut HeaderMap, authority: HeaderValue) {
    let same = headers
        .get(header::HOST)
        .is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
    if same && headers.get_all(header::HOST).iter().nth(1).is_none() {
        headers.insert(header::HOST, authority);
    } else {
        headers.append(header::HOST, authority);
    }
}

/// Fields that concern a connection of HTTP/1.1 (RFC 9113 §8.2.2), and have no name of their own in the library.
fn is_of_connections(name: &HeaderName) -> bool {
    matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn join(crumbs: Option<Crumbs>, value: HeaderValue) -> Crumbs {
    let mut joined = match crumbs {
        None => return Crumbs::One(value),
        Some(Crumbs::One(first)) => BytesMut::from(first.as_bytes()),
        Some(Crumbs::More(joined)) => joined,
    };
    joined.extend_from_slice(b"; ");
    joined.extend_from_slice(value.as_bytes());
    Crumbs::More(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::field::Name;

    fn spelt(name: &str, value: &str) -> Field {
        let value = bytes::Bytes::copy_from_slice(value.as_bytes());
        Field::new(Name::parse(name.as_bytes()), value)
    }

    const BOUNDS: Bounds = Bounds {
        streams: 1,
        bytes: 1000,
        lines: 10,
    };
    const GET: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/p"),
        (":authority", "t"),
    ];

    fn gather(kind: Block, fields: &[(&str, &str)]) -> Gathering {
        let mut gathering = Gathering::new(kind, BOUNDS);
        for (name, value) in fields {
            if gathering.wants(name.len() + value.len() + 32) {
                gathering.take(spelt(name, value));
            }
        }
        gathering
    }

    fn read(more: &[(&str, &str)]) -> Result<RequestHead, HeadError> {
        gather(Block::Head, &[GET, more].concat()).request(false)
    }

    #[test]
    fn a_request_is_what_it_says() {
        let head = read(&[("x-a", "1"), ("content-length", "5")]).expect("a request");
        assert_eq!((head.parts.method, head.length), (Method::GET, Some(5)));
        assert_eq!(head.parts.uri, "/p");
        assert_eq!(head.parts.headers["host"], "t");
        assert_eq!(head.parts.headers["x-a"], "1");
        assert_eq!(head.parts.version, Version::HTTP_2);
    }

    #[test]
    fn h2_01_fields_of_a_connection_are_malformed() {
        for (name, value) in [
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
        ] {
            let read = read(&[(name, value)]);
            assert_eq!(read.err(), Some(HeadError::Malformed), "{name}: {value}");
        }
        assert!(read(&[("te", "trailers")]).is_ok());
    }

    #[test]
    fn h2_03_pseudo_fields_come_first_once_and_only_where_they_may() {
        for more in [
            &[("x-a", "b"), (":authority", "t")][..],
            &[(":authority", "evil")],
            &[(":path", "/q")],
            &[(":method", "POST")],
            &[(":scheme", "https")],
            &[(":status", "200")],
            &[(":protocol", "websocket")],
        ] {
            assert_eq!(read(more).err(), Some(HeadError::Malformed), "{more:?}");
        }
        let trailers = gather(Block::Trailers, &[(":path", "/smuggled")]).trailers();
        assert_eq!(trailers.err(), Some(HeadError::Malformed));
    }

    #[test]
    fn h2_04_method_scheme_and_path_must_be_there() {
        for without in 0..3 {
            let mut fields = GET.to_vec();
            fields.remove(without);
            let read = gather(Block::Head, &fields).request(true);
            assert_eq!(read.err(), Some(HeadError::Malformed), "{fields:?}");
        }
        let star = |method| {
            let fields = [(":method", method), (":scheme", "http"), (":path", "*")];
            gather(Block::Head, &fields).request(true)
        };
        assert!(star("OPTIONS").is_ok());
        assert_eq!(star("GET").err(), Some(HeadError::Malformed));
        let connect = [(":method", "CONNECT"), (":authority", "x:443")];
        assert!(gather(Block::Head, &connect).request(true).is_ok());
        let more = [&connect[..], &[(":path", "/"), (":scheme", "http")]].concat();
        assert!(gather(Block::Head, &more).request(true).is_err());
    }

    #[test]
    fn h2_06_two_words_about_the_host_stay_two() {
        let hosts = |more: &[(&str, &str)]| {
            let head = read(more).expect("for the screen to refuse");
            head.parts.headers.get_all("host").iter().count()
        };
        assert_eq!(hosts(&[("host", "T")]), 1, "the same");
        assert_eq!(hosts(&[("host", "evil")]), 2);
        assert!(hosts(&[("host", "t"), ("host", "t")]) > 1);
    }

    #[test]
    fn h2_10_crumbs_of_a_cookie_are_one_cookie() {
        let head = read(&[
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
        ]);
        let head = head.expect("a request").parts;
        let all: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn a_length_is_one_number() {
        for bad in ["", "+5", "5, 5", "0x5", "18446744073709551616"] {
            let read = read(&[("content-length", bad)]);
            assert_eq!(read.err(), Some(HeadError::Malformed), "{bad:?}");
        }
        let two = read(&[("content-length", "5"), ("content-length", "6")]);
        assert_eq!(two.err(), Some(HeadError::Malformed));
        let fields = [GET, &[("content-length", "5")]].concat();
        let none = gather(Block::Head, &fields).request(true);
        assert_eq!(none.err(), Some(HeadError::Malformed), "nothing follows");
    }

    #[test]
    fn ds_09_what_is_too_much_is_too_much_after_decoding() {
        let many: Vec<_> = (0..11).map(|_| ("x-a", "1")).collect();
        assert_eq!(read(&many).err(), Some(HeadError::TooLarge));
        let crumbs: Vec<_> = (0..11).map(|_| ("cookie", "1")).collect();
        assert_eq!(read(&crumbs).err(), Some(HeadError::TooLarge));
        let long = "y".repeat(900);
        assert_eq!(read(&[("x-a", &long)]).err(), Some(HeadError::TooLarge));
    }
}
