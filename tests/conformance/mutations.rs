//! Input that nobody thought of: the cases with bytes changed, doubled, dropped and swapped, on both sides. Whatever
//! becomes of it, what reaches the origin and the client is well formed, and the proxy is well afterwards.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::h1::{Case, Talk, cases, expand, lanes};
use super::is_well;
use super::parse::parse;
use crate::harness::{Origin, Proxy, is_token, latin1};

const LANES: usize = 6;
/// Enough to meet each case a few times, few enough for a run that is not noticed.
const MUTANTS: usize = 1500;
const WAIT: Duration = Duration::from_millis(60);

#[test]
fn what_no_case_foresaw_is_still_well_formed_on_both_sides() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let cases = cases();
    let origins: Vec<_> = (0..LANES).map(|_| Origin::start()).collect();
    let proxy = Proxy::start(&lanes(&origins));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for (lane, origin) in origins.iter().enumerate() {
            let (proxy, cases, next, wrong) = (&proxy, &cases, &next, &wrong);
            scope.spawn(move || {
                let address = proxy.address(&format!("in{lane}"));
                let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(lane as u64));
                while next.fetch_add(1, SeqCst) < MUTANTS {
                    let case = &cases[chance.usize(..cases.len())];
                    let (sent, reply) = mutant(case, &mut chance);
                    origin.reset(reply.clone(), true, false);
                    let Ok(mut talk) = Talk::open(address) else {
                        wrong
                            .lock()
                            .unwrap()
                            .push("no connection any more".to_owned());
                        return;
                    };
                    talk.send(&sent);
                    talk.wait(WAIT, 1, false);
                    let (heard, closed) = talk.now();
                    drop(talk);
                    let seen = origin.seen();
                    let mut why: Vec<_> = seen
                        .violations
                        .iter()
                        .filter(|v| !v.ends_with(" Host"))
                        .cloned()
                        .collect();
                    why.extend(parse(&heard, closed, sent.starts_with(b"HEAD")).violations);
                    if !why.is_empty() {
                        let sent = latin1(&sent[..sent.len().min(600)]);
                        let reply = reply.map(|r| latin1(&r[..r.len().min(300)]));
                        let report =
                            format!("{}: {why:?}\n  sent {sent:?}\n  reply {reply:?}", case.id);
                        wrong.lock().unwrap().push(report);
                    }
                    origin.drop_connections();
                }
                origin.reset(None, false, false);
                if !is_well(address) {
                    wrong
                        .lock()
                        .unwrap()
                        .push("the proxy is not well afterwards".to_owned());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let shown = &wrong[..wrong.len().min(12)];
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} of {MUTANTS}:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

#[test]
fn what_is_written_in_another_way_ends_in_the_same_way() {
    let cases = cases();
    let origins: Vec<_> = (0..LANES).map(|_| Origin::start()).collect();
    let proxy = Proxy::start(&lanes(&origins));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for (lane, origin) in origins.iter().enumerate() {
            let (proxy, cases, next, wrong) = (&proxy, &cases, &next, &wrong);
            scope.spawn(move || {
                let address = proxy.address(&format!("in{lane}"));
                while let Some(case) = cases.get(next.fetch_add(1, SeqCst)) {
                    let found = variations(case, address, origin);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let shown = &wrong[..wrong.len().min(15)];
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), shown.join("\n"));
}

/// What became of some bytes: the requests that the origin saw whole, and what is wrong in any case.
struct Fate {
    requests: Vec<(String, String)>,
    /// A request that stood in another one's body.
    smuggled: bool,
    why: Vec<String>,
}

/// Bytes that take longer to write in many ways than they are worth.
const WORTH_WRITING: usize = 4000;
/// Places where the bytes of one case are cut in two.
const CUTS: usize = 12;

fn variations(case: &Case, address: SocketAddr, origin: &Origin) -> Vec<String> {
    let (sent, reply) = (flat(case), case.origin.as_deref().map(expand));
    if sent.len() > WORTH_WRITING || reply.as_ref().is_some_and(|r| r.len() > WORTH_WRITING) {
        return Vec::new();
    }
    let reply = reply.as_deref();
    let mut wrong = Vec::new();
    let plain = fate(&[&sent], reply, address, origin);
    let mut tell = |how: &str, bytes: &[u8], fate: Fate, same: bool| {
        let mut why = fate.why;
        // Without what framed it a body is what it looks like.
        if fate.smuggled && !how.contains("gone") && !how.contains("underscores") {
            why.push("SMUGGLED".into());
        }
        if same && fate.requests != plain.requests {
            why.push(format!("{:?}, plain {:?}", fate.requests, plain.requests));
        }
        if !why.is_empty() {
            wrong.push(format!("{} {how}: {why:?}\n  {:?}", case.id, latin1(bytes)));
        }
    };
    // An origin that is hostile as well would be a case of its own.
    if reply.is_none() {
        for (how, bytes) in respelt(&sent) {
            let mut again = fate(&[&bytes], None, address, origin);
            if again.requests != plain.requests {
                // It may have met a connection that the origin was closing: what is not sent twice was lost with it.
                origin.drop_connections();
                again = fate(&[&bytes], None, address, origin);
            }
            tell(how, &bytes, again, true);
        }
        for (how, bytes) in distorted(&sent) {
            tell(&how, &bytes, fate(&[&bytes], None, address, origin), false);
        }
        let step = sent.len().div_ceil(CUTS).max(1);
        for at in (1..sent.len()).step_by(step) {
            let (head, tail) = sent.split_at(at);
            tell(
                &format!("cut at {at}"),
                &sent,
                fate(&[head, tail], None, address, origin),
                true,
            );
        }
        let good = b"GET /good HTTP/1.1\r\nHost: t\r\n\r\n";
        let mut behind = fate(&[good, &sent], None, address, origin);
        if behind
            .requests
            .first()
            .is_none_or(|(line, _)| line != "GET /good HTTP/1.1")
        {
            behind.why.push("the good one was not seen first".into());
        } else {
            behind.requests.remove(0);
        }
        tell("behind a good one", &sent, behind, true);
    }
    for (how, reply) in reply.map(distorted).unwrap_or_default() {
        tell(
            &format!("answer {how}"),
            &reply,
            fate(&[&sent], Some(&reply), address, origin),
            false,
        );
    }
    origin.reset(None, false, false);
    if !is_well(address) {
        wrong.push(format!("{}: the proxy is not well afterwards", case.id));
    }
    wrong
}

/// Sends the pieces apart and ends; the connection then ends by itself.
fn fate(pieces: &[&[u8]], reply: Option<&[u8]>, address: SocketAddr, origin: &Origin) -> Fate {
    origin.reset(reply.map(<[u8]>::to_vec), true, false);
    let mut talk = Talk::open(address).expect("the listener accepts");
    for piece in pieces {
        talk.send(piece);
        if pieces.len() > 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    talk.finish();
    talk.wait(Duration::from_secs(10), usize::MAX, false);
    let (heard, closed) = talk.now();
    let seen = origin.seen();
    let mut why: Vec<_> = seen
        .violations
        .iter()
        .filter(|v| !v.ends_with(" Host"))
        .cloned()
        .collect();
    why.extend(parse(&heard, closed, pieces[0].starts_with(b"HEAD ")).violations);
    if !closed {
        why.push("left open".into());
    }
    let smuggled = seen.requests.iter().any(|r| r.line.contains("/smuggled"));
    let requests = seen
        .requests
        .into_iter()
        .map(|r| (r.line, r.body))
        .collect();
    Fate {
        requests,
        smuggled,
        why,
    }
}

/// The head's lines, and what follows it.
fn lines(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let mut lines = vec![Vec::new()];
    for byte in &bytes[..end] {
        lines.last_mut().expect("there is one").push(*byte);
        if lines.last().expect("there is one").ends_with(b"\r\n") {
            let ended = lines.last_mut().expect("there is one");
            ended.truncate(ended.len() - 2);
            lines.push(Vec::new());
        }
    }
    Some((lines, &bytes[end..]))
}

fn joined(lines: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    [lines.join(&b"\r\n"[..]), rest.to_vec()].concat()
}

/// A line with its name written by `name` and its value by `value`; as it is where it is no plain field.
fn field(
    line: &[u8],
    name: impl Fn(&[u8]) -> Vec<u8>,
    value: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    match line.iter().position(|b| *b == b':') {
        Some(colon) if colon > 0 && line[..colon].iter().all(|b| is_token(*b)) => [
            name(&line[..colon]),
            b":".to_vec(),
            value(&line[colon + 1..]),
        ]
        .concat(),
        _ => line.to_vec(),
    }
}

/// The same in other words: what becomes of it may not differ.
fn respelt(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let Some((lines, rest)) = lines(bytes).filter(|(lines, _)| !lines[0].is_empty()) else {
        return Vec::new();
    };
    let fields = |with: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut lines = lines.clone();
        lines.iter_mut().skip(1).for_each(|l| *l = with(l));
        joined(&lines, rest)
    };
    let same = |text: &[u8]| text.to_vec();
    vec![
        (
            "upper case",
            fields(&|l| field(l, |n| n.to_ascii_uppercase(), same)),
        ),
        (
            "lower case",
            fields(&|l| field(l, |n| n.to_ascii_lowercase(), same)),
        ),
        (
            "blanks before",
            fields(&|l| field(l, same, |v| [&b"  \t "[..], v].concat())),
        ),
        (
            "blanks behind",
            fields(&|l| field(l, same, |v| [v, b" \t  "].concat())),
        ),
        (
            "a line more",
            joined(
                &[&lines[..1], &[b"X-More: 1".to_vec()], &lines[1..]].concat(),
                rest,
            ),
        ),
    ]
}

/// Written wrongly: whatever becomes of it is well formed.
fn distorted(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut out = vec![(
        "all bare LF".to_owned(),
        latin1(bytes)
            .replace("\r\n", "\n")
            .chars()
            .map(|c| c as u32 as u8)
            .collect(),
    )];
    let Some((lines, rest)) = lines(bytes) else {
        return out;
    };
    let with =
        |n: usize, put: &[Vec<u8>]| joined(&[&lines[..n], put, &lines[n + 1..]].concat(), rest);
    for (n, line) in lines.iter().enumerate() {
        if n > 0 {
            out.push((
                format!("line {n} twice"),
                with(n, &[line.clone(), line.clone()]),
            ));
            out.push((format!("line {n} gone"), with(n, &[])));
            out.push((
                format!("line {n} folded"),
                with(n, &[line.clone(), b" folded".to_vec()]),
            ));
            let underscores = field(
                line,
                |name| latin1(name).replace('-', "_").into_bytes(),
                <[u8]>::to_vec,
            );
            out.push((
                format!("line {n} with underscores"),
                with(n, &[underscores]),
            ));
            let blank = field(line, |name| [name, b" "].concat(), <[u8]>::to_vec);
            out.push((
                format!("line {n} with a blank before its colon"),
                with(n, &[blank]),
            ));
        }
        out.push((
            format!("line {n} ends in LF"),
            with(n, &[[&line[..], b"\nX-Next: 1"].concat()]),
        ));
        out.push((
            format!("line {n} ends in CR"),
            with(n, &[[&line[..], b"\rX-Next: 1"].concat()]),
        ));
        out.push((
            format!("line {n} holds NUL"),
            with(n, &[[&line[..], b"\0"].concat()]),
        ));
        out.push((
            format!("line {n} begins with a blank"),
            with(n, &[[&b" "[..], &line[..]].concat()]),
        ));
    }
    let mut backwards = lines.clone();
    backwards[1..].reverse();
    out.push(("backwards".to_owned(), joined(&backwards, rest)));
    out
}

fn flat(case: &Case) -> Vec<u8> {
    match &case.send {
        serde_json::Value::Array(steps) => steps
            .iter()
            .filter_map(|s| s["bytes"].as_str().or(s["dribble"].as_str()))
            .flat_map(expand)
            .collect(),
        text => expand(text.as_str().unwrap_or("")),
    }
}

/// What is sent, and what the origin answers; one of them changed.
fn mutant(case: &Case, chance: &mut fastrand::Rng) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut sent = flat(case);
    sent.truncate(20_000);
    let mut reply = case.origin.as_deref().map(expand);
    match &mut reply {
        Some(reply) if chance.bool() => {
            reply.truncate(20_000);
            mutate(reply, chance);
        }
        _ => mutate(&mut sent, chance),
    }
    (sent, reply)
}

/// Bytes that mean something in a head or a chunk.
const SHARP: &[u8] = b"\r\n\0\t :;,\x0b0123456789abcdefx+-\"\\/?#%@\x7f\x80\xff";

fn mutate(bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) {
    for _ in 0..chance.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = chance.usize(..bytes.len());
        let end = (at + chance.usize(1..12)).min(bytes.len());
        match chance.u8(..7) {
            0 => bytes[at] = SHARP[chance.usize(..SHARP.len())],
            1 => bytes.insert(at, SHARP[chance.usize(..SHARP.len())]),
            2 => drop(bytes.remove(at)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes.swap(at, end - 1),
            _ => bytes[at] ^= 0x20,
        }
    }
}
