use bytes::BytesMut;
use http::Method;

use super::letter;
use crate::exchange::headers::toward_caller;
use crate::http1::head;
use crate::http1::tests::{Kind, agree};

/// What a version says is read as a plain reader reads it, wherever it is cut; what a caller would be told of it holds
/// nothing that concerns the version's connection alone. The first two bytes say where to cut.
pub(super) fn run(input: &[u8]) {
    let Some((cuts, stream)) = input.split_at_checked(2) else {
        return;
    };
    let cuts = [cuts[0], cuts[1]].map(|cut| usize::from(cut) * stream.len() / 256);
    if let Err(broken) = agree(Kind::Answers, stream, &cuts) {
        panic!("{broken}");
    }
    for asked in [Method::GET, Method::HEAD] {
        let Ok(Some(head)) = head::answer(&mut BytesMut::from(stream), &asked, 64 * 1024) else {
            continue;
        };
        let mut headers = head.parts.headers;
        toward_caller(&mut headers);
        let fields = crate::http1::tests::told(&headers);
        letter::has_no_hop_by_hop(&fields, &[]);
        letter::has_one_framing(&fields);
    }
}
