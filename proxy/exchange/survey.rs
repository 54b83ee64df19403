//! One pass over a message's headers that notes which ones need a second look, so that the ordinary request, which has
//! none of them, pays for one pass and not for a dozen look-ups.

use http::HeaderMap;

use crate::upstream::hearsay::is_hearsay;

/// Which headers a message has, of those that the proxy treats in any way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Survey(u32);

/// A kind of header.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Seen {
    /// `Host`.
    Host = 1,
    /// A second `Host`.
    SecondHost = 1 << 1,
    /// `Connection`.
    Connection = 1 << 2,
    /// `TE`.
    Te = 1 << 3,
    /// `Transfer-Encoding`.
    TransferEncoding = 1 << 4,
    /// `Content-Length`.
    ContentLength = 1 << 5,
    /// `Upgrade`.
    Upgrade = 1 << 6,
    /// `Expect`.
    Expect = 1 << 7,
    /// Another hop-by-hop field (RFC 9110 §7.6.1), or `Proxy`.
    HopByHop = 1 << 8,
    /// `X-Forwarded-*`, `Forwarded`, and whatever else tells of the other end.
    Forwarded = 1 << 9,
    /// `X-Request-ID`.
    RequestId = 1 << 10,
    /// `Traceparent`.
    Traceparent = 1 << 11,
    /// `X-Tidegate-*`.
    Reserved = 1 << 12,
    /// A second `Cookie` (RFC 9113 §8.2.3 splits them).
    SecondCookie = 1 << 13,
    /// A name with an underscore, which some take for a hyphen.
    Underscore = 1 << 14,
    /// `Max-Forwards`.
    MaxForwards = 1 << 15,
    /// `Via`.
    Via = 1 << 16,
    /// A second `Content-Length` or `Transfer-Encoding`.
    SecondFraming = 1 << 17,
    /// `Cookie`.
    Cookie = 1 << 18,
    /// A name with a quotation mark, which no name may hold, and which the type of names lets pass.
    Quote = 1 << 19,
}

impl Survey {
    /// Looks at every name once.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        for name in headers.keys() {
            survey.note(name.as_str());
        }
        if headers.len() != headers.keys_len() {
            survey.note_repeats(headers);
        }
        survey
    }

    /// Whether there is one.
    pub fn has(self, seen: Seen) -> bool {
        self.0 & seen as u32 != 0
    }

    fn set(&mut self, seen: Seen) {
        self.0 |= seen as u32;
    }

    fn note(&mut self, name: &str) {
        match name {
            "host" => self.set(Seen::Host),
            "connection" => self.set(Seen::Connection),
            "te" => self.set(Seen::Te),
            "transfer-encoding" => self.set(Seen::TransferEncoding),
            "content-length" => self.set(Seen::ContentLength),
            "upgrade" => self.set(Seen::Upgrade),
            "expect" => self.set(Seen::Expect),
            "cookie" => self.set(Seen::Cookie),
            "via" => self.set(Seen::Via),
            "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "http2-settings"
            | "proxy" => {
                self.set(Seen::HopByHop);
            }
            "x-request-id" => self.set(Seen::RequestId),
            "traceparent" => self.set(Seen::Traceparent),
            "max-forwards" => self.set(Seen::MaxForwards),
            name if is_hearsay(name) => self.set(Seen::Forwarded),
            name if name.starts_with("x-tidegate-") => self.set(Seen::Reserved),
            name => {
                for byte in name.bytes() {
                    match byte {
                        b'_' => self.set(Seen::Underscore),
                        b'"' => self.set(Seen::Quote),
                        _ => {}
                    }
                }
            }
        }
    }

    fn note_repeats(&mut self, headers: &HeaderMap) {
        let repeats = |name: http::HeaderName| headers.get_all(name).iter().nth(1).is_some();
        if repeats(http::header::HOST) {
            self.set(Seen::SecondHost);
        }
        if repeats(http::header::COOKIE) {
            self.set(Seen::SecondCookie);
        }
        if repeats(http::header::CONTENT_LENGTH) || repeats(http::header::TRANSFER_ENCODING) {
            self.set(Seen::SecondFraming);
        }
    }
}
