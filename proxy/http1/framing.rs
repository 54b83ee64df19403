//! How long a body is (RFC 9112 §6.3), and the decoder that finds its end.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::Chunked;

/// A body on its way in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decoder {
    /// Nothing (more).
    #[default]
    Done,
    /// So many bytes more.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// Until the connection ends. Only answers may be so.
    UntilClose,
}

/// What a decoder found.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// A part of the body.
    Data(Bytes),
    /// The fields behind it; nothing follows.
    Trailers(HeaderMap),
    /// Nothing follows.
    End,
    /// More bytes are needed.
    More,
}

/// Why a body cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not framed as HTTP wants it.
    #[error("the body's framing is malformed")]
    Malformed,
    /// The connection ended before it did.
    #[error("the body broke off")]
    Incomplete,
    /// The connection broke.
    #[error("the connection broke in a body")]
    Broken,
}

impl Decoder {
    /// Whether the last byte has been understood.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How long the rest is, where that is known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Counts bytes that went another way than through [`Decoder::decode`].
    pub fn passed(&mut self, bytes: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// The next piece in `buffer`. `closed` says that no more bytes come.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(&mut self, buffer: &mut BytesMut, closed: bool) -> Result<Piece, BodyError> {
        let piece = match self {
            Self::Done => Piece::End,
            Self::Length(_) | Self::UntilClose if buffer.is_empty() => Piece::More,
            Self::Length(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Piece::Data(buffer.split_to(here).freeze())
            }
            Self::UntilClose => Piece::Data(buffer.split().freeze()),
            Self::Chunked(chunked) => {
                let piece = chunked.decode(buffer)?;
                if chunked.is_done() {
                    *self = Self::Done;
                }
                piece
            }
        };
        match piece {
            Piece::More if closed && *self == Self::UntilClose => {
                *self = Self::Done;
                Ok(Piece::End)
            }
            Piece::More if closed => Err(BodyError::Incomplete),
            piece => Ok(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_it_said() {
        let mut decoder = Decoder::Length(5);
        let mut buffer = BytesMut::from(&b"helloGET"[..]);
        assert_eq!(
            decoder.decode(&mut buffer, false),
            Ok(Piece::Data(Bytes::from_static(b"hello")))
        );
        assert!(decoder.is_done());
        assert_eq!(&buffer[..], b"GET");
    }

    #[test]
    fn a_body_that_breaks_off_is_no_body() {
        let mut buffer = BytesMut::from(&b"hel"[..]);
        let mut decoder = Decoder::Length(5);
        assert!(matches!(
            decoder.decode(&mut buffer, true),
            Ok(Piece::Data(_))
        ));
        assert_eq!(
            decoder.decode(&mut buffer, true),
            Err(BodyError::Incomplete)
        );
        let mut until_close = Decoder::UntilClose;
        assert_eq!(
            until_close.decode(&mut buffer, true),
            Ok(Piece::End),
            "its end is the connection's"
        );
    }
}
