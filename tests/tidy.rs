//! The house stays in order: who may import whom, and what only one place may do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors of the proxy's rooms: a room imports only lower ones.
const FLOORS: &[(&str, u32)] = &[
    ("main", 9),
    ("command", 8),
    ("app", 7),
    ("listen", 6),
    ("dashboard", 6),
    ("exchange", 5),
    ("control", 5),
    ("snapshot", 4),
    ("route", 3),
    ("upstream", 3),
    ("release", 2),
    ("record", 1),
    ("http1", 1),
    ("http2", 2),
    ("descriptors", 1),
    ("handover", 1),
    ("transport", 0),
];

/// What a word may stand in, and why. A path is a file or a folder; code of tests is not looked at.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "serde_yaml",
        &["config/file.rs", "config/file"],
        "the shape of the file is private to one place",
    ),
    (
        ".publish(",
        &["proxy/control/releases"],
        "there is one writer: edits and shifts go through one lock",
    ),
    (
        "anyhow",
        &["proxy/main.rs", "proxy/command"],
        "everywhere else an error says what it is",
    ),
    (
        "axum",
        &["proxy/control"],
        "the admin API is the only user of a web framework",
    ),
    (
        "hyper::",
        &[
            "proxy/listen",
            "proxy/exchange",
            "proxy/upstream",
            "proxy/http1",
            // These are a server and clients of their own, off the request path.
            "proxy/control/admin",
            "proxy/control/fetch.rs",
            "proxy/command",
        ],
        "routing and judging see a caller, a choice and an outcome, never the codec",
    ),
    (
        "arc_swap",
        // What the admin API shows of the controller's standing is not on the request path.
        &["proxy/snapshot.rs", "proxy/control/standing.rs"],
        "there is one pointer between control and the request path",
    ),
    ("unsafe ", &[], "nothing measured has needed it"),
];

/// What must not stand in a folder, and why.
const NEVER_IN: &[(&str, &[&str], &str)] = &[
    (
        "proxy/route",
        &[
            "async ",
            ".await",
            "Instant::now",
            "SystemTime::now",
            "std::fs",
            "tokio",
        ],
        "routing is pure",
    ),
    (
        "proxy/release",
        &[
            "async ",
            ".await",
            "Instant::now",
            "SystemTime::now",
            "std::fs",
            "tokio",
        ],
        "a judgement is pure",
    ),
    (
        "config",
        &["hyper", "std::net::TcpStream", "TcpListener"],
        "the file knows no socket and no request",
    ),
];

#[test]
fn rooms_import_only_lower_floors() {
    assert!(
        sources("proxy").len() > 20 && sources("config").len() > 5,
        "the sources are found"
    );
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("proxy") {
        let room = room_of(&path);
        if room == "lib" || room == "build" {
            continue;
        }
        let Some(floor) = floors.get(room.as_str()) else {
            wrong.push(format!(
                "{}: the room {room} has no floor: add it to the table",
                path.display()
            ));
            continue;
        };
        for used in imports(&text) {
            let allowed =
                used == room || floors.get(used.as_str()).is_some_and(|other| other < floor);
            let never = room == "release" && used != "release"
                || matches!(room.as_str(), "exchange" | "listen")
                    && matches!(used.as_str(), "control" | "release");
            if (!allowed || never) && floors.contains_key(used.as_str()) {
                wrong.push(format!("{}: {room} may not import {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_one_place_may_do_is_done_there_alone() {
    let mut wrong = Vec::new();
    for (word, places, reason) in ONLY_IN {
        for (path, text) in sources("proxy").into_iter().chain(sources("config")) {
            let here = path.to_string_lossy().into_owned();
            if !is_test(&path)
                && !places
                    .iter()
                    .any(|p| here == *p || here.starts_with(&format!("{p}/")))
            {
                wrong.extend(
                    lines_with(&text, word).map(|n| format!("{here}:{n}: `{word}`: {reason}")),
                );
            }
        }
    }
    for (folder, words, reason) in NEVER_IN {
        for (path, text) in sources(folder).into_iter().filter(|(p, _)| !is_test(p)) {
            for word in *words {
                let here = path.display();
                wrong.extend(
                    lines_with(&text, word).map(|n| format!("{here}:{n}: `{word}`: {reason}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_fit_the_mind() {
    let mut long = Vec::new();
    for (path, text) in sources("proxy").into_iter().chain(sources("config")) {
        if is_test(&path) {
            continue;
        }
        let lines = own_code(&text).lines().count();
        if lines > 500 {
            long.push(format!(
                "{} has {lines} lines without its tests: a second noun has moved in",
                path.display()
            ));
        }
        if !text.trim_start().starts_with("//") {
            long.push(format!("{} does not say what it is for", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Every source file below a folder of the repository, with its path from there.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// `proxy/route/table.rs` → `route`; `proxy/app.rs` → `app`.
fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix("proxy").unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// A file of nothing but tests.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests")
}

/// The text before its tests.
fn own_code(text: &str) -> &str {
    let end = text
        .find("\n#[cfg(test)]\nmod ")
        .or_else(|| text.find("\n#[cfg(all(test"))
        .unwrap_or(text.len());
    &text[..end]
}

fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn lines_with<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let lines = own_code(text).lines().enumerate();
    lines
        .filter(move |(_, line)| code_of(line).contains(word))
        .map(|(n, _)| n + 1)
}

/// The rooms named in `crate::room` and `crate::{room, …}`; in main.rs the crate has its outside name.
fn imports(text: &str) -> Vec<String> {
    let code: String = own_code(text)
        .lines()
        .map(|l| code_of(l).to_owned() + "\n")
        .collect();
    let mut rooms = Vec::new();
    for prefix in ["crate::", "tidegate::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                rooms.extend(top_level(group));
            } else {
                rooms.push(first_word(rest));
            }
        }
    }
    rooms
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first word of each item of a `{…}` group.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(first_word(&std::mem::take(&mut item))),
            _ => item.push(c),
        }
    }
    items.push(first_word(&item));
    items
}
