//! Numbers in a few bits, and more where they do not fit (RFC 7541 §5.1).

use super::Corrupt;

/// Bytes behind the first: no number that means anything here needs more.
const BYTES_MOST: u32 = 4;

/// Takes the number that begins in the low `bits` of `first` and goes on in `rest`.
///
/// # Errors
/// Where it does not end, or is larger than anything can be.
#[inline]
pub fn decode(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, Corrupt> {
    let mask = (1usize << bits) - 1;
    let value = usize::from(first) & mask;
    if value < mask {
        return Ok(value);
    }
    let mut value = value;
    for at in 0..BYTES_MOST {
        let (byte, after) = rest.split_first().ok_or(Corrupt)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Corrupt)
}

/// Writes a number behind the high bits of `first`.
#[inline]
pub fn encode(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (value, bits, bytes) in [
            (10, 5, &[0x0a][..]),
            (1337, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 8, &[0x2a]),
        ] {
            let mut out = Vec::new();
            encode(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(decode(bytes[0], bits, &mut &bytes[1..]), Ok(value));
        }
    }

    #[test]
    fn what_does_not_end_is_corrupt() {
        assert_eq!(decode(0xff, 7, &mut &[][..]), Err(Corrupt));
        assert_eq!(decode(0xff, 7, &mut &[0x80, 0x80][..]), Err(Corrupt));
        assert_eq!(decode(0xff, 7, &mut &[0x80; 100][..]), Err(Corrupt));
        assert_eq!(decode(0xff, 7, &mut &[0xff; 100][..]), Err(Corrupt));
    }

    proptest! {
        #[test]
        fn a_number_comes_back(value in 0usize..(1 << 28), bits in 4u32..8) {
            let mut out = Vec::new();
            encode(&mut out, 0, bits, value);
            let mut rest = &out[1..];
            prop_assert_eq!(decode(out[0], bits, &mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }
    }
}
