//! From a field block to fields (RFC 7541 §3, §6). A block is always read to its end, whatever becomes of its request:
//! the next one refers to what this one leaves in the table.

use bytes::{Bytes, BytesMut};

use super::table::{Entry, OVERHEAD, Table};
use super::{huffman, integer};
use crate::http2::field::{Field, Name};

/// Values of fields are copied into pieces of memory of this size, one behind the other.
const ARENA: usize = 4 * 1024;

/// The block cannot be read, and with it no later one of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field block is corrupt")]
pub struct Corrupt;

/// Why a block was not read to its end; no later one of the connection can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is corrupt.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// It unpacks to more than anybody asks for.
    #[error("the field block unpacks to too much")]
    TooMuch,
}

/// Who takes the fields of a block.
pub trait Sink {
    /// Whether a field of so many bytes, counted with [`OVERHEAD`], is still wanted: one that is not is not even made.
    fn wants(&mut self, bytes: usize) -> bool;
    /// A field that was wanted.
    fn take(&mut self, field: Field);
}

/// Takes nothing: for a block whose request is lost.
#[derive(Debug)]
pub struct Nobody;

impl Sink for Nobody {
    fn wants(&mut self, _: usize) -> bool {
        false
    }

    fn take(&mut self, _: Field) {}
}

/// The compression's state of one connection.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    arena: BytesMut,
    /// A name while it is read.
    scratch: BytesMut,
}

/// What becomes of a field that is spelt out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    InTable,
    Not,
    Never,
}

impl Decoder {
    /// Reads a whole block, which may unpack to `most` bytes, each field counted with [`OVERHEAD`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(
        &mut self,
        block: &[u8],
        most: usize,
        sink: &mut impl Sink,
    ) -> Result<(), DecodeError> {
        let mut rest = block;
        let mut begun = false;
        let mut left = most;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            // A byte can stand for kilobytes: what is asked of us is what it unpacks to.
            let bytes = match *first {
                0x80.. => {
                    let entry = self.table.at(integer::decode(*first, 7, &mut rest)?)?;
                    let bytes = entry.bytes + OVERHEAD;
                    if sink.wants(bytes) {
                        sink.take(entry.field.clone());
                    }
                    bytes
                }
                0x40.. => self.literal(*first, 6, Keep::InTable, &mut rest, sink)?,
                // The table changes before the fields that count on it (RFC 7541 §4.2).
                0x20.. if begun => return Err(Corrupt.into()),
                0x20.. => {
                    let most = integer::decode(*first, 5, &mut rest)?;
                    self.table.resize(most)?;
                    continue;
                }
                0x10.. => self.literal(*first, 4, Keep::Never, &mut rest, sink)?,
                _ => self.literal(*first, 4, Keep::Not, &mut rest, sink)?,
            };
            left = left.checked_sub(bytes).ok_or(DecodeError::TooMuch)?;
            begun = true;
        }
        Ok(())
    }

    /// Bytes that the table counts.
    pub fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Gives up what an idle connection does not need.
    pub fn rest(&mut self) {
        self.arena = BytesMut::new();
        self.scratch = BytesMut::new();
    }

    /// How many bytes it has, counted with [`OVERHEAD`].
    fn literal(
        &mut self,
        first: u8,
        bits: u32,
        keep: Keep,
        rest: &mut &[u8],
        sink: &mut impl Sink,
    ) -> Result<usize, Corrupt> {
        let (name, name_bytes) = match integer::decode(first, bits, rest)? {
            0 => {
                let text = Text::take(rest)?;
                if text.coded {
                    self.scratch.clear();
                    huffman::decode(text.bytes, &mut self.scratch)?;
                    (Name::parse(&self.scratch), self.scratch.len())
                } else {
                    (Name::parse(text.bytes), text.bytes.len())
                }
            }
            index => {
                let entry = self.table.at(index)?;
                (entry.name.clone(), entry.name_bytes)
            }
        };
        let text = Text::take(rest)?;
        let value = self.value(text)?;
        let bytes = name_bytes + value.len();
        let wanted = sink.wants(bytes + OVERHEAD);
        if keep != Keep::InTable {
            if wanted {
                let field = Field::new(name, value);
                sink.take(match keep {
                    Keep::Never => field.sensitive(),
                    _ => field,
                });
            }
            return Ok(bytes + OVERHEAD);
        }
        // What stays holds nothing but itself: not the piece of memory that it was read into.
        let field = Field::new(name.clone(), Bytes::copy_from_slice(&value));
        if wanted {
            sink.take(field.clone());
        }
        self.table.add(Entry {
            field,
            name,
            name_bytes,
            bytes,
        });
        Ok(bytes + OVERHEAD)
    }

    fn value(&mut self, text: Text<'_>) -> Result<Bytes, Corrupt> {
        if text.bytes.is_empty() {
            return Ok(Bytes::new());
        }
        if self.arena.capacity() == 0 {
            self.arena.reserve(ARENA);
        }
        if text.coded {
            huffman::decode(text.bytes, &mut self.arena)?;
        } else {
            self.arena.extend_from_slice(text.bytes);
        }
        Ok(self.arena.split().freeze())
    }
}

/// A string as it was sent.
struct Text<'a> {
    bytes: &'a [u8],
    /// By the Huffman code.
    coded: bool,
}

impl<'a> Text<'a> {
    #[inline]
    fn take(rest: &mut &'a [u8]) -> Result<Self, Corrupt> {
        let (first, after) = rest.split_first().ok_or(Corrupt)?;
        *rest = after;
        let length = integer::decode(*first, 7, rest)?;
        let (bytes, after) = rest.split_at_checked(length).ok_or(Corrupt)?;
        *rest = after;
        Ok(Self {
            bytes,
            coded: first & 0x80 != 0,
        })
    }
}
