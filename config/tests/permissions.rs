//! Who else may touch the files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Loaded, load};

const MAIN: &str = "version: 1
runtime: { include: [\"routes.d/*.yaml\"] }
admin: { tokens_file: ./tokens }
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:3001\"] }] }]
";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The main file, an included one and the tokens with these modes.
fn loaded(main: u32, included: u32, tokens: u32) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("routes.d")).unwrap();
    for (name, text, bits) in [
        ("tidegate.yaml", MAIN, main),
        ("routes.d/a.yaml", "routes: [{ service: app }]", included),
        ("tokens", "admin:all-of-it-please\n", tokens),
    ] {
        fs::write(at(name), text).unwrap();
        mode(&at(name), bits);
    }
    load(&at("tidegate.yaml")).unwrap()
}

fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded.problems.iter().map(|p| p.code).collect()
}

#[test]
fn a_secret_that_others_may_write_is_refused() {
    for bits in [0o602, 0o622, 0o666, 0o777, 0o646, 0o702] {
        let loaded = loaded(0o600, 0o600, bits);
        assert_eq!(codes(&loaded), ["T406"], "{bits:o}");
        assert!(loaded.config.is_none(), "{bits:o}");
        let told = loaded.problems[0].to_string();
        assert!(!told.contains("all-of-it-please"), "{told}");
        assert!(loaded.problems[0].hint.contains("chmod 600"));
        assert_eq!(loaded.problems[0].line, 3, "where the file is named");
    }
}

#[test]
fn a_secret_that_others_may_read_is_warned_of() {
    for bits in [0o644, 0o604, 0o664] {
        let loaded = loaded(0o600, 0o600, bits);
        assert_eq!(codes(&loaded), ["T912"], "{bits:o}");
        assert!(loaded.config.is_some(), "Kubernetes mounts them so");
    }
    for bits in [0o600, 0o400, 0o640, 0o660, 0o440] {
        assert_eq!(codes(&loaded(0o644, 0o644, bits)), [""; 0], "{bits:o}");
    }
}

#[test]
fn a_configuration_that_others_may_write_is_warned_of() {
    assert_eq!(codes(&loaded(0o646, 0o644, 0o600)), ["T913"]);
    assert_eq!(codes(&loaded(0o666, 0o622, 0o600)), ["T913", "T913"]);
    assert!(loaded(0o666, 0o622, 0o600).config.is_some());
    assert_eq!(codes(&loaded(0o664, 0o644, 0o600)), [""; 0]);
}

#[test]
fn a_strangers_file_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("tokens"), "admin:all-of-it-please\n").unwrap();
    mode(&at("tokens"), 0o600);
    fs::write(
        at("tidegate.yaml"),
        format!("{MAIN}routes: [{{ service: app }}]\n"),
    )
    .unwrap();
    // Only root may give files away.
    if std::os::unix::fs::chown(at("tokens"), Some(12_345), None).is_err() {
        return;
    }
    std::os::unix::fs::chown(at("tidegate.yaml"), Some(12_345), None).unwrap();
    let loaded = load(&at("tidegate.yaml")).unwrap();
    assert_eq!(codes(&loaded), ["T914", "T914"]);
    assert!(loaded.config.is_some());
}
