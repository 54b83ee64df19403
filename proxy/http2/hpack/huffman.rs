//! The Huffman code of RFC 7541, appendix B. It is canonical: codes of one length follow each other in the order of their
//! symbols, so that the lengths alone say all of it.

use bytes::BytesMut;

use super::Corrupt;

/// Bits of each symbol's code; the last one is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
/// The symbol that nobody may send.
const EOS: u16 = 256;
/// Codes up to this length are found by one look; these are all but rare control characters and bytes above ASCII.
const QUICK: u32 = 10;
const LONGEST: usize = 30;

struct Tables {
    /// By the next bits: the symbol, and above it the length of its code; 0 where that is longer.
    quick: [u16; 1 << QUICK],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code,
    first: [u32; LONGEST + 1],
    /// how many there are,
    count: [u32; LONGEST + 1],
    /// and where their symbols begin.
    start: [u32; LONGEST + 1],
}

const fn tables() -> Tables {
    let mut t = Tables {
        quick: [0; 1 << QUICK],
        symbols: [0; 257],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
    };
    let (mut code, mut placed, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        t.first[length] = code;
        t.start[length] = placed as u32;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                t.symbols[placed] = symbol as u16;
                if length as u32 <= QUICK {
                    let spread = QUICK - length as u32;
                    let mut at = (code as usize) << spread;
                    let end = at + (1 << spread);
                    while at < end {
                        t.quick[at] = symbol as u16 | (length as u16) << 8;
                        at += 1;
                    }
                }
                placed += 1;
                code += 1;
                t.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    t
}

static TABLES: Tables = tables();

/// Appends what `coded` stands for.
///
/// # Errors
/// EOS, or an end that is not padded as it should be.
pub fn decode(coded: &[u8], out: &mut BytesMut) -> Result<(), Corrupt> {
    // The shortest code has five bits.
    out.reserve(coded.len() * 8 / 5 + 1);
    let (mut rest, mut bits, mut have) = (coded, 0u64, 0u32);
    loop {
        while have <= 56 {
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
            rest = after;
        }
        let quick = TABLES.quick[(bits >> (64 - QUICK)) as usize];
        let (symbol, length) = if quick != 0 {
            (quick & 0xff, u32::from(quick >> 8))
        } else {
            long(bits)?
        };
        if length > have {
            // What is left is padding: less than a byte, all ones.
            let padded = have < 8 && bits == !(u64::MAX.checked_shr(have).unwrap_or(0));
            return if padded { Ok(()) } else { Err(Corrupt) };
        }
        if symbol == EOS {
            return Err(Corrupt);
        }
        out.extend_from_slice(&[symbol as u8]);
        bits <<= length;
        have -= length;
    }
}

/// The symbol with a long code at the top of `bits`, and its length.
fn long(bits: u64) -> Result<(u16, u32), Corrupt> {
    for length in QUICK as usize + 1..=LONGEST {
        let code = (bits >> (64 - length)) as u32;
        let offset = code.wrapping_sub(TABLES.first[length]);
        if offset < TABLES.count[length] {
            let symbol = TABLES.symbols[(TABLES.start[length] + offset) as usize];
            return Ok((symbol, length as u32));
        }
    }
    Err(Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The code of the appendix, written as a sender would.
    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut have) = (Vec::new(), 0u64, 0u32);
        for byte in text {
            let length = LENGTHS[usize::from(*byte)] as usize;
            let start = TABLES.start[length] as usize;
            let place = TABLES.symbols[start..]
                .iter()
                .position(|s| *s == u16::from(*byte))
                .expect("every symbol has a place");
            let code = u64::from(TABLES.first[length]) + place as u64;
            bits = bits << length | code;
            have += length as u32;
            while have >= 8 {
                out.push((bits >> (have - 8)) as u8);
                have -= 8;
            }
        }
        if have > 0 {
            out.push((bits << (8 - have)) as u8 | 0xff >> have);
        }
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let mut out = BytesMut::new();
        decode(coded, &mut out).map(|()| out.to_vec())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (coded, text) in [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                "custom-value",
            ),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
                    0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ] {
            assert_eq!(decoded(coded), Ok(text.as_bytes().to_vec()));
            assert_eq!(encode(text.as_bytes()), coded);
        }
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_short_and_all_ones_and_eos_is_never_sent() {
        assert_eq!(
            decoded(&[0x1f, 0xff]),
            Err(Corrupt),
            "a whole byte of padding"
        );
        assert_eq!(decoded(&[0x18]), Err(Corrupt), "zeros");
        assert_eq!(decoded(&[0xff; 4]), Err(Corrupt), "EOS");
        assert_eq!(decoded(&[0x1f]), Ok(b"a".to_vec()));
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&text)), Ok(text));
        }

        #[test]
        fn no_bytes_break_it(coded in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&coded);
        }
    }
}
