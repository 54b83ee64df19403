//! While a proxy runs, the files of a certificate may be none of a pair for a time: they are written one after the other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair as Key, date_time_ymd};

use crate::reader::Reader;
use crate::tls::{KeyPair, Pairs};
use crate::{Action, Config, Loaded, load_by};

/// A folder with a file that names the pair `shop`, and what was read of it last.
struct Renewed {
    folder: tempfile::TempDir,
    in_force: Pairs,
}

/// A certificate and its key, in PEM.
struct Made {
    cert: String,
    key: String,
}

fn made(until: i32) -> Made {
    let mut params = CertificateParams::new(["shop.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = Key::generate().unwrap();
    Made {
        cert: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

const PAIR: &str = "cert: shop.crt, key: shop.key";

/// A file whose one route answers this status, with these listeners and perhaps more.
fn text(status: u16, listeners: &str, more: &str) -> String {
    format!(
        "version: 1\nlisteners: [{listeners}]\nroutes: [{{ name: r, respond: {{ status: {status} }} }}]\n{more}"
    )
}

fn listener(name: &str, pair: &str) -> String {
    let port = 1000 + u32::from(name.as_bytes()[0]);
    format!(
        "{{ name: {name}, address: \"127.0.0.1:{port}\", tls: {{ certificates: [{{ {pair} }}] }} }}"
    )
}

impl Renewed {
    /// Begins with this pair in force.
    fn new(first: &Made) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut new = Self {
            folder,
            in_force: Pairs::default(),
        };
        new.write("shop.crt", &first.cert);
        new.write("shop.key", &first.key);
        new.edit(200, &listener("in", PAIR));
        new.accepted(&[]);
        new
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn edit(&self, status: u16, listeners: &str) {
        self.write("gate.yaml", &text(status, listeners, ""));
    }

    /// The file, read while what was accepted last is in force.
    fn read(&self) -> Loaded {
        let path = self.folder.path().join("gate.yaml");
        load_by(&path, &mut Reader::of_files(), &self.in_force).unwrap()
    }

    /// The file, which must be good but for warnings of these codes; it is in force from here on.
    #[track_caller]
    fn accepted(&mut self, codes: &[&str]) -> (Config, Loaded) {
        let mut loaded = self.read();
        assert_eq!(told(&loaded), codes, "{:#?}", loaded.problems);
        let config = loaded.config.take().expect("no error");
        self.in_force = Pairs::of(&config);
        (config, loaded)
    }

    #[track_caller]
    fn refused(&self, code: &str) {
        let loaded = self.read();
        assert!(told(&loaded).contains(&code), "{:#?}", loaded.problems);
        assert!(loaded.config.is_none(), "{code}");
    }
}

fn told(loaded: &Loaded) -> Vec<&str> {
    loaded.problems.iter().map(|p| p.code).collect()
}

fn status(config: &Config) -> u16 {
    match &config.routes[0].action {
        Action::Respond(respond) => respond.status,
        _ => panic!("it responds"),
    }
}

fn pair(config: &Config, listener: usize) -> Arc<KeyPair> {
    let tls = config.listeners[listener].tls.as_ref().expect("tls");
    Arc::clone(&tls.certificates[0].pair)
}

#[test]
fn a_pair_that_is_half_written_stays_as_it_was_and_every_other_edit_is_taken() {
    let (old, new) = (made(2090), made(2091));
    let mut shop = Renewed::new(&old);
    let first = pair(&shop.accepted(&[]).0, 0);
    shop.write("shop.crt", &new.cert);
    shop.edit(201, &listener("in", PAIR));
    let (config, loaded) = shop.accepted(&["T411"]);
    assert_eq!(status(&config), 201, "the rest of the edit");
    assert_eq!(pair(&config, 0), first, "the old pair");
    let warning = &loaded.problems[0];
    for words in ["shop.key", "shop.crt", "is not the key", "stays in force"] {
        assert!(warning.message.contains(words), "{words}: {warning}");
    }
    assert!(warning.hint.contains("a restart"), "{}", warning.hint);
    assert_eq!((warning.line, warning.is_error()), (2, false));
    shop.edit(202, &listener("in", PAIR));
    let (config, waiting) = shop.accepted(&["T411"]);
    assert_eq!(status(&config), 202, "a second edit");
    assert_eq!(pair(&config, 0), first, "still the old pair");
    assert_eq!(shop.read().fingerprint, waiting.fingerprint, "no news");
    shop.write("shop.key", &new.key);
    let (config, fits) = shop.accepted(&[]);
    assert_ne!(pair(&config, 0), first, "the new pair");
    assert_ne!(fits.fingerprint, waiting.fingerprint, "it is noticed");
}

#[test]
fn a_file_of_a_pair_that_is_gone_or_cut_short_leaves_the_pair_in_force() {
    let old = made(2090);
    for file in ["shop.crt", "shop.key"] {
        let whole = if file == "shop.crt" {
            &old.cert
        } else {
            &old.key
        };
        for wrong in [
            None,
            Some(""),
            Some(&whole[..whole.len() / 2]),
            Some("no PEM"),
        ] {
            let mut shop = Renewed::new(&old);
            match wrong {
                None => fs::remove_file(shop.folder.path().join(file)).unwrap(),
                Some(text) => shop.write(file, text),
            }
            let (_, loaded) = shop.accepted(&["T411"]);
            let warning = loaded.problems[0].to_string();
            assert!(warning.contains(file), "{warning}");
            shop.write(file, whole);
            shop.accepted(&[]);
        }
    }
}

#[test]
fn at_a_start_and_under_new_names_files_that_are_no_pair_are_an_error() {
    let (old, new) = (made(2090), made(2091));
    let mut shop = Renewed::new(&old);
    shop.write("new.key", &new.key);
    shop.edit(201, &listener("in", "cert: shop.crt, key: new.key"));
    shop.refused("T404");
    shop.edit(201, &listener("in", "cert: shop.crt, key: none.key"));
    shop.refused("T401");
    shop.edit(201, &listener("in", PAIR));
    shop.write("shop.key", &new.key);
    shop.accepted(&["T411"]);
    shop.in_force = Pairs::default();
    shop.refused("T404");
}

#[test]
fn a_key_that_anybody_may_write_is_an_error_whether_it_fits_or_not() {
    let (old, new) = (made(2090), made(2091));
    let shop = Renewed::new(&old);
    for key in [&old.key, &new.key] {
        shop.write("shop.key", key);
        let path = shop.folder.path().join("shop.key");
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        shop.refused("T406");
    }
}

#[test]
fn a_pair_that_is_shown_in_several_places_stays_in_all_of_them() {
    let (old, new) = (made(2090), made(2091));
    let mut shop = Renewed::new(&old);
    shop.write("ca.crt", &old.cert);
    let services = format!(
        "services: [{{ name: app, stable: v1, versions: [{{ name: v1, endpoints: [\"127.0.0.1:1\"] }}], \
         tls: {{ ca: ca.crt, {PAIR} }} }}]\n"
    );
    let listeners = format!("{}, {}", listener("a", PAIR), listener("b", PAIR));
    let file = text(200, &listeners, &services);
    shop.write("gate.yaml", &file);
    let (before, _) = shop.accepted(&[]);
    shop.write("shop.key", &new.key);
    let (config, _) = shop.accepted(&["T411", "T411", "T411"]);
    assert_eq!(config, before);
}

#[test]
fn the_end_that_is_told_is_that_of_the_certificate_in_force() {
    let (old, new) = (made(2001), made(2002));
    let folder = Renewed::new(&made(2090));
    folder.write("shop.crt", &old.cert);
    folder.write("shop.key", &old.key);
    let mut shop = folder;
    shop.accepted(&["T405"]);
    shop.write("shop.crt", &new.cert);
    let (_, loaded) = shop.accepted(&["T405", "T411"]);
    let end = loaded.problems.iter().find(|p| p.code == "T405").unwrap();
    for words in ["the old certificate", "has ended at 2001-01-01"] {
        assert!(end.message.contains(words), "{words}: {end}");
    }
}

#[test]
fn an_ocsp_answer_belongs_to_its_pair_and_one_that_is_named_anew_must_be_there() {
    let old = made(2090);
    let mut shop = Renewed::new(&old);
    let stapled = listener("in", &format!("{PAIR}, ocsp: shop.ocsp"));
    shop.edit(200, &stapled);
    shop.refused("T401");
    // A sequence that begins with the status 0.
    shop.write("shop.ocsp", "\x30\x03\x0a\x01\x00");
    let first = pair(&shop.accepted(&[]).0, 0);
    fs::remove_file(shop.folder.path().join("shop.ocsp")).unwrap();
    let (config, _) = shop.accepted(&["T411"]);
    assert_eq!(pair(&config, 0), first, "its answer too");
    shop.edit(200, &listener("in", &format!("{PAIR}, ocsp: none.ocsp")));
    shop.refused("T401");
    shop.edit(200, &listener("in", PAIR));
    let (config, _) = shop.accepted(&[]);
    assert!(pair(&config, 0).certified.ocsp.is_none());
}
