//! The pairs in a request's Cookie lines, as sent: nothing is decoded, no quotes are taken off.

use http::HeaderMap;
use http::header::COOKIE;
use memchr::memchr;

/// Every `name=value`, of all lines, in order; a piece without `=` names nothing and is passed over.
pub(super) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| Pieces(line.as_bytes()))
        .filter_map(|piece| {
            let at = memchr(b'=', piece)?;
            Some((piece[..at].trim_ascii(), piece[at + 1..].trim_ascii()))
        })
}

/// Every value of one cookie.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(headers).filter_map(move |(found, value)| (found == name).then_some(value))
}

/// The value of a cookie that says who somebody is: the first that is not empty.
pub(super) fn answer<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    values(headers, name).find(|value| !value.is_empty())
}

/// What stands between semicolons.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b';', self.0).unwrap_or(self.0.len());
        let piece = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn sent(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_in_any_line_and_read_as_sent() {
        let headers = sent(&["a=1; uid=\"x%20y\" ;b", "uid=second; =3;;  c = 4 = 5 "]);
        assert_eq!(answer(&headers, b"uid"), Some(&b"\"x%20y\""[..]));
        assert_eq!(values(&headers, b"uid").count(), 2);
        assert_eq!(answer(&headers, b"c"), Some(&b"4 = 5"[..]));
        assert_eq!(answer(&headers, b"b"), None);
        assert_eq!(
            answer(&headers, b"UID"),
            None,
            "names of cookies differ by case"
        );
    }

    #[test]
    fn an_empty_cookie_is_no_answer() {
        assert_eq!(answer(&sent(&["uid=; uid=  "]), b"uid"), None);
        assert_eq!(answer(&sent(&["uid=; uid=7"]), b"uid"), Some(&b"7"[..]));
    }

    proptest! {
        #[test]
        fn pairs_are_those_of_a_plain_split(line in "[a-c=; \"]{0,24}") {
            let headers = sent(&[&line]);
            let found: Vec<_> = pairs(&headers).map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            let wanted: Vec<_> = line
                .split(';')
                .filter_map(|piece| piece.split_once('='))
                .map(|(n, v)| (n.trim().as_bytes().to_vec(), v.trim().as_bytes().to_vec()))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
