//! Input that nobody thought of: the cases with bytes changed, doubled, dropped and swapped, on both sides. Whatever
//! becomes of it, what reaches the origin and the client is well formed, and the proxy is well afterwards.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::h1::{Case, Talk, cases, expand, lanes};
use super::is_well;
use super::parse::parse;
use crate::harness::{Origin, Proxy, latin1};

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

/// What is sent, and what the origin answers; one of them changed.
fn mutant(case: &Case, chance: &mut fastrand::Rng) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut sent = match &case.send {
        serde_json::Value::Array(steps) => steps
            .iter()
            .filter_map(|s| s["bytes"].as_str().or(s["dribble"].as_str()))
            .flat_map(expand)
            .collect(),
        text => expand(text.as_str().unwrap_or("")),
    };
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
