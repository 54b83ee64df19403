//! What an error over HTTP/2 says: whose doing it was, and what became of the request.

use std::error::Error;
use std::io;

use h2::Reason;

use crate::record::FailureKind;

/// How a try failed whose connection or stream ended so before an answer.
pub fn before_answer(error: &hyper::Error) -> FailureKind {
    if is_malformed(error) {
        FailureKind::Garbage
    } else {
        FailureKind::Reset
    }
}

/// How an answer failed whose body ended so.
pub fn in_answer(error: &hyper::Error) -> FailureKind {
    if is_malformed(error) {
        FailureKind::Garbage
    } else if is_end(error) {
        FailureKind::Truncated
    } else {
        FailureKind::Reset
    }
}

/// The other end said what is no HTTP/2 (RFC 9113 §5.4, §8.1.1), and was found out here; it saying the same of this end
/// is another matter.
pub fn is_malformed(error: &hyper::Error) -> bool {
    told(error).is_some_and(|e| e.is_library() && e.reason() != Some(Reason::NO_ERROR))
}

/// The other end says that it has not looked at the request: it may be sent again, whatever it does (RFC 9113 §8.7).
/// Of a GOAWAY only the streams hear that come after the last one that was looked at.
pub fn is_refused(error: &hyper::Error) -> bool {
    let refused = |e: &h2::Error| e.is_go_away() || e.reason() == Some(Reason::REFUSED_STREAM);
    told(error).is_some_and(|e| e.is_remote() && refused(e))
}

/// The connection ended without a word.
fn is_end(error: &hyper::Error) -> bool {
    let told = told(error).and_then(h2::Error::get_io);
    told.or_else(|| cause(error))
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn told(error: &hyper::Error) -> Option<&h2::Error> {
    cause(error)
}

/// The first error of this type among the causes.
fn cause<E: Error + 'static>(error: &hyper::Error) -> Option<&E> {
    std::iter::successors(error.source(), |e| (*e).source()).find_map(|e| e.downcast_ref())
}
