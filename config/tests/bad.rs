//! Bad files, each with what must be told and where: one problem each, underlined between `«` and `»`.

use super::{bad_rollouts, parsed};
use crate::Severity;

/// Sections that are good, put behind those that a bad file does not bring along.
const FRAME: [(&str, &str); 4] = [
    ("version:", "version: 1\n"),
    (
        "listeners:",
        "listeners: [{ name: in, address: 127.0.0.1:8080 }]\n",
    ),
    (
        "services:",
        "services:\n  - { name: app, stable: v1, versions: [{ name: v1, endpoints: [\"127.0.0.1:3001\"] }, \
         { name: v2, endpoints: [\"127.0.0.1:3002\"] }] }\n",
    ),
    ("routes:", "routes: [{ service: app }]\n"),
];

/// The code, the file, and a piece of the message or the hint.
const BAD: &[(&str, &str, &str)] = &[
    // Shape.
    ("T101", "runtime: { workers: 4\nx«: 1\n", "not YAML"),
    ("T101", "a: 1\n«---»\nb: 2\n", "second document"),
    ("T101", "runtime: {}\n  «x: 1\n", "not YAML"),
    (
        "T101",
        "runtime:\n  workers: 2\n«\t»drain: {}\n",
        "a tab in the indentation",
    ),
    (
        "T101",
        "runtime:\n«\t»workers: 2\n",
        "a tab in the indentation",
    ),
    (
        "T102",
        "admin: { probes: \"127.0.0.1:1\" }\nruntime: {}\n«admin»: {}\n",
        "first in line 1",
    ),
    (
        "T102",
        "runtime: { workers: 2, «workers»: 3 }\n",
        "\"workers\" stands twice",
    ),
    (
        "T102",
        "routes:\n  - service: app\n    rules:\n      - split:\n          weights: { v1: 50%, «v1»: 50% }\n",
        "\"v1\" stands twice",
    ),
    ("T103", "«lisenters»: []\n", "did you mean `listeners`?"),
    (
        "T103",
        "runtime: { «banana»: 1 }\n",
        "known here: drain, include, state_dir, workers",
    ),
    (
        "T103",
        "runtime: { drain: { «minimum»: 1s } }\n",
        "known here: max, min",
    ),
    ("T103", "«<<»: {}\n", "merge keys"),
    (
        "T104",
        "runtime: { drain: { min: «5» } }\n",
        "write it like `10s`",
    ),
    (
        "T104",
        "runtime: «4»\n",
        "expected keys with values, found the number 4",
    ),
    (
        "T104",
        "runtime: { include: «a.yaml» }\n",
        "write it as a list: [a.yaml]",
    ),
    (
        "T104",
        "runtime: { workers: «-1» }\n",
        "expected `auto` or a whole number",
    ),
    (
        "T104",
        "runtime: { workers: «many» }\n",
        "expected `auto` or a whole number",
    ),
    (
        "T104",
        "routes: [{ service: app, name: «1.5» }]\n",
        "put it in quotes",
    ),
    (
        "T104",
        "routes:\n  «service»: app\n",
        "begin each entry with `- `",
    ),
    (
        "T104",
        "identity: { user: [{ client_address: «\"true\"» }] }\n",
        "without quotes",
    ),
    ("T104", "admin: «!tagged { }»\n", "the tag"),
    (
        "T105",
        "listeners: [«{ name: in }»]\n",
        "`address` is missing",
    ),
    (
        "T105",
        "services:\n  - «name»: app\n    versions: [{ name: v1, endpoints: [\"127.0.0.1:3001\"] }]\n",
        "the version that gets whatever no rule sends elsewhere",
    ),
    (
        "T105",
        "routes: [«{ redirect: { port: 444 } }»]\n",
        "needs a `name`",
    ),
    (
        "T106",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", profile: «egde» }]\n",
        "did you mean `edge`?",
    ),
    (
        "T106",
        "access_log: { format: «text» }\n",
        "expected \"json\"",
    ),
    ("T108", "routes: [«{ name: x }»]\n", "does nothing"),
    (
        "T108",
        "routes: [{ service: app, «respond»: { status: 200 } }]\n",
        "\"service\" and \"respond\"",
    ),
    (
        "T108",
        "routes: [{ name: x, respond: { status: 200 }, «rules»: [{ to: v1 }] }]\n",
        "`rules` has no effect here",
    ),
    (
        "T108",
        "routes: [{ service: app, rules: [«{ name: x }»] }]\n",
        "does not say where to",
    ),
    (
        "T108",
        "routes: [{ service: app, rules: [{ to: v1, «split»: { weights: { v1: 100% } } }] }]\n",
        "at one time",
    ),
    (
        "T108",
        "routes: [{ service: app, rules: [{ when: «{}», to: v1 }] }]\n",
        "condition is empty",
    ),
    (
        "T108",
        "routes: [{ service: app, match: { path: «{ exact: /a, prefix: /b }» } }]\n",
        "this one has 2",
    ),
    (
        "T108",
        "routes: [{ service: app, rules: [{ when: { header: «{ name: x }» }, to: v1 }] }]\n",
        "exactly one key, here there are 0",
    ),
    (
        "T108",
        "identity: { user: [«{ header: a, cookie: b }»] }\n",
        "this one has 2",
    ),
    (
        "T108",
        "routes: [{ name: x, redirect: «{ status: 301 }» }]\n",
        "leads to where the request was sent",
    ),
    ("T109", DEEP, "deeper than 64"),
    ("T111", "«routes»:\n", "`routes` has no value"),
    ("T112", "version: «2»\n", "`version: 1`"),
    (
        "T104",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", tls: { certificates: [], min_version: «1.3» } }]\n",
        "write it in quotes: `min_version: \"1.3\"`",
    ),
    (
        "T104",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", tls: { certificates: [], min_version: «1.1» } }]\n",
        "\"1.2\" or \"1.3\"",
    ),
    (
        "T111",
        "routes:\n  - service: app\n  -«\n",
        "an entry of the list is empty",
    ),
    // What later versions will understand.
    ("T107", "«tracing»: {}\n", "not supported"),
    ("T107", "«alerts»: {}\n", "not supported"),
    (
        "T107",
        "identity: { user: [{ «jwt»: {} }] }\n",
        "not supported",
    ),
    (
        "T107",
        "services: [{ name: a, stable: v, versions: [{ name: v, «dns»: {} }] }]\n",
        "not supported",
    ),
    (
        "T107",
        "services: [{ name: a, stable: v, versions: [{ name: v, «endpoints_file»: x }] }]\n",
        "not supported",
    ),
    (
        "T107",
        "services: [{ name: a, stable: v, versions: [], balance: «hash» }]\n",
        "not supported",
    ),
    (
        "T107",
        "routes: [{ service: app, «mirror»: [] }]\n",
        "not supported",
    ),
    (
        "T107",
        "routes: [{ service: app, rules: [{ to: v1, when: { «time»: {} } }] }]\n",
        "not supported",
    ),
    (
        "T107",
        "routes: [{ service: app, rules: [{ to: v1, when: { any: [{ «cel»: x }] } }] }]\n",
        "not supported",
    ),
    // Names and references.
    (
        "T201",
        "routes: [{ service: «ap» }]\n",
        "did you mean \"app\"?",
    ),
    (
        "T201",
        "routes: [{ service: app, match: { listener: «out» } }]\n",
        "there is no listener \"out\"",
    ),
    (
        "T201",
        "routes: [{ service: app, name: shop, rules: [{ to: «v3» }] }]\n",
        "route \"shop\" sends to version \"v3\", but service \"app\" has \"v1\" and \"v2\"",
    ),
    (
        "T201",
        "routes: [{ service: app, rules: [{ split: { weights: { v1: 90%, «vv2»: 10% } } }] }]\n",
        "did you mean \"v2\"?",
    ),
    (
        "T201",
        "services: [{ name: app, stable: «v9», versions: [{ name: v1, endpoints: [\"127.0.0.1:1\"] }] }]\n",
        "has no version \"v9\" to be stable",
    ),
    (
        "T202",
        "listeners:\n  - { name: in, address: \"127.0.0.1:1\" }\n  - { name: «in», address: \"127.0.0.1:2\" }\n",
        "the first is at tidegate.yaml:2",
    ),
    (
        "T202",
        "routes:\n  - { service: app }\n  - { service: «app» }\n",
        "give this one a `name:` of its own",
    ),
    (
        "T202",
        "routes:\n  - service: app\n    rules:\n      - { name: \"2\", to: v1 }\n      - «{ to: v2 }»\n",
        "a second rule of this route has the name \"2\"",
    ),
    (
        "T202",
        "services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [\"[::1]:1\", «\"[0::1]:1\"»] }] }]\n",
        "listed twice",
    ),
    (
        "T202",
        "routes: [{ service: app, response_headers: { set: { X-A: a, «x-a»: b } } }]\n",
        "are one header",
    ),
    (
        "T203",
        "listeners: [{ name: «\"\"», address: \"127.0.0.1:1\" }]\n",
        "a name is empty",
    ),
    (
        "T203",
        "listeners: [{ name: «\"a\\tb\"», address: \"127.0.0.1:1\" }]\n",
        "control characters",
    ),
    ("T204", "listeners: «[]»\n", "no listener accepts requests"),
    (
        "T204",
        "services: [{ name: app, stable: v1, versions: «[]» }]\n",
        "has no version",
    ),
    ("T204", "routes: «[]»\n", "answered 404"),
    (
        "T204",
        "services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: «[]» }] }]\n",
        "has no endpoint",
    ),
    (
        "T204",
        "services: [{ name: app, stable: v1, versions: [«{ name: v1 }»] }]\n",
        "has no endpoint",
    ),
    (
        "T204",
        "routes: [{ service: app, rules: [{ to: v1, when: { any: «[]» } }] }]\n",
        "empty list",
    ),
    (
        "T205",
        "listeners:\n  - { name: a, address: \"127.0.0.1:1\" }\n  - { name: b, address: «\"127.0.0.1:1\"» }\n",
        "listener \"b\" and listener \"a\" have one address",
    ),
    (
        "T205",
        "admin: { address: «\"127.0.0.1:8080\"» }\n",
        "the admin API and listener \"in\"",
    ),
    // Values.
    (
        "T304",
        "listeners:\n  - name: in\n    address: «\"x y\"»   # why\n",
        "like `0.0.0.0:8080`",
    ),
    (
        "T304",
        "listeners:\n  - name: in\n    address: «'x y'»\n",
        "like `0.0.0.0:8080`",
    ),
    (
        "T304",
        "listeners:\n  - name: in\n    address: «x y»   # why\n",
        "like `0.0.0.0:8080`",
    ),
    (
        "T301",
        "runtime: { drain: { min: «5 parsecs» } }\n",
        "expected a duration with its unit",
    ),
    (
        "T301",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", limits: { body_bytes: «10Mb» } }]\n",
        "64KiB",
    ),
    (
        "T301",
        "access_log: { sample: { success: «110%» } }\n",
        "from 0% to 100%",
    ),
    ("T302", "runtime: { workers: «0» }\n", "from 1 to 1024"),
    (
        "T302",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", timeouts: { idle: «0s» } }]\n",
        "no time",
    ),
    (
        "T302",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", limits: { header_bytes: «1B» } }]\n",
        "from 1KiB to 1MiB",
    ),
    (
        "T302",
        "routes: [{ service: app, timeouts: { request: «0s» } }]\n",
        "write `none`",
    ),
    (
        "T302",
        "routes: [{ service: app, retry: { failures: [connect], attempts: «0» } }]\n",
        "from 1 to 10",
    ),
    (
        "T303",
        "routes: [{ service: app, rules: [{ split: { weights: «{ v1: 75%, v2: 20.5% }» } }] }]\n",
        "add up to 95.5 %, they must add up to 100 %",
    ),
    (
        "T303",
        "routes: [{ service: app, rules: [{ split: { weights: «{}» } }] }]\n",
        "give 100 % more",
    ),
    (
        "T303",
        "routes: [{ service: app, rules: [{ split: { weights: «{ v1: 100%, v2: 100% }» } }] }]\n",
        "200 %",
    ),
    (
        "T304",
        "listeners: [{ name: in, address: «\":8080\"» }]\n",
        "`0.0.0.0:8080` for every interface",
    ),
    (
        "T304",
        "listeners: [{ name: in, address: «localhost:80» }]\n",
        "`127.0.0.1:80`",
    ),
    (
        "T304",
        "services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [«\"http://a\"»] }] }]\n",
        "without `http://`",
    ),
    (
        "T304",
        "services: [{ name: app, stable: v1, versions: [{ name: v1, endpoints: [«\"unix:a.sock\"»] }] }]\n",
        "whole path",
    ),
    (
        "T305",
        "routes: [{ service: app, rules: [{ to: v1, when: { source: [«10.0.0.0/33»] } }] }]\n",
        "10.0.0.0/8",
    ),
    (
        "T306",
        "routes: [{ service: app, match: { path: { regex: «\"^/a(b\"» } } }]\n",
        "this is no regular expression: unclosed group",
    ),
    (
        "T306",
        "routes: [{ service: app, match: { path: { regex: «\"(a{500}){500}\"» } } }]\n",
        "bytes of memory",
    ),
    (
        "T307",
        "routes: [{ service: app, rules: [{ to: v1, when: { header: { name: «\"x y\"», present: true } } }] }]\n",
        "cannot be a header's name",
    ),
    (
        "T307",
        "routes: [{ service: app, request_headers: { set: { a: «\"{versoin}\"» } } }]\n",
        "did you mean `{version}`?",
    ),
    (
        "T307",
        "routes: [{ service: app, request_headers: { set: { a: «\"a\\nb\"» } } }]\n",
        "control characters",
    ),
    (
        "T308",
        "identity: { user: [{ cookie: «\"a=b\"» }] }\nlisteners: [{ name: in, address: \"127.0.0.1:1\", profile: sidecar }]\n",
        "cookie's name",
    ),
    (
        "T309",
        "routes: [{ service: app, rules: [{ to: v1, when: { method: [«get»] } }] }]\n",
        "`GET`",
    ),
    (
        "T309",
        "routes: [{ service: app, rules: [{ to: v1, when: { method: [«TRACE»] } }] }]\n",
        "405",
    ),
    (
        "T310",
        "geo: { header: x-r }\nlisteners: [{ name: in, address: \"127.0.0.1:1\", trusted_headers: [x-r] }]\nroutes: [{ service: app, rules: [{ to: v1, when: { region: { country: [DE, «UK»] } } }] }]\n",
        "`GB`",
    ),
    (
        "T310",
        "geo: { header: x-r }\nlisteners: [{ name: in, address: \"127.0.0.1:1\", trusted_headers: [x-r] }]\nroutes: [{ service: app, rules: [{ to: v1, when: { region: { continent: [«EUROPE»] } } }] }]\n",
        "AF, AN, AS",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { hosts: [«\"a.com:80\"»] } }]\n",
        "leave the port out",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { hosts: [«\"a.*.com\"»] } }]\n",
        "`*.example.com`",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { path: { prefix: «a» } } }]\n",
        "write `/a`",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { path: { prefix: «//a» } } }]\n",
        "write one slash",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { path: { exact: «/a/%2e%2E/b» } } }]\n",
        "write the path without them",
    ),
    (
        "T311",
        "routes: [{ service: app, match: { path: { exact: «/a%zz» } } }]\n",
        "two hexadecimal digits",
    ),
    (
        "T312",
        "routes: [{ name: x, redirect: { status: «200», port: 444 } }]\n",
        "301, 302",
    ),
    (
        "T312",
        "routes: [{ name: x, respond: { status: «99» } }]\n",
        "200 to 599",
    ),
    (
        "T313",
        "routes: [{ service: app, request_headers: { set: { «Host»: a } } }]\n",
        "rewrite: { host",
    ),
    (
        "T313",
        "routes: [{ service: app, request_headers: { remove: [«Connection»] } }]\n",
        "the proxy writes",
    ),
    (
        "T313",
        "routes: [{ service: app, response_headers: { add: { «content-length»: \"1\" } } }]\n",
        "the proxy writes",
    ),
    (
        "T313",
        "routes: [{ service: app, request_headers: { add: { «\":path\"»: a } } }]\n",
        "use `rewrite`",
    ),
    (
        "T314",
        "runtime: { drain: { min: «1m», max: 5s } }\n",
        "(1m) is longer than `drain.max` (5s)",
    ),
    (
        "T314",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", client_address: { from: «forwarded» } }]\n",
        "trusted_proxies",
    ),
    (
        "T314",
        "routes: [{ service: app, match: { path: { exact: /a } }, rewrite: { «prefix»: / } }]\n",
        "matched prefix",
    ),
    (
        "T314",
        "routes: [{ name: x, respond: { status: 204, body: «a» } }]\n",
        "has no body",
    ),
    (
        "T315",
        "admin: { address: «\"0.0.0.0:9900\"» }\n",
        "tokens_file",
    ),
    (
        "T316",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", client_address: { trusted_proxies: [10.0.0.0/8, «0.0.0.0/0»] } }]\n",
        "profile: sidecar",
    ),
    (
        "T317",
        "routes: [{ service: app, rules: [{ split: { by: «uesr», weights: { v1: 100% } } }] }]\n",
        "did you mean `user`?",
    ),
    (
        "T317",
        "routes: [{ service: app, retry: { failures: [«\"404\"»] } }]\n",
        "from \"500\" to \"599\"",
    ),
    // Files.
    (
        "T401",
        "admin: { tokens_file: «./nowhere/tokens» }\n",
        "there is no such file",
    ),
    (
        "T401",
        "geo: { database: «./nowhere/geo.mmdb» }\n",
        "there is no such file",
    ),
    (
        "T401",
        "runtime: { include: [«nowhere.yaml»] }\n",
        "there is no such file",
    ),
    (
        "T401",
        "identity: { user: [{ client_address: true }] }\nroutes: [{ service: app, rules: [{ to: v1, when: { user: { file: «/» } } }] }]\n",
        "it is a folder",
    ),
    (
        "T403",
        "runtime: { include: [«\"*/a.yaml\"»] }\n",
        "pattern in a folder's name",
    ),
    (
        "T203",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", upgrades: [websocket, «h2c»] }]\n",
        "a way around the rules",
    ),
    (
        "T203",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", upgrades: [«\"a b\"»] }]\n",
        "is no protocol's name",
    ),
    (
        "T202",
        "listeners: [{ name: in, address: \"127.0.0.1:1\", upgrades: [websocket, «WebSocket»] }]\n",
        "",
    ),
    // Warnings.
    (
        "T901",
        "routes: [{ service: app, rules: [{ to: v1 }, «{ to: v2 }»] }]\n",
        "rule \"1\" before it has no `when`",
    ),
    (
        "T902",
        "routes: [{ service: app }, «{ service: app, name: b }»]\n",
        "route \"app\" before it",
    ),
    (
        "T903",
        "routes: [{ service: app, rules: [{ to: v1, when: { region: «{ country: [NO] }» } }] }]\n",
        "add `geo:",
    ),
    (
        "T904",
        "identity: { user: [{ header: «x-user-id» }] }\n",
        "trusted_headers: [x-user-id]",
    ),
    (
        "T904",
        "geo: { header: «x-region» }\n",
        "trusted_headers: [x-region]",
    ),
    (
        "T904",
        "routes: [{ service: app, rules: [{ when: { header: { name: «x_beta», present: true } }, to: v2 }] }]\n",
        "let callers send `x-beta`",
    ),
    (
        "T904",
        "routes: [{ service: app, rules: [{ when: { any: [{ path: { prefix: /a } }, { not: { header: { name: «X_Beta», exact: a } } }] }, to: v2 }] }]\n",
        "trusted_headers: [X_Beta]",
    ),
    (
        "T904",
        "routes: [{ service: app, rules: [{ split: { by: «\"header:x_beta\"», weights: { v1: 100% } } }] }]\n",
        "an edge listener removes",
    ),
    (
        "T904",
        "listeners: [{ name: in, address: \"127.0.0.1:1\" }, { name: near, address: \"127.0.0.1:2\", profile: sidecar }]\n\
         routes: [{ service: app, match: { listener: in }, rules: [{ when: { header: { name: «x_beta», present: true } }, to: v2 }] }]\n",
        "x_beta",
    ),
    (
        "T905",
        "identity: { user: [{ cookie: «uid» }] }\n",
        "listener \"in\" choose the cookie",
    ),
    (
        "T906",
        "routes: [{ service: app, rules: [{ split: { by: «user», weights: { v1: 100% } } }] }]\n",
        "random place",
    ),
    // Columns count characters, not bytes, and a mark at the beginning of the file is none.
    (
        "T103",
        "\u{feff}runtime: {} # ü\n«ädmin»: {}\n",
        "did you mean `admin`?",
    ),
];

/// Deeper than anything is read.
const DEEP: &str = concat!(
    "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[«[",
    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"
);

/// Those of this file and of its neighbours.
fn all() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    BAD.iter().chain(bad_rollouts::BAD)
}

/// The file without its marks, and where they stood: line, column and, where the end is marked, width.
fn unmarked(text: &str) -> (String, usize, usize, Option<usize>) {
    let (before, after) = text.split_once('«').expect("every file has a mark");
    let line = before.matches('\n').count() + 1;
    let on_line = before.rsplit('\n').next().unwrap_or_default();
    let column = on_line.trim_start_matches('\u{feff}').chars().count() + 1;
    let width = after
        .split_once('»')
        .map(|(inside, _)| inside.chars().count());
    (text.replace(['«', '»'], ""), line, column, width)
}

/// The file with the sections that it lacks behind it.
fn framed(text: &str) -> String {
    let missing = FRAME
        .iter()
        .filter(|(key, _)| !text.lines().any(|line| line.starts_with(key)));
    let frame: String = missing.map(|(_, section)| *section).collect();
    format!("{text}{frame}")
}

#[test]
fn each_mistake_is_told_once_with_its_place_and_a_way_out() {
    let mut broken = String::new();
    for (code, text, piece) in all() {
        let (text, line, column, width) = unmarked(text);
        let text = framed(&text);
        let loaded = parsed(&text);
        let is_warning = code.starts_with("T9");
        let is_told = matches!(loaded.problems.as_slice(), [problem]
            if (problem.code, problem.line, problem.column) == (*code, line, column)
                && width.is_none_or(|width| problem.width == width)
                && (problem.message.contains(piece) || problem.hint.contains(piece))
                && !problem.hint.is_empty()
                && (problem.severity == Severity::Warning) == is_warning
                && loaded.config.is_some() == is_warning);
        if !is_told {
            let told: String = loaded.problems.iter().map(|p| p.render(false)).collect();
            broken += &format!(
                "expected {code} alone at {line}:{column}, {width:?} wide, with {piece:?} in:\n{text}\ntold:\n{told}\n"
            );
        }
    }
    assert!(broken.is_empty(), "{broken}");
}

#[test]
fn every_code_that_is_documented_has_a_file_and_every_file_a_code_that_is() {
    let documented: Vec<&str> = include_str!("../problem.rs")
        .lines()
        .filter_map(|l| l.strip_prefix("//! | T")?.split(' ').next())
        .collect();
    for (code, _, piece) in all() {
        assert!(
            documented.contains(&&code[1..]),
            "{code} ({piece}) is not documented"
        );
    }
    // These need bytes, files on the disk or a machine, and are held by tests of their own.
    let elsewhere = [
        "100", "110", "402", "404", "405", "406", "407", "408", "409", "410", "411", "501", "502",
        "503", "910", "912", "913", "914", "915", "999",
    ];
    for code in documented {
        assert!(
            elsewhere.contains(&code) || all().any(|(c, ..)| &c[1..] == code),
            "no file for T{code}"
        );
    }
}

#[test]
fn an_empty_file_is_an_error_with_a_way_out() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "~", "null\n"] {
        let loaded = parsed(text);
        assert_eq!(loaded.problems.len(), 1, "{text:?}: {:?}", loaded.problems);
        assert_eq!(loaded.problems[0].code, "T100", "{text:?}");
        assert!(loaded.problems[0].hint.contains("version: 1"));
        assert!(loaded.config.is_none());
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error_that_names_the_place() {
    let loaded = crate::parse(b"version: 1\nx: \xff\n", "t.yaml", std::path::Path::new(""));
    assert_eq!(
        loaded.problems[0].to_string(),
        "t.yaml:2:4: error[T110]: the file is not UTF-8; here is the first wrong byte"
    );
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_is_unfolded() {
    let mut text = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let above = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{above}*a{}]\n", level - 1));
    }
    let loaded = parsed(&text);
    assert_eq!(loaded.problems[0].code, "T109", "{:?}", loaded.problems);
}

#[test]
fn brackets_without_end_are_refused() {
    for piece in ["[", "{a: ", "- ", "? ", "&a [", "!!map {"] {
        let loaded = parsed(&piece.repeat(100_000));
        assert!(loaded.config.is_none());
        assert!(!loaded.problems.is_empty());
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = "version: 1
listeners:
  - { name: in, address: nowhere }
  - { name: in, address: 127.0.0.1:1, timeouts: { idle: soon } }
services:
  - { name: app, stable: v9, versions: [{ name: v1, endpoints: [here] }] }
routes:
  - service: ap
  - service: app
    match: { hosts: [\"b ad\"], path: { regex: \"(\" } }
    rules:
      - { to: v3 }
      - { split: { weights: { v1: 5% } } }
";
    let told: Vec<String> = parsed(text)
        .problems
        .iter()
        .map(|p| format!("{} {}", p.line, p.code))
        .collect();
    assert_eq!(
        told,
        [
            "3 T304", "4 T202", "4 T301", "6 T201", "6 T304", "8 T201", "10 T311", "10 T306",
            "12 T201", "13 T303"
        ]
    );
}

#[test]
fn all_problems_of_shape_are_told_at_once() {
    let text = "version: 1
listners: []
runtime: { workers: 1, workers: 2, drain: 5 }
listeners: [{ nam: in }]
routes: [{ service: app, rules: [{ split: { weights: [], guard: { compare: 1 } } }] }]
";
    let told: Vec<String> = parsed(text)
        .problems
        .iter()
        .map(|p| format!("{} {}", p.line, p.code))
        .collect();
    assert_eq!(
        told,
        [
            "2 T103", "3 T102", "3 T104", "4 T105", "4 T105", "4 T103", "5 T104", "5 T104"
        ]
    );
}

#[test]
fn a_flood_of_problems_is_cut_with_their_number() {
    let rules = "      - { to: v3, when: { method: [GET] } }\n".repeat(crate::MAX_PROBLEMS + 50);
    let loaded = parsed(&framed(&format!(
        "routes:\n  - service: app\n    rules:\n{rules}"
    )));
    assert_eq!(loaded.problems.len(), crate::MAX_PROBLEMS + 1);
    assert!(
        loaded
            .problems
            .last()
            .unwrap()
            .message
            .starts_with("50 more problems")
    );
}

#[test]
fn the_json_of_a_problem_is_what_scripts_rely_on() {
    let loaded = parsed(&framed(
        "routes: [{ service: app, name: shop, rules: [{ to: v3 }] }]\n",
    ));
    assert_eq!(
        serde_json::to_value(&loaded.problems).unwrap(),
        serde_json::json!([{
            "code": "T201", "severity": "error", "file": "tidegate.yaml", "line": 1, "column": 52,
            "path": "routes[0].rules[0].to",
            "message": "route \"shop\" sends to version \"v3\", but service \"app\" has \"v1\" and \"v2\"",
            "hint": "name one of these, or add the version to the service",
        }])
    );
}
