//! What a connection may cost, as the README says it, in whatever state its caller leaves it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Authority, Backend, Conn, Launch, Proxy, Site, Tls, eventually, soon};

use super::frames::{Frames, pseudo};

/// Enough that what the process takes for itself does not matter.
const MANY: usize = 200;

/// KiB that the README allows a connection in this state.
fn stated(state: &str) -> u64 {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let row = readme
        .lines()
        .find(|line| line.starts_with(&format!("| {state} |")));
    let row = row.unwrap_or_else(|| panic!("the README has no row for {state:?}"));
    let size = row.split('|').nth(2).unwrap().trim();
    let (number, unit) = size.split_once(' ').unwrap();
    let number: u64 = number.parse().unwrap();
    match unit {
        "KiB" => number,
        "MiB" => number * 1024,
        other => panic!("{other}"),
    }
}

/// Opens a few connections, and then many; what each of the many took.
#[track_caller]
fn costs<T>(proxy: &Proxy, state: &str, many: usize, open: impl Fn() -> T) {
    let settle = || std::thread::sleep(Duration::from_millis(1500));
    let few: Vec<T> = (0..many / 10).map(|_| open()).collect();
    settle();
    let before = proxy.resident_kib();
    let all: Vec<T> = (0..many).map(|_| open()).collect();
    settle();
    let grown = proxy.resident_kib().saturating_sub(before);
    let each = grown / many as u64;
    eprintln!("{state}: {each} KiB of {} KiB", stated(state));
    assert!(
        each <= stated(state),
        "{state}: {each} KiB each, {} are stated",
        stated(state)
    );
    drop((few, all));
    eventually(
        "all are gone",
        soon(Duration::from_secs(20)),
        || match proxy
            .metrics()
            .sum("tidegate_connections", &[("listener", "in")])
        {
            0.0 => Ok(()),
            open => Err(format!("{open} are open")),
        },
    );
}

fn bed() -> (Backend, Proxy) {
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .service("pool: { max_per_endpoint: 2000 }", &[("v1", v1.endpoint())])
        .listener("limits: { connections: 5000 }")
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    (v1, proxy)
}

#[test]
fn an_idle_connection_and_one_in_the_middle_of_a_head_take_what_is_stated() {
    let (_v1, proxy) = bed();
    let address = proxy.address("in");
    costs(&proxy, "HTTP/1.1, between two requests", MANY * 5, || {
        let mut conn = Conn::open(address);
        assert_eq!(conn.get("/", &[]).status, 200);
        conn
    });
    let most = format!(
        "GET / HTTP/1.1\r\nHost: t\r\nx: {}",
        "y".repeat(32 * 1024 - 100)
    );
    costs(&proxy, "HTTP/1.1, a head that is not whole", MANY, || {
        let mut conn = Conn::open(address);
        conn.send(&most);
        conn
    });
}

#[test]
fn a_slow_body_takes_what_is_stated() {
    let (_v1, proxy) = bed();
    let address = proxy.address("in");
    costs(&proxy, "HTTP/1.1, a body that is waited for", MANY, || {
        let mut conn = Conn::open(address);
        conn.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n");
        conn.send(vec![b'x'; 100_000]);
        conn
    });
}

#[test]
fn a_slow_reader_takes_what_is_stated() {
    let (_v1, proxy) = bed();
    let address = proxy.address("in");
    costs(
        &proxy,
        "HTTP/1.1, an answer that is not taken",
        MANY / 2,
        || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET /?bytes=8000000 HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
            stream
        },
    );
}

#[test]
fn tls_takes_what_is_stated() {
    let authority = Authority::new("an authority");
    let v1 = Backend::start("v1");
    let site = Site::of(&[("v1", v1.endpoint())])
        .listener("tls: { certificates: [{ cert: ./shop.crt, key: ./shop.key }] }")
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let launch = Launch::new(&site);
    authority
        .signs(&["t.example"])
        .write(launch.folder(), "shop");
    let proxy = launch.start();
    let (address, tls) = (proxy.address("in"), Tls::believing(&authority));
    costs(&proxy, "TLS, beside what it carries", MANY, || {
        let mut conn = tls.connect(address, "t.example").unwrap();
        assert_eq!(conn.get("/", &[]).status, 200);
        conn
    });
    costs(&proxy, "TLS, a handshake that is not whole", MANY, || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut session = tls.begin("t.example");
        session.write_tls(&mut stream).unwrap();
        // The server has answered, and waits for our last message.
        session.read_tls(&mut stream).unwrap();
        (stream, session)
    });
}

#[test]
fn an_http_2_connection_takes_what_is_stated() {
    let (_v1, proxy) = bed();
    let address = proxy.address("in");
    costs(&proxy, "HTTP/2, between two requests", MANY, || {
        let mut frames = Frames::open(address);
        frames.request(1, &pseudo("GET", "/"), true);
        assert_eq!(frames.hear(1).status, Some(200));
        frames
    });
    costs(&proxy, "HTTP/2, 100 answers that are not taken", 4, || {
        let mut frames = Frames::with_settings(address, &[(4, 0)]);
        for n in 0..100 {
            frames.request(n * 2 + 1, &pseudo("GET", "/?bytes=1000000"), true);
        }
        frames
    });
}
