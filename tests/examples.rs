//! Every file in `examples/` loads as it stands and does what its first sentence says; only the ports are the test's, and
//! where an example holds for an hour, the test's holds are short.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::harness::{
    Authority, Backend, Caller, Conn, Echo, Gauges, H2Client, Launch, Proxy, Secure, Store, Tls,
    WebSocket, command, grpc_frame, replace,
};

mod rollouts;

/// An example with the proxy before test backends, each named by the version that its endpoint stood for.
struct Stage {
    /// By the name that stood before the endpoint, and the endpoint.
    backends: BTreeMap<(String, String), Backend>,
    /// Before them, where the example speaks TLS to them.
    secure: Vec<Secure>,
    /// Where the example asks a Prometheus.
    store: Option<(Gauges, Store)>,
    proxy: Proxy,
    listener: String,
    /// Where the example has certificates: who made them.
    authority: Option<Authority>,
}

/// Where an example's Prometheus is.
const PROMETHEUS: &str = "http://127.0.0.1:9090";

/// What shows that an example does what it says.
type Exercise = fn(&Stage);

/// The examples by file name.
const EXERCISES: &[(&str, Exercise)] = &[
    ("by_header.yaml", by_header),
    ("by_region.yaml", by_region),
    ("by_user.yaml", by_user),
    ("edge_tls.yaml", edge_tls),
    ("grpc.yaml", grpc),
    ("quickstart.yaml", quickstart),
    ("sidecar.yaml", sidecar),
    ("tls_upstream.yaml", tls_upstream),
    ("websocket.yaml", websocket),
    ("weight.yaml", weight),
];

fn quickstart(stage: &Stage) {
    let share = stage.share("x-user-id: {}", "v2", 1000);
    assert!(
        (6.0..=14.0).contains(&share),
        "one request in ten, here {share} %"
    );
}

fn by_user(stage: &Stage) {
    let share = stage.share("x-user-id: {}", "v2", 3000);
    assert!(
        (17.0..=23.0).contains(&share),
        "one user in five, here {share} %"
    );
    assert_eq!(stage.version(&["x-user-id: alice"]), "v2");
    for user in ["a", "b", "c", "d", "e", "f"] {
        let header = format!("x-user-id: {user}");
        let first = stage.version(&[&header]);
        assert!(
            (0..5).all(|_| stage.version(&[&header]) == first),
            "{user} stays"
        );
    }
    assert!(
        stage
            .connect()
            .get("/", &[])
            .header("set-cookie")
            .starts_with("tidegate_id=")
    );
}

fn by_header(stage: &Stage) {
    assert_eq!(stage.version(&["x-beta: 1"]), "v2");
    assert_eq!(stage.version(&["Cookie: beta=yes"]), "v2");
    assert_eq!(stage.connect().get("/?preview=v2", &[]).version(), "v2");
    assert_eq!(stage.version(&["x-beta: 1", "User-Agent: some bot"]), "v1");
    assert_eq!(stage.version(&[]), "v1");
}

fn by_region(stage: &Stage) {
    for (region, version) in [
        ("SE", "v2"),
        ("NO", "v2"),
        ("US", "v1"),
        ("US-CA", "v1"),
        ("JP", "v1"),
    ] {
        assert_eq!(
            stage.version(&[&format!("x-region: {region}")]),
            version,
            "{region}"
        );
    }
    assert_eq!(stage.version(&[]), "v1");
    let europe = stage.version(&["x-region: DE"]);
    assert_eq!(
        stage.version(&["x-region: FR"]),
        europe,
        "by the client's address, which is one here"
    );
}

fn grpc(stage: &Stage) {
    let mut client = H2Client::open(stage.proxy.address(&stage.listener));
    let mut call = |target: &str, tenant: &str| {
        let headers = [
            "content-type: application/grpc",
            "te: trailers",
            &format!("x-tenant: {tenant}"),
        ];
        let answer = client.request("POST", target, &headers, &grpc_frame(b"hello"));
        assert_eq!(
            (answer.status, answer.trailers.get("grpc-status")),
            (200, Some("0"))
        );
        answer.version().to_owned()
    };
    let candidates = (0..300)
        .filter(|n| call("/catalog.v1.Catalog/Find", &format!("t{n}")) == "v2")
        .count();
    assert!(
        (12..=50).contains(&candidates),
        "one tenant in ten, here {candidates} of 300"
    );
    assert!((0..20).all(|n| call("/other.v1.Other/Get", &format!("t{n}")) == "v1"));
}

fn websocket(stage: &Stage) {
    let address = stage.proxy.address(&stage.listener);
    let mut open: Vec<_> = (0..40)
        .map(|n| {
            let cookie = format!(
                "tidegate_id={}",
                "0123456789abcdef".repeat(2).replace('f', &n.to_string())
            );
            let mut socket = WebSocket::open(address, "/socket", &[("cookie", &cookie)]);
            (socket.say("who"), socket)
        })
        .collect();
    let on_v2 = open.iter().filter(|(said, _)| said == "v2:who").count();
    assert!(
        (2..=22).contains(&on_v2),
        "a quarter of the users, here {on_v2} of 40"
    );
    stage.rewrite("v2: 25%, v1: 75%", "v2: 0%, v1: 100%");
    for (said, socket) in &mut open {
        assert_eq!(
            socket.say("who"),
            *said,
            "each stays where it is for its whole life"
        );
    }
    assert_eq!(stage.connect().get("/page", &[]).version(), "v1");
}

fn sidecar(stage: &Stage) {
    let mut conn = stage.connect();
    let mut ask = |user: usize| {
        let user = format!("x-user-id: {user}");
        conn.get(
            "/",
            &["Host: stock.internal", &user, "x-tidegate-lane: kept"],
        )
    };
    let echo = Echo::of(&ask(1));
    assert_eq!(
        (echo.header("x-user-id"), echo.header("x-tidegate-lane")),
        ("1", "kept"),
        "it strips nothing"
    );
    let candidates = (0..2000).filter(|n| ask(*n).version() == "v2").count();
    assert!(
        (60..=140).contains(&candidates),
        "one user in twenty, here {candidates} of 2 000"
    );
    assert_eq!(stage.connect().get("/", &["Host: elsewhere"]).status, 404);
    let mut client =
        H2Client::open(stage.proxy.address(&stage.listener)).with_authority("a.stock.internal");
    assert_eq!(client.get("/", &["x-user-id: 1"]).status, 200);
}

fn tls_upstream(stage: &Stage) {
    let share = stage.share("x-user-id: {}", "v2", 500);
    assert!((5.0..=16.0).contains(&share), "one in ten, here {share} %");
    let callers: Vec<_> = stage.secure.iter().flat_map(Secure::callers).collect();
    let asked_for = |c: &Caller| c.name.as_deref() == Some("checkout.internal");
    assert!(
        callers.len() > 1 && callers.iter().all(asked_for),
        "{callers:?}"
    );
}

fn weight(stage: &Stage) {
    let share = stage.share("x-user-id: {}", "v2", 2000);
    assert!(
        (3.0..=7.0).contains(&share),
        "one request in twenty, here {share} %"
    );
    stage.rewrite(
        "v1: 94.995%, v2: 5%, v3: 0.005%",
        "v1: 20%, v2: 5%, v3: 75%",
    );
    let share = stage.share("x-user-id: {}", "v3", 500);
    assert!(
        (65.0..=85.0).contains(&share),
        "after an edit of the weights, here {share} %"
    );
}

fn edge_tls(stage: &Stage) {
    let authority = stage.authority.as_ref().expect("its certificates");
    let address = stage.proxy.address("edge");
    let version = |tls: &Tls| {
        let mut conn = tls
            .connect(address, "shop.example.com")
            .expect("a handshake");
        Echo::of(&conn.get("/", &[])).version
    };
    assert_eq!(version(&Tls::believing(authority)), "v1");
    let staff = authority.signs(&["alice.example.com"]);
    assert_eq!(version(&Tls::showing(authority, &staff)), "v2");
    let mut plain = Conn::open(stage.proxy.address("plain"));
    let answer = plain.get("/cart", &["Host: shop.example.com"]);
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, "https://shop.example.com:8443/cart")
    );
}

/// The certificates that an example names, made for it.
fn certificates_beside(text: &str, folder: &Path) -> Option<Authority> {
    if !text.contains("./tls/") {
        return None;
    }
    let authority = Authority::new("an authority");
    let tls = folder.join("tls");
    fs::create_dir_all(&tls).expect("a folder");
    authority.signs(&["shop.example.com"]).write(&tls, "shop");
    replace(&tls.join("staff-ca.crt"), &authority.pem());
    Some(authority)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("there are examples")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_says_what_it_does_and_loads_as_it_stands() {
    assert!(!files().is_empty(), "there are examples");
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("# "),
            "{} opens with a sentence",
            file.display()
        );
        let folder = tempfile::tempdir().expect("a folder");
        let beside = folder.path().join(file.file_name().unwrap());
        fs::write(&beside, &text).unwrap();
        copy_beside(&file, folder.path());
        certificates_beside(&text, folder.path());
        let check = command(&["check", beside.to_str().unwrap()], "");
        let told = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
        assert_eq!(check.status.code(), Some(0), "{}:\n{told}", file.display());
        assert!(!told.contains("warning["), "{}:\n{told}", file.display());
    }
}

/// Sets an example on the stage and sees that it does what it says.
#[track_caller]
fn exercise(name: &str) {
    let file = files().into_iter().find(|file| file.ends_with(name));
    let file = file.unwrap_or_else(|| panic!("examples/{name} is gone"));
    let exercise = EXERCISES
        .iter()
        .chain(rollouts::EXERCISES)
        .find(|(n, _)| *n == name);
    let (_, exercise) = exercise.unwrap_or_else(|| panic!("{name} has no exercise here"));
    eprintln!("examples/{name}");
    exercise(&Stage::set(&file));
}

#[test]
fn every_example_has_its_exercise() {
    for file in files() {
        let mut all = EXERCISES.iter().chain(rollouts::EXERCISES);
        assert!(
            all.any(|(name, _)| file.ends_with(name)),
            "{} has no exercise here",
            file.display()
        );
    }
}

#[test]
fn every_example_of_routing_does_what_it_says() {
    for (name, _) in EXERCISES {
        exercise(name);
    }
}

impl Stage {
    /// Puts free ports in the place of the listeners' and the admin API's, backends in the place of the endpoints, and
    /// short times in the place of long ones.
    fn set(file: &Path) -> Self {
        let mut text = fs::read_to_string(file).unwrap();
        for (from, to) in rollouts::SHORTER
            .iter()
            .find(|(name, _)| file.ends_with(name))
            .map_or(&[][..], |(_, shorter)| shorter)
        {
            assert!(text.contains(from), "{} holds {from:?}", file.display());
            text = text.replace(from, to);
        }
        let has_store = text.contains(PROMETHEUS);
        // No endpoint of a version: it must not become a backend.
        text = text.replace(PROMETHEUS, "PROMETHEUS");
        let listener = Regex::new(r"listeners:\s*\n(?:\s*#.*\n)*\s*-\s*\{?\s*name:\s*([\w-]+)")
            .unwrap()
            .captures(&text);
        let listener = listener
            .map(|c| c[1].to_owned())
            .expect("a listener with a name");
        let address = Regex::new(r#"address:\s*"?[\w.\[\]:]+:\d+"?"#).unwrap();
        let text = address
            .replace_all(&text, "address: 127.0.0.1:0")
            .into_owned();
        let h2c = text.contains("protocol: h2c");
        let upstream = text
            .contains("./upstream-ca.crt")
            .then(|| Authority::new("the example's"));
        let mut secure = Vec::new();
        let mut backends: BTreeMap<(String, String), Backend> = BTreeMap::new();
        let token = Regex::new(r"name:\s*([\w.-]+)|(127\.0\.0\.1:[1-9]\d*)").unwrap();
        let (mut version, mut out, mut from) = (String::new(), String::new(), 0);
        for found in token.captures_iter(&text) {
            if let Some(name) = found.get(1) {
                name.as_str().clone_into(&mut version);
            } else if let Some(endpoint) = found.get(2) {
                let backend = backends
                    .entry((version.clone(), endpoint.as_str().to_owned()))
                    .or_insert_with(|| {
                        if h2c {
                            Backend::h2c(&version)
                        } else {
                            Backend::start(&version)
                        }
                    });
                out += &text[from..endpoint.start()];
                out += &match &upstream {
                    None => backend.endpoint(),
                    Some(authority) => {
                        let pair = authority.signs(&["checkout.internal"]);
                        let tls = Secure::before(backend.address, pair.server(&["http/1.1"], None));
                        secure.push(tls);
                        secure[secure.len() - 1].endpoint()
                    }
                };
                from = endpoint.end();
            }
        }
        out += &text[from..];
        let store = has_store.then(|| {
            let gauges = Gauges::start();
            let store = Store::start(&[&gauges]);
            (gauges, store)
        });
        if let Some((_, store)) = &store {
            out = out.replace("PROMETHEUS", &store.url());
        }
        // Whoever is started machine by machine is down at first.
        for ((version, _), backend) in &backends {
            backend.set_healthy(!(out.contains("by_endpoints") && version == "v2"));
        }
        if !out.contains("admin:") {
            out += "\nadmin: { address: 127.0.0.1:0 }\n";
        }
        if !out.contains("runtime:") {
            out += "\nruntime: { workers: 2, drain: { min: 0s, max: 5s } }\n";
        }
        let launch = Launch::text(&out);
        copy_beside(file, launch.folder());
        if let Some(upstream) = &upstream {
            upstream.write(launch.folder(), "upstream-ca.crt");
        }
        let authority = certificates_beside(&out, launch.folder());
        Self {
            authority,
            backends,
            secure,
            store,
            proxy: launch.start(),
            listener,
        }
    }

    fn connect(&self) -> Conn {
        Conn::open(self.proxy.address(&self.listener))
    }

    /// The n-th backend of a version, in the order of its endpoints.
    fn backend(&self, version: &str, nth: usize) -> &Backend {
        let mut of = self
            .backends
            .iter()
            .filter(|((name, _), _)| name == version);
        of.nth(nth)
            .map(|(_, backend)| backend)
            .expect("the example has it")
    }

    /// Edits the file and waits until the edit is in force.
    fn rewrite(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.proxy.file()).unwrap();
        assert!(text.contains(from), "the example holds {from:?}");
        let (before, start) = (self.proxy.revision(), std::time::Instant::now());
        self.proxy.write(&text.replace(from, to));
        self.proxy.in_force_after(before, start);
    }

    /// Which version answers these headers.
    fn version(&self, headers: &[&str]) -> String {
        self.connect().get("/", headers).version().to_owned()
    }

    /// The share in percent that a version has of so many users, told by this header.
    fn share(&self, header: &str, version: &str, users: usize) -> f64 {
        let mut conn = self.connect();
        let hits = (0..users)
            .filter(|n| {
                conn.get("/?bytes=1", &[&header.replace("{}", &n.to_string())])
                    .version()
                    == version
            })
            .count();
        hits as f64 * 100.0 / users as f64
    }
}

/// Lists and databases that an example names stand beside it.
fn copy_beside(file: &Path, folder: &Path) {
    for entry in fs::read_dir(file.parent().unwrap())
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if path.is_file() && path.extension().is_none_or(|e| e != "yaml") {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
}
