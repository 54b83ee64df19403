//! The instruments of these tests measure what they say: a backend whose mood turns while it runs, and a load that is
//! steady whatever it meets.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Conn, H2Client, Mood, Steady, Tells, failures, soon};

#[test]
fn a_backend_turns_from_one_mood_to_the_next_and_counts_whom_it_hit() {
    let v2 = Backend::start("v2");
    let get = |user: &str| {
        Conn::open(v2.address)
            .get("/", &[&format!("x-user-id: {user}")])
            .status
    };
    assert_eq!(get("a"), 200);
    v2.turn(Mood::Fails(500));
    assert_eq!([get("b"), get("b"), get("c")], [500; 3]);
    v2.turn(Mood::Slow(Duration::from_millis(150)));
    let asked = Instant::now();
    assert_eq!(get("a"), 200);
    assert!(asked.elapsed() >= Duration::from_millis(150));
    v2.turn(Mood::Well);
    let asked = Instant::now();
    assert_eq!(get("a"), 200);
    assert!(asked.elapsed() < soon(Duration::from_millis(150)));
    let answered = v2.answered();
    assert_eq!((answered.well, answered.badly), (3, 3));
    assert!(answered.first_bad.is_some());
    assert_eq!(
        answered.users_hit.iter().collect::<Vec<_>>(),
        ["b", "c"],
        "two users in three failures"
    );
    v2.forget();
    assert_eq!(v2.answered().badly, 0);
}

#[test]
fn a_backend_that_refuses_is_not_there_and_comes_back_to_the_same_address() {
    let v2 = Backend::start("v2");
    let mut open = Conn::open(v2.address);
    assert_eq!(open.get("/", &[]).status, 200);
    for _ in 0..3 {
        v2.turn(Mood::Refuses);
        let refused = Conn::try_open(v2.address).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(open.try_request("GET", "/", &[], b"").is_err());
        v2.turn(Mood::Well);
        open = Conn::open(v2.address);
        assert_eq!(open.get("/", &[]).version(), "v2");
    }
}

#[test]
fn a_backend_that_hangs_answers_nobody_and_is_well_again_when_told() {
    let v2 = Backend::start("v2");
    v2.turn(Mood::Hangs);
    let mut conn = Conn::open(v2.address);
    conn.patience(Duration::from_millis(100));
    let silence = conn
        .try_request("GET", "/", &["x-user-id: a"], b"")
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silence}"
    );
    assert_eq!(v2.answered().badly, 1);
    v2.turn(Mood::Well);
    assert!(
        conn.closes_within(Duration::from_secs(5)),
        "what hung is never answered"
    );
    assert_eq!(Conn::open(v2.address).get("/", &[]).status, 200);
}

#[test]
fn a_backend_over_http_2_has_moods_too() {
    let v2 = Backend::h2c("v2");
    let mut client = H2Client::open(v2.address);
    assert_eq!(client.get("/", &[]).status, 200);
    v2.turn(Mood::Fails(503));
    assert_eq!(client.get("/", &["x-user-id: a"]).status, 503);
    v2.turn(Mood::Hangs);
    let mut stream = client.stream("GET", "/", &["x-user-id: b"]);
    let _ = stream.send(Vec::new(), true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            v2.turn(Mood::Well);
        });
        assert!(stream.finish().is_err(), "what hung is never answered");
    });
    let answered = v2.answered();
    assert_eq!((answered.well, answered.badly), (1, 2));
    assert_eq!(answered.users_hit.len(), 2);
}

#[test]
fn a_steady_load_keeps_its_rate_and_tells_when_what_happened() {
    let v2 = Backend::start("v2");
    let load = Steady {
        users: 50,
        ..Steady::new(200, 4)
    }
    .start(v2.address);
    load.reaches(60);
    let broken = Instant::now();
    v2.turn(Mood::Fails(500));
    load.reaches(120);
    let mended = Instant::now();
    v2.turn(Mood::Well);
    load.reaches(200);
    let records = load.finish();

    let first = records.iter().map(|record| record.sent).min().unwrap();
    let last = records.iter().map(|record| record.ended).max().unwrap();
    let rate = records.len() as f64 / (last - first).as_secs_f64();
    // On a busy machine requests are left out; none is ever sent too early.
    assert!((60.0..230.0).contains(&rate), "{rate} requests a second");
    let failed = records.first_failure().unwrap();
    assert!(
        failed >= broken && failed < mended,
        "a failure while it was broken"
    );
    assert_eq!(records.errors(), v2.answered().badly);
    assert_eq!(
        records.users_hit().len(),
        v2.answered().users_hit.len(),
        "both sides saw the same users"
    );
    assert_eq!(
        records.users_of("v2").len(),
        50,
        "each user was answered by it"
    );
    assert_eq!(records.last_answer_of("v2"), Some(last));
    assert!(records.last_sent_to("v2") < Some(last));
    assert_eq!(records.last_answer_of("v1"), None);
    assert!(
        v2.connections() <= 4,
        "keep-alive: {} connections, {:?}",
        v2.connections(),
        failures(&records)
    );
}

#[test]
fn a_steady_load_neither_hammers_who_refuses_nor_makes_up_for_what_it_missed() {
    let v2 = Backend::start("v2");
    let load = Steady::new(500, 2).start(v2.address);
    load.reaches(50);
    v2.turn(Mood::Refuses);
    std::thread::sleep(Duration::from_millis(500));
    v2.turn(Mood::Well);
    std::thread::sleep(Duration::from_millis(300));
    let records = load.finish();
    let refused = records.iter().filter(|record| record.outcome.is_err());
    let refused = refused.count();
    // Two connections, each at most once in 20 ms and once more where it broke.
    assert!((2..=60).contains(&refused), "{refused} in half a second");
    let well = records.iter().rev().filter(|record| record.is_good());
    assert!(well.count() > 50, "it went on: {:?}", failures(&records));
}
