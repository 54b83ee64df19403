//! The client's half of an HTTP/1.1 connection: answers in, requests out, one at a time.

use std::time::Instant;

use memchr::memmem;

use crate::load::Round;
use crate::origin::header;

/// A head that is longer than this is no answer of ours.
const MAX_HEAD: usize = 16 * 1024;

/// One connection's request and answer.
#[derive(Default)]
pub(crate) struct Exchange {
    /// When the request that is under way was begun.
    began: Option<Instant>,
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is there.
    left: Option<usize>,
}

impl Exchange {
    /// Whether an answer is awaited: the connection must not end now.
    pub(crate) fn is_under_way(&self) -> bool {
        self.began.is_some()
    }

    /// Since when an answer is awaited.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.began
    }

    /// Writes the next request, unless the round is over.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, round: &mut Round) {
        if let Some(began) = round.begin() {
            out.extend_from_slice(round.requests.next());
            self.began = Some(began);
        }
    }

    /// Takes what has arrived and, after a whole answer on a connection that stays, writes the next request.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        round: &mut Round,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some(began) = self.began else {
                return Err("bytes that nobody asked for".into());
            };
            let left = match self.left {
                Some(left) => left,
                None => match self.head(&mut bytes)? {
                    Some(length) => length,
                    None => return Ok(()),
                },
            };
            let taken = left.min(bytes.len());
            bytes = &bytes[taken..];
            self.left = Some(left - taken);
            if left == taken {
                self.left = None;
                self.began = None;
                round.finish(began);
                if !round.one_each {
                    self.begin(out, round);
                }
            }
        }
        Ok(())
    }

    /// Reads the head, moves past it and tells the body's length; `None` while it is not whole.
    fn head(&mut self, bytes: &mut &[u8]) -> Result<Option<usize>, String> {
        let whole = memmem::find(bytes, b"\r\n\r\n");
        if let (true, Some(end)) = (self.head.is_empty(), whole) {
            let length = body_length(&bytes[..end + 2])?;
            *bytes = &bytes[end + 4..];
            return Ok(Some(length));
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
            *bytes = &[];
            return if self.head.len() < MAX_HEAD {
                Ok(None)
            } else {
                Err("an answer's head without an end".into())
            };
        };
        let length = body_length(&self.head[..end + 2])?;
        *bytes = &bytes[end + 4 - before..];
        self.head.clear();
        Ok(Some(length))
    }
}

fn body_length(head: &[u8]) -> Result<usize, String> {
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!(
            "answered {:?}",
            String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or(head))
        ));
    }
    header(head, b"content-length")
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
        .ok_or_else(|| "an answer without a content-length".into())
}
