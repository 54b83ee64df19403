//! Beside another implementation, over a real pair of sockets: every head comes through as it was meant, both ways.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tokio::net::UnixStream;

use crate::http1::inlet::Inlet;
use crate::http1::wire::Signs;
use crate::http2::body::StreamBody;
use crate::http2::settings::Bounds;
use crate::http2::wire::Wire;

const BOUNDS: Bounds = Bounds {
    streams: 10,
    bytes: 256 * 1024,
    lines: 1000,
};

/// What was seen of a request.
struct Seen {
    head: http::request::Parts,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// An answer as the other implementation has it: its body, and what came behind it.
type Given = Response<(Bytes, Option<HeaderMap>)>;

/// Sends `requests` one after the other; what was seen of each, and what came back. `answer` stands for each answer.
fn talk(
    requests: Vec<(Request<()>, Bytes, Option<HeaderMap>)>,
    answer: (http::response::Parts, Bytes, Option<HeaderMap>),
) -> (Vec<Seen>, Vec<Given>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (near, far) = UnixStream::pair().expect("a pair");
        let wire = Rc::new(Wire::new(
            near.into(),
            Inlet::default(),
            Rc::new(Signs::default()),
            BOUNDS,
        ));
        let (mut client, connection) = h2::client::handshake(far).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        let (mut seen, mut heard) = (Vec::new(), Vec::new());
        for (request, body, trailers) in requests {
            let asking = async {
                client = client.clone().ready().await.expect("room");
                let ends = body.is_empty() && trailers.is_none();
                let (response, mut send) = client.send_request(request, ends).expect("a request");
                if !ends {
                    send.send_data(body, trailers.is_none()).expect("sent");
                    if let Some(trailers) = trailers {
                        send.send_trailers(trailers).expect("sent");
                    }
                }
                let (head, mut stream) = response.await.expect("an answer").into_parts();
                let mut whole = Vec::new();
                while let Some(data) = stream.data().await {
                    let data = data.expect("data");
                    let _ = stream.flow_control().release_capacity(data.len());
                    whole.extend_from_slice(&data);
                }
                let trailers = stream.trailers().await.expect("trailers");
                Response::from_parts(head, (Bytes::from(whole), trailers))
            };
            let (one, back) = tokio::join!(serve(&wire, &answer), asking);
            seen.push(one);
            heard.push(back);
        }
        (seen, heard)
    })
}

/// Takes one request, and answers it.
async fn serve(
    wire: &Rc<Wire>,
    (parts, body, trailers): &(http::response::Parts, Bytes, Option<HeaderMap>),
) -> Seen {
    let slot = poll_fn(|cx| {
        wire.ready().begin(cx.waker());
        loop {
            let read = wire.poll_read(cx).map(|read| read.expect("frames"));
            let _ = wire.poll_flush(cx).map(|flushed| flushed.expect("flushed"));
            if let Some(slot) = wire.ready().next(0..usize::MAX) {
                return Poll::Ready(slot);
            }
            if read.is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    let Some(Ok(head)) = wire.open(slot) else {
        panic!("a request");
    };
    let mut gathering = pin!(StreamBody::new(wire.clone(), slot).collect());
    let gathered = poll_fn(|cx| {
        loop {
            if let Poll::Ready(gathered) = gathering.as_mut().poll(cx) {
                return Poll::Ready(gathered);
            }
            let read = wire.poll_read(cx).map(|read| read.expect("frames"));
            let _ = wire.poll_flush(cx).map(|flushed| flushed.expect("flushed"));
            if read.is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
    .expect("a body");
    wire.put_head(slot, parts, None, body.is_empty() && trailers.is_none());
    if !body.is_empty() {
        wire.put_data(slot, body, false, trailers.is_none())
            .expect("room");
    }
    if let Some(trailers) = trailers {
        wire.put_trailers(slot, trailers);
    }
    poll_fn(|cx| wire.poll_flush(cx)).await.expect("flushed");
    Seen {
        head: head.parts,
        trailers: gathered.trailers().cloned(),
        body: gathered.to_bytes(),
    }
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof![
        "x-[a-z0-9_-]{1,40}".prop_map(|n| n.parse().expect("a name")),
        prop::sample::select(vec![
            "accept",
            "user-agent",
            "content-type",
            "authorization",
            "referer",
            "etag"
        ])
        .prop_map(HeaderName::from_static),
    ]
}

fn value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        "([!-~]([ -~]{0,60}[!-~])?)?".prop_map(|v| HeaderValue::from_str(&v).expect("a value")),
        prop::collection::vec(0x80u8..=0xff, 1..20)
            .prop_map(|v| HeaderValue::from_bytes(&v).expect("a value")),
        (0usize..20_000).prop_map(|n| HeaderValue::from_str(&"v".repeat(n)).expect("a value")),
    ]
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec((name(), value(), any::<bool>()), 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, mut value, sensitive) in fields {
            value.set_sensitive(sensitive);
            map.append(name, value);
        }
        map
    })
}

fn sorted(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = map
        .iter()
        .filter(|(name, _)| *name != "host" && *name != "date")
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_is_read_as_it_was_meant(
        requests in prop::collection::vec((fields(), "/[a-zA-Z0-9/_.~?=&%-]{0,80}", prop::collection::vec(any::<u8>(), 0..30_000)), 1..5)
    ) {
        let asked = requests.iter().map(|(fields, target, body)| {
            let mut request = Request::post(format!("http://shop.example.com{target}")).body(()).expect("a request");
            *request.headers_mut() = fields.clone();
            (request, Bytes::from(body.clone()), None)
        });
        let answer = Response::new(()).into_parts().0;
        let (seen, _) = talk(asked.collect(), (answer, Bytes::new(), None));
        for ((fields, target, body), seen) in requests.iter().zip(&seen) {
            prop_assert_eq!(sorted(&seen.head.headers), sorted(fields));
            prop_assert_eq!(&seen.head.uri.to_string(), target);
            prop_assert_eq!(&seen.head.headers["host"], "shop.example.com");
            prop_assert_eq!(&seen.body[..], &body[..]);
        }
    }

    #[test]
    fn every_answer_is_read_as_it_was_meant(
        headers in fields(), trailers in fields(), status in 200u16..600, body in prop::collection::vec(any::<u8>(), 0..16_000)
    ) {
        let mut answer = Response::new(()).into_parts().0;
        answer.status = status.try_into().expect("a status");
        answer.headers = headers.clone();
        let trailers = Some(trailers).filter(|t| !t.is_empty());
        let ask = || (Request::get("http://a/").body(()).expect("a request"), Bytes::new(), None);
        let (_, heard) = talk(vec![ask(), ask()], (answer, Bytes::from(body.clone()), trailers.clone()));
        for heard in heard {
            prop_assert_eq!(heard.status().as_u16(), status);
            prop_assert_eq!(sorted(heard.headers()), sorted(&headers));
            prop_assert!(heard.headers().contains_key("date"));
            let (seen, behind) = heard.into_body();
            prop_assert_eq!(&seen[..], &body[..]);
            prop_assert_eq!(behind.map(|t| sorted(&t)), trailers.as_ref().map(sorted));
        }
    }
}

#[test]
fn trailers_of_a_request_come_behind_its_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-t", HeaderValue::from_static("1"));
    let request = Request::post("http://a/").body(()).expect("a request");
    let asked = (request, Bytes::from_static(b"body"), Some(trailers.clone()));
    let answer = Response::new(()).into_parts().0;
    let (seen, _) = talk(vec![asked], (answer, Bytes::new(), None));
    assert_eq!(&seen[0].body[..], b"body");
    assert_eq!(seen[0].trailers, Some(trailers));
}
