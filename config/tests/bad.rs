//! Bad files, each with what must be told and where.
//!
//! A file is the frame with one section in another form. `«…»` marks what the caret must underline.

use super::parsed;

/// Listeners, services and routes that are good, for files that are bad elsewhere.
const LISTENERS: &str = "listeners: [{ name: in, address: 127.0.0.1:8080 }]\n";
const SERVICES: &str = "services:\n  - name: app\n    stable: v1\n    versions:\n      - { name: v1, endpoints: [\"127.0.0.1:3001\"] }\n      - { name: v2, endpoints: [\"127.0.0.1:3002\"] }\n";
const ROUTES: &str = "routes: [{ service: app }]\n";

/// A code, what to add or put in the place of a section, and a piece of the message or hint.
const BAD: &[(&str, &str, &str)] = &[
    // Shape.
    ("T101", "runtime: { workers: 4\nx: «1", "not YAML"),
    ("T101", "a: 1\n«---\nb: 2\n", "second document"),
    ("T102", "admin: { probes: 127.0.0.1:1 }\nruntime: {}\n«admin»: {}\n", "first in line 1"),
    ("T102", "runtime: { workers: 2, «workers»: 3 }\n", "workers"),
    ("T103", "«lisenters»: []\n", "did you mean `listeners`?"),
    ("T103", "runtime: { «banana»: 1 }\n", "known here: drain, include, workers"),
    ("T103", "«<<»: {}\n", "merge keys"),
    ("T104", "runtime: { drain: { min: «5» } }\n", "write it like `10s`"),
    ("T104", "runtime: «4»\n", "expected keys with values"),
    ("T104", "runtime: { include: «a.yaml» }\n", "write it as a list: [a.yaml]"),
    ("T104", "runtime: { workers: «-1» }\n", "`auto` or a whole number"),
    ("T104", "runtime: { workers: «many» }\n", "`auto` or a whole number"),
    ("T104", "routes: [{ service: app, name: «1.5» }]\n", "put it in quotes"),
    ("T104", "geo: { header: «yes: no» }\n", "").also_skipped(),
];
