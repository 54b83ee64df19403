//! Whose fault it is when a request whose body was still coming gets no answer.

use crate::record::Reason;
use crate::upstream::body::{UploadState, UploadWatch};

/// The upload's own trouble counts before what it looked like from the version's side.
pub fn whose_fault(seen: Reason, watch: &UploadWatch) -> Reason {
    match watch.state() {
        UploadState::TooLarge => Reason::BodyTooLarge,
        UploadState::Stalled => Reason::SlowBody,
        UploadState::Broken | UploadState::Gone => Reason::Malformed,
        UploadState::Open | UploadState::Complete => seen,
    }
}
