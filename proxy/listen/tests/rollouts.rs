use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tidegate_config::plan::{Compare, Failures, Guard, OnRegression, Plan, Rollout};
use tidegate_config::{self as config, Share, SplitBy, Target};
use tokio::net::{TcpListener, TcpStream};

use super::bed::{Bed, OK, read_until, reset, run, say, version};
use crate::record::{Arm, ArmCounts, FailureKind, Incident, RolloutCounts};
use crate::snapshot::InForce;

const FAILED: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops";

fn share(percent: u32) -> Share {
    Share::from_parts(percent * 1000).unwrap()
}

fn rollout(weight: Share) -> Rollout {
    Rollout {
        name: "app-v2".into(),
        service: 0,
        candidate: 1,
        by: SplitBy::Random,
        salt: "app-v2".into(),
        shares_salt: false,
        fallback: true,
        cohorts: Vec::new(),
        plan: Plan::Split(weight),
        guard: Guard {
            failures: Failures::default(),
            error_rate: None,
            latency: None,
            consecutive_failures: None,
            compare: Some(Compare::default()),
            metrics: Vec::new(),
        },
        on_regression: OnRegression::Rollback,
    }
}

/// A proxy with a rollout from the version at `stable` to that at `candidate`. `route` is more keys of the route.
async fn between(
    stable: SocketAddr,
    candidate: SocketAddr,
    rollout: Rollout,
    protocol: &str,
    route: &str,
) -> Bed {
    let text = |address| {
        format!(
            "version: 1\nlisteners: [{{ name: in, address: '{address}', protocols: [http/1.1, h2c] }}]\n\
             services:\n  - name: app\n    protocol: {protocol}\n    stable: v1\n    versions:\n      \
             - {{ name: v1, endpoints: ['{stable}'] }}\n      - {{ name: v2, endpoints: ['{candidate}'] }}\n    \
             health: {{ passive: {{ consecutive_failures: 1000 }} }}\n\
             routes:\n  - {{ name: app, service: app, rules: [{{ to: v1 }}]{route} }}\n"
        )
    };
    Bed::of(text, |config| {
        config.rollouts.push(rollout.clone());
        if let config::Action::Forward(forward) = &mut config.routes[0].action {
            forward.rules[0].target = Target::Rollout(0);
        }
    })
    .await
}

/// A version that answers every request with `answer` and keeps what it was asked: the head and a body of known length.
async fn keeps(answer: &'static str) -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let kept = asked.clone();
    let address = version(move |_, mut stream| {
        let kept = kept.clone();
        async move {
            loop {
                let mut request = read_until(&mut stream, "\r\n\r\n").await;
                if request.is_empty() {
                    return;
                }
                if request.contains("POST") && !request.contains("end") {
                    request += &read_until(&mut stream, "end").await;
                }
                kept.borrow_mut().push(request);
                say(&mut stream, answer).await;
            }
        }
    })
    .await;
    (address, asked)
}

/// A version that never answers.
async fn hangs() -> SocketAddr {
    version(async |_, mut stream| {
        read_until(&mut stream, "\r\n\r\n").await;
        std::future::pending().await
    })
    .await
}

async fn refuses() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// Sends a request on a connection of its own; the answer up to the first bytes of its body.
async fn ask(bed: &Bed, request: &str) -> String {
    let mut caller: TcpStream = bed.caller().await;
    say(&mut caller, request).await;
    read_until(&mut caller, "\r\n\r\n").await
}

async fn get(bed: &Bed) -> String {
    ask(
        bed,
        "GET /app HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await
}

fn counts(bed: &Bed) -> RolloutCounts {
    let id = bed.ledger.rollout("app-v2");
    bed.ledger.rollout_counts(id)
}

/// Waits until so many of the candidate's requests were counted.
async fn counted(bed: &Bed, fits: impl Fn(&RolloutCounts) -> bool) {
    while !fits(&counts(bed)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until so many requests have ended, whoever answered them.
async fn settled(bed: &Bed, requests: u64) {
    while bed.ledger.requests().iter().map(|r| r.count).sum::<u64>() < requests {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn versions(bed: &Bed) -> [crate::record::Totals; 2] {
    ["v1", "v2"].map(|name| bed.ledger.totals(bed.ledger.version("app", name)))
}

#[test]
fn what_the_candidate_fails_stable_answers_and_the_evidence_has_the_candidates_failure() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let (failing, _) = keeps(FAILED).await;
        let resets = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            reset(stream);
        })
        .await;
        let (garbage, _) = keeps("nonsense\r\n\r\n").await;
        for (candidate, kind) in [
            (failing, FailureKind::Status),
            (resets, FailureKind::Reset),
            (garbage, FailureKind::Garbage),
            (refuses().await, FailureKind::Connect),
        ] {
            let bed = between(stable, candidate, rollout(Share::FULL), "http/1.1", "").await;
            let judge = bed.ledger.incidents().expect("nobody listens yet");
            let answer = get(&bed).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{kind:?}: {answer}");
            let told: Incident = judge
                .try_recv()
                .expect("told before the user had an answer");
            assert!(told.error && told.fallback && told.sampled, "{told:?}");
            assert_eq!((told.kind, told.run), (Some(kind), 1));
            assert_eq!(told.assignment.arm, Arm::Candidate);
            assert_eq!(told.connect, kind == FailureKind::Connect);
            bed.counted(1).await;
            let [v1, v2] = versions(&bed);
            assert_eq!((v1.requests(), v1.failures(), v1.fallbacks), (1, 0, 0));
            assert_eq!(
                (v2.requests(), v2.failures_of(kind), v2.fallbacks),
                (1, 1, 1)
            );
            let ArmCounts {
                requests, failures, ..
            } = counts(&bed).candidate;
            assert_eq!((requests, failures), (1, 1), "once");
            assert_eq!(
                counts(&bed).stable.requests,
                0,
                "the arm is the one assigned"
            );
            let seen = bed.ledger.requests();
            let seen: Vec<_> = seen
                .iter()
                .map(|r| (&*r.version, r.status, r.count))
                .collect();
            assert_eq!(
                seen,
                [("v2", 200, 1)],
                "one request, which its user saw answered"
            );
        }
    });
}

#[test]
fn a_candidate_that_hangs_leaves_stable_a_quarter_of_the_time() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let route = ", timeouts: { request: 1600ms }";
        let bed = between(
            stable,
            hangs().await,
            rollout(Share::FULL),
            "http/1.1",
            route,
        )
        .await;
        let begun = Instant::now();
        let answer = get(&bed).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(1200) && took < Duration::from_millis(1600),
            "{took:?}"
        );
        let [_, v2] = versions(&bed);
        assert_eq!(v2.failures_of(FailureKind::Timeout), 1);
        assert_eq!(counts(&bed).candidate.failures, 1);
    });
}

#[test]
fn an_answer_too_late_for_a_fallback_is_a_timeout_to_the_rollout_on_stable_too() {
    run(async {
        let slow = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            tokio::time::sleep(Duration::from_millis(1400)).await;
            say(&mut stream, OK).await;
        })
        .await;
        let route = ", timeouts: { request: 1600ms }";
        let bed = between(slow, slow, rollout(Share::ZERO), "http/1.1", route).await;
        let answer = get(&bed).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 "),
            "the user has it: {answer}"
        );
        counted(&bed, |c| c.stable.requests == 1).await;
        assert_eq!(counts(&bed).stable.failures, 1);
        let post = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nend";
        assert!(ask(&bed, post).await.starts_with("HTTP/1.1 200 "));
        counted(&bed, |c| c.stable.requests == 2).await;
        assert_eq!(
            counts(&bed).stable.failures,
            1,
            "no claim to a fallback: not late"
        );
        assert_eq!(versions(&bed)[0].failures(), 0);
    });
}

#[test]
fn what_cannot_be_done_twice_fails_as_the_candidate_failed_it() {
    run(async {
        let (stable, asked) = keeps(OK).await;
        let (failing, _) = keeps(FAILED).await;
        let bed = between(stable, failing, rollout(Share::FULL), "http/1.1", "").await;
        let post = |headers: &str, body: &str| {
            format!("POST /app HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n{body}")
        };
        let big = "x".repeat(64 * 1024);
        let chunked = "Idempotency-Key: 7\r\nTransfer-Encoding: chunked\r\n";
        for request in [
            post("Content-Length: 3\r\n", "end"),
            post(chunked, "3\r\nend\r\n0\r\n\r\n"),
            post(
                "Idempotency-Key: 7\r\nContent-Length: 65539\r\n",
                &(big + "end"),
            ),
        ] {
            let answer = ask(&bed, &request).await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        }
        let answer = ask(
            &bed,
            &post("Idempotency-Key: 7\r\nContent-Length: 7\r\n", "the end"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(asked.borrow().len(), 1);
        assert!(asked.borrow()[0].ends_with("the end"), "the body is whole");
        assert_eq!(versions(&bed)[1].fallbacks, 1);
        assert_eq!(counts(&bed).candidate.failures, 4);
    });
}

#[test]
fn without_fallback_in_the_file_nobody_stands_in() {
    run(async {
        let (stable, asked) = keeps(OK).await;
        let (failing, _) = keeps(FAILED).await;
        let rollout = Rollout {
            fallback: false,
            ..rollout(Share::FULL)
        };
        let bed = between(stable, failing, rollout, "http/1.1", "").await;
        assert!(get(&bed).await.starts_with("HTTP/1.1 500 "));
        assert!(asked.borrow().is_empty());
    });
}

#[test]
fn fallbacks_have_a_budget() {
    run(async {
        let (stable, asked) = keeps(OK).await;
        let (failing, _) = keeps(FAILED).await;
        let bed = between(stable, failing, rollout(Share::FULL), "http/1.1", "").await;
        for _ in 0..100 {
            get(&bed).await;
        }
        // Half of the requests; the floor of three a second over ten seconds is less.
        assert_eq!(asked.borrow().len(), 50);
        assert_eq!(versions(&bed)[1].fallbacks, 50);
        counted(&bed, |c| c.candidate.requests == 100).await;
        assert_eq!(counts(&bed).candidate.failures, 100);
    });
}

#[test]
fn where_stable_fails_too_its_user_sees_stables_failure_and_each_is_counted_with_its_own() {
    run(async {
        let (stable, _) = keeps("HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n").await;
        let (failing, _) = keeps(FAILED).await;
        let bed = between(stable, failing, rollout(Share::FULL), "http/1.1", "").await;
        assert!(get(&bed).await.starts_with("HTTP/1.1 404 "));
        let bed = between(
            refuses().await,
            failing,
            rollout(Share::FULL),
            "http/1.1",
            "",
        )
        .await;
        assert!(get(&bed).await.starts_with("HTTP/1.1 503 "));
        bed.counted(1).await;
        let [v1, v2] = versions(&bed);
        assert_eq!(
            (v1.failures_of(FailureKind::Connect), v1.failures()),
            (1, 1)
        );
        assert_eq!((v2.failures_of(FailureKind::Status), v2.failures()), (1, 1));
        assert_eq!(counts(&bed).stable.failures, 0, "nobody was assigned to it");
    });
}

#[test]
fn a_request_that_names_its_version_names_the_one_that_answers() {
    run(async {
        let (stable, asked) = keeps(OK).await;
        let (failing, failed) = keeps(FAILED).await;
        let route = ", request_headers: { set: { x-version: '{version}' } }, response_headers: { set: { x-by: '{version}' } }";
        let bed = between(stable, failing, rollout(Share::FULL), "http/1.1", route).await;
        let answer = get(&bed).await;
        assert!(answer.contains("x-by: v1\r\n"), "{answer}");
        assert!(
            failed.borrow()[0].contains("x-version: v2\r\n"),
            "{failed:?}"
        );
        assert!(asked.borrow()[0].contains("x-version: v1\r\n"), "{asked:?}");
    });
}

#[test]
fn what_is_late_counts_with_the_weights_and_the_attempt_that_routed_it() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let slow = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            say(&mut stream, FAILED).await;
        })
        .await;
        let written = Rollout {
            fallback: false,
            ..rollout(Share::FULL)
        };
        let bed = between(stable, slow, written.clone(), "http/1.1", "").await;
        let judge = bed.ledger.incidents().expect("nobody listens yet");
        let mut caller = bed.caller().await;
        say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let id = bed.ledger.rollout("app-v2");
        let pace = bed.ledger.slow_bound(id);
        let back = InForce::new(&written, 2, Share::ZERO, Share::ZERO, 0, id, pace);
        let shifted = bed.live.current().with_rollouts([back]);
        bed.live.publish(shifted);
        let again = "GET /app HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(
            ask(&bed, again).await.starts_with("HTTP/1.1 200 "),
            "the next request"
        );
        read_until(&mut caller, "oops").await;
        let told = judge
            .try_iter()
            .find(|told| told.error)
            .expect("its failure");
        let assignment = told.assignment;
        assert_eq!((assignment.attempt, assignment.candidate), (1, Share::FULL));
        assert_eq!(assignment.revision, 1);
        say(&mut caller, again).await;
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 "),
            "on the same connection too: {answer}"
        );
    });
}

#[test]
fn how_a_call_of_grpc_ended_counts_whether_it_stands_in_trailers_or_in_the_head() {
    run(async {
        let versions = version(async |_, stream| {
            let mut connection = h2::server::handshake(stream).await.expect("a handshake");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let status = request.uri().path().trim_start_matches("/app/").to_owned();
                let (place, code) = status.split_once('-').expect("where-what");
                let mut fields = HeaderMap::new();
                fields.insert("grpc-status", code.parse().expect("a value"));
                let mut answer = Response::new(());
                if place == "head" {
                    *answer.headers_mut() = fields;
                    respond.send_response(answer, true).expect("sent");
                } else {
                    let mut body = respond.send_response(answer, false).expect("sent");
                    body.send_data(Bytes::from_static(b"one"), false)
                        .expect("sent");
                    body.send_trailers(fields).expect("sent");
                }
            }
        })
        .await;
        let bed = between(versions, versions, rollout(Share::ZERO), "h2c", "").await;
        let mut requests = 0;
        let mut failures = 0;
        for (what, fails) in [("0", false), ("5", false), ("13", true), ("14", true)] {
            for place in ["head", "trailers"] {
                let request = format!(
                    "GET /app/{place}-{what} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                );
                let mut caller = bed.caller().await;
                say(&mut caller, &request).await;
                super::bed::rest(&mut caller).await;
                requests += 1;
                failures += u64::from(fails);
                counted(&bed, |c| c.stable.requests == requests).await;
                assert_eq!(counts(&bed).stable.failures, failures, "{place} {what}");
            }
        }
    });
}

/// Everybody is on stable, and the candidate gets a copy of everything.
fn mirrored(bed: &Bed, written: &Rollout, share: Share) {
    let id = bed.ledger.rollout("app-v2");
    let pace = bed.ledger.slow_bound(id);
    let mirrors = InForce::new(written, 1, Share::ZERO, share, 0, id, pace);
    bed.live
        .publish(bed.live.current().with_rollouts([mirrors]));
}

#[test]
fn a_mirror_sends_copies_of_get_and_head_alone_and_counts_them_apart() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let (candidate, copies) = keeps(FAILED).await;
        let written = rollout(Share::ZERO);
        let bed = between(stable, candidate, written.clone(), "http/1.1", "").await;
        let judge = bed.ledger.incidents().expect("nobody listens yet");
        mirrored(&bed, &written, Share::FULL);
        let get =
            "GET /app?q=1 HTTP/1.1\r\nHost: a\r\nx-tidegate-mirror: 0\r\nConnection: close\r\n\r\n";
        assert!(ask(&bed, get).await.starts_with("HTTP/1.1 200 "));
        let post =
            "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend";
        assert!(ask(&bed, post).await.starts_with("HTTP/1.1 200 "));
        counted(&bed, |c| c.mirrored.requests == 1 && c.stable.requests == 2).await;
        let counts = counts(&bed);
        assert_eq!(
            (counts.mirrored.failures, counts.candidate.requests),
            (1, 0)
        );
        assert!(judge.try_iter().all(|told| !told.error), "no evidence");
        let [_, v2] = versions(&bed);
        assert_eq!((v2.requests(), v2.failures()), (0, 0), "no user's request");
        let copies = copies.borrow();
        assert_eq!(copies.len(), 1);
        assert!(
            copies[0].starts_with("GET /app?q=1 HTTP/1.1\r\n"),
            "{copies:?}"
        );
        assert_eq!(copies[0].matches("x-tidegate-mirror: 1\r\n").count(), 1);
        assert!(!copies[0].contains("x-tidegate-mirror: 0"));
    });
}

#[test]
fn nobody_waits_for_a_copy_and_there_are_never_too_many() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let held = Rc::new(RefCell::new(0));
        let open = held.clone();
        let candidate = version(move |_, mut stream| {
            let open = open.clone();
            async move {
                read_until(&mut stream, "\r\n\r\n").await;
                *open.borrow_mut() += 1;
                std::future::pending().await
            }
        })
        .await;
        let written = rollout(Share::ZERO);
        let bed = between(stable, candidate, written.clone(), "http/1.1", "").await;
        mirrored(&bed, &written, Share::FULL);
        let begun = Instant::now();
        for _ in 0..200 {
            assert!(get(&bed).await.starts_with("HTTP/1.1 200 "));
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(*held.borrow(), crate::exchange::mirror::IN_FLIGHT_MAX);
        mirrored(&bed, &written, Share::ZERO);
        get(&bed).await;
    });
}

#[test]
fn a_share_of_the_requests_is_mirrored() {
    run(async {
        let (stable, _) = keeps(OK).await;
        let (candidate, copies) = keeps(OK).await;
        let written = rollout(Share::ZERO);
        let bed = between(stable, candidate, written.clone(), "http/1.1", "").await;
        mirrored(&bed, &written, share(50));
        for _ in 0..400 {
            get(&bed).await;
        }
        let copies = copies.borrow().len();
        // Five standard deviations around half of them.
        assert!((150..=250).contains(&copies), "{copies}");
    });
}

/// A version of HTTP/2 that answers by `answer`, told the whole body.
async fn speaks_h2(
    answer: impl Fn(&mut h2::server::SendResponse<Bytes>, Vec<u8>) + Clone + 'static,
) -> SocketAddr {
    version(move |_, stream| {
        let answer = answer.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("a handshake");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = answer.clone();
                tokio::task::spawn_local(async move {
                    let (mut body, mut read) = (request.into_body(), Vec::new());
                    while let Some(Ok(data)) = body.data().await {
                        read.extend_from_slice(&data);
                    }
                    answer(&mut respond, read);
                });
            }
        }
    })
    .await
}

fn answers(status: u16, grpc: Option<u16>) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    if let Some(grpc) = grpc {
        answer.headers_mut().insert("grpc-status", grpc.into());
    }
    answer
}

#[test]
fn over_http2_stable_stands_in_as_well_for_callers_and_versions() {
    run(async {
        let bodies = Rc::new(RefCell::new(Vec::new()));
        let kept = bodies.clone();
        let stable = speaks_h2(move |respond, body| {
            kept.borrow_mut().push(body);
            respond
                .send_response(answers(201, Some(0)), true)
                .expect("sent");
        })
        .await;
        type Fails = fn(&mut h2::server::SendResponse<Bytes>);
        let ways: [(Fails, FailureKind); 3] = [
            (
                |r| drop(r.send_response(answers(503, None), true)),
                FailureKind::Status,
            ),
            (
                |r| drop(r.send_response(answers(200, Some(14)), true)),
                FailureKind::Status,
            ),
            (
                |r| r.send_reset(h2::Reason::INTERNAL_ERROR),
                FailureKind::Reset,
            ),
        ];
        for (fails, kind) in ways {
            let candidate = speaks_h2(move |respond, _| fails(respond)).await;
            let bed = between(stable, candidate, rollout(Share::FULL), "h2c", "").await;
            let judge = bed.ledger.incidents().expect("nobody listens yet");
            let (requests, connection) = h2::client::handshake(bed.caller().await)
                .await
                .expect("a handshake");
            tokio::task::spawn_local(async move { drop(connection.await) });
            let mut requests = requests.ready().await.expect("room");
            let request = http::Request::post("http://a/app")
                .header("idempotency-key", "7")
                .header("content-length", "3")
                .body(())
                .unwrap();
            let (answer, mut upload) = requests.send_request(request, false).expect("a stream");
            upload
                .send_data(Bytes::from_static(b"one"), true)
                .expect("sent");
            assert_eq!(answer.await.expect("an answer").status(), 201, "{kind:?}");
            assert_eq!(bodies.borrow_mut().pop().as_deref(), Some(&b"one"[..]));
            let told = judge.try_recv().expect("the candidate's failure");
            assert!(told.error && told.fallback, "{told:?}");
            assert_eq!(told.kind, Some(kind));
            assert_eq!(versions(&bed)[1].fallbacks, 1);
        }
    });
}

#[test]
fn who_leaves_while_stable_stands_in_is_no_failure_of_stable() {
    run(async {
        let (failing, _) = keeps(FAILED).await;
        let bed = between(hangs().await, failing, rollout(Share::FULL), "http/1.1", "").await;
        let mut caller = bed.caller().await;
        say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
        counted(&bed, |c| c.candidate.failures == 1).await;
        drop(caller);
        while versions(&bed)[0].requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let [v1, v2] = versions(&bed);
        assert_eq!((v1.failures(), v2.failures()), (0, 1));
        assert_eq!(counts(&bed).candidate.requests, 1);
        let seen = bed.ledger.requests();
        assert_eq!((seen.len(), seen[0].status), (1, 499));
    });
}

#[test]
fn where_both_versions_hang_the_judge_is_told_of_both_at_the_same_time() {
    run(async {
        let hangs = hangs().await;
        let route = ", timeouts: { request: 3s }";
        let four_fifths = Share::from_parts(80_000).expect("a share");
        let bed = between(hangs, hangs, rollout(four_fifths), "http/1.1", route).await;
        let judge = bed.ledger.incidents().expect("nobody listens yet");
        let mut callers = Vec::new();
        let begun = Instant::now();
        // More on the candidate than its budget lets stable stand in for.
        for _ in 0..100 {
            let mut caller = bed.caller().await;
            say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
            callers.push(caller);
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "a busy machine");
        let all = |c: &RolloutCounts| c.stable.requests + c.candidate.requests == 100;
        counted(&bed, all).await;
        let seen = begun.elapsed();
        assert!(
            seen >= Duration::from_millis(2250) && seen < Duration::from_millis(2950),
            "all of them when patience ends, none with the time: {seen:?}"
        );
        let told: Vec<_> = judge.try_iter().filter(|told| told.error).collect();
        assert_eq!(told.len(), 100, "each once");
        let first_of = |arm| told.iter().position(|told| told.assignment.arm == arm);
        for arm in [Arm::Stable, Arm::Candidate] {
            assert!(
                first_of(arm).expect("some") < 50,
                "{arm:?} waits for nobody"
            );
        }
        assert!(told.iter().all(|t| t.kind == Some(FailureKind::Timeout)));
        let left = told.iter().filter(|told| told.fallback).count();
        let candidates = counts(&bed).candidate.requests as usize;
        assert_eq!(left, candidates.min(50), "the rest waits on where it is");
        for caller in &mut callers {
            let answer = read_until(caller, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        }
        settled(&bed, 100).await;
        assert!(all(&counts(&bed)), "once");
    });
}

#[test]
fn a_head_that_is_a_failure_counts_as_it_comes_on_both_sides_whether_or_not_the_caller_stays() {
    run(async {
        let begins = version(async |_, mut stream| {
            read_until(&mut stream, "\r\n\r\n").await;
            say(&mut stream, FAILED.trim_end_matches("oops")).await;
            std::future::pending().await
        })
        .await;
        let bed = between(begins, begins, rollout(Share::HALF), "http/1.1", "").await;
        let judge = bed.ledger.incidents().expect("nobody listens yet");
        let mut callers = Vec::new();
        for number in 1..=100 {
            let mut caller = bed.caller().await;
            say(&mut caller, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let answer = read_until(&mut caller, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            callers.push(caller);
            let told = judge.try_iter().filter(|told| told.error).count();
            assert_eq!(told, 1, "number {number}, before its body has ended");
        }
        drop(callers);
        settled(&bed, 100).await;
        let counts = counts(&bed);
        let of = |c: ArmCounts| (c.requests, c.failures);
        let (stable, candidate) = (of(counts.stable), of(counts.candidate));
        assert_eq!((stable.0 + candidate.0, stable.1 + candidate.1), (100, 100));
        assert!(stable.0 > 20 && candidate.0 > 20, "{counts:?}");
    });
}
