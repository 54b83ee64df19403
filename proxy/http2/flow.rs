//! Windows (RFC 9113 §5.2): how much may be sent, and how much we let a caller send ahead of being read.

use super::frame::MOST;

/// What a caller may send of one request's body ahead of its being read.
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all bodies of a connection together: no more of them is ever held.
pub const CONNECTION_WINDOW: u32 = 1 << 20;
/// What every window begins with that nobody has spoken of.
pub const DEFAULT_WINDOW: u32 = 65_535;

/// How much we may send. It may be less than nothing (RFC 9113 §6.9.2).
#[derive(Debug, Clone, Copy)]
pub struct Room(i64);

/// The other side gave more room than there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Room {
    /// So much to begin with.
    pub fn new(window: u32) -> Self {
        Self(i64::from(window))
    }

    /// Bytes that may be sent now.
    #[inline]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// So much was sent.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// There is more room, or less.
    ///
    /// # Errors
    /// [`Overflow`].
    pub fn change(&mut self, by: i64) -> Result<(), Overflow> {
        self.0 += by;
        if self.0 > i64::from(MOST) {
            return Err(Overflow);
        }
        Ok(())
    }
}

/// How much the other side may send.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    left: u32,
    /// Taken out by whoever reads, and not yet given back.
    taken: u32,
    whole: u32,
}

impl Allowance {
    /// A whole window.
    pub fn new(whole: u32) -> Self {
        Self {
            left: whole,
            taken: 0,
            whole,
        }
    }

    /// So much came.
    ///
    /// # Errors
    /// Where it was more than allowed.
    pub fn came(&mut self, bytes: usize) -> Result<(), Overflow> {
        let bytes = u32::try_from(bytes).map_err(|_| Overflow)?;
        self.left = self.left.checked_sub(bytes).ok_or(Overflow)?;
        Ok(())
    }

    /// So much was read, or thrown away; what to tell the other side now, in one word for many small pieces.
    pub fn read(&mut self, bytes: usize) -> Option<u32> {
        self.taken = self
            .taken
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.taken < self.whole / 2 {
            return None;
        }
        let back = std::mem::take(&mut self.taken).min(self.whole - self.left);
        self.left += back;
        (back > 0).then_some(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_may_be_less_than_nothing_but_never_more_than_can_be() {
        let mut room = Room::new(10);
        assert_eq!(room.change(-30), Ok(()));
        assert_eq!(room.bytes(), 0);
        assert_eq!(room.change(25), Ok(()));
        assert_eq!(room.bytes(), 5);
        assert_eq!(room.change(i64::from(MOST)), Err(Overflow));
    }

    #[test]
    fn what_was_read_is_allowed_again_and_no_more_than_that() {
        let mut allowance = Allowance::new(100);
        assert_eq!(allowance.came(60), Ok(()));
        assert_eq!(allowance.came(41), Err(Overflow));
        assert_eq!(allowance.read(40), None);
        assert_eq!(allowance.read(20), Some(60));
        assert_eq!(allowance.came(100), Ok(()));
        assert_eq!(allowance.came(1), Err(Overflow));
    }
}
