//! The pairs in a request's query, compared as if decoded: `%41` is `A`, `+` is a space, a broken `%` is itself.

use std::borrow::Cow;

/// Longer values with escapes are decoded on the heap, where a decoded copy is needed at all.
pub(super) const STACK: usize = 1024;

/// Every `name=value` between `&`, still encoded; a piece without `=` is a name with an empty value.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (name.as_bytes(), value.as_bytes())
        })
}

/// Every value of one parameter, still encoded.
pub(super) fn values<'a>(query: Option<&'a str>, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(query).filter_map(move |(found, value)| equals(found, name).then_some(value))
}

/// Is this what the encoded text says?
pub(super) fn equals(encoded: &[u8], wanted: &[u8]) -> bool {
    if is_plain(encoded) {
        encoded == wanted
    } else {
        decoded(encoded).eq(wanted.iter().copied())
    }
}

/// Is this how the encoded text begins?
pub(super) fn starts_with(encoded: &[u8], wanted: &[u8]) -> bool {
    let mut decoded = decoded(encoded);
    wanted.iter().all(|byte| decoded.next() == Some(*byte))
}

/// Hands the decoded text to a question that needs it in one piece.
pub(super) fn with_decoded<T>(encoded: &[u8], ask: impl FnOnce(&[u8]) -> T) -> T {
    if is_plain(encoded) {
        return ask(encoded);
    }
    if encoded.len() > STACK {
        return ask(&decoded(encoded).collect::<Vec<u8>>());
    }
    let mut buffer = [0; STACK];
    let mut length = 0;
    for (place, byte) in buffer.iter_mut().zip(decoded(encoded)) {
        *place = byte;
        length += 1;
    }
    ask(&buffer[..length])
}

/// The decoded text for people.
pub(super) fn shown(encoded: &[u8]) -> Cow<'static, str> {
    String::from_utf8_lossy(&decoded(encoded).collect::<Vec<u8>>())
        .into_owned()
        .into()
}

fn is_plain(encoded: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', encoded).is_none()
}

fn decoded(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (byte, used) = match *rest {
            [] => return None,
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (byte, 1),
        };
        rest = &rest[used..];
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_is_compared_as_decoded() {
        let query = Some("a=1&preview=2%2e4.0&&pre%76iew=x+y&flag&b=%zz%4");
        let seen: Vec<_> = values(query, b"preview")
            .map(|v| shown(v).into_owned())
            .collect();
        assert_eq!(seen, ["2.4.0", "x y"]);
        assert_eq!(values(query, b"flag").next(), Some(&b""[..]));
        assert!(
            equals(values(query, b"b").next().unwrap(), b"%zz%4"),
            "a broken escape stands for itself"
        );
        assert_eq!(values(None, b"a").next(), None);
    }

    proptest! {
        #[test]
        fn every_way_of_comparing_agrees(encoded in "[a%+24=]{0,12}", wanted in "[a $B%+=]{0,6}") {
            let (raw, plain) = (encoded.as_bytes(), wanted.as_bytes());
            let whole: Vec<u8> = decoded(raw).collect();
            prop_assert_eq!(equals(raw, plain), whole == plain);
            prop_assert_eq!(starts_with(raw, plain), whole.starts_with(plain));
            prop_assert!(with_decoded(raw, |bytes| bytes == whole));
        }

        #[test]
        fn what_a_client_encodes_is_what_is_compared(text in "\\PC{0,20}") {
            let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert!(equals(encoded.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn long_values_are_decoded_too(times in 340usize..350) {
            let encoded = "%41".repeat(times);
            prop_assert!(with_decoded(encoded.as_bytes(), |bytes| bytes == "A".repeat(times).as_bytes()));
        }
    }
}
