//! What an index stands for: the static table (RFC 7541, appendix A), and behind it what this connection has sent before.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;

use super::Corrupt;
use crate::http2::field::{Field, Name};

/// Bytes of earlier fields that a caller may refer to, each with [`OVERHEAD`]. The default of the protocol: we ask for no
/// other.
pub const TABLE_MOST: usize = 4096;
/// What a field counts beside its bytes (RFC 7541 §4.1, RFC 9113 §6.5.2).
pub const OVERHEAD: usize = 32;

/// Names and values by their index from 1.
pub const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field that can be referred to.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub field: Field,
    /// Its name.
    pub name: Name,
    /// Bytes of its name.
    pub name_bytes: usize,
    /// Bytes of name and value.
    pub bytes: usize,
}

/// Read once: fields of the static table need no second look.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let read = |(name, value): &(&'static str, &'static str)| {
        let parsed = Name::parse(name.as_bytes());
        Entry {
            field: Field::new(parsed.clone(), Bytes::from_static(value.as_bytes())),
            name: parsed,
            name_bytes: name.len(),
            bytes: name.len() + value.len(),
        }
    };
    STATIC.iter().map(read).collect()
});

/// The table of one connection.
#[derive(Debug)]
pub struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE_MOST,
        }
    }
}

impl Table {
    /// What `index` stands for.
    ///
    /// # Errors
    /// Where it stands for nothing.
    #[inline]
    pub fn at(&self, index: usize) -> Result<&Entry, Corrupt> {
        let at = index.checked_sub(1).ok_or(Corrupt)?;
        let entry = match at.checked_sub(STATIC.len()) {
            None => ENTRIES.get(at),
            Some(at) => self.entries.get(at),
        };
        entry.ok_or(Corrupt)
    }

    /// Puts a field in front; the oldest make room. One that is too large empties the table (RFC 7541 §4.4).
    pub fn add(&mut self, entry: Entry) {
        let size = entry.bytes + OVERHEAD;
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    /// How much it may hold from now on.
    ///
    /// # Errors
    /// Where that is more than we agreed to.
    pub fn resize(&mut self, most: usize) -> Result<(), Corrupt> {
        if most > TABLE_MOST {
            return Err(Corrupt);
        }
        self.most = most;
        self.shrink(most);
        Ok(())
    }

    /// Bytes that it counts.
    pub fn size(&self) -> usize {
        self.size
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else {
                return;
            };
            self.size -= oldest.bytes + OVERHEAD;
        }
    }
}
