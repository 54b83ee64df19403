//! The whole script, in short, with a stand-in for the proxy that can also do wrong.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

use super::*;
use crate::route::slot::{Salt, slot};

/// How the stand-in chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manners {
    Right,
    /// Users are drawn anew at each request.
    Forgetful,
    /// It read the file once and never again.
    Deaf,
    /// It knows no rollback.
    Stubborn,
    /// It rolls back, and says `fallback` without doing it.
    Boastful,
    /// An edit is enough to bring back what was rolled back.
    Weak,
}

/// The stand-in's rollout.
#[derive(Debug, Default)]
struct Book {
    attempt: u32,
    since: Option<Instant>,
    failures: u32,
    back: bool,
    /// Whether the file had a fallback when it was last looked at.
    fallback: bool,
}

/// The rollout's first stage takes so long.
const FIRST_STAGE: Duration = Duration::from_millis(300);
/// The stand-in's guard.
const FAILURES: u32 = 5;

impl Book {
    /// The weight by this file; begins the rollout where it is new.
    fn weight(&mut self, text: &str, manners: Manners) -> Share {
        let fallback = text.contains("fallback: stable");
        let edited = std::mem::replace(&mut self.fallback, fallback) != fallback;
        let since = *self.since.get_or_insert_with(Instant::now);
        if manners == Manners::Weak && edited {
            self.retry();
        }
        match self.back {
            true => Share::ZERO,
            false => stage::STAGES[usize::from(since.elapsed() > FIRST_STAGE)],
        }
    }

    fn failed(&mut self, manners: Manners) {
        self.failures += 1;
        self.back = self.failures >= FAILURES && manners != Manners::Stubborn;
    }

    fn retry(&mut self) {
        *self = Self {
            attempt: 1,
            since: Some(Instant::now()),
            fallback: self.fallback,
            ..Self::default()
        };
    }

    fn salt(&self) -> &'static str {
        [stage::ROLLOUT, stage::RETRY_SALT][self.attempt.min(1) as usize]
    }
}

/// What all connections of the stand-in share.
#[derive(Debug)]
struct Mind {
    file: PathBuf,
    manners: Manners,
    first: OnceCell<String>,
    book: RefCell<Book>,
}

/// Reads the demo's file at each request, splits by it, and forwards.
struct StandIn {
    tasks: Vec<JoinHandle<()>>,
    gone: bool,
}

impl StandIn {
    fn start(file: &Path, manners: Manners) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let addresses: Vec<SocketAddr> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("address: "))
            .map(|a| a.parse().unwrap())
            .collect();
        let mind = Rc::new(Mind {
            file: file.to_owned(),
            manners,
            first: OnceCell::new(),
            book: RefCell::default(),
        });
        let tasks = addresses
            .into_iter()
            .map(|address| {
                let mind = Rc::clone(&mind);
                let listener = std::net::TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                spawn_local(async move {
                    let listener = TcpListener::from_std(listener).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        let mind = Rc::clone(&mind);
                        let service = service_fn(move |request| {
                            let mind = Rc::clone(&mind);
                            async move { Ok::<_, Infallible>(mind.answer(request).await) }
                        });
                        spawn_local(
                            http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                        );
                    }
                })
            })
            .collect();
        Self { tasks, gone: false }
    }
}

impl Mind {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let now = fs::read_to_string(&self.file).unwrap();
        match request.uri().path() {
            "/readyz" => return Response::new(Full::default()),
            path if path.starts_with("/api/") => return self.tell(path, &now),
            _ => {}
        }
        let text = if self.manners == Manners::Deaf {
            self.first.get_or_init(|| now)
        } else {
            &now
        };
        let (share, salt) = match text.split_once("weights: { v2: ") {
            Some((_, weight)) => {
                let share = weight.split(',').next().unwrap().parse().unwrap();
                (share, stage::SALT)
            }
            None => {
                let mut book = self.book.borrow_mut();
                (book.weight(text, self.manners), book.salt())
            }
        };
        let user = request.headers()["x-user-id"].as_bytes();
        let slot = if self.manners == Manners::Forgetful {
            fastrand::u32(..100_000)
        } else {
            slot(user, Salt::new(salt))
        };
        let on_candidate = slot < share.parts();
        let answer = forward(text, if on_candidate { "v2" } else { "v1" }, &request).await;
        if answer.status().is_success() {
            return answer;
        }
        self.book.borrow_mut().failed(self.manners);
        if text.contains("fallback: stable") && self.manners != Manners::Boastful {
            return forward(text, "v1", &request).await;
        }
        answer
    }

    fn tell(&self, path: &str, text: &str) -> Response<Full<Bytes>> {
        let mut book = self.book.borrow_mut();
        if path.ends_with("/retry") {
            book.retry();
        }
        if !text.contains("rollouts:") || self.manners == Manners::Deaf {
            let mut none = Response::new(Full::default());
            *none.status_mut() = http::StatusCode::NOT_FOUND;
            return none;
        }
        let weight = book.weight(text, self.manners).percent();
        let phase = if book.back { "rolled_back" } else { "holding" };
        let view =
            serde_json::json!({ "phase": phase, "weight": weight, "reason": "five failures" });
        Response::new(Full::from(view.to_string()))
    }
}

async fn forward(text: &str, version: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let name = format!("name: {version}");
    let endpoint = text.lines().find(|line| line.contains(&name)).unwrap();
    let endpoint = endpoint.split('"').nth(1).unwrap();
    let stream = TcpStream::connect(endpoint).await.unwrap();
    let (mut line, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let mut copy = Request::new(Full::<Bytes>::default());
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    let (head, body) = line.send_request(copy).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, Full::new(body))
}

impl Proxy for StandIn {
    fn ended(&mut self) -> Option<String> {
        None
    }

    fn leave(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.gone = true;
    }

    fn left(&mut self) -> Option<bool> {
        self.gone.then_some(true)
    }
}

/// The script in some seconds.
fn script() -> Script {
    Script {
        users: 1000,
        connections: 8,
        rate: 400,
        first: (Share::from_parts(20_000).unwrap(), Duration::from_secs(1)),
        second: (Share::from_parts(50_000).unwrap(), Duration::from_secs(2)),
        hold: FIRST_STAGE,
        climb_within: Duration::from_secs(2),
        told_within: Duration::from_secs(2),
        settle: Duration::from_millis(1500),
        ask_every: Duration::from_millis(50),
        tell_every: Duration::from_millis(500),
        stay: false,
    }
}

fn played(start: Start<'_>) -> (anyhow::Result<Exit>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut out = Vec::new();
    let end = LocalSet::new().block_on(&runtime, async {
        play(&script(), start, &mut Teller::new(&mut out, false)).await
    });
    (end, String::from_utf8(out).unwrap())
}

fn played_with(manners: Manners) -> (Exit, String) {
    let (end, text) = played(&|file| Ok(Box::new(StandIn::start(file, manners))));
    (end.unwrap(), text)
}

#[test]
fn a_proxy_that_keeps_its_promises_ends_the_demo_with_0() {
    let (exit, text) = played_with(Manners::Right);
    // A few users are too few for the share of requests to be near the share of slots: that is for the real script.
    let broken: Vec<_> = text
        .lines()
        .filter(|line| line.contains("FAILED") && !line.contains("asked for"))
        .collect();
    assert!(broken.is_empty(), "{exit:?}\n{text}");
    for told in [
        "the file is edited: v2 20 % → 50 %",
        "the edit is in force",
        "nobody moved back",
        "shop-v2: 5 % → 25 %",
        "shop-v2: 25 % → 0 %, rolled back",
        "an edit does not bring back what was rolled back",
        "without fallback: rolled back",
        "with fallback: rolled back",
        "first failure → weight 0",
        "0 users saw an error",
        "left in order",
    ] {
        assert!(text.contains(told), "it should tell {told:?}:\n{text}");
    }
}

#[test]
fn a_proxy_that_forgets_its_users_ends_the_demo_with_1() {
    let (exit, text) = played_with(Manners::Forgetful);
    assert_eq!(exit, Exit::NO);
    assert!(text.contains("FAILED nobody moved back"), "{text}");
}

#[test]
fn a_proxy_that_never_sees_the_edit_ends_the_demo_with_1() {
    let (exit, text) = played_with(Manners::Deaf);
    assert_eq!(exit, Exit::NO);
    assert!(
        text.contains("FAILED the edit never came into force"),
        "{text}"
    );
}

#[test]
fn a_proxy_that_never_rolls_back_ends_the_demo_with_1() {
    let (exit, text) = played_with(Manners::Stubborn);
    assert_eq!(exit, Exit::NO);
    assert!(
        text.contains("FAILED without fallback: v2 was not rolled back"),
        "{text}"
    );
    assert!(!text.contains("with fallback: rolled back"), "{text}");
}

#[test]
fn a_fallback_that_lets_errors_through_ends_the_demo_with_1() {
    let (exit, text) = played_with(Manners::Boastful);
    assert_eq!(exit, Exit::NO);
    assert!(text.contains("FAILED with fallback: v2 failed"), "{text}");
}

#[test]
fn an_edit_that_brings_back_what_was_rolled_back_ends_the_demo_with_1() {
    let (exit, text) = played_with(Manners::Weak);
    assert_eq!(exit, Exit::NO);
    assert!(
        text.contains("FAILED without fallback: v2 was not rolled back"),
        "{text}"
    );
}

#[test]
fn nothing_of_the_demo_stays_behind() {
    let folder = Rc::new(OnceCell::new());
    let seen = Rc::clone(&folder);
    let start = move |file: &Path| {
        let state = file.with_file_name("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("journal"), "rolled back").unwrap();
        let _ = seen.set(file.parent().unwrap().to_owned());
        Ok(Box::new(StandIn::start(file, Manners::Deaf)) as Box<dyn Proxy>)
    };
    played(&start).0.unwrap();
    let folder: &PathBuf = folder.get().unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
}

#[test]
fn the_real_script_ends_within_a_minute_even_where_each_step_takes_as_long_as_it_may() {
    let script = Script::full(false);
    assert!(
        script.longest() < Duration::from_secs(60),
        "{:?}",
        script.longest()
    );
}

struct Stillborn;

impl Proxy for Stillborn {
    fn ended(&mut self) -> Option<String> {
        Some("cannot bind".to_owned())
    }

    fn leave(&mut self) {}

    fn left(&mut self) -> Option<bool> {
        Some(false)
    }
}

#[test]
fn a_proxy_that_does_not_start_is_told_with_its_last_words() {
    let (end, _) = played(&|_| Ok(Box::new(Stillborn)));
    assert!(end.unwrap_err().to_string().ends_with("cannot bind"));
}

#[test]
fn a_proxy_that_dies_under_way_ends_the_demo_with_1() {
    /// Serves until it is first asked how it is.
    struct Mortal(StandIn);

    impl Proxy for Mortal {
        fn ended(&mut self) -> Option<String> {
            self.0.leave();
            Some("out of memory".to_owned())
        }

        fn leave(&mut self) {}

        fn left(&mut self) -> Option<bool> {
            Some(false)
        }
    }

    let start = |file: &Path| {
        let mortal = Mortal(StandIn::start(file, Manners::Right));
        Ok(Box::new(mortal) as Box<dyn Proxy>)
    };
    let (end, text) = played(&start);
    assert_eq!(end.unwrap(), Exit::NO);
    assert!(
        text.ends_with("the proxy ended by itself; its last words:\nout of memory\n"),
        "{text}"
    );
}

#[test]
fn the_users_of_the_real_script_have_slots_as_even_as_it_promises() {
    let script = Script::full(false);
    let salt = Salt::new(stage::SALT);
    for (share, _) in [script.first, script.second] {
        let on = (0..script.users)
            .filter(|user| slot(load::user_id(*user).as_bytes(), salt) < share.parts())
            .count();
        let seen = 100.0 * on as f64 / script.users as f64;
        assert!(
            (seen - share.percent()).abs() < 1.0,
            "{seen} % of the users for {share}"
        );
    }
}
