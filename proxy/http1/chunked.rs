//! The chunked coding (RFC 9112 §7.1). Strict: what another reader could take for something else is refused.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::framing::{BodyError, Piece};

/// A chunk's line: size and extensions.
const LINE_BYTES: usize = 4 * 1024;
/// Extensions of all chunks of a body together; nobody needs them, and they are thrown away.
const EXTENSION_BYTES: usize = 16 * 1024;
/// All trailers of a body.
const TRAILER_BYTES: usize = 16 * 1024;
/// Lines of trailers.
const TRAILERS: usize = 64;

/// Where a chunked body stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    extensions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A chunk's line is next.
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// A chunk's line end is next.
    End,
    /// Trailers are next, perhaps none.
    Trailers,
    /// Nothing is next.
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size,
            extensions: 0,
        }
    }
}

impl Chunked {
    /// Whether the last byte has been understood.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece in `buffer`.
    ///
    /// # Errors
    /// What is no chunked coding.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Piece, BodyError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = line(buffer, LINE_BYTES)? else {
                        return Ok(Piece::More);
                    };
                    let (size, extension) = size(&buffer[..line])?;
                    self.extensions += extension;
                    if self.extensions > EXTENSION_BYTES {
                        return Err(BodyError::Malformed);
                    }
                    buffer.advance(line + 2);
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(_) if buffer.is_empty() => return Ok(Piece::More),
                State::Data(left) => {
                    let here = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::End
                    } else {
                        State::Data(left)
                    };
                    return Ok(Piece::Data(buffer.split_to(here).freeze()));
                }
                State::End => match &buffer[..buffer.len().min(2)] {
                    b"\r\n" => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    b"" | b"\r" => return Ok(Piece::More),
                    _ => return Err(BodyError::Malformed),
                },
                State::Trailers => {
                    let Some((used, trailers)) = trailers(buffer)? else {
                        return Ok(Piece::More);
                    };
                    buffer.advance(used);
                    self.state = State::Done;
                    return Ok(if trailers.is_empty() {
                        Piece::End
                    } else {
                        Piece::Trailers(trailers)
                    });
                }
                State::Done => return Ok(Piece::End),
            }
        }
    }
}

/// The length of the first line, which ends in CR LF and holds no other control but tabs.
fn line(buffer: &[u8], most: usize) -> Result<Option<usize>, BodyError> {
    for (at, byte) in buffer.iter().enumerate().take(most) {
        match byte {
            b'\r' => {
                return match buffer.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(at)),
                    Some(_) => Err(BodyError::Malformed),
                };
            }
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return Err(BodyError::Malformed),
        }
    }
    if buffer.len() >= most {
        Err(BodyError::Malformed)
    } else {
        Ok(None)
    }
}

/// The chunk's size, and how long its extensions are.
fn size(line: &[u8]) -> Result<(u64, usize), BodyError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return Err(BodyError::Malformed);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| BodyError::Malformed)?;
    let size = u64::from_str_radix(text, 16).map_err(|_| BodyError::Malformed)?;
    let rest = &line[digits..];
    if are_extensions(rest) {
        Ok((size, rest.len()))
    } else {
        Err(BodyError::Malformed)
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1): what two readers could end at
/// different places is none.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = blanks(rest).strip_prefix(b";") else {
            return false;
        };
        let Some(after) = token(blanks(after)) else {
            return false;
        };
        rest = after;
        if let Some(value) = blanks(rest).strip_prefix(b"=") {
            let value = blanks(value);
            let Some(after) = token(value).or_else(|| quoted(value)) else {
                return false;
            };
            rest = after;
        }
    }
    true
}

/// What is behind the blanks.
fn blanks(text: &[u8]) -> &[u8] {
    &text[text
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count()..]
}

/// What is behind a token, if there is one.
fn token(text: &[u8]) -> Option<&[u8]> {
    match text.iter().take_while(|b| is_token(**b)).count() {
        0 => None,
        length => Some(&text[length..]),
    }
}

/// What is behind a quoted string, if there is one. There are no controls in the line but tabs.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', _, after @ ..] | [_, after @ ..] => rest = after,
            [] => return None,
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The trailers and the empty line behind them, once all of it is there.
fn trailers(buffer: &[u8]) -> Result<Option<(usize, HeaderMap)>, BodyError> {
    if buffer.starts_with(b"\r\n") {
        return Ok(Some((2, HeaderMap::new())));
    }
    let mut lines = [httparse::EMPTY_HEADER; TRAILERS];
    match httparse::parse_headers(buffer, &mut lines) {
        Ok(httparse::Status::Complete((used, _))) if used > TRAILER_BYTES => {
            Err(BodyError::Malformed)
        }
        Ok(httparse::Status::Complete((used, fields))) => {
            if super::head::has_bare_line_feed(&buffer[..used]) {
                return Err(BodyError::Malformed);
            }
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes())
                    .map_err(|_| BodyError::Malformed)?;
                let value =
                    HeaderValue::from_bytes(field.value).map_err(|_| BodyError::Malformed)?;
                trailers.append(name, value);
            }
            Ok(Some((used, trailers)))
        }
        Ok(httparse::Status::Partial) if buffer.len() < TRAILER_BYTES => Ok(None),
        _ => Err(BodyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Body, trailers, and what follows.
    type Seen = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    fn read(input: &[u8], step: usize) -> Result<Seen, BodyError> {
        let mut chunked = Chunked::default();
        let (mut buffer, mut body, mut trailers) = (BytesMut::new(), Vec::new(), None);
        let mut pieces = input.chunks(step);
        loop {
            match chunked.decode(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(t) => trailers = Some(t),
                Piece::End => break,
                Piece::More => match pieces.next() {
                    Some(more) => buffer.extend_from_slice(more),
                    None => return Err(BodyError::Incomplete),
                },
            }
        }
        let mut rest = buffer.to_vec();
        pieces.for_each(|p| rest.extend_from_slice(p));
        Ok((body, trailers, rest))
    }

    #[test]
    fn what_is_chunked_is_read_and_what_follows_is_left() {
        for (input, body, rest) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("005\r\nhello\r\n00\r\n\r\nGET", "hello", "GET"),
            ("A;x=1\r\n0123456789\r\n0;y\r\n\r\n", "0123456789", ""),
            ("1 ;a=\"b\"\r\nx\r\n0\r\n\r\n", "x", ""),
        ] {
            for step in [1, 2, 3, 100] {
                let (b, _, r) = read(input.as_bytes(), step).expect(input);
                assert_eq!(
                    (b.as_slice(), r.as_slice()),
                    (body.as_bytes(), rest.as_bytes()),
                    "{input:?} by {step}"
                );
            }
        }
    }

    #[test]
    fn trailers_are_read() {
        let (_, trailers, rest) = read(b"0\r\nGrpc-Status: 0\r\n\r\nX", 3).expect("trailers");
        assert_eq!(trailers.expect("some")["grpc-status"], "0");
        assert_eq!(rest, b"X");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for input in [
            "\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "5\nhello\r\n",
            " 5\r\nhello",
            "5 \r\nhello\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5;\r\nhello\r\n",
            "5;\rx\r\nhello",
            "5;a\nb\r\nhello",
            "5;a\0b\r\nhello",
            "5;[\r\nhello",
            "10000000000000000\r\nx",
            "G\r\n",
            "0\r\nbad name: x\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "5_0\r\n",
            "5,\r\nhello",
        ] {
            for step in [1, 100] {
                assert_eq!(
                    read(input.as_bytes(), step),
                    Err(BodyError::Malformed),
                    "{input:?}"
                );
            }
        }
    }

    #[test]
    fn lines_extensions_and_trailers_have_bounds() {
        let long = format!("5;{}\r\n", "a".repeat(LINE_BYTES));
        assert_eq!(read(long.as_bytes(), 1000), Err(BodyError::Malformed));
        let many = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(20);
        assert_eq!(read(many.as_bytes(), 1000), Err(BodyError::Malformed));
        let trailers = format!("0\r\nx: {}", "a".repeat(TRAILER_BYTES));
        assert_eq!(read(trailers.as_bytes(), 1000), Err(BodyError::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), step in 1usize..50) {
            let mut input = Vec::new();
            for chunk in &chunks {
                super::super::encode::chunk_head(&mut input, chunk.len());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\nrest");
            let (body, _, rest) = read(&input, step).expect("a body");
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(rest, b"rest");
        }

        #[test]
        fn no_bytes_break_it(input in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            let _ = read(&input, step);
        }
    }
}
