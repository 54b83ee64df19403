//! Who is believed where the proxy calls others: `services[].tls`, and `ca` of gates and metrics.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use crate::tls::ServiceTls;
use crate::{Loaded, Plan, Protocol, load};

/// An authority's `ca.crt`, its expired `old.crt`, and the pairs `a` and `b`, which it signed.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut old = params.clone();
    old.not_after = date_time_ymd(2001, 1, 1);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let old = CertifiedIssuer::self_signed(old, KeyPair::generate().unwrap()).unwrap();
    write("ca.crt", authority.pem());
    write("old.crt", old.pem());
    for name in ["a", "b"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &authority).unwrap();
        write(&format!("{name}.crt"), signed.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    folder
}

/// A file with one service that has these keys too.
fn with(folder: &Path, keys: &str, endpoint: &str) -> Loaded {
    let text = format!(
        "version: 1
listeners: [{{ name: in, address: \"127.0.0.1:8080\" }}]
services: [{{ name: app, stable: v1, versions: [{{ name: v1, endpoints: [\"{endpoint}\"] }}], {keys} }}]
routes: [{{ service: app, rules: [] }}]
"
    );
    let path = folder.join("tidegate.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path).unwrap()
}

const ENDPOINT: &str = "127.0.0.1:3001";

#[track_caller]
fn told(keys: &str, endpoint: &str, code: &str, text: &str) {
    let folder = folder();
    let loaded = with(folder.path(), keys, endpoint);
    let problems: String = loaded.problems.iter().map(|p| p.render(false)).collect();
    assert!(
        problems.contains(&format!("[{code}]")) && problems.contains(text),
        "{keys}: {problems}"
    );
    assert_eq!(loaded.problems.len(), 1, "{keys}: {problems}");
}

fn tls(loaded: Loaded) -> ServiceTls {
    let problems: String = loaded.problems.iter().map(|p| p.render(false)).collect();
    let mut config = loaded.config.unwrap_or_else(|| panic!("{problems}"));
    config.services.remove(0).tls.expect("tls")
}

#[test]
fn protocols_go_with_tls_or_without() {
    let folder = folder();
    for (keys, protocol) in [
        ("tls: { ca: ca.crt }", Protocol::Http1),
        ("protocol: http/1.1, tls: { ca: ca.crt }", Protocol::Http1),
        ("protocol: h2, tls: { ca: ca.crt }", Protocol::H2),
        ("protocol: auto, tls: { ca: ca.crt }", Protocol::Auto),
    ] {
        let loaded = with(folder.path(), keys, ENDPOINT);
        assert_eq!(loaded.config.expect(keys).services[0].protocol, protocol);
    }
    told("protocol: h2", ENDPOINT, "T314", "write `protocol: h2c`");
    told(
        "protocol: auto",
        ENDPOINT,
        "T314",
        "write `http/1.1` or `h2c`",
    );
    told(
        "protocol: h2c, tls: { ca: ca.crt }",
        ENDPOINT,
        "T314",
        "write `protocol: h2`",
    );
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    for (tls, code, text) in [
        ("cert: a.crt", "T108", "`cert` is given without `key`"),
        ("key: a.key", "T108", "`key` is given without `cert`"),
        ("cert: a.crt, key: b.key", "T404", "is not the key of"),
        ("server_name: \"*.internal\"", "T311", "no server name"),
        ("server_name: \"a b\"", "T311", "no server name"),
        ("server_name: \"a.internal:443\"", "T311", "without port"),
        ("cert: none.crt, key: a.key", "T401", "cannot read"),
        ("cert: a.key, key: a.key", "T402", "no certificate"),
    ] {
        told(
            &format!("tls: {{ ca: ca.crt, {tls} }}"),
            ENDPOINT,
            code,
            text,
        );
    }
    told("tls: { ca: a.key }", ENDPOINT, "T402", "no certificate");
    told("tls: { ca: old.crt }", ENDPOINT, "T405", "has ended");
    let unix = "unix:/run/app.sock";
    told("tls: { ca: ca.crt }", unix, "T314", "not spoken to by TLS");
}

#[test]
fn settings_are_equal_where_the_bytes_are() {
    let folder = folder();
    let keys = "tls: { ca: ca.crt, server_name: checkout.internal, cert: a.crt, key: a.key }";
    let read = |keys: &str| tls(with(folder.path(), keys, ENDPOINT));
    let first = read(keys);
    assert_eq!(first, read(keys));
    for other in [
        "tls: { ca: old.crt, server_name: checkout.internal, cert: a.crt, key: a.key }",
        "tls: { ca: ca.crt, server_name: other.internal, cert: a.crt, key: a.key }",
        "tls: { ca: ca.crt, server_name: checkout.internal, cert: b.crt, key: b.key }",
        "tls: { ca: ca.crt, cert: a.crt, key: a.key }",
        "tls: { ca: ca.crt, server_name: checkout.internal }",
    ] {
        assert_ne!(first, read(other), "{other}");
    }
    for (from, to) in [("b.crt", "a.crt"), ("b.key", "a.key")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    assert_ne!(first, read(keys), "another certificate under the old name");
}

#[test]
fn files_of_certificates_are_watched() {
    let folder = folder();
    let keys = "tls: { ca: ca.crt, cert: a.crt, key: a.key }";
    let loaded = with(folder.path(), keys, ENDPOINT);
    for name in ["ca.crt", "a.crt", "a.key"] {
        let path = folder.path().join(name);
        assert!(loaded.files.contains(&path), "{name} of {:?}", loaded.files);
    }
}

#[test]
fn gates_and_metrics_by_https_have_their_authorities() {
    let folder = folder();
    let text = "version: 1
listeners: [{ name: in, address: \"127.0.0.1:8080\" }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }, { name: v2, endpoints: [\"127.0.0.1:2\"] }] }]
rollouts:
  - name: r
    service: app
    candidate: v2
    stages: [{ weight: 5%, hold: 1m }, { weight: 100% }]
    gates: [{ name: g, before_stage: 1, http: \"https://gate.internal/go\", ca: ca.crt }]
    guard: { metrics: [{ name: m, prometheus: { url: \"https://[::1]:9090\", query: up, ca: ca.crt }, below: 1 }] }
routes: [{ service: app, rules: [{ rollout: r }] }]
";
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path).unwrap();
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let Plan::Stages(stages) = &config.rollouts[0].plan else {
        panic!("stages");
    };
    let authorities = stages.gates[0].authorities.as_ref();
    assert_eq!(authorities.expect("some").roots.len(), 1);
}
