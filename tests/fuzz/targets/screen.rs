use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use http::header::HeaderMap;

use super::letter::{self, is_for_a_version};
use super::world::{self, World};
use crate::exchange::headers::{self, Onward};
use crate::exchange::screen::{Admitted, admit};
use crate::exchange::target::{Form, for_protocol};
use crate::http1::encode::{self, Framing};
use crate::http1::framing::Decoder;
use crate::http1::head::Bounds;
use crate::http1::heads::Heads;
use crate::http1::tests::{End, Kind, Message, simply};

/// Longer bodies are only announced.
const BODY: u64 = 1000;

/// Fields that the proxy writes whatever `Connection` names.
const OURS: [&str; 15] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "authorization",
    "cookie",
    "cache-control",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "traceparent",
    "upgrade",
];

/// A head of an outsider, as a version gets it: one request, framed once, in one spelling, with nothing in it that
/// outsiders must not say.
pub(super) fn run(input: &[u8]) {
    World::with(|world| {
        let bounds = Bounds {
            bytes: 32 * 1024,
            lines: 100,
        };
        let mut buffer = BytesMut::from(input);
        let Ok(Some(mut request)) = Heads::default().next(&mut buffer, bounds) else {
            return;
        };
        let named = named_in_connection(&request.parts.headers);
        let snapshot = world.snapshot();
        let listener = &snapshot.config.listeners[0];
        let outsider = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let admitted = admit(
            &mut request.parts,
            listener,
            &snapshot.listeners[0],
            outsider,
            false,
        );
        let Ok(Admitted { survey, upgrade }) = admitted else {
            return;
        };
        let matched = request.parts.uri.path().to_owned();
        let onward = Onward {
            client: outsider,
            http2: false,
            profile: listener.profile,
        };
        let peer = world.peer(outsider, false);
        let from = &listener.client_address;
        headers::toward_version(&mut request.parts, survey, &peer, from, upgrade, onward);
        for_protocol(
            &mut request.parts,
            Form::of(&snapshot.config.services[0], false),
        );
        let mut written = Vec::new();
        let framing = Framing::from(&request.body);
        encode::request(&mut written, &request.parts, framing);
        let length = body(&mut written, &request.body);
        if length.is_none() {
            return;
        }
        let (requests, end) = simply(Kind::AnyRequests, &written);
        let shown = String::from_utf8_lossy(&written);
        assert_eq!(end, End::Clean, "{shown}");
        let [request] = &requests[..] else {
            panic!("{} requests: {shown}", requests.len());
        };
        assert_eq!(Some(request.body.len()), length, "{shown}");
        is_for_a_version(request, &world::text(outsider));
        is_the_one_that_was_matched(request, &matched);
        for name in named {
            assert!(
                OURS.contains(&name.as_str()) || letter::count(&request.fields, &name) == 0,
                "{name} was named in Connection: {shown}"
            );
        }
    });
}

fn is_the_one_that_was_matched(request: &Message, matched: &str) {
    let target = String::from_utf8_lossy(letter::target(request)).into_owned();
    assert_eq!(target.split('?').next(), Some(matched));
}

/// Writes a body of the length that was told; that length, or `None` for a long one.
fn body(out: &mut Vec<u8>, told: &Decoder) -> Option<usize> {
    let length = match told {
        Decoder::Done => 0,
        Decoder::Length(length) if *length <= BODY => usize::try_from(*length).ok()?,
        Decoder::Length(_) => return None,
        Decoder::Chunked(_) => {
            encode::last_chunk(out, None);
            return Some(0);
        }
        Decoder::UntilClose => panic!("a request has an end"),
    };
    out.resize(out.len() + length, b'x');
    Some(length)
}

fn named_in_connection(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("connection")
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        .collect()
}
