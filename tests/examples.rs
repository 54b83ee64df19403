//! Every file in `examples/` loads as it stands and does what its first sentence says; only the ports are the test's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::harness::{
    Backend, Conn, Echo, H2Client, Launch, Proxy, WebSocket, command, grpc_frame,
};

/// An example with the proxy before test backends, each named by the version that its endpoint stood for.
struct Stage {
    _backends: Vec<Backend>,
    proxy: Proxy,
    listener: String,
}

/// What shows that an example does what it says.
type Exercise = fn(&Stage);

/// The examples by file name.
const EXERCISES: &[(&str, Exercise)] = &[];

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
        let check = command(&["check", file.to_str().unwrap()], "");
        let told = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
        assert_eq!(check.status.code(), Some(0), "{}:\n{told}", file.display());
        assert!(!told.contains("warning["), "{}:\n{told}", file.display());
    }
}

#[test]
fn every_example_does_what_it_says() {
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let exercise = EXERCISES
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap_or_else(|| panic!("{name} has no exercise here"));
        eprintln!("examples/{name}");
        (exercise.1)(&Stage::set(&file));
    }
    for (name, _) in EXERCISES {
        assert!(
            files().iter().any(|f| f.ends_with(name)),
            "examples/{name} is gone"
        );
    }
}

impl Stage {
    /// Puts free ports in the place of the listeners' and the admin API's, and backends in the place of the endpoints.
    fn set(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
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
        let mut backends: BTreeMap<String, Backend> = BTreeMap::new();
        let token = Regex::new(r"name:\s*([\w.-]+)|(127\.0\.0\.1:[1-9]\d*)").unwrap();
        let (mut version, mut out, mut from) = (String::new(), String::new(), 0);
        for found in token.captures_iter(&text) {
            if let Some(name) = found.get(1) {
                name.as_str().clone_into(&mut version);
            } else if let Some(endpoint) = found.get(2) {
                let backend = backends
                    .entry(endpoint.as_str().to_owned())
                    .or_insert_with(|| {
                        if h2c {
                            Backend::h2c(&version)
                        } else {
                            Backend::start(&version)
                        }
                    });
                out += &text[from..endpoint.start()];
                out += &backend.endpoint();
                from = endpoint.end();
            }
        }
        out += &text[from..];
        if !out.contains("admin:") {
            out += "\nadmin: { address: 127.0.0.1:0 }\n";
        }
        if !out.contains("runtime:") {
            out += "\nruntime: { workers: 2, drain: { min: 0s, max: 5s } }\n";
        }
        let launch = Launch::text(&out);
        copy_beside(file, launch.folder());
        Self {
            _backends: backends.into_values().collect(),
            proxy: launch.start(),
            listener,
        }
    }

    fn connect(&self) -> Conn {
        Conn::open(self.proxy.address(&self.listener))
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
