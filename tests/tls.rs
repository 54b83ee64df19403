//! Encrypted connections: certificates by server name, protocols, sessions, who callers are, and what hostile ones get.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::harness::{
    Authority, Backend, Conn, Echo, Launch, Pair, Proxy, Site, Tls, TlsConn, command, eventually,
    pattern, replace, soon, until,
};

/// A version, an authority, and a listener that shows `shop` (shop.example.com and, by a star, *.example.com) first and
/// `other` (other.example.org) second.
struct Edge {
    version: Backend,
    authority: Authority,
    proxy: Proxy,
}

const SHOP: &str = "shop.example.com";
const OTHER: &str = "other.example.org";
const CERTIFICATES: &str = "certificates: [{ cert: ./shop.crt, key: ./shop.key }, { cert: ./other.crt, key: ./other.key }]";

impl Edge {
    fn new() -> Self {
        Self::with("", "")
    }

    /// With further keys of `tls`, and of the listener.
    fn with(tls: &str, listener: &str) -> Self {
        let version = Backend::start("v1");
        let site = Site::of(&[("v1", version.endpoint())]);
        Self::of(version, &site, tls, listener)
    }

    fn of(version: Backend, site: &Site, tls: &str, listener: &str) -> Self {
        let authority = Authority::new("an authority");
        let site = site
            .clone()
            .listener(&format!("tls: {{ {CERTIFICATES}{tls} }}{listener}"));
        let launch = Launch::new(&site);
        let folder = launch.folder().to_owned();
        authority
            .signs(&[SHOP, "*.example.com"])
            .write(&folder, "shop");
        authority.signs_rsa(&[OTHER]).write(&folder, "other");
        replace(&folder.join("clients.crt"), &authority.pem());
        let proxy = launch.start();
        Self {
            version,
            authority,
            proxy,
        }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.address("in")
    }

    fn tls(&self) -> Tls {
        Tls::believing(&self.authority)
    }

    fn open(&self) -> TlsConn {
        self.tls()
            .connect(self.address(), SHOP)
            .expect("a handshake")
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.proxy
            .metrics()
            .sum("tidegate_tls_handshakes_total", &[("result", result)])
    }
}

fn alert(result: std::io::Result<TlsConn>) -> String {
    result
        .err()
        .map_or_else(|| "a handshake".into(), |e| e.to_string())
}

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let edge = Edge::new();
    let shown = |name: &str| {
        edge.tls()
            .connect(edge.address(), name)
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .certificate()
    };
    let (shop, other) = (shown(SHOP), shown(OTHER));
    assert_ne!(shop, other);
    assert_eq!(shown("anything.example.com"), shop, "a star");
    assert_eq!(shown("SHOP.example.COM"), shop, "in any case");
    assert_eq!(shown("OTHER.EXAMPLE.ORG"), other);
    for name in ["elsewhere.net", "a.b.example.com"] {
        let refused = alert(edge.tls().connect(edge.address(), name));
        assert!(
            refused.contains("certificate"),
            "{name} gets the first, which is not for it: {refused}"
        );
    }
}

fn suite(tls: &TlsConn) -> String {
    let suite = tls.session().negotiated_cipher_suite().expect("a suite");
    format!("{:?}", suite.suite())
}

#[test]
fn the_strongest_suite_is_spoken_whatever_the_caller_puts_first() {
    let edge = Edge::new();
    for versions in [[&TLS12], [&TLS13]] {
        let tls = Tls::with(&edge.authority, None, &versions);
        let usual = tls.connect(edge.address(), SHOP).expect("a handshake");
        let tls = tls.offering(&edge.authority, |suites| suites.reverse());
        let odd = tls.connect(edge.address(), SHOP).expect("a handshake");
        assert!(suite(&usual).contains("AES_256"), "{}", suite(&usual));
        assert_eq!(suite(&odd), suite(&usual));
    }
}

#[test]
fn each_caller_gets_the_kind_of_key_that_it_understands() {
    let authority = Authority::new("an authority");
    let version = Backend::start("v1");
    let site = Site::of(&[("v1", version.endpoint())]).listener(
        "tls: { certificates: [{ cert: ./rsa.crt, key: ./rsa.key }, { cert: ./ec.crt, key: ./ec.key }] }",
    );
    let launch = Launch::new(&site);
    authority.signs_rsa(&[SHOP]).write(launch.folder(), "rsa");
    authority.signs(&[SHOP]).write(launch.folder(), "ec");
    let proxy = launch.start();
    let tls = Tls::with(&authority, None, &[&TLS12]);
    let both = tls.connect(proxy.address("in"), SHOP).expect("both");
    assert!(
        suite(&both).contains("ECDSA"),
        "what costs less: {}",
        suite(&both)
    );
    let tls = tls.offering(&authority, |suites| {
        suites.retain(|suite| format!("{:?}", suite.suite()).contains("RSA"));
    });
    let rsa = tls.connect(proxy.address("in"), SHOP).expect("RSA alone");
    assert!(suite(&rsa).contains("ECDHE_RSA"), "{}", suite(&rsa));
}

#[test]
fn the_protocol_is_agreed_on_or_refused_by_name() {
    let edge = Edge::new();
    let agreed = |protocols: &[&str]| {
        let conn = edge
            .tls()
            .alpn(protocols)
            .connect(edge.address(), SHOP)
            .expect("a handshake");
        let alpn = conn.session().alpn_protocol().map(<[u8]>::to_vec);
        alpn.map(|a| String::from_utf8(a).expect("text"))
    };
    assert_eq!(agreed(&["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(agreed(&["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&[]), None);
    let refused = alert(edge.tls().alpn(&["spdy/3"]).connect(edge.address(), SHOP));
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    until("it is counted", || edge.handshakes("no_protocol") == 1.0);
    edge.proxy.counts(
        "tidegate_refusals_total",
        &[("reason", "tls_handshake")],
        1.0,
    );
    let only = Edge::with("", ", protocols: [http/1.1]");
    let refused = alert(only.tls().alpn(&["h2"]).connect(only.address(), SHOP));
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn the_oldest_version_is_what_the_file_says() {
    let both = Edge::new();
    for version in [&TLS12, &TLS13] {
        let tls = Tls::with(&both.authority, None, &[version]);
        let mut conn = tls.connect(both.address(), SHOP).expect("a handshake");
        assert_eq!(conn.get("/", &[]).status, 200);
    }
    assert_eq!(both.handshakes("full"), 2.0);
    let new = Edge::with(", min_version: \"1.3\"", "");
    let old = Tls::with(&new.authority, None, &[&TLS12]);
    let refused = alert(old.connect(new.address(), SHOP));
    assert!(refused.contains("ProtocolVersion"), "{refused}");
    assert!(new.tls().connect(new.address(), SHOP).is_ok());
    until("it is counted", || new.handshakes("incompatible") == 1.0);
}

#[test]
fn versions_learn_that_the_caller_came_over_https_and_only_then() {
    let version = Backend::start("v1");
    let site = Site::of(&[("v1", version.endpoint())])
        .with("identity", "{ user: [{ assign_cookie: visitor }] }")
        .rules("[{ split: { by: user, weights: { v1: 100% } } }]");
    let edge = Edge::of(version, &site, "", "");
    let mut conn = edge.open();
    let lie = ["x-forwarded-proto: http", "forwarded: proto=http"];
    let answer = conn.get("/", &lie);
    let echo = Echo::of(&answer);
    assert_eq!(echo.header("x-forwarded-proto"), "https");
    assert!(
        echo.header("forwarded").contains("proto=https"),
        "{:?}",
        echo.fields
    );
    assert!(
        answer.header("set-cookie").ends_with("; Secure"),
        "{}",
        answer.header("set-cookie")
    );
    let yaml = std::fs::read_to_string(edge.proxy.file()).expect("the file");
    assert!(yaml.contains("tls"), "{yaml}");
}

#[test]
fn bodies_of_any_size_arrive_whole_both_ways() {
    let edge = Edge::new();
    let mut conn = edge.open();
    for size in [1, 16_383, 16_384, 100_000, 5_000_000] {
        let body = pattern(size);
        let answer = conn
            .try_request("POST", "/up", &[], &body)
            .expect("an answer");
        assert_eq!(Echo::of(&answer).length, size);
        let answer = conn.get(&format!("/down?bytes={size}"), &[]);
        assert!(answer.body == body, "{size} bytes come back");
    }
}

#[test]
fn rl_04_a_scheme_that_the_connection_does_not_have_is_refused() {
    let edge = Edge::new();
    let status = |target: &str| edge.open().get(target, &[]).status;
    assert_eq!(status("https://shop.example.com/x"), 200);
    assert_eq!(status("http://shop.example.com/x"), 400);
    assert_eq!(status("ftp://shop.example.com/x"), 400);
}

#[test]
fn plain_http_is_told_that_this_is_no_place_for_it() {
    let edge = Edge::new();
    let mut conn = Conn::open(edge.address());
    let answer = conn.get("/", &[]);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-tidegate-refusal"), "plain_http");
    assert!(answer.text().contains("HTTPS"), "{}", answer.text());
    assert!(conn.closes_within(Duration::from_secs(5)));
    edge.proxy
        .counts("tidegate_refusals_total", &[("reason", "plain_http")], 1.0);
    assert_eq!(edge.version.requests(), 0);
}

#[test]
fn ds_01_a_caller_that_says_nothing_or_dribbles_its_hello_is_closed_in_time() {
    let edge = Edge::with("", ", timeouts: { handshake: 600ms }");
    let hello = hello(&edge.tls());
    let start = Instant::now();
    let mut silent = Conn::open(edge.address());
    let mut slow = TcpStream::connect(edge.address()).expect("a connection");
    let dribble = std::thread::spawn(move || {
        for byte in hello {
            if slow.write_all(&[byte]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    });
    assert!(silent.closes_within(soon(Duration::from_secs(3))));
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "not before its time"
    );
    assert!(dribble.join().expect("no panic"), "closed in the middle");
    until("both are counted", || edge.handshakes("timeout") == 2.0);
    edge.proxy.counts(
        "tidegate_refusals_total",
        &[("reason", "tls_handshake")],
        2.0,
    );
    assert_eq!(edge.open().get("/", &[]).status, 200);
}

/// A ClientHello as it goes over the wire.
fn hello(tls: &Tls) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut begun = tls.begin(SHOP);
    begun.write_tls(&mut bytes).expect("written");
    bytes
}

#[test]
fn ds_13_a_hello_in_records_of_one_byte_is_understood() {
    let edge = Edge::new();
    let mut client = edge.tls().begin(SHOP);
    let mut whole = Vec::new();
    client.write_tls(&mut whole).expect("written");
    let mut stream = TcpStream::connect(edge.address()).expect("a connection");
    for byte in &whole[5..] {
        stream
            .write_all(&[22, 3, 1, 0, 1, *byte])
            .expect("a record of one byte");
    }
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    while client.is_handshaking() {
        client.complete_io(&mut stream).expect("a handshake");
    }
}

#[test]
fn ds_13_what_is_no_handshake_costs_nothing_and_hurts_nobody() {
    let edge = Edge::with("", ", timeouts: { handshake: 2s }");
    let mut honest = edge.open();
    let good = hello(&edge.tls());
    let mut cases: Vec<Vec<u8>> = vec![
        vec![22, 3, 1, 0xff, 0xff],
        vec![22, 3, 1, 0, 0],
        vec![0; 4096],
        vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
        [&[21, 3, 3, 0, 2, 2, 80][..], &good].concat(),
        [&good[..], &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5]].concat(),
        // A handshake message of 16 MiB, told and never sent.
        [&[22, 3, 1, 64, 0, 1, 0xff, 0xff, 0xff][..], &[7; 16_380]].concat(),
    ];
    for at in (0..good.len()).step_by(7) {
        let mut bent = good.clone();
        bent[at] ^= 0xff;
        cases.push(bent);
        cases.push(good[..at].to_vec());
    }
    let count = cases.len();
    for case in cases {
        let mut stream = TcpStream::connect(edge.address()).expect("a connection");
        let _ = stream.write_all(&case);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert_eq!(honest.get("/", &[]).status, 200, "after {count} others");
    assert_eq!(edge.open().get("/", &[]).status, 200);
    let sum = edge
        .proxy
        .metrics()
        .sum("tidegate_tls_handshakes_total", &[]);
    assert!(sum > 20.0, "they are counted: {sum}");
}

#[test]
fn ds_13_renegotiation_is_refused() {
    let edge = Edge::new();
    let tls = Tls::with(&edge.authority, None, &[&TLS12]);
    let mut conn = tls.connect(edge.address(), SHOP).expect("a handshake");
    assert_eq!(conn.get("/", &[]).status, 200);
    // A handshake record in the clear after the handshake.
    let again = hello(&tls);
    conn.reader.stream.sock.write_all(&again).expect("written");
    let mut rest = Vec::new();
    let ended = conn.reader.stream.read_to_end(&mut rest);
    assert!(rest.is_empty() && (ended.is_err() || ended.is_ok_and(|n| n == 0)));
}

#[test]
fn the_oldest_of_too_many_handshakes_makes_room_and_honest_ones_go_on() {
    let edge = Edge::with("", ", timeouts: { handshake: 20s }");
    let mut half = Vec::new();
    let good = hello(&edge.tls());
    // Two workers hold 512 each.
    for _ in 0..1400 {
        let mut stream = TcpStream::connect(edge.address()).expect("a connection");
        stream.write_all(&good[..20]).expect("the beginning");
        half.push(stream);
    }
    until("some had to go", || edge.handshakes("overload") >= 300.0);
    for _ in 0..10 {
        assert_eq!(edge.open().get("/", &[]).status, 200);
    }
    let metrics = edge.proxy.metrics();
    let refused = metrics.sum("tidegate_refusals_total", &[("reason", "handshakes")]);
    assert!(refused >= 300.0, "{refused}");
}

#[test]
fn sessions_go_on_also_after_a_new_certificate() {
    let edge = Edge::new();
    for version in [&TLS12, &TLS13] {
        let tls = Tls::with(&edge.authority, None, &[version]).resuming();
        let mut first = tls.connect(edge.address(), SHOP).expect("a handshake");
        assert_eq!(first.get("/", &[]).status, 200);
        assert!(!first.is_resumed());
        let before = edge.proxy.revision();
        edge.authority
            .signs(&[SHOP])
            .write(edge.proxy.folder(), "shop");
        until("the new certificate is in force", || {
            edge.proxy.revision() > before
        });
        // Both workers know the tickets of both.
        for _ in 0..4 {
            let mut second = tls.connect(edge.address(), SHOP).expect("a handshake");
            assert_eq!(second.get("/", &[]).status, 200);
            assert!(second.is_resumed(), "{version:?}");
        }
    }
    assert!(edge.handshakes("resumed") >= 8.0);
}

#[test]
fn gr_19_a_session_of_a_listener_without_client_certificates_is_worth_nothing_at_one_with() {
    let version = Backend::start("v1");
    let authority = Authority::new("an authority");
    let certificates = "certificates: [{ cert: ./shop.crt, key: ./shop.key }]";
    let ask = "client_auth: { mode: required, ca: ./clients.crt }";
    let site = Site::of(&[("v1", version.endpoint())]).with(
        "listeners",
        &format!(
            "[{{ name: open, address: \"127.0.0.1:0\", tls: {{ {certificates} }} }}, \
             {{ name: in, address: \"127.0.0.1:0\", tls: {{ {certificates}, {ask} }} }}]"
        ),
    );
    let launch = Launch::new(&site);
    authority.signs(&[SHOP]).write(launch.folder(), "shop");
    replace(&launch.folder().join("clients.crt"), &authority.pem());
    let proxy = launch.start();
    for version in [&TLS12, &TLS13] {
        let tls = Tls::with(&authority, None, &[version]).resuming_everywhere();
        let mut conn = tls.connect(proxy.address("open"), SHOP).expect("open");
        assert_eq!(conn.get("/", &[]).status, 200);
        let again = tls.connect(proxy.address("open"), SHOP).expect("open");
        assert!(again.is_resumed(), "the session itself is good");
        let got_in = tls
            .connect(proxy.address("in"), SHOP)
            .and_then(|mut conn| conn.try_request("GET", "/", &[], b""));
        assert!(got_in.is_err(), "{version:?}: {got_in:?}");
    }
}

#[test]
fn gr_19_a_session_of_one_server_name_is_worth_nothing_at_another() {
    let edge = Edge::with(", client_auth: { mode: optional, ca: ./clients.crt }", "");
    let client = edge
        .authority
        .signs_client("alice.example", "spiffe://example/alice");
    for version in [&TLS12, &TLS13] {
        let tls = Tls::with(&edge.authority, Some(&client), &[version]).resuming_everywhere();
        let mut conn = tls.connect(edge.address(), SHOP).expect("a handshake");
        assert_eq!(conn.get("/", &[]).status, 200);
        let other = tls.connect(edge.address(), OTHER).expect("a handshake");
        assert!(!other.is_resumed(), "{version:?}");
    }
}

#[test]
fn gr_20_no_data_is_taken_before_the_handshake() {
    let edge = Edge::new();
    let mut tls = edge.tls().resuming();
    tls.config.enable_early_data = true;
    let mut first = tls.connect(edge.address(), SHOP).expect("a handshake");
    assert_eq!(first.get("/", &[]).status, 200);
    let mut second = tls.begin(SHOP);
    assert!(second.early_data().is_none(), "its ticket allows none");
}

#[test]
fn callers_must_show_a_certificate_where_the_file_says_so() {
    let edge = Edge::with(", client_auth: { mode: required, ca: ./clients.crt }", "");
    let client = edge
        .authority
        .signs_client("alice.example", "spiffe://example/alice");
    let stranger =
        Authority::new("an authority").signs_client("alice.example", "spiffe://example/alice");
    let ask = |tls: Tls| {
        tls.connect(edge.address(), SHOP)
            .and_then(|mut conn| conn.try_request("GET", "/", &[], b""))
            .map(|answer| answer.status)
            .map_err(|e| e.to_string())
    };
    let none = ask(edge.tls()).expect_err("nobody");
    assert!(
        none.contains("CertificateRequired"),
        "the caller reads why: {none}"
    );
    let unknown = ask(Tls::showing(&edge.authority, &stranger)).expect_err("a stranger");
    assert!(
        unknown.contains("Unknown")
            || unknown.contains("Decrypt")
            || unknown.contains("BadCertificate"),
        "{unknown}"
    );
    assert_eq!(ask(Tls::showing(&edge.authority, &client)), Ok(200));
    until("both are counted", || {
        edge.handshakes("client_certificate") == 2.0
    });
}

#[test]
fn a_certificate_decides_where_a_request_goes_and_who_its_user_is() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())])
        .with("identity", "{ user: [{ client_certificate: dns }] }")
        .rules(
            "[{ when: { client_certificate: { uri: { prefix: \"spiffe://example/team/\" } } }, to: v2 }, \
              { when: { user: { any_of: [bob.example] } }, to: v2 }, \
              { when: { client_certificate: { present: true } }, to: v1 }, \
              { when: { path: { prefix: /open } }, to: v2 }]",
        );
    let edge = Edge::of(
        v1,
        &site,
        ", client_auth: { mode: optional, ca: ./clients.crt }",
        "",
    );
    let goes = |tls: &Tls, target: &str| {
        let mut conn = tls.connect(edge.address(), SHOP).expect("a handshake");
        Echo::of(&conn.get(target, &[])).version
    };
    let issue = |dns: &str, uri: &str| edge.authority.signs_client(dns, uri);
    let team = issue("alice.example", "spiffe://example/team/alice");
    let bob = issue("bob.example", "spiffe://example/bob");
    let carol = issue("carol.example", "spiffe://example/carol");
    let showing = |client: &Pair| Tls::showing(&edge.authority, client).resuming();
    let tls = showing(&team);
    assert_eq!(goes(&tls, "/"), "v2");
    assert_eq!(
        goes(&tls, "/"),
        "v2",
        "a session that goes on has its certificate"
    );
    assert_eq!(goes(&showing(&bob), "/"), "v2");
    assert_eq!(goes(&showing(&carol), "/open"), "v1");
    assert_eq!(goes(&edge.tls(), "/open"), "v2", "no certificate");
    let explain = |part: &str| {
        let file = edge.proxy.file().display().to_string();
        let mut words = vec!["explain", "--config", &file, "/x"];
        if !part.is_empty() {
            words.extend(["--client-certificate", part]);
        }
        let output = command(&words, "");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(
        explain("uri=spiffe://example/team/x").starts_with("app v2"),
        "{}",
        explain("uri=spiffe://example/team/x")
    );
    assert!(explain("dns=bob.example").starts_with("app v2"));
    assert!(explain("dns=x").starts_with("app v1"));
    assert!(
        explain("name=x").contains("no part of a certificate"),
        "{}",
        explain("name=x")
    );
}

#[test]
fn rl_18_under_client_certificates_a_host_of_another_certificate_is_misdirected() {
    let edge = Edge::with(", client_auth: { mode: optional, ca: ./clients.crt }", "");
    let status = |name: &str, host: &str| {
        let mut conn = edge
            .tls()
            .connect(edge.address(), name)
            .expect("a handshake");
        let answer = conn.get("/", &[&format!("host: {host}")]);
        (
            answer.status,
            answer.header("x-tidegate-refusal").to_owned(),
        )
    };
    assert_eq!(status(SHOP, SHOP).0, 200);
    assert_eq!(status(SHOP, "SHOP.example.com:8443").0, 200);
    assert_eq!(
        status(SHOP, "www.example.com").0,
        200,
        "the same certificate is for it"
    );
    let refused = (421, "misdirected".to_owned());
    for host in [OTHER, "elsewhere.net", "a.b.example.com", "127.0.0.1"] {
        assert_eq!(status(SHOP, host), refused, "{host}");
    }
    assert_eq!(status(OTHER, SHOP), refused);
    let free = Edge::new();
    let mut conn = free.open();
    assert_eq!(
        conn.get("/", &[&format!("host: {OTHER}")]).status,
        200,
        "callers are not asked"
    );
}

/// TIDEGATE_ROTATIONS asks for more of them than the fifty of an ordinary run: ten are a second.
#[test]
fn new_certificates_every_tenth_of_a_second_lose_no_handshake() {
    let asked = std::env::var("TIDEGATE_ROTATIONS").ok();
    let turns: usize = asked.map_or(50, |n| n.parse().expect("TIDEGATE_ROTATIONS is a number"));
    let edge = Edge::new();
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let address = edge.address();
    let tls = edge.tls();
    let users: Vec<_> = (0..3)
        .map(|_| {
            let (stop, done, tls) = (stop.clone(), done.clone(), tls.clone());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(SeqCst) {
                    let asked = tls
                        .connect(address, SHOP)
                        .and_then(|mut conn| conn.try_request("GET", "/", &[], b""));
                    match asked {
                        Ok(answer) if answer.status == 200 => drop(done.fetch_add(1, SeqCst)),
                        Ok(answer) => failed.push(answer.status.to_string()),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                failed
            })
        })
        .collect();
    let pairs: Vec<Pair> = (0..10).map(|_| edge.authority.signs(&[SHOP])).collect();
    let before = edge.proxy.revision();
    for turn in 0..turns {
        let pair = &pairs[turn % pairs.len()];
        let folder = edge.proxy.folder();
        // One after the other, with a time between in which the two are not each other's.
        replace(&folder.join("shop.crt"), &pair.cert);
        std::thread::sleep(Duration::from_millis(40));
        replace(&folder.join("shop.key"), &pair.key);
        std::thread::sleep(Duration::from_millis(60));
    }
    let last = pairs[(turns - 1) % pairs.len()].der().0.remove(0);
    eventually(
        "the last certificate is shown",
        soon(Duration::from_secs(5)),
        || {
            if edge.open().certificate() == last.to_vec() {
                Ok(())
            } else {
                Err("an older one".into())
            }
        },
    );
    stop.store(true, SeqCst);
    let failed: Vec<_> = users
        .into_iter()
        .flat_map(|u| u.join().expect("no panic"))
        .collect();
    eprintln!("{turns} certificates, {} handshakes", done.load(SeqCst));
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        done.load(SeqCst),
        &failed[..failed.len().min(5)]
    );
    assert!(
        done.load(SeqCst) > 50,
        "there was load: {}",
        done.load(SeqCst)
    );
    assert!(
        edge.proxy.revision() > before + 3,
        "it changed while there was"
    );
}

#[test]
fn certificates_behind_a_link_that_is_swapped_are_read_again() {
    let version = Backend::start("v1");
    let authority = Authority::new("an authority");
    let site = Site::of(&[("v1", version.endpoint())])
        .listener("tls: { certificates: [{ cert: ./tls/shop.crt, key: ./tls/shop.key }] }");
    let launch = Launch::new(&site);
    // As Kubernetes mounts a secret.
    let tls = launch.folder().join("tls");
    let put = |generation: &str, pair: &Pair| {
        let folder = tls.join(generation);
        std::fs::create_dir_all(&folder).expect("a folder");
        pair.write(&folder, "shop");
        let link = tls.join("..data_tmp");
        std::os::unix::fs::symlink(generation, &link).expect("a link");
        std::fs::rename(&link, tls.join("..data")).expect("swapped");
    };
    let pairs: Vec<Pair> = (0..2).map(|_| authority.signs(&[SHOP])).collect();
    put("..1", &pairs[0]);
    for file in ["shop.crt", "shop.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), tls.join(file)).expect("a link");
    }
    let proxy = launch.start();
    put("..2", &pairs[1]);
    let second = pairs[1].der().0.remove(0);
    let client = Tls::believing(&authority);
    until("the new certificate is shown", || {
        client
            .connect(proxy.address("in"), SHOP)
            .expect("a handshake")
            .certificate()
            == second.to_vec()
    });
}

#[test]
fn a_pair_that_is_half_renewed_holds_up_nobody_and_the_old_one_is_shown_until_it_is_whole() {
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let site = Site::of(&[("v1", v1.endpoint()), ("v2", v2.endpoint())]);
    let to = |version: &str| format!("[{{ split: {{ weights: {{ {version}: 100% }} }} }}]");
    let edge = Edge::of(v1, &site.clone().rules(&to("v1")), "", "");
    let before = edge.open().certificate();
    let version = || Echo::of(&edge.open().get("/", &[])).version;
    assert_eq!(version(), "v1");
    let other = edge.authority.signs(&[SHOP]);
    replace(&edge.proxy.folder().join("shop.crt"), &other.cert);
    let waiting = || {
        let config = edge.proxy.config();
        let warning = config["problems"][0].clone();
        config["ok"] == true && warning["code"] == "T411"
    };
    until("it is told", waiting);
    let file = edge.proxy.config();
    let warning = &file["problems"][0];
    assert_eq!(warning["severity"], "warning", "{file}");
    let message = warning["message"].as_str().expect("a message");
    assert!(
        message.contains("shop.key") && message.contains("the old pair stays in force"),
        "{message}"
    );
    assert_eq!(edge.open().certificate(), before);

    let listener = format!("tls: {{ {CERTIFICATES} }}");
    edge.proxy.edit(&site.listener(&listener).rules(&to("v2")));
    assert_eq!(version(), "v2", "the edit is in force");
    assert_eq!(edge.open().certificate(), before, "the old pair still");
    let file = edge.proxy.ask("POST", "/api/v1/config/reload", "");
    assert_eq!(file.status, 200, "{}", file.text());
    assert!(waiting(), "{}", file.text());
    assert_eq!(edge.open().certificate(), before, "read again, as it was");
    let check = command(&["check", &edge.proxy.file().display().to_string()], "");
    assert_eq!(check.status.code(), Some(1), "a restart would fail");

    replace(&edge.proxy.folder().join("shop.key"), &other.key);
    let new = other.der().0.remove(0).to_vec();
    until("the new pair is shown", || edge.open().certificate() == new);
    until("it is told no more", || {
        !edge.proxy.config()["problems"].to_string().contains("T411")
    });
    let metrics = edge.proxy.metrics();
    assert_eq!(metrics.sum("tidegate_config_rejected_total", &[]), 0.0);
}

#[test]
fn the_ends_of_certificates_are_told_by_metrics_status_and_check() {
    let version = Backend::start("v1");
    let authority = Authority::new("an authority");
    let site = Site::of(&[("v1", version.endpoint())]).listener(
        "tls: { certificates: [{ cert: ./a.crt, key: ./a.key }, { cert: ./b.crt, key: ./b.key }, \
         { hosts: [c.example, d.example], cert: ./c.crt, key: ./c.key }] }",
    );
    let launch = Launch::new(&site);
    let ending = |name: &str, from: i32, to: i32| {
        authority.signs_with(&[name], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        })
    };
    ending("a.example", 2020, 2021).write(launch.folder(), "a");
    ending("b.example", 2020, 2090).write(launch.folder(), "b");
    ending("c.example", 2020, 2090).write(launch.folder(), "c");
    let proxy = launch.start();
    let problems = proxy.config()["problems"].to_string();
    for told in [
        "T405",
        "has ended at 2021-01-01",
        "T408",
        "is not for \\\"d.example\\\"",
    ] {
        assert!(problems.contains(told), "{told}: {problems}");
    }
    let metrics = proxy.metrics();
    let end = |file: &str| {
        let name = "tidegate_tls_certificate_not_after_timestamp_seconds";
        let path = proxy.folder().join(file).display().to_string();
        metrics.sum(name, &[("listener", "in"), ("certificate", &path)])
    };
    assert_eq!(end("a.crt"), 1_609_459_200.0);
    assert_eq!(end("b.crt"), 3_786_912_000.0);
    let status = proxy.status();
    assert_eq!(status["certificates"][1]["names"][0], "b.example");
    assert_eq!(
        status["certificates"][0]["not_after"],
        "2021-01-01T00:00:00Z"
    );
    let checked = command(&["check", &proxy.file().display().to_string()], "");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("b.crt ends 2090-01-01T00:00:00Z (b.example)"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_meant_is_an_error_with_its_place() {
    let authority = Authority::new("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    authority.signs(&[SHOP]).write(folder.path(), "shop");
    authority.signs(&[SHOP]).write(folder.path(), "twin");
    replace(&folder.path().join("ca.crt"), &authority.pem());
    std::fs::write(folder.path().join("none.ocsp"), "no answer").expect("written");
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    replace(&folder.path().join("locked.key"), locked);
    let theirs = folder.path().join("theirs.crt");
    replace(&theirs, &authority.pem());
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&theirs, anybody).expect("mode");
    let pair = "cert: ./shop.crt, key: ./shop.key";
    let cases = [
        (
            "protocols: [h2]".to_owned(),
            "T314",
            "the listener has no `tls`",
        ),
        (
            "timeouts: { handshake: 1s }".to_owned(),
            "T314",
            "no handshake to wait for",
        ),
        (
            format!("protocols: [h2c], tls: {{ certificates: [{{ {pair} }}] }}"),
            "T314",
            "HTTP/2 without TLS",
        ),
        (
            "tls: { certificates: [] }".to_owned(),
            "T204",
            "no certificate to show",
        ),
        ("tls: {}".to_owned(), "T105", "certificates"),
        (
            format!("tls: {{ certificates: [{{ {pair} }}], min_version: 1.2 }}"),
            "T104",
            "",
        ),
        (
            format!("tls: {{ certificates: [{{ {pair} }}], min_version: \"1.1\" }}"),
            "T106",
            "1.1",
        ),
        (
            format!(
                "tls: {{ certificates: [{{ {pair} }}, {{ cert: ./twin.crt, key: ./twin.key }}] }}"
            ),
            "T202",
            "another certificate already",
        ),
        (
            format!("tls: {{ certificates: [{{ hosts: [{SHOP}, SHOP.example.com.], {pair} }}] }}"),
            "T202",
            "listed twice",
        ),
        (
            "tls: { certificates: [{ cert: ./shop.crt, key: ./twin.key }] }".to_owned(),
            "T404",
            "is not the key of",
        ),
        (
            format!(
                "tls: {{ certificates: [{{ {pair} }}], client_auth: {{ mode: required, ca: ./theirs.crt }} }}"
            ),
            "T406",
            "who is believed",
        ),
        (
            "tls: { certificates: [{ cert: ./shop.crt, key: ./locked.key }] }".to_owned(),
            "T402",
            "is encrypted",
        ),
        (
            "tls: { certificates: [{ cert: ./shop.key, key: ./shop.key }] }".to_owned(),
            "T402",
            "holds no certificate",
        ),
        (
            "tls: { certificates: [{ cert: ./shop.crt, key: ./shop.crt }] }".to_owned(),
            "T402",
            "no private key",
        ),
        (
            "tls: { certificates: [{ cert: ./gone.crt, key: ./shop.key }] }".to_owned(),
            "T401",
            "gone.crt",
        ),
        (
            format!("tls: {{ certificates: [{{ {pair} }}], client_auth: {{ mode: required }} }}"),
            "T108",
            "nobody vouches for them",
        ),
        (
            format!(
                "tls: {{ certificates: [{{ {pair} }}], client_auth: {{ mode: none, ca: ./ca.crt }} }}"
            ),
            "T108",
            "not asked",
        ),
        (
            format!("tls: {{ certificates: [{{ {pair} }}], client_auth: {{ ca: ./ca.crt }} }}"),
            "T105",
            "mode",
        ),
        (
            format!("tls: {{ certificates: [{{ {pair}, ocsp: ./none.ocsp }}] }}"),
            "T407",
            "no OCSP answer",
        ),
    ];
    let file = folder.path().join("gate.yaml");
    for (listener, code, words) in cases {
        let yaml = format!(
            "version: 1\nlisteners:\n  - {{ name: in, address: \"127.0.0.1:0\", {listener} }}\nroutes: [{{ name: r, respond: {{ status: 200 }} }}]\n"
        );
        std::fs::write(&file, yaml).expect("written");
        let output = command(
            &["check", &file.display().to_string(), "--format", "json"],
            "",
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let problems: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let hit = problems
            .as_array()
            .expect("a list")
            .iter()
            .find(|p| p["code"] == code);
        let hit = hit.unwrap_or_else(|| panic!("{code} of {listener}: {text}"));
        assert_eq!(hit["line"], 3, "{listener}: {text}");
        assert!(
            hit["message"].as_str().is_some_and(|m| m.contains(words)),
            "{words:?}: {hit}"
        );
        assert!(hit["hint"].as_str().is_some_and(|h| !h.is_empty()), "{hit}");
    }
}

#[test]
fn the_access_log_tells_what_was_agreed_and_who_asked() {
    let version = Backend::start("v1");
    let site =
        Site::of(&[("v1", version.endpoint())]).with("access_log", "{ output: ./access.log }");
    let edge = Edge::of(
        version,
        &site,
        ", client_auth: { mode: optional, ca: ./clients.crt }",
        "",
    );
    let client = edge
        .authority
        .signs_client("alice.example", "spiffe://example/alice");
    let tls = Tls::showing(&edge.authority, &client).alpn(&["http/1.1"]);
    let mut conn = tls.connect(edge.address(), SHOP).expect("a handshake");
    assert_eq!(conn.get("/", &[]).status, 200);
    let log = edge.proxy.folder().join("access.log");
    let line = eventually("a line", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| "none".into())
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["tls_version"], "1.3");
    assert_eq!(line["tls_server_name"], SHOP);
    assert_eq!(line["tls_alpn"], "http/1.1");
    assert!(
        line["tls_cipher"]
            .as_str()
            .is_some_and(|c| c.starts_with("TLS_")),
        "{line}"
    );
    assert_eq!(line["tls_client"], "CN=alice.example");
}

#[test]
fn an_end_is_told_and_one_that_is_not_is_no_end() {
    let edge = Edge::new();
    let mut conn = edge.open();
    let answer = conn.get("/", &["connection: close"]);
    assert_eq!(answer.status, 200);
    assert!(conn.ends(), "close_notify comes before the end");
    let mut conn = edge.open();
    conn.send(b"POST /cut HTTP/1.1\r\nhost: shop.example.com\r\ncontent-length: 10\r\n\r\nfive!")
        .expect("sent");
    drop(conn.reader.stream.sock.shutdown(std::net::Shutdown::Both));
    std::thread::sleep(Duration::from_millis(200));
    let whole = edge
        .version
        .recent()
        .iter()
        .any(|seen| seen.target == "/cut");
    assert!(!whole, "half of a request is none");
    assert_eq!(edge.open().get("/", &[]).status, 200);
}

#[test]
fn a_listener_may_begin_and_end_to_be_encrypted_while_it_runs() {
    let version = Backend::start("v1");
    let authority = Authority::new("an authority");
    let plain = Site::of(&[("v1", version.endpoint())]);
    let encrypted = plain
        .clone()
        .listener("tls: { certificates: [{ cert: ./shop.crt, key: ./shop.key }] }");
    let launch = Launch::new(&plain);
    authority.signs(&[SHOP]).write(launch.folder(), "shop");
    let proxy = launch.start();
    let mut old = Conn::open(proxy.address("in"));
    assert_eq!(old.get("/", &[]).status, 200);
    proxy.edit(&encrypted);
    let tls = Tls::believing(&authority);
    let mut new = tls.connect(proxy.address("in"), SHOP).expect("a handshake");
    assert_eq!(new.get("/", &[]).status, 200);
    assert_eq!(old.get("/", &[]).status, 200, "who is in stays in");
    assert_eq!(
        Echo::of(&old.get("/", &[])).header("x-forwarded-proto"),
        "http"
    );
    proxy.edit(&plain);
    assert_eq!(Conn::open(proxy.address("in")).get("/", &[]).status, 200);
    assert_eq!(
        Echo::of(&new.get("/", &[])).header("x-forwarded-proto"),
        "https"
    );
}

#[test]
fn curl_speaks_both_protocols_over_it() {
    let edge = Edge::new();
    replace(&edge.proxy.folder().join("ca.crt"), &edge.authority.pem());
    let port = edge.address().port();
    for (flag, expected) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let output = std::process::Command::new("curl")
            .args([
                "-sS",
                flag,
                "-o",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code}",
            ])
            .arg("--cacert")
            .arg(edge.proxy.folder().join("ca.crt"))
            .args(["--resolve", &format!("{SHOP}:{port}:127.0.0.1")])
            .arg(format!("https://{SHOP}:{port}/down?bytes=300000"))
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => panic!("curl: {error}"),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            said,
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
