//! Whose fault it is when a request whose body was still coming gets no answer.

use crate::record::Reason;
use crate::upstream::body::{UploadState, UploadWatch};

/// The upload's own trouble counts before what it looked like from the version's side.
pub fn whose_fault(seen: Reason, watch: &UploadWatch) -> Reason {
    match watch.state() {
        UploadState::TooLarge => Reason::BodyTooLarge,
        UploadState::Stalled => Reason::SlowBody,
        UploadState::Broken => Reason::Malformed,
        UploadState::Open | UploadState::Complete => seen,
    }
}

/// No answer in time: the caller's fault where it was still sending.
pub fn timed_out(watch: &UploadWatch) -> Reason {
    match whose_fault(Reason::RequestTimeout, watch) {
        Reason::RequestTimeout if watch.state() == UploadState::Open && watch.is_waiting() => {
            Reason::SlowBody
        }
        reason => reason,
    }
}
