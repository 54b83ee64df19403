//! Versions that are spoken to by TLS: they prove who they are before a byte of a request leaves, and everything else is
//! as it is without.

use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{
    Authority, Backend, Echo, H2Client, Holds, Launch, Load, Pair, Planned, Proxy, Scripted,
    Secure, Site, Tells, WebSocket, command, eventually, failures, grpc_frame, hash, pattern, soon,
    until,
};

/// The name that the endpoints of these tests have.
const NAME: &str = "checkout.internal";
const BOTH: &[&str] = &["h2", "http/1.1"];

/// An authority, and the files that a proxy reads of it.
struct Trust {
    authority: Authority,
    folder: TempDir,
}

impl Trust {
    fn new() -> Self {
        let trust = Self {
            authority: Authority::new("the company"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        trust.authority.write(trust.folder.path(), "ca.crt");
        trust
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate of [`NAME`] and of this machine.
    fn pair(&self) -> Pair {
        self.authority.signs(&[NAME, "127.0.0.1"])
    }

    /// Before a backend that speaks HTTP/1.1.
    fn before(&self, backend: &Backend) -> Secure {
        Secure::before(backend.address, self.pair().server(&["http/1.1"], None))
    }

    /// The key `tls` of a service that believes the authority, with further keys.
    fn tls(&self, more: &str) -> String {
        format!(
            "tls: {{ ca: \"{}\", {more} }}",
            self.path("ca.crt").display()
        )
    }

    /// Writes a client's certificate; the keys that name it.
    fn client(&self, pair: &Pair, name: &str) -> String {
        let (cert, key) = pair.write(self.folder.path(), name);
        format!("cert: \"{}\", key: \"{}\"", cert.display(), key.display())
    }
}

/// Handshakes of a debug build beside other tests take their time.
const PATIENT: &str = "pool: { connect: 10s }";

/// One version at this endpoint, under these keys of the service.
fn site(endpoint: &str, more: &str) -> Site {
    let more = match more.contains("pool:") {
        true => more.to_owned(),
        false => format!("{PATIENT}\n{more}"),
    };
    Site::of(&[("v1", endpoint.to_owned())])
        .route("timeouts: { request: 15s, stream_idle: 10s }", "[]")
        .service(&more, &[("v1", endpoint.to_owned())])
}

fn named() -> String {
    format!("server_name: {NAME}")
}

#[test]
fn requests_go_over_one_kept_connection_though_session_tickets_come_unasked() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let site = site(&secure.endpoint(), &trust.tls(&named()))
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    let mut conn = proxy.connect();
    for number in 0..50 {
        let answer = conn.request("POST", "/x?y=1", &["x-n: 1"], b"some bytes");
        assert_eq!(answer.version(), "v1");
        let echo = Echo::of(&answer);
        assert_eq!(echo.hash, hash(b"some bytes"), "request {number}");
        assert_eq!(echo.target, "/x?y=1");
    }
    let callers = secure.callers();
    assert_eq!(callers.len(), 1, "{callers:?}");
    assert_eq!(callers[0].name.as_deref(), Some(NAME));
    assert_eq!(callers[0].protocol, "http/1.1");
    assert_eq!(
        proxy.metrics().sum("tidegate_upstream_connections", &[]),
        1.0
    );
}

#[test]
fn without_a_server_name_the_endpoints_address_must_be_in_its_certificate() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let proxy = Proxy::start(&site(&secure.endpoint(), &trust.tls("")));
    assert_eq!(proxy.get("/", &[]).version(), "v1");
    assert_eq!(
        secure.callers()[0].name,
        None,
        "an address is no server name"
    );
    let other = Secure::before(
        backend.address,
        trust
            .authority
            .signs(&[NAME, "127.0.0.2"])
            .server(&[], None),
    );
    let proxy = Proxy::start(&site(&other.endpoint(), &trust.tls("")));
    assert_eq!(proxy.get("/", &[]).status, 503);
}

#[test]
fn large_bodies_pass_both_ways_over_either_protocol() {
    let trust = Trust::new();
    let (http1, http2) = (Backend::start("v1"), Backend::h2c("v1"));
    let protocols = [("http/1.1", http1.address), ("h2", http2.address)];
    let body = pattern(5 << 20);
    for (protocol, backend) in protocols {
        let secure = Secure::before(backend, trust.pair().server(&[protocol], None));
        let more = format!("protocol: {protocol}\n{}", trust.tls(&named()));
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        for _ in 0..2 {
            let echo = Echo::of(&proxy.connect().request("PUT", "/", &[], &body));
            assert_eq!(
                (echo.length, echo.hash),
                (body.len(), hash(&body)),
                "{protocol}"
            );
            let answer = proxy.get("/?bytes=5000000", &[]);
            assert_eq!(answer.body.len(), 5_000_000, "{protocol}");
            let answer = H2Client::open(proxy.address("in")).get("/?bytes=3000000&chunks=7", &[]);
            assert_eq!(answer.body.len(), 3_000_000, "{protocol}");
        }
        assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
    }
}

#[test]
fn http_2_over_tls_is_one_connection_with_its_own_scheme_and_grpc_trailers() {
    let (trust, backend) = (Trust::new(), Backend::h2c("v1"));
    let secure = Secure::before(backend.address, trust.pair().server(BOTH, None));
    let more = format!("protocol: h2\n{}", trust.tls(&named()));
    let site = site(&secure.endpoint(), &more)
        .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
    let proxy = Proxy::start(&site);
    let echo = Echo::of(&proxy.get("/a", &[]));
    assert_eq!(echo.header(":scheme"), "https");
    let mut client = H2Client::open(proxy.address("in"));
    for _ in 0..20 {
        let headers = ["content-type: application/grpc", "te: trailers"];
        let answer = client.request("POST", "/s/m", &headers, &grpc_frame(b"hello"));
        assert_eq!(answer.trailers.get("grpc-status"), Some("0"), "{answer:?}");
    }
    let callers = secure.callers();
    assert_eq!(callers.len(), 1, "{callers:?}");
    assert_eq!(callers[0].protocol, "h2");
}

#[test]
fn auto_speaks_what_each_endpoint_likes_best() {
    let trust = Trust::new();
    let (http1, http2) = (Backend::start("v1"), Backend::h2c("v1"));
    let both = Secure::by_protocol(
        trust.pair().server(BOTH, None),
        [("h2", http2.address), ("http/1.1", http1.address)],
    );
    let old = Secure::before(http1.address, trust.pair().server(&["http/1.1"], None));
    // Knows of no ALPN at all.
    let silent = Secure::before(http1.address, trust.pair().server(&[], None));
    let more = format!("protocol: auto\n{}", trust.tls(&named()));
    for (secure, protocol) in [(&both, "h2"), (&old, "http/1.1"), (&silent, "")] {
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        let users = Load::http1(proxy.address("in"), 8, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(200));
        let records = users.finish();
        assert_eq!(records.errors(), 0, "{:?}", failures(&records));
        let body = pattern(100_000);
        let mut client = H2Client::open(proxy.address("in"));
        let headers = ["te: trailers", "x-user-id: 7"];
        let echo = Echo::of(&client.request("POST", "/p?q", &headers, &body));
        assert_eq!((echo.target.as_str(), &echo.hash), ("/p?q", &hash(&body)));
        let is_http2 = protocol == "h2";
        assert_eq!(echo.fields.has("te"), is_http2, "{echo:?}");
        let host = if is_http2 { ":authority" } else { "host" };
        assert_eq!(echo.header(host), "t", "{echo:?}");
        let callers = secure.callers();
        assert!(
            callers.iter().all(|c| c.protocol == protocol),
            "{callers:?}"
        );
        let most = if is_http2 { 2 } else { 20 };
        assert!(callers.len() <= most, "{} connections", callers.len());
        // Only HTTP/1.1 goes on as something else.
        let mut socket = WebSocket::open(proxy.address("in"), "/ws", &[]);
        assert!(socket.say("hello").contains("hello"));
        assert!(socket.close());
        let last = secure.callers().pop().expect("a caller");
        assert!(
            last.protocol == "http/1.1" || protocol.is_empty(),
            "{last:?}"
        );
        assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
    }
}

#[test]
fn a_websocket_over_tls_passes_messages_of_all_sizes_both_ways() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let proxy = Proxy::start(&site(&secure.endpoint(), &trust.tls(&named())));
    let mut socket = WebSocket::open(proxy.address("in"), "/ws", &[]);
    for size in [1, 100, 20_000, 1_000_000] {
        let said = socket.say(&"x".repeat(size));
        assert!(said.len() >= size, "{} of {size}", said.len());
    }
    assert!(socket.close());
}

/// A TLS endpoint that cannot be used, and the word for why.
fn fault(trust: &Trust, backend: &Backend, name: &str) -> (Secure, &'static str) {
    let stranger = Authority::new("somebody else");
    let ours = |names, holds| trust.authority.signs_for(names, holds);
    let (pair, word) = match name {
        "another name" => (ours(&["other.internal"], Holds::Now), "name"),
        "a certificate that has ended" => (ours(&[NAME], Holds::NoMore), "time"),
        "a certificate of tomorrow" => (ours(&[NAME], Holds::NotYet), "time"),
        "a self-signed certificate" => (Pair::self_signed(&[NAME]), "authority"),
        "an unknown authority" => (stranger.signs(&[NAME]), "authority"),
        other => panic!("no fault is called {other}"),
    };
    (
        Secure::before(backend.address, pair.server(BOTH, None)),
        word,
    )
}

/// A GET over either protocol is 503, counted as `connect`, and the log has the reason once.
#[track_caller]
fn cannot_connect(proxy: &Proxy, word: &str) {
    for _ in 0..2 {
        for answer in [
            proxy.get("/", &[]),
            H2Client::open(proxy.address("in")).get("/", &[]),
        ] {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert_eq!(answer.header("x-tidegate-refusal"), "connect");
        }
    }
    let labels = [("version", "v1"), ("kind", "connect")];
    proxy.counts("tidegate_failures_total", &labels, 4.0);
    let told = ("reason", word);
    let sum = proxy
        .metrics()
        .sum("tidegate_upstream_handshake_failures_total", &[told]);
    assert!(sum >= 4.0, "{sum} failed handshakes for {word}");
    proxy.logs(&["no TLS with an endpoint", word]);
    let lines = proxy.log();
    let told = lines.iter().filter(|l| l.contains("no TLS with"));
    assert_eq!(told.count(), 1, "one line in ten seconds: {lines:#?}");
}

#[test]
fn gr_18_an_endpoint_that_does_not_prove_who_it_is_gets_no_request() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    for name in [
        "another name",
        "a certificate that has ended",
        "a certificate of tomorrow",
        "a self-signed certificate",
        "an unknown authority",
    ] {
        for protocol in ["http/1.1", "h2", "auto"] {
            let (secure, word) = fault(&trust, &backend, name);
            let more = format!("protocol: {protocol}\n{}", trust.tls(&named()));
            let proxy = Proxy::start(&site(&secure.endpoint(), &more));
            eprintln!("an endpoint with {name}, by {protocol}");
            cannot_connect(&proxy, word);
        }
    }
    assert_eq!(backend.connections(), 0, "not a byte of a request");
}

#[test]
fn an_endpoint_that_speaks_no_tls_is_a_connect_failure_with_a_reason() {
    let trust = Trust::new();
    let plain = Scripted::start(|scene, _| {
        scene.reader.fill()?;
        scene.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let garbage = Scripted::start(|scene, _| {
        scene.write([0xff; 500])?;
        scene.wait_for_end()
    });
    let closes = Scripted::start(|scene, _| scene.reader.fill().map(drop));
    let at_once = Scripted::start(|_, _| Ok(()));
    let half = Scripted::start(|scene, _| {
        scene.reader.fill()?;
        // A handshake record that is longer than what comes of it.
        scene.write([22, 3, 3, 0, 100, 2, 0, 0, 90])
    });
    for (endpoint, word) in [
        (plain, "not_tls"),
        (garbage, "not_tls"),
        (closes, "closed"),
        (at_once, "closed"),
        (half, "closed"),
    ] {
        let proxy = Proxy::start(&site(&endpoint.endpoint(), &trust.tls(&named())));
        cannot_connect(&proxy, word);
    }
}

/// What `GET /api/v1/status` says of the only endpoint.
fn standing(proxy: &Proxy) -> serde_json::Value {
    proxy.status()["services"][0]["versions"][0]["endpoints"][0].clone()
}

#[test]
fn the_status_says_why_handshakes_fail_for_as_long_as_they_do() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = Secure::before(
        backend.address,
        Pair::self_signed(&[NAME]).server(&["http/1.1"], None),
    );
    let proxy = Proxy::start(&site(&secure.endpoint(), &trust.tls(&named())));
    let before = standing(&proxy);
    assert_eq!(before["checked"], false, "nothing checks it: {before}");
    assert!(before["handshake_failure"].is_null(), "{before}");
    assert_eq!(proxy.get("/", &[]).status, 503);
    let failed = standing(&proxy);
    let why = failed["handshake_failure"].as_str().unwrap_or("");
    assert!(why.contains("not signed by an authority"), "{failed}");
    let url = format!("http://{}", proxy.admin());
    let screen = command(&["status", "--admin", &url], "").stdout;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    for promised in ["1 of 1 in use, not checked", "handshake fails: its cert"] {
        assert!(screen.contains(promised), "{screen}");
    }
    secure.turn(trust.pair().server(&["http/1.1"], None));
    assert_eq!(proxy.get("/", &[]).version(), "v1");
    let well = standing(&proxy);
    assert!(well["handshake_failure"].is_null(), "{well}");
}

#[test]
fn an_endpoint_that_speaks_tls_to_a_service_that_does_not_is_told_to_the_operator_once() {
    let (trust, http1, http2) = (Trust::new(), Backend::start("v1"), Backend::h2c("v1"));
    for (protocol, backend) in [("http/1.1", &http1), ("h2c", &http2)] {
        let secure = Secure::before(backend.address, trust.pair().server(&[], None));
        let proxy = Proxy::start(&site(&secure.endpoint(), &format!("protocol: {protocol}")));
        for _ in 0..3 {
            assert_eq!(proxy.get("/", &[]).status, 502);
        }
        let labels = [("version", "v1"), ("kind", "garbage")];
        proxy.counts("tidegate_failures_total", &labels, 3.0);
        let endpoint = secure.endpoint();
        let line = proxy.logs(&["no HTTP from an endpoint", &endpoint, "v1"]);
        for promised in ["a TLS alert came", "add `tls` to the service", "app"] {
            assert!(line.contains(promised), "{promised:?} is not in {line}");
        }
        let lines = proxy.log();
        let told = lines.iter().filter(|l| l.contains("no HTTP from"));
        assert_eq!(told.count(), 1, "one line in ten seconds: {lines:#?}");
    }
}

#[test]
fn an_endpoint_that_speaks_no_http_is_told_to_the_operator_as_far_as_its_words_are_harmless() {
    let mail = Scripted::start(|scene, _| {
        scene.write("220 \x1b[2Jmail\r\n\r\n")?;
        scene.wait_for_end()
    });
    for protocol in ["http/1.1", "h2c"] {
        let proxy = Proxy::start(&site(&mail.endpoint(), &format!("protocol: {protocol}")));
        assert_eq!(proxy.get("/", &[]).status, 502);
        let line = proxy.logs(&["no HTTP from an endpoint", &mail.endpoint()]);
        assert!(
            line.contains("it begins with") && line.contains("mail"),
            "{line}"
        );
        assert!(line.contains("x1b[2J") && !line.contains('\x1b'), "{line}");
    }
}

#[test]
fn an_endpoint_that_does_not_agree_to_http_2_is_a_connect_failure() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let more = format!("protocol: h2\n{}", trust.tls(&named()));
    for protocols in [&["http/1.1"][..], &[]] {
        let secure = Secure::before(backend.address, trust.pair().server(protocols, None));
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        cannot_connect(&proxy, "protocol");
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_handshake_that_hangs_is_504_at_the_connect_bound() {
    let trust = Trust::new();
    let hangs = Scripted::start(|scene, _| scene.wait_for_end());
    for protocol in ["http/1.1", "h2", "auto"] {
        let more = format!(
            "protocol: {protocol}\npool: {{ connect: 300ms }}\n{}",
            trust.tls(&named())
        );
        let proxy = Proxy::start(&site(&hangs.endpoint(), &more));
        let start = Instant::now();
        let answer = proxy.get("/", &[]);
        let took = start.elapsed();
        assert_eq!(answer.status, 504, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-refusal"), "connect_timeout");
        assert!(took >= Duration::from_millis(300) && took < soon(Duration::from_secs(2)));
        assert_eq!(
            proxy.metrics().sum("tidegate_upstream_connections", &[]),
            0.0
        );
    }
}

#[test]
fn an_endpoint_that_speaks_old_versions_alone_is_a_connect_failure() {
    let (trust, port) = (Trust::new(), free_port());
    let (cert, key) = trust.pair().write(trust.folder.path(), "old");
    let server = std::process::Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-tls1_1",
            "-cipher",
            "ALL:@SECLEVEL=0",
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(cert)
        .arg("-key")
        .arg(key)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut server) = server else {
        eprintln!("skipped: there is no openssl here");
        return;
    };
    until("openssl listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let proxy = Proxy::start(&site(&format!("127.0.0.1:{port}"), &trust.tls(&named())));
    let answer = proxy.get("/", &[]);
    let line = proxy.logs(&["no TLS with an endpoint"]);
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(answer.status, 503);
    assert!(line.contains("TLS 1.2"), "{line}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

#[test]
fn a_client_certificate_that_is_missing_or_a_strangers_is_a_connect_failure() {
    let trust = Trust::new();
    let (http1, http2) = (Backend::start("v1"), Backend::h2c("v1"));
    let wants = || {
        Secure::by_protocol(
            trust.pair().server(BOTH, Some(&trust.authority)),
            [("h2", http2.address), ("http/1.1", http1.address)],
        )
    };
    let stranger = Authority::new("a stranger").signs(&["a stranger"]);
    let stranger = format!("{}, {}", named(), trust.client(&stranger, "stranger"));
    let expired = trust.authority.signs_for(&["us"], Holds::NoMore);
    let expired = format!("{}, {}", named(), trust.client(&expired, "expired"));
    for shown in [named(), stranger, expired] {
        for protocol in ["http/1.1", "h2", "auto"] {
            let secure = wants();
            let more = format!("protocol: {protocol}\n{}", trust.tls(&shown));
            let proxy = Proxy::start(&site(&secure.endpoint(), &more));
            eprintln!("{shown}, by {protocol}");
            cannot_connect(&proxy, "client_certificate");
        }
    }
    assert_eq!((http1.requests(), http2.requests()), (0, 0));
    let good = trust.authority.signs(&["us"]);
    let good = format!("{}, {}", named(), trust.client(&good, "good"));
    for protocol in ["http/1.1", "h2", "auto"] {
        let secure = wants();
        let more = format!("protocol: {protocol}\n{}", trust.tls(&good));
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        assert_eq!(proxy.get("/", &[]).version(), "v1");
        assert!(secure.callers()[0].certificate.is_some());
    }
}

#[test]
fn gr_18_a_connection_serves_only_the_settings_that_it_was_made_with() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    // Accepts every client and every name, so that what must differ is up to the proxy.
    let pair = trust.authority.signs(&["one.internal", "two.internal"]);
    let config = || pair.server(&["http/1.1"], Some(&trust.authority));
    let secure = Secure::before(backend.address, config());
    let clients = ["alice", "bob"].map(|name| {
        let pair = trust.authority.signs(&[name]);
        let der = pair.der().0[0].to_vec();
        (trust.client(&pair, name), der)
    });
    trust.authority.write(trust.folder.path(), "ca2.crt");
    let settings = [
        trust.tls(&format!("server_name: one.internal, {}", clients[0].0)),
        trust.tls(&format!("server_name: two.internal, {}", clients[0].0)),
        trust.tls(&format!("server_name: one.internal, {}", clients[1].0)),
        trust
            .tls(&format!("server_name: one.internal, {}", clients[0].0))
            .replace("ca.crt", "ca2.crt"),
    ];
    let with = |tls: &String| site(&secure.endpoint(), tls);
    let proxy = Proxy::start(&with(&settings[0]));
    let mut seen = Vec::new();
    for (turn, tls) in settings.iter().chain(&settings).enumerate() {
        if turn > 0 {
            // One is busy while the settings change, and ends as it began.
            let address = proxy.address("in");
            let busy = std::thread::spawn(move || {
                crate::harness::Conn::open(address)
                    .get("/?delay=700", &[])
                    .status
            });
            let before = backend.requests();
            until("it is under way", || backend.requests() > before);
            proxy.edit(&with(tls));
            let echo = Echo::of(&proxy.get("/", &[]));
            assert!(
                !seen.contains(&echo.connection),
                "turn {turn}: a new connection"
            );
            assert_eq!(busy.join().expect("no panic"), 200);
        }
        let echoes = [(); 4].map(|()| Echo::of(&proxy.get("/", &[])).connection);
        let callers = secure.callers();
        for connection in echoes {
            let caller = &callers[connection - 1];
            let at = turn % settings.len();
            let name = if at == 1 {
                "two.internal"
            } else {
                "one.internal"
            };
            let client = &clients[usize::from(at == 2)].1;
            assert_eq!(caller.name.as_deref(), Some(name), "turn {turn}");
            assert_eq!(caller.certificate.as_ref(), Some(client), "turn {turn}");
        }
        seen.extend(backend.recent().iter().map(|echo| echo.connection));
    }
    assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
    // An edit of something else keeps them.
    let kept = Echo::of(&proxy.get("/", &[])).connection;
    proxy.edit(&with(&settings[3]).route("timeouts: { request: 4s }", "[]"));
    let after: Vec<_> = (0..6)
        .map(|_| Echo::of(&proxy.get("/", &[])).connection)
        .collect();
    assert!(
        after
            .iter()
            .all(|c| *c <= kept.max(seen.iter().copied().max().unwrap_or(0)) + 1),
        "{after:?} after {kept}"
    );
}

#[test]
fn gr_18_two_services_on_one_endpoint_share_nothing() {
    let (trust, backend) = (Trust::new(), Backend::start("both"));
    let secure = Secure::before(
        backend.address,
        trust.pair().server(&["http/1.1"], Some(&trust.authority)),
    );
    let (alice, bob) = (
        trust.authority.signs(&["alice"]),
        trust.authority.signs(&["bob"]),
    );
    let service = |name: &str, pair: &Pair| {
        let tls = trust.tls(&format!("{}, {}", named(), trust.client(pair, name)));
        let tls = format!("{PATIENT}\n{tls}");
        Site::service_text(name, &tls, &[("v1", secure.endpoint())])
    };
    let services = service("alice", &alice) + &service("bob", &bob);
    let site = Site::new().with("services", &services).with(
        "routes",
        "[{ service: alice, match: { path: { prefix: /alice } }, rules: [] }, { service: bob, match: { path: { prefix: /bob } }, rules: [] }]",
    );
    let proxy = Proxy::start(&site);
    for _ in 0..20 {
        for (path, pair) in [("/alice", &alice), ("/bob", &bob)] {
            let echo = Echo::of(&proxy.get(path, &[]));
            let caller = &secure.callers()[echo.connection - 1];
            assert_eq!(
                caller.certificate.as_deref(),
                Some(&*pair.der().0[0]),
                "{path}"
            );
        }
    }
}

#[test]
fn sessions_are_taken_up_again_with_the_same_endpoint_and_settings_alone() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let site = site(&secure.endpoint(), &trust.tls(&named()));
    let proxy = Proxy::start(&site);
    for _ in 0..5 {
        assert_eq!(proxy.get("/?close=1", &[]).status, 200);
    }
    let resumed: Vec<_> = secure.callers().iter().map(|c| c.resumed).collect();
    assert_eq!(resumed, [false, true, true, true, true]);
    let client = trust.client(&trust.authority.signs(&["us"]), "us");
    let tls = format!(
        "{PATIENT}\n{}",
        trust.tls(&format!("{}, {client}", named()))
    );
    proxy.edit(&site.service(&tls, &[("v1", secure.endpoint())]));
    assert_eq!(proxy.get("/?close=1", &[]).status, 200);
    assert!(!secure.callers().last().expect("a caller").resumed);
}

#[test]
fn gr_18_client_certificates_that_rotate_every_100_ms_cost_no_request() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = Secure::before(
        backend.address,
        trust.pair().server(&["http/1.1"], Some(&trust.authority)),
    );
    let pairs: Vec<_> = (0..8).map(|_| trust.authority.signs(&["us"])).collect();
    let client = trust.client(&pairs[0], "us");
    let tls = trust.tls(&format!("{}, {client}", named()));
    let proxy = Proxy::start(&site(&secure.endpoint(), &tls));
    // A connection each, so that handshakes never cease.
    let users = Load::start(6, {
        let address = proxy.address("in");
        move |user, stop| {
            crate::harness::each_request(user, stop, Duration::from_millis(2), |_| {
                let mut conn =
                    crate::harness::Conn::try_open(address).map_err(|e| e.to_string())?;
                let answer = conn.try_request("POST", "/?close=1", &[], b"once");
                let answer = answer.map_err(|e| e.to_string())?;
                Ok((answer.status, answer.version().to_owned()))
            })
        }
    });
    for turn in 0..60 {
        pairs[turn % pairs.len()].write(trust.folder.path(), "us");
        std::thread::sleep(Duration::from_millis(100));
    }
    let records = users.finish();
    assert_eq!(records.errors(), 0, "{:?}", failures(&records));
    assert!(records.len() > 100, "{} requests", records.len());
    let callers = secure.callers();
    let shown: std::collections::BTreeSet<_> = callers.into_iter().map(|c| c.certificate).collect();
    assert!(shown.len() > 2, "{} certificates were shown", shown.len());
    assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
}

#[test]
fn rs_03_an_answer_whose_end_is_not_announced_is_cut_short() {
    let trust = Trust::new();
    let until_close = "HTTP/1.1 200 OK\r\n\r\nwhole";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwhole";
    for (head, says_goodbye, whole) in [
        (until_close, true, true),
        (until_close, false, false),
        (length, true, false),
        (length, false, false),
    ] {
        let backend = Scripted::start(move |scene, _| {
            scene.request()?;
            scene.write(head)?;
            // The client has read it before the end comes.
            std::thread::sleep(Duration::from_millis(50));
            scene.half_close()
        });
        let secure = Secure::before(backend.address, trust.pair().server(&[], None));
        if !says_goodbye {
            secure.ends_without_a_word();
        }
        let proxy = Proxy::start(&site(&secure.endpoint(), &trust.tls(&named())));
        for answer in [
            proxy
                .connect()
                .try_request("GET", "/", &[], b"")
                .map_err(|e| e.to_string()),
            H2Client::open(proxy.address("in")).try_request("GET", "/", &[], b""),
        ] {
            let is_whole = answer
                .as_ref()
                .is_ok_and(|a| a.status == 200 && a.body == b"whole");
            assert_eq!(
                is_whole, whole,
                "{head:?}, announced {says_goodbye}: {answer:?}"
            );
        }
        let labels = [("version", "v1"), ("kind", "truncated")];
        proxy.counts(
            "tidegate_failures_total",
            &labels,
            if whole { 0.0 } else { 2.0 },
        );
    }
}

#[test]
fn an_idle_connection_that_was_cut_costs_no_request() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let proxy = Proxy::start(&site(&secure.endpoint(), &trust.tls(&named())));
    for _ in 0..10 {
        assert_eq!(proxy.connect().request("POST", "/", &[], b"x").status, 200);
        secure.hang_up();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;

/// Speaks HTTP/2 as far as settings; each request is answered with the frames of `answer`, which is told the
/// connection's number from 1 and the stream.
fn raw_http2(answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |scene, number| {
        scene
            .reader
            .take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len())?;
        scene.write(frame(SETTINGS, 0, 0, &[]))?;
        loop {
            let head = scene.reader.take(9)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            scene.reader.take(length as usize)?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (SETTINGS, 0) => scene.write(frame(SETTINGS, 1, 0, &[]))?,
                (HEADERS, _) => scene.write(answer(number, stream))?,
                _ => {}
            }
        }
    })
}

#[test]
fn rs_07_a_line_end_in_a_header_from_http_2_over_tls_is_502() {
    let trust = Trust::new();
    // `:status: 200`, then `x-evil: a\r\nset-cookie: b` as a literal.
    let value = b"a\r\nset-cookie: b";
    let mut block = vec![0x88, 0, 6];
    block.extend(b"x-evil");
    block.push(u8::try_from(value.len()).expect("a short value"));
    block.extend(value);
    let backend = raw_http2(move |_, stream| frame(HEADERS, WHOLE, stream, &block));
    for protocol in ["h2", "auto"] {
        let secure = Secure::before(backend.address, trust.pair().server(&["h2"], None));
        let more = format!("protocol: {protocol}\n{}", trust.tls(&named()));
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        for answer in [
            proxy.get("/", &[]),
            H2Client::open(proxy.address("in")).get("/", &[]),
        ] {
            assert_eq!(answer.status, 502, "{:?}", answer.fields);
            assert!(!answer.fields.has("set-cookie") && !answer.fields.has("x-evil"));
        }
    }
}

#[test]
fn rs_10_a_stream_that_was_refused_over_tls_is_sent_again_over_another_connection() {
    let trust = Trust::new();
    let answer = |stream| frame(HEADERS, WHOLE, stream, &[0x88]);
    let refuses = raw_http2(move |connection, stream| match connection {
        1 => frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]),
        _ => answer(stream),
    });
    let leaves = raw_http2(move |connection, stream| match connection {
        1 => frame(GOAWAY, 0, 0, &[0; 8]),
        _ => answer(stream),
    });
    for (what, backend) in [("refuses", refuses), ("leaves", leaves)] {
        let secure = Secure::before(backend.address, trust.pair().server(&["h2"], None));
        let more = format!("protocol: h2\n{}", trust.tls(&named()));
        let site = site(&secure.endpoint(), &more)
            .with("runtime", "{ workers: 1, drain: { min: 0s, max: 5s } }");
        let proxy = Proxy::start(&site);
        let mut conn = proxy.connect();
        for _ in 0..3 {
            let answer = conn.request("POST", "/", &[], b"");
            assert_eq!(
                answer.status,
                200,
                "a version that {what}: {}",
                answer.text()
            );
        }
        assert_eq!(secure.callers().len(), 2, "{what}");
        assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
    }
}

#[test]
fn checks_of_health_go_over_tls_with_the_same_settings() {
    let trust = Trust::new();
    let (http1, http2) = (Backend::start("v1"), Backend::h2c("v1"));
    let health = "health: { active: { path: /healthz, interval: 100ms, timeout: 10s, healthy_after: 1, unhealthy_after: 1 } }";
    let shown = |proxy: &Proxy, healthy: f64| {
        eventually(
            "the metric follows",
            Duration::from_secs(10),
            || match proxy
                .metrics()
                .sum("tidegate_endpoint_healthy", &[("version", "v1")])
            {
                seen if seen == healthy => Ok(()),
                seen => Err(format!("{seen}")),
            },
        );
    };
    for (protocol, backend) in [("http/1.1", &http1), ("h2", &http2), ("auto", &http2)] {
        let offered = if protocol == "http/1.1" {
            "http/1.1"
        } else {
            "h2"
        };
        let config = trust.pair().server(&[offered], Some(&trust.authority));
        let secure = Secure::before(backend.address, config);
        let client = trust.client(&trust.authority.signs(&["us"]), "us");
        let tls = trust.tls(&format!("{}, {client}", named()));
        let more = format!("protocol: {protocol}\n{health}\n{tls}");
        let proxy = Proxy::start(&site(&secure.endpoint(), &more));
        let before = backend.state.probes.load(SeqCst);
        until("it is asked", || {
            backend.state.probes.load(SeqCst) > before + 2
        });
        shown(&proxy, 1.0);
        let other = Authority::new("another").signs(&[NAME]);
        secure.turn(other.server(&[offered], None));
        shown(&proxy, 0.0);
        proxy.logs(&["endpoint is unhealthy", "not signed by an authority"]);
        secure.turn(trust.pair().server(&[offered], None));
        shown(&proxy, 1.0);
    }
}

#[test]
fn retries_go_to_an_endpoint_that_proves_who_it_is() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let good = trust.before(&backend);
    let bad = Secure::before(
        backend.address,
        Pair::self_signed(&[NAME]).server(&[], None),
    );
    let both = format!("{}, {}", bad.endpoint(), good.endpoint());
    let site = Site::of(&[("v1", both.clone())])
        .service(
            &format!("{PATIENT}\n{}", trust.tls(&named())),
            &[("v1", both)],
        )
        .route(
            "retry: { failures: [connect], attempts: 2, budget: 100% }",
            "[]",
        );
    let proxy = Proxy::start(&site);
    for _ in 0..20 {
        assert_eq!(proxy.connect().request("POST", "/", &[], b"x").status, 200);
    }
    assert!(bad.refused() > 0, "the other one was tried");
    assert_eq!(proxy.metrics().sum("tidegate_failures_total", &[]), 0.0);
}

/// Two versions behind TLS, and a rollout between them by this plan.
fn rollout(trust: &Trust, v1: &Secure, v2: &Secure, plan: &str) -> Site {
    let versions = [("v1", v1.endpoint()), ("v2", v2.endpoint())];
    let site = Site::of(&versions)
        .service(&format!("{PATIENT}\n{}", trust.tls(&named())), &versions)
        .rules("[{ name: everyone, rollout: shop-v2 }]");
    Planned::plan(&site, plan)
}

#[test]
fn fallback_and_mirror_go_over_tls() {
    let trust = Trust::new();
    let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
    let (s1, s2) = (trust.before(&v1), trust.before(&v2));
    let plan = "stages: [{ mirror: 100%, hold: 10m }, { weight: 100% }]";
    let proxy = Proxy::start(&rollout(&trust, &s1, &s2, plan));
    for _ in 0..10 {
        assert_eq!(proxy.get("/", &[]).version(), "v1");
    }
    // A busy machine may drop one: copies are made beside requests, and only while there is room.
    until("copies arrive", || {
        proxy.get("/", &[]);
        v2.requests() >= 8
    });
    drop(proxy);
    let plan =
        "fallback: stable, stages: [{ weight: 50%, hold: 10m, min_requests: 0 }, { weight: 100% }]";
    let proxy = Proxy::start(&rollout(&trust, &s1, &s2, plan));
    proxy.reaches("holding", 50.0);
    s2.turn(Pair::self_signed(&[NAME]).server(&[], None));
    s2.hang_up();
    std::thread::sleep(Duration::from_millis(50));
    for user in 0..40 {
        let answer = proxy.get("/", &[&format!("x-user-id: {user}")]);
        assert_eq!(
            answer.version(),
            "v1",
            "{} {}",
            answer.status,
            answer.text()
        );
    }
    let fallbacks = proxy.metrics().sum("tidegate_fallbacks_total", &[]);
    assert!(fallbacks > 5.0, "{fallbacks} fallbacks");
}

#[test]
fn a_gate_is_asked_by_https_and_must_prove_who_it_is() {
    let trust = Trust::new();
    let yes = Scripted::always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let gate = Secure::before(
        yes.address,
        trust.authority.signs(&["localhost"]).server(&[], None),
    );
    let stages = "stages: [{ weight: 20%, min_requests: 0, hold: 200ms }, { weight: 50%, hold: 10m }, { weight: 100% }]";
    let gated = |ca: &str| {
        format!(
            "{stages}, gates: [{{ name: e2e, before_stage: 2, http: \"https://localhost:{}/gate\", ca: \"{ca}\" }}]",
            gate.address.port()
        )
    };
    let stranger = Authority::new("a stranger").write(trust.folder.path(), "stranger.crt");
    let planned = Planned::by(&gated(&stranger.display().to_string()));
    let proxy = planned.start();
    eventually("the gate is not believed", Duration::from_secs(10), || {
        let seen = proxy.rollout();
        let reason = seen["reason"].as_str().unwrap_or("");
        (reason.contains("gate e2e cannot be asked by https") && reason.contains("authority"))
            .then_some(())
            .ok_or(seen.to_string())
    });
    proxy.stays("waiting", 20.0);
    let ca = trust.path("ca.crt").display().to_string();
    proxy.edit(&Planned::plan(&planned.site, &gated(&ca)));
    proxy.reaches("holding", 50.0);
}

#[test]
fn the_machines_authorities_are_believed_and_their_absence_is_told_at_the_start() {
    let (trust, backend) = (Trust::new(), Backend::start("v1"));
    let secure = trust.before(&backend);
    let site = site(&secure.endpoint(), &format!("tls: {{ {} }}", named()));
    let ca = trust.path("ca.crt");
    let machine = format!("export SSL_CERT_FILE='{}' SSL_CERT_DIR=", ca.display());
    let proxy = Launch::new(&site).after(&machine).start();
    assert_eq!(proxy.get("/", &[]).version(), "v1");
    drop(proxy);
    let none = "export SSL_CERT_FILE=/nonexistent SSL_CERT_DIR=/nonexistent";
    let (code, log) = Launch::new(&site).after(none).fails();
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("T409") && log.contains("no certificate authorities"),
        "{log}"
    );
    assert!(log.contains("ca-certificates"), "what to do: {log}");
}
