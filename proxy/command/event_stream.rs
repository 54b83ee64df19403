//! Server-sent events, read from bytes as they arrive (the text format of the HTML standard, as far as the admin API
//! writes it).

/// The most bytes of one event; the API's are below a thousandth of it.
const EVENT_BYTES: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `event:`; `message` where it has none.
    pub kind: String,
    /// Its `data:` lines.
    pub text: String,
}

/// An event that does not end within the bytes that one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {EVENT_BYTES} bytes")]
pub struct TooLong;

/// What has arrived of the next event.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    kind: String,
    lines: Vec<String>,
    bytes: usize,
}

impl Reader {
    /// Takes bytes in, and gives the events that they complete. A comment completes none: it keeps the connection alive.
    ///
    /// # Errors
    /// Where an event is too long to be one.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.bytes += piece.len();
            if self.bytes > EVENT_BYTES {
                return Err(TooLong);
            }
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&String::from_utf8_lossy(&line)));
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.end_event();
        }
        if line.starts_with(':') {
            // Comments alone never add up to an event that is too long.
            if self.lines.is_empty() {
                self.bytes = 0;
            }
            return None;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => self.lines.push(value.to_owned()),
            // `id` and `retry` are for clients that come back.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        self.bytes = 0;
        let kind = std::mem::take(&mut self.kind);
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return None;
        }
        Some(Event {
            kind: if kind.is_empty() {
                "message".to_owned()
            } else {
                kind
            },
            text: lines.join("\n"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": keep-alive\n\nevent: shift\ndata: {\"to\":25}\n\nid: 7\ndata: one\ndata: two\r\n\r\nevent: lone\n\n";

    fn events() -> Vec<Event> {
        let event = |kind: &str, text: &str| Event {
            kind: kind.to_owned(),
            text: text.to_owned(),
        };
        vec![event("shift", "{\"to\":25}"), event("message", "one\ntwo")]
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut reader = Reader::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let seen: Vec<Event> = pieces
                .flat_map(|piece| reader.feed(piece).unwrap())
                .collect();
            assert_eq!(seen, events(), "in pieces of {size} bytes");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept_without_end() {
        let mut reader = Reader::default();
        let mut fed = 0;
        while reader.feed(b"data: more\n").is_ok() {
            fed += 11;
            assert!(fed <= EVENT_BYTES, "it must give up");
        }
        assert!(reader.feed(&[b'x'; 64]).is_err());
    }

    #[test]
    fn a_quiet_stream_may_be_kept_alive_for_ever() {
        let mut reader = Reader::default();
        for _ in 0..EVENT_BYTES / 8 {
            assert_eq!(reader.feed(b": keep-alive\n\n"), Ok(vec![]));
        }
    }
}
