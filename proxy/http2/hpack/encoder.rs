//! From an answer's head to a field block. Only the static table is referred to, and nothing is put into the other one:
//! a caller's table costs us memory and a search for each field, and saves the caller a few dozen bytes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, response};

use super::integer;

/// Writes an answer's head. `length` is told where the head does not tell one itself, and the date likewise.
pub fn answer(
    out: &mut Vec<u8>,
    parts: &response::Parts,
    length: Option<u64>,
    date: impl FnOnce(&mut Vec<u8>),
) {
    status(out, parts.status);
    fields(out, &parts.headers);
    if let Some(length) = length {
        let mut digits = [0; 20];
        value_of(out, 28, number(&mut digits, length));
    }
    if !parts.headers.contains_key(header::DATE) {
        integer::encode(out, 0, 4, 33);
        // A date is always as long (RFC 9110 §5.6.7).
        out.push(DATE_BYTES);
        let start = out.len();
        date(out);
        debug_assert_eq!(out.len() - start, usize::from(DATE_BYTES));
    }
}

/// Writes the head that asks for a body (RFC 9110 §15.2.1).
pub fn continue_head(out: &mut Vec<u8>) {
    status(out, StatusCode::CONTINUE);
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_BYTES: u8 = 29;

/// Writes fields; those that concern a connection of HTTP/1.1 have no place here (RFC 9113 §8.2.2).
pub fn fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        match static_index(name) {
            Some(OF_CONNECTIONS) => {}
            Some(index) => line(out, index, name, value),
            None if is_of_connections(name) => {}
            None => line(out, 0, name, value),
        }
    }
}

fn is_of_connections(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "upgrade"
    )
}

/// Writes one line; `index` is its name's, 0 where that is spelt out.
#[inline]
fn line(out: &mut Vec<u8>, index: u8, name: &HeaderName, value: &HeaderValue) {
    out.reserve(name.as_str().len() + value.len() + 12);
    let first = if value.is_sensitive() { 0x10 } else { 0 };
    integer::encode(out, first, 4, usize::from(index));
    if index == 0 {
        text(out, name.as_str().as_bytes());
    }
    text(out, value.as_bytes());
}

fn value_of(out: &mut Vec<u8>, index: u8, value: &[u8]) {
    integer::encode(out, 0, 4, usize::from(index));
    text(out, value);
}

#[inline]
fn text(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

fn status(out: &mut Vec<u8>, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return value_of(out, 8, status.as_str().as_bytes()),
    };
    out.push(0x80 | index);
}

fn number(digits: &mut [u8; 20], mut number: u64) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// A place in the static table whose field is never sent.
const OF_CONNECTIONS: u8 = 57;

/// Where the static table has the name.
fn static_index(name: &HeaderName) -> Option<u8> {
    Some(match *name {
        header::ACCEPT_CHARSET => 15,
        header::ACCEPT_ENCODING => 16,
        header::ACCEPT_LANGUAGE => 17,
        header::ACCEPT_RANGES => 18,
        header::ACCEPT => 19,
        header::ACCESS_CONTROL_ALLOW_ORIGIN => 20,
        header::AGE => 21,
        header::ALLOW => 22,
        header::AUTHORIZATION => 23,
        header::CACHE_CONTROL => 24,
        header::CONTENT_DISPOSITION => 25,
        header::CONTENT_ENCODING => 26,
        header::CONTENT_LANGUAGE => 27,
        header::CONTENT_LENGTH => 28,
        header::CONTENT_LOCATION => 29,
        header::CONTENT_RANGE => 30,
        header::CONTENT_TYPE => 31,
        header::COOKIE => 32,
        header::DATE => 33,
        header::ETAG => 34,
        header::EXPECT => 35,
        header::EXPIRES => 36,
        header::FROM => 37,
        header::HOST => 38,
        header::IF_MATCH => 39,
        header::IF_MODIFIED_SINCE => 40,
        header::IF_NONE_MATCH => 41,
        header::IF_RANGE => 42,
        header::IF_UNMODIFIED_SINCE => 43,
        header::LAST_MODIFIED => 44,
        header::LINK => 45,
        header::LOCATION => 46,
        header::MAX_FORWARDS => 47,
        header::PROXY_AUTHENTICATE => 48,
        header::PROXY_AUTHORIZATION => 49,
        header::RANGE => 50,
        header::REFERER => 51,
        header::REFRESH => 52,
        header::RETRY_AFTER => 53,
        header::SERVER => 54,
        header::SET_COOKIE => 55,
        header::STRICT_TRANSPORT_SECURITY => 56,
        header::TRANSFER_ENCODING => OF_CONNECTIONS,
        header::USER_AGENT => 58,
        header::VARY => 59,
        header::VIA => 60,
        header::WWW_AUTHENTICATE => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::table::STATIC;

    #[test]
    fn names_stand_where_the_table_has_them() {
        for (at, (name, _)) in STATIC.iter().enumerate().skip(14) {
            let name = HeaderName::from_static(name);
            assert_eq!(static_index(&name), Some(at as u8 + 1), "{name}");
        }
        assert_eq!(STATIC[7], (":status", "200"));
        assert_eq!(STATIC[13], (":status", "500"));
        assert_eq!(static_index(&HeaderName::from_static("x-a")), None);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for (n, text) in [
            (0, "0"),
            (7, "7"),
            (1200, "1200"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(number(&mut [0; 20], n), text.as_bytes());
        }
    }
}
