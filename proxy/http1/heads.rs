//! The heads of requests, one after the other, out of what comes on a connection.

use bytes::{Buf as _, BytesMut};

use super::head::{self, Bounds, HeadError, RequestHead};

/// Reads the heads of requests out of what comes on a connection.
#[derive(Debug, Default)]
pub struct Heads {
    /// Of a head that is not whole, what was looked at.
    seen: usize,
}

impl Heads {
    /// Takes a request's head out of `buffer`; `None` when it is not whole.
    ///
    /// One that dribbles is not looked at with each byte, but at the ends of its lines, where a byte is in it that no line
    /// has, over its bound, and once there is twice as much.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        bounds: Bounds,
    ) -> Result<Option<RequestHead>, HeadError> {
        // Empty lines before a request are an old habit (RFC 9112 §2.2).
        while buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.seen = 0;
        }
        let news = buffer.get(self.seen..).unwrap_or_default();
        let much = buffer.len() >= 2 * self.seen || buffer.len() > bounds.bytes;
        if news.is_empty() || !(much || news.iter().any(u8::is_ascii_control)) {
            return Ok(None);
        }
        let head = head::request(buffer, self.seen, bounds);
        self.seen = match head {
            Ok(None) => buffer.len(),
            _ => 0,
        };
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 4000,
        lines: 100,
    };

    /// Feeds a byte at a time; how often it was looked at, and what came of it.
    fn dribble(text: &[u8]) -> (usize, Result<Option<RequestHead>, HeadError>) {
        let (mut heads, mut buffer, mut looks) = (Heads::default(), BytesMut::new(), 0);
        for byte in text {
            buffer.extend_from_slice(&[*byte]);
            let before = heads.seen;
            let read = heads.next(&mut buffer, BOUNDS);
            looks += usize::from(heads.seen != before);
            if !matches!(read, Ok(None)) {
                return (looks, read);
            }
        }
        (looks, Ok(None))
    }

    #[test]
    fn a_head_that_dribbles_is_read_at_once_when_it_is_whole_and_seldom_before() {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "a".repeat(900)
        );
        let (looks, read) = dribble(text.as_bytes());
        assert!(read.expect("valid").is_some());
        assert!(looks <= 20, "{looks} looks at {} bytes", text.len());
    }

    #[test]
    fn a_head_that_dribbles_is_refused_where_it_goes_wrong() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        for wrong in ["\0", "\n", "b\r \r", "\x7f", "b\r\nno colon\r\n"] {
            let (_, read) = dribble(format!("{start}{wrong}").as_bytes());
            assert_eq!(read.map(drop), Err(HeadError::Malformed), "{wrong:?}");
        }
        let (_, read) = dribble(format!("{start}{}", "b".repeat(BOUNDS.bytes)).as_bytes());
        let too_large = HeadError::TooLarge { target: false };
        assert_eq!(read.map(drop), Err(too_large));
    }

    #[test]
    fn a_head_that_came_in_two_pieces_leaves_nothing_to_the_next() {
        let (long, short) = (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        );
        let (first, second) = long.split_at(short.len());
        let (mut heads, mut buffer) = (Heads::default(), BytesMut::from(first));
        let mut is_whole = |more: &[u8]| {
            buffer.extend_from_slice(more);
            heads.next(&mut buffer, BOUNDS).expect("valid").is_some()
        };
        assert!(!is_whole(b""));
        assert!(is_whole(second));
        assert!(is_whole(short));
        assert!(!is_whole(b"\r"));
        assert!(is_whole(&[&b"\n"[..], short].concat()));
    }
}
