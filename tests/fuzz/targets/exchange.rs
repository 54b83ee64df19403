use tidegate_config::normalise;

use super::letter;
use super::world::{BETWEEN, SAW, Script, World, moves};
use crate::http1::tests::{End, Kind, Message, message, simply};

/// An HTTP/1 connection through the whole proxy. What stands before the first 0x1d is what the caller sends, what stands
/// between the others are the version's answers; see `world` for more of such marks.
pub(super) fn run(input: &[u8]) {
    let mut parts = input.split(|b| *b == BETWEEN);
    let caller = parts.next().unwrap_or_default();
    let script = Script {
        caller: moves(caller),
        answers: parts.collect(),
        http2: false,
    };
    let seen = World::with(|world| world.play(&script));
    let sent: Vec<u8> = caller
        .iter()
        .copied()
        .filter(|b| !matches!(b, 0x1e | 0x1f))
        .collect();
    let (asked, end) = simply(Kind::AnyRequests, &sent);
    let mut last = 0;
    for (_, request) in &seen.requests {
        letter::is_for_a_version(request, "192.0.2.7");
        if end == End::Unknown {
            continue;
        }
        let found = (last..asked.len()).find(|at| is_the_same(&asked[*at], request));
        last = found.unwrap_or_else(|| {
            panic!(
                "nobody asked for {request:?}, the caller asked for {:?}",
                &asked[last..]
            )
        });
    }
    let answered = answers(&seen.answers, &asked, end);
    if !seen.orderly || end == End::Unknown {
        return;
    }
    for (at, answer) in answered.iter().enumerate() {
        let Some(number) = letter::value(&answer.fields, SAW) else {
            continue;
        };
        let number: usize = std::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        // One that is not there was answered before it was whole.
        let answers = |(of, _): &&(usize, Message)| *of == number;
        if let Some((_, request)) = seen.requests.iter().find(answers) {
            assert!(
                asked
                    .get(at)
                    .is_some_and(|asked| is_the_same(asked, request)),
                "answer {at} is the answer to {request:?}"
            );
        }
    }
}

/// Whether a version's request is the caller's.
fn is_the_same(asked: &Message, got: &Message) -> bool {
    let method = |m: &Message| {
        m.first
            .split(|b| *b == b' ')
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    method(asked) == method(got)
        && asked.body == got.body
        && is_target(letter::target(asked), letter::target(got))
}

fn is_target(asked: &[u8], got: &[u8]) -> bool {
    if asked == got {
        return true;
    }
    let asked = String::from_utf8_lossy(asked).into_owned();
    let asked = match asked.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => rest
            .find(['/', '?'])
            .map_or("", |at| &rest[at..])
            .to_owned(),
        _ => asked,
    };
    let (path, query) = match asked.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.as_str(), None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let Ok(path) = normalise(path, false) else {
        return false;
    };
    let expected = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    expected.as_bytes() == String::from_utf8_lossy(got).as_bytes()
}

/// The final answers in what a caller got: one for each request at most, and one for what was no request.
fn answers(stream: &[u8], asked: &[Message], end: End) -> Vec<Message> {
    let mut answers: Vec<Message> = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let request = asked.get(answers.len());
        let is_head = request.is_some_and(|r| r.first.starts_with(b"HEAD "));
        let kind = if is_head {
            Kind::AnswersToHead
        } else {
            Kind::Answers
        };
        let shown = || String::from_utf8_lossy(stream).into_owned();
        let (answer, behind) = match message(kind, rest) {
            Ok(read) => read,
            // Broken off: the version was too, or time is over.
            Err(End::Within) => break,
            Err(_) if request.is_none() && end != End::Clean => break,
            Err(end) => panic!(
                "{end:?} at {:?} in {}",
                String::from_utf8_lossy(rest),
                shown()
            ),
        };
        rest = behind;
        match &answer.first[..] {
            b"100" => continue,
            b"101" => {
                let wanted = request.is_some_and(|r| letter::count(&r.fields, "upgrade") > 0);
                assert!(wanted, "a protocol that nobody asked for: {}", shown());
                return answers;
            }
            status => assert!(status >= &b"200"[..], "an interim answer: {}", shown()),
        }
        is_for_a_caller(&answer, is_head);
        // An empty line is no request, and yet a beginning that may take too long.
        let is_late = &answer.first[..] == b"408";
        answers.push(answer);
        if end != End::Unknown {
            let most = asked.len() + usize::from(end != End::Clean || is_late);
            assert!(
                answers.len() <= most,
                "more answers than requests: {}",
                shown()
            );
        }
    }
    answers
}

fn is_for_a_caller(answer: &Message, is_head: bool) {
    let fields = &answer.fields;
    letter::has_one_framing(fields);
    letter::has_no_hop_by_hop(fields, &["connection"]);
    let framed =
        letter::count(fields, "content-length") + letter::count(fields, "transfer-encoding");
    let bodiless = is_head || matches!(&answer.first[..], b"204" | b"304");
    let closes = letter::value(fields, "connection") == Some(b"close");
    assert!(
        framed == 1 || bodiless || closes,
        "an answer without an end: {answer:?}"
    );
    assert!(letter::count(fields, "connection") <= 1, "{answer:?}");
}
