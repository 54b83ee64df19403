//! The whole script, in short, with a stand-in for the proxy that can also do wrong.

use std::cell::OnceCell;
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
        let (file, first) = (file.to_owned(), Rc::new(OnceCell::new()));
        let tasks = addresses
            .into_iter()
            .map(|address| {
                let (file, first) = (file.clone(), Rc::clone(&first));
                let listener = std::net::TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                spawn_local(async move {
                    let listener = TcpListener::from_std(listener).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        let (file, first) = (file.clone(), Rc::clone(&first));
                        let service = service_fn(move |request| {
                            split(file.clone(), manners, Rc::clone(&first), request)
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

async fn split(
    file: PathBuf,
    manners: Manners,
    first: Rc<OnceCell<String>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/readyz" {
        return Ok(Response::new(Full::default()));
    }
    let now = fs::read_to_string(file).unwrap();
    let text = if manners == Manners::Deaf {
        first.get_or_init(|| now)
    } else {
        &now
    };
    let (_, weight) = text.split_once("v2: ").unwrap();
    let share: Share = weight.split(',').next().unwrap().parse().unwrap();
    let user = request.headers()["x-user-id"].as_bytes();
    let slot = if manners == Manners::Forgetful {
        fastrand::u32(..100_000)
    } else {
        slot(user, Salt::new(stage::SALT))
    };
    let name = if slot < share.parts() {
        "name: v2"
    } else {
        "name: v1"
    };
    let endpoint = text
        .lines()
        .find(|line| line.contains(name))
        .unwrap()
        .split('"')
        .nth(1)
        .unwrap();
    let stream = TcpStream::connect(endpoint).await.unwrap();
    let (mut line, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let (head, body) = line.send_request(request).await.unwrap().into_parts();
    Ok(Response::from_parts(
        head,
        Full::new(body.collect().await.unwrap().to_bytes()),
    ))
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

/// The script in three seconds.
fn script() -> Script {
    Script {
        users: 100,
        connections: 8,
        rate: 400,
        first: (Share::from_parts(20_000).unwrap(), Duration::from_secs(1)),
        second: (Share::from_parts(50_000).unwrap(), Duration::from_secs(2)),
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
    // A hundred users are too few for the share of requests to be near the share of slots: that is for the real script.
    let broken: Vec<_> = text
        .lines()
        .filter(|line| line.contains("FAILED") && !line.contains("asked for"))
        .collect();
    assert!(broken.is_empty(), "{exit:?}\n{text}");
    for told in [
        "the file is edited: v2 20 % → 50 %",
        "the edit is in force",
        "nobody moved back",
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
