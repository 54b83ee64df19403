//! Files that name files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Action, Loaded, LogOutput, Role, When, load};

const MAIN: &str = "version: 1
runtime: { include: [\"routes.d/*.yaml\"] }
listeners: [{ name: in, address: 127.0.0.1:8080 }]
services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:3001\"] }] }]
";

/// A folder with these files, its main one loaded.
fn loaded(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Loaded) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        // Secrets among them: nobody else's.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let loaded = load(&folder.path().join("tidegate.yaml")).unwrap();
    (folder, loaded)
}

/// Problems as `file:line code`, files without their folder.
fn told(folder: &Path, loaded: &Loaded) -> Vec<String> {
    let name = |file: &Path| {
        file.strip_prefix(folder)
            .unwrap_or(file)
            .display()
            .to_string()
    };
    loaded
        .problems
        .iter()
        .map(|p| format!("{}:{} {}", name(&p.file), p.line, p.code))
        .collect()
}

#[test]
fn included_files_add_to_the_main_one_in_the_order_of_their_names() {
    let (_folder, loaded) = loaded(&[
        ("tidegate.yaml", MAIN.as_bytes()),
        ("routes.d/b.yaml", b"routes: [{ name: b, service: app }]"),
        (
            "routes.d/a.yaml",
            b"version: 1\nroutes: [{ name: a, match: { hosts: [a.b] }, service: app }]",
        ),
        ("routes.d/.hidden.yaml", b"{{{"),
        ("routes.d/readme.txt", b"{{{"),
    ]);
    assert_eq!(loaded.problems, []);
    let names: Vec<String> = loaded
        .config
        .unwrap()
        .routes
        .into_iter()
        .map(|route| route.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn a_problem_in_an_included_file_names_that_file() {
    let (folder, loaded) = loaded(&[
        ("tidegate.yaml", MAIN.as_bytes()),
        (
            "routes.d/a.yaml",
            b"routes:\n  - { name: a, service: app }\n  - { name: b, service: no }\n",
        ),
        (
            "routes.d/b.yaml",
            b"routes:\n  - { name: a, service: app }\nruntime: {}\nservices: []\n",
        ),
    ]);
    assert_eq!(
        told(folder.path(), &loaded),
        [
            "routes.d/a.yaml:3 T201",
            "routes.d/b.yaml:2 T202",
            "routes.d/b.yaml:3 T202"
        ]
    );
    let twice = &loaded.problems[1].message;
    assert!(
        twice.contains("routes.d/a.yaml:2"),
        "both places are told: {twice}"
    );
}

#[test]
fn problems_of_shape_in_all_files_are_told_together() {
    let (folder, loaded) = loaded(&[
        ("tidegate.yaml", format!("{MAIN}x: 1\n").as_bytes()),
        ("routes.d/a.yaml", b"routes: 5\n"),
        ("routes.d/b.yaml", b"routes: [\n"),
    ]);
    let told = told(folder.path(), &loaded);
    assert_eq!(
        told[..2],
        ["tidegate.yaml:5 T103", "routes.d/a.yaml:1 T104"]
    );
    assert!(
        told[2].starts_with("routes.d/b.yaml:") && told[2].ends_with("T101"),
        "{told:?}"
    );
}

#[test]
fn an_included_file_does_not_include() {
    let (folder, loaded) = loaded(&[
        ("tidegate.yaml", MAIN.as_bytes()),
        (
            "routes.d/a.yaml",
            b"runtime: { include: [b.yaml] }\nroutes: [{ name: none, respond: { status: 404 } }]\n",
        ),
    ]);
    assert_eq!(told(folder.path(), &loaded), ["routes.d/a.yaml:1 T202"]);
}

#[test]
fn a_list_of_users_is_read_beside_the_file_that_names_it() {
    let (_folder, loaded) = loaded(&[
        ("tidegate.yaml", format!("{MAIN}identity: {{ user: [{{ client_address: true }}] }}\n").as_bytes()),
        (
            "routes.d/a.yaml",
            b"routes: [{ service: app, rules: [{ to: v1, when: { user: { file: users.txt, any_of: [\"4\"] } } }] }]",
        ),
        ("routes.d/users.txt", b"\xef\xbb\xbf# testers\n1\n\n  2 \r\n#3\n"),
    ]);
    assert_eq!(loaded.problems, []);
    let config = loaded.config.unwrap();
    let Action::Forward(forward) = &config.routes[0].action else {
        panic!("it forwards")
    };
    let Some(When::User(users)) = &forward.rules[0].when else {
        panic!("users")
    };
    assert_eq!(
        users.iter().map(String::as_str).collect::<Vec<_>>(),
        ["1", "2", "4"]
    );
    assert!(
        loaded
            .files
            .iter()
            .any(|file| file.ends_with("routes.d/users.txt"))
    );
}

#[test]
fn tokens_are_read_and_their_mistakes_never_repeat_them() {
    let text = format!("{MAIN}admin: {{ address: 0.0.0.0:9900, tokens_file: tokens }}\nroutes: [{{ name: none, respond: {{ status: 404 }} }}]\n")
        .replace("routes.d/*.yaml", "tidegate.yaml");
    let (_folder, fine) = loaded(&[
        ("tidegate.yaml", text.as_bytes()),
        (
            "tokens",
            b"# who\nviewer: secret-number-1\nadmin:secret-number-2\n",
        ),
    ]);
    assert_eq!(fine.problems, []);
    let roles: Vec<Role> = fine
        .config
        .unwrap()
        .admin
        .tokens
        .iter()
        .map(|token| token.role)
        .collect();
    assert_eq!(roles, [Role::Viewer, Role::Admin]);

    let (folder, bad) = loaded(&[
        ("tidegate.yaml", text.as_bytes()),
        ("tokens", b"viewer:secret-number-1\nsecret-number-3\nadmn:secret-number-4\nadmin:secret-number-1\nadmin:short\n"),
    ]);
    assert_eq!(
        told(folder.path(), &bad),
        [
            "tokens:2 T402",
            "tokens:3 T402",
            "tokens:4 T402",
            "tokens:5 T402"
        ]
    );
    let shown: String = bad.problems.iter().map(|p| p.render(false)).collect();
    assert!(!shown.contains("secret-number"), "{shown}");
    assert!(shown.contains("did you mean `admin`?"), "{shown}");

    let (folder, empty) = loaded(&[
        ("tidegate.yaml", text.as_bytes()),
        ("tokens", b"# nobody\n"),
    ]);
    assert_eq!(told(folder.path(), &empty), ["tidegate.yaml:5 T402"]);
}

#[test]
fn a_database_is_taken_as_it_is_if_it_is_one() {
    let text = format!("{MAIN}geo: {{ database: geo.mmdb }}\n");
    let routes = (
        "routes.d/a.yaml",
        &b"routes: [{ name: none, respond: { status: 404 } }]"[..],
    );
    let (_folder, fine) = loaded(&[
        ("tidegate.yaml", text.as_bytes()),
        ("geo.mmdb", b"tree\xab\xcd\xefMaxMind.com\xe0"),
        routes,
    ]);
    assert_eq!(fine.problems, []);
    assert_eq!(
        fine.config
            .unwrap()
            .geo
            .unwrap()
            .database
            .unwrap()
            .bytes
            .len(),
        19
    );
    let (folder, bad) = loaded(&[
        ("tidegate.yaml", text.as_bytes()),
        ("geo.mmdb", b"<html>"),
        routes,
    ]);
    assert_eq!(told(folder.path(), &bad), ["tidegate.yaml:5 T402"]);
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let (folder, loaded) = loaded(&[
        (
            "tidegate.yaml",
            format!("{MAIN}access_log: {{ output: logs/a.log }}\n").as_bytes(),
        ),
        (
            "routes.d/a.yaml",
            b"routes: [{ name: none, respond: { status: 404 } }]",
        ),
    ]);
    assert_eq!(
        loaded.config.unwrap().access_log.unwrap().output,
        LogOutput::File(folder.path().join("logs/a.log"))
    );
}

#[test]
fn a_file_that_is_not_there_cannot_be_loaded() {
    let error = load(Path::new("/nowhere/tidegate.yaml")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn rollouts_stand_in_any_file_and_have_one_name_in_all_of_them() {
    let main = MAIN.replace(
        "[{ name: v1, endpoints: [\"127.0.0.1:3001\"] }]",
        "[{ name: v1, endpoints: [\"127.0.0.1:3001\"] }, { name: v2, endpoints: [\"127.0.0.1:3002\"] }]",
    );
    let rollout = b"rollouts: [{ name: r, service: app, candidate: v2, bake: 1m, stages: [{ weight: 5% }] }]\n";
    let route = b"routes: [{ service: app, rules: [{ rollout: r }] }]\n";
    let (_folder, fine) = loaded(&[
        ("tidegate.yaml", main.as_bytes()),
        ("routes.d/a.yaml", route),
        ("routes.d/b.yaml", rollout),
    ]);
    assert_eq!(fine.problems, []);
    assert_eq!(fine.config.unwrap().rollouts[0].name, "r");
    let (folder, twice) = loaded(&[
        ("tidegate.yaml", main.as_bytes()),
        ("routes.d/a.yaml", route),
        ("routes.d/b.yaml", rollout),
        ("routes.d/c.yaml", rollout),
    ]);
    assert_eq!(told(folder.path(), &twice), ["routes.d/c.yaml:1 T202"]);
    assert!(twice.problems[0].message.contains("routes.d/b.yaml:1"));
}
