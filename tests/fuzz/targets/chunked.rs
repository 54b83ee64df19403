use bytes::BytesMut;

use crate::http1::chunked::Chunked;
use crate::http1::framing::{BodyError, Piece};
use crate::http1::tests::{Chunks, End, chunks, told};

/// Longer inputs are not cut at every place.
const LONGEST: usize = 400;

/// Body, trailers, and how much was left.
type Seen = Result<(Vec<u8>, Vec<(String, Vec<u8>)>, usize), BodyError>;

/// The decoder reads what a plain one reads, wherever the bytes are cut.
pub(super) fn run(input: &[u8]) {
    let input = &input[..input.len().min(LONGEST)];
    let whole = read(&[input]);
    agree(input, &whole);
    for at in 0..=input.len() {
        let (before, behind) = input.split_at(at);
        assert_eq!(read(&[before, behind]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(&bytes), whole, "byte by byte");
}

fn read(pieces: &[&[u8]]) -> Seen {
    let mut chunked = Chunked::default();
    let (mut buffer, mut body, mut trailers) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut pieces = pieces.iter();
    loop {
        match chunked.decode(&mut buffer)? {
            Piece::Data(data) => {
                assert!(
                    !data.is_empty(),
                    "an empty piece: whoever writes it ends the body"
                );
                body.extend_from_slice(&data);
            }
            Piece::Trailers(fields) => trailers = told(&fields),
            Piece::End => break,
            Piece::More => match pieces.next() {
                Some(more) => buffer.extend_from_slice(more),
                None => return Err(BodyError::Incomplete),
            },
        }
        if chunked.is_done() {
            break;
        }
    }
    let left = buffer.len() + pieces.map(|piece| piece.len()).sum::<usize>();
    Ok((body, trailers, left))
}

/// The decoder may see sooner that something goes wrong.
fn agree(input: &[u8], seen: &Seen) {
    let plain: Result<Chunks<'_>, End> = chunks(input);
    match (seen, plain) {
        (Ok(seen), Ok((body, trailers, rest))) => {
            assert_eq!(*seen, (body, trailers, rest.len()));
        }
        (Err(_), Err(_)) | (_, Err(End::Unknown)) => {}
        (seen, plain) => panic!("the decoder read {seen:?}, a plain reader {plain:?}"),
    }
}
