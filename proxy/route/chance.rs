//! What chance decides. The numbers come in as an argument, so a test can choose them.

use std::fmt;

/// A fresh ID for a visitor who has none: 128 random bits as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AssignedId([u8; 32]);

impl AssignedId {
    /// Draws an ID: two numbers, each even over 64 bits.
    pub(super) fn draw(chance: &mut dyn FnMut() -> u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = (u128::from(chance()) << 64) | u128::from(chance());
        Self(std::array::from_fn(|place| {
            DIGITS[(number >> (124 - 4 * place)) as usize & 15]
        }))
    }

    /// The ID as the cookie's value.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AssignedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_shows_every_bit_of_chance() {
        let mut numbers = [0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210].into_iter();
        let id = AssignedId::draw(&mut || numbers.next().unwrap());
        assert_eq!(id.as_str(), "0123456789abcdeffedcba9876543210");
    }
}
